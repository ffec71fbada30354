//! Members of one room of two, in the protocols that have rooms. The one that joins last offers.

use serde_json::{Value, json};

use super::{Heard, Speaker, description, json, member};
use crate::{Server, Socket, socket::Received};

/// How a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tongue {
    /// `ROOM` of the text protocol.
    Text,
    /// JSON rooms.
    Rooms,
    /// `action`/`data` envelopes, `p2p`.
    Action,
}

impl Tongue {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Text, Self::Rooms, Self::Action];
}

/// A member of a room of two.
#[derive(Debug)]
pub struct Member {
    socket: Socket,
    tongue: Tongue,
    room: String,
    name: String,
    /// The other member, if the protocol names it.
    other: String,
}

impl Member {
    /// Joins the room, and waits until it is in it.
    pub fn join(server: &Server, tongue: Tongue, room: &str, name: &str) -> Self {
        let url = server.ws_url();
        let socket = match tongue {
            Tongue::Text => Socket::register(server, name),
            Tongue::Rooms => Socket::connect_to(&format!("{url}ws/rooms/{room}/?notices=1&username={name}")),
            Tongue::Action => Socket::connect_to(&format!("{url}signals")),
        };
        let (room, name) = (room.to_owned(), name.to_owned());
        let mut member = Self { socket, tongue, room, name, other: String::new() };
        member.enter();
        member
    }

    fn enter(&mut self) {
        match self.tongue {
            Tongue::Text => {
                self.socket.send(&format!("ROOM {}", self.room));
                let answer = self.socket.receive_text();
                self.other = answer.strip_prefix("ROOM_OK ").expect("the members").into();
            }
            Tongue::Rooms => {
                let room = json(&self.socket.receive_text());
                assert_eq!(member(&room, "type"), "room", "{room}");
            }
            Tongue::Action => {
                self.signal("join", "JOIN", None);
                let joined = json(&self.socket.receive_text());
                assert_eq!((&joined["c"], &joined["s"]), (&json!(200), &json!("JOIN")), "{joined}");
            }
        }
    }

    /// Sends an envelope. In a room of two no signal needs `to`.
    fn signal(&mut self, action: &str, verb: &str, sdp: Option<&str>) {
        let name = &self.name;
        let session = json!({
            "userId": name, "sessionId": name, "category": "stream", "host": "Web", "deviceId": name,
        });
        let mut data = json!({ "s": verb, "ch": "p2p", "ss": session, "rid": self.room });
        if let Some(sdp) = sdp {
            data["sdp"] = sdp.into();
        }
        self.socket.send(&json!({ "action": action, "data": data }).to_string());
    }

    fn describe(&mut self, kind: &str, sdp: &str) {
        let sdp_init = json!({ "type": kind, "sdp": sdp });
        match self.tongue {
            Tongue::Text => self.tell(&json!({ "sdp": sdp_init })),
            Tongue::Rooms => self.socket.send(&json!({ "type": "sdp", "sdp": sdp_init }).to_string()),
            Tongue::Action => self.signal(kind, &kind.to_uppercase(), Some(sdp)),
        }
    }

    fn tell(&mut self, message: &Value) {
        self.socket.send(&format!("ROOM_PEER_MSG {} {message}", self.other));
    }

    /// What a frame of the text protocol is. `None`: not about the call.
    fn of_text(&mut self, frame: &str) -> Option<Heard> {
        let (verb, rest) = frame.split_once(' ').unwrap_or_else(|| panic!("{frame}"));
        match verb {
            "ROOM_PEER_JOINED" => self.other = rest.into(),
            "ROOM_PEER_LEFT" => return Some(Heard::End),
            "ROOM_PEER_MSG" => {
                let (from, message) = rest.split_once(' ').unwrap_or_else(|| panic!("{frame}"));
                assert_eq!(from, self.other);
                let message = json(message);
                return Some(match message.get("sdp") {
                    Some(sdp) => description(member(sdp, "type"), member(sdp, "sdp")),
                    None => candidate(&message["ice"]),
                });
            }
            _ => panic!("{frame}"),
        }
        None
    }
}

impl Speaker for Member {
    fn offer(&mut self, sdp: &str) {
        self.describe("offer", sdp);
    }

    fn answer(&mut self, sdp: &str) {
        self.describe("answer", sdp);
    }

    fn candidate(&mut self, candidate: &str, index: u64, mid: &str) {
        let ice = json!({ "candidate": candidate, "sdpMLineIndex": index, "sdpMid": mid });
        match self.tongue {
            Tongue::Text => self.tell(&json!({ "ice": ice })),
            Tongue::Rooms => {
                self.socket.send(&json!({ "type": "ice_candidate", "candidate": ice }).to_string());
            }
            Tongue::Action => self.signal("iceCandidate", "ICE", Some(candidate)),
        }
    }

    fn hear(&mut self) -> Heard {
        loop {
            let Received::Text(frame) = self.socket.receive() else { panic!("the connection ended") };
            let heard = match self.tongue {
                Tongue::Text => self.of_text(&frame),
                Tongue::Rooms => of_rooms(&json(&frame)),
                Tongue::Action => of_action(&json(&frame)),
            };
            if let Some(heard) = heard {
                return heard;
            }
        }
    }

    fn hang_up(&mut self) {
        match self.tongue {
            Tongue::Action => self.signal("leave", "LEAVE", None),
            _ => self.socket.tcp().shutdown(std::net::Shutdown::Both).expect("open"),
        }
    }
}

fn candidate(ice: &Value) -> Heard {
    let index = ice["sdpMLineIndex"].as_u64().unwrap_or_else(|| panic!("no index in {ice}"));
    Heard::Candidate(member(ice, "candidate").into(), index)
}

fn of_rooms(message: &Value) -> Option<Heard> {
    match member(message, "type") {
        "sdp" => Some(description(member(&message["sdp"], "type"), member(&message["sdp"], "sdp"))),
        "ice_candidate" => Some(candidate(&message["candidate"])),
        "left" => Some(Heard::End),
        "joined" => None,
        _ => panic!("{message}"),
    }
}

/// Bare signals, and the news of the room. A candidate of this protocol is one of the first m-line.
fn of_action(message: &Value) -> Option<Heard> {
    match member(message, "s") {
        "PUBLISH_LIST_CHANGED" => (message["b"]["left"] != json!([])).then_some(Heard::End),
        "ICE" => Some(Heard::Candidate(member(message, "sdp").into(), 0)),
        verb @ ("OFFER" | "ANSWER") => Some(description(&verb.to_lowercase(), member(message, "sdp"))),
        _ => panic!("{message}"),
    }
}
