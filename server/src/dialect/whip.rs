//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): an offer by `POST`, the answer in the response, candidates by
//! `PATCH`, the end by `DELETE`. Pure.
//!
//! The server has no media: the peer with the id in the URL answers, or else a media node that has or gets the stream of
//! this name. A peer trickles and the HTTP client cannot receive candidates later, so the answer carries the peer's
//! candidates.

use callbin_protocol::{Candidate, Fragment, PeerId, fold_candidates, fragment_of, ice_urls};
use serde_json::Value;

use super::{
    Dialect,
    http::{Client, Leg, Reply, is_sdp, media_type, refused},
};
use crate::hub::{Refusal, Request};

/// The content type of offers and answers.
const SDP: &str = "application/sdp";

/// The content type of candidates.
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";

/// The seconds after which a client may ask again for a peer that is not there or does not answer.
const RETRY: u32 = 5;

/// Reads an offer for the peer of the URL.
pub fn offer(dialect: Dialect, to: &str, content_type: Option<&str>, body: &str) -> Result<Client, Reply> {
    if content_type.map(media_type).as_deref() != Some(SDP) {
        let reply = Reply::text(415, "the offer has to be application/sdp");
        return Err(reply.with("accept-post", SDP));
    }
    let to = PeerId::new(to).map_err(|_| Reply::text(404, "there is no such peer: its id is invalid"))?;
    if !is_sdp(body) {
        return Err(Reply::text(400, "the body is no session description with m-lines"));
    }
    Ok(Client::caller(dialect, to, Some(body.into())))
}

/// The answer to an offer: `201`, with the peer's candidates, the URL of the call, and the ICE servers.
pub fn created(client: &Client, location: &str, servers: &[Value]) -> Option<Reply> {
    let leg = client.leg()?;
    let candidates: Vec<Candidate> = leg.candidates(0).0.into_iter().cloned().collect();
    let sdp = fold_candidates(leg.answer()?, &candidates, leg.is_gathered());
    let reply = Reply::sdp(201, sdp).with("location", location).with("etag", client.etag());
    let reply = reply.with("accept-patch", FRAGMENT);
    Some(links(servers).into_iter().fold(reply, |reply, link| reply.with("link", link)))
}

/// The answer to an offer that the hub refuses, or that ends before its answer. A player may come before its peer.
pub fn not_created(client: &Client) -> Reply {
    let Some(refusal) = client.refusal() else {
        return Reply::text(409, "the peer has ended the call").with("retry-after", RETRY);
    };
    let (status, text, retry) = match refusal {
        Refusal::PeerNotFound(_) if client.dialect() == Dialect::Whep => {
            (409, "there is no such peer now".into(), Some(RETRY))
        }
        refusal => refused(refusal),
    };
    let reply = Reply::text(status, &text);
    retry.into_iter().fold(reply, |reply, seconds| reply.with("retry-after", seconds))
}

/// The answer to an offer that the peer does not answer in time.
pub fn unanswered() -> Reply {
    Reply::text(504, "the peer does not answer").with("retry-after", RETRY)
}

/// What follows from a `PATCH`.
#[derive(Debug, Clone, PartialEq)]
pub enum Patch {
    /// Carry out these requests, then answer 204.
    Trickle(Vec<Request>),
    /// Carry out this request, and answer with [`restarted`] when the other side has answered.
    Restart(Box<Request>),
}

/// Reads candidates or an ICE restart for a call (RFC 9725, section 4.3).
pub fn patch(
    client: &mut Client,
    content_type: Option<&str>,
    condition: Option<&str>,
    body: &str,
) -> Result<Patch, Reply> {
    if content_type.map(media_type).as_deref() != Some(FRAGMENT) {
        let reply = Reply::text(415, "candidates have to be application/trickle-ice-sdpfrag");
        return Err(reply.with("accept-patch", FRAGMENT));
    }
    let fragment = Fragment::parse(body).map_err(|error| Reply::text(400, &error.to_string()))?;
    let condition = condition.ok_or_else(|| Reply::text(428, "If-Match is missing"))?;
    let is_any = condition.trim() == "*";
    // A weak tag never matches here (RFC 9110, section 13.1.1).
    if !is_any && !condition.split(',').any(|tag| tag.trim() == client.etag()) {
        return Err(Reply::text(412, "this is not the tag of the ICE session"));
    }
    match &fragment.ufrag {
        Some(ufrag) if !client.knows_ufrag(ufrag) => restart(client, ufrag, &fragment),
        _ => Ok(Patch::Trickle(client.trickle(fragment.candidates))),
    }
}

