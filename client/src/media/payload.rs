//! RTP payloads that GStreamer's depayloaders survive.
//!
//! `rtph264depay` and `rtph265depay` of 1.22 read beyond the end of short fragments, and end the process with an assertion
//! if a fragment is missing without a gap in the sequence numbers. A peer can send such packets. So each packet is checked
//! before they see it (RFC 6184, section 5.4; RFC 7798, section 4.4), and fragments arrive complete or not at all.

use super::encode::codec::Format;

/// Checks the packets of one stream in their order.
#[derive(Debug)]
pub(super) struct Payloads {
    format: Format,
    /// The sequence number of the last fragment, while a fragmented unit is under way.
    fragment: Option<u16>,
}

/// What a packet carries.
enum Content {
    /// Whole units.
    Whole,
    /// A part of a unit.
    Fragment { starts: bool, ends: bool },
}

impl Payloads {
    /// No packets yet.
    pub(super) fn new(format: Format) -> Self {
        Self { format, fragment: None }
    }

    /// Whether the depayloader may see this packet. An empty payload is padding, which it ignores.
    pub(super) fn take(&mut self, number: u16, payload: &[u8]) -> bool {
        let content = match self.format {
            _ if payload.is_empty() => return true,
            Format::H264 => h264(payload),
            Format::H265 => h265(payload),
            _ => return true,
        };
        match content {
            None => false,
            Some(Content::Whole) => {
                self.fragment = None;
                true
            }
            Some(Content::Fragment { starts, ends }) => {
                let follows = self.fragment.is_some_and(|last| last.wrapping_add(1) == number);
                if !starts && !follows {
                    return false;
                }
                self.fragment = (!ends).then_some(number);
                true
            }
        }
    }
}

fn h264(payload: &[u8]) -> Option<Content> {
    match payload.first()? & 0x1f {
        1..=23 => is_unit_h264(payload).then_some(Content::Whole),
        24 => are_units(payload.get(1..)?, is_unit_h264).then_some(Content::Whole),
        28 => fragment(payload.get(1..)?),
        // STAP-B, MTAP and FU-B belong to the interleaved mode, which is never negotiated.
        _ => None,
    }
}

fn h265(payload: &[u8]) -> Option<Content> {
    match (payload.first()? >> 1) & 0x3f {
        0..=47 => is_unit_h265(payload).then_some(Content::Whole),
        48 => are_units(payload.get(2..)?, is_unit_h265).then_some(Content::Whole),
        49 => fragment(payload.get(2..)?),
        _ => None,
    }
}

/// A fragment's own header, and at least one byte.
fn fragment(rest: &[u8]) -> Option<Content> {
    let [header, _, ..] = rest else { return None };
    let (starts, ends) = (header & 0x80 != 0, header & 0x40 != 0);
    // One fragment is no fragmentation (RFC 6184, section 5.8; RFC 7798, section 4.4.3).
    (!(starts && ends)).then_some(Content::Fragment { starts, ends })
}

/// Units, each after its length in two bytes.
fn are_units(mut rest: &[u8], is_unit: fn(&[u8]) -> bool) -> bool {
    let mut any = false;
    while let [high, low, after @ ..] = rest {
        let Some((unit, next)) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))
        else {
            return false;
        };
        if !is_unit(unit) {
            return false;
        }
        (rest, any) = (next, true);
    }
    any && rest.is_empty()
}

fn is_unit_h264(unit: &[u8]) -> bool {
    let least = match unit.first().map(|first| first & 0x1f) {
        // A parameter set has at least its profile and level.
        Some(7) => 5,
        Some(1..=23) => 2,
        _ => return false,
    };
    unit.len() >= least
}

