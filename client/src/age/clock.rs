//! How far the peer's clock is ahead of ours.
//!
//! A sender report has the peer's time at which it was sent (RFC 3550, section 6.4.1). It arrives one way later, so the
//! peer's clock is ahead by its time, plus the way, minus our time at its arrival. Of several reports the one that waited
//! least on the way says most. The way is half of the shortest round trip, which is exact if both directions take equally
//! long, and never wrong by more than itself.

use std::{collections::VecDeque, time::Duration};

/// Reports of this time are taken together.
const STEP: Duration = Duration::from_secs(2);
/// As many steps count. Clocks drift by up to 0.1 ms a second; a longer time would add that.
const STEPS: u32 = 15;

/// An estimate, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    /// How far the peer's clock is ahead of ours. Without a known round trip it is too small by the time of one way.
    pub ahead: i64,
    /// How wrong that may be at most; `None` without a known round trip.
    pub error: Option<i64>,
}

/// Learns from reports.
#[derive(Debug, Default)]
pub struct Clock {
    steps: VecDeque<Step>,
}

#[derive(Debug)]
struct Step {
    begin: Duration,
    /// The peer's time minus ours at the arrival of the best report.
    ahead: Option<i64>,
    round_trip: Option<Duration>,
}

impl Clock {
    /// A sender report came: the peer's time in it minus ours, in nanoseconds.
    pub fn report(&mut self, now: Duration, ahead: i64) {
        if let Some(step) = self.step(now) {
            step.ahead = step.ahead.max(Some(ahead));
        }
    }

    /// A round trip was measured.
    pub fn round_trip(&mut self, now: Duration, time: Duration) {
        if let Some(step) = self.step(now) {
            step.round_trip = Some(step.round_trip.map_or(time, |before| before.min(time)));
        }
    }

    /// The estimate; `None` before the first report.
    pub fn estimate(&self) -> Option<Estimate> {
        let ahead = self.steps.iter().filter_map(|step| step.ahead).max()?;
        let way = self.steps.iter().filter_map(|step| step.round_trip).min();
        let way = way.map(|round_trip| i64::try_from(round_trip.as_nanos() / 2).unwrap_or(i64::MAX));
        Some(Estimate { ahead: ahead.saturating_add(way.unwrap_or(0)), error: way })
    }

    /// The present step; there is always one.
    fn step(&mut self, now: Duration) -> Option<&mut Step> {
        while self.steps.front().is_some_and(|step| now.saturating_sub(step.begin) > STEP * STEPS) {
            self.steps.pop_front();
        }
        if self.steps.back().is_none_or(|step| now.saturating_sub(step.begin) >= STEP) {
            self.steps.push_back(Step { begin: now, ahead: None, round_trip: None });
        }
        self.steps.back_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The estimate in milliseconds after reports over a path with these delays, there and back, with a queue that is
    /// empty at every seventh report.
    fn found(ahead: i64, here: u64, there: u64, seconds: u64) -> (i64, i64) {
        let mut clock = Clock::default();
        for tenth in 0..seconds * 10 {
            let queue = (tenth % 7) * 9;
            clock.report(ms(tenth * 100), (ahead - (here + queue) as i64) * MS);
            clock.round_trip(ms(tenth * 100 + 50), ms(here + there + (tenth % 5) * 11));
        }
        let estimate = clock.estimate().unwrap();
        (estimate.ahead / MS, estimate.error.unwrap() / MS)
    }

    #[test]
    fn queues_do_not_count() {
        assert_eq!(found(5000, 40, 40, 10), (5000, 40));
        assert_eq!(found(-5000, 150, 150, 100), (-5000, 150));
        assert_eq!(found(0, 0, 0, 1), (0, 0));
    }

    #[test]
    fn unequal_ways_are_wrong_by_less_than_told() {
        let (ahead, error) = found(0, 100, 20, 10);
        assert_eq!((ahead, error), (-40, 60));
    }

    #[test]
    fn without_a_round_trip_the_way_is_missing() {
        let mut clock = Clock::default();
        assert_eq!(clock.estimate(), None);
        clock.round_trip(ms(0), ms(80));
        assert_eq!(clock.estimate(), None);
        let mut clock = Clock::default();
        clock.report(ms(0), -40 * MS);
        assert_eq!(clock.estimate(), Some(Estimate { ahead: -40 * MS, error: None }));
    }

    #[test]
    fn drift_and_a_clock_that_is_set_are_followed() {
        let mut clock = Clock::default();
        // The peer's clock loses 0.1 ms a second.
        for second in 0..600u64 {
            clock.report(ms(second * 1000), -(second as i64) * MS / 10);
            clock.round_trip(ms(second * 1000), ms(0));
        }
        let drift = clock.estimate().unwrap().ahead + 599 * MS / 10;
        assert!((0..=4 * MS).contains(&drift), "{drift}");
        assert!(clock.steps.len() <= STEPS as usize + 1);
        clock.report(ms(600_000), 3_600_000 * MS);
        assert_eq!(clock.estimate().unwrap().ahead, 3_600_000 * MS, "set forward: at once");
        for second in 601..640u64 {
            clock.report(ms(second * 1000), 0);
        }
        assert_eq!(clock.estimate().unwrap().ahead, 0, "set back: after half a minute");
    }
}
