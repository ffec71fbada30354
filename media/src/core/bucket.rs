//! A token bucket: an average rate with a bounded burst. No clock inside.

use std::time::Instant;

/// Allows `rate` units a second on average and `burst` units at once.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64, now: Instant) -> Self {
        Self { rate, burst, left: burst, at: now }
    }

    /// Takes `units` if that many are left.
    pub fn take(&mut self, units: f64, now: Instant) -> bool {
        self.fill(now);
        let is_enough = self.left >= units;
        if is_enough {
            self.left -= units;
        }
        is_enough
    }

    /// Takes `units` even if fewer are left, if any are left: for units of a size that is known afterwards.
    pub fn take_some(&mut self, units: f64, now: Instant) -> bool {
        self.fill(now);
        let is_any = self.left > 0.0;
        if is_any {
            self.left -= units;
        }
        is_any
    }

    fn fill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.left = (self.left + passed * self.rate).min(self.burst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_is_bounded_and_the_rate_refills_it() {
        let start = Instant::now();
        let mut bucket = Bucket::new(10.0, 3.0, start);
        let taken = (0..10).filter(|_| bucket.take(1.0, start)).count();
        assert_eq!(taken, 3);
        assert!(!bucket.take(1.0, start + Duration::from_millis(90)));
        assert!(bucket.take(1.0, start + Duration::from_millis(110)));
        // An hour of silence gives no more than the burst.
        let later = start + Duration::from_secs(3600);
        assert_eq!((0..10).filter(|_| bucket.take(1.0, later)).count(), 3);
    }

    #[test]
    fn a_clock_that_goes_back_gives_nothing() {
        let start = Instant::now() + Duration::from_secs(10);
        let mut bucket = Bucket::new(1.0, 1.0, start);
        assert!(bucket.take(1.0, start));
        assert!(!bucket.take(1.0, start - Duration::from_secs(5)));
        assert!(!bucket.take(1.0, start + Duration::from_millis(500)));
    }

    #[test]
    fn a_large_unit_is_paid_back() {
        let start = Instant::now();
        let mut bucket = Bucket::new(1.0, 1.0, start);
        assert!(bucket.take_some(3.0, start));
        assert!(!bucket.take_some(1.0, start + Duration::from_millis(1900)));
        assert!(bucket.take_some(1.0, start + Duration::from_millis(2100)));
    }
}
