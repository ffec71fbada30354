//! The dialect of `webrtcsink`, through the hub.

use std::str;

use callbin_protocol::webrtcsink::ServerMessage;

use super::stage::Stage;
use crate::dialect::Dialect;

/// Frames of two webrtcsink clients and a text peer ([`Stage::play`]).
pub fn webrtcsink(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let dialects = [Dialect::Webrtcsink, Dialect::Webrtcsink, Dialect::Text];
    Stage::new(&dialects, (Dialect::Webrtcsink, hear), 64).play(text, |_| {});
}

/// What a webrtcsink client gets must be a frame of its protocol.
#[allow(clippy::panic, reason = "a frame that no client reads is what this looks for")]
fn hear(text: &str) -> Option<String> {
    match ServerMessage::parse(text) {
        Ok(
            ServerMessage::SessionStarted { session_id, .. } | ServerMessage::StartSession { session_id, .. },
        ) => Some(session_id.into_owned()),
        Ok(_) => None,
        Err(error) => panic!("{error}: {text}"),
    }
}
