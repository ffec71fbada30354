//! Counts the packets of a track that never came.

use super::packet::Packet;

/// The packets of one track, over all its sources.
#[derive(Debug, Default)]
pub struct Loss {
    current: Option<Source>,
    before: u64,
}

#[derive(Debug, Clone, Copy)]
struct Source {
    source: u64,
    first: u64,
    last: u64,
    received: u64,
}

impl Source {
    fn lost(&self) -> u64 {
        (self.last - self.first + 1).saturating_sub(self.received)
    }
}

impl Loss {
    /// Counts a packet, which comes only once.
    pub fn add(&mut self, packet: &Packet) {
        match &mut self.current {
            Some(it) if it.source == packet.source => {
                (it.first, it.last) = (it.first.min(packet.seq), it.last.max(packet.seq));
                it.received += 1;
            }
            other => {
                self.before += other.map_or(0, |it| it.lost());
                let Packet { source, seq, .. } = *packet;
                *other = Some(Source { source, first: seq, last: seq, received: 1 });
            }
        }
    }

    /// The packets between the first and the last one that are not there. A late packet lowers it.
    pub fn lost(&self) -> u64 {
        self.before + self.current.map_or(0, |it| it.lost())
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::packet, *};

    #[test]
    fn gaps_count_until_they_are_filled_and_for_each_source() {
        let mut loss = Loss::default();
        for (seq, lost) in [(10, 0), (11, 0), (14, 2), (12, 1), (9, 1)] {
            loss.add(&packet(seq, 0));
            assert_eq!(loss.lost(), lost, "{seq}");
        }
        for (seq, lost) in [(u64::MAX - 3, 1), (u64::MAX - 1, 2)] {
            loss.add(&Packet { source: 2, ..packet(seq, 0) });
            assert_eq!(loss.lost(), lost, "{seq}");
        }
    }
}
