//! The estimate over simulated lines.

use std::{collections::VecDeque, time::Duration};

use callbin_line::{Conditions, Line, Outage};

use super::{Congestion, report::tests::write};

const MOST: u64 = 1_200_000;
/// A frame each 33 ms in packets of this size, and sound.
const PACKET: u64 = 1200;
const FRAME: u64 = 33;
/// Time between two reports.
const REPORTS: u64 = 100;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A sender that sends at its estimate, and the receiver's reports.
struct Sender {
    congestion: Congestion,
    number: u16,
    /// Packets that pacing holds.
    paced: VecDeque<u64>,
    credit: f64,
    /// At the receiver: the times of arrival in units of 250 µs, from this number on.
    arrived: Vec<(u16, i64)>,
    expected: u16,
    received: u64,
    /// The share of the estimate that the encoder uses.
    uses: f64,
}

/// A line with senders at both ends, whose reports pass the queue of the other direction.
struct Wire {
    lines: [Line<Packet>; 2],
    senders: Vec<Sender>,
    now: u64,
}

/// What is on the line. Senders with even numbers are at one end, the others at the other one.
enum Packet {
    Media { to: usize, number: u16, bytes: u64 },
    Report { to: usize, report: Vec<u8> },
}

impl Sender {
    fn new() -> Self {
        Self {
            congestion: Congestion::new(MOST),
            number: 65_000,
            paced: VecDeque::new(),
            credit: 0.0,
            arrived: Vec::new(),
            expected: 65_000,
            received: 0,
            uses: 1.0,
        }
    }

    /// Packets that leave in this millisecond.
    fn send(&mut self, now: u64) -> Vec<(u16, u64)> {
        let rate = self.congestion.estimate() as f64;
        if now.is_multiple_of(FRAME) {
            let bits = (rate - 70_000.0).max(10_000.0) * self.uses * FRAME as f64 / 1000.0;
            // Frames differ in size.
            let size = 0.7 + 0.6 * ((now / FRAME * 7) % 10) as f64 / 9.0;
            let mut bytes = (bits * size / 8.0) as u64 + 40;
            while bytes > 0 {
                let packet = bytes.min(PACKET);
                self.paced.push_back(packet);
                bytes -= packet;
            }
        }
        if now.is_multiple_of(20) {
            self.paced.push_front(146);
        }
        // The pacing of `outflow`.
        self.credit = (self.credit + rate * 1.2 / 8000.0).min(2600.0);
        let mut out = Vec::new();
        while let Some(bytes) = self.paced.front().copied()
            && self.credit >= bytes as f64
        {
            self.credit -= bytes as f64;
            self.paced.pop_front();
            self.congestion.sent(ms(now), self.number, bytes);
            out.push((self.number, bytes));
            self.number = self.number.wrapping_add(1);
        }
        out
    }

    /// The receiver's report.
    fn report(&mut self) -> Option<Vec<u8>> {
        // Some are late: they are reported after all.
        let order = |number: u16| i32::from(number.wrapping_sub(self.expected).cast_signed());
        self.arrived.sort_by_key(|(number, _)| order(*number));
        let ((first, _), (last, _)) = (*self.arrived.first()?, *self.arrived.last()?);
        if order(first) < 0 {
            self.expected = first;
        }
        let count = last.wrapping_sub(self.expected).wrapping_add(1);
        let mut arrivals = vec![None; usize::from(count)];
        for (number, at) in self.arrived.drain(..) {
            if let Some(place) = arrivals.get_mut(usize::from(number.wrapping_sub(self.expected))) {
                *place = Some(at);
            }
        }
        let report = write(self.expected, &arrivals);
        self.expected = last.wrapping_add(1);
        Some(report)
    }
}

/// What a sender showed within some time.
#[derive(Debug, Clone, Copy)]
struct Shown {
    /// Received, in kbit/s.
    rate: f64,
    /// The estimate at the end, in kbit/s.
    estimate: f64,
    /// The longest wait in the line's queue.
    queue: Duration,
}

