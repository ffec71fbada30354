//! A token bucket: a burst, and a rate per second.

use std::time::Duration;

/// A token bucket. Times count from any fixed moment.
#[derive(Debug)]
pub(in crate::peer) struct Bucket {
    left: f64,
    at_once: f64,
    per_second: f64,
    since: Duration,
}

impl Bucket {
    pub(in crate::peer) fn new(at_once: f64, per_second: f64) -> Self {
        Self { left: at_once, at_once, per_second, since: Duration::ZERO }
    }

    /// Changes burst and rate.
    pub(super) fn change(&mut self, now: Duration, at_once: f64, per_second: f64) {
        self.wait(now, 0.0);
        (self.at_once, self.per_second) = (at_once, per_second);
        self.left = self.left.min(at_once);
    }

    /// Takes `count` tokens if the bucket holds them; returns whether it did.
    pub(in crate::peer) fn take(&mut self, now: Duration, count: f64) -> bool {
        let enough = self.holds(now, count);
        if enough {
            self.left -= count;
        }
        enough
    }

    /// Whether the bucket holds `count` tokens.
    pub(super) fn holds(&mut self, now: Duration, count: f64) -> bool {
        self.wait(now, count).is_zero()
    }

    /// How long until the bucket holds `count` tokens, or is full if it can never hold as many.
    pub(super) fn wait(&mut self, now: Duration, count: f64) -> Duration {
        let passed = now.saturating_sub(self.since).as_secs_f64();
        self.since = self.since.max(now);
        self.give(passed * self.per_second);
        let missing = (count.min(self.at_once) - self.left).max(0.0);
        // Rounded up, so that the tokens are really there after the wait.
        let nanos = (missing / self.per_second * 1e9).ceil();
        if missing > 0.0 { Duration::from_nanos(nanos as u64 + 1) } else { Duration::ZERO }
    }

    /// Puts `count` tokens back, up to the size of the bucket.
    pub(super) fn give(&mut self, count: f64) {
        self.left = (self.left + count).min(self.at_once);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_dry_and_fills_up() {
        let mut bucket = Bucket::new(3.0, 2.0);
        let mut taken = |ms| (0..100).filter(|_| bucket.take(Duration::from_millis(ms), 1.0)).count();
        assert_eq!(taken(0), 3);
        assert_eq!(taken(499), 0);
        assert_eq!(taken(500), 1);
        assert_eq!(taken(100), 0, "no time is counted twice");
        assert_eq!(taken(500), 0);
        assert_eq!(taken(60_000), 3, "no more than at first");
        assert_eq!(bucket.wait(Duration::from_secs(60), 1.0).as_millis(), 500);
        assert_eq!(bucket.wait(Duration::from_secs(60), 9.0).as_millis(), 1500);
        bucket.change(Duration::from_secs(60), 3.0, 1.0);
        assert_eq!(bucket.wait(Duration::from_secs(60), 1.0).as_millis(), 1000);
        bucket.give(2.0);
        assert!(!bucket.take(Duration::from_secs(60), 3.0) && bucket.take(Duration::from_secs(60), 2.0));
    }
}
