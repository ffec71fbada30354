//! Requests of clients at `/offer`, `/answer` and `/ice`.

use std::{
    convert::Infallible,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::stream;
use http_body_util::{Either, StreamBody};
use hyper::{
    HeaderMap, Request, Response,
    body::{Bytes, Frame, Incoming},
    header,
};
use percent_encoding::percent_decode_str;

use super::{
    Line, Place, Visitor, closed,
    line::{Hold, Inner},
    read_body, refuse, respond, text_of,
    whip::too_many,
};
use crate::{
    delivery::payload::Kind,
    dialect::{
        Dialect,
        http::{Leg, Reply},
        query,
        rest::{self, Action, Description, Watch},
    },
    edge::http::{Answer, WithHeader},
};

/// The longest time that a request waits.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The time for the hub's answer to a call or a registration.
const OPENING: Duration = Duration::from_secs(10);

/// How long events are sent over one response. The client then asks again, from the last event on.
const STREAM: Duration = Duration::from_secs(40);

/// What the client asks for, apart from the resource.
struct Ask {
    wait: Option<Duration>,
    after: u64,
    wants_events: bool,
}

impl Ask {
    fn of(headers: &HeaderMap, text: Option<&str>) -> Self {
        let number = |name| query(text, name).and_then(|value| value.parse::<u64>().ok());
        let accept = text_of(headers, header::ACCEPT).unwrap_or_default();
        let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()?.parse().ok());
        Self {
            wait: number("wait").map(|seconds| Duration::from_secs(seconds).min(LONGEST_WAIT)),
            after: last.or_else(|| number("after")).unwrap_or(0),
            wants_events: accept.contains("text/event-stream"),
        }
    }

    /// The time that a `GET` waits.
    fn wait(&self) -> Duration {
        self.wait.unwrap_or(LONGEST_WAIT)
    }
}

/// Answers a request other than `OPTIONS`.
pub(super) async fn answer(visitor: Visitor, place: Place, request: Request<Incoming>) -> Answer {
    let (operation, id) = match rest::route(request.method().as_str(), &place.rest) {
        Ok(found) => found,
        Err(reply) => return respond(reply),
    };
    let id = id.map(|id| percent_decode_str(id).decode_utf8().map(String::from));
    let id = match id.transpose() {
        Ok(id) => id,
        Err(_) => return respond(Reply::error(400, "the id is no text")),
    };
    let ask = Ask::of(request.headers(), request.uri().query());
    if operation.action == Action::Document {
        return respond(Reply::json(200, &rest::document(&place.base)));
    }
    if operation.action == Action::Offer {
        return offer(&visitor, &place, id, &ask, request.into_body()).await;
    }
    let id = id.unwrap_or_default();
    let line = visitor.app.calls.find(&visitor, Dialect::Rest, &id);
    match (operation.action, line) {
        (Action::Wait, None) => wait(&visitor, &id, &ask).await,
        (Action::Wait, Some(line)) if ask.wants_events => events(line, Watch::offers()),
        (Action::Wait, Some(line)) => look(&line, &id, ask.wait(), |leg| rest::offer(&id, leg)).await,
        (Action::End, line) => end(&visitor, line, &id),
        (_, None) => respond(rest::gone()),
        (Action::Answer, Some(line)) => answer_call(&visitor, &line, &id, request.into_body()).await,
        (Action::Trickle, Some(line)) => trickle(&visitor, &line, &id, request.into_body()).await,
        (Action::AwaitAnswer, Some(line)) => look(&line, &id, ask.wait(), |leg| rest::answer(&id, leg)).await,
        (Action::AwaitCandidates, Some(line)) if ask.wants_events => {
            events(line, Watch::call(&id, ask.after))
        }
        (Action::AwaitCandidates, Some(line)) => {
            look(&line, &id, ask.wait(), |leg| rest::candidates_after(&id, leg, ask.after)).await
        }
        (Action::Offer | Action::Document, Some(_)) => respond(rest::gone()),
    }
}

