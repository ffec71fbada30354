//! Ant Media's WebSocket messages: commands of a client, and what the server sends. JSON objects with a `command`.
//!
//! Sources: Ant Media's description of its messages, and the client `@antmedia/webrtc_adaptor` 2.16.

mod command;
mod reply;

pub use command::{Command, Frame, InvalidFrame, named};
pub use reply::{Definition, IceServer, Reply, Written};

/// Adds members to the front of a JSON object that has at least one. `members` ends with a comma.
fn with_members(object: &str, members: &str) -> Option<String> {
    let rest = object.trim_start().strip_prefix('{')?;
    Some(format!("{{{members}{rest}"))
}

#[cfg(test)]
mod tests;
