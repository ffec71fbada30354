//! Calls by plain HTTP: `/offer`, `/answer` and `/ice`, with JSON bodies, long polls and server-sent events. Pure.
//!
//! [`OPERATIONS`] is what requests are routed by and what the document at `/openapi.json` is made of.

mod openapi;
mod watch;

use callbin_protocol::{Candidate, Fragment, PeerId};
use serde::Deserialize;
use serde_json::{Value, json};

pub use self::{
    openapi::{OPERATIONS, Operation, document},
    watch::Watch,
};
use super::{
    Dialect,
    http::{CALL, Client, Leg, Reply, Wanted, is_sdp, refused},
};

/// The most candidates in one request.
const MAX_CANDIDATES: usize = 256;

/// What a request does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Calls a peer, or offers within a call.
    Offer,
    /// Waits for the offers of a call, or registers an id and waits for its calls.
    Wait,
    /// Ends a call, or a registration.
    End,
    /// Answers the offer of a call.
    Answer,
    /// Waits for the answer of a call.
    AwaitAnswer,
    /// Sends candidates.
    Trickle,
    /// Waits for candidates.
    AwaitCandidates,
    /// The OpenAPI document.
    Document,
}

/// The operation of a request at a path below the dialect's own, and the id in it.
pub fn route<'a>(method: &str, path: &'a str) -> Result<(&'static Operation, Option<&'a str>), Reply> {
    let (name, id) = path.split_once('/').map_or((path, None), |(name, id)| (name, Some(id)));
    let at_path = OPERATIONS.iter().filter(|operation| {
        let (known, parameter) = operation.place();
        known == name && parameter.is_some() == id.is_some()
    });
    let at_path: Vec<&Operation> = at_path.collect();
    if at_path.is_empty() || id.is_some_and(|id| id.is_empty() || id.contains('/')) {
        return Err(Reply::error(404, "there is no such resource"));
    }
    let found = at_path.iter().find(|operation| operation.method == method);
    match found {
        Some(operation) => Ok((operation, id)),
        None => {
            let mut methods: Vec<&str> = at_path.iter().map(|operation| operation.method).collect();
            methods.push("OPTIONS");
            Err(Reply::error(405, "this resource has no such method").with("allow", methods.join(", ")))
        }
    }
}

/// A description in a request.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The peer or the call that it is for, if the body names it.
    pub to: Option<String>,
    /// The session description. `None`: the other side shall offer.
    pub sdp: Option<String>,
}

#[derive(Deserialize)]
struct Body {
    #[serde(alias = "call")]
    to: Option<String>,
    r#type: Option<String>,
    sdp: Option<String>,
}

impl Description {
    /// Reads a body: JSON, a bare session description, or nothing. The content type does not matter, so that `curl -d`
    /// needs no header.
    pub fn parse(kind: &str, body: &str) -> Result<Self, Reply> {
        if body.trim().is_empty() {
            return Ok(Self::default());
        }
        if body.starts_with("v=") {
            return Ok(Self { to: None, sdp: Some(sdp(body.into())?) });
        }
        let body: Body = serde_json::from_str(body)
            .map_err(|error| Reply::error(400, &format!("the body is not as expected: {error}")))?;
        if body.r#type.as_deref().is_some_and(|given| !given.eq_ignore_ascii_case(kind)) {
            return Err(Reply::error(400, &format!("the type is not {kind}")));
        }
        Ok(Self { to: body.to, sdp: body.sdp.map(sdp).transpose()? })
    }
}

fn sdp(text: String) -> Result<String, Reply> {
    if is_sdp(&text) {
        Ok(text)
    } else {
        Err(Reply::error(400, "sdp is no session description with m-lines"))
    }
}

/// Reads candidates: one `RTCIceCandidateInit`, an array of them, `{"candidates": […]}`, or an SDP fragment.
pub fn candidates(body: &str) -> Result<Vec<Candidate>, Reply> {
    if body.starts_with("a=") || body.starts_with("m=") {
        let fragment = Fragment::parse(body).map_err(|error| Reply::error(400, &error.to_string()))?;
        return Ok(fragment.candidates);
    }
    let invalid = |error: String| Reply::error(400, &format!("no candidates: {error}"));
    let mut body: Value = serde_json::from_str(body).map_err(|error| invalid(error.to_string()))?;
    let listed = body.get_mut("candidates").map(Value::take);
    let list = match listed.unwrap_or(body) {
        Value::Array(list) => list,
        one => vec![one],
    };
    if list.len() > MAX_CANDIDATES {
        return Err(invalid(format!("more than {MAX_CANDIDATES}")));
    }
    list.into_iter().map(|ice| Candidate::read(ice).map_err(|error| invalid(error.to_string()))).collect()
}

