//! The signalling protocol of GStreamer's `webrtcsink` and `webrtcsrc` (gst-plugins-rs 0.15): JSON objects, tagged by
//! `type`.
//!
//! [`ClientMessage`] and [`ServerMessage`] are the frames of client and server. Both parse and print, and a parsed
//! message prints as a frame that parses the same.

use std::{borrow::Cow, fmt};

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use crate::malformed::Malformed;
use crate::{Candidate, Signal, signal::SdpInit};

/// What a peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Role {
    /// It sends media to peers that start a session with it.
    Producer,
    /// It is notified when the status of any peer changes.
    Listener,
    /// It waits for sessions that producers start with it.
    Consumer,
}

/// A frame from a client.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ClientMessage {
    /// What the peer does from now on.
    SetPeerStatus {
        /// Its roles. None: it only starts sessions as a consumer.
        roles: Vec<Role>,
        /// Its description for other peers, any JSON.
        #[serde(default)]
        meta: Option<Value>,
        /// The id that the server chose. It is not read.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        peer_id: Option<String>,
    },
    /// Start a session with a peer.
    StartSession {
        /// The peer.
        peer_id: String,
        /// The SDP of an offer. Without it, the producer offers.
        #[serde(default)]
        offer: Option<String>,
    },
    /// End a session.
    EndSession {
        /// The session.
        session_id: String,
    },
    /// A message for the other side of a session.
    Peer(PeerMessage),
    /// List the producers.
    List,
    /// List the consumers that wait for sessions.
    ListConsumers,
    /// Sent first by some clients. It has no answer.
    SetProtocolVersion,
}

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ServerMessage<'a> {
    /// The first frame.
    Welcome {
        /// The id of the client.
        peer_id: Cow<'a, str>,
    },
    /// For listeners: what a peer does from now on.
    PeerStatusChanged {
        /// Its roles. None: it can no longer be called.
        roles: Vec<Role>,
        /// Its description.
        #[serde(default)]
        meta: Option<Value>,
        /// The peer.
        peer_id: Cow<'a, str>,
    },
    /// For a producer: a session has started.
    StartSession {
        /// The consumer.
        peer_id: Cow<'a, str>,
        /// The session.
        session_id: Cow<'a, str>,
        /// The SDP of the consumer's offer, which the producer answers. Without it, the producer offers.
        #[serde(default)]
        offer: Option<Cow<'a, str>>,
    },
    /// For a consumer: a session has started.
    SessionStarted {
        /// The producer.
        peer_id: Cow<'a, str>,
        /// The session.
        session_id: Cow<'a, str>,
    },
    /// The other side ended a session.
    EndSession {
        /// The session.
        session_id: Cow<'a, str>,
    },
    /// A message from the other side of a session.
    Peer(PeerMessage),
    /// The producers.
    List {
        /// Each of them.
        producers: Vec<Listed<'a>>,
    },
    /// The consumers that wait for sessions.
    ListConsumers {
        /// Each of them.
        consumers: Vec<Listed<'a>>,
    },
    /// A request is refused.
    Error {
        /// The reason, for people.
        details: Cow<'a, str>,
    },
}

/// A peer in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Listed<'a> {
    /// Its id.
    pub id: Cow<'a, str>,
    /// Its description.
    #[serde(default)]
    pub meta: Option<Value>,
}

/// A message of a session: a description or a candidate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", try_from = "Wire", into = "Wire")]
pub struct PeerMessage {
    /// The session.
    pub session_id: String,
    /// Never [`Signal::OfferRequest`], which this protocol does not have.
    pub signal: Signal,
}

/// [`PeerMessage`] as it is written.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    session_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ice: Option<Ice>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sdp: Option<SdpInit>,
}

/// A candidate. GStreamer sends and reads the index only; browsers send `sdpMid`, too, which is not needed then.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ice {
    candidate: String,
    sdp_m_line_index: u32,
}

impl TryFrom<Wire> for PeerMessage {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        let signal = match (wire.ice, wire.sdp) {
            (Some(Ice { candidate, sdp_m_line_index }), None) => {
                Signal::Ice(Candidate { candidate, sdp_mid: None, sdp_m_line_index: Some(sdp_m_line_index) })
            }
            (None, Some(SdpInit { kind, sdp })) => Signal::Sdp { kind, sdp },
            (None, None) => return Err("neither ice nor sdp"),
            (Some(_), Some(_)) => return Err("both ice and sdp"),
        };
        Ok(Self { session_id: wire.session_id, signal })
    }
}

impl From<PeerMessage> for Wire {
    fn from(message: PeerMessage) -> Self {
        let (ice, sdp) = match message.signal {
            Signal::Sdp { kind, sdp } => (None, Some(SdpInit { kind, sdp })),
            Signal::Ice(Candidate { candidate, sdp_m_line_index, .. }) => {
                (Some(Ice { candidate, sdp_m_line_index: sdp_m_line_index.unwrap_or(0) }), None)
            }
            Signal::OfferRequest => (None, None),
        };
        Self { session_id: message.session_id, ice, sdp }
    }
}

