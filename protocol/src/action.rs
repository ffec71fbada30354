//! `action`/`data` envelopes: the frames between a client and the server, and the bare signals that clients receive.

use std::{
    borrow::Cow,
    fmt::{self, Display},
};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json, value::RawValue};

use crate::{PeerId, RoomId, SdpType, Signal, ice_urls};

/// What a signal is about: its `s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verb {
    /// Joins a room.
    Join,
    /// Shows that the client is alive.
    Heartbeat,
    /// Leaves the room.
    Leave,
    /// Removes a user from a room.
    Kick,
    /// A description that asks for an answer.
    Offer,
    /// The answer to an offer.
    Answer,
    /// A candidate.
    Ice,
    /// Asks the server for an offer.
    Watch,
}

impl Verb {
    const ALL: [(Self, &'static str, &'static str); 8] = [
        (Self::Join, "join", "JOIN"),
        (Self::Heartbeat, "heartbeat", "HEARTBEAT"),
        (Self::Leave, "leave", "LEAVE"),
        (Self::Kick, "kick", "KICK"),
        (Self::Offer, "offer", "OFFER"),
        (Self::Answer, "answer", "ANSWER"),
        (Self::Ice, "iceCandidate", "ICE"),
        (Self::Watch, "watch", "WATCH"),
    ];

    /// The verb of an `action`.
    fn of_action(action: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, name, _)| *name == action).map(|row| row.0)
    }

    /// The verb of a signal between peers. `None`: this protocol has none for it.
    pub fn of(signal: &Signal) -> Option<Self> {
        match signal {
            Signal::Sdp { kind: SdpType::Offer, .. } => Some(Self::Offer),
            Signal::Sdp { kind: SdpType::Answer, .. } => Some(Self::Answer),
            Signal::Ice(_) => Some(Self::Ice),
            Signal::OfferRequest => None,
        }
    }

    /// The `s` of its signals.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|row| row.0 == self).map_or("", |row| row.2)
    }
}

/// The type of a room: its `ch`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channel {
    /// Media from everyone to everyone, through a media node.
    M2m,
    /// Audio from everyone to everyone, through a media node.
    A2m,
    /// Media between the peers themselves.
    P2p,
}

/// The codes of acknowledgements: their `c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// Carried out.
    Ok = 200,
    /// The server failed: the client shall leave the room.
    Internal = 500,
    /// The signal is invalid.
    InvalidSignal = 2001,
    /// The signal is not supported in this channel.
    UnsupportedChannel = 2002,
    /// The client is not in this room.
    RoomNotFound = 4001,
    /// The recipient is not in the room.
    RecipientNotMember = 4003,
    /// The user has left the room.
    UserLeft = 4024,
    /// The user may not send this signal.
    PermissionNotFound = 4051,
}

/// A frame of a client.
#[derive(Debug)]
pub struct ClientFrame<'a> {
    /// Its signal, as the client wrote it: a part of the frame.
    pub data: &'a str,
    /// What the signal is about.
    pub verb: Verb,
    /// `ch`. HEARTBEAT, LEAVE and KICK may lack it.
    pub channel: Option<Channel>,
    /// `ss.userId`, unchecked. HEARTBEAT, LEAVE and KICK may lack it.
    pub user: Option<Cow<'a, str>>,
    /// `rid`, unchecked. HEARTBEAT, LEAVE and KICK may lack it.
    pub room: Option<Cow<'a, str>>,
    /// `to`, or its `userId`, unchecked.
    pub to: Option<String>,
    /// `sdp` of OFFER, ANSWER and ICE.
    pub sdp: Option<String>,
    /// `bid` of a HEARTBEAT: any JSON.
    pub beat: Option<&'a str>,
    /// Whether a HEARTBEAT wants an acknowledgement.
    pub send_ack: bool,
}

/// A frame that is no [`ClientFrame`], as far as it is one.
#[derive(Debug, PartialEq, Eq)]
pub struct InvalidFrame<'a> {
    /// Its signal.
    pub data: Option<&'a str>,
    /// What the signal is about.
    pub verb: Option<Verb>,
    /// What is wrong.
    pub message: &'static str,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    action: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

