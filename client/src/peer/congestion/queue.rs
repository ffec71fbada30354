//! How long packets wait in a queue on the path: how much longer they take than the fastest.

use std::{collections::VecDeque, time::Duration};

use super::Arrival;

/// For how long the fastest packet counts, in seconds. A path that has become longer looks like a queue for this long.
const MEMORY: f64 = 12.0;
/// Times of this length each keep their fastest packet.
const SLOT: f64 = 0.5;
/// The fastest of the last packets shows the queue; the others show jitter.
const RECENT: usize = 6;

/// Follows the time that packets take.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// The fastest packets by the time of sending. Clocks differ, so the times taken have no meaning by themselves.
    fastest: VecDeque<(f64, f64)>,
    recent: VecDeque<f64>,
}

impl Queue {
    pub(super) fn add(&mut self, arrival: &Arrival) {
        let sent = arrival.sent.as_secs_f64();
        let took = arrival.arrived - sent;
        if self.recent.back().is_some_and(|last| (took - last).abs() > 5.0) {
            *self = Self::default();
        }
        self.recent.push_back(took);
        if self.recent.len() > RECENT {
            self.recent.pop_front();
        }
        match self.fastest.back_mut() {
            Some((since, least)) if sent - *since < SLOT => *least = least.min(took),
            _ => self.fastest.push_back((sent, took)),
        }
        while self.fastest.front().is_some_and(|(since, _)| sent - since > MEMORY) {
            self.fastest.pop_front();
        }
    }

    /// How long packets wait now.
    pub(super) fn wait(&self) -> Duration {
        let least = |values: &mut dyn Iterator<Item = f64>| values.fold(f64::MAX, f64::min);
        let wait =
            least(&mut self.recent.iter().copied()) - least(&mut self.fastest.iter().map(|(_, took)| *took));
        Duration::try_from_secs_f64(wait).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet each 10 ms, whose delay in ms is a function of its number.
    fn run(queue: &mut Queue, from: u32, to: u32, delay: impl Fn(u32) -> u32) -> u128 {
        for n in from..to {
            let sent = Duration::from_millis(u64::from(n) * 10);
            // The peer's clock is far behind.
            let arrived = sent.as_secs_f64() + f64::from(delay(n)) / 1000.0 - 9000.0;
            queue.add(&Arrival { sent, arrived, bytes: 1 });
        }
        (queue.wait().as_micros() + 500) / 1000
    }

    #[test]
    fn what_all_packets_take_is_no_queue() {
        let mut queue = Queue::default();
        assert_eq!(queue.wait(), Duration::ZERO);
        assert_eq!(run(&mut queue, 0, 100, |_| 70), 0);
        assert_eq!(run(&mut queue, 100, 130, |_| 250), 180);
        assert_eq!(run(&mut queue, 130, 140, |n| if n % 4 == 0 { 70 } else { 300 }), 0, "jitter");
        assert_eq!(run(&mut queue, 140, 1600, |_| 250), 0, "the path has become longer");
    }

    #[test]
    fn a_clock_that_jumps_starts_over() {
        let mut queue = Queue::default();
        run(&mut queue, 0, 100, |_| 70);
        assert_eq!(run(&mut queue, 100, 101, |_| 4_000_000), 0);
        assert!(queue.fastest.len() == 1);
    }
}