/// A caller for the peer of a request.
pub fn caller(to: Option<&str>, offer: Option<String>) -> Result<Client, Reply> {
    let to = to.ok_or_else(|| Reply::error(400, "to is missing: the peer to call"))?;
    let to = peer(to)?;
    Ok(Client::caller(Dialect::Rest, to, offer))
}

/// A registration for the id of a request.
pub fn callee(id: &str) -> Result<Client, Reply> {
    peer(id).map(Client::callee)
}

/// The id of a peer. One of a call is that of a call that has ended: it must neither be called nor registered.
fn peer(id: &str) -> Result<PeerId, Reply> {
    if id.starts_with(CALL) {
        return Err(gone());
    }
    PeerId::new(id).map_err(|_| Reply::error(400, "the id is invalid"))
}

/// `201`: the call has started. It has the answer, if that came in time.
pub fn created(call: &str, leg: &Leg, base: &str) -> Reply {
    let mut body = json!({ "call": call, "uid": leg.uid().as_str(), "peer": leg.peer().as_str() });
    if let (Some(sdp), Some(object)) = (leg.answer(), body.as_object_mut()) {
        object.insert("type".into(), "answer".into());
        object.insert("sdp".into(), sdp.into());
    }
    Reply::json(201, &body).with("location", format!("{base}/answer/{call}"))
}

/// What the other side waits for.
fn wanted(call: &str, leg: &Leg) -> Option<(u64, Value)> {
    let from = leg.peer().as_str();
    let (number, wanted) = leg.wanted()?;
    let value = match wanted {
        Wanted::Answer(sdp) => json!({ "call": call, "from": from, "type": "offer", "sdp": sdp }),
        Wanted::Offer => json!({ "call": call, "from": from, "type": "offer-request" }),
    };
    Some((number, value))
}

/// `200`: an offer, or the request for one, if the other side waits.
pub fn offer(call: &str, leg: &Leg) -> Option<Reply> {
    wanted(call, leg).map(|(_, value)| Reply::json(200, &value))
}

/// `200`: the answer, if it has come.
pub fn answer(call: &str, leg: &Leg) -> Option<Reply> {
    let sdp = leg.answer()?;
    Some(Reply::json(200, &json!({ "call": call, "type": "answer", "sdp": sdp })))
}

/// `200`: the candidates after the cursor, if there are any.
pub fn candidates_after(call: &str, leg: &Leg, after: u64) -> Option<Reply> {
    let (candidates, next) = leg.candidates(after);
    let body = json!({ "call": call, "candidates": candidates, "next": next });
    (!candidates.is_empty()).then(|| Reply::json(200, &body))
}

/// The answer to a call or a registration that the hub refuses, or to a call that ends before its answer.
pub fn not_created(client: &Client) -> Reply {
    let Some(refusal) = client.refusal() else { return gone() };
    let (status, text, retry) = refused(refusal);
    let reply = Reply::error(status, &text);
    retry.into_iter().fold(reply, |reply, seconds| reply.with("retry-after", seconds))
}

/// `404`: the call has ended, or never was.
pub fn gone() -> Reply {
    Reply::error(404, "there is no such call: it has ended, or never was")
}

#[cfg(test)]
mod tests {
    use super::{
        super::http::tests::{OFFER, called, from_text, sdp as sdp_of},
        *,
    };

    #[test]
    fn requests_find_their_operation() {
        let action = |method, path| {
            route(method, path).map(|(operation, id)| (operation.action, id)).map_err(|reply| reply.status)
        };
        assert_eq!(action("POST", "offer"), Ok((Action::Offer, None)));
        assert_eq!(action("POST", "offer/cam"), Ok((Action::Offer, Some("cam"))));
        assert_eq!(action("GET", "offer/cam"), Ok((Action::Wait, Some("cam"))));
        assert_eq!(action("DELETE", "offer/cam"), Ok((Action::End, Some("cam"))));
        assert_eq!(action("POST", "answer/x"), Ok((Action::Answer, Some("x"))));
        assert_eq!(action("GET", "answer/x"), Ok((Action::AwaitAnswer, Some("x"))));
        assert_eq!(action("POST", "ice/x"), Ok((Action::Trickle, Some("x"))));
        assert_eq!(action("GET", "ice/x"), Ok((Action::AwaitCandidates, Some("x"))));
        assert_eq!(action("GET", "openapi.json"), Ok((Action::Document, None)));
        for (method, path, status) in [
            ("GET", "offer", 405),
            ("PUT", "offer/cam", 405),
            ("DELETE", "ice/x", 405),
            ("GET", "answer", 404),
            ("GET", "ice/x/y", 404),
            ("GET", "openapi.json/x", 404),
        ] {
            assert_eq!(action(method, path), Err(status), "{method} {path}");
        }
        let Err(reply) = route("PUT", "offer/cam") else { panic!("there is no PUT") };
        assert_eq!(reply.headers, [("allow", "POST, GET, DELETE, OPTIONS".into())]);
    }

