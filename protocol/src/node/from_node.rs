//! What a media node sends to the server.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use super::{MAX_TRACKS, Malformed, SessionId, SessionSignal, print, short};

/// A frame from a media node.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum FromNode {
    /// The first frame. The server answers with [`ToNode::Welcome`](super::ToNode::Welcome), or closes the connection if
    /// it does not speak the version.
    Hello(Hello),
    /// A description or a candidate for the client of a session.
    Signal(SessionSignal),
    /// Media can flow: ICE and DTLS of the session are connected.
    Connected {
        /// The session.
        session: SessionId,
    },
    /// Media of a published stream arrive, or its tracks changed. Viewers are accepted from now on.
    Live {
        /// The publisher's session.
        session: SessionId,
        /// All tracks of the stream, at most 32.
        #[serde(deserialize_with = "few")]
        tracks: Vec<Track>,
    },
    /// The published stream has no media any more, but its session goes on. New viewers are refused until
    /// [`Self::Live`] comes again.
    Gone {
        /// The publisher's session.
        session: SessionId,
    },
    /// The node has ended a session. The server does not answer.
    End {
        /// The session.
        session: SessionId,
        /// Why.
        reason: Reason,
        /// An explanation for the log of the server, at most 256 bytes and without anything secret.
        #[serde(default, deserialize_with = "short", skip_serializing_if = "String::is_empty")]
        detail: String,
    },
    /// Statistics, in regular intervals.
    Stats(Stats),
    /// The node takes no new sessions, because it is about to end. Existing sessions go on.
    Drain,
}

/// How a node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The version of the protocol: [`VERSION`](super::VERSION).
    pub version: u32,
    /// The node's name for operators, 1 to 256 bytes. Several nodes of one name are possible.
    #[serde(deserialize_with = "short")]
    pub name: String,
    /// Program and version, for the log.
    #[serde(default, deserialize_with = "short", skip_serializing_if = "String::is_empty")]
    pub software: String,
    /// What the node can carry.
    pub limits: Limits,
}

/// What a node can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Limits {
    /// The most streams.
    pub streams: u32,
    /// The most viewers of all streams together.
    pub viewers: u32,
}

/// A track of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Its kind.
    pub kind: Kind,
    /// The name of its codec as in SDP, for example `VP8` or `opus`.
    #[serde(deserialize_with = "short")]
    pub codec: String,
}

/// The kind of a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Audio: every packet can be decoded alone.
    Audio,
    /// Video: decoding starts at a key frame.
    Video,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reason {
    /// The other side ended it: the client, or its DTLS connection was closed.
    Left,
    /// ICE or DTLS failed, or the path was lost.
    Failed,
    /// The description is not acceptable: it cannot be read, or has no codec that both sides know.
    Unacceptable,
    /// The node has no capacity left.
    Full,
    /// The stream has no publisher any more.
    Gone,
    /// A limit was exceeded, for example the bit rate.
    Limit,
    /// An operator ended it, or the token has expired.
    Closed,
    /// A defect in the node.
    Internal,
    /// A reason of a later version.
    #[serde(other)]
    Other,
}

/// Statistics of a node. `streams` and `viewers` are current numbers, all others count since the node started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Stats {
    /// Streams with a publisher.
    pub streams: u32,
    /// Viewers.
    pub viewers: u32,
    /// RTP packets from publishers.
    pub packets_in: u64,
    /// The bytes of their payload.
    pub bytes_in: u64,
    /// RTP packets sent to viewers, retransmissions included.
    pub packets_out: u64,
    /// Their bytes, UDP payload.
    pub bytes_out: u64,
    /// Packets of publishers that never came.
    pub lost_in: u64,
    /// Packets that viewers reported as lost.
    pub lost_out: u64,
    /// Packets sent again to viewers.
    pub retransmitted: u64,
    /// Datagrams that the node's socket did not take.
    pub dropped: u64,
    /// Key frames requested from publishers.
    pub key_frame_requests: u64,
}

/// Reads at most 32 tracks.
fn few<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Track>, D::Error> {
    let tracks = Vec::<Track>::deserialize(deserializer)?;
    if tracks.len() > MAX_TRACKS {
        return Err(serde::de::Error::custom("there are more than 32 tracks"));
    }
    Ok(tracks)
}

impl FromNode {
    /// Parses one frame. Unknown members are ignored.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let message = serde_json::from_str(text)?;
        match &message {
            Self::Hello(hello) if hello.name.is_empty() => Err(Malformed("the name is empty".into())),
            _ => Ok(message),
        }
    }
}

impl fmt::Display for FromNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f)
    }
}

impl Reason {
    /// The word on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Failed => "failed",
            Self::Unacceptable => "unacceptable",
            Self::Full => "full",
            Self::Gone => "gone",
            Self::Limit => "limit",
            Self::Closed => "closed",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}
