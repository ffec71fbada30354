//! Scripted peers of the signalling protocols, all with the same interface: a test of calls, offers, answers or hangups is
//! written once for all protocols. They are written from the protocols' documents, not from the server's code.

mod antmedia;
mod idle;
mod rest;
mod room;
mod text;
mod webrtcsink;
mod whip;

use serde_json::Value;

pub use self::{
    antmedia::Antmedia,
    idle::Idle,
    rest::Rest,
    room::{Member, Tongue},
    text::Text,
    webrtcsink::Webrtcsink,
    whip::Whip,
};

/// What a peer receives from the other side of its call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// The other side, or the server, asks for an offer.
    OfferRequest,
    /// An offer.
    Offer(String),
    /// An answer.
    Answer(String),
    /// A candidate, with the index of its m-line.
    Candidate(String, u64),
    /// The call is over.
    End,
}

/// A peer in at most one call.
pub trait Speaker {
    /// Sends an offer.
    fn offer(&mut self, sdp: &str);
    /// Sends an answer.
    fn answer(&mut self, sdp: &str);
    /// Sends a candidate of the m-line with this index and mid.
    fn candidate(&mut self, candidate: &str, index: u64, mid: &str);
    /// Waits for the next thing that concerns the call.
    fn hear(&mut self) -> Heard;
    /// Ends the call.
    fn hang_up(&mut self);
}

/// Reads JSON from a text frame.
#[track_caller]
fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A text member of a JSON object.
#[track_caller]
fn member<'a>(object: &'a Value, name: &str) -> &'a str {
    object.get(name).and_then(Value::as_str).unwrap_or_else(|| panic!("no text {name} in {object}"))
}

/// An offer or an answer.
#[track_caller]
fn description(kind: &str, sdp: &str) -> Heard {
    match kind {
        "offer" => Heard::Offer(sdp.into()),
        "answer" => Heard::Answer(sdp.into()),
        other => panic!("a description of type {other:?}"),
    }
}
