//! When a client that sends heartbeats counts as gone. Pure.

use std::time::{Duration, Instant};

/// How long a client stays whose heartbeats are late and cannot be read yet.
const GRACE: Duration = Duration::from_secs(1);

/// The end of a client's silence. By default it may be silent forever.
#[derive(Debug, Default)]
pub(super) struct Lapse(Option<Instant>);

impl Lapse {
    /// The client sent a frame, and may be silent for this time now. True if it had no deadline before.
    pub(super) fn heard(&mut self, now: Instant, silence: Option<Duration>) -> bool {
        let had = self.0.is_some();
        self.0 = silence.map(|silence| now + silence);
        !had && self.0.is_some()
    }

    /// Whether the deadline has passed.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.0.is_some_and(|at| at <= now)
    }

    /// The time until it has to be looked at again.
    pub(super) fn left(&self, now: Instant) -> Duration {
        match self.0 {
            None => Duration::MAX,
            Some(at) if at <= now => GRACE,
            Some(at) => at - now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Option<Duration> = Some(Duration::from_secs(10));

    #[test]
    fn each_frame_postpones_the_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut lapse = Lapse::default();
        assert!(!lapse.heard(at(0), None), "no heartbeat yet");
        assert!(!lapse.is_due(at(1000)) && lapse.left(at(1000)) == Duration::MAX);
        assert!(lapse.heard(at(0), TEN), "the alarm has to be set");
        assert!(!lapse.heard(at(6), TEN), "it is set already");
        assert_eq!(lapse.left(at(10)), Duration::from_secs(6));
        assert!(!lapse.is_due(at(15)) && lapse.is_due(at(16)));
        assert_eq!(lapse.left(at(16)), GRACE, "never zero: the alarm would not rest");
        assert!(!lapse.heard(at(16), None), "it has left");
        assert!(!lapse.is_due(at(1000)));
    }
}
