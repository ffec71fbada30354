//! Back-pressure for what a peer sends: the receive window in our SCTP acknowledgements. Pure.
//!
//! GStreamer's SCTP hands each message on at once, into queues without a bound, and always announces its whole receive
//! window. So the window is written into the acknowledgements (RFC 9260, section 3.3.4) where they leave. A sender then
//! stops, but for one packet now and then that probes the window.

/// The length of the common header, and where its checksum is.
const HEADER: usize = 12;
const CHECKSUM: std::ops::Range<usize> = 8..12;
/// The chunk type of an acknowledgement, and where its window is in the chunk.
const SACK: u8 = 3;
const WINDOW: std::ops::Range<usize> = 8..12;

/// Announces at most `window` bytes in all acknowledgements of a packet. Returns whether it changed.
pub(super) fn limit(packet: &mut [u8], window: u32) -> bool {
    let mut changed = false;
    let mut rest = packet.get_mut(HEADER..).unwrap_or_default();
    while let Some((kind, length)) = chunk(rest) {
        if kind == SACK
            && let Some(field) = rest.get_mut(WINDOW)
            && let Ok(bytes) = <[u8; 4]>::try_from(&*field)
            && u32::from_be_bytes(bytes) > window
        {
            field.copy_from_slice(&window.to_be_bytes());
            changed = true;
        }
        // Chunks are padded to multiples of four bytes.
        let next = length.next_multiple_of(4).min(rest.len());
        rest = rest.get_mut(next..).unwrap_or_default();
    }
    if changed {
        write_checksum(packet);
    }
    changed
}

/// Type and length of the first chunk.
fn chunk(bytes: &[u8]) -> Option<(u8, usize)> {
    match bytes {
        [kind, _, high, low, ..] => {
            let length = usize::from(u16::from_be_bytes([*high, *low]));
            (length >= 4).then_some((*kind, length))
        }
        _ => None,
    }
}

fn write_checksum(packet: &mut [u8]) {
    if let Some(field) = packet.get_mut(CHECKSUM) {
        field.fill(0);
        let sum = crc32c(packet);
        packet.get_mut(CHECKSUM).into_iter().for_each(|field| field.copy_from_slice(&sum.to_le_bytes()));
    }
}

/// CRC32c (RFC 9260, appendix A), bit by bit: acknowledgements are short and few.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATA: [u8; 20] = [0, 3, 0, 18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 53, b'h', b'i', 0, 0];

    fn sack(window: u32) -> Vec<u8> {
        let mut chunk = vec![SACK, 0, 0, 16, 0, 0, 0, 9];
        chunk.extend(window.to_be_bytes());
        chunk.extend([0; 4]);
        chunk
    }

    fn packet(chunks: &[&[u8]]) -> Vec<u8> {
        let mut packet = [&[0x13, 0x88, 0x13, 0x88, 1, 2, 3, 4, 0, 0, 0, 0], &*chunks.concat()].concat();
        write_checksum(&mut packet);
        packet
    }

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn a_window_is_made_smaller_and_never_larger() {
        let mut small = packet(&[&sack(5000), &DATA]);
        assert!(limit(&mut small, 0));
        assert_eq!(small, packet(&[&sack(0), &DATA]));
        assert!(!limit(&mut small, 1000));
        assert_eq!(small, packet(&[&sack(0), &DATA]));
    }

    #[test]
    fn acknowledgements_after_other_chunks_are_found() {
        let mut mixed = packet(&[&DATA, &sack(5000)]);
        assert!(limit(&mut mixed, 7));
        assert_eq!(mixed, packet(&[&DATA, &sack(7)]));
    }

    #[test]
    fn other_packets_stay_as_they_are() {
        for bytes in [vec![], vec![3; 11], packet(&[]), packet(&[&DATA]), packet(&[&[3, 0, 0, 0]])] {
            let mut same = bytes.clone();
            assert!(!limit(&mut same, 0));
            assert_eq!(same, bytes);
        }
        let mut cut = packet(&[&[SACK, 0, 0, 16, 0, 0]]);
        assert!(!limit(&mut cut, 0));
    }
}