/// `POST /offer`: a new call, or another offer in a call.
async fn offer(visitor: &Visitor, place: &Place, id: Option<String>, ask: &Ask, body: Incoming) -> Answer {
    let text = match read_body(visitor, body).await {
        Ok(text) => text,
        Err(answer) => return answer,
    };
    let Description { to, sdp } = match Description::parse("offer", &text) {
        Ok(description) => description,
        Err(reply) => return respond(reply),
    };
    let to = id.or(to);
    let known = to.as_deref().and_then(|id| visitor.app.calls.find(visitor, Dialect::Rest, id));
    if let (Some(line), Some(call)) = (known, &to) {
        return offer_again(place, &line, call, sdp, ask, text.len()).await;
    }
    let client = match rest::caller(to.as_deref(), sdp) {
        Ok(client) => client,
        Err(reply) => return respond(reply),
    };
    let opening = client.opening().clone();
    let (line, call) = match visitor.app.calls.open_caller(visitor, client) {
        Ok(opened) => opened,
        Err(not_opened) => return refuse(visitor, &not_opened),
    };
    // Until the response, the call ends if the client goes away.
    let hold = Hold::new(&line);
    if !line.admit(Kind::Sdp, text.len()) || !line.pay(&opening).await {
        return too_many();
    }
    line.ask(opening).await;
    let started = line.until(OPENING, |inner| over(inner).or_else(|| inner.client.leg().map(|_| None)));
    if let Some(Some(answer)) = started.await {
        return answer;
    }
    let answer = created(place, &line, &call, ask).await;
    if answer.status().is_success() {
        hold.release();
    }
    answer
}

async fn offer_again(
    place: &Place,
    line: &Arc<Line>,
    call: &str,
    sdp: Option<String>,
    ask: &Ask,
    bytes: usize,
) -> Answer {
    let Some(sdp) = sdp else { return respond(Reply::error(400, "sdp is missing")) };
    if !line.admit(Kind::Sdp, bytes) {
        return too_many();
    }
    let request = line.look(|inner| inner.in_call(call).and_then(|client| client.offer(sdp)));
    let Some(request) = request else { return respond(rest::gone()) };
    line.handle(request);
    created(place, line, call, ask).await
}

/// `201`, after waiting for the answer if the client wants that.
async fn created(place: &Place, line: &Arc<Line>, call: &str, ask: &Ask) -> Answer {
    let wait = ask.wait.unwrap_or_default();
    let ended = line
        .until(wait, |inner| over(inner).or_else(|| inner.client.leg().and_then(Leg::answer).map(|_| None)));
    if let Some(Some(answer)) = ended.await {
        return answer;
    }
    let reply = line.look(|inner| inner.client.leg().map(|leg| rest::created(call, leg, &place.base)));
    respond(reply.unwrap_or_else(rest::gone))
}

/// The answer for a line that is over, or that has no call any more.
fn over(inner: &mut Inner) -> Option<Option<Answer>> {
    match inner.closed {
        _ if inner.client.is_over() => Some(Some(respond(rest::not_created(&inner.client)))),
        Some(reason) => Some(Some(closed(reason))),
        None => None,
    }
}

/// `GET /offer/<id>`: registers the id, and waits for a call.
async fn wait(visitor: &Visitor, id: &str, ask: &Ask) -> Answer {
    let (client, uid) = match (rest::callee(id), callbin_protocol::PeerId::new(id)) {
        (Ok(client), Ok(uid)) => (client, uid),
        (Err(reply), _) => return respond(reply),
        (_, Err(_)) => return respond(rest::gone()),
    };
    let opening = client.opening().clone();
    let (line, is_new) = match visitor.app.calls.open_callee(visitor, &uid, client) {
        Ok(opened) => opened,
        Err(not_opened) => return refuse(visitor, &not_opened),
    };
    // Until it is registered, it ends if this client goes away.
    let hold = is_new.then(|| Hold::new(&line));
    if is_new {
        line.ask(opening).await;
    }
    let registered =
        line.until(OPENING, |inner| over(inner).or_else(|| inner.client.is_registered().then_some(None)));
    match registered.await {
        Some(None) => {}
        Some(Some(answer)) => return answer,
        None => return too_many(),
    }
    hold.into_iter().for_each(Hold::release);
    if ask.wants_events {
        return events(line, Watch::offers());
    }
    let found = line.until(ask.wait(), |inner| {
        if let Some(Some(answer)) = over(inner) {
            return Some(answer);
        }
        rest::offer(inner.call.as_deref()?, inner.client.leg()?).map(respond)
    });
    found.await.unwrap_or_else(|| respond(Reply::empty(204)))
}

