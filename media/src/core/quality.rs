//! Whether a viewer's line carries the whole video, or key frames only. Sound always goes through.

use std::time::{Duration, Instant};

/// How long the estimate must be too low, or high enough.
const SURE: Duration = Duration::from_secs(1);
/// The share of what the stream needs below which the line is too slow, in percent. Estimates of a line that is fast enough
/// vary, too.
const TOO_LOW: u64 = 70;
/// The share from which on it is fast enough again.
const ENOUGH: u64 = 100;
/// The shortest and the longest time with key frames only. It doubles if the line fails soon again.
const SHORTEST: Duration = Duration::from_secs(4);
const LONGEST: Duration = Duration::from_secs(64);
/// A line that carries the video for this time is believed.
const PROVEN: Duration = Duration::from_secs(20);

/// A viewer's line.
#[derive(Debug)]
pub struct Quality {
    /// The bits per second that the line carries, as far as that is known.
    estimate: Option<u64>,
    is_thin: bool,
    /// Since when the estimate calls for a change.
    contrary: Option<Instant>,
    changed: Instant,
    pause: Duration,
}

impl Quality {
    /// A line that carries everything until there is a sign that it does not.
    pub fn new(now: Instant) -> Self {
        Self { estimate: None, is_thin: false, contrary: None, changed: now, pause: SHORTEST }
    }

    /// A new estimate, in bits per second.
    pub fn estimated(&mut self, bits: u64) {
        self.estimate = Some(bits);
    }

    /// Whether the viewer gets key frames only, if that has changed. `needed` are the bits per second of the stream.
    pub fn update(&mut self, needed: u64, now: Instant) -> Option<bool> {
        let estimate = self.estimate?;
        let limit = if self.is_thin { ENOUGH } else { TOO_LOW };
        let is_enough = estimate.saturating_mul(100) >= needed.saturating_mul(limit);
        if is_enough != self.is_thin {
            self.contrary = None;
            return None;
        }
        let since = *self.contrary.get_or_insert(now);
        let lasted = now.saturating_duration_since(self.changed);
        let is_sure = now.saturating_duration_since(since) >= SURE;
        if !is_sure || self.is_thin && lasted < self.pause {
            return None;
        }
        if !self.is_thin {
            self.pause = if lasted < PROVEN { (self.pause * 2).min(LONGEST) } else { SHORTEST };
        }
        self.is_thin = !self.is_thin;
        self.changed = now;
        self.contrary = None;
        Some(self.is_thin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changes of a line in each half second: seconds since the start, and whether key frames only are sent.
    fn changes(
        quality: &mut Quality,
        start: Instant,
        seconds: u64,
        estimate: impl Fn(u64, bool) -> u64,
    ) -> Vec<(u64, bool)> {
        let mut is_thin = false;
        let mut found = Vec::new();
        for half in 0..seconds * 2 {
            quality.estimated(estimate(half / 2, is_thin));
            if let Some(thin) = quality.update(1_000_000, start + Duration::from_millis(half * 500)) {
                is_thin = thin;
                found.push((half / 2, thin));
            }
        }
        found
    }

    #[test]
    fn a_line_without_an_estimate_carries_everything() {
        let start = Instant::now();
        assert_eq!(Quality::new(start).update(u64::MAX, start + LONGEST), None);
    }

    #[test]
    fn a_short_dip_changes_nothing() {
        let start = Instant::now();
        let dips = |second: u64, _| if second % 10 == 5 { 0 } else { 900_000 };
        let mut quality = Quality::new(start);
        quality.estimated(0);
        assert_eq!(changes(&mut quality, start, 60, dips), []);
    }

    #[test]
    fn a_slow_line_gets_key_frames_until_it_is_fast_again() {
        let start = Instant::now();
        let mut quality = Quality::new(start);
        let slow = |second: u64, _| if (30..40).contains(&second) { 500_000 } else { 1_500_000 };
        assert_eq!(changes(&mut quality, start, 60, slow), [(31, true), (41, false)]);
    }

    #[test]
    fn a_line_that_fails_again_and_again_is_tried_less_and_less() {
        let start = Instant::now();
        let mut quality = Quality::new(start);
        // The estimate recovers while nothing is sent.
        let found = changes(&mut quality, start, 300, |_, is_thin| if is_thin { 1_200_000 } else { 300_000 });
        let thin: u64 = found.chunks_exact(2).map(|pair| pair[1].0 - pair[0].0).sum();
        assert!(found.len() < 16 && thin > 200, "{found:?}");
    }
}
