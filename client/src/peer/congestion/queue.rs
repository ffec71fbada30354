//! How long packets wait in a queue on the path: how much longer they take than the fastest.

use std::{collections::VecDeque, time::Duration};

use super::Arrival;

/// For how long the fastest packet counts, in seconds. A path that has become longer looks like a queue for this long.
const MEMORY: f64 = 12.0;
/// Times of this length each keep their fastest packet.
const SLOT: f64 = 0.5;
/// The fastest of the last packets shows the queue; the others show jitter.
const RECENT: usize = 6;

/// If packets wait for this long on the way there, the way back counts, too: what we know is as old as the way back is
/// long, and the queue has grown since.
const SOME: f64 = 0.04;
/// How much of it counts.
const BACK: f64 = 0.7;

/// Follows the time that packets take.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Clocks differ, so the times taken have no meaning by themselves.
    there: Fastest,
    recent: VecDeque<f64>,
    /// There and back, by our clock.
    round_trips: Fastest,
    round_trip: f64,
}

/// The least value within some time.
#[derive(Debug, Default)]
struct Fastest(VecDeque<(f64, f64)>);

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
        self.there.add(sent, took);
    }

    /// The report about the newest packet took this long from the packet's sending.
    pub(super) fn report(&mut self, now: Duration, round_trip: Duration) {
        self.round_trip = round_trip.as_secs_f64();
        self.round_trips.add(now.as_secs_f64(), self.round_trip);
    }

    /// How long packets wait now.
    pub(super) fn wait(&self) -> Duration {
        let there = self.recent.iter().copied().fold(f64::MAX, f64::min) - self.there.least();
        let both = self.round_trip - self.round_trips.least();
        let wait = if there >= SOME { there.max(both * BACK) } else { there };
        Duration::try_from_secs_f64(wait).unwrap_or_default()
    }

    /// The path has become longer: what packets take now is what the fastest take.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }

    /// The last round trip.
    pub(super) fn last(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.round_trip).ok().filter(|last| !last.is_zero())
    }

    /// The shortest round trip.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        Duration::try_from_secs_f64(self.round_trips.least()).ok()
    }
}

impl Fastest {
    fn add(&mut self, now: f64, value: f64) {
        match self.0.back_mut() {
            Some((since, least)) if now - *since < SLOT => *least = least.min(value),
            _ => self.0.push_back((now, value)),
        }
        while self.0.front().is_some_and(|(since, _)| now - since > MEMORY) {
            self.0.pop_front();
        }
    }

    fn least(&self) -> f64 {
        self.0.iter().map(|(_, value)| *value).fold(f64::MAX, f64::min)
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
    fn a_long_way_back_makes_the_queue_longer_but_is_none() {
        let mut queue = Queue::default();
        run(&mut queue, 0, 100, |_| 70);
        queue.report(Duration::from_secs(1), Duration::from_millis(100));
        queue.report(Duration::from_secs(2), Duration::from_millis(600));
        assert_eq!(queue.wait(), Duration::ZERO);
        assert_eq!(run(&mut queue, 100, 110, |_| 120), 350);
        assert_eq!(run(&mut queue, 110, 120, |_| 570), 500);
        assert_eq!(queue.round_trip(), Some(Duration::from_millis(100)));
    }

    #[test]
    fn a_clock_that_jumps_starts_over() {
        let mut queue = Queue::default();
        run(&mut queue, 0, 100, |_| 70);
        assert_eq!(run(&mut queue, 100, 101, |_| 4_000_000), 0);
        assert_eq!(queue.there.0.len(), 1);
    }
}