impl Wire {
    /// As many senders at each end.
    fn new(conditions: Conditions, senders: usize) -> Self {
        Self {
            lines: [1, 2].map(|seed| Line::new(conditions, seed)),
            senders: (0..2 * senders).map(|_| Sender::new()).collect(),
            now: 0,
        }
    }

    fn change(&mut self, conditions: Conditions) {
        self.lines.iter_mut().for_each(|line| line.change(ms(self.now), conditions));
    }

    /// Runs for some seconds; returns what each sender showed.
    fn run(&mut self, seconds: f64) -> Vec<Shown> {
        let time = (seconds * 1000.0) as u64;
        self.lines.iter_mut().for_each(|line| {
            line.take_longest();
        });
        self.senders.iter_mut().for_each(|sender| sender.received = 0);
        for now in self.now..self.now + time {
            for (to, sender) in self.senders.iter_mut().enumerate() {
                for (number, bytes) in sender.send(now) {
                    self.lines[to % 2].push(ms(now), bytes, Packet::Media { to, number, bytes });
                }
                if now % REPORTS == to as u64 * 37 % REPORTS
                    && let Some(report) = sender.report()
                {
                    self.lines[1 - to % 2].push(ms(now), 110, Packet::Report { to, report });
                }
            }
            for way in [0, 1] {
                while let Some(packet) = self.lines[way].pop(ms(now)) {
                    self.take(now, packet);
                }
            }
        }
        self.now += time;
        let queues = self.lines.each_mut().map(Line::take_longest);
        let shown = self.senders.iter().enumerate().map(|(number, sender)| Shown {
            rate: sender.received as f64 * 8.0 / time as f64,
            estimate: sender.congestion.estimate() as f64 / 1000.0,
            queue: queues[number % 2],
        });
        shown.collect()
    }

    fn take(&mut self, now: u64, packet: Packet) {
        match packet {
            Packet::Media { to, number, bytes } => {
                // The receiver's clock is another one.
                self.senders[to].arrived.push((number, now as i64 * 4 + 1_000_000));
                self.senders[to].received += bytes;
            }
            Packet::Report { to, report } => self.senders[to].congestion.report(ms(now), &report),
        }
    }
}

/// A line with a long queue, as those of mobile networks are.
fn thin(kbits: u64) -> Conditions {
    Conditions { rate: Some(kbits * 1000), delay: ms(20), queue: ms(1000), ..Conditions::default() }
}

fn perfect() -> Conditions {
    Conditions { delay: ms(20), ..Conditions::default() }
}

#[test]
fn a_line_that_becomes_thin_is_followed_within_three_seconds_and_left_within_ten() {
    for kbits in [800, 400, 200] {
        let mut wire = Wire::new(perfect(), 1);
        wire.run(5.0);
        wire.change(thin(kbits));
        wire.run(3.0);
        for used in wire.run(10.0) {
            assert!(used.rate >= 0.7 * kbits as f64, "{kbits}: {used:?}");
            assert!(used.queue < ms(400), "{kbits}: {used:?}");
        }
        wire.change(perfect());
        wire.run(10.0);
        for after in wire.run(1.0) {
            assert!(after.estimate >= 0.9 * MOST as f64 / 1000.0, "{kbits}: {after:?}");
        }
    }
}

#[test]
fn a_longer_path_is_no_queue() {
    for delay in [30, 60, 150, 400] {
        let mut wire = Wire::new(perfect(), 1);
        wire.run(5.0);
        wire.change(Conditions { delay: ms(20 + delay), loss: 0.03, ..perfect() });
        wire.run(4.0);
        let shown = wire.run(10.0)[0];
        assert!(shown.rate > 0.8 * MOST as f64 / 1000.0, "{delay} ms: {shown:?}");
    }
}

