//! The packets sent last, by their transport-wide sequence number.

use std::{collections::VecDeque, time::Duration};

use super::{Arrival, report::Report};

/// Packets that are kept: some seconds of any call.
const KEPT: usize = 4096;
/// A larger step of the number is no gap but a fresh start.
const GAP: u16 = 1000;

/// The packets sent last.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Option<Packet>>,
    /// The number after the last packet's.
    next: u16,
    /// The number after the last one that a report covers.
    reported: Option<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    at: Duration,
    bytes: u64,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Lost,
    Arrived,
}

/// What a report says about our packets.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Outcome {
    /// Packets not known to have arrived before, by their number.
    pub(super) arrivals: Vec<Arrival>,
    /// Packets lost, less those that were thought to be lost and have arrived.
    pub(super) lost: i64,
}

impl History {
    /// Records a packet.
    pub(super) fn sent(&mut self, now: Duration, number: u16, bytes: u64) {
        let gap = if self.packets.is_empty() { 0 } else { number.wrapping_sub(self.next) };
        if gap > GAP {
            self.packets.clear();
        } else {
            self.packets.extend(std::iter::repeat_n(None, usize::from(gap)));
        }
        self.packets.push_back(Some(Packet { at: now, bytes, fate: Fate::Unknown }));
        self.next = number.wrapping_add(1);
        let excess = self.packets.len().saturating_sub(KEPT);
        self.packets.drain(..excess);
    }

    /// Whether `count` numbers from `first` on end before our next number, and begin not long before it.
    pub(super) fn covers(&self, first: u16, count: usize) -> bool {
        let back = usize::from(self.next.wrapping_sub(first));
        !self.packets.is_empty() && (count..=2 * KEPT).contains(&back)
    }

    /// Finds the packets of a report. A packet between two reports, which neither covers, is lost.
    pub(super) fn resolve(&mut self, report: &Report) -> Outcome {
        let mut outcome = Outcome::default();
        let skipped = self.reported.map_or(0, |reported| report.first.wrapping_sub(reported));
        if skipped < GAP {
            let skipped = (0..skipped).rev().map(|back| report.first.wrapping_sub(back + 1));
            skipped.for_each(|number| self.lose(number, &mut outcome));
        }
        let mut number = report.first;
        for arrived in &report.arrivals {
            match arrived {
                Some(arrived) => self.receive(number, *arrived, &mut outcome),
                None => self.lose(number, &mut outcome),
            }
            number = number.wrapping_add(1);
        }
        if self.reported.is_none_or(|reported| number.wrapping_sub(reported) < u16::MAX / 2) {
            self.reported = Some(number);
        }
        outcome
    }

    fn receive(&mut self, number: u16, arrived: f64, outcome: &mut Outcome) {
        let Some(packet) = self.packet(number) else { return };
        if packet.fate == Fate::Arrived {
            return;
        }
        outcome.lost -= i64::from(packet.fate == Fate::Lost);
        packet.fate = Fate::Arrived;
        outcome.arrivals.push(Arrival { sent: packet.at, arrived, bytes: packet.bytes });
    }

    fn lose(&mut self, number: u16, outcome: &mut Outcome) {
        if let Some(packet) = self.packet(number).filter(|packet| packet.fate == Fate::Unknown) {
            packet.fate = Fate::Lost;
            outcome.lost += 1;
        }
    }

    fn packet(&mut self, number: u16) -> Option<&mut Packet> {
        let back = usize::from(self.next.wrapping_sub(number));
        let place = self.packets.len().checked_sub(back)?;
        self.packets.get_mut(place)?.as_mut()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(first: u16, arrivals: &[Option<f64>]) -> Report {
        Report { first, arrivals: arrivals.into() }
    }

    fn history(from: u16, count: u16) -> History {
        let mut history = History::default();
        (0..count).for_each(|n| history.sent(Duration::from_millis(n.into()), from.wrapping_add(n), 100));
        history
    }

    fn sent(outcome: &Outcome) -> Vec<u128> {
        outcome.arrivals.iter().map(|arrival| arrival.sent.as_millis()).collect()
    }

    #[test]
    fn arrivals_and_losses_count_once_and_numbers_wrap() {
        let mut history = history(65_534, 8);
        let outcome = history.resolve(&report(65_534, &[Some(1.0), None, Some(1.1), None]));
        assert_eq!((sent(&outcome), outcome.lost), (vec![0, 2], 2));
        assert_eq!(history.resolve(&report(65_534, &[Some(1.0), None])), Outcome::default());
        let late = history.resolve(&report(65_535, &[Some(1.2)]));
        assert_eq!((sent(&late), late.lost), (vec![1], -1), "it was only late");
    }

    #[test]
    fn what_no_report_covers_is_lost() {
        let mut history = history(0, 10);
        history.resolve(&report(0, &[Some(1.0)]));
        let outcome = history.resolve(&report(4, &[Some(1.1), Some(1.1)]));
        assert_eq!((sent(&outcome), outcome.lost), (vec![4, 5], 3));
    }

    #[test]
    fn packets_that_were_never_sent_are_ignored() {
        let mut history = history(100, 3);
        history.sent(Duration::ZERO, 105, 100);
        let outcome = history.resolve(&report(90, &[Some(1.0); 30]));
        assert_eq!((outcome.arrivals.len(), outcome.lost), (4, 0));
    }

    #[test]
    fn it_is_bounded_and_survives_a_jump() {
        let mut history = history(0, 60_000);
        assert_eq!(history.packets.len(), KEPT);
        history.sent(Duration::ZERO, 30_000, 1);
        assert_eq!(history.packets.len(), 1);
        assert_eq!(history.resolve(&report(30_000, &[Some(1.0)])).arrivals.len(), 1);
    }
}
