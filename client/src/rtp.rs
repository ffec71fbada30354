//! The header of an RTP packet (RFC 3550, section 5.1) and its extensions (RFC 8285). SRTP does not encrypt them.

use std::ops::Range;

/// Bytes of a packet that are looked at: the header with its extensions.
pub const LOOK: usize = 96;

const ONE_BYTE: u16 = 0xbede;

/// Copies the beginning of a packet: its memories are separate, and mapping it whole would copy all of it.
pub fn start<'a, const N: usize>(packet: &gst::BufferRef, start: &'a mut [u8; N]) -> &'a [u8] {
    let start = start.get_mut(..packet.size().min(N)).unwrap_or_default();
    if packet.copy_to_slice(0, start).is_ok() { start } else { &[] }
}

/// RTP time and SSRC of a packet, of which `packet` is the beginning.
pub fn time_and_source(packet: &[u8]) -> Option<(u32, u32)> {
    let [_, _, _, _, time @ .., s0, s1, s2, s3] = packet.get(..12)? else { return None };
    Some((u32::from_be_bytes(time.try_into().ok()?), u32::from_be_bytes([*s0, *s1, *s2, *s3])))
}

/// The content of the extension `id` of a packet, of which `packet` is the beginning.
pub fn extension(packet: &[u8], id: u8) -> Option<&[u8]> {
    let (form, places) = elements(packet)?;
    let (_, place) = walk(packet, form, places).find(|(found, _)| *found == id)?;
    packet.get(place)
}

/// Ids and places of the extensions with one-byte heads in a packet. GStreamer 1.22 reads no other transport-wide numbers.
pub fn short_extensions(packet: &[u8]) -> impl Iterator<Item = (u8, Range<usize>)> {
    let found = elements(packet).filter(|(form, _)| *form == Form::OneByte);
    found.into_iter().flat_map(|(form, places)| walk(packet, form, places))
}

/// The form of the heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    OneByte,
    TwoBytes,
}

/// Where the extensions are, as far as `packet` has them.
fn elements(packet: &[u8]) -> Option<(Form, Range<usize>)> {
    let first = *packet.first()?;
    let at = 12 + usize::from(first & 0x0f) * 4;
    let [high, low, words_high, words_low] = *packet.get(at..at + 4)? else { return None };
    let length = usize::from(u16::from_be_bytes([words_high, words_low])) * 4;
    let form = if u16::from_be_bytes([high, low]) == ONE_BYTE { Form::OneByte } else { Form::TwoBytes };
    let has_some = first & 0x10 != 0;
    has_some.then_some((form, at + 4..(at + 4 + length).min(packet.len())))
}

/// Reads them as GStreamer 1.22 does.
fn walk(packet: &[u8], form: Form, mut places: Range<usize>) -> impl Iterator<Item = (u8, Range<usize>)> {
    std::iter::from_fn(move || {
        loop {
            let head = *packet.get(..places.end)?.get(places.start)?;
            places.start += 1;
            let (id, length) = match (form, head >> 4) {
                // Padding; in the short form whatever its length says.
                (Form::OneByte, 0) => continue,
                (Form::TwoBytes, _) if head == 0 => continue,
                (Form::OneByte, 15) => return None,
                (Form::OneByte, id) => (id, usize::from(head & 0x0f) + 1),
                (Form::TwoBytes, _) => {
                    places.start += 1;
                    (head, usize::from(*packet.get(places.start - 1)?))
                }
            };
            let content = places.start..places.start + length;
            places.start = content.end;
            return (content.end <= places.end).then_some((id, content));
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(profile: u16, sources: u8, elements: &[u8]) -> Vec<u8> {
        let words = u16::try_from(elements.len() / 4).unwrap();
        let mut packet = vec![0x90 | sources, 96, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3];
        packet.extend(vec![9; usize::from(sources) * 4]);
        packet.extend([profile.to_be_bytes(), words.to_be_bytes()].concat());
        packet.extend(elements);
        packet.extend([0x51, 9, 9, 9]);
        packet
    }

    #[test]
    fn finds_an_extension_among_others_in_both_forms() {
        let short = [0x32, 1, 2, 3, 0, 0x51, 0xab, 0xcd];
        assert_eq!(extension(&packet(0xbede, 0, &short), 5), Some(&[0xab, 0xcd][..]));
        assert_eq!(extension(&packet(0xbede, 2, &short), 5), Some(&[0xab, 0xcd][..]));
        assert_eq!(extension(&packet(0xbede, 0, &short), 3), Some(&[1, 2, 3][..]));
        assert_eq!(extension(&packet(0xbede, 0, &short[..4]), 5), None, "this is payload");
        let long = packet(0x1000, 0, &[3, 1, 7, 0, 5, 2, 0xab, 0xcd]);
        assert_eq!(extension(&long, 5), Some(&[0xab, 0xcd][..]));
        let mut none = packet(0xbede, 0, &short);
        none[0] = 0x80;
        assert_eq!(extension(&none, 5), None);
    }

    #[test]
    fn places_of_short_extensions_are_those_that_gstreamer_finds() {
        let all = |elements: &[u8]| short_extensions(&packet(0xbede, 1, elements)).collect::<Vec<_>>();
        assert_eq!(all(&[0x32, 1, 2, 3, 0, 0x51, 0xab, 0xcd]), [(3, 21..24), (5, 26..28)]);
        assert_eq!(all(&[0x02, 0x51, 0xab, 0xcd]), [(5, 22..24)], "padding has no content");
        assert_eq!(all(&[0xf0, 0x51, 0xab, 0xcd]), [], "15 ends them");
        assert_eq!(all(&[0x5f, 0, 0, 0]), [], "it is too long");
        assert!(short_extensions(&packet(0x1000, 0, &[5, 2, 1, 2])).next().is_none());
    }

    #[test]
    fn reads_time_and_source() {
        assert_eq!(time_and_source(&packet(0xbede, 0, &[])), Some((2, 3)));
        assert_eq!(time_and_source(&[0x80; 11]), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..LOOK), id: u8) {
            extension(&bytes, id);
            assert!(short_extensions(&bytes).all(|(_, range)| range.end <= bytes.len()));
            time_and_source(&bytes);
        }
    }
}