#[derive(Deserialize)]
struct Data<'a> {
    s: Option<Verb>,
    ch: Option<Channel>,
    #[serde(borrow)]
    ss: Option<Session<'a>>,
    #[serde(borrow)]
    rid: Option<Cow<'a, str>>,
    to: Option<Recipient>,
    sdp: Option<String>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    send_ack: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Session<'a> {
    #[serde(borrow)]
    user_id: Cow<'a, str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Recipient {
    User(String),
    Session {
        #[serde(rename = "userId")]
        user_id: String,
    },
}

impl<'a> ClientFrame<'a> {
    /// Parses one frame. Unknown members are ignored.
    pub fn parse(text: &'a str) -> Result<Self, InvalidFrame<'a>> {
        let fault = |data, verb, message| InvalidFrame { data, verb, message };
        let Ok(Envelope { action, data }) = serde_json::from_str(text) else {
            return Err(fault(None, None, "not a JSON object with an action and data"));
        };
        let data = data.get();
        let verb = Verb::of_action(&action).ok_or(fault(Some(data), None, "unknown action"))?;
        let invalid = |message| fault(Some(data), Some(verb), message);
        let parsed: Data<'a> = serde_json::from_str(data)
            .map_err(|_| invalid("the data is no signal: a member has the wrong type or value"))?;
        if parsed.s.is_some_and(|s| s != verb) {
            return Err(invalid("\"s\" contradicts the action"));
        }
        let to = parsed.to.map(|to| match to {
            Recipient::User(user) | Recipient::Session { user_id: user } => user,
        });
        let frame = Self {
            data,
            verb,
            channel: parsed.ch,
            user: parsed.ss.map(|session| session.user_id),
            room: parsed.rid,
            to,
            sdp: parsed.sdp,
            beat: parsed.bid.map(RawValue::get),
            send_ack: parsed.send_ack.unwrap_or_default(),
        };
        frame.missing().map_or(Ok(()), |message| Err(invalid(message)))?;
        Ok(frame)
    }

    /// What the signal lacks.
    fn missing(&self) -> Option<&'static str> {
        if matches!(self.verb, Verb::Heartbeat | Verb::Leave | Verb::Kick) {
            return None;
        }
        let has_sdp = matches!(self.verb, Verb::Join | Verb::Watch) || self.sdp.is_some();
        match (self.channel, &self.user, &self.room) {
            (None, ..) => Some("\"ch\" is missing"),
            (_, None, _) => Some("\"ss\" with a \"userId\" is missing"),
            (.., None) => Some("\"rid\" is missing"),
            _ => (!has_sdp).then_some("\"sdp\" is missing"),
        }
    }
}

/// A member of a room, as lists show it. A peer of another protocol is one session of its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member<'a>(pub &'a PeerId);

impl Member<'_> {
    fn json(self) -> Value {
        let id = self.0.as_str();
        json!({ "id": id, "sdp": "", "video": true, "audio": true, "username": id, "sessionId": id })
    }
}

