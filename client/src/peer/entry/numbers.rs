//! Bounds the room that a transport-wide report needs. Pure.
//!
//! `rtpsession` of GStreamer 1.22 sends a report of at most 598 packets, for which it expects 16 bytes per 7 packets. Numbers in
//! order need 9 at most; each gap and each packet that comes late may need 14 more. We have it report each 100 ms.

use std::{collections::BTreeMap, time::Duration};

use crate::peer::outflow::bucket::Bucket;

/// Irregular numbers in a row, and per second: at most 35 in the time of one report. 598 packets and these need 1,332 of 1,368
/// bytes.
const AT_ONCE: f64 = 25.0;
const PER_SECOND: f64 = 100.0;
/// A longer gap needs two bytes for each 8,191 numbers.
const GAP: u16 = 8191;

/// The numbers of one session, by the ID of their header extension.
#[derive(Debug, Default)]
pub(super) struct Numbers(BTreeMap<u8, Row>);

#[derive(Debug)]
struct Row {
    /// The highest number that was admitted.
    last: u16,
    irregular: Bucket,
}

impl Numbers {
    /// Whether a received number may be reported. If not, its packet counts as lost.
    pub(super) fn admits(&mut self, now: Duration, id: u8, number: u16) -> bool {
        let row = self
            .0
            .entry(id)
            .or_insert_with(|| Row { last: number, irregular: Bucket::new(AT_ONCE, PER_SECOND) });
        let step = number.wrapping_sub(row.last);
        let is_late = step > u16::MAX / 2;
        let cost = if is_late { 1.0 } else { 1.0 + f64::from(step / GAP) };
        if step > 1 && !row.irregular.take(now, cost) {
            return false;
        }
        if !is_late {
            row.last = number;
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn numbers_in_order_are_never_too_many() {
        let mut numbers = Numbers::default();
        assert!((0..200_000u32).all(|n| numbers.admits(ms(0), 5, n as u16)));
    }

    /// 500 packets per second, of which every tenth is lost, and every fiftieth late.
    #[test]
    fn a_bad_line_is_fine() {
        let mut numbers = Numbers::default();
        for n in (0..30_000u64).filter(|n| n % 10 != 0) {
            let number = if n % 50 == 7 { n - 4 } else { n };
            assert!(numbers.admits(ms(n * 2), 5, number as u16), "{n}");
        }
    }

    #[test]
    fn gaps_without_end_are_few_per_report() {
        let mut numbers = Numbers::default();
        let admitted = |numbers: &mut Numbers, at: u64| {
            (0..600).filter(|n| numbers.admits(ms(at), 5, (at * 600 + n * 20) as u16)).count()
        };
        assert!(admitted(&mut numbers, 0) <= 26);
        assert!(admitted(&mut numbers, 100) <= 10);
        assert!(admitted(&mut numbers, 200) <= 10);
    }

    #[test]
    fn late_ones_and_long_gaps_count_too() {
        let mut numbers = Numbers::default();
        numbers.admits(ms(0), 5, 30_000);
        assert_eq!((0..600).filter(|n| numbers.admits(ms(0), 5, 29_000 - n)).count(), 25);
        let mut numbers = Numbers::default();
        numbers.admits(ms(0), 5, 0);
        assert!((0..600u32).filter(|n| numbers.admits(ms(0), 5, (n * 32_000) as u16)).count() <= 12);
    }

    #[test]
    fn after_too_many_it_goes_on() {
        let mut numbers = Numbers::default();
        assert!((0..600).any(|n| !numbers.admits(ms(0), 5, n * 20)));
        assert!(!numbers.admits(ms(0), 5, 12_001));
        assert!(numbers.admits(ms(20), 5, 12_002));
        assert!(numbers.admits(ms(20), 5, 12_003));
    }

    /// What other extensions of two bytes have does not change.
    #[test]
    fn a_constant_is_fine() {
        let mut numbers = Numbers::default();
        assert!((0..1000).all(|n| numbers.admits(ms(0), 5, n) && numbers.admits(ms(0), 3, 7)));
    }
}