impl ClientMessage {
    /// Parses one frame. Unknown members are ignored.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Ok(serde_json::from_str(text)?)
    }
}

impl ServerMessage<'_> {
    /// Parses one frame. Unknown members are ignored.
    pub fn parse(text: &str) -> Result<ServerMessage<'static>, Malformed> {
        Ok(serde_json::from_str(text)?)
    }
}

impl fmt::Display for ClientMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Display for ServerMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::SdpType;
    use crate::malformed::MAX_REASON;

    fn read(text: &str) -> ClientMessage {
        let message = ClientMessage::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(ClientMessage::parse(&message.to_string()), Ok(message.clone()), "{text}");
        message
    }

    fn sdp(kind: SdpType) -> Signal {
        Signal::Sdp { kind, sdp: "v=0\r\n".into() }
    }

    fn ice(candidate: &str, index: u32) -> Signal {
        Signal::Ice(Candidate { candidate: candidate.into(), sdp_mid: None, sdp_m_line_index: Some(index) })
    }

    /// What `webrtcsink`, `webrtcsrc` 0.15.4 and gstwebrtc-api 3.0.0 send.
    #[test]
    fn reads_what_the_stock_clients_send() {
        let producer = r#"{"type":"setPeerStatus","roles":["producer"],"meta":null,"peerId":"5b1c"}"#;
        let status = |roles: &[Role], meta, peer_id: Option<&str>| ClientMessage::SetPeerStatus {
            roles: roles.into(),
            meta,
            peer_id: peer_id.map(String::from),
        };
        assert_eq!(read(producer), status(&[Role::Producer], None, Some("5b1c")));
        assert_eq!(
            read(r#"{"type":"setPeerStatus","roles":["listener","producer"],"meta":{"name":"WebClient-1"}}"#),
            status(&[Role::Listener, Role::Producer], Some(json!({ "name": "WebClient-1" })), None)
        );
        assert_eq!(
            read(r#"{"type":"setPeerStatus","roles":["consumer"],"meta":null,"peerId":"x"}"#),
            status(&[Role::Consumer], None, Some("x"))
        );
        assert_eq!(read(r#"{"type":"setPeerStatus","roles":[]}"#), status(&[], None, None));
        let start = |offer: Option<&str>| ClientMessage::StartSession {
            peer_id: "p".into(),
            offer: offer.map(Into::into),
        };
        assert_eq!(read(r#"{"type":"startSession","peerId":"p","offer":null}"#), start(None));
        assert_eq!(read(r#"{"type":"startSession","peerId":"p"}"#), start(None));
        assert_eq!(read(r#"{"type":"startSession","peerId":"p","offer":"v=0\r\n"}"#), start(Some("v=0\r\n")));
        assert_eq!(
            read(r#"{"type":"endSession","sessionId":"s"}"#),
            ClientMessage::EndSession { session_id: "s".into() }
        );
        assert_eq!(read(r#"{"type":"list"}"#), ClientMessage::List);
        assert_eq!(read(r#"{"type":"listConsumers"}"#), ClientMessage::ListConsumers);
        assert_eq!(read(r#"{"type":"setProtocolVersion","version":"2"}"#), ClientMessage::SetProtocolVersion);
    }

    #[test]
    fn reads_descriptions_and_candidates_of_gstreamer_and_browsers() {
        let peer = |signal| ClientMessage::Peer(PeerMessage { session_id: "s".into(), signal });
        for (text, signal) in [
            (
                r#"{"type":"peer","sessionId":"s","sdp":{"type":"offer","sdp":"v=0\r\n"}}"#,
                sdp(SdpType::Offer),
            ),
            (
                r#"{"type":"peer","sessionId":"s","sdp":{"type":"answer","sdp":"v=0\r\n"}}"#,
                sdp(SdpType::Answer),
            ),
            (
                r#"{"type":"peer","sessionId":"s","ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#,
                ice("candidate:1", 1),
            ),
            (
                r#"{"type":"peer","sessionId":"s","ice":{"candidate":"","sdpMid":"0","sdpMLineIndex":0,"usernameFragment":"u"}}"#,
                ice("", 0),
            ),
        ] {
            assert_eq!(read(text), peer(signal), "{text}");
        }
    }

    #[test]
    fn writes_what_the_stock_clients_read() {
        let message = |signal| ServerMessage::Peer(PeerMessage { session_id: "s".into(), signal });
        let meta = || Some(json!({ "name": "n" }));
        for (message, expected) in [
            (ServerMessage::Welcome { peer_id: "p".into() }, r#"{"type":"welcome","peerId":"p"}"#),
            (
                ServerMessage::PeerStatusChanged {
                    roles: vec![Role::Producer],
                    meta: meta(),
                    peer_id: "p".into(),
                },
                r#"{"type":"peerStatusChanged","roles":["producer"],"meta":{"name":"n"},"peerId":"p"}"#,
            ),
            (
                ServerMessage::PeerStatusChanged { roles: vec![], meta: None, peer_id: "p".into() },
                r#"{"type":"peerStatusChanged","roles":[],"meta":null,"peerId":"p"}"#,
            ),
            (
                ServerMessage::StartSession { peer_id: "p".into(), session_id: "s".into(), offer: None },
                r#"{"type":"startSession","peerId":"p","sessionId":"s","offer":null}"#,
            ),
            (
                ServerMessage::StartSession {
                    peer_id: "p".into(),
                    session_id: "s".into(),
                    offer: Some("v".into()),
                },
                r#"{"type":"startSession","peerId":"p","sessionId":"s","offer":"v"}"#,
            ),
            (
                ServerMessage::SessionStarted { peer_id: "p".into(), session_id: "s".into() },
                r#"{"type":"sessionStarted","peerId":"p","sessionId":"s"}"#,
            ),
            (
                ServerMessage::EndSession { session_id: "s".into() },
                r#"{"type":"endSession","sessionId":"s"}"#,
            ),
            (
                message(sdp(SdpType::Answer)),
                r#"{"type":"peer","sessionId":"s","sdp":{"type":"answer","sdp":"v=0\r\n"}}"#,
            ),
            (
                message(ice("candidate:1", 2)),
                r#"{"type":"peer","sessionId":"s","ice":{"candidate":"candidate:1","sdpMLineIndex":2}}"#,
            ),
            (
                ServerMessage::List { producers: vec![Listed { id: "p".into(), meta: meta() }] },
                r#"{"type":"list","producers":[{"id":"p","meta":{"name":"n"}}]}"#,
            ),
            (
                ServerMessage::ListConsumers { consumers: vec![] },
                r#"{"type":"listConsumers","consumers":[]}"#,
            ),
            (ServerMessage::Error { details: "no".into() }, r#"{"type":"error","details":"no"}"#),
        ] {
            assert_eq!(message.to_string(), expected);
            assert_eq!(ServerMessage::parse(expected), Ok(message));
        }
    }

    #[test]
    fn anything_else_is_malformed_and_briefly_explained() {
        let long = format!("{{\"type\":\"{}\"}}", "ü".repeat(100_000));
        for text in [
            "",
            "x",
            "[]",
            "{}",
            r#"{"type":"newPeer"}"#,
            r#"{"type":"setPeerStatus"}"#,
            r#"{"type":"setPeerStatus","roles":["king"]}"#,
            r#"{"type":"startSession"}"#,
            r#"{"type":"startSession","peerId":7}"#,
            r#"{"type":"peer","sessionId":"s"}"#,
            r#"{"type":"peer","ice":{"candidate":"c","sdpMLineIndex":0}}"#,
            r#"{"type":"peer","sessionId":"s","ice":{"candidate":"c"}}"#,
            r#"{"type":"peer","sessionId":"s","ice":{"candidate":"c","sdpMLineIndex":-1}}"#,
            r#"{"type":"peer","sessionId":"s","sdp":{"type":"rollback","sdp":""}}"#,
            r#"{"type":"peer","sessionId":"s","sdp":{"type":"offer"}}"#,
            r#"{"type":"peer","sessionId":"s","ice":{"candidate":"c","sdpMLineIndex":0},"sdp":{"type":"offer","sdp":""}}"#,
            r#"{"type":"list","type":"list"}"#,
            &long,
        ] {
            let error = ClientMessage::parse(text).expect_err(text);
            assert!((1..=MAX_REASON).contains(&error.to_string().len()), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*") {
            let _ = ClientMessage::parse(&text);
            let _ = ServerMessage::parse(&text);
        }

        #[test]
        fn messages_survive_the_wire(id in "\\PC*", text in "\\PC*", index: u32, which in 0..5u8) {
            let signal = match which {
                0 => Signal::Sdp { kind: SdpType::Offer, sdp: text.clone() },
                _ => ice(&text, index),
            };
            let message = match which {
                0 | 1 => ClientMessage::Peer(PeerMessage { session_id: id, signal }),
                2 => ClientMessage::StartSession { peer_id: id, offer: Some(text) },
                3 => ClientMessage::EndSession { session_id: id },
                _ => ClientMessage::SetPeerStatus {
                    roles: vec![Role::Listener],
                    meta: Some(json!({ id: text })),
                    peer_id: None,
                },
            };
            prop_assert_eq!(ClientMessage::parse(&message.to_string()), Ok(message));
        }
    }
}
