//! The signalling protocol of GStreamer's WebRTC examples as types: no I/O, no clock, no async.
//!
//! Two layers live here. [`ClientMessage`] and [`ServerMessage`] are the text frames between a peer and
//! the signalling server; [`Signal`] is what two peers say to each other through it. Each has `parse` and
//! `Display`, and printing what was parsed gives the same frame again. PROTOCOL.md describes the wire.

mod client;
mod id;
mod printable;
mod repr;
mod server;
mod signal;

pub use client::{ClientMessage, ParseError};
pub use id::{InvalidId, MAX_ID_LEN, MAX_LIST_LEN, PeerId, RoomId};
pub use printable::printable;
pub use server::{ErrorMessage, ServerMessage, UnknownMessage};
pub use signal::{Candidate, InvalidSignal, SdpType, Signal};

/// Splits off the first word: the verb, and what follows the white space behind it.
///
/// As in Python's `split(maxsplit=1)`, white space before the argument does not count and white space
/// at its end does.
fn split_verb(text: &str) -> (&str, &str) {
    match text.split_once(id::is_white_space) {
        Some((verb, rest)) => (verb, rest.trim_start_matches(id::is_white_space)),
        None => (text, ""),
    }
}
