//! Losses that depend on our rate, and losses that do not.
//!
//! A radio link loses packets at any rate: sending less would help nobody. A queue too short to show in the delays loses
//! what exceeds the rate. The difference is found by trying: if a lower rate loses as much, it is not the cause.

use std::{collections::VecDeque, time::Duration};

use super::rate::Rate;

/// The time over which losses are counted, and how many such windows are judged together.
const WINDOW: Duration = Duration::from_millis(300);
const WINDOWS: usize = 4;
/// Packets needed in a window.
const ENOUGH: u64 = 10;
/// The share of losses, beyond those that do not depend on the rate, that lowers the rate.
const MUCH: f64 = 0.10;
/// Losses that do not depend on the rate are believed up to this share.
const MOST_GIVEN: f64 = 0.30;
/// How much of the losses must stay at a lower rate to show that the rate is not their cause.
const STAYS: f64 = 0.5;
/// How quickly lower losses show that fewer are independent of the rate.
const FORGETS: f64 = 0.03;

/// Counts losses.
#[derive(Debug, Default)]
pub(super) struct Loss {
    since: Duration,
    now: Count,
    windows: VecDeque<Count>,
    /// The share that is lost at any rate.
    given: f64,
    trial: Option<Trial>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    received: u64,
    lost: i64,
}

/// A lower rate is being tried.
#[derive(Debug)]
struct Trial {
    /// The rate before, and the share lost then.
    before: f64,
    lost: f64,
}

impl Loss {
    /// Counts packets of a report.
    pub(super) fn add(&mut self, now: Duration, received: u64, lost: i64) {
        if self.now.total() == 0 {
            self.since = now;
        }
        self.now.received += received;
        self.now.lost += lost;
    }

    /// The share of packets lost in the last second.
    pub(super) fn share(&self) -> f64 {
        let add =
            |sum: Count, it: &Count| Count { received: sum.received + it.received, lost: sum.lost + it.lost };
        self.windows.iter().fold(Count::default(), add).share()
    }

    /// Lowers the rate if it loses too much.
    pub(super) fn judge(&mut self, now: Duration, rate: &mut Rate) {
        if now.saturating_sub(self.since) < WINDOW || self.now.total() < ENOUGH {
            return;
        }
        self.windows.push_back(std::mem::take(&mut self.now));
        if self.windows.len() > WINDOWS {
            self.windows.pop_front();
        }
        let share = self.share();
        if self.windows.len() == WINDOWS {
            self.given -= FORGETS * (self.given - share).max(0.0);
        }
        if share > self.given + MUCH {
            rate.pause();
        }
        if let Some(Trial { before, lost }) = self.trial.take_if(|_| self.windows.len() == WINDOWS) {
            if share >= STAYS * lost {
                self.given = ((share + lost) / 2.0).min(MOST_GIVEN);
                rate.restore(before);
            }
        } else if self.trial.is_none() && share > self.given + MUCH && self.is_steady() {
            self.trial = Some(Trial { before: rate.now() as f64, lost: share });
            self.windows.clear();
            rate.lose(now, share);
        }
    }

    /// Whether losses occur all the time. An outage of 200 ms touches two windows at most.
    fn is_steady(&self) -> bool {
        let many = |count: &&Count| count.share() > self.given + MUCH / 2.0;
        self.windows.iter().filter(many).count() >= WINDOWS - 1
    }
}

impl Count {
    fn total(self) -> u64 {
        self.received + u64::try_from(self.lost).unwrap_or(0)
    }

    fn share(self) -> f64 {
        (self.lost.max(0) as f64 / self.total().max(1) as f64).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 1_000_000.0;

    /// Packets each 100 ms, of which `lost` of a hundred are lost; returns the least and the last rate.
    fn run(
        loss: &mut Loss,
        rate: &mut Rate,
        from: u64,
        to: u64,
        lost: impl Fn(u64, f64) -> i64,
    ) -> (f64, f64) {
        let mut least = f64::MAX;
        for tick in from..to {
            let lost = lost(tick, rate.now() as f64);
            let now = Duration::from_millis(tick * 100);
            loss.add(now, u64::try_from(100 - lost).unwrap(), lost);
            loss.judge(now, rate);
            least = least.min(rate.now() as f64);
        }
        (least, rate.now() as f64)
    }

    #[test]
    fn losses_at_any_rate_are_tried_once_and_then_given() {
        let (mut loss, mut rate) = (Loss::default(), Rate::new(RATE));
        let (least, last) = run(&mut loss, &mut rate, 0, 100, |tick, _| 15 + tick as i64 % 5);
        assert!(least < 0.9 * RATE && last == RATE, "{least} {last}");
        assert!(run(&mut loss, &mut rate, 100, 400, |tick, _| 15 + tick as i64 % 5).0 == RATE);
        // When they are over, so is the exception.
        run(&mut loss, &mut rate, 400, 800, |_, _| 0);
        assert!(run(&mut loss, &mut rate, 800, 820, |_, _| 17).0 < RATE);
    }

    #[test]
    fn losses_of_what_exceeds_a_rate_lower_it_to_that() {
        let (mut loss, mut rate) = (Loss::default(), Rate::new(RATE));
        let exceeds = |_, rate: f64| ((1.0 - 400_000.0 / rate).max(0.0) * 100.0) as i64;
        let (_, last) = run(&mut loss, &mut rate, 0, 60, exceeds);
        assert!((300_000.0..450_000.0).contains(&last), "{last}");
    }

    #[test]
    fn a_hole_is_no_loss_of_this_kind() {
        let (mut loss, mut rate) = (Loss::default(), Rate::new(RATE));
        assert!(run(&mut loss, &mut rate, 0, 500, |tick, _| if tick % 50 < 2 { 100 } else { 0 }).0 == RATE);
    }
}