#[test]
fn losses_that_do_not_depend_on_the_rate_do_not_lower_it() {
    for percent in [1, 3, 5, 10, 15] {
        for delay in [0, 50, 150] {
            let loss = f64::from(percent) / 100.0;
            let mut wire = Wire::new(Conditions { loss, delay: ms(delay), ..Conditions::default() }, 1);
            wire.run(4.0);
            let shown = wire.run(20.0)[0];
            let least = 0.88 * (1.0 - loss) * MOST as f64 / 1000.0;
            assert!(shown.rate > least, "{percent} %, {delay} ms: {shown:?} of {least}");
        }
    }
}

#[test]
fn losses_of_a_short_queue_lower_the_rate() {
    let mut wire = Wire::new(Conditions { queue: ms(25), ..thin(400) }, 1);
    wire.run(6.0);
    let shown = wire.run(10.0)[0];
    assert!(shown.estimate < 560.0 && shown.rate > 200.0, "{shown:?}");
}

#[test]
fn jitter_and_holes_keep_the_rate() {
    let jitter = Conditions { delay: ms(50), jitter: ms(30), ..Conditions::default() };
    let outage = Some(Outage { every: ms(5000), lasts: ms(200) });
    for conditions in [jitter, Conditions { reorders: true, ..jitter }, Conditions { outage, ..perfect() }] {
        let mut wire = Wire::new(conditions, 1);
        wire.run(5.0);
        let shown = wire.run(20.0)[0];
        assert!(shown.rate > 0.7 * MOST as f64 / 1000.0, "{conditions:?}: {shown:?}");
    }
}

#[test]
fn two_senders_share_a_line() {
    let mut wire = Wire::new(thin(1000), 2);
    // One is there first.
    wire.senders[2].uses = 0.0;
    wire.run(10.0);
    wire.senders[2].uses = 1.0;
    wire.run(20.0);
    let shown = wire.run(20.0);
    let (one, other) = (shown[0].rate, shown[2].rate);
    assert!((0.3..0.7).contains(&(one / (one + other))), "{shown:?}");
    assert!(one + other > 700.0, "{shown:?}");
}

#[test]
fn a_dead_line_is_left_alone() {
    let mut wire = Wire::new(perfect(), 1);
    wire.run(5.0);
    wire.change(Conditions { loss: 1.0, ..perfect() });
    let dead = wire.run(12.0)[0];
    assert!(dead.estimate <= 80.0, "{dead:?}");
    wire.change(perfect());
    wire.run(12.0);
    assert!(wire.run(1.0)[0].rate > 0.9 * MOST as f64 / 1000.0);
}

#[test]
fn a_peer_without_reports_is_judged_by_what_it_sends() {
    let receiver_report = |lost: u8| [&[0x81, 201, 0, 7][..], &[0; 8], &[lost, 0, 0, 0], &[0; 16]].concat();
    let remb = |exponent: u8| {
        [&[0x8f, 206, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0][..], b"REMB", &[0, exponent << 2 | 1, 0, 0]].concat()
    };
    let mut congestion = Congestion::new(MOST);
    assert_eq!(congestion.estimate(), MOST);
    (1..=20).for_each(|second| congestion.hear(ms(second * 1000), &receiver_report(80)));
    assert!(congestion.estimate() < MOST / 5, "{}", congestion.estimate());
    (21..=80).for_each(|second| congestion.hear(ms(second * 1000), &receiver_report(0)));
    assert_eq!(congestion.estimate(), MOST);
    congestion.hear(ms(90_000), &remb(2));
    assert_eq!(congestion.estimate(), 0x1_0000 << 2);
    congestion.hear(ms(91_000), &remb(40));
    assert_eq!(congestion.estimate(), MOST);
    congestion.hear(ms(92_000), &remb(0));
    assert_eq!(congestion.estimate(), 80_000);
}
