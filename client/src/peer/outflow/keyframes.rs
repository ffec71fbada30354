//! How many key frames one peer may cause.
//!
//! Each key frame costs all peers of the encoder bandwidth and quality. A request that comes too soon is deferred, not
//! lost.

use std::time::Duration;

use super::bucket::Bucket;

/// Key frames in a burst.
const AT_ONCE: f64 = 4.0;
/// Key frames per second in the long run.
const PER_SECOND: f64 = 1.0;

/// The key frame requests of one peer.
#[derive(Debug)]
pub(super) struct KeyFrames {
    bucket: Bucket,
    /// Whether a request is deferred.
    waits: bool,
}

impl Default for KeyFrames {
    fn default() -> Self {
        Self { bucket: Bucket::new(AT_ONCE, PER_SECOND), waits: false }
    }
}

impl KeyFrames {
    /// The peer requests a key frame; returns whether to pass the request to the encoder now.
    pub(super) fn request(&mut self, now: Duration) -> bool {
        let granted = self.bucket.take(now, 1.0);
        self.waits = !granted;
        granted
    }

    /// Whether the deferred request is due; the caller then makes it again.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        self.waits && self.bucket.holds(now, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_gets_one_every_second_and_the_last_request_is_met() {
        let mut keyframes = KeyFrames::default();
        let ms = Duration::from_millis;
        let granted = (0..60_000).step_by(5).filter(|&now| keyframes.request(ms(now))).count();
        assert_eq!(granted, 4 + 59);
        let due: Vec<u64> =
            (60_000..70_000).filter(|&now| keyframes.is_due(ms(now)) && keyframes.request(ms(now))).collect();
        assert!(matches!(*due, [60_000..60_010]), "{due:?}");
    }

    #[test]
    fn now_and_then_is_always_fine() {
        let mut keyframes = KeyFrames::default();
        assert!((0..1000).all(|n| keyframes.request(Duration::from_secs(n)) && !keyframes.waits));
    }
}
