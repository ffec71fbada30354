//! The events on stdout (on stderr, if stdout is for data): one per line, as JSON or as text for people.

use std::{
    fmt,
    io::{self, Write},
    time::{Duration, Instant},
};

use callbin_protocol::{PeerId, printable};
use serde::Serialize;

use crate::{cli, service, stats::PeerStats};

/// An event. The names are part of the interface.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Event {
    /// We are registered at the server under this uid.
    Registered {
        /// Our own uid.
        id: PeerIdText,
    },
    /// Ready to be called.
    Waiting,
    /// We asked the server for a session with the peer.
    Calling,
    /// We joined the room.
    Joined {
        /// The room.
        room: String,
        /// The members that were there before us.
        peers: Vec<PeerIdText>,
    },
    /// We sent an offer.
    OfferSent,
    /// We received the peer's offer.
    OfferReceived,
    /// We sent an answer.
    AnswerSent,
    /// We received the peer's answer.
    AnswerReceived,
    /// ICE found a network path.
    IceConnected,
    /// DTLS is connected, and the peer's certificate matches the fingerprint in its session description.
    DtlsConnected,
    /// The first audio buffer was decoded.
    FirstAudio,
    /// The first video frame was decoded.
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
        /// The text.
        text: String,
    },
    /// The data channel is open: texts can be sent.
    DataOpen,
    /// A data channel and its end (`--data`) are joined; without a peer: the end is back.
    DataJoined {
        /// The channel.
        label: String,
    },
    /// A joined data channel is closed; without a peer: its end is away.
    DataEnded {
        /// The channel.
        label: String,
        /// Why.
        reason: String,
    },
    /// A peer holds an exclusive channel.
    DataHeld {
        /// The channel.
        label: String,
        /// The uid of the peer that holds it.
        by: String,
        /// Whether that is us.
        you: bool,
    },
    /// No peer holds the exclusive channel any more.
    DataFree {
        /// The channel.
        label: String,
    },
    /// The messages on a channel have stopped.
    DataStale {
        /// The channel.
        label: String,
    },
    /// Messages come on the channel, for the first time or again.
    DataLive {
        /// The channel.
        label: String,
    },
    /// A recording has begun.
    RecordStarted {
        /// The file.
        file: String,
    },
    /// A recording has ended; the call goes on.
    RecordEnded {
        /// The file; empty if there is none.
        file: String,
        /// Why.
        reason: String,
    },
    /// A picture was written.
    Snapshot {
        /// The file.
        file: String,
    },
    /// A picture could not be written.
    SnapshotFailed {
        /// Why.
        reason: String,
    },
    /// No new picture comes from the peer.
    PictureStale {
        /// Milliseconds since the last one.
        age_ms: u64,
    },
    /// New pictures come from the peer again.
    PictureLive,
    /// A peer joined the room.
    PeerJoined,
    /// In a room, what `dtls-connected` is in a call.
    PeerConnected,
    /// In a room, what `first-video` is in a call.
    PeerFirstVideo {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
    /// A peer left the room.
    PeerLeft,
    /// The connection to one member failed; the others go on.
    PeerFailed {
        /// The phase in which it failed.
        phase: String,
        /// The cause.
        reason: String,
    },
    /// There is no connection to the server; another attempt follows.
    Reconnecting {
        /// Why.
        reason: String,
        /// Milliseconds until the next attempt.
        in_ms: u64,
    },
    /// The window or the sound output failed for good; the call goes on without it.
    ViewLost {
        /// `window` or `sound`.
        part: String,
        /// Why.
        reason: String,
    },
    /// A source of ours delivers nothing; peers see a card, or hear silence.
    SourceLost {
        /// The source's name.
        source: String,
        /// `video` or `audio`.
        kind: String,
        /// Why.
        reason: String,
    },
    /// A source of ours delivers again.
    SourceBack {
        /// The source's name.
        source: String,
        /// `video` or `audio`.
        kind: String,
    },
    /// The connection to the server is lost; the connected call goes on without it.
    SignallingLost {
        /// Why.
        reason: String,
    },
    /// The call has its session at the server again.
    SignallingBack,
    /// Nothing comes from the peer any more; the call goes on.
    PathLost,
    /// There is a path to the peer again.
    PathBack {
        /// The time without one, in milliseconds.
        gap_ms: u64,
    },
    /// A call ended, or a peer left, before the text of `--send-text` was sent.
    TextUnsent {
        /// Why.
        reason: String,
    },
    /// A call ended.
    Ended {
        /// Why.
        reason: EndReason,
    },
    /// The process ends with a failure.
    Error {
        /// The exit code.
        code: u8,
        /// The cause, and what to do.
        message: String,
    },
}