/// A frame of the server. `Display` writes it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ServerFrame<'a> {
    /// The acknowledgement of a JOIN.
    Joined {
        /// The room.
        room: &'a RoomId,
        /// The other members, in the order in which they joined.
        members: &'a [PeerId],
        /// Whether the client may send OFFER.
        can_offer: bool,
        /// `RTCIceServer` objects.
        ice_servers: &'a [Value],
    },
    /// The acknowledgement of a LEAVE.
    Left(&'a RoomId),
    /// The acknowledgement of a HEARTBEAT: its `bid` as it was, JSON.
    Alive(Option<&'a str>),
    /// A member joined.
    MemberJoined(&'a RoomId, &'a PeerId),
    /// A member left.
    MemberLeft(&'a RoomId, &'a PeerId),
    /// A signal is refused.
    Error {
        /// Why, for programs.
        code: Code,
        /// What the signal is about, if that is known.
        verb: Option<Verb>,
        /// The signal as its client wrote it: JSON.
        data: Option<&'a str>,
        /// Why, for people.
        message: &'a str,
    },
    /// A bare signal of a peer of another protocol.
    Signal {
        /// The signal. A request for an offer is written as nothing.
        signal: &'a Signal,
        /// The room.
        room: &'a RoomId,
        /// The sender.
        from: &'a PeerId,
        /// The recipient.
        to: &'a PeerId,
    },
}

impl Display for ServerFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Joined { room, members, can_offer, ice_servers } => {
                let body = json!({
                    "pps": members.iter().map(|id| Member(id).json()).collect::<Vec<_>>(),
                    "rid": room.as_str(),
                    "pt": if can_offer { "publisher" } else { "viewer" },
                    "icfg": { "is": stun(ice_servers), "iceServers": ice_servers },
                });
                ack(f, "JOIN", &body)
            }
            Self::Left(room) => ack(f, "LEAVE", &json!({ "rid": room.as_str() })),
            Self::Alive(beat) => {
                let beat = beat.unwrap_or("null");
                write!(f, r#"{{"c":200,"s":"HEARTBEAT","b":{{"bid":{beat}}}}}"#)
            }
            Self::MemberJoined(room, member) => {
                let body = json!({ "rid": room.as_str(), "joined": [Member(member).json()], "left": [] });
                ack(f, "PUBLISH_LIST_CHANGED", &body)
            }
            Self::MemberLeft(room, member) => {
                let body = json!({ "rid": room.as_str(), "joined": [], "left": [member.as_str()] });
                ack(f, "PUBLISH_LIST_CHANGED", &body)
            }
            Self::Error { code, verb, data, message } => {
                let (verb, message) = (json!(verb), json!(message));
                let (code, data) = (code as u16, data.unwrap_or("null"));
                write!(f, r#"{{"c":{code},"s":{verb},"b":{{"req":{data},"msg":{message}}}}}"#)
            }
            Self::Signal { signal, room, from, to } => {
                let (Some(verb), Some(sdp)) = (Verb::of(signal), text(signal)) else { return Ok(()) };
                let from = from.as_str();
                let session = json!({
                    "userId": from, "sessionId": from, "category": "stream", "host": "Web", "deviceId": from,
                });
                json!({
                    "s": verb, "ch": Channel::P2p, "ss": session, "rid": room.as_str(), "to": to.as_str(), "sdp": sdp,
                })
                .fmt(f)
            }
        }
    }
}

fn ack(f: &mut fmt::Formatter<'_>, name: &str, body: &Value) -> fmt::Result {
    json!({ "c": 200, "s": name, "b": body }).fmt(f)
}

fn text(signal: &Signal) -> Option<&str> {
    match signal {
        Signal::Sdp { sdp, .. } => Some(sdp),
        Signal::Ice(candidate) => Some(&candidate.candidate),
        Signal::OfferRequest => None,
    }
}

