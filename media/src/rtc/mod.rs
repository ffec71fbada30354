//! Peer connections. The only place that knows the WebRTC library, str0m.

mod formats;
mod peer;
mod sdp;
mod stack;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

pub use formats::{Formats, PayloadTypes};
pub use peer::{Broken, Event, Peer, Transmit};
pub use stack::{Refused, Stack};
