//! The last key frame of a video track and all packets after it, so that a new viewer gets a picture at once.

use std::collections::BTreeMap;

use super::packet::Packet;

/// The most packets in a cache.
const MAX_PACKETS: usize = 8192;
/// The most bytes of payload in a cache.
const MAX_BYTES: usize = 8 << 20;

/// What a packet did to the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cached {
    /// It starts a key frame: the cache starts here now.
    Restarted,
    /// It was added, or it is of no use.
    Continued,
    /// The cache was full and is empty now. Only a new key frame fills it again.
    Overflowed,
}

/// Packets in the order of their sequence numbers, the first of which starts a key frame.
#[derive(Debug, Default)]
pub struct Cache {
    packets: BTreeMap<u64, Packet>,
    bytes: usize,
}

impl Cache {
    /// Adds a packet in any order. `starts_key_frame` is true for each packet that may start a key frame.
    pub fn push(&mut self, packet: &Packet, starts_key_frame: bool) -> Cached {
        let start = self.packets.first_key_value().map(|(seq, first)| (*seq, first.time));
        match start {
            // An earlier packet of the same key frame arrived late.
            Some((seq, time)) if starts_key_frame && packet.time == time => {
                self.insert(packet);
                return if packet.seq < seq { Cached::Restarted } else { self.check() };
            }
            Some((seq, _)) if packet.seq < seq => return Cached::Continued,
            None if !starts_key_frame => return Cached::Continued,
            _ => {}
        }
        if starts_key_frame {
            self.packets = self.packets.split_off(&packet.seq);
            self.bytes = self.packets.values().map(|packet| packet.payload.len()).sum();
        }
        self.insert(packet);
        match self.check() {
            Cached::Continued if starts_key_frame => Cached::Restarted,
            result => result,
        }
    }

    fn insert(&mut self, packet: &Packet) {
        self.bytes += packet.payload.len();
        if let Some(old) = self.packets.insert(packet.seq, packet.clone()) {
            self.bytes = self.bytes.saturating_sub(old.payload.len());
        }
    }

    fn check(&mut self) -> Cached {
        if self.packets.len() <= MAX_PACKETS && self.bytes <= MAX_BYTES {
            return Cached::Continued;
        }
        self.clear();
        Cached::Overflowed
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        self.packets.clear();
        self.bytes = 0;
    }

    /// The first packet of the key frame.
    pub fn start(&self) -> Option<&Packet> {
        self.packets.first_key_value().map(|(_, packet)| packet)
    }

    /// The packet with the highest sequence number.
    pub fn end(&self) -> Option<&Packet> {
        self.packets.last_key_value().map(|(_, packet)| packet)
    }

    /// The packets from this sequence number on.
    pub fn from(&self, seq: u64) -> impl Iterator<Item = &Packet> {
        self.packets.range(seq..).map(|(_, packet)| packet)
    }

    /// The time from the first to the last packet, in units of the timestamps.
    pub fn span(&self) -> u32 {
        let span = self.end().zip(self.start()).map_or(0, |(end, start)| end.time.wrapping_sub(start.time));
        // Timestamps that go back: a publisher whose clock jumps.
        if span > u32::MAX / 2 { 0 } else { span }
    }

    /// Whether more than half of the space is used: time to ask for a key frame.
    pub fn is_filling(&self) -> bool {
        self.packets.len() > MAX_PACKETS / 2 || self.bytes > MAX_BYTES / 2
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::packet, *};

    fn seqs(cache: &Cache) -> Vec<u64> {
        cache.from(0).map(|packet| packet.seq).collect()
    }

    #[test]
    fn it_starts_with_the_last_key_frame() {
        let mut cache = Cache::default();
        assert_eq!(cache.push(&packet(1, 0), false), Cached::Continued);
        assert!(seqs(&cache).is_empty());
        assert_eq!(cache.push(&packet(2, 100), true), Cached::Restarted);
        assert_eq!(cache.push(&packet(3, 100), false), Cached::Continued);
        assert_eq!(cache.push(&packet(4, 200), false), Cached::Continued);
        assert_eq!(seqs(&cache), [2, 3, 4]);
        assert_eq!(cache.push(&packet(5, 300), true), Cached::Restarted);
        assert_eq!(seqs(&cache), [5]);
    }

    #[test]
    fn parameter_sets_and_picture_are_one_key_frame() {
        let mut cache = Cache::default();
        cache.push(&packet(1, 100), true);
        assert_eq!(cache.push(&packet(2, 100), true), Cached::Continued);
        assert_eq!(seqs(&cache), [1, 2]);
    }

    #[test]
    fn packets_may_arrive_in_any_order() {
        let mut cache = Cache::default();
        cache.push(&packet(1, 100), true);
        cache.push(&packet(4, 300), false);
        cache.push(&packet(3, 300), true);
        assert_eq!(seqs(&cache), [3, 4]);
        cache.push(&packet(2, 200), false);
        assert_eq!(seqs(&cache), [3, 4], "a packet before the key frame is of no use");
        assert_eq!(cache.push(&packet(2, 300), true), Cached::Restarted, "parameter sets that arrive late");
        assert_eq!(seqs(&cache), [2, 3, 4]);
    }

    #[test]
    fn it_is_bounded_in_packets_and_bytes() {
        let mut cache = Cache::default();
        cache.push(&packet(0, 0), true);
        let count = (1..).take_while(|seq| cache.push(&packet(*seq, 9), false) == Cached::Continued).count();
        assert_eq!(count, MAX_PACKETS - 1);
        assert!(seqs(&cache).is_empty());

        let large = |seq| Packet { payload: vec![0; 1 << 16].into(), ..packet(seq, 9) };
        cache.push(&large(0), true);
        assert!(!cache.is_filling());
        let count = (1..).take_while(|seq| cache.push(&large(*seq), false) == Cached::Continued).count();
        assert_eq!(count, (MAX_BYTES >> 16) - 1);
    }

    #[test]
    fn the_same_packet_twice_counts_once() {
        let mut cache = Cache::default();
        cache.push(&packet(0, 0), true);
        for _ in 0..3 * MAX_PACKETS {
            assert_eq!(cache.push(&packet(1, 9), false), Cached::Continued);
        }
        assert_eq!(seqs(&cache), [0, 1]);
    }
}
