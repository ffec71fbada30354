//! Whether there is too little CPU for an encoder. Pure.
//!
//! An encoder that is too slow finds its queue full all the time, and most frames are lost in front of it. A smaller picture is
//! better than one with gaps.

use std::time::Duration;

/// A frame is late if those behind it have waited for this long already.
const LATE: Duration = Duration::from_millis(100);
/// How long is looked at, and which share of late frames is too much, in percent.
const SPAN: Duration = Duration::from_secs(2);
const MUCH: u32 = 75;
const LITTLE: u32 = 10;
/// After this time with few late frames a larger picture is tried. If that is too much soon, the next trial comes after twice the
/// time, up to the longest.
const CALM: Duration = Duration::from_secs(20);
const SOON: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(320);

/// Counts late frames.
#[derive(Debug)]
pub(super) struct Strain {
    /// How many steps smaller the picture is.
    steps: usize,
    most: usize,
    since: Option<Duration>,
    frames: u32,
    late: u32,
    /// Since when there have been few late frames, and how long this has to be so.
    calm: Option<Duration>,
    patience: Duration,
    /// When a larger picture was tried.
    tried: Option<Duration>,
}

impl Strain {
    /// There are up to `most` steps.
    pub(super) fn new(most: usize) -> Self {
        let patience = CALM;
        Self { steps: 0, most, since: None, frames: 0, late: 0, calm: None, patience, tried: None }
    }

    /// A frame goes to the encoder, and those behind it last for `waiting`. Returns by how many steps the picture is to be reduced.
    pub(super) fn frame(&mut self, now: Duration, waiting: Duration) -> usize {
        let since = *self.since.get_or_insert(now);
        self.frames += 1;
        self.late += u32::from(waiting >= LATE);
        if now.saturating_sub(since) >= SPAN {
            let share = self.late * 100 / self.frames;
            (self.since, self.frames, self.late) = (None, 0, 0);
            self.judge(now, share);
        }
        self.steps
    }

    fn judge(&mut self, now: Duration, late: u32) {
        if late > LITTLE {
            self.calm = None;
        }
        if late >= MUCH && self.steps < self.most {
            let is_soon = self.tried.take().is_some_and(|tried| now.saturating_sub(tried) < SOON);
            self.patience = if is_soon { (self.patience * 2).min(LONGEST) } else { CALM };
            self.steps += 1;
        } else if late <= LITTLE && self.steps > 0 {
            let calm = *self.calm.get_or_insert(now);
            if now.saturating_sub(calm) >= self.patience {
                (self.calm, self.tried) = (None, Some(now));
                self.steps -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs for this time at 30 frames per second; returns the steps at its end.
    fn run(strain: &mut Strain, now: &mut u64, seconds: u64, waiting: impl Fn(u64) -> u64) -> usize {
        let end = *now + seconds * 30;
        let mut steps = 0;
        while *now < end {
            *now += 1;
            steps =
                strain.frame(Duration::from_millis(*now * 1000 / 30), Duration::from_millis(waiting(*now)));
        }
        steps
    }

    #[test]
    fn a_queue_that_is_always_full_makes_the_picture_smaller() {
        let (mut strain, mut now) = (Strain::new(3), 0);
        assert_eq!(run(&mut strain, &mut now, 1, |_| 200), 0, "a busy moment");
        assert_eq!(run(&mut strain, &mut now, 2, |_| 200), 1);
        assert_eq!(run(&mut strain, &mut now, 20, |_| 200), 3);
    }

    #[test]
    fn now_and_then_a_late_frame_changes_nothing() {
        let (mut strain, mut now) = (Strain::new(3), 0);
        assert_eq!(run(&mut strain, &mut now, 600, |frame| if frame % 2 == 0 { 150 } else { 33 }), 0);
        assert_eq!(run(&mut strain, &mut now, 600, |_| 67), 0);
    }

    #[test]
    fn a_larger_picture_is_tried_again_less_and_less_often() {
        let (mut strain, mut now) = (Strain::new(1), 0);
        let strained = |strain: &mut Strain, now: &mut u64| run(strain, now, 4, |_| 200);
        assert_eq!(strained(&mut strain, &mut now), 1);
        for wait in [20, 40, 80, 160, 320, 320] {
            assert_eq!(run(&mut strain, &mut now, wait - 1, |_| 0), 1, "{wait}");
            // A span begins with the frame behind the last one.
            assert_eq!(run(&mut strain, &mut now, 6, |_| 0), 0, "{wait}");
            assert_eq!(strained(&mut strain, &mut now), 1, "{wait}");
        }
        run(&mut strain, &mut now, 330, |_| 0);
        assert_eq!(run(&mut strain, &mut now, 30, |_| 0), 0);
        strained(&mut strain, &mut now);
        assert_eq!(run(&mut strain, &mut now, 26, |_| 0), 0, "it was good for long enough");
    }
}