/// A media node answers at once. Other peers would get an offer without being able to answer in time for ICE.
fn restart(client: &mut Client, ufrag: &str, fragment: &Fragment) -> Result<Patch, Reply> {
    if client.leg().is_none_or(|leg| !leg.is_at_node()) {
        return Err(no_restart());
    }
    let pwd = fragment.pwd.as_deref().ok_or_else(|| Reply::text(400, "ice-pwd is missing"))?;
    if !is_ice_text(ufrag, 4) || !is_ice_text(pwd, 22) {
        return Err(Reply::text(400, "the ICE credentials are malformed"));
    }
    if client.leg().is_some_and(Leg::is_offering) {
        return Err(Reply::text(409, "another ICE restart is under way").with("retry-after", 1));
    }
    let request = client.restart(ufrag, pwd, &fragment.candidates);
    request.map(|request| Patch::Restart(Box::new(request))).ok_or_else(no_restart)
}

fn no_restart() -> Reply {
    Reply::text(422, "the peer does not support ICE restarts: start another call")
}

/// `ice-char` (RFC 8839, section 5.4), at least this often.
fn is_ice_text(text: &str, least: usize) -> bool {
    let is_ice = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
    (least..=256).contains(&text.len()) && text.chars().all(is_ice)
}

/// The answer to an ICE restart: the other side's new credentials and candidates. `None`: it has not answered yet.
pub fn restarted(client: &Client) -> Option<Reply> {
    let fragment = fragment_of(client.leg()?.answer()?);
    let reply = Reply { content_type: FRAGMENT, body: fragment, ..Reply::empty(200) };
    Some(reply.with("etag", client.etag()))
}

/// The answer to `OPTIONS`, at the endpoint or at the URL of a call.
pub fn options(is_call: bool) -> Reply {
    let reply = Reply::empty(200).with("allow", allowed(is_call));
    if is_call { reply.with("accept-patch", FRAGMENT) } else { reply.with("accept-post", SDP) }
}

/// The answer to all other methods: they are reserved.
pub fn wrong_method(is_call: bool) -> Reply {
    Reply::text(405, "this method is reserved").with("allow", allowed(is_call))
}

fn allowed(is_call: bool) -> &'static str {
    if is_call { "PATCH, DELETE, OPTIONS" } else { "POST, OPTIONS" }
}

/// ICE servers as `Link` headers (RFC 9725, section 4.6).
fn links(servers: &[Value]) -> Vec<String> {
    let mut links = Vec::new();
    for (url, server) in ice_urls(servers).filter(|(url, _)| !url.contains(['<', '>', ' '])) {
        let text = |name| server.get(name).and_then(Value::as_str).map(quoted);
        let mut link = format!("<{url}>; rel=\"ice-server\"");
        let is_turn = url.starts_with("turn");
        if let (true, Some(username), Some(credential)) = (is_turn, text("username"), text("credential")) {
            link += &format!("; username={username}; credential={credential}; credential-type=\"password\"");
        }
        links.push(link);
    }
    links
}

