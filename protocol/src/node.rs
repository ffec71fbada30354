//! The control protocol between the server and a media node: JSON objects, tagged by `type`, one per WebSocket frame.
//!
//! [`FromNode`] and [`ToNode`] are the frames of each direction. Both parse and print, and a parsed frame prints as a
//! frame that parses the same. docs/media-protocol.md describes the order of the frames.

mod from_node;
mod signal;
#[cfg(test)]
mod tests;
mod to_node;

pub use from_node::{FromNode, Hello, Kind, Limits, Reason, Stats, Track};
pub use signal::SessionSignal;
pub use to_node::ToNode;

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The version of this protocol. A frame of a later version may have more members, which are ignored; a type or a member
/// that changes its meaning gets another version.
pub const VERSION: u32 = 1;

/// The longest name of a session, in bytes.
pub const MAX_SESSION_LEN: usize = 64;

/// The most tracks of a stream.
pub const MAX_TRACKS: usize = 32;

/// The longest other text in bytes, except for descriptions and candidates: a name, a codec, an explanation.
pub const MAX_TEXT_LEN: usize = 256;

/// The frame is no message of this protocol. `Display` gives the reason, in at most 256 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(String);

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(MAX_TEXT_LEN));
        Self(text)
    }
}

/// The server's name for a session, unique on its connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct SessionId(String);

impl SessionId {
    /// Checks the length: 1 to 64 bytes.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && text.len() <= MAX_SESSION_LEN).then(|| Self(text.into()))
    }

    /// The id as on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(&text).ok_or_else(|| serde::de::Error::custom("a session has 1 to 64 bytes"))
    }
}

/// Reads a text of at most 256 bytes.
fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let text = String::deserialize(deserializer)?;
    if text.len() > MAX_TEXT_LEN {
        return Err(serde::de::Error::custom("a text is longer than 256 bytes"));
    }
    Ok(text)
}

fn print(message: &impl Serialize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str(&serde_json::to_string(message).map_err(|_| fmt::Error)?)
}
