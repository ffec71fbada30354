//! Video codecs as far as forwarding needs them: where a key frame starts.

/// The video codecs whose key frames are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VideoCodec {
    /// RFC 7741.
    Vp8,
    /// RFC 9628.
    Vp9,
    /// RFC 6184.
    H264,
    /// RFC 7798.
    H265,
    /// The RTP payload format of AV1, version 1.0.
    Av1,
}

impl VideoCodec {
    /// Whether a decoder can start at this payload: it has the first bytes of a key frame or its parameter sets. Later
    /// packets of the same frame may match, too.
    pub fn starts_key_frame(self, payload: &[u8]) -> bool {
        match self {
            Self::Vp8 => vp8(payload),
            Self::Vp9 => vp9(payload),
            Self::H264 => h264(payload),
            Self::H265 => h265(payload),
            Self::Av1 => payload.first().map(|header| header & 0x08 != 0),
        }
        .unwrap_or(false)
    }
}

/// The payload descriptor starts the first partition (S, PID 0), and the frame header has no P bit.
fn vp8(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    if first & 0x17 != 0x10 {
        return Some(false);
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        let fields = *payload.get(at)?;
        at += 1;
        if fields & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(fields & 0x40 != 0) + usize::from(fields & 0x30 != 0);
    }
    Some(payload.get(at)? & 0x01 == 0)
}

/// Begins a frame (B) without inter-picture prediction (P), in the lowest spatial layer.
fn vp9(payload: &[u8]) -> Option<bool> {
    let first = *payload.first()?;
    if first & 0x48 != 0x08 {
        return Some(false);
    }
    let mut at = 1;
    if first & 0x80 != 0 {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if first & 0x20 == 0 {
        return Some(true);
    }
    Some(payload.get(at)? >> 1 & 0x07 == 0)
}

/// A sequence parameter set or the first bytes of an IDR picture: alone, aggregated (STAP-A) or fragmented (FU-A).
fn h264(payload: &[u8]) -> Option<bool> {
    let starts = |kind: u8| matches!(kind & 0x1f, 5 | 7);
    match payload.first()? & 0x1f {
        24 => Some(aggregated(payload.get(1..)?, |unit| unit.first().is_some_and(|kind| starts(*kind)))),
        28 => {
            let header = *payload.get(1)?;
            Some(header & 0x80 != 0 && starts(header))
        }
        kind => Some(starts(kind)),
    }
}

/// A parameter set or the first bytes of a picture that can be decoded alone: alone, aggregated (48) or fragmented (49).
fn h265(payload: &[u8]) -> Option<bool> {
    let starts = |kind: u8| matches!(kind, 16..=21 | 32..=34);
    let kind_of = |header: u8| header >> 1 & 0x3f;
    match kind_of(*payload.first()?) {
        48 => Some(aggregated(payload.get(2..)?, |unit| {
            unit.first().is_some_and(|header| starts(kind_of(*header)))
        })),
        49 => {
            let header = *payload.get(2)?;
            Some(header & 0x80 != 0 && starts(header & 0x3f))
        }
        kind => Some(starts(kind)),
    }
}

/// Whether any unit of an aggregation packet matches. Each one has its length, 2 bytes, before it.
fn aggregated(mut rest: &[u8], matches: impl Fn(&[u8]) -> bool) -> bool {
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((unit, next)) = after.split_at_checked(length) else { return false };
        if matches(unit) {
            return true;
        }
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_vp8_key_frame_is_known_with_each_descriptor() {
        for (payload, expected) in [
            (&[0x10, 0x00][..], true),
            (&[0x10, 0x01], false),
            // The second packet of a key frame, and another partition.
            (&[0x00, 0x00], false),
            (&[0x11, 0x00], false),
            // Picture ids of 7 and 15 bits, TL0PICIDX, TID.
            (&[0x90, 0x80, 0x11, 0x00], true),
            (&[0x90, 0x80, 0x91, 0x11, 0x00], true),
            (&[0x90, 0xe0, 0x91, 0x11, 0x07, 0x20, 0x00], true),
            (&[0x90, 0xe0, 0x91, 0x11, 0x07, 0x20, 0x01], false),
            (&[0x90, 0x80], false),
            (&[], false),
        ] {
            assert_eq!(VideoCodec::Vp8.starts_key_frame(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn a_vp9_key_frame_begins_the_lowest_spatial_layer_without_prediction() {
        for (payload, expected) in [
            (&[0x08][..], true),
            (&[0x88, 0x81, 0x11], true),
            (&[0x48], false),
            (&[0x00], false),
            (&[0xa8, 0x81, 0x11, 0x00], true),
            (&[0xa8, 0x81, 0x11, 0x02], false),
            (&[0xa8, 0x81], false),
        ] {
            assert_eq!(VideoCodec::Vp9.starts_key_frame(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn an_h264_key_frame_starts_with_parameters_or_an_idr_picture() {
        for (payload, expected) in [
            (&[0x67, 1][..], true),
            (&[0x65, 1], true),
            (&[0x41, 1], false),
            (&[0x68, 1], false),
            (&[0x78, 0, 1, 0x67, 0, 1, 0x68], true),
            (&[0x78, 0, 1, 0x41, 0, 1, 0x41], false),
            (&[0x78, 0, 9, 0x67], false),
            (&[0x7c, 0x85, 1], true),
            (&[0x7c, 0x05, 1], false),
            (&[0x7c, 0x81, 1], false),
            (&[0x7c], false),
        ] {
            assert_eq!(VideoCodec::H264.starts_key_frame(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn an_h265_key_frame_starts_with_parameters_or_a_random_access_picture() {
        for (payload, expected) in [
            (&[0x40, 1, 0][..], true),
            (&[0x26, 1, 0], true),
            (&[0x02, 1, 0], false),
            (&[0x60, 1, 0, 2, 0x40, 1], true),
            (&[0x60, 1, 0, 2, 0x02, 1], false),
            (&[0x62, 1, 0x93], true),
            (&[0x62, 1, 0x13], false),
            (&[0x62, 1, 0x81], false),
        ] {
            assert_eq!(VideoCodec::H265.starts_key_frame(payload), expected, "{payload:x?}");
        }
    }

    #[test]
    fn an_av1_key_frame_starts_a_coded_video_sequence() {
        assert!(VideoCodec::Av1.starts_key_frame(&[0x18, 0x0a]));
        assert!(!VideoCodec::Av1.starts_key_frame(&[0x10, 0x32]));
    }

    proptest! {
        #[test]
        fn no_payload_causes_a_panic(payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            for codec in [VideoCodec::Vp8, VideoCodec::Vp9, VideoCodec::H264, VideoCodec::H265, VideoCodec::Av1] {
                codec.starts_key_frame(&payload);
            }
        }
    }
}
