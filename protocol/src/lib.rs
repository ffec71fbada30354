//! The signalling protocol of GStreamer's WebRTC examples as types: no I/O, no clock, no async.
//!
//! There are two layers. [`ClientMessage`] and [`ServerMessage`] are the text frames between a peer and the signalling
//! server; [`Signal`] is a message between two peers. Each has `parse` and `Display`, and a parsed message prints as a
//! frame that parses the same. docs/protocols/text.md describes the format on the wire.
//!
//! [`rooms`], [`action`], [`antmedia`] and [`webrtcsink`] are the frames of other protocols that the server speaks, [`node`]
//! those between the server and a media node.

pub mod action;
pub mod antmedia;
mod client;
mod fragment;
mod ice;
mod id;
pub mod node;
mod printable;
mod repr;
pub mod rooms;
mod server;
mod signal;
pub mod webrtcsink;

pub use client::{ClientMessage, ParseError};
pub use fragment::{Fragment, InvalidFragment, fold_candidates, fragment_of, ufrags, with_credentials};
pub use ice::ice_urls;
pub use id::{InvalidId, MAX_ID_LEN, MAX_LIST_LEN, PeerId, RoomId, cut_id};
pub use printable::printable;
pub use server::{ErrorMessage, ServerMessage, UnknownMessage};
pub use signal::{Candidate, InvalidSignal, SdpType, Signal};

/// Splits a frame into its verb, the first word, and the rest.
///
/// As in Python's `split(maxsplit=1)`, white space before the rest is removed and white space at its end is kept.
fn split_verb(text: &str) -> (&str, &str) {
    match text.split_once(id::is_white_space) {
        Some((verb, rest)) => (verb, rest.trim_start_matches(id::is_white_space)),
        None => (text, ""),
    }
}
