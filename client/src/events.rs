//! What the client tells on stdout: one event a line, as JSON or for people.

use std::{
    fmt,
    io::{self, Write},
    time::Instant,
};

use callbin_protocol::PeerId;
use serde::Serialize;

use crate::{cli, stats::PeerStats};

/// Something worth telling. The names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// The server knows us under this uid.
    Registered {
        /// Our own uid.
        id: PeerIdText,
    },
    /// Ready to be called.
    Waiting,
    /// The session with the peer was asked for.
    Calling,
    /// We are in the room with so many others.
    Joined {
        /// The room.
        room: String,
        /// Who was there before us.
        peers: Vec<PeerIdText>,
    },
    /// Our offer went out.
    OfferSent,
    /// The peer's offer came in.
    OfferReceived,
    /// Our answer went out.
    AnswerSent,
    /// The peer's answer came in.
    AnswerReceived,
    /// A network path was found.
    IceConnected,
    /// The peer proved to be the one of its session description, and the keys are there.
    DtlsConnected,
    /// The first sound was decoded.
    FirstAudio,
    /// The first frame was decoded.
    FirstVideo {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
    /// Once a second while connected.
    Stats(Box<PeerStats>),
    /// A text came over the data channel.
    Data {
        /// What was said.
        text: String,
    },
    /// The data channel is open: texts can be sent.
    DataOpen,
    /// Somebody joined the room.
    PeerJoined,
    /// In a room: as `dtls-connected` in a call.
    PeerConnected,
    /// In a room: as `first-video` in a call.
    PeerFirstVideo {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
    /// Somebody left the room.
    PeerLeft,
    /// The connection to one member failed; the others go on.
    PeerFailed {
        /// How far it got.
        phase: String,
        /// What went wrong.
        reason: String,
    },
    /// The connection to the server is gone; trying again.
    Reconnecting {
        /// Why.
        reason: String,
        /// When the next attempt is made.
        in_ms: u64,
    },
    /// The window or the sound is gone for good; the call goes on without.
    ViewLost {
        /// Which: `window` or `sound`.
        part: String,
        /// Why.
        reason: String,
    },
    /// A call ended.
    Ended {
        /// Why: `hung-up`, `peer-left`, `duration`, `frames`, or the failure.
        reason: String,
    },
    /// The process ends with a failure.
    Error {
        /// The exit code.
        code: u8,
        /// What is wrong and what to do.
        message: String,
    },
}

/// A uid as text: serialises as a plain string.
pub type PeerIdText = String;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
}

/// Writes events to stdout. A reader that went away is no reason to end a call.
#[derive(Debug)]
pub struct Reporter {
    started: Instant,
    form: cli::Events,
}

impl Reporter {
    /// Times are counted from `started`.
    pub fn new(started: Instant, form: cli::Events) -> Self {
        Self { started, form }
    }

    /// Tells one event, about `peer` if its uid is known.
    pub fn tell(&self, peer: Option<&PeerId>, event: &Event) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let peer = peer.map(PeerId::as_str);
        let line = match self.form {
            cli::Events::Json => serde_json::to_string(&Line { event, ms, peer }).unwrap_or_default(),
            cli::Events::Human => human(ms, peer, event),
        };
        let mut out = io::stdout().lock();
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }
}

fn human(ms: u64, peer: Option<&str>, event: &Event) -> String {
    let seconds = ms / 1000;
    let millis = ms % 1000;
    match peer {
        Some(peer) => format!("{seconds:>4}.{millis:03}  {}: {event}", printable(peer)),
        None => format!("{seconds:>4}.{millis:03}  {event}"),
    }
}

/// Texts come from strangers: nothing in them may steer the terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Registered { id } => write!(f, "registered as {}", printable(id)),
            Self::Waiting => f.write_str("waiting to be called"),
            Self::Calling => f.write_str("calling"),
            Self::Joined { room, peers } => {
                write!(f, "joined room {} with {} others", printable(room), peers.len())
            }
            Self::OfferSent => f.write_str("offer sent"),
            Self::OfferReceived => f.write_str("offer received"),
            Self::AnswerSent => f.write_str("answer sent"),
            Self::AnswerReceived => f.write_str("answer received"),
            Self::IceConnected => f.write_str("ICE connected"),
            Self::DtlsConnected => f.write_str("DTLS connected, certificate verified"),
            Self::FirstAudio => f.write_str("first audio decoded"),
            Self::FirstVideo { width, height } | Self::PeerFirstVideo { width, height } => {
                write!(f, "first video frame decoded, {width}x{height}")
            }
            Self::Stats(stats) => stats.fmt(f),
            Self::Data { text } => write!(f, "says: {}", printable(text)),
            Self::DataOpen => f.write_str("data channel open"),
            Self::PeerJoined => f.write_str("joined the room"),
            Self::PeerConnected => f.write_str("connected"),
            Self::PeerLeft => f.write_str("left the room"),
            Self::PeerFailed { phase, reason } => write!(f, "failed while {phase}: {}", printable(reason)),
            Self::Reconnecting { reason, in_ms } => {
                write!(f, "connection to the server lost ({}), next attempt in {in_ms} ms", printable(reason))
            }
            Self::ViewLost { part, reason } => write!(f, "{part} lost: {}", printable(reason)),
            Self::Ended { reason } => write!(f, "call ended: {}", printable(reason)),
            Self::Error { code, message } => write!(f, "error {code}: {}", printable(message)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_are_flat() {
        let line = Line { event: &Event::FirstVideo { width: 64, height: 48 }, ms: 7, peer: Some("a") };
        assert_eq!(
            serde_json::to_string(&line).unwrap(),
            r#"{"event":"first-video","width":64,"height":48,"ms":7,"peer":"a"}"#
        );
        let line = Line { event: &Event::OfferSent, ms: 8, peer: None };
        assert_eq!(serde_json::to_string(&line).unwrap(), r#"{"event":"offer-sent","ms":8}"#);
        let line = Line { event: &Event::Stats(Box::default()), ms: 8, peer: None };
        assert!(serde_json::to_string(&line).unwrap().starts_with(r#"{"event":"stats","#));
    }

    #[test]
    fn strangers_cannot_steer_the_terminal() {
        let line = human(1234, Some("a\u{1b}[2J"), &Event::Data { text: "x\u{7}\ny".into() });
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("   1.234"));
    }
}
