//! Checks RTCP before `rtpsession` handles it (RFC 3550, section 6). Pure.

use super::sources::word;
use crate::peer::compound::{self, PSFB, RR, RTPFB, SR};

const SDES: u8 = 202;
const BYE: u8 = 203;
/// Length of a report about one source.
const BLOCK: usize = 24;
/// Kinds of SDES items.
const END: u8 = 0;
const PRIVATE: u8 = 8;

/// The sources that a compound names; `None` if a length in it is wrong, or if it has a private item: `rtpsession` keeps the name
/// of each for ever, and nobody needs them.
pub(super) fn sources(compound: &[u8]) -> Option<Vec<u32>> {
    let mut named = Vec::new();
    let mut length = 0;
    for packet in compound::packets(compound) {
        let [first, _, high, low, ..] = *packet.bytes else { return None };
        let whole = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        if first >> 6 != 2 || packet.bytes.len() != whole {
            return None;
        }
        length += whole;
        let (bytes, count) = (packet.bytes, usize::from(packet.format));
        match packet.kind {
            SR if bytes.len() < 28 + count * BLOCK => return None,
            RR if bytes.len() < 8 + count * BLOCK => return None,
            RTPFB | PSFB if bytes.len() < 12 => return None,
            SR | RR | RTPFB | PSFB => named.extend(bytes.get(4..8).and_then(word)),
            SDES => chunks(bytes.get(4..)?, count, &mut named)?,
            BYE => named.extend(bytes.get(4..4 + 4 * count)?.chunks_exact(4).filter_map(word)),
            _ => {}
        }
    }
    (length == compound.len()).then_some(named)
}

/// Reads the chunks of an SDES packet.
fn chunks(mut rest: &[u8], count: usize, named: &mut Vec<u32>) -> Option<()> {
    for _ in 0..count {
        named.push(word(rest.get(..4)?)?);
        let mut at = 4;
        loop {
            match *rest.get(at)? {
                END => break,
                PRIVATE => return None,
                _ => at += 2 + usize::from(*rest.get(at + 1)?),
            }
        }
        rest = rest.get((at + 1).next_multiple_of(4)..)?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(kind: u8, count: u8, body: &[u8]) -> Vec<u8> {
        let words = u16::try_from(body.len() / 4).unwrap();
        [&[0x80 | count, kind], &words.to_be_bytes()[..], body].concat()
    }

    fn cname(ssrc: u8) -> Vec<u8> {
        vec![0, 0, 0, ssrc, 1, 3, b'a', b'b', b'c', 0, 0, 0]
    }

    #[test]
    fn finds_all_sources_of_an_honest_compound() {
        let parts = [
            packet(SR, 1, &[&[0, 0, 0, 1][..], &[0; 20], &[0; 24]].concat()),
            packet(SDES, 2, &[cname(2), cname(3)].concat()),
            packet(RTPFB, 15, &[0, 0, 0, 4, 0, 0, 0, 9, 1, 2, 3, 4]),
            packet(BYE, 1, &[0, 0, 0, 5]),
        ];
        assert_eq!(sources(&parts.concat()), Some(vec![1, 2, 3, 4, 5]));
        assert_eq!(sources(&[]), Some(vec![]));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for wrong in [
            packet(SR, 1, &[0; 24]),
            packet(RR, 31, &[0; 4]),
            packet(RTPFB, 15, &[0; 4]),
            packet(SDES, 1, &[]),
            packet(SDES, 2, &cname(1)),
            packet(SDES, 1, &[0, 0, 0, 1, 1, 255, 0, 0]),
            packet(SDES, 1, &[0, 0, 0, 1, 1, 2, 0, 0]),
            packet(BYE, 2, &[0; 4]),
            vec![0x80, 201, 0, 2, 0, 0, 0, 1],
            vec![0x00, 201, 0, 1, 0, 0, 0, 1],
            [packet(RR, 0, &[0; 4]), vec![0x80]].concat(),
        ] {
            assert_eq!(sources(&wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn private_items_are_refused() {
        assert_eq!(sources(&packet(SDES, 1, &[0, 0, 0, 1, 8, 4, 2, b'x', b'y', b'z', 0, 0])), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            sources(&bytes);
        }

        #[test]
        fn what_begins_like_rtcp_does_not_panic(kind in 200u8..208, bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            let body = &bytes[..bytes.len() / 4 * 4];
            sources(&packet(kind, bytes.first().map_or(0, |it| it & 0x1f), body));
        }
    }
}
