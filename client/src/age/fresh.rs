//! Whether new pictures come.
//!
//! A picture is stale when no new one has come for half a second, or for several times the usual distance of the frames if
//! that is longer: a source of one frame a second is not stale between two of them. It is live again when two frames have
//! come that are close enough.

use std::{collections::VecDeque, time::Duration};

/// A picture that is older is stale, at the usual frame rates.
const LEAST: Duration = Duration::from_millis(500);
/// The longest time until a picture is stale, however seldom frames come.
const MOST: Duration = Duration::from_secs(30);
/// The time until a picture is stale while the usual distance is not known, and after a pause that was negotiated.
const START: Duration = Duration::from_secs(3);
/// A picture is stale after this many usual distances, in percent.
const DISTANCES: u32 = 250;
/// The usual distance is the median of this many. So neither an outage nor a burst counts.
const KEPT: usize = 9;
/// As many have to be known.
const KNOWN: usize = 3;
/// The time between two looks at a picture that is stale.
const LOOK: Duration = Duration::from_millis(100);

/// What is known of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// No frame came yet, or none is expected.
    Unknown,
    /// New frames come.
    Live,
    /// No frame has come for this long, or only one.
    Stale(Duration),
}

/// Watches the frames of one picture.
#[derive(Debug, Default)]
pub struct Fresh {
    distances: VecDeque<Duration>,
    last: Option<Duration>,
    /// Since when frames have been expected.
    expected: Option<Duration>,
    is_stale: bool,
}

impl Fresh {
    /// A frame came.
    pub fn frame(&mut self, now: Duration) {
        let Some(last) = self.last.replace(now) else { return };
        let distance = now.saturating_sub(last);
        self.is_stale &= distance > self.limit();
        if self.distances.len() == KEPT {
            self.distances.pop_front();
        }
        self.distances.push_back(distance);
    }

    /// Looks at the picture; `expected` says whether the peer is to send frames. Returns also when to look again.
    pub fn look(&mut self, now: Duration, expected: bool) -> (State, Duration) {
        if !expected {
            (self.expected, self.is_stale) = (None, false);
            return (State::Unknown, LEAST);
        }
        let since = *self.expected.get_or_insert(now);
        let Some(last) = self.last else { return (State::Unknown, LEAST) };
        let limit = self.limit();
        // After a pause, the peer gets some time to begin again.
        let due = (last + limit).max(if last < since { since + START } else { last });
        self.is_stale |= now >= due;
        if self.is_stale {
            return (State::Stale(now.saturating_sub(last)), LOOK);
        }
        if last < since {
            return (State::Unknown, LEAST);
        }
        // The limit shrinks as more distances are known.
        (State::Live, due.saturating_sub(now).min(LEAST))
    }

    /// How long after a frame the picture is stale.
    fn limit(&self) -> Duration {
        if self.distances.len() < KNOWN {
            return START;
        }
        let mut sorted: Vec<Duration> = self.distances.iter().copied().collect();
        sorted.sort_unstable();
        let usual = sorted.get(sorted.len() / 2).copied().unwrap_or_default();
        (usual.min(MOST) * DISTANCES / 100).clamp(LEAST, MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The changes that a script would see, in milliseconds, of frames at these times until `end`.
    fn changes(frames: &[u64], end: u64, expected: impl Fn(u64) -> bool) -> Vec<(u64, &'static str)> {
        let mut fresh = Fresh::default();
        // Looks only when it is to look.
        let (mut lazy, mut found, mut due) = (Fresh::default(), State::Unknown, 0);
        let (mut told, mut pauses, mut seen) = (false, false, Vec::new());
        for now in 0..end {
            if frames.contains(&now) {
                fresh.frame(ms(now));
                lazy.frame(ms(now));
            }
            pauses |= !expected(now);
            if now >= due {
                let (state, next) = lazy.look(ms(now), expected(now));
                assert!(!next.is_zero(), "{now}");
                (found, due) = (state, now + next.as_millis() as u64);
            }
            let (state, _) = fresh.look(ms(now), expected(now));
            match state {
                State::Stale(_) if !told => {
                    assert!(found == state || pauses, "{now}: {found:?}");
                    seen.push((now, "stale"));
                }
                State::Live if told => seen.push((now, "live")),
                _ => continue,
            }
            told = !told;
        }
        seen
    }

    fn frames(from: u64, to: u64, distance: u64) -> Vec<u64> {
        (0..).map(|n| from + n * distance).take_while(|at| *at < to).collect()
    }

    #[test]
    fn half_a_second_without_a_frame_is_stale_and_two_frames_are_live() {
        let all = [frames(100, 1000, 33), frames(4000, 6000, 33)].concat();
        assert_eq!(changes(&all, 6000, |_| true), [(991 + 500, "stale"), (4033, "live")]);
        assert_eq!(changes(&[], 60_000, |_| true), [], "there was no picture yet");
    }

    #[test]
    fn the_next_look_is_in_time_for_a_limit_that_is_not_known_yet() {
        let mut fresh = Fresh::default();
        fresh.frame(ms(0));
        let (state, next) = fresh.look(ms(0), true);
        assert!(state == State::Live && next <= LEAST, "{state:?} {next:?}");
    }

    #[test]
    fn one_frame_is_not_enough_to_be_live() {
        let all = [frames(0, 1000, 33), vec![3000], frames(9000, 10_000, 33)].concat();
        assert_eq!(changes(&all, 10_000, |_| true), [(990 + 500, "stale"), (9033, "live")]);
    }

    #[test]
    fn rare_frames_are_usual() {
        assert_eq!(changes(&frames(0, 60_000, 1000), 60_000, |_| true), []);
        let stops = frames(0, 20_000, 1000);
        assert_eq!(changes(&stops, 60_000, |_| true), [(19_000 + 2500, "stale")]);
        assert_eq!(changes(&[frames(0, 20_000, 400)].concat(), 22_000, |_| true), [(19_600 + 1000, "stale")]);
        let slow = frames(0, 300_000, 20_000);
        assert_eq!(changes(&slow, 300_000, |_| true).len(), 2, "until the distance is known");
    }

    #[test]
    fn a_frame_rate_that_falls_is_told_once() {
        let all = [frames(0, 3000, 33), frames(3000, 30_000, 1000)].concat();
        let seen = changes(&all, 30_000, |_| true);
        assert_eq!(seen, [(3500, "stale"), (9000, "live")]);
        let rises = [frames(0, 20_000, 1000), frames(20_000, 30_000, 33)].concat();
        assert_eq!(changes(&rises, 30_000, |_| true), []);
    }

    #[test]
    fn an_outage_does_not_lengthen_the_limit() {
        let all = [frames(0, 1000, 33), frames(9000, 10_000, 33)].concat();
        let seen = changes(&all, 12_000, |_| true);
        assert_eq!(seen.last(), Some(&(9990 + 500, "stale")));
    }

    #[test]
    fn a_pause_that_was_negotiated_is_not_stale() {
        let all = [frames(0, 1000, 33), frames(8000, 9000, 33)].concat();
        let hold = |now: u64| !(1100..7500).contains(&now);
        assert_eq!(changes(&all, 9000, hold), []);
        let late = |now: u64| !(1100..2000).contains(&now);
        assert_eq!(changes(&all, 9000, late), [(2000 + 3000, "stale"), (8033, "live")], "it had its time");
        let after = |now: u64| now < 2000;
        assert_eq!(changes(&all[..31], 9000, after), [(990 + 500, "stale")], "stale before the pause");
    }
}
