//! Why a frame is no message of a protocol in JSON.

/// The longest reason in bytes. It may quote the frame, which may be long.
pub(crate) const MAX_REASON: usize = 200;

/// The frame is no message of this protocol. `Display` gives the reason, in at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub(crate) String);

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        let mut text = error.to_string();
        text.truncate(text.floor_char_boundary(MAX_REASON));
        Self(text)
    }
}