impl Event {
    /// A `reconnecting` event: the next attempt to reach the server follows after `pause`.
    pub fn reconnecting(reason: &str, pause: Duration) -> Self {
        let in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        Self::Reconnecting { reason: reason.into(), in_ms }
    }

    /// A `path-back` event.
    pub fn path_back(gap: Duration) -> Self {
        Self::PathBack { gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX) }
    }
}

/// Why a call ended: in JSON `hung-up`, `peer-left`, `duration`, `frames`, `server-lost`, or the failure's message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum EndReason {
    /// The user interrupted the call.
    HungUp,
    /// The peer hung up.
    PeerLeft,
    /// `--duration` is over.
    Duration,
    /// The frames of `--expect-video-frames` were decoded.
    Frames,
    /// The connection to the signalling server was lost.
    ServerLost,
    /// The call failed, with this message.
    Failed(String),
}

impl From<EndReason> for String {
    fn from(reason: EndReason) -> Self {
        match reason {
            EndReason::HungUp => "hung-up".into(),
            EndReason::PeerLeft => "peer-left".into(),
            EndReason::Duration => "duration".into(),
            EndReason::Frames => "frames".into(),
            EndReason::ServerLost => "server-lost".into(),
            EndReason::Failed(why) => why,
        }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HungUp => f.write_str("we hung up"),
            Self::PeerLeft => f.write_str("the peer hung up"),
            Self::Duration => f.write_str("its time is over"),
            Self::Frames => f.write_str("the expected frames have come"),
            Self::ServerLost => f.write_str("the connection to the server was lost"),
            Self::Failed(why) => f.write_str(&printable(why)),
        }
    }
}

/// A uid, serialised as a plain string.
pub type PeerIdText = String;

#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    ms: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<&'a str>,
}

/// Writes events to stdout. A closed stdout does not end a call.
#[derive(Debug)]
pub struct Reporter {
    started: Instant,
    form: cli::Events,
    to_stderr: bool,
}

impl Reporter {
    /// A reporter; the times of events count from `started`.
    pub fn new(started: Instant, form: cli::Events) -> Self {
        Self { started, form, to_stderr: false }
    }

    /// Writes to stderr: stdout is for data.
    pub fn on_stderr(self, to_stderr: bool) -> Self {
        Self { to_stderr, ..self }
    }

    /// Writes one event, about `peer` if its uid is known.
    pub fn tell(&self, peer: Option<&PeerId>, event: &Event) {
        let ms = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let peer = peer.map(PeerId::as_str);
        let line = match self.form {
            cli::Events::Json => json(ms, peer, event),
            cli::Events::Human => human(ms, peer, event),
        };
        if !matches!(event, Event::Stats(_) | Event::Data { .. }) {
            service::status(human(ms, peer, event).trim_start());
        }
        let mut out: Box<dyn Write> =
            if self.to_stderr { Box::new(io::stderr().lock()) } else { Box::new(io::stdout().lock()) };
        let _ = writeln!(out, "{line}").and_then(|()| out.flush());
    }

    /// Writes an event in the JSON form only: people read the same on stderr.
    pub fn tell_scripts(&self, peer: Option<&PeerId>, event: &Event) {
        if self.form == cli::Events::Json {
            self.tell(peer, event);
        }
    }
}

/// Escapes more than JSON demands, because people look at it, too.
fn json(ms: u64, peer: Option<&str>, event: &Event) -> String {
    printable(&serde_json::to_string(&Line { event, ms, peer }).unwrap_or_default())
}

