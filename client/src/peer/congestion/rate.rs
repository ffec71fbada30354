//! The estimate: falls at once to what arrives, and grows again while no queue does (the draft's section 5.5).

use std::time::Duration;

use super::trend::Usage;

/// The least estimate in bit/s: sound, and a picture now and then.
const LEAST: f64 = 80_000.0;
/// The first estimate is not above this.
const START: f64 = 1_500_000.0;
/// The estimate after a queue has grown, in parts of what arrives.
const BACK_OFF: f64 = 0.87;
/// A queue that is found is emptied within about this time.
const EMPTIES: f64 = 0.8;
const LEAST_BACK_OFF: f64 = 0.4;
/// A queue that packets wait in for this long is emptied, even if it does not grow.
const LONG_QUEUE: Duration = Duration::from_millis(90);
/// Growing delays are believed if at least this is a queue, not jitter.
const SOME_QUEUE: Duration = Duration::from_millis(12);
/// A queue this short counts as empty.
const SHORT_QUEUE: Duration = Duration::from_millis(35);
/// Growth per second: at first, more each second, and at most.
const GROWTH: f64 = 0.08;
const MORE_GROWTH: f64 = 0.06;
const MOST_GROWTH: f64 = 0.40;
/// Near the capacity found last, the estimate grows by a packet per round trip, as in the draft.
const PACKET: f64 = 1200.0 * 8.0;
/// What arrived under losses, less this, would arrive without.
const ALL_ARRIVES: f64 = 0.95;
/// How far the estimate may exceed what arrives.
const AHEAD: f64 = 1.5;
const AHEAD_ALWAYS: f64 = 20_000.0;
/// Time in which feedback comes at the latest, after a round trip.
const FEEDBACK: Duration = Duration::from_millis(100);
/// Each time without feedback leaves this much of the estimate; after a longer silence the path may be another one.
const SILENT: f64 = 0.6;
const FORGOTTEN: Duration = Duration::from_secs(6);
/// The effect of a lower rate is awaited, but not longer than this: the queue itself makes round trips long.
const LONG_ROUND_TRIP: Duration = Duration::from_millis(400);
/// A line that carries less than this part of what it seemed to carry has become thinner.
const THINNER: f64 = 0.85;
/// A queue that is none shows in this time. Then no more than this arrives, in parts of the estimate.
const CONSTANT: Duration = Duration::from_millis(500);
const PASSED: f64 = 1.15;
/// Less than this share of the packets lost, without better feedback, lets the rate grow; more than the second lowers it.
const LITTLE_LOST: f64 = 0.02;
const MUCH_LOST: f64 = 0.10;

/// The estimate in bit/s.
#[derive(Debug)]
pub(super) struct Rate {
    now: f64,
    most: f64,
    round_trip: Duration,
    capacity: Capacity,
    state: State,
    /// What arrived when the queue was found that is being emptied, and the estimate before.
    found: f64,
    before: f64,
    /// Since when packets have waited for the same time, although all that is sent arrives.
    constant: Option<(Duration, Duration)>,
    /// When the estimate was last looked at, when it last fell, and since when it has grown.
    looked: Option<Duration>,
    fell: Option<Duration>,
    grows_since: Option<Duration>,
    /// Since when there has been no feedback, and the estimate then.
    silent: Option<(Duration, f64)>,
}

/// What arrives, in bit/s.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arriving {
    pub(super) steady: f64,
    /// In the last moment, if that is less.
    pub(super) latest: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Grow,
    /// Waits until the queue is empty.
    Empty,
}

/// The rate at which a queue last grew, with its relative variance.
#[derive(Debug, Default)]
struct Capacity {
    mean: Option<f64>,
    variance: f64,
}

impl Rate {
    pub(super) fn new(most: f64) -> Self {
        Self {
            now: most.min(START),
            most,
            round_trip: FEEDBACK,
            capacity: Capacity::default(),
            state: State::Grow,
            found: 0.0,
            before: most,
            constant: None,
            looked: None,
            fell: None,
            grows_since: None,
            silent: None,
        }
    }

    /// In whole bit/s.
    pub(super) fn now(&self) -> u64 {
        self.now as u64
    }

    /// A foreign estimate within our bounds.
    pub(super) fn bound(&self, bits: f64) -> u64 {
        bits.clamp(LEAST.min(self.most), self.most) as u64
    }

    /// The time between a packet and the report about it.
    pub(super) fn set_round_trip(&mut self, sample: Duration) {
        let sample = sample.min(Duration::from_secs(2));
        self.round_trip = (self.round_trip * 7 + sample) / 8;
    }

    /// Follows the delays, the queue, and what arrives. Returns whether the queue is none: the path has become longer.
    pub(super) fn delay(&mut self, now: Duration, usage: Usage, queue: Duration, arriving: Arriving) -> bool {
        let passed = now.saturating_sub(self.looked.replace(now).unwrap_or(now)).min(Duration::from_secs(1));
        self.end_silence(now, queue);
        let responds = self.round_trip.min(LONG_ROUND_TRIP) + FEEDBACK;
        let may_fall = self.fell.is_none_or(|fell| now.saturating_sub(fell) >= responds);
        // What arrived was still what the line carried before.
        let is_thinner = self.state == State::Empty && arriving.latest < self.found * THINNER;
        if usage == Usage::Over && queue >= SOME_QUEUE || queue >= LONG_QUEUE {
            self.pause();
            if may_fall || is_thinner {
                self.fall(now, queue, arriving.latest);
            }
        } else if self.state == State::Empty {
            if usage == Usage::Normal && queue <= SHORT_QUEUE && may_fall {
                self.state = State::Grow;
                // It was lowered further than to the capacity, to empty the queue.
                self.set(self.now.max(self.found * BACK_OFF));
            }
        } else if usage == Usage::Normal {
            self.grow(now, passed, arriving.steady);
        }
        self.is_longer(now, queue, arriving.latest)
    }

