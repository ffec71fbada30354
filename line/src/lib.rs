//! One direction of a bad network line: packets and times in, packets and times out.
//!
//! It has no clock and no I/O. The same seed, packets and times give the same result. Tests of the client's congestion
//! control run it in simulated time; `callbin_tests::wire` runs it between two network namespaces.
//!
//! ```text
//! loss, outage → queue (bounded, drained at the rate) → delay, jitter
//! ```

mod random;

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use random::Random;

/// What a line does to packets. The default is a perfect line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// The share of packets that are lost, 0 to 1.
    pub loss: f64,
    /// The time that each packet takes.
    pub delay: Duration,
    /// How much longer or shorter a packet may take, never less than no time.
    pub jitter: Duration,
    /// Whether jitter may change the order of packets.
    pub reorders: bool,
    /// The rate in bit/s, if it is bounded.
    pub rate: Option<u64>,
    /// How long the last packet of a full queue waits. A packet that finds the queue full is lost.
    pub queue: Duration,
    /// Times at which all packets are lost.
    pub outage: Option<Outage>,
}

/// A repeated outage, which begins at the end of each interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outage {
    /// Time from the end of one outage to the end of the next.
    pub every: Duration,
    /// Its length.
    pub lasts: Duration,
}

/// What happened to packets.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Packets that came out.
    pub passed: u64,
    /// Bytes that came out.
    pub bytes: u64,
    /// Packets lost at random or in an outage.
    pub lost: u64,
    /// Packets that found the queue full.
    pub overflowed: u64,
    /// The longest time that a packet waited in the queue since it was last read.
    pub longest: Duration,
}

/// One direction of a line. Times count from any fixed moment and never go back.
#[derive(Debug)]
pub struct Line<P> {
    conditions: Conditions,
    random: Random,
    waiting: VecDeque<Waiting<P>>,
    waiting_bytes: u64,
    /// When the link is free for the next packet.
    free: Duration,
    /// Packets on their way, by the time they come out and then by their number.
    flying: BTreeMap<Reverse<(Duration, u64)>, (u64, P)>,
    number: u64,
    latest: Duration,
    counts: Counts,
}

#[derive(Debug)]
struct Waiting<P> {
    since: Duration,
    bytes: u64,
    packet: P,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            loss: 0.0,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            reorders: false,
            rate: None,
            queue: Duration::from_millis(300),
            outage: None,
        }
    }
}

impl Outage {
    /// Whether the line is out at this time.
    pub fn is_at(&self, now: Duration) -> bool {
        let every = self.every.as_nanos().max(1);
        now.as_nanos() % every + self.lasts.as_nanos() >= every
    }
}

impl<P> Line<P> {
    /// A line whose losses and jitter follow from the seed.
    pub fn new(conditions: Conditions, seed: u64) -> Self {
        Self {
            conditions,
            random: Random::new(seed),
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            free: Duration::ZERO,
            flying: BTreeMap::new(),
            number: 0,
            latest: Duration::ZERO,
            counts: Counts::default(),
        }
    }

    /// Changes the conditions. Packets that wait are sent at the new rate.
    pub fn change(&mut self, now: Duration, conditions: Conditions) {
        self.advance(now);
        self.conditions = conditions;
    }

    /// A packet of this many bytes enters the line.
    pub fn push(&mut self, now: Duration, bytes: u64, packet: P) {
        self.advance(now);
        // Drawn for every packet, so that an outage does not shift the losses after it.
        let is_lost = self.random.next() < self.conditions.loss;
        if is_lost || self.conditions.outage.is_some_and(|outage| outage.is_at(now)) {
            self.counts.lost += 1;
        } else if self.is_full(bytes) {
            self.counts.overflowed += 1;
        } else {
            self.waiting_bytes += bytes;
            self.waiting.push_back(Waiting { since: now, bytes, packet });
            self.advance(now);
        }
    }

    /// The next packet that has come out by now.
    pub fn pop(&mut self, now: Duration) -> Option<P> {
        self.advance(now);
        let entry = self.flying.last_entry()?;
        if entry.key().0.0 > now {
            return None;
        }
        let (bytes, packet) = entry.remove();
        self.counts.passed += 1;
        self.counts.bytes += bytes;
        Some(packet)
    }

    /// When [`Line::pop`] may have the next packet; `None` if the line is empty.
    pub fn next(&self) -> Option<Duration> {
        let leaves = self.waiting.front().map(|first| self.leaves(first));
        let arrives = self.flying.last_key_value().map(|(key, _)| key.0.0);
        leaves.into_iter().chain(arrives).min()
    }

    /// What happened so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The longest wait in the queue since the last call.
    pub fn take_longest(&mut self) -> Duration {
        std::mem::take(&mut self.counts.longest)
    }

    fn is_full(&self, bytes: u64) -> bool {
        let Some(rate) = self.conditions.rate else { return false };
        let room = u128::from(rate) * self.conditions.queue.as_micros() / 8_000_000;
        // A packet that is larger than the whole queue fits into an empty one.
        !self.waiting.is_empty() && u128::from(self.waiting_bytes + bytes) > room
    }

