//! Ant Media's JSON commands.

use serde_json::{Value, json};

use super::{Heard, Speaker, description, json, member};
use crate::{Server, Socket};

/// A client with one stream.
#[derive(Debug)]
pub struct Antmedia {
    socket: Socket,
    stream: String,
    stop: &'static str,
}

impl Antmedia {
    fn start(server: &Server, command: &str, stream: &str) -> Self {
        let mut socket = Socket::connect_to(&format!("{}WebRTCAppEE/websocket", server.ws_url()));
        socket.send(&json!({ "command": command, "streamId": stream }).to_string());
        let stop = if command == "join" { "leave" } else { "stop" };
        Self { socket, stream: stream.into(), stop }
    }

    /// Joins: waits if it is the first, calls if it is the second.
    pub fn join(server: &Server, stream: &str) -> Self {
        let mut client = Self::start(server, "join", stream);
        let joined = client.receive();
        assert_eq!(joined.get("definition"), Some(&json!("joined")), "{joined}");
        client
    }

    /// Publishes to the peer that waits under this id.
    pub fn publish(server: &Server, stream: &str) -> Self {
        Self::start(server, "publish", stream)
    }

    /// Publishes, and waits for any caller.
    pub fn publish_first(server: &Server, stream: &str) -> Self {
        let mut client = Self::publish(server, stream);
        // There is no answer before a peer calls.
        client.socket.send(&json!({ "command": "ping" }).to_string());
        let pong = json(&client.socket.receive_text());
        assert_eq!(pong.get("command"), Some(&json!("pong")), "{pong}");
        client
    }

    /// Plays from the peer that waits under this id.
    pub fn play(server: &Server, stream: &str) -> Self {
        Self::start(server, "play", stream)
    }

    /// Waits to play the stream of any caller. There is no stream yet.
    pub fn play_first(server: &Server, stream: &str) -> Self {
        let mut client = Self::play(server, stream);
        let refused = client.receive();
        assert_eq!(refused.get("definition"), Some(&json!("no_stream_exist")), "{refused}");
        client
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        let message = json(&self.socket.receive_text());
        assert_eq!(message.get("streamId"), Some(&json!(self.stream)), "{message}");
        message
    }

    fn describe(&mut self, kind: &str, sdp: &str) {
        let stream = &self.stream;
        let message = json!({ "command": "takeConfiguration", "streamId": stream, "type": kind, "sdp": sdp });
        self.socket.send(&message.to_string());
    }
}

impl Speaker for Antmedia {
    fn offer(&mut self, sdp: &str) {
        self.describe("offer", sdp);
    }

    fn answer(&mut self, sdp: &str) {
        self.describe("answer", sdp);
    }

    fn candidate(&mut self, candidate: &str, index: u64, mid: &str) {
        let message = json!({
            "command": "takeCandidate", "streamId": self.stream, "label": index, "id": mid, "candidate": candidate,
        });
        self.socket.send(&message.to_string());
    }

    fn hear(&mut self) -> Heard {
        loop {
            let message = self.receive();
            match member(&message, "command") {
                "start" => return Heard::OfferRequest,
                "stop" => return Heard::End,
                "takeConfiguration" => {
                    assert!(message.get("idMapping").is_some_and(Value::is_object), "{message}");
                    return description(member(&message, "type"), member(&message, "sdp"));
                }
                "takeCandidate" => {
                    let index = message.get("label").and_then(Value::as_u64).expect("an integer");
                    return Heard::Candidate(member(&message, "candidate").into(), index);
                }
                "notification" => {
                    let end = ["leaved", "publish_finished", "play_finished"];
                    if end.contains(&member(&message, "definition")) {
                        return Heard::End;
                    }
                }
                _ => panic!("{message}"),
            }
        }
    }

    fn hang_up(&mut self) {
        self.socket.send(&json!({ "command": self.stop, "streamId": self.stream }).to_string());
    }
}
