//! Classifies frames by their first bytes, and tracks offers and answers.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use prometheus_client::encoding::EncodeLabelValue;

/// The kinds of frames in the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Kind {
    /// A session description between peers.
    Sdp,
    /// A candidate between peers.
    Ice,
    /// Another text between peers.
    Text,
    /// A binary frame between peers.
    Binary,
    /// A request to the server.
    Control,
}

impl Kind {
    /// Classifies a text from one peer to another by the first key of its JSON object.
    pub fn of(payload: &str) -> Self {
        let name = payload.trim_start().strip_prefix('{').map(str::trim_start);
        match name {
            Some(name) if name.starts_with("\"sdp\"") => Self::Sdp,
            Some(name) if name.starts_with("\"ice\"") => Self::Ice,
            _ => Self::Text,
        }
    }
}

/// The state of a session's negotiation: whether an offer waits for its answer. The first session description is an
/// offer, and so is another one from the same side; one from the other side is the answer.
#[derive(Debug)]
pub struct Negotiation {
    start: Instant,
    /// The time of the pending offer in microseconds since `start`, plus one, shifted left by one; the lowest bit is
    /// its side. 0: no offer is pending.
    pending: AtomicU64,
}

/// One of the two peers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The peer that called.
    Caller,
    /// The peer that was called.
    Callee,
}

impl Default for Negotiation {
    fn default() -> Self {
        Self { start: Instant::now(), pending: AtomicU64::new(0) }
    }
}

impl Negotiation {
    /// Records a session description from this side. Returns how long the offer waited if this is the answer.
    pub fn on_sdp(&self, side: Side) -> Option<Duration> {
        let now = self.now();
        let bit = u64::from(side == Side::Callee);
        let pending = self.pending.load(Ordering::Relaxed);
        if pending != 0 && pending & 1 != bit {
            self.pending.store(0, Ordering::Relaxed);
            return Some(Duration::from_micros(now.saturating_sub(pending >> 1)));
        }
        self.pending.store(now << 1 | bit, Ordering::Relaxed);
        None
    }

    /// Ends the session. True if an offer has no answer; only the first call returns it.
    pub fn end(&self) -> bool {
        self.pending.swap(0, Ordering::Relaxed) != 0
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX >> 2) + 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_from_the_first_name() {
        assert_eq!(Kind::of("{\"sdp\":{\"type\":\"offer\"}}"), Kind::Sdp);
        assert_eq!(Kind::of(" {\n \"ice\" : {}}"), Kind::Ice);
        for text in ["", "{", "OFFER_REQUEST", "{\"sdpx\":1}", "{\"x\":\"sdp\"}", "[\"sdp\"]"] {
            assert_eq!(Kind::of(text), Kind::Text, "{text}");
        }
    }

    #[test]
    fn an_answer_comes_from_the_other_side() {
        let negotiation = Negotiation::default();
        assert_eq!(negotiation.on_sdp(Side::Caller), None);
        assert_eq!(negotiation.on_sdp(Side::Caller), None, "offered again");
        assert!(negotiation.on_sdp(Side::Callee).is_some());
        assert!(!negotiation.end());
        assert_eq!(negotiation.on_sdp(Side::Callee), None, "the other side offers now");
        assert!(negotiation.end());
        assert!(!negotiation.end(), "counted once");
    }
}
