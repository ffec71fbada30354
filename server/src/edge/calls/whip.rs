//! Requests of WHIP and WHEP clients.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hyper::{Method, Request, StatusCode, body::Incoming, header};
use percent_encoding::percent_decode_str;

use super::{Line, Place, Visitor, closed, line::Hold, read_body, refuse, respond, text_of};
use crate::{
    delivery::payload::Kind,
    dialect::{
        http::Reply,
        whip::{self, Patch},
    },
    edge::http::{Answer, try_again},
};

/// The longest time for the peer's answer, however long `--hello-timeout` is: a connection is cut soon after.
const LONGEST_ANSWER: Duration = Duration::from_secs(20);

/// The candidates are complete when none has come for this long. Many peers send no end of candidates.
const QUIET: Duration = Duration::from_millis(300);

/// The longest time for candidates.
const GATHERING: Duration = Duration::from_secs(2);

/// Answers a request other than `OPTIONS`.
pub(super) async fn answer(visitor: Visitor, place: Place, request: Request<Incoming>) -> Answer {
    let method = request.method().clone();
    let Some((_, id)) = place.rest.split_once('/') else {
        return match method {
            Method::POST => post(visitor, &place, request).await,
            _ => respond(whip::wrong_method(false)),
        };
    };
    if !matches!(method, Method::PATCH | Method::DELETE) {
        return respond(whip::wrong_method(true));
    }
    let Some(line) = visitor.app.calls.find(&visitor, place.dialect, id) else {
        return respond(Reply::text(404, "there is no such call: it has ended, or never was"));
    };
    if method == Method::DELETE {
        line.close();
        return respond(Reply::text(200, "the call has ended"));
    }
    patch(&visitor, &line, request).await
}

async fn post(visitor: Visitor, place: &Place, request: Request<Incoming>) -> Answer {
    let content_type = text_of(request.headers(), header::CONTENT_TYPE);
    let Ok(peer) = percent_decode_str(&place.rest).decode_utf8().map(String::from) else {
        return respond(Reply::text(404, "there is no such peer: its id is no text"));
    };
    let body = match read_body(&visitor, request.into_body()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    let client = match whip::offer(place.dialect, &peer, content_type.as_deref(), &body) {
        Ok(client) => client,
        Err(reply) => return respond(reply),
    };
    let opening = client.opening().clone();
    let (line, id) = match visitor.app.calls.open_caller(&visitor, client) {
        Ok(opened) => opened,
        Err(not_opened) => return refuse(&visitor, &not_opened),
    };
    // From here on, the call ends if the client goes away.
    let hold = Hold::new(&line);
    if !line.admit(Kind::Sdp, body.len()) || !line.pay(&opening).await {
        return too_many();
    }
    line.ask(opening).await;
    if let Err(answer) = answered(&line).await {
        return answer;
    }
    gather(&line).await;
    let location = format!("{}/{}/{id}", place.base, place.rest);
    let servers = line.presence.ice_servers();
    let created = line.look(|inner| whip::created(&inner.client, &location, &servers));
    match created {
        Some(reply) => {
            hold.release();
            respond(reply)
        }
        None => respond(line.look(|inner| whip::not_created(&inner.client))),
    }
}

/// Waits for the peer's answer.
async fn answered(line: &Arc<Line>) -> Result<(), Answer> {
    let time = line.presence.app.settings().limits.hello_timeout.min(LONGEST_ANSWER);
    let found = line.until(time, |inner| match inner.closed {
        _ if inner.client.is_over() => Some(Err(respond(whip::not_created(&inner.client)))),
        Some(reason) => Some(Err(closed(reason))),
        None => inner.client.leg()?.answer().map(|_| Ok(())),
    });
    found.await.unwrap_or_else(|| Err(respond(whip::unanswered())))
}

/// Waits for the peer's candidates: to their end, or until none comes any more.
async fn gather(line: &Arc<Line>) {
    let (start, mut known) = (Instant::now(), 0);
    loop {
        let left = GATHERING.saturating_sub(start.elapsed()).min(QUIET);
        let more = line.until(left, |inner| {
            let Some(leg) = inner.client.leg() else { return Some(None) };
            let next = leg.candidates(0).1;
            match next {
                _ if leg.is_gathered() => Some(None),
                next if next > known => Some(Some(next)),
                _ => None,
            }
        });
        match more.await {
            Some(Some(next)) => known = next,
            Some(None) | None => return,
        }
    }
}

async fn patch(visitor: &Visitor, line: &Arc<Line>, request: Request<Incoming>) -> Answer {
    let headers = request.headers();
    let content_type = text_of(headers, header::CONTENT_TYPE);
    // @eyevinn/whip-web-client sends the tag as ETag.
    let condition = text_of(headers, header::IF_MATCH).or_else(|| text_of(headers, header::ETAG));
    let body = match read_body(visitor, request.into_body()).await {
        Ok(body) => body,
        Err(answer) => return answer,
    };
    if !line.admit(Kind::Ice, body.len()) {
        return too_many();
    }
    let patch = line
        .look(|inner| whip::patch(&mut inner.client, content_type.as_deref(), condition.as_deref(), &body));
    let patch = match patch {
        Ok(patch) => patch,
        Err(reply) => return respond(reply),
    };
    match patch {
        Patch::Trickle(requests) => {
            if !requests.iter().skip(1).all(|_| line.admit(Kind::Ice, 0)) {
                return too_many();
            }
            requests.into_iter().for_each(|request| line.handle(request));
            respond(Reply::empty(204))
        }
        Patch::Restart(request) => {
            // The session has the new credentials already, so it cannot go on without the answer.
            if !line.pay(&request).await {
                line.close();
                return too_many();
            }
            line.handle(*request);
            restarted(line).await
        }
    }
}

/// Waits for the media node's answer to an ICE restart.
async fn restarted(line: &Arc<Line>) -> Answer {
    let time = line.presence.app.settings().limits.hello_timeout.min(LONGEST_ANSWER);
    let found = line.until(time, |inner| match inner.closed {
        None if !inner.client.is_over() => whip::restarted(&inner.client),
        _ => Some(Reply::text(404, "the call has ended")),
    });
    respond(found.await.unwrap_or_else(whip::unanswered))
}

/// The limit of messages or bytes.
pub(super) fn too_many() -> Answer {
    try_again(StatusCode::TOO_MANY_REQUESTS, "too many messages\n", 1)
}
