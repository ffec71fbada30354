//! Sequence numbers and timestamps of one track as one viewer gets them.
//!
//! Each viewer has its own: they start below 65,536, as a receiver expects of a new stream (RFC 3711, section 3.3.1), they
//! have no gap where the viewer skipped packets, and they go on when the publisher's source changes.

use std::time::Instant;

use super::packet::Packet;

/// The numbers of a packet for one viewer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbers {
    /// The extended sequence number.
    pub seq: u64,
    /// The timestamp.
    pub time: u32,
    /// When media with this timestamp are captured, for sender reports.
    pub at: Instant,
}

/// Maps a publisher's numbers to a viewer's.
#[derive(Debug)]
pub struct Renumber {
    clock_rate: u32,
    /// The next sequence number that no packet has.
    next: u64,
    segment: Option<Segment>,
    /// The timestamp of the latest packet, and when it was sent.
    last: Option<(u32, Instant)>,
}

/// A part of the publisher's packets that is forwarded without omission.
#[derive(Debug, Clone, Copy)]
struct Segment {
    source: u64,
    /// The first packet's sequence number, and the viewer's for it.
    from: u64,
    to: u64,
    /// What is added to timestamps.
    shift: u32,
}

impl Renumber {
    /// `first` is the first sequence number. `clock_rate` is the codec's, in Hz.
    pub fn new(first: u16, clock_rate: u32) -> Self {
        // The upper half is left out: packets before the first one must not wrap.
        Self { clock_rate, next: u64::from(first & 0x7fff), segment: None, last: None }
    }

    /// From this packet on, packets follow the ones that were sent before.
    pub fn begin(&mut self, packet: &Packet, now: Instant) {
        let shift = match (self.segment, self.last) {
            (Some(segment), _) if segment.source == packet.source => segment.shift,
            (_, Some((time, at))) => {
                let passed = now.saturating_duration_since(at).as_secs_f64() * f64::from(self.clock_rate);
                // A source that changes is at most hours away from the last packet; more would wrap anyway.
                let passed = passed.clamp(1.0, f64::from(i32::MAX)) as u32;
                time.wrapping_add(passed).wrapping_sub(packet.time)
            }
            (_, None) => 0,
        };
        self.segment = Some(Segment { source: packet.source, from: packet.seq, to: self.next, shift });
    }

    /// Whether packets of this source are forwarded.
    pub fn knows(&self, source: u64) -> bool {
        self.segment.is_some_and(|segment| segment.source == source)
    }

    /// Whether the packet is of the source that is forwarded, and not before the first one.
    fn covers(&self, packet: &Packet) -> bool {
        self.segment.is_some_and(|segment| segment.source == packet.source && segment.from <= packet.seq)
    }

    /// The numbers of a packet that goes to the viewer now. None: it is before the first one, or of another source.
    pub fn map(&mut self, packet: &Packet, now: Instant) -> Option<Numbers> {
        let segment = self.segment.filter(|_| self.covers(packet))?;
        let seq = segment.to + (packet.seq - segment.from);
        let time = packet.time.wrapping_add(segment.shift);
        if seq >= self.next {
            self.next = seq + 1;
            self.last = Some((time, now));
        }
        Some(Numbers { seq, time, at: packet.captured_at })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{super::testing::packet, *};

    fn map(numbers: &mut Renumber, packet: &Packet) -> Option<(u64, u32)> {
        numbers.map(packet, packet.captured_at).map(|numbers| (numbers.seq, numbers.time))
    }

    #[test]
    fn numbers_start_below_65536_however_long_the_publisher_sends() {
        let mut numbers = Renumber::new(u16::MAX, 90_000);
        let first = packet(1 << 40, 77);
        numbers.begin(&first, first.captured_at);
        let (seq, time) = map(&mut numbers, &first).unwrap();
        assert!(seq < 32_768, "{seq}");
        assert_eq!(time, 77);
        let later = packet((1 << 40) + 70_000, 78);
        assert_eq!(map(&mut numbers, &later), Some((seq + 70_000, 78)));
    }

    #[test]
    fn a_lost_packet_leaves_a_gap_and_a_late_one_fills_it() {
        let mut numbers = Renumber::new(5, 90_000);
        numbers.begin(&packet(100, 0), Instant::now());
        assert_eq!(map(&mut numbers, &packet(100, 0)), Some((5, 0)));
        assert_eq!(map(&mut numbers, &packet(103, 0)), Some((8, 0)));
        assert_eq!(map(&mut numbers, &packet(101, 0)), Some((6, 0)));
        assert_eq!(map(&mut numbers, &packet(99, 0)), None, "before the first packet");
    }

    #[test]
    fn packets_that_the_viewer_skips_leave_no_gap() {
        let mut numbers = Renumber::new(5, 90_000);
        numbers.begin(&packet(100, 0), Instant::now());
        map(&mut numbers, &packet(100, 1000));
        numbers.begin(&packet(200, 0), Instant::now());
        assert_eq!(map(&mut numbers, &packet(200, 9000)), Some((6, 9000)));
        assert_eq!(map(&mut numbers, &packet(101, 1000)), None, "of the part that was skipped");
    }

    #[test]
    fn a_new_source_continues_the_numbers_and_the_time() {
        let mut numbers = Renumber::new(5, 90_000);
        let first = packet(100, u32::MAX - 5);
        numbers.begin(&first, first.captured_at);
        map(&mut numbers, &first);
        let next =
            Packet { source: 2, captured_at: first.captured_at + Duration::from_millis(100), ..packet(7, 3) };
        assert_eq!(map(&mut numbers, &next), None, "unknown until it begins");
        numbers.begin(&next, next.captured_at);
        let expected = (u32::MAX - 5).wrapping_add(9000);
        assert_eq!(map(&mut numbers, &next), Some((6, expected)));
        assert_eq!(map(&mut numbers, &first), None, "the old source is over");
    }
}
