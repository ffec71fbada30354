//! The signalling protocols, called dialects. Each one translates between the frames of its clients and the neutral
//! requests and notices of the [`hub`](crate::hub). Pure: no sockets, no clock.

pub mod text;

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use prometheus_client::encoding::EncodeLabelValue;

use crate::hub::{Notice, Request};

/// The protocols that the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, EncodeLabelValue)]
pub enum Dialect {
    /// The text protocol of GStreamer's WebRTC examples.
    Text,
    /// JSON rooms: `/ws/rooms/<room>/`.
    Rooms,
    /// Ant Media's JSON commands.
    Antmedia,
    /// `action`/`data` envelopes.
    Action,
    /// GStreamer's `webrtcsink` and `webrtcsrc`.
    Webrtcsink,
    /// `/offer`, `/answer`, `/ice` over HTTP.
    Rest,
    /// WHIP (RFC 9725).
    Whip,
    /// WHEP.
    Whep,
}

impl Dialect {
    /// The name in flags, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Rooms => "rooms",
            Self::Antmedia => "antmedia",
            Self::Action => "action",
            Self::Webrtcsink => "webrtcsink",
            Self::Rest => "rest",
            Self::Whip => "whip",
            Self::Whep => "whep",
        }
    }

    /// Whether a connection serves one registration and one call, and is closed when either is refused or ends.
    pub fn is_single(self) -> bool {
        self == Self::Text
    }
}

/// What follows from a frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Carry out this request. The hub answers with notices.
    Ask(Request),
    /// Send this text to the client.
    Say(Utf8Bytes),
}

/// A connection's translator. It keeps only what its own protocol needs.
pub trait Translator: Send {
    /// The dialect.
    fn dialect(&self) -> Dialect;

    /// The steps when the connection is open, before its first frame.
    fn open(&mut self, steps: &mut Vec<Step>) {
        let _ = steps;
    }

    /// Translates a text or binary frame of the client.
    fn read(&mut self, frame: Message, steps: &mut Vec<Step>);

    /// Translates a notice into frames for the client.
    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>);
}
