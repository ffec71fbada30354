//! Which size and frame rate a bit rate is enough for.

use std::time::Duration;

use super::tiers::Tier;

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
/// This many times what a picture needs leaves nothing to be desired.
const PLENTY: u64 = 3;
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

/// A picture as configured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Picture {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) fps: u32,
    /// The configured bit rate, in bit/s.
    pub(super) bits: u64,
}

impl Picture {
    /// What it needs, in bit/s.
    fn needs(self) -> u64 {
        let pixels = u64::from(self.width) * u64::from(self.height) * u64::from(self.fps.max(1));
        (pixels * PIXEL / 1000).min(self.bits * ENOUGH / 100)
    }

    fn may_have(self, size: u32) -> bool {
        size == 1 || self.width.min(self.height) / size >= LEAST_SIDE
    }

    /// The smallest tier of it.
    pub(super) fn last(self) -> Tier {
        Tier::ALL.into_iter().filter(|tier| self.may_have(tier.divisor())).max().unwrap_or_default()
    }

    /// The bit rate that is enough for any peer of this tier, in bit/s: those of the last tier have no better choice.
    pub(super) fn enough(self, tier: Tier) -> u64 {
        let size = u64::from(tier.divisor());
        if tier == Tier::Full || tier != self.last() {
            u64::MAX
        } else {
            self.needs() * PLENTY / (size * size)
        }
    }
}

impl Steps {
    /// For an encoder of this tier.
    pub(super) fn new(picture: Picture, tier: Tier) -> Self {
        let full = picture.needs();
        let fits = |step: &Step| step.size >= tier.divisor() && picture.may_have(step.size);
        let needs = |step: Step| full / u64::from(step.size * step.size * step.frames);
        let needs = STEPS.into_iter().filter(fits).map(|step| (step, needs(step))).collect();
        Self { needs, now: 0, better: None }
    }

    /// How many steps there are below the first one.
    pub(super) fn below(&self) -> usize {
        self.needs.len().saturating_sub(1)
    }

    /// The step for this bit rate, or one at least this many steps below the first one.
    pub(super) fn choose(&mut self, now: Duration, bits: u64, least: usize) -> Step {
        let last = self.below();
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
        self.needs.get(self.now.max(least)).map_or(Step { size: 1, frames: 1 }, |(step, _)| *step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn picture(width: u32, height: u32, bits: u64) -> Picture {
        Picture { width, height, fps: 30, bits }
    }

    fn full(width: u32, height: u32, bits: u64) -> Steps {
        Steps::new(picture(width, height, bits), Tier::Full)
    }

    fn choose(steps: &mut Steps, now: u64, bits: u64) -> (u32, u32) {
        let Step { size, frames } = steps.choose(ms(now), bits, 0);
        (size, frames)
    }

    #[test]
    fn down_at_once_and_up_after_a_while() {
        // 640x480 at 30 frames needs 258 kbit/s, half of it 64, a quarter 16.
        let mut steps = full(640, 480, 1_000_000);
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
        let mut steps = full(640, 480, 1_000_000);
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
        let mut steps = full(640, 480, 100_000);
        assert_eq!(choose(&mut steps, 0, 60_000), (1, 1));
        assert_eq!(choose(&mut steps, 0, 50_000), (2, 1));
    }

    #[test]
    fn small_pictures_stay_large_enough() {
        let mut steps = full(160, 120, 100_000);
        assert_eq!(choose(&mut steps, 0, 0), (1, 1));
        let mut steps = full(320, 240, 1_000_000);
        assert_eq!(choose(&mut steps, 0, 0), (2, 1));
    }

    #[test]
    fn a_small_tier_has_no_larger_picture() {
        let mut steps = Steps::new(picture(640, 480, 1_000_000), Tier::Half);
        assert_eq!(choose(&mut steps, 0, 1_000_000), (2, 1));
        assert_eq!(choose(&mut steps, 10, 63_000), (4, 1));
        let mut steps = Steps::new(picture(640, 480, 1_000_000), Tier::Quarter);
        assert_eq!(choose(&mut steps, 0, 1_000_000), (4, 1));
        assert_eq!(choose(&mut steps, 10, 10_000), (4, 2));
    }

    #[test]
    fn only_the_last_tier_knows_enough() {
        let vga = picture(640, 480, 1_000_000);
        assert_eq!(vga.last(), Tier::Quarter);
        assert_eq!([vga.enough(Tier::Full), vga.enough(Tier::Half)], [u64::MAX; 2]);
        assert_eq!(vga.enough(Tier::Quarter), 258_048 * 3 / 16);
        assert_eq!(picture(320, 240, 1_000_000).last(), Tier::Half);
        let small = picture(160, 120, 1_000_000);
        assert_eq!((small.last(), small.enough(Tier::Full)), (Tier::Full, u64::MAX));
    }

    #[test]
    fn it_is_at_least_so_many_steps_below() {
        let mut steps = full(640, 480, 1_000_000);
        let mut size = |bits, least| steps.choose(ms(0), bits, least).size;
        assert_eq!((size(1_000_000, 1), size(1_000_000, 2), size(1_000_000, 0)), (2, 4, 1));
        assert_eq!(size(100_000, 1), 2, "the bit rate and the least are the same step");
        assert_eq!(full(640, 480, 1_000_000).below(), 3);
    }
}
