//! What kind of payload a frame is, told from its first bytes, and what the kinds say about a negotiation.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use prometheus_client::encoding::EncodeLabelValue;

/// The kinds of frames that are counted apart.
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
    /// A request to the server, or its answer.
    Control,
}

impl Kind {
    /// Of a text from one peer to another. Looks at the first name in the object, and at nothing else.
    pub fn of(payload: &str) -> Self {
        let name = payload.trim_start().strip_prefix('{').map(str::trim_start);
        match name {
            Some(name) if name.starts_with("\"sdp\"") => Self::Sdp,
            Some(name) if name.starts_with("\"ice\"") => Self::Ice,
            _ => Self::Text,
        }
    }
}

/// The negotiation of a session: which side has offered and waits for the other's answer. The first session
/// description is an offer, and so is one from the same side; one from the other side is the answer.
#[derive(Debug)]
pub struct Negotiation {
    start: Instant,
    /// Microseconds since the start, plus one, and in the lowest bit the side. 0: nobody waits.
    pending: AtomicU64,
}

/// One of the two peers of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The one that called.
    Caller,
    /// The other.
    Callee,
}

impl Default for Negotiation {
    fn default() -> Self {
        Self { start: Instant::now(), pending: AtomicU64::new(0) }
    }
}

impl Negotiation {
    /// A session description came from this side. If it answers an offer: how long that had waited.
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

    /// The session ends: was there an offer without an answer? Only the first who asks hears yes.
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
