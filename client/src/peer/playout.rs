//! How long the jitter buffer waits for a packet that is missing, and when it asks for it again.
//!
//! GStreamer hands on packets at once while none is missing, so a long wait costs nothing on a good line. On a bad one,
//! a wait that is too short turns each lost packet into a lost picture, because a retransmission takes a round trip, and
//! may be lost itself.

use std::time::Duration;

/// The longest wait.
const LONGEST: Duration = Duration::from_millis(500);
/// The wait before anything is known.
const START: Duration = Duration::from_millis(100);
/// A packet is missed when the next ones arrive: at the end of a frame, with the next frame.
const MISSED: Duration = Duration::from_millis(40);
/// The time that the peer and we take to handle a request, in addition to the round trip.
const HANDLING: Duration = Duration::from_millis(12);
/// A packet may stay lost, after all requests, with this probability.
const HOPELESS: f64 = 0.0003;
/// No line is expected to lose less than this.
const LEAST_LOST: f64 = 0.005;
/// Requests are useless on a line that loses more than this.
const MOST_LOST: f64 = 0.3;
/// Longer waits are kept for some time: this much of the difference goes with each second.
const FORGETS: f64 = 0.1;
/// How much the losses of one second count.
const SECOND: f64 = 0.2;

/// What is known about the line, for the last second.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Line {
    pub(super) round_trip: Option<Duration>,
    pub(super) jitter: Option<Duration>,
    /// Packets that came in time, and packets that did not, in total.
    pub(super) received: u64,
    pub(super) lost: u64,
}

/// What the jitter buffer is set to, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Buffer {
    /// How long a missing packet is waited for.
    pub(super) latency: u32,
    /// The time between two requests for it.
    pub(super) retry: u32,
}

/// Follows the line.
#[derive(Debug)]
pub(super) struct Playout {
    /// The user's choice.
    fixed: Option<u32>,
    wait: Duration,
    last: Line,
    /// The share of packets lost on the way, in the last second and in the long run.
    second: f64,
    lost: f64,
}

impl Playout {
    /// A fixed wait in milliseconds, or one that follows the line.
    pub(super) fn new(fixed: Option<u32>) -> Self {
        Self { fixed, wait: START, last: Line::default(), second: 0.0, lost: 0.0 }
    }

    /// The wait before anything is known, in milliseconds.
    pub(super) fn start(&self) -> u32 {
        self.fixed.unwrap_or_else(|| ms(START))
    }

    /// Called once per second.
    pub(super) fn follow(&mut self, line: Line) -> Buffer {
        let lost = line.lost.saturating_sub(self.last.lost);
        let all = lost + line.received.saturating_sub(self.last.received);
        if all > 0 {
            let share = lost as f64 / all as f64;
            // A single outage is no reason to wait longer for packets.
            let share = std::mem::replace(&mut self.second, share).min(share);
            let weight = if share > self.lost { 2.0 * SECOND } else { SECOND };
            self.lost += weight * (share - self.lost);
        }
        self.last = line;
        let round_trip = line.round_trip.unwrap_or(START);
        let retry = round_trip + HANDLING;
        let needed = MISSED + retry * requests(self.lost) + line.jitter.unwrap_or_default() * 2;
        let needed = needed.min(LONGEST);
        let less = self.wait.saturating_sub(needed).mul_f64(FORGETS);
        self.wait = needed.max(self.wait - less);
        Buffer { latency: self.fixed.unwrap_or_else(|| ms(self.wait)), retry: ms(retry) }
    }
}

/// How often a packet is requested, until it is hopeless.
fn requests(lost: f64) -> u32 {
    let lost = lost.clamp(LEAST_LOST, MOST_LOST);
    let sendings = (HOPELESS.ln() / lost.ln()).ceil() as u32;
    sendings.saturating_sub(1).max(1)
}

fn ms(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(round_trip: u64, jitter: u64, second: u64, lost: u64) -> Line {
        let ms = |ms| Some(Duration::from_millis(ms));
        let (received, lost) = ((100 - lost) * second, lost * second);
        Line { round_trip: ms(round_trip), jitter: ms(jitter), received, lost }
    }

    /// The wait after some seconds on such a line.
    fn wait(round_trip: u64, jitter: u64, lost: u64) -> u32 {
        let mut playout = Playout::new(None);
        (1..60).map(|second| playout.follow(line(round_trip, jitter, second, lost)).latency).last().unwrap()
    }

    #[test]
    fn the_wait_follows_round_trip_jitter_and_losses() {
        assert!((50..70).contains(&wait(2, 1, 0)), "{}", wait(2, 1, 0));
        assert!((60..100).contains(&wait(2, 1, 5)), "{}", wait(2, 1, 5));
        assert!((250..320).contains(&wait(100, 2, 3)), "two requests: {}", wait(100, 2, 3));
        assert!((380..=500).contains(&wait(300, 2, 3)), "{}", wait(300, 2, 3));
        assert!((170..250).contains(&wait(50, 50, 0)), "{}", wait(50, 50, 0));
        assert_eq!([wait(0, 0, 0), wait(2000, 200, 30)], [52, 500], "the bounds");
    }

    #[test]
    fn it_grows_at_once_and_shrinks_slowly() {
        let mut playout = Playout::new(None);
        (1..30).for_each(|second| {
            playout.follow(line(100, 2, second, 0));
        });
        let before = playout.follow(line(100, 2, 30, 0)).latency;
        let hole = playout.follow(Line { lost: 10, ..line(100, 2, 31, 0) }).latency;
        assert_eq!(hole, before, "an outage");
        let worse = playout.follow(Line { lost: 20, ..line(100, 2, 32, 0) }).latency;
        assert!(worse >= before + 100, "{before} {worse}");
        let soon = playout.follow(Line { lost: 20, ..line(100, 2, 33, 0) }).latency;
        assert!(soon > worse * 9 / 10, "{worse} {soon}");
    }

    #[test]
    fn a_number_fixes_it_but_not_the_requests() {
        let mut playout = Playout::new(Some(30));
        assert_eq!(playout.start(), 30);
        assert_eq!(playout.follow(line(100, 2, 1, 50)), Buffer { latency: 30, retry: 112 });
        assert_eq!(Playout::new(None).start(), 100);
    }

    #[test]
    fn nothing_known_is_no_reason_to_change() {
        let mut playout = Playout::new(None);
        assert_eq!(playout.follow(Line::default()).latency, 152);
    }
}
