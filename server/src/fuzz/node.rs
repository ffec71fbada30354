//! The control protocol of media nodes, through the hub.

use std::str;

use callbin_protocol::node::{FromNode, ToNode};

use super::stage::Stage;
use crate::dialect::Dialect;

/// Frames of two nodes and of two Ant Media clients ([`Stage::play`]).
pub fn node(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let dialects = [Dialect::Node, Dialect::Node, Dialect::Antmedia, Dialect::Antmedia];
    Stage::new(&dialects, (Dialect::Node, hear), 3).play(text, round_trip);
}

/// A parsed frame must survive being written and parsed again.
fn round_trip(frame: &str) {
    if let Ok(message) = FromNode::parse(frame) {
        assert_eq!(FromNode::parse(&message.to_string()).as_ref(), Ok(&message));
    }
    if let Ok(message) = ToNode::parse(frame) {
        assert_eq!(ToNode::parse(&message.to_string()).as_ref(), Ok(&message));
    }
}

/// What a node gets must be a frame of its protocol.
#[allow(clippy::panic, reason = "a frame that no node reads is what this looks for")]
fn hear(text: &str) -> Option<String> {
    match ToNode::parse(text) {
        Ok(ToNode::Publish { session, .. } | ToNode::Play { session, .. }) => Some(session.to_string()),
        Ok(_) => None,
        Err(error) => panic!("{error}: {text}"),
    }
}
