//! Which size and frame rate a bit rate is enough for.

use std::time::Duration;

/// The steps, from the best: size and frame rate are divided by these.
const STEPS: [Step; 4] = [
    Step { size: 1, frames: 1 },
    Step { size: 2, frames: 1 },
    Step { size: 4, frames: 1 },
    Step { size: 4, frames: 2 },
];
/// Bits that a pixel needs to look better than a larger picture of fewer bits, in thousandths.
const PIXEL: u64 = 28;
/// A picture as configured needs this much of the configured bit rate at most, in percent.
const ENOUGH: u64 = 60;
/// A step back needs this much of what the better picture needs, in percent, for this long.
const BACK: u64 = 125;
const LONG: Duration = Duration::from_secs(2);
/// The least side in pixels.
const LEAST_SIDE: u32 = 80;

/// How a picture is reduced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// Width and height are divided by this.
    pub(super) size: u32,
    /// The frame rate is divided by this.
    pub(super) frames: u32,
}

/// Chooses the step. Each change costs a key frame, so a better one must be possible for some time.
#[derive(Debug)]
pub(super) struct Steps {
    /// What each step needs, in bit/s.
    needs: Vec<(Step, u64)>,
    now: usize,
    /// Since when a better one is possible.
    better: Option<(Duration, usize)>,
}

impl Steps {
    /// For a picture of this size, frames per second and configured bit rate.
    pub(super) fn new(width: u32, height: u32, fps: u32, bits: u64) -> Self {
        let pixels = u64::from(width) * u64::from(height) * u64::from(fps.max(1));
        let full = (pixels * PIXEL / 1000).min(bits * ENOUGH / 100);
        let fits = |step: &Step| step.size == 1 || width.min(height) / step.size >= LEAST_SIDE;
        let needs = |step: Step| full / u64::from(step.size * step.size * step.frames);
        let needs = STEPS.into_iter().filter(fits).map(|step| (step, needs(step))).collect();
        Self { needs, now: 0, better: None }
    }

    /// The step for this bit rate.
    pub(super) fn choose(&mut self, now: Duration, bits: u64) -> Step {
        let last = self.needs.len().saturating_sub(1);
        let best =
            |share: u64| self.needs.iter().position(|(_, needs)| bits * 100 >= needs * share).unwrap_or(last);
        let (possible, better) = (best(100), best(BACK));
        if possible > self.now {
            (self.now, self.better) = (possible, None);
        } else if better < self.now {
            let (since, step) = self.better.unwrap_or((now, better));
            let step = step.max(better);
            self.better = Some((since, step));
            if now.saturating_sub(since) >= LONG {
                (self.now, self.better) = (step, None);
            }
        } else {
            self.better = None;
        }
        self.needs.get(self.now).map_or(Step { size: 1, frames: 1 }, |(step, _)| *step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn choose(steps: &mut Steps, now: u64, bits: u64) -> (u32, u32) {
        let Step { size, frames } = steps.choose(ms(now), bits);
        (size, frames)
    }

    #[test]
    fn down_at_once_and_up_after_a_while() {
        // 640x480 at 30 frames needs 258 kbit/s, half of it 64, a quarter 16.
        let mut steps = Steps::new(640, 480, 30, 1_000_000);
        assert_eq!(choose(&mut steps, 0, 1_000_000), (1, 1));
        assert_eq!(choose(&mut steps, 10, 260_000), (1, 1));
        assert_eq!(choose(&mut steps, 20, 250_000), (2, 1));
        assert_eq!(choose(&mut steps, 30, 30_000), (4, 1));
        assert_eq!(choose(&mut steps, 40, 10_000), (4, 2));
        assert_eq!(choose(&mut steps, 1000, 310_000), (4, 2), "not yet");
        assert_eq!(choose(&mut steps, 2999, 400_000), (4, 2));
        assert_eq!(choose(&mut steps, 3000, 400_000), (2, 1), "nearly enough is not enough for more");
    }

    #[test]
    fn what_was_possible_all_the_time_is_chosen() {
        let mut steps = Steps::new(640, 480, 30, 1_000_000);
        choose(&mut steps, 0, 10_000);
        choose(&mut steps, 1000, 400_000);
        choose(&mut steps, 2000, 90_000);
        assert_eq!(choose(&mut steps, 3000, 400_000), (2, 1));
        choose(&mut steps, 4000, 400_000);
        choose(&mut steps, 5000, 270_000);
        assert_eq!(choose(&mut steps, 6500, 400_000), (2, 1), "it was interrupted");
        assert_eq!(choose(&mut steps, 8500, 400_000), (1, 1));
    }

    #[test]
    fn a_low_configured_rate_is_enough_for_the_configured_picture() {
        let mut steps = Steps::new(640, 480, 30, 100_000);
        assert_eq!(choose(&mut steps, 0, 60_000), (1, 1));
        assert_eq!(choose(&mut steps, 0, 50_000), (2, 1));
    }

    #[test]
    fn small_pictures_stay_large_enough() {
        let mut steps = Steps::new(160, 120, 30, 100_000);
        assert_eq!(choose(&mut steps, 0, 0), (1, 1));
        let mut steps = Steps::new(320, 240, 30, 1_000_000);
        assert_eq!(choose(&mut steps, 0, 0), (2, 1));
    }
}
