//! GStreamer's `webrtcsink` (producer) and `webrtcsrc` (consumer).

use serde_json::{Value, json};

use super::{Heard, Speaker, description, json, member};
use crate::{Server, Socket};

/// A producer or a consumer.
#[derive(Debug)]
pub struct Webrtcsink {
    socket: Socket,
    session: Option<String>,
}

impl Webrtcsink {
    fn connect(server: &Server, query: &str) -> Self {
        let mut socket = Socket::connect_to(&format!("{}webrtcsink{query}", server.ws_url()));
        let welcome = json(&socket.receive_text());
        assert_eq!(welcome.get("type"), Some(&json!("welcome")), "{welcome}");
        assert!(!member(&welcome, "peerId").is_empty());
        Self { socket, session: None }
    }

    /// A producer that waits under this id.
    pub fn produce(server: &Server, id: &str) -> Self {
        Self::wait(server, id, "producer")
    }

    /// A consumer that waits under this id.
    pub fn await_producer(server: &Server, id: &str) -> Self {
        Self::wait(server, id, "consumer")
    }

    fn wait(server: &Server, id: &str, role: &str) -> Self {
        let mut client = Self::connect(server, &format!("?id={id}"));
        client.send(&json!({ "type": "setPeerStatus", "roles": [role], "meta": { "name": id } }));
        // The list is answered after the status.
        client.send(&json!({ "type": "list" }));
        let list = client.receive();
        assert_eq!(list.get("type"), Some(&json!("list")), "{list}");
        client
    }

    /// A consumer without an offer of its own.
    pub fn consume(server: &Server, producer: &str) -> Self {
        let mut client = Self::connect(server, "");
        client.send(&json!({ "type": "startSession", "peerId": producer }));
        client.started();
        client
    }

    /// A consumer that offers.
    pub fn consume_offering(server: &Server, producer: &str, sdp: &str) -> Self {
        let mut client = Self::connect(server, "");
        client.send(&json!({ "type": "startSession", "peerId": producer, "offer": sdp }));
        client.started();
        client
    }

    fn started(&mut self) {
        let started = self.receive();
        assert_eq!(started.get("type"), Some(&json!("sessionStarted")), "{started}");
        self.session = Some(member(&started, "sessionId").into());
    }

    fn send(&mut self, message: &Value) {
        self.socket.send(&message.to_string());
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        json(&self.socket.receive_text())
    }

    fn peer(&mut self, name: &str, value: &Value) {
        let session = self.session.clone().expect("a session");
        self.send(&json!({ "type": "peer", "sessionId": session, name: value }));
    }
}

impl Speaker for Webrtcsink {
    fn offer(&mut self, sdp: &str) {
        self.peer("sdp", &json!({ "type": "offer", "sdp": sdp }));
    }

    fn answer(&mut self, sdp: &str) {
        self.peer("sdp", &json!({ "type": "answer", "sdp": sdp }));
    }

    fn candidate(&mut self, candidate: &str, index: u64, _mid: &str) {
        self.peer("ice", &json!({ "candidate": candidate, "sdpMLineIndex": index }));
    }

    fn hear(&mut self) -> Heard {
        let mut message = self.receive();
        // A consumer is called.
        if self.session.is_none() && message.get("type") == Some(&json!("sessionStarted")) {
            self.session = Some(member(&message, "sessionId").into());
            message = self.receive();
        }
        let session = member(&message, "sessionId");
        match member(&message, "type") {
            "startSession" => {
                self.session = Some(session.into());
                match message.get("offer").and_then(Value::as_str) {
                    Some(offer) => Heard::Offer(offer.into()),
                    None => Heard::OfferRequest,
                }
            }
            "endSession" => Heard::End,
            "peer" => {
                assert_eq!(Some(session), self.session.as_deref());
                if let Some(sdp) = message.get("sdp") {
                    return description(member(sdp, "type"), member(sdp, "sdp"));
                }
                let ice = message.get("ice").unwrap_or_else(|| panic!("{message}"));
                let index = ice.get("sdpMLineIndex").and_then(Value::as_u64).expect("an index");
                Heard::Candidate(member(ice, "candidate").into(), index)
            }
            _ => panic!("{message}"),
        }
    }

    fn hang_up(&mut self) {
        let session = self.session.clone().expect("a session");
        self.send(&json!({ "type": "endSession", "sessionId": session }));
    }
}
