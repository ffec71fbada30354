//! Requests for key frames: those of all viewers become few to the publisher.

use std::time::{Duration, Instant};

use super::bucket::Bucket;

/// The shortest time between two requests to a publisher.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a publisher has to send a key frame before it is asked again.
const AGAIN: Duration = Duration::from_secs(2);
/// How often it is asked again: a publisher may not know how to answer.
const REPEATS: u32 = 3;
/// How often one viewer may cause a request: at once, and per second in the long run.
const VIEWER_BURST: f64 = 4.0;
const VIEWER_RATE: f64 = 0.2;

/// The requests to one publisher.
#[derive(Debug, Default)]
pub struct Requests {
    /// When the next request is due, if a key frame is needed.
    due: Option<Instant>,
    asked: Option<Instant>,
    repeats: u32,
}

impl Requests {
    /// Notes that a key frame is needed.
    pub fn want(&mut self, now: Instant) {
        let earliest = self.asked.map_or(now, |asked| (asked + PAUSE).max(now));
        self.due = Some(self.due.map_or(earliest, |due| due.min(earliest)));
        self.repeats = REPEATS;
    }

    /// A key frame has started.
    pub fn satisfy(&mut self) {
        self.due = None;
    }

    /// Whether to ask the publisher now. If so, the request counts as sent, and is repeated a few times if no key frame
    /// comes.
    pub fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.due.is_some_and(|due| due <= now);
        if is_due {
            self.asked = Some(now);
            self.due = (self.repeats > 0).then(|| now + AGAIN);
            self.repeats = self.repeats.saturating_sub(1);
        }
        is_due
    }

    /// When [`Self::is_due`] is true next.
    pub fn deadline(&self) -> Option<Instant> {
        self.due
    }
}

/// The requests of one viewer: a viewer that floods them must not make the publisher send key frames only.
#[derive(Debug)]
pub struct Allowance(Bucket);

impl Allowance {
    /// The allowance of a new viewer.
    pub fn new(now: Instant) -> Self {
        Self(Bucket::new(VIEWER_RATE, VIEWER_BURST, now))
    }

    /// Whether the viewer's request counts.
    pub fn accepts(&mut self, now: Instant) -> bool {
        self.0.take(1.0, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_thousand_viewers_cause_one_request() {
        let start = Instant::now();
        let mut requests = Requests::default();
        let mut sent = 0;
        for viewer in 0..1000 {
            let now = start + Duration::from_micros(viewer * 100);
            requests.want(now);
            sent += usize::from(requests.is_due(now));
        }
        assert_eq!(sent, 1);
        requests.satisfy();
        assert_eq!(requests.deadline(), None);
    }

    #[test]
    fn a_need_right_after_a_key_frame_is_served_after_a_pause() {
        let start = Instant::now();
        let mut requests = Requests::default();
        requests.want(start);
        assert!(requests.is_due(start));
        requests.satisfy();
        requests.want(start + ms(100));
        assert!(!requests.is_due(start + ms(100)));
        assert_eq!(requests.deadline(), Some(start + PAUSE));
        assert!(requests.is_due(start + PAUSE));
    }

    #[test]
    fn a_request_is_repeated_a_few_times_until_there_is_a_key_frame() {
        let start = Instant::now();
        let mut requests = Requests::default();
        requests.want(start);
        assert!(requests.is_due(start));
        assert!(!requests.is_due(start + ms(1999)));
        assert!(requests.is_due(start + AGAIN));
        requests.satisfy();
        assert!(!requests.is_due(start + ms(60_000)));

        requests.want(start + ms(60_000));
        let asked = (60..120).filter(|second| requests.is_due(start + ms(second * 1000))).count();
        assert_eq!(asked, 1 + REPEATS as usize);
    }

    #[test]
    fn a_viewer_that_floods_requests_causes_few() {
        let start = Instant::now();
        let mut allowance = Allowance::new(start);
        let accepted = (0..60_000).filter(|at| allowance.accepts(start + ms(*at))).count();
        assert!((4..=16).contains(&accepted), "{accepted} in a minute");
    }
}
