//! JSON rooms: the frames between a member of `/ws/rooms/<room>/` and the server.

use std::{borrow::Cow, collections::BTreeMap, fmt};

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::{Value, json, value::RawValue};

use crate::{Candidate, InvalidSignal, PeerId, Signal, signal::read_description};

/// A frame of a client: a signal, for one member or for all others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFrame {
    /// The signal.
    pub signal: Signal,
    /// `to`: the member it is for, unchecked.
    pub to: Option<String>,
    /// The frame without its `sender`, if it has one: only the server adds a sender.
    pub cleaned: Option<String>,
}

/// The text is not a [`ClientFrame`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFrame {
    /// Not a JSON object with a `type`, or a member has the wrong type.
    #[error("not a JSON object with a \"type\"")]
    Json,
    /// An unknown `type`.
    #[error("the type is neither \"sdp\" nor \"ice_candidate\" nor \"offer_request\"")]
    Type,
    /// The description or the candidate is not usable.
    #[error(transparent)]
    Signal(#[from] InvalidSignal),
}

#[derive(Deserialize)]
struct Wire<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    sdp: Option<Value>,
    candidate: Option<Value>,
    to: Option<String>,
    #[serde(default, deserialize_with = "is_there")]
    sender: bool,
}

fn is_there<'de, D: Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(value).map(|_| true)
}

impl ClientFrame {
    /// Parses one frame. A missing, null or empty candidate means end of candidates.
    pub fn parse(text: &str) -> Result<Self, InvalidFrame> {
        let Wire { kind, sdp, candidate, to, sender } =
            serde_json::from_str(text).map_err(|_| InvalidFrame::Json)?;
        let signal = match &*kind {
            "sdp" => read_description(sdp.unwrap_or_default())?,
            "ice_candidate" => Signal::Ice(Candidate::read(candidate.unwrap_or_default())?),
            "offer_request" => Signal::OfferRequest,
            _ => return Err(InvalidFrame::Type),
        };
        let cleaned = if sender { Some(without_sender(text)?) } else { None };
        Ok(Self { signal, to, cleaned })
    }
}

fn without_sender(text: &str) -> Result<String, InvalidFrame> {
    let mut object: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|_| InvalidFrame::Json)?;
    object.remove("sender");
    serde_json::to_string(&object).map_err(|_| InvalidFrame::Json)
}

/// A client's frame as the other members get it: with its sender, and otherwise as it was. The frame is a
/// [`ClientFrame`] without a sender.
pub fn with_sender(frame: &str, sender: &PeerId) -> String {
    let members = frame.trim_end().strip_suffix('}').unwrap_or_default();
    format!("{members},\"sender\":{}}}", json!(sender.as_str()))
}

