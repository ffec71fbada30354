//! What a peer's RTCP says about the path to it.

use crate::peer::compound::{self, AFB, PSFB, RR, RTPFB, SR, TWCC};

/// Length of a report block (RFC 3550, section 6.4.1).
const BLOCK: usize = 24;

/// A statement about the path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Heard<'a> {
    /// The body of a transport-wide report.
    Report(&'a [u8]),
    /// The peer's own estimate in bit/s (draft-alvestrand-rmcat-remb-03).
    Remb(u64),
    /// The largest share of packets lost, of all streams in a receiver report.
    Lost(f64),
}

/// All statements of a compound.
pub(super) fn all(rtcp: &[u8]) -> impl Iterator<Item = Heard<'_>> {
    compound::packets(rtcp).filter_map(|packet| match (packet.kind, packet.format) {
        (RTPFB, TWCC) => Some(Heard::Report(packet.body())),
        (PSFB, AFB) => remb(packet.body()).map(Heard::Remb),
        (RR, _) => lost(packet.bytes.get(8..)?).map(Heard::Lost),
        (SR, _) => lost(packet.bytes.get(28..)?).map(Heard::Lost),
        _ => None,
    })
}

fn remb(body: &[u8]) -> Option<u64> {
    let [b'R', b'E', b'M', b'B', _, first, second, third, ..] = *body else { return None };
    let mantissa = u64::from(u32::from_be_bytes([0, first & 3, second, third]));
    mantissa
        .checked_shl(u32::from(first >> 2))
        .filter(|bits| mantissa.leading_zeros() >= u32::from(first >> 2) && *bits > 0)
}

fn lost(blocks: &[u8]) -> Option<f64> {
    blocks.chunks_exact(BLOCK).filter_map(|block| block.get(4)).max().map(|share| f64::from(*share) / 256.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_reports_estimates_and_losses() {
        let report = [0x8f, 205, 0, 3, 0, 0, 0, 1, 0, 0, 0, 2, 7, 7, 7, 7];
        let remb = [
            0x8f,
            206,
            0,
            5,
            0,
            0,
            0,
            1,
            0,
            0,
            0,
            0,
            b'R',
            b'E',
            b'M',
            b'B',
            1,
            0b0000_1001,
            0,
            1,
            0,
            0,
            0,
            9,
        ];
        let mut receiver = vec![0x82, 201, 0, 13, 0, 0, 0, 1];
        receiver.extend([[0u8; 4], [64, 0, 0, 0]].concat());
        receiver.extend([0; 16]);
        receiver.extend([[0u8; 4], [128, 0, 0, 0]].concat());
        receiver.extend([0; 16]);
        let pli = [0x81, 206, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2];
        let compound = [&receiver[..], &pli, &report, &remb].concat();
        let heard: Vec<_> = all(&compound).collect();
        assert_eq!(heard, [Heard::Lost(0.5), Heard::Report(&[7; 4]), Heard::Remb(0x1_0001 << 2)]);
    }

    #[test]
    fn what_is_cut_off_or_too_large_says_nothing() {
        assert_eq!(all(&[0x81, 200, 0, 12, 0, 0]).count(), 0);
        assert_eq!(all(&[0x81, 201, 0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 99]).count(), 0);
        assert_eq!(remb(b"REMB\x01\xff\xff\xff"), None);
        assert_eq!(remb(b"REMB\x01\x03\xff"), None);
    }
}