    /// A queue would become shorter: what arrives would be more than what is sent.
    fn is_longer(&mut self, now: Duration, queue: Duration, arriving: f64) -> bool {
        let is_passed = self.state == State::Empty && queue > SHORT_QUEUE && arriving <= self.now * PASSED;
        let same = self.constant.filter(|(_, wait)| is_passed && queue.abs_diff(*wait) <= *wait / 5);
        self.constant = same.or(is_passed.then_some((now, queue)));
        let is_longer = same.is_some_and(|(since, _)| now.saturating_sub(since) >= CONSTANT);
        if is_longer {
            (self.state, self.constant) = (State::Grow, None);
            self.set(self.now.max(self.before));
        }
        is_longer
    }

    /// This share is lost, perhaps because of the rate.
    pub(super) fn lose(&mut self, now: Duration, share: f64) {
        self.fell = Some(now);
        self.pause();
        self.set(self.now * (1.0 - share) * ALL_ARRIVES);
    }

    /// Growth begins again, slowly.
    pub(super) fn pause(&mut self) {
        self.grows_since = None;
    }

    /// The rate was not the cause of losses.
    pub(super) fn restore(&mut self, before: f64) {
        self.set(self.now.max(before));
    }

    /// There is no feedback.
    pub(super) fn silence(&mut self, now: Duration) {
        self.pause();
        let (since, before) = self.silent.unwrap_or((now, self.now));
        self.silent = Some((since, before));
        self.set(self.now * SILENT);
    }

    /// Feedback comes again. If there is no queue, it was not our packets that it waited behind.
    fn end_silence(&mut self, now: Duration, queue: Duration) {
        if let Some((since, before)) = self.silent.take()
            && queue < SHORT_QUEUE
            && now.saturating_sub(since) < FORGOTTEN
        {
            self.set(self.now.max(before));
        }
    }

    /// A receiver report, for a peer that sends nothing better.
    pub(super) fn receiver_report(&mut self, now: Duration, lost: f64) {
        if lost > MUCH_LOST {
            self.lose(now, lost / 2.0);
        } else if lost < LITTLE_LOST {
            let passed =
                now.saturating_sub(self.looked.replace(now).unwrap_or(now)).min(Duration::from_secs(5));
            self.set(self.now * (1.0 + GROWTH).powf(passed.as_secs_f64()));
        }
    }

    fn fall(&mut self, now: Duration, queue: Duration, arriving: f64) {
        self.capacity.found(arriving);
        let excess = queue.saturating_sub(SHORT_QUEUE).as_secs_f64();
        let factor = (BACK_OFF - excess / EMPTIES).max(LEAST_BACK_OFF);
        // While a queue is emptied, what arrives is what the line carries only at first.
        if self.state == State::Empty {
            self.found = self.found.min(arriving);
        } else {
            (self.found, self.before) = (arriving, self.now);
        }
        self.set(self.now.min(arriving * factor));
        (self.state, self.fell) = (State::Empty, Some(now));
    }

    fn grow(&mut self, now: Duration, passed: Duration, arriving: f64) {
        if self.capacity.is_exceeded_by(arriving) {
            self.capacity = Capacity::default();
        }
        let since = *self.grows_since.get_or_insert(now);
        let passed = passed.as_secs_f64();
        let grown = if self.capacity.is_near(self.now) {
            let response = (self.round_trip + FEEDBACK).as_secs_f64();
            self.now + (PACKET / response).max(4000.0) * passed
        } else {
            let seconds = now.saturating_sub(since).as_secs_f64();
            let growth = (GROWTH + MORE_GROWTH * seconds).min(MOST_GROWTH);
            self.now * (1.0 + growth).powf(passed)
        };
        // What is not used is not known to pass.
        let bound = AHEAD * arriving + AHEAD_ALWAYS;
        self.set(if grown > bound { self.now.max(bound.min(grown)) } else { grown });
    }

    fn set(&mut self, bits: f64) {
        self.now = bits.clamp(LEAST.min(self.most), self.most);
    }
}

impl Capacity {
    fn found(&mut self, rate: f64) {
        let mean = self.mean.map_or(rate, |mean| 0.95 * mean + 0.05 * rate);
        // A much lower rate is another line.
        let mean = if rate < mean - 3.0 * self.deviation(mean) { rate } else { mean };
        let error = (mean - rate) * (mean - rate) / mean.max(1.0);
        self.variance = (0.95 * self.variance + 0.05 * error).clamp(400.0, 2500.0);
        self.mean = Some(mean);
    }

    fn deviation(&self, mean: f64) -> f64 {
        (self.variance.max(400.0) * mean).sqrt()
    }

    fn is_exceeded_by(&self, rate: f64) -> bool {
        self.mean.is_some_and(|mean| rate > mean + 3.0 * self.deviation(mean))
    }

    fn is_near(&self, rate: f64) -> bool {
        self.mean.is_some_and(|mean| (rate - mean).abs() <= 3.0 * self.deviation(mean))
    }
}