fn is_unit_h265(unit: &[u8]) -> bool {
    let least = match unit.first().map(|first| (first >> 1) & 0x3f) {
        // Video and sequence parameter sets have a profile of 12 bytes.
        Some(32 | 33) => 16,
        Some(0..=47) => 3,
        _ => return false,
    };
    unit.len() >= least
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn takes(format: Format, packets: &[(u16, &[u8])]) -> Vec<bool> {
        let mut payloads = Payloads::new(format);
        packets.iter().map(|(number, payload)| payloads.take(*number, payload)).collect()
    }

    #[test]
    fn units_and_fragments_in_order_pass() {
        let packets: [(u16, &[u8]); 5] = [
            (65534, &[24, 0, 5, 7, 66, 0, 31, 9, 0, 3, 8, 1, 2]),
            (65535, &[28, 0x85, 1]),
            (0, &[28, 0x05, 2]),
            (1, &[28, 0x45, 3]),
            (2, &[1, 2, 3]),
        ];
        assert_eq!(takes(Format::H264, &packets), [true; 5]);
        let packets: [(u16, &[u8]); 4] =
            [(1, &[98, 1, 0x93, 1]), (2, &[98, 1, 0x53, 1]), (3, &[2, 1, 7]), (4, &[96, 1, 0, 3, 2, 1, 7])];
        assert_eq!(takes(Format::H265, &packets), [true; 4]);
    }

    #[test]
    fn a_fragment_without_the_one_before_is_dropped_and_so_are_those_after_it() {
        let packets: [(u16, &[u8]); 6] = [
            (1, &[28, 0x85, 1]),
            (2, &[]),
            (3, &[28, 0x05, 2]),
            (4, &[28, 0x45, 3]),
            (5, &[1, 2, 3]),
            (6, &[28, 0x05, 1]),
        ];
        assert_eq!(takes(Format::H264, &packets), [true, true, false, false, true, false]);
    }

    #[test]
    fn malformed_payloads_are_dropped() {
        for payload in [
            &[28][..],
            &[28, 0x80],
            &[28, 0xc5, 1],
            &[0, 1, 2],
            &[24],
            &[24, 0, 9, 1],
            &[24, 0, 0],
            &[24, 0, 2, 1, 1, 9],
            &[25, 0, 0, 0, 1, 1],
            &[29, 0x85, 0, 0, 1],
            &[30, 1],
            &[7, 1, 2],
        ] {
            assert_eq!(takes(Format::H264, &[(1, payload)]), [false], "{payload:?}");
        }
        for payload in [
            &[98][..],
            &[98, 1],
            &[98, 1, 0x93],
            &[98, 1, 0xd3, 1],
            &[2],
            &[2, 1],
            &[96, 1, 0, 1, 2],
            &[100, 1, 2, 3],
            &[66, 1, 2, 3],
        ] {
            assert_eq!(takes(Format::H265, &[(1, payload)]), [false], "{payload:?}");
        }
    }

    #[test]
    fn other_codecs_are_not_looked_at() {
        assert_eq!(takes(Format::Vp8, &[(1, &[0]), (9, &[])]), [true, true]);
    }

    /// `rtph264depay` 1.22, as far as its assertion is concerned.
    #[derive(Default)]
    struct Depayloader {
        in_unit: bool,
        bytes: usize,
        last_fragment: u16,
        last: Option<u16>,
    }

    impl Depayloader {
        fn take(&mut self, number: u16, payload: &[u8]) {
            if self.last.is_some_and(|last| last.wrapping_add(1) != number) {
                (self.in_unit, self.bytes) = (false, 0);
            }
            self.last = Some(number);
            let [kind, rest @ ..] = payload else { return };
            if self.in_unit && (kind & 0x1f != 28 || rest[0] & 0x80 != 0) {
                self.finish();
            }
            if kind & 0x1f != 28 {
                return;
            }
            if rest[0] & 0x80 != 0 {
                (self.in_unit, self.bytes, self.last_fragment) = (true, rest.len(), number);
            } else if !self.in_unit || self.last_fragment.wrapping_add(1) != number {
                self.bytes = 0;
                return;
            } else {
                self.bytes += rest.len() - 1;
                self.last_fragment = number;
            }
            if rest[0] & 0x40 != 0 {
                self.finish();
            }
        }

        fn finish(&mut self) {
            assert!(self.bytes > 0, "g_assert (outsize >= 4)");
            (self.in_unit, self.bytes) = (false, 0);
        }
    }

    fn packet() -> impl Strategy<Value = (u16, Vec<u8>)> {
        let fragment = (any::<u8>(), prop::collection::vec(any::<u8>(), 0..3))
            .prop_map(|(header, rest)| [&[28, header][..], &rest].concat());
        let other = prop::collection::vec(any::<u8>(), 0..4);
        (prop_oneof![Just(1u16), Just(1), Just(1), 0u16..4], prop_oneof![fragment, other])
    }

    proptest! {
        #[test]
        fn the_depayloader_always_has_bytes_when_a_unit_ends(packets in prop::collection::vec(packet(), 1..60)) {
            let (mut payloads, mut depayloader) = (Payloads::new(Format::H264), Depayloader::default());
            let mut number = 0u16;
            for (step, bytes) in packets {
                number = number.wrapping_add(step);
                if payloads.take(number, &bytes) {
                    depayloader.take(number, &bytes);
                }
            }
        }
    }
}
