//! Bounds the SSRCs and CSRCs of a peer. Pure.

use std::{collections::BTreeMap, time::Duration};

/// Bytes of an RTP header without CSRCs and extensions.
pub(super) const HEADER: usize = 12;
/// Most sources at once: some streams with their retransmissions, and those before a change.
const MOST: usize = 64;
/// One that was not seen for this long makes room for another one.
const FORGOTTEN: Duration = Duration::from_secs(30);

/// The sources that a peer has named, each with the time of its last packet.
#[derive(Debug, Default)]
pub(super) struct Sources(BTreeMap<u32, Duration>);

impl Sources {
    /// Whether a packet that names this source may pass.
    pub(super) fn admits(&mut self, now: Duration, source: u32) -> bool {
        if self.0.len() >= MOST && !self.0.contains_key(&source) {
            self.0.retain(|_, seen| now.saturating_sub(*seen) < FORGOTTEN);
            if self.0.len() >= MOST {
                return false;
            }
        }
        self.0.insert(source, now);
        true
    }

    /// The same for several.
    pub(super) fn admits_all(&mut self, now: Duration, sources: impl IntoIterator<Item = u32>) -> bool {
        sources.into_iter().all(|source| self.admits(now, source))
    }
}

/// SSRC and CSRCs of an RTP packet (RFC 3550, section 5.1); `None` without a whole header.
pub(super) fn of_packet(packet: &[u8]) -> Option<impl Iterator<Item = u32>> {
    let count = usize::from(packet.first()? & 0x0f);
    let named = packet.get(8..HEADER + 4 * count)?;
    Some(named.chunks_exact(4).filter_map(word))
}

/// The sender of an SRTP or SRTCP packet, which is not decrypted yet (RFC 5761, section 4).
pub(super) fn sender(packet: &[u8]) -> Option<u32> {
    let is_rtcp = (192..=223).contains(packet.get(1)?);
    packet.get(if is_rtcp { 4..8 } else { 8..12 }).and_then(word)
}

pub(super) fn word(bytes: &[u8]) -> Option<u32> {
    bytes.try_into().ok().map(u32::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn few_are_kept_and_old_ones_make_room() {
        let mut sources = Sources::default();
        assert_eq!((0..10_000).filter(|it| sources.admits(seconds(0), *it)).count(), MOST);
        assert!(sources.admits(seconds(20), 0), "it is known");
        assert!(!sources.admits(seconds(20), 70_000));
        assert_eq!((70_000..80_000).filter(|it| sources.admits(seconds(40), *it)).count(), MOST - 1);
        assert!(sources.admits(seconds(40), 0), "it was seen since");
    }

    #[test]
    fn finds_the_sources_of_packets() {
        let mut packet = vec![0x82, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 9];
        assert!(of_packet(&packet).unwrap().eq([3, 4, 5]));
        assert!(of_packet(&packet[..19]).is_none());
        assert_eq!(sender(&packet), Some(3));
        packet[1] = 200;
        assert_eq!(sender(&packet), Some(2));
        assert_eq!(sender(&[]), None);
    }
}
