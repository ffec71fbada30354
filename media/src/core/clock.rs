//! A publisher's clock on ours: when a packet was captured, so that viewers play sound and picture together.
//!
//! Sender reports (RFC 3550, section 6.4.1) say which timestamp of a track belongs to which time of the publisher's clock. The
//! packets with the shortest way show how far that clock is from ours.

use std::time::{Duration, Instant, SystemTime};

/// How fast the clocks may drift apart: 1 ms in 2 s. A longer way is believed after that time.
const DRIFT: f64 = 0.0005;
/// A larger jump means that the publisher has set its clock.
const JUMP: f64 = 5.0;
/// Timestamps further from a report belong to no report of this source.
const FAR: f64 = 120.0;

/// What a sender report says about a track.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Report {
    /// The time of the publisher's clock.
    pub clock: SystemTime,
    /// The timestamp that belongs to it.
    pub time: u32,
}

/// The clock of one publisher, from the packets of all its tracks.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    /// Seconds to add to the publisher's clock for those since `start`, and when that was determined.
    shift: Option<(f64, Instant)>,
}

impl Clock {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self { start: now, shift: None }
    }

    /// When a packet with this timestamp was captured, plus the shortest way to us. Without a report it is when it arrived.
    pub fn place(&mut self, time: u32, rate: u32, report: Option<Report>, arrived: Instant) -> Instant {
        let Some(report) = report else { return arrived };
        let since = f64::from(time.wrapping_sub(report.time) as i32) / f64::from(rate.max(1));
        let Ok(clock) = report.clock.duration_since(SystemTime::UNIX_EPOCH) else { return arrived };
        if since.abs() > FAR {
            return arrived;
        }
        let sender = clock.as_secs_f64() + since;
        let ours = arrived.saturating_duration_since(self.start).as_secs_f64();
        let way = ours - sender;
        let shift = match self.shift {
            Some((known, at)) if (way - known).abs() < JUMP => {
                way.min(known + arrived.saturating_duration_since(at).as_secs_f64() * DRIFT)
            }
            _ => way,
        };
        self.shift = Some((shift, arrived));
        let placed =
            Duration::try_from_secs_f64(sender + shift).ok().and_then(|since| self.start.checked_add(since));
        placed.map_or(arrived, |placed| placed.min(arrived))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// A publisher whose clock shows `clock` at `start`.
    struct Publisher {
        start: Instant,
        clock: SystemTime,
    }

    impl Publisher {
        fn new() -> Self {
            Self { start: Instant::now(), clock: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000) }
        }

        /// A report of a track that had this timestamp at the start.
        fn report(&self, time: u32) -> Option<Report> {
            Some(Report { clock: self.clock, time })
        }
    }

    #[test]
    fn without_a_report_a_packet_is_as_old_as_its_arrival() {
        let publisher = Publisher::new();
        let arrived = publisher.start + ms(30);
        assert_eq!(Clock::new(publisher.start).place(7, 90_000, None, arrived), arrived);
    }

    #[test]
    fn sound_and_picture_of_one_moment_get_one_time() {
        let publisher = Publisher::new();
        let mut clock = Clock::new(publisher.start);
        // Sound needs 20 ms to us, pictures 100 ms, because they are encoded.
        let mut placed = (publisher.start, publisher.start);
        for tick in 1..100_u32 {
            let captured = publisher.start + ms(u64::from(tick) * 20);
            let sound = clock.place(5 + tick * 960, 48_000, publisher.report(5), captured + ms(20));
            let picture = clock.place(9 + tick * 1800, 90_000, publisher.report(9), captured + ms(100));
            placed = (sound, picture);
        }
        let apart =
            placed.1.saturating_duration_since(placed.0).max(placed.0.saturating_duration_since(placed.1));
        assert!(apart < ms(3), "{apart:?}");
    }

    #[test]
    fn a_packet_is_never_placed_after_its_arrival() {
        let publisher = Publisher::new();
        let mut clock = Clock::new(publisher.start);
        for tick in 1..200_u32 {
            let captured = publisher.start + ms(u64::from(tick) * 20);
            let arrived = captured + ms(u64::from(tick * 7 % 50));
            assert!(clock.place(tick * 1800, 90_000, publisher.report(0), arrived) <= arrived);
        }
    }

    #[test]
    fn a_clock_that_is_set_is_followed() {
        let mut publisher = Publisher::new();
        let mut clock = Clock::new(publisher.start);
        clock.place(0, 90_000, publisher.report(0), publisher.start + ms(20));
        for hours in [5_u64, 0] {
            publisher.clock = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + hours * 3600);
            let arrived = publisher.start + ms(1020);
            let placed = clock.place(90_000, 90_000, publisher.report(0), arrived);
            assert!(arrived - placed < ms(50), "{:?}", arrived - placed);
        }
    }

    #[test]
    fn reports_that_make_no_sense_are_ignored() {
        let publisher = Publisher::new();
        let mut clock = Clock::new(publisher.start);
        let before_1970 = Report { clock: SystemTime::UNIX_EPOCH - Duration::from_secs(9), time: 0 };
        let arrived = publisher.start + ms(20);
        assert_eq!(clock.place(0, 90_000, Some(before_1970), arrived), arrived);
        assert_eq!(clock.place(1 << 30, 90_000, publisher.report(0), arrived), arrived);
        assert!(clock.place(1, 0, publisher.report(0), arrived) <= arrived);
    }
}