    fn leaves(&self, packet: &Waiting<P>) -> Duration {
        let nanos = self.conditions.rate.map_or(0, |rate| packet.bytes * 8_000_000_000 / rate.max(1));
        self.free.max(packet.since) + Duration::from_nanos(nanos)
    }

    /// Moves the packets that have left the queue by now.
    fn advance(&mut self, now: Duration) {
        while let Some(leaves) = self.waiting.front().map(|first| self.leaves(first))
            && leaves <= now
            && let Some(first) = self.waiting.pop_front()
        {
            self.free = leaves;
            self.waiting_bytes -= first.bytes;
            self.counts.longest = self.counts.longest.max(leaves - first.since);
            let arrives = self.arrives(leaves);
            self.number += 1;
            self.flying.insert(Reverse((arrives, self.number)), (first.bytes, first.packet));
        }
    }

    fn arrives(&mut self, leaves: Duration) -> Duration {
        let Conditions { delay, jitter, reorders, .. } = self.conditions;
        let drawn = self.random.next();
        let arrives = leaves + (delay + jitter.mul_f64(2.0 * drawn)).saturating_sub(jitter);
        self.latest = self.latest.max(arrives);
        if reorders { arrives } else { self.latest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// Sends a packet of 1000 bytes every 10 ms; returns their numbers and times in ms when they come out.
    fn send(line: &mut Line<u64>, from: u64, to: u64) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        for now in from..to {
            if now % 10 == 0 {
                line.push(ms(now), 1000, now / 10);
            }
            out.extend(std::iter::from_fn(|| line.pop(ms(now))).map(|packet| (packet, now)));
        }
        out
    }

    #[test]
    fn a_perfect_line_changes_nothing() {
        let mut line = Line::new(Conditions::default(), 1);
        let out = send(&mut line, 0, 1000);
        assert!(out.iter().copied().eq((0..100).map(|packet| (packet, packet * 10))), "{out:?}");
        assert_eq!(line.next(), None);
        assert_eq!(line.counts(), Counts { passed: 100, bytes: 100_000, ..Counts::default() });
    }

    #[test]
    fn losses_follow_from_the_seed() {
        let run =
            |seed| send(&mut Line::new(Conditions { loss: 0.1, ..Conditions::default() }, seed), 0, 100_000);
        let lost = 10_000 - run(1).len();
        assert!((900..1100).contains(&lost), "{lost}");
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn delay_and_jitter_keep_the_order_unless_they_may_change_it() {
        let conditions = Conditions { delay: ms(50), jitter: ms(30), ..Conditions::default() };
        let out = send(&mut Line::new(conditions, 1), 0, 20_000);
        assert!(out.is_sorted_by_key(|(packet, _)| *packet));
        let took: Vec<u64> = out.iter().map(|(packet, at)| at - packet * 10).collect();
        assert!(took.iter().all(|took| (20..=81).contains(took)), "{took:?}");
        assert!(took.iter().min().unwrap() < &25 && took.iter().max().unwrap() > &75);
        let mut out = send(&mut Line::new(Conditions { reorders: true, ..conditions }, 1), 0, 20_000);
        assert!(!out.is_sorted_by_key(|(packet, _)| *packet));
        out.sort_unstable();
        assert!(
            out.iter().map(|(packet, _)| *packet).eq(0..out.len() as u64),
            "some of the last are on their way"
        );
    }

    #[test]
    fn a_thin_line_has_a_bounded_queue() {
        // It is offered twice its rate.
        let conditions = Conditions { rate: Some(400_000), queue: ms(200), ..Conditions::default() };
        let mut line = Line::new(conditions, 1);
        let out = send(&mut line, 0, 10_000);
        assert!((498..=501).contains(&out.len()), "{}", out.len());
        let longest = line.take_longest();
        assert!((ms(180)..=ms(220)).contains(&longest), "{longest:?}");
        assert!(out.is_sorted_by_key(|(packet, _)| *packet));
        assert!(line.next().is_some_and(|next| next > ms(9_999)));
    }

    #[test]
    fn packets_that_wait_leave_at_the_new_rate() {
        let thin = Conditions { rate: Some(8000), queue: ms(10_000), ..Conditions::default() };
        let mut line = Line::new(thin, 1);
        (0..3).for_each(|packet| line.push(ms(0), 1000, packet));
        assert_eq!(line.next(), Some(ms(1000)));
        line.change(ms(1500), Conditions { rate: Some(80_000), ..thin });
        assert_eq!((line.pop(ms(1500)), line.pop(ms(1500))), (Some(0), Some(1)));
        assert_eq!((line.next(), line.pop(ms(1200))), (Some(ms(1200)), Some(2)));
    }

    #[test]
    fn an_outage_loses_what_is_sent_in_it() {
        let outage = Outage { every: ms(5000), lasts: ms(200) };
        let out =
            send(&mut Line::new(Conditions { outage: Some(outage), ..Conditions::default() }, 1), 0, 10_000);
        let lost: Vec<u64> = (0..1000).filter(|packet| !out.iter().any(|(it, _)| it == packet)).collect();
        assert!(lost.iter().copied().eq((480..500).chain(980..1000)), "{lost:?}");
    }
}
