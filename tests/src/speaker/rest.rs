//! Calls by plain HTTP: `/offer`, `/answer`, `/ice`.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{Heard, Speaker, description, member};
use crate::{
    Server,
    http::{self, Response},
};

/// What the next request has to ask for.
#[derive(Debug, PartialEq)]
enum Expects {
    /// A call for this id.
    Call(String),
    /// The answer to the own offer.
    Answer,
    /// Candidates, and the end.
    Candidates,
}

/// A client of plain HTTP.
#[derive(Debug)]
pub struct Rest<'a> {
    server: &'a Server,
    call: String,
    expects: Expects,
    candidates: VecDeque<Heard>,
    after: u64,
}

impl<'a> Rest<'a> {
    /// Registers an id and waits for a call.
    pub fn wait(server: &'a Server, id: &str) -> Self {
        let registered = http::send(server, "GET", &format!("/offer/{id}?wait=0"), &[], "");
        assert_eq!(registered.status, 204);
        Self::new(server, String::new(), Expects::Call(id.into()))
    }

    /// Calls with this offer.
    pub fn call(server: &'a Server, callee: &str, offer: &str) -> Self {
        let response = http::send(server, "POST", &format!("/offer/{callee}"), &[], offer);
        assert_eq!(response.status, 201, "{:?}", response.body);
        Self::new(server, member(&response.json(), "call").into(), Expects::Answer)
    }

    fn new(server: &'a Server, call: String, expects: Expects) -> Self {
        Self { server, call, expects, candidates: VecDeque::new(), after: 0 }
    }

    fn send(&self, method: &str, resource: &str, body: &str) -> Response {
        let response = http::send(self.server, method, &format!("/{resource}/{}", self.call), &[], body);
        assert!(response.status < 300, "{method} {resource}: {} {:?}", response.status, response.body);
        response
    }

    fn get(&self, path: &str) -> Response {
        http::send(self.server, "GET", path, &[], "")
    }

    fn hear_candidate(&mut self) -> Heard {
        if let Some(heard) = self.candidates.pop_front() {
            return heard;
        }
        let response = self.get(&format!("/ice/{}?wait=20&after={}", self.call, self.after));
        if response.status == 404 {
            return Heard::End;
        }
        let body = response.json();
        self.after = body.get("next").and_then(Value::as_u64).expect("a number");
        for candidate in body.get("candidates").and_then(Value::as_array).expect("an array") {
            let index = candidate.get("sdpMLineIndex").and_then(Value::as_u64).expect("an index");
            self.candidates.push_back(Heard::Candidate(member(candidate, "candidate").into(), index));
        }
        self.candidates.pop_front().expect("at least one")
    }
}

impl Speaker for Rest<'_> {
    fn offer(&mut self, sdp: &str) {
        self.send("POST", "offer", sdp);
        self.expects = Expects::Answer;
    }

    fn answer(&mut self, sdp: &str) {
        self.send("POST", "answer", sdp);
    }

    fn candidate(&mut self, candidate: &str, index: u64, mid: &str) {
        let body = json!({ "candidate": candidate, "sdpMLineIndex": index, "sdpMid": mid });
        self.send("POST", "ice", &body.to_string());
    }

    fn hear(&mut self) -> Heard {
        let path = match &self.expects {
            Expects::Call(id) => format!("/offer/{id}?wait=20"),
            Expects::Answer => format!("/answer/{}?wait=20", self.call),
            Expects::Candidates => return self.hear_candidate(),
        };
        let response = self.get(&path);
        assert_eq!(response.status, 200, "{path}");
        let body = response.json();
        self.call = member(&body, "call").into();
        self.expects = Expects::Candidates;
        match member(&body, "type") {
            "offer-request" => Heard::OfferRequest,
            kind => description(kind, member(&body, "sdp")),
        }
    }

    fn hang_up(&mut self) {
        self.send("DELETE", "offer", "");
    }
}
