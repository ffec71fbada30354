//! Whether delays grow: the slope of a line through the delays of the last packet groups (the draft's section 5, with
//! the trendline filter that replaced its Kalman filter).

use std::collections::VecDeque;

use super::Arrival;

/// Packets sent within this time form a group, in seconds.
const GROUP: f64 = 0.005;
/// Groups of the line.
const WINDOW: usize = 20;
const SMOOTHING: f64 = 0.9;
const GAIN: f64 = 4.0;
/// The slope counts in full after this many groups.
const MOST_GROUPS: u32 = 60;
/// The threshold in milliseconds: its start, its bounds, and how quickly it follows.
const THRESHOLD: f64 = 12.5;
const LEAST_THRESHOLD: f64 = 6.0;
const MOST_THRESHOLD: f64 = 600.0;
const UP: f64 = 0.0087;
const DOWN: f64 = 0.039;
/// A slope beyond the threshold by more than this is no reason to raise it.
const SPIKE: f64 = 15.0;
/// Delays must grow for this long, in milliseconds.
const SUSTAINED: f64 = 10.0;

/// What the delays say about the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Usage {
    /// A queue empties.
    Under,
    /// No queue grows.
    #[default]
    Normal,
    /// A queue grows.
    Over,
}

/// Follows the delays of arriving packets.
#[derive(Debug)]
pub(super) struct Trend {
    group: Option<Group>,
    before: Option<Group>,
    /// Delays in milliseconds: their sum, and smoothed.
    sum: f64,
    smoothed: f64,
    points: VecDeque<(f64, f64)>,
    groups: u32,
    threshold: f64,
    updated: Option<f64>,
    /// How long delays have grown, in milliseconds, and in how many groups.
    over: Option<(f64, u32)>,
    slope: f64,
    usage: Usage,
}

/// Packets sent at about the same time. Times are in seconds.
#[derive(Debug, Clone, Copy)]
struct Group {
    first_sent: f64,
    last_sent: f64,
    first_arrived: f64,
    last_arrived: f64,
}

impl Default for Trend {
    fn default() -> Self {
        Self {
            group: None,
            before: None,
            sum: 0.0,
            smoothed: 0.0,
            points: VecDeque::new(),
            groups: 0,
            threshold: THRESHOLD,
            updated: None,
            over: None,
            slope: 0.0,
            usage: Usage::Normal,
        }
    }
}

impl Trend {
    /// What the delays say now.
    pub(super) fn usage(&self) -> Usage {
        self.usage
    }

    /// The next packet, in the order of sending.
    pub(super) fn add(&mut self, arrival: &Arrival) {
        let (sent, arrived) = (arrival.sent.as_secs_f64(), arrival.arrived);
        let Some(group) = &mut self.group else {
            self.group = Some(Group::of(sent, arrived));
            return;
        };
        if sent < group.first_sent {
            return;
        }
        if group.takes(sent, arrived) {
            group.last_sent = group.last_sent.max(sent);
            group.last_arrived = group.last_arrived.max(arrived);
            return;
        }
        let group = *group;
        if let Some(before) = self.before {
            self.compare(before, group);
        }
        self.before = Some(group);
        self.group = Some(Group::of(sent, arrived));
    }

    fn compare(&mut self, before: Group, group: Group) {
        let sent = (group.last_sent - before.last_sent) * 1000.0;
        let arrived = (group.last_arrived - before.last_arrived) * 1000.0;
        // The peer's clock was set, or a forged report.
        if !(-1000.0..3000.0).contains(&(arrived - sent)) {
            *self = Self { group: self.group, ..Self::default() };
            return;
        }
        if arrived < 0.0 {
            return;
        }
        self.groups = (self.groups + 1).min(1000);
        self.sum += arrived - sent;
        self.smoothed = SMOOTHING * self.smoothed + (1.0 - SMOOTHING) * self.sum;
        self.points.push_back((group.last_arrived * 1000.0, self.smoothed));
        if self.points.len() > WINDOW {
            self.points.pop_front();
        }
        let slope = if self.points.len() == WINDOW { slope(&self.points) } else { self.slope };
        self.detect(slope, sent, group.last_arrived * 1000.0);
    }

