//! What the server sends to a media node.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Malformed, Reason, SessionId, SessionSignal, VERSION, print};
use crate::PeerId;

/// A frame from the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ToNode {
    /// The node is attached: the answer to [`FromNode::Hello`](super::FromNode::Hello).
    Welcome {
        /// The version that the server speaks, which is that of the node's hello.
        version: u32,
        /// The seconds between two [`FromNode::Stats`](super::FromNode::Stats).
        stats_interval: u32,
    },
    /// A session that publishes a stream begins.
    Publish {
        /// The session.
        session: SessionId,
        /// The stream.
        stream: PeerId,
        /// The most bits per second that the publisher may send. None: no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        max_bitrate: Option<u64>,
        /// The node offers. Otherwise the publisher's offer follows as a signal, and the node answers.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        offers: bool,
    },
    /// A session that plays a stream begins.
    Play {
        /// The session.
        session: SessionId,
        /// The stream.
        stream: PeerId,
        /// The node offers. Otherwise the viewer's offer follows as a signal, and the node answers.
        #[serde(default)]
        offers: bool,
        /// Another session of the same client: the node's offer has its payload types, as far as the codecs are the same.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        like: Option<SessionId>,
    },
    /// A description or a candidate of the client.
    Signal(SessionSignal),
    /// The session ends. The node does not answer, and sends nothing of this session any more.
    End {
        /// The session.
        session: SessionId,
        /// Why.
        reason: Reason,
    },
}

impl ToNode {
    /// The answer to a hello.
    pub fn welcome(stats_interval: u32) -> Self {
        Self::Welcome { version: VERSION, stats_interval }
    }

    /// Parses one frame. Unknown members are ignored.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        Ok(serde_json::from_str(text)?)
    }
}

impl fmt::Display for ToNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print(self, f)
    }
}