    #[test]
    fn descriptions_come_in_three_forms() {
        let json = json!({ "to": "cam", "type": "offer", "sdp": OFFER }).to_string();
        let (to, sdp) = (Some("cam".to_owned()), Some(OFFER.to_owned()));
        assert_eq!(Description::parse("offer", &json), Ok(Description { to, sdp: sdp.clone() }));
        assert_eq!(Description::parse("offer", OFFER), Ok(Description { to: None, sdp }));
        assert_eq!(Description::parse("offer", " \n"), Ok(Description::default()));
        assert_eq!(Description::parse("offer", "{\"call\":\"x\"}").unwrap().to.as_deref(), Some("x"));
        for body in ["hello", "[]", "{\"type\":\"answer\"}", "{\"sdp\":1}", "{\"sdp\":\"x\"}", "v=1\r\nm=x"] {
            assert_eq!(Description::parse("offer", body).map_err(|reply| reply.status), Err(400), "{body}");
        }
    }

    #[test]
    fn candidates_come_in_four_forms() {
        let one = r#"{"candidate":"candidate:1","sdpMid":"a","sdpMLineIndex":0}"#;
        for body in [one.to_owned(), format!("[{one}]"), format!("{{\"candidates\":[{one}]}}")] {
            let found = candidates(&body).unwrap();
            assert_eq!((found.len(), found[0].sdp_mid.as_deref()), (1, Some("a")), "{body}");
        }
        assert_eq!(candidates("m=x\na=mid:a\na=candidate:1\na=end-of-candidates\n").unwrap().len(), 2);
        assert!(candidates("null").unwrap()[0].is_end() && candidates("[]").unwrap().is_empty());
        for body in ["", "hello", "1", "[1]", "{\"candidate\":1}", "a=b"] {
            assert_eq!(candidates(body).map_err(|reply| reply.status), Err(400), "{body}");
        }
        let many = json!(vec![json!({ "candidate": "x" }); MAX_CANDIDATES + 1]).to_string();
        assert!(candidates(&many).is_err());
    }

    #[test]
    fn a_call_is_created_with_its_answer_if_that_is_there() {
        let mut client = caller(Some("other"), Some(OFFER.into())).unwrap();
        client.take(called("call", true, false));
        let reply = created("x", client.leg().unwrap(), "/api");
        assert_eq!(reply.body, "{\"call\":\"x\",\"peer\":\"other\",\"uid\":\"me\"}\n");
        assert_eq!((reply.status, &reply.headers[..]), (201, &[("location", "/api/answer/x".into())][..]));
        assert_eq!(answer("x", client.leg().unwrap()), None);
        client.take(from_text("call", &sdp_of("answer")));
        let value: Value = serde_json::from_str(&created("x", client.leg().unwrap(), "").body).unwrap();
        assert_eq!((&value["type"], &value["sdp"]), (&json!("answer"), &json!(OFFER)));
        assert_eq!(answer("x", client.leg().unwrap()).unwrap().status, 200);
    }

    #[test]
    fn a_callee_sees_what_is_wanted() {
        let mut client = callee("me").unwrap();
        client.take(called("me", false, false));
        assert_eq!(offer("x", client.leg().unwrap()), None);
        client.take(from_text("me", "OFFER_REQUEST"));
        let reply = offer("x", client.leg().unwrap()).unwrap();
        assert_eq!(reply.body, "{\"call\":\"x\",\"from\":\"other\",\"type\":\"offer-request\"}\n");
        client.take(from_text("me", &sdp_of("offer")));
        assert!(offer("x", client.leg().unwrap()).unwrap().body.contains("\"type\":\"offer\""));
        assert_eq!(candidates_after("x", client.leg().unwrap(), 0), None);
        client.take(from_text("me", r#"{"ice":{"candidate":"candidate:1","sdpMLineIndex":0}}"#));
        let reply = candidates_after("x", client.leg().unwrap(), 0).unwrap();
        assert!(
            reply.body.contains("\"next\":1") && reply.body.contains("\"sdpMid\":\"a\""),
            "{}",
            reply.body
        );
        assert_eq!(candidates_after("x", client.leg().unwrap(), 1), None);
    }

    #[test]
    fn ids_are_checked() {
        assert!(caller(None, None).is_err() && caller(Some("a b"), None).is_err() && callee("").is_err());
        assert_eq!(callee("call.x").map(drop).map_err(|reply| reply.status), Err(404));
        assert_eq!(caller(Some("call.x"), None).map(drop).map_err(|reply| reply.status), Err(404));
    }
}