    fn detect(&mut self, slope: f64, sent: f64, now: f64) {
        if self.groups < 2 {
            return;
        }
        let scaled = f64::from(self.groups.min(MOST_GROUPS)) * slope * GAIN;
        if scaled > self.threshold {
            let (time, count) = self.over.map_or((sent / 2.0, 1), |(time, count)| (time + sent, count + 1));
            self.over = Some((time, count));
            if time > SUSTAINED && count > 1 && slope >= self.slope {
                self.over = Some((0.0, 0));
                self.usage = Usage::Over;
            }
        } else {
            self.over = None;
            self.usage = if scaled < -self.threshold { Usage::Under } else { Usage::Normal };
        }
        self.slope = slope;
        self.adapt(scaled.abs(), now);
    }

    fn adapt(&mut self, scaled: f64, now: f64) {
        let passed = (now - self.updated.replace(now).unwrap_or(now)).clamp(0.0, 100.0);
        if scaled > self.threshold + SPIKE {
            return;
        }
        let speed = if scaled < self.threshold { DOWN } else { UP };
        self.threshold += speed * (scaled - self.threshold) * passed;
        self.threshold = self.threshold.clamp(LEAST_THRESHOLD, MOST_THRESHOLD);
    }
}

impl Group {
    fn of(sent: f64, arrived: f64) -> Self {
        Self { first_sent: sent, last_sent: sent, first_arrived: arrived, last_arrived: arrived }
    }

    /// Whether a packet belongs to the group: sent with it, or held up together with it by the network.
    fn takes(&self, sent: f64, arrived: f64) -> bool {
        let since = arrived - self.last_arrived;
        let held_up =
            since - (sent - self.last_sent) < 0.0 && since <= GROUP && arrived - self.first_arrived < 0.1;
        sent - self.first_sent <= GROUP || held_up
    }
}

/// The slope of the line with the least squares.
fn slope(points: &VecDeque<(f64, f64)>) -> f64 {
    let count = points.len() as f64;
    let (x, y) = points.iter().fold((0.0, 0.0), |(x, y), point| (x + point.0 / count, y + point.1 / count));
    let (above, below) = points.iter().fold((0.0, 0.0), |(above, below), point| {
        (above + (point.0 - x) * (point.1 - y), below + (point.0 - x) * (point.0 - x))
    });
    if below > 0.0 { above / below } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A packet each 10 ms, whose delay is a function of the time in seconds.
    fn run(trend: &mut Trend, from: u32, to: u32, delay: impl Fn(f64) -> f64) -> Vec<Usage> {
        let usages = (from..to).map(|n| {
            let sent = f64::from(n) * 0.01;
            let arrival =
                Arrival { sent: Duration::from_secs_f64(sent), arrived: sent + delay(sent), bytes: 1000 };
            trend.add(&arrival);
            trend.usage()
        });
        usages.collect()
    }

    #[test]
    fn delays_that_stay_grow_and_fall() {
        let mut trend = Trend::default();
        assert!(run(&mut trend, 0, 500, |_| 0.05).iter().all(|usage| *usage == Usage::Normal));
        let over = run(&mut trend, 500, 600, |at| 0.05 + (at - 5.0) * 0.2);
        assert!(over.iter().position(|usage| *usage == Usage::Over).is_some_and(|n| n < 40), "{over:?}");
        let under = run(&mut trend, 600, 700, |at| 0.25 - (at - 6.0) * 0.2);
        assert!(under.contains(&Usage::Under), "{under:?}");
    }

    #[test]
    fn jitter_is_no_trend() {
        let mut trend = Trend::default();
        let usages = run(&mut trend, 0, 3000, |at| 0.05 + 0.01 * (at * 7919.0).sin());
        let over = usages.iter().filter(|usage| **usage == Usage::Over).count();
        assert!(over < 60, "{over}");
    }

    #[test]
    fn a_clock_that_jumps_starts_over() {
        let mut trend = Trend::default();
        run(&mut trend, 0, 100, |_| 0.05);
        assert!(run(&mut trend, 100, 300, |_| 5000.0).iter().all(|usage| *usage == Usage::Normal));
    }
}
