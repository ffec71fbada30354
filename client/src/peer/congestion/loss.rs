//! Losses that depend on our rate, and losses that do not.
//!
//! A radio link loses packets at any rate: sending less would help nobody. A queue too short to show in the delays loses
//! what exceeds the rate. The difference is found by trying: if a lower rate loses as much, it is not the cause.

use std::time::Duration;

use super::rate::Rate;

/// The time over which losses are counted.
const WINDOW: Duration = Duration::from_millis(300);
/// Windows in a row with losses before the rate falls: more than an outage of 200 ms can touch.
const ROW: u32 = 3;
/// Packets needed to judge.
const ENOUGH: u64 = 10;
/// The share of losses, beyond those that do not depend on the rate, that lowers the rate.
const MUCH: f64 = 0.10;
/// Losses that do not depend on the rate are believed up to this share.
const MOST_GIVEN: f64 = 0.30;
/// How much of the losses must stay at a lower rate to show that the rate is not their cause.
const STAYS: f64 = 0.6;
const SMOOTHING: f64 = 0.8;

/// Counts losses.
#[derive(Debug, Default)]
pub(super) struct Loss {
    since: Duration,
    received: u64,
    lost: i64,
    /// Windows in a row with many losses, and their sum.
    row: u32,
    sum: f64,
    /// The share that is lost at any rate.
    given: f64,
    /// A lower rate is being tried: the rate before, and the share lost then.
    tried: Option<(f64, f64)>,
    share: f64,
}

impl Loss {
    /// Counts packets of a report.
    pub(super) fn add(&mut self, now: Duration, received: u64, lost: i64) {
        if self.received == 0 && self.lost == 0 {
            self.since = now;
        }
        self.received += received;
        self.lost += lost;
    }

    /// The share of packets lost lately.
    pub(super) fn share(&self) -> f64 {
        self.share
    }

    /// Lowers the rate if it loses too much.
    pub(super) fn judge(&mut self, now: Duration, rate: &mut Rate) {
        let lost = u64::try_from(self.lost).unwrap_or(0);
        if now.saturating_sub(self.since) < WINDOW || self.received + lost < ENOUGH {
            return;
        }
        let share = lost as f64 / (self.received + lost) as f64;
        (self.received, self.lost) = (0, 0);
        self.share = SMOOTHING * self.share + (1.0 - SMOOTHING) * share;
        self.given = self.given.min(self.share.max(share));
        if share <= self.given + MUCH {
            (self.row, self.sum, self.tried) = (0, 0.0, None);
            return;
        }
        self.row += 1;
        self.sum += share;
        if self.row < ROW {
            return;
        }
        let mean = self.sum / f64::from(self.row);
        (self.row, self.sum) = (0, 0.0);
        match self.tried.take() {
            Some((before, lost)) if mean >= STAYS * lost => {
                self.given = mean.min(MOST_GIVEN);
                self.share = mean;
                rate.restore(before);
            }
            _ => {
                self.tried = Some((rate.now() as f64, mean));
                rate.lose(now, mean);
            }
        }
    }
}