/// A frame of the server. `Display` writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerFrame<'a> {
    /// A signal of a member.
    Signal {
        /// The signal.
        signal: &'a Signal,
        /// The member.
        sender: &'a PeerId,
    },
    /// The room at the time of the join, for a client that asked for notices.
    Room {
        /// The client's own id.
        you: &'a PeerId,
        /// The other members, in the order in which they joined.
        members: &'a [PeerId],
    },
    /// A member joined.
    Joined(&'a PeerId),
    /// A member left.
    Left(&'a PeerId),
    /// A frame or the join is refused.
    Error {
        /// For programs.
        code: &'a str,
        /// For people.
        message: &'a str,
    },
}

impl fmt::Display for ServerFrame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let json = match self {
            Self::Signal { signal: Signal::Sdp { kind, sdp }, sender } => {
                json!({ "type": "sdp", "sdp": { "type": kind, "sdp": sdp }, "sender": sender.as_str() })
            }
            Self::Signal { signal: Signal::Ice(candidate), sender } => {
                json!({ "type": "ice_candidate", "candidate": candidate, "sender": sender.as_str() })
            }
            Self::Signal { signal: Signal::OfferRequest, sender } => {
                json!({ "type": "offer_request", "sender": sender.as_str() })
            }
            Self::Room { you, members } => {
                let members: Vec<&str> = members.iter().map(PeerId::as_str).collect();
                json!({ "type": "room", "you": you.as_str(), "members": members })
            }
            Self::Joined(sender) => json!({ "type": "joined", "sender": sender.as_str() }),
            Self::Left(sender) => json!({ "type": "left", "sender": sender.as_str() }),
            Self::Error { code, message } => json!({ "type": "error", "code": code, "message": message }),
        };
        json.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::SdpType;

    /// The first example of the document, without its comment.
    const OFFER: &str = r#"{
  "type": "sdp",
  "sdp": {
    "type": "offer",
    "sdp": "v=0\r\no=- 4611739839264850505 2 IN IP4 127.0.0.1\r\ns=-\r..."
  }
}
"#;

    /// The second one: what other members get.
    const ANSWER: &str = r#"{
  "type": "sdp",
  "sdp": {
    "type": "answer",
    "sdp": "v=0\r\no=- 4611739839264850505 2 IN IP4 127.0.0.1\r\ns=-\r..."
  },
  "sender": "username_of_other_participant"
}"#;

    const CANDIDATE: &str = r#"{
  "type": "ice_candidate",
  "candidate": {
    "candidate": "candidate:842163049 1 udp 1677729535 192.168.1.10 54121 typ srflx raddr 192.168.1.10 rport 54121 generation 0 ufrag 1zdr network-id 1",
    "sdpMid": "audio",
    "sdpMLineIndex": 0
  }
}"#;

    const SENT_CANDIDATE: &str = r#"{
  "type": "ice_candidate",
  "candidate": {
    "candidate": "candidate:842163049 1 udp 1677729535 192.168.1.10 54121 typ srflx raddr 192.168.1.10 rport 54121 generation 0 ufrag 1zdr network-id 1",
    "sdpMid": "audio",
    "sdpMLineIndex": 0
  },
  "sender": "username_of_other_participant"
}"#;

    fn sdp(kind: SdpType) -> Signal {
        let sdp = "v=0\r\no=- 4611739839264850505 2 IN IP4 127.0.0.1\r\ns=-\r...".into();
        Signal::Sdp { kind, sdp }
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn the_examples_of_the_document_are_read_and_written() {
        let sender = PeerId::new("username_of_other_participant").unwrap();
        let offer = ClientFrame::parse(OFFER).unwrap();
        assert_eq!(offer, ClientFrame { signal: sdp(SdpType::Offer), to: None, cleaned: None });
        let candidate = ClientFrame::parse(CANDIDATE).unwrap();
        let Signal::Ice(parts) = &candidate.signal else { panic!("{candidate:?}") };
        assert_eq!((parts.sdp_mid.as_deref(), parts.sdp_m_line_index), (Some("audio"), Some(0)));
        assert_eq!(value(&with_sender(CANDIDATE, &sender)), value(SENT_CANDIDATE));
        let written = ServerFrame::Signal { signal: &candidate.signal, sender: &sender }.to_string();
        assert_eq!(value(&written), value(SENT_CANDIDATE));
        let answer = ClientFrame::parse(ANSWER).unwrap();
        assert_eq!(answer.signal, sdp(SdpType::Answer));
        assert_eq!(value(&with_sender(&answer.cleaned.unwrap(), &sender)), value(ANSWER));
        let written = ServerFrame::Signal { signal: &answer.signal, sender: &sender }.to_string();
        assert_eq!(value(&written), value(ANSWER));
    }

    #[test]
    fn a_sender_is_only_what_the_server_says() {
        let sender = PeerId::new("o'\"brien").unwrap();
        for text in [
            r#"{"sender":"boss","type":"offer_request","x":[1,{"sender":2}]}"#,
            r#"{"type":"offer_request","x":[1,{"sender":2}],"sender":null} "#,
            r#"{"type":"offer_request","x":[1,{"sender":2}],"send\u0065r":{}}"#,
            r#"{"type":"offer_request","x":[1,{"sender":2}]}"#,
        ] {
            let frame = ClientFrame::parse(text).unwrap();
            let forwarded = with_sender(frame.cleaned.as_deref().unwrap_or(text), &sender);
            let expected =
                json!({"type": "offer_request", "x": [1, {"sender": 2}], "sender": sender.as_str()});
            assert_eq!(value(&forwarded), expected, "{text}");
            assert_eq!(forwarded.matches("sender").count(), 2, "{forwarded}");
        }
        let twice = r#"{"type":"offer_request","sender":"a","sender":"b"}"#;
        assert_eq!(ClientFrame::parse(twice), Err(InvalidFrame::Json));
    }

    #[test]
    fn every_end_of_candidates_is_read() {
        for text in [
            r#"{"type":"ice_candidate"}"#,
            r#"{"type":"ice_candidate","candidate":null,"to":"bob"}"#,
            r#"{"type":"ice_candidate","candidate":{"candidate":""}}"#,
        ] {
            let frame = ClientFrame::parse(text).unwrap();
            assert!(matches!(frame.signal, Signal::Ice(candidate) if candidate.is_end()), "{text}");
        }
    }

    #[test]
    fn the_rest_is_refused() {
        for text in
            ["", "1", "[]", "{}", "{\"type\":1}", "{\"type\":\"sdp\",\"to\":1}", "{\"type\":\"sdp\"} x"]
        {
            assert_eq!(ClientFrame::parse(text), Err(InvalidFrame::Json), "{text}");
        }
        assert_eq!(ClientFrame::parse("{\"type\":\"chat\"}"), Err(InvalidFrame::Type));
        for text in [
            "{\"type\":\"sdp\"}",
            "{\"type\":\"sdp\",\"sdp\":\"v=0\"}",
            "{\"type\":\"sdp\",\"sdp\":{\"type\":\"rollback\",\"sdp\":\"\"}}",
            "{\"type\":\"ice_candidate\",\"candidate\":7}",
        ] {
            assert!(matches!(ClientFrame::parse(text), Err(InvalidFrame::Signal(_))), "{text}");
        }
    }

    #[test]
    fn notices_and_errors_are_written() {
        let (ann, bob) = (PeerId::new("ann").unwrap(), PeerId::new("bob").unwrap());
        let members = [bob.clone()];
        for (frame, expected) in [
            (
                ServerFrame::Room { you: &ann, members: &members },
                json!({"type": "room", "you": "ann", "members": ["bob"]}),
            ),
            (ServerFrame::Joined(&bob), json!({"type": "joined", "sender": "bob"})),
            (ServerFrame::Left(&bob), json!({"type": "left", "sender": "bob"})),
            (
                ServerFrame::Error { code: "c", message: "m" },
                json!({"type": "error", "code": "c", "message": "m"}),
            ),
        ] {
            assert_eq!(value(&frame.to_string()), expected);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(candidate in "\\PC*", mid in proptest::option::of("\\PC*"), index in proptest::option::of(0u32..)) {
            let signal = Signal::Ice(Candidate { candidate, sdp_mid: mid, sdp_m_line_index: index });
            let sender = PeerId::new("x").unwrap();
            let written = ServerFrame::Signal { signal: &signal, sender: &sender }.to_string();
            prop_assert_eq!(ClientFrame::parse(&written).unwrap().signal, signal);
        }

        #[test]
        fn other_members_survive(name in "\\PC*", content in "\\PC*") {
            prop_assume!(!["type", "sdp", "candidate", "to", "sender"].contains(&name.as_str()));
            let mut object = json!({"type": "offer_request"});
            object.as_object_mut().unwrap().insert(name, content.into());
            let text = object.to_string();
            prop_assert!(ClientFrame::parse(&text).is_ok());
            let forwarded = with_sender(&text, &PeerId::new("x").unwrap());
            object.as_object_mut().unwrap().insert("sender".into(), "x".into());
            prop_assert_eq!(value(&forwarded), object);
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _ = ClientFrame::parse(&text);
        }
    }
}
