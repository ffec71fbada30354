//! WHIP and WHEP clients. They cannot be called, and receive candidates only within the answer.

use crate::{
    Server,
    http::{self, Response},
};

/// A client whose offer was answered.
#[derive(Debug)]
pub struct Whip<'a> {
    server: &'a Server,
    location: String,
    tag: String,
    /// The answer, with candidates.
    pub answer: String,
}

impl<'a> Whip<'a> {
    /// Sends the offer to this path, for example `/whip/camera`, and waits for the answer. The peer has to answer
    /// meanwhile, in another thread.
    pub fn call(server: &'a Server, path: &str, offer: &str) -> Self {
        let response = http::send(server, "POST", path, &[("Content-Type", "application/sdp")], offer);
        assert_eq!(response.status, 201, "{:?}", response.body);
        let (location, tag) = (response.exact("location").into(), response.exact("etag").into());
        Self { server, location, tag, answer: response.body }
    }

    /// Sends a fragment with candidates (RFC 8840).
    pub fn trickle(&self, fragment: &str) -> Response {
        let kind = ("Content-Type", "application/trickle-ice-sdpfrag");
        http::send(self.server, "PATCH", &self.location, &[kind, ("If-Match", &self.tag)], fragment)
    }

    /// Ends the call.
    pub fn hang_up(&self) -> Response {
        http::send(self.server, "DELETE", &self.location, &[], "")
    }
}