fn human(ms: u64, peer: Option<&str>, event: &Event) -> String {
    let seconds = ms / 1000;
    let millis = ms % 1000;
    match peer {
        Some(peer) => format!("{seconds:>4}.{millis:03}  {}: {event}", printable(peer)),
        None => format!("{seconds:>4}.{millis:03}  {event}"),
    }
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
            Self::DataJoined { label } => write!(f, "data channel {} joined", printable(label)),
            Self::DataEnded { label, reason } => {
                write!(f, "data channel {} ended: {}", printable(label), printable(reason))
            }
            Self::DataHeld { label, you: true, .. } => {
                write!(f, "data channel {} is ours", printable(label))
            }
            Self::DataHeld { label, by, .. } => {
                write!(f, "data channel {} is held by {}", printable(label), printable(by))
            }
            Self::DataFree { label } => write!(f, "data channel {} is free", printable(label)),
            Self::DataStale { label } => write!(f, "data channel {}: no more messages", printable(label)),
            Self::DataLive { label } => write!(f, "data channel {}: messages come", printable(label)),
            Self::RecordStarted { file } => write!(f, "recording into {}", printable(file)),
            Self::RecordEnded { file, reason } => {
                write!(f, "recording {} ended: {}", printable(file), printable(reason))
            }
            Self::Snapshot { file } => write!(f, "picture written into {}", printable(file)),
            Self::SnapshotFailed { reason } => write!(f, "no picture written: {}", printable(reason)),
            Self::PictureStale { age_ms } => write!(f, "no new picture for {age_ms} ms"),
            Self::PictureLive => f.write_str("new pictures come again"),
            Self::PeerJoined => f.write_str("joined the room"),
            Self::PeerConnected => f.write_str("connected"),
            Self::PeerLeft => f.write_str("left the room"),
            Self::PeerFailed { phase, reason } => write!(f, "failed while {phase}: {}", printable(reason)),
            Self::Reconnecting { reason, in_ms } => {
                write!(f, "no connection to the server ({}), next attempt in {in_ms} ms", printable(reason))
            }
            Self::ViewLost { part, reason } => write!(f, "{part} lost: {}", printable(reason)),
            Self::SourceLost { source, kind, reason } => {
                write!(f, "{kind} source {} lost: {}", printable(source), printable(reason))
            }
            Self::SourceBack { source, kind } => write!(f, "{kind} source {} is back", printable(source)),
            Self::PathLost => f.write_str("the network path to the peer is lost, looking for another one"),
            Self::PathBack { gap_ms } => write!(f, "there is a path to the peer again, after {gap_ms} ms"),
            Self::SignallingBack => f.write_str("the call has its session at the server again"),
            Self::SignallingLost { reason } => {
                write!(
                    f,
                    "connection to the server lost ({}), the call goes on without it",
                    printable(reason)
                )
            }
            Self::TextUnsent { reason } => {
                write!(f, "the text of --send-text was not sent: {}", printable(reason))
            }
            Self::Ended { reason } => write!(f, "call ended: {reason}"),
            Self::Error { message, .. } => f.write_str(&printable(message)),
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
    fn an_end_is_a_code_for_scripts_and_words_for_people() {
        for (reason, code, words) in [
            (EndReason::HungUp, "hung-up", "we hung up"),
            (EndReason::PeerLeft, "peer-left", "the peer hung up"),
            (EndReason::Duration, "duration", "its time is over"),
            (EndReason::Frames, "frames", "the expected frames have come"),
            (EndReason::ServerLost, "server-lost", "the connection to the server was lost"),
            (EndReason::Failed("no path".into()), "no path", "no path"),
        ] {
            let event = Event::Ended { reason };
            assert_eq!(json(1, None, &event), format!(r#"{{"event":"ended","reason":"{code}","ms":1}}"#));
            assert_eq!(event.to_string(), format!("call ended: {words}"));
        }
    }

    #[test]
    fn strangers_cannot_steer_the_terminal() {
        let line = human(1234, Some("a\u{1b}[2J"), &Event::Data { text: "x\u{7}\ny".into() });
        assert!(!line.contains(char::is_control), "{line:?}");
        assert!(line.starts_with("   1.234"));
        let told = "\u{9b}2J \u{202e}\u{2066}";
        for line in [
            human(1, Some(told), &Event::Data { text: told.into() }),
            json(1, Some(told), &Event::Data { text: told.into() }),
            human(1, None, &Event::Ended { reason: EndReason::Failed(told.into()) }),
        ] {
            assert!(line.is_ascii() && !line.contains(char::is_control), "{line:?}");
        }
        let line = json(1, None, &Event::Data { text: told.into() });
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["text"], told, "the same to programs");
    }
}