/// Waits until `find` finds something in the call.
async fn look(line: &Arc<Line>, call: &str, wait: Duration, find: impl Fn(&Leg) -> Option<Reply>) -> Answer {
    let found = line.until(wait, |inner| match (inner.closed, inner.client.leg()) {
        (Some(reason), _) => Some(closed(reason)),
        (None, Some(leg)) if inner.call.as_deref() == Some(call) => find(leg).map(respond),
        (None, _) => Some(respond(rest::gone())),
    });
    found.await.unwrap_or_else(|| respond(Reply::empty(204)))
}

fn end(visitor: &Visitor, line: Option<Arc<Line>>, id: &str) -> Answer {
    if let Some(line) = line {
        line.hang_up(id);
        return respond(Reply::empty(204));
    }
    let uid = callbin_protocol::PeerId::new(id).ok();
    match uid.and_then(|uid| visitor.app.calls.registered(visitor, &uid)) {
        Some(line) => {
            line.close();
            respond(Reply::empty(204))
        }
        None => respond(rest::gone()),
    }
}

async fn answer_call(visitor: &Visitor, line: &Arc<Line>, call: &str, body: Incoming) -> Answer {
    let text = match read_body(visitor, body).await {
        Ok(text) => text,
        Err(answer) => return answer,
    };
    if !line.admit(Kind::Sdp, text.len()) {
        return too_many();
    }
    let sdp = match Description::parse("answer", &text) {
        Ok(Description { sdp: Some(sdp), .. }) => sdp,
        Ok(_) => return respond(Reply::error(400, "sdp is missing")),
        Err(reply) => return respond(reply),
    };
    let request = line.look(|inner| match inner.in_call(call) {
        None => Err(rest::gone()),
        Some(client) => client.answer(sdp).ok_or_else(|| Reply::error(409, "there is no offer to answer")),
    });
    match request {
        Ok(request) => {
            line.handle(request);
            respond(Reply::empty(204))
        }
        Err(reply) => respond(reply),
    }
}

async fn trickle(visitor: &Visitor, line: &Arc<Line>, call: &str, body: Incoming) -> Answer {
    let text = match read_body(visitor, body).await {
        Ok(text) => text,
        Err(answer) => return answer,
    };
    if !line.admit(Kind::Ice, text.len()) {
        return too_many();
    }
    match rest::candidates(&text) {
        Ok(candidates) => {
            // The body was admitted as one message, and has as many as there are candidates.
            if !candidates.iter().skip(1).all(|_| line.admit(Kind::Ice, 0)) {
                return too_many();
            }
            let requests = line.look(|inner| inner.in_call(call).map(|client| client.trickle(candidates)));
            let Some(requests) = requests else { return respond(rest::gone()) };
            requests.into_iter().for_each(|request| line.handle(request));
            respond(Reply::empty(204))
        }
        Err(reply) => respond(reply),
    }
}

/// Server-sent events (HTML Standard, section 9.2) of a line.
fn events(line: Arc<Line>, watch: Watch) -> Answer {
    let until = Instant::now() + STREAM;
    // The first part makes the head of the response go out at once.
    let parts = stream::unfold(
        (line, watch, Some("retry: 1000\n\n".to_owned())),
        move |(line, mut watch, first)| async move {
            if let Some(first) = first {
                return Some((part(first), (line, watch, None)));
            }
            let left = until.saturating_duration_since(Instant::now());
            let news = line.until(left, |inner| {
                if inner.closed.is_some() {
                    return Some(None);
                }
                let Inner { call, client, .. } = inner;
                match watch.news(call.as_deref(), client) {
                    None => Some(None),
                    Some(text) if text.is_empty() => None,
                    Some(text) => Some(Some(text)),
                }
            });
            match news.await? {
                Some(text) => Some((part(text), (line, watch, None))),
                None => watch.end().map(|text| (part(text), (line, watch, None))),
            }
        },
    );
    let mut answer = Response::new(Either::Right(StreamBody::new(Box::pin(parts) as _)));
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/event-stream"));
    answer
        .with_header(header::CACHE_CONTROL, "no-store")
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

fn part(text: String) -> Result<Frame<Bytes>, Infallible> {
    Ok(Frame::data(text.into()))
}
