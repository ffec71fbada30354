//! A bit rate, measured over about two seconds. No clock inside.

use std::time::{Duration, Instant};

/// The time over which the rate is smoothed.
const SMOOTH: f64 = 2.0;

/// The rate of a flow.
#[derive(Debug)]
pub struct Rate {
    bits: u64,
    since: Instant,
    rate: Option<f64>,
}

impl Rate {
    /// Nothing flows yet.
    pub fn new(now: Instant) -> Self {
        Self { bits: 0, since: now, rate: None }
    }

    /// Counts bytes.
    pub fn add(&mut self, bytes: usize) {
        self.bits += 8 * bytes as u64;
    }

    /// The bits per second, with all that was counted until now. At intervals of some hundred milliseconds.
    pub fn measure(&mut self, now: Instant) -> u64 {
        let passed = now.saturating_duration_since(self.since).max(Duration::from_millis(1)).as_secs_f64();
        let latest = self.bits as f64 / passed;
        let share = (passed / SMOOTH).min(1.0);
        let rate = self.rate.map_or(latest, |rate| rate + (latest - rate) * share);
        (self.bits, self.since, self.rate) = (0, now, Some(rate));
        rate as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_the_flow_within_seconds() {
        let start = Instant::now();
        let mut rate = Rate::new(start);
        let mut measured = Vec::new();
        for tick in 1..=40_u64 {
            rate.add(if tick <= 20 { 62_500 } else { 6250 });
            measured.push(rate.measure(start + Duration::from_millis(tick * 500)));
        }
        assert_eq!(measured[19], 1_000_000);
        assert!(measured[20] > 500_000 && measured[39] < 110_000, "{measured:?}");
    }
}
