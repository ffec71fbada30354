//! The signalling protocols, called dialects. Each one translates between the frames of its clients and the neutral
//! requests and notices of the [`hub`](crate::hub). Pure: no sockets, no clock.

pub mod action;
pub mod antmedia;
pub mod http;
pub mod node;
pub mod rest;
pub mod rooms;
pub mod routes;
#[cfg(test)]
mod testing;
pub mod text;
pub mod webrtcsink;
pub mod whip;

use std::{borrow::Cow, fmt, sync::Arc, time::Duration};

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use percent_encoding::percent_decode_str;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};
use serde_json::Value;

use self::{
    action::Action, antmedia::Antmedia, node::Node, rooms::Rooms, text::Text, webrtcsink::Webrtcsink,
};
use crate::hub::{Notice, Request};

/// The protocols that the server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The control protocol of media nodes.
    Node,
}

impl Dialect {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Text,
        Self::Rooms,
        Self::Antmedia,
        Self::Action,
        Self::Webrtcsink,
        Self::Rest,
        Self::Whip,
        Self::Whep,
        Self::Node,
    ];

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
            Self::Node => "node",
        }
    }

    /// Whether a connection serves one registration and one call, and is closed when either is refused or ends.
    pub fn is_single(self) -> bool {
        self == Self::Text
    }

    /// Whether its clients send HTTP requests. All others have a WebSocket, whose pings show whether they are still there.
    pub fn is_http(self) -> bool {
        matches!(self, Self::Rest | Self::Whip | Self::Whep)
    }

    /// The longest frame and the longest message that it knows, in bytes, if it has limits of its own.
    pub fn max_sizes(self) -> Option<(usize, usize)> {
        match self {
            Self::Action => Some((32 << 10, 128 << 10)),
            // A message goes to all members of a room.
            Self::Rooms => Some((256 << 10, 256 << 10)),
            _ => None,
        }
    }
}

impl EncodeLabelValue for Dialect {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.name().encode(encoder)
    }
}

/// What follows from a frame of a client.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// Carry out this request. The hub answers with notices.
    Ask(Request),
    /// Send this text to the client.
    Say(Utf8Bytes),
    /// Pass the ICE servers for this connection to [`Translator::write_ice_servers`].
    IceServers,
    /// Count a refusal of the dialect itself, and send this text to the client.
    Refuse(&'static str, Utf8Bytes),
}

/// The extra messages that a client asked for: `?wants=caller,heartbeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// The name of its caller.
    pub caller: bool,
    /// Heartbeats: a browser does not show pings to its page.
    pub heartbeat: bool,
}

impl Wants {
    /// Parses the value of the query parameter. Unknown words are ignored: another version may know them.
    pub fn parse(words: &str) -> Self {
        let names = |word| words.split(',').any(|name| name == word);
        Self { caller: names("caller"), heartbeat: names("heartbeat") }
    }
}

/// What a client's handshake says, as far as a dialect needs it.
#[derive(Debug, Clone, Default)]
pub struct Opening {
    /// What follows the dialect's own path.
    pub rest: String,
    /// The query, undecoded.
    pub query: String,
    /// The token's subject.
    pub identity: Option<Arc<str>>,
    /// Whether its token allows it to start calls.
    pub can_call: bool,
    /// The number of the connection, for ids that the client does not choose.
    pub number: u64,
    /// The extra messages that it asked for.
    pub wants: Wants,
}

impl Opening {
    /// The decoded value of a query parameter.
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        query(Some(&self.query), name)
    }
}

/// The decoded value of a query parameter.
pub fn query<'a>(query: Option<&'a str>, name: &str) -> Option<Cow<'a, str>> {
    let pairs = query?.split('&').filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
    percent_decode_str(value).decode_utf8().ok()
}

/// The translator for a new WebSocket.
pub fn translator(dialect: Dialect, opening: &Opening) -> Box<dyn Translator> {
    match dialect {
        Dialect::Rooms => Box::new(Rooms::new(opening)),
        Dialect::Antmedia => Box::new(Antmedia::default()),
        Dialect::Action => Box::new(Action::new(opening)),
        Dialect::Webrtcsink => Box::new(Webrtcsink::new(opening)),
        Dialect::Node => Box::new(Node::default()),
        Dialect::Text | Dialect::Rest | Dialect::Whip | Dialect::Whep => {
            Box::new(Text::new(opening.wants.caller))
        }
    }
}

/// A message as a text frame.
fn to_frame(message: &impl fmt::Display) -> Message {
    Message::text(message.to_string())
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

    /// Translates the answer to [`Step::IceServers`]: `RTCIceServer` objects.
    fn write_ice_servers(&mut self, servers: &[Value], frames: &mut Vec<Message>) {
        let _ = (servers, frames);
    }

    /// Translates a notice into frames for the client.
    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>);

    /// The steps that follow from the notice just written.
    fn follow(&mut self, steps: &mut Vec<Step>) {
        let _ = steps;
    }

    /// How long the client may be silent from now on, if its dialect has heartbeats. It is asked after each frame.
    fn silence(&self) -> Option<Duration> {
        None
    }

    /// The steps when the client was silent for longer.
    fn lapse(&mut self, steps: &mut Vec<Step>) {
        let _ = steps;
    }
}