/// The URLs that need no credentials: the list of the protocol has no place for any.
fn stun(ice_servers: &[Value]) -> Vec<&str> {
    ice_urls(ice_servers).map(|(url, _)| url).filter(|url| url.starts_with("stun")).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Candidate;

    const SESSION: &str = r#""ss": {
    "userId": "u1",
    "sessionId": "s1",
    "category": "screenshare",
    "host": "iOS_EX",
    "deviceId": "d1"
  },"#;

    fn envelope(action: &str, data: &str) -> String {
        format!("{{\n  \"action\": \"{action}\",\n  \"data\": {data}\n}}")
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    fn id(text: &str) -> PeerId {
        PeerId::new(text).unwrap()
    }

    /// Every client signal of the document, with values in place of its types.
    fn examples() -> Vec<(Verb, &'static str, String)> {
        let session = r#"{"userId": "u2", "sessionId": "s2"}"#;
        let signal = |s: &str, ch: &str, more: &str| {
            format!(
                "{{\n  \"s\": \"{s}\",\n  \"ch\": \"{ch}\",\n  {SESSION}\n  \"rid\": \"r\",\n  {more}\n}}"
            )
        };
        let mut all = Vec::new();
        for ch in ["m2m", "a2m", "p2p"] {
            let options =
                r#""to": "u2", "sdp": "v=0\r\n", "op": {"restarting": true, "hlsForwarding": false}"#;
            all.push((Verb::Offer, "offer", signal("OFFER", ch, options)));
            for to in [session, "\"u2\""] {
                let more = format!(r#""to": {to}, "sdp": "v=0\r\n""#);
                all.push((Verb::Answer, "answer", signal("ANSWER", ch, &more)));
                all.push((Verb::Ice, "iceCandidate", signal("ICE", ch, &more)));
            }
            all.push((Verb::Watch, "watch", signal("WATCH", ch, &format!("\"to\": {session}"))));
        }
        all
    }

    #[test]
    fn the_examples_of_the_document_are_read() {
        for (verb, action, data) in examples() {
            let text = envelope(action, &data);
            let frame = ClientFrame::parse(&text).unwrap();
            assert_eq!((frame.verb, frame.data), (verb, data.as_str()));
            assert_eq!((frame.user.as_deref(), frame.room.as_deref()), (Some("u1"), Some("r")));
            assert_eq!(frame.to.as_deref(), Some("u2"), "{text}");
            assert_eq!(frame.sdp.as_deref(), (verb != Verb::Watch).then_some("v=0\r\n"));
            assert!(data.contains(&json!(frame.channel.unwrap()).to_string()));
        }
    }

    #[test]
    fn the_other_signals_are_read() {
        let join = r#"{"s":"JOIN","ch":"p2p","ss":{"userId":"u1"},"rid":"r","op":{"roomCreating":true}}"#;
        let text = envelope("join", join);
        let frame = ClientFrame::parse(&text).unwrap();
        assert_eq!((frame.verb, frame.channel, frame.to), (Verb::Join, Some(Channel::P2p), None));
        let text = envelope("heartbeat", r#"{"s":"HEARTBEAT","bid":[1],"send_ack":true}"#);
        let frame = ClientFrame::parse(&text).unwrap();
        assert_eq!((frame.beat, frame.send_ack), (Some("[1]"), true));
        for (action, verb) in [("leave", Verb::Leave), ("kick", Verb::Kick), ("heartbeat", Verb::Heartbeat)] {
            let text = envelope(action, "{}");
            assert_eq!(ClientFrame::parse(&text).unwrap().verb, verb);
        }
    }

    #[test]
    fn what_is_wrong_is_said_as_far_as_it_is_known() {
        for (action, data, verb, message) in [
            ("dance", "{\"s\":1}", None, "unknown action"),
            ("offer", "7", Some(Verb::Offer), "no signal"),
            ("offer", "{\"s\":\"ANSWER\"}", Some(Verb::Offer), "contradicts"),
            ("offer", "{\"s\":\"TANGO\"}", Some(Verb::Offer), "no signal"),
            ("offer", "{\"ch\":\"x\"}", Some(Verb::Offer), "no signal"),
            ("ice", "{}", None, "unknown action"),
            ("iceCandidate", "{}", Some(Verb::Ice), "\"ch\""),
            ("join", "{\"ch\":\"p2p\"}", Some(Verb::Join), "\"userId\""),
            ("join", "{\"ch\":\"p2p\",\"ss\":{\"userId\":\"u\"}}", Some(Verb::Join), "\"rid\""),
            (
                "answer",
                "{\"ch\":\"p2p\",\"ss\":{\"userId\":\"u\"},\"rid\":\"r\"}",
                Some(Verb::Answer),
                "\"sdp\"",
            ),
            ("answer", "{\"to\":{\"sessionId\":\"u\"}}", Some(Verb::Answer), "no signal"),
        ] {
            let text = envelope(action, data);
            let fault = ClientFrame::parse(&text).unwrap_err();
            assert_eq!((fault.verb, fault.data), (verb, Some(data)), "{text}");
            assert!(fault.message.contains(message), "{} instead of {message}", fault.message);
        }
        for text in ["", "{}", "[]", "{\"action\":\"offer\"}", "{\"action\":1,\"data\":{}}"] {
            let fault = ClientFrame::parse(text).unwrap_err();
            assert_eq!((fault.verb, fault.data), (None, None), "{text}");
        }
    }

    #[test]
    fn each_code_is_that_of_the_document() {
        for (code, number) in [
            (Code::Ok, 200),
            (Code::Internal, 500),
            (Code::InvalidSignal, 2001),
            (Code::UnsupportedChannel, 2002),
            (Code::RoomNotFound, 4001),
            (Code::RecipientNotMember, 4003),
            (Code::UserLeft, 4024),
            (Code::PermissionNotFound, 4051),
        ] {
            let data = "{ \"s\":\"OFFER\" }";
            let error =
                ServerFrame::Error { code, verb: Some(Verb::Offer), data: Some(data), message: "\"no\"" };
            let text = error.to_string();
            assert!(text.contains(data), "the signal is quoted as it was: {text}");
            let expected = json!({"c": number, "s": "OFFER", "b": {"req": {"s": "OFFER"}, "msg": "\"no\""}});
            assert_eq!(value(&text), expected);
        }
        let error = ServerFrame::Error { code: Code::InvalidSignal, verb: None, data: None, message: "" };
        assert_eq!(value(&error.to_string()), json!({"c": 2001, "s": null, "b": {"req": null, "msg": ""}}));
    }

    #[test]
    fn acknowledgements_and_notices_are_written() {
        let (room, bob) = (RoomId::new("r").unwrap(), id("bob"));
        let servers = [
            json!({"urls": "stun:h:3478"}),
            json!({"urls": ["turn:h:3478", "stun:i"], "username": "u", "credential": "c"}),
        ];
        let member = json!({"id": "bob", "sdp": "", "video": true, "audio": true, "username": "bob", "sessionId": "bob"});
        let members = [bob.clone()];
        let joined =
            ServerFrame::Joined { room: &room, members: &members, can_offer: true, ice_servers: &servers };
        let body = json!({
            "pps": [member], "rid": "r", "pt": "publisher",
            "icfg": {"is": ["stun:h:3478", "stun:i"], "iceServers": servers},
        });
        assert_eq!(value(&joined.to_string()), json!({"c": 200, "s": "JOIN", "b": body}));
        let left = json!({"c": 200, "s": "LEAVE", "b": {"rid": "r"}});
        assert_eq!(value(&ServerFrame::Left(&room).to_string()), left);
        let alive = ServerFrame::Alive(Some("{ \"n\" : 1 }")).to_string();
        assert_eq!(alive, r#"{"c":200,"s":"HEARTBEAT","b":{"bid":{ "n" : 1 }}}"#);
        let changed = |joined: Value, left: Value| json!({"c": 200, "s": "PUBLISH_LIST_CHANGED", "b": {"rid": "r", "joined": joined, "left": left}});
        let text = ServerFrame::MemberJoined(&room, &bob).to_string();
        assert_eq!(value(&text), changed(json!([member]), json!([])));
        let text = ServerFrame::MemberLeft(&room, &bob).to_string();
        assert_eq!(value(&text), changed(json!([]), json!(["bob"])));
    }

    proptest! {
        #[test]
        fn a_bare_signal_in_an_envelope_is_read_back(sdp in "\\PC*", which in 0..3u8) {
            let signal = match which {
                0 => Signal::Sdp { kind: SdpType::Offer, sdp: sdp.clone() },
                1 => Signal::Sdp { kind: SdpType::Answer, sdp: sdp.clone() },
                _ => Signal::Ice(Candidate { candidate: sdp.clone(), ..Candidate::default() }),
            };
            let (room, from, to) = (RoomId::new("r").unwrap(), id("a"), id("b"));
            let data = ServerFrame::Signal { signal: &signal, room: &room, from: &from, to: &to }.to_string();
            let action = ["offer", "answer", "iceCandidate"][usize::from(which)];
            let text = envelope(action, &data);
            let frame = ClientFrame::parse(&text).unwrap();
            prop_assert_eq!(frame.data, &data);
            prop_assert_eq!((frame.user.as_deref(), frame.to.as_deref()), (Some("a"), Some("b")));
            prop_assert_eq!((frame.sdp, frame.channel), (Some(sdp), Some(Channel::P2p)));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = ClientFrame::parse(&text);
        }
    }
}
