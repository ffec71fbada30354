//! Clients that register and wait.

use crate::{Server, Socket};

/// A client with a WebSocket: its protocol, its path, and what it sends first. `#` stands for a number.
#[derive(Debug, Clone, Copy)]
pub struct Idle {
    /// The protocol.
    pub dialect: &'static str,
    path: &'static str,
    first: &'static str,
}

impl Idle {
    /// One of each protocol.
    pub const ALL: [Self; 5] = [
        Self { dialect: "text", path: "", first: "HELLO p#" },
        Self { dialect: "rooms", path: "ws/rooms/r#/", first: "" },
        Self {
            dialect: "antmedia",
            path: "WebRTCAppEE/websocket",
            first: r##"{"command":"publish","streamId":"p#"}"##,
        },
        Self {
            dialect: "action",
            path: "signals",
            first: r##"{"action":"join","data":{"s":"JOIN","ch":"p2p","ss":{"userId":"p#","sessionId":"s"},"rid":"r#"}}"##,
        },
        Self {
            dialect: "webrtcsink",
            path: "webrtcsink",
            first: r##"{"type":"setPeerStatus","roles":["producer"],"meta":{"uid":"p#"}}"##,
        },
    ];

    /// Connects with this query, and asks to be registered.
    pub fn start(self, server: &Server, number: u64, query: &str) -> Socket {
        self.start_at(server, &self.path(number), number, query)
    }

    /// The same on another path than the protocol's own.
    pub fn start_at(self, server: &Server, path: &str, number: u64, query: &str) -> Socket {
        let mut socket = Socket::connect_to(&format!("{}{path}{query}", server.ws_url()));
        if !self.first.is_empty() {
            socket.send(&self.first.replace('#', &number.to_string()));
        }
        socket
    }
    /// Its path.
    pub fn path(self, number: u64) -> String {
        self.path.replace('#', &number.to_string())
    }
}
