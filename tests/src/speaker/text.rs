//! The text protocol of GStreamer's examples.

use serde_json::{Value, json};

use super::{Heard, Speaker, description, json, member};
use crate::{Server, Socket, socket::Received};

/// A peer of the text protocol.
#[derive(Debug)]
pub struct Text(Socket);

impl Text {
    /// Registers and waits for a call.
    pub fn wait(server: &Server, uid: &str) -> Self {
        Self(Socket::register(server, uid))
    }

    /// Registers and calls.
    pub fn call(server: &Server, uid: &str, callee: &str) -> Self {
        let mut socket = Socket::register(server, uid);
        socket.send(&format!("SESSION {callee}"));
        socket.expect("SESSION_OK");
        Self(socket)
    }

    /// Asks the other side for an offer.
    pub fn request_offer(&mut self) {
        self.0.send("OFFER_REQUEST");
    }
}

impl Speaker for Text {
    fn offer(&mut self, sdp: &str) {
        self.0.send(&json!({ "sdp": { "type": "offer", "sdp": sdp } }).to_string());
    }

    fn answer(&mut self, sdp: &str) {
        self.0.send(&json!({ "sdp": { "type": "answer", "sdp": sdp } }).to_string());
    }

    fn candidate(&mut self, candidate: &str, index: u64, _mid: &str) {
        // GStreamer's examples send no mid.
        self.0.send(&json!({ "ice": { "candidate": candidate, "sdpMLineIndex": index } }).to_string());
    }

    fn hear(&mut self) -> Heard {
        match self.0.receive() {
            Received::Closed(Some((1000, _))) => Heard::End,
            Received::Text(text) if text == "OFFER_REQUEST" => Heard::OfferRequest,
            Received::Text(text) => {
                let message = json(&text);
                if let Some(sdp) = message.get("sdp") {
                    return description(member(sdp, "type"), member(sdp, "sdp"));
                }
                let ice = message.get("ice").unwrap_or_else(|| panic!("{text}"));
                let index = ice.get("sdpMLineIndex").and_then(Value::as_u64);
                Heard::Candidate(member(ice, "candidate").into(), index.expect("clients need the index"))
            }
            other => panic!("{other:?}"),
        }
    }

    fn hang_up(&mut self) {
        self.0.tcp().shutdown(std::net::Shutdown::Both).expect("open");
    }
}