/// A quoted string (RFC 9110, section 5.6.4).
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{
        super::http::tests::{OFFER, called, ended, from_text, sdp},
        *,
    };
    use crate::hub::{About, Notice, Refused};

    fn client() -> Client {
        let mut client = offer(Dialect::Whip, "cam", Some("application/sdp"), OFFER).unwrap();
        client.take(called("call", true, false));
        client
    }

    fn answered() -> Client {
        let mut client = client();
        client.take(from_text(
            "call",
            r#"{"ice":{"candidate":"candidate:1 1 udp 1 10.0.0.1 9 typ host","sdpMLineIndex":0}}"#,
        ));
        client.take(from_text("call", &sdp("answer")));
        client
    }

    #[test]
    fn offers_are_checked() {
        let status =
            |to, kind, body| offer(Dialect::Whip, to, kind, body).map(drop).map_err(|reply| reply.status);
        let kind = Some("application/sdp");
        assert_eq!(status("cam", Some("application/SDP; charset=utf-8"), OFFER), Ok(()));
        assert_eq!(status("cam", None, OFFER), Err(415));
        assert_eq!(status("cam", Some("application/json"), OFFER), Err(415));
        assert_eq!(status("a b", kind, OFFER), Err(404));
        assert_eq!(status("", kind, OFFER), Err(404));
        for body in ["", "hello", "{}", "v=0\r\n"] {
            assert_eq!(status("cam", kind, body), Err(400), "{body}");
        }
    }

    #[test]
    fn the_answer_has_the_candidates_and_the_call() {
        assert_eq!(created(&client(), "/whip/cam/x", &[]), None, "not answered");
        let servers = [
            json!({ "urls": ["stun:a", "turn:b"], "username": "u", "credential": "c\"d" }),
            json!({ "urls": "stun:s" }),
        ];
        let reply = created(&answered(), "/whip/cam/x", &servers).unwrap();
        assert_eq!((reply.status, reply.content_type), (201, "application/sdp"));
        let candidate = "a=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\nm=video";
        assert!(
            reply.body.contains(candidate) && !reply.body.contains("end-of-candidates"),
            "{}",
            reply.body
        );
        assert!(reply.headers.contains(&("location", "/whip/cam/x".into())));
        assert!(reply.headers.contains(&("etag", "\"ice-EsAw\"".into())));
        let links: Vec<&str> =
            reply.headers.iter().filter(|(name, _)| *name == "link").map(|(_, value)| &value[..]).collect();
        assert_eq!(
            links,
            [
                "<stun:a>; rel=\"ice-server\"",
                "<turn:b>; rel=\"ice-server\"; username=\"u\"; credential=\"c\\\"d\"; credential-type=\"password\"",
                "<stun:s>; rel=\"ice-server\""
            ]
        );
        let mut client = answered();
        client.take(from_text("call", r#"{"ice":{"candidate":"","sdpMLineIndex":0}}"#));
        let reply = created(&client, "/x", &[]).unwrap();
        assert!(reply.body.contains("typ host\r\na=end-of-candidates\r\nm=video"), "{}", reply.body);
    }

    #[test]
    fn refusals_have_their_codes() {
        let refused = |dialect, refusal| {
            let mut client = offer(dialect, "cam", Some(SDP), OFFER).unwrap();
            client.take(Notice::Refused(Box::new(Refused {
                about: About::Call,
                key: "call".into(),
                refusal,
                payload: None,
            })));
            let reply = not_created(&client);
            (reply.status, reply.headers.iter().any(|(name, _)| *name == "retry-after"))
        };
        let whip = Dialect::Whip;
        assert_eq!(refused(whip, Refusal::PeerNotFound("cam".into())), (404, false));
        assert_eq!(refused(Dialect::Whep, Refusal::PeerNotFound("cam".into())), (409, true));
        assert_eq!(refused(whip, Refusal::PeerBusy("cam".into())), (409, true));
        assert_eq!(refused(whip, Refusal::TooManySessions), (429, true));
        assert_eq!(refused(whip, Refusal::Unavailable), (503, true));
        assert_eq!(refused(whip, Refusal::Other("no".into())), (403, false));
        let mut client = client();
        client.take(ended("call"));
        assert_eq!(not_created(&client).status, 409);
        assert_eq!(unanswered().status, 504);
    }

    #[test]
    fn candidates_go_to_the_peer_if_everything_fits() {
        let mut client = answered();
        let body = "a=ice-ufrag:EsAw\r\nm=audio 9 x 0\r\na=mid:a\r\na=candidate:1\r\na=end-of-candidates\r\n";
        let (kind, tag) = (Some(FRAGMENT), Some("\"ice-EsAw\""));
        let Ok(Patch::Trickle(requests)) = patch(&mut client, kind, tag, body) else {
            panic!("no candidates")
        };
        assert_eq!(requests.len(), 2);
        assert!(patch(&mut client, kind, Some("*"), body).is_ok(), "the same ICE session");
        assert!(patch(&mut client, kind, Some("\"other\", \"ice-EsAw\""), body).is_ok());
        assert!(patch(&mut client, kind, tag, "a=candidate:1").is_ok(), "without credentials");
        let mut status =
            |kind, tag, body| patch(&mut client, kind, tag, body).map(drop).map_err(|reply| reply.status);
        assert_eq!(status(Some(SDP), tag, body), Err(415));
        assert_eq!(status(None, tag, body), Err(415));
        assert_eq!(status(kind, None, body), Err(428));
        assert_eq!(status(kind, Some("\"other\""), body), Err(412));
        assert_eq!(status(kind, Some("W/\"ice-EsAw\""), body), Err(412));
        assert_eq!(status(kind, tag, "hello"), Err(400));
        let restart = "a=ice-ufrag:ysXw\r\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\r\n";
        assert_eq!(status(kind, Some("*"), restart), Err(422));
        assert_eq!(status(kind, tag, restart), Err(422));
    }

    #[test]
    fn other_methods_are_reserved() {
        let allow = |reply: Reply| reply.headers.iter().find(|(name, _)| *name == "allow").unwrap().1.clone();
        assert_eq!((wrong_method(false).status, &allow(wrong_method(false))[..]), (405, "POST, OPTIONS"));
        assert_eq!(allow(wrong_method(true)), "PATCH, DELETE, OPTIONS");
        assert!(options(false).headers.contains(&("accept-post", SDP.into())));
        assert!(options(true).headers.contains(&("accept-patch", FRAGMENT.into())));
    }
}
