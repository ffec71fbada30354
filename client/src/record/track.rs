//! Codecs in Matroska: the caps and frames of encoded media become a track and its frames. Pure.

/// The description of a track.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    /// Matroska's name of the codec.
    pub(super) codec: &'static str,
    /// `CodecPrivate`.
    pub(super) private: Vec<u8>,
    /// Width and height.
    pub(super) video: Option<(u32, u32)>,
    /// Sample rate and channels.
    pub(super) audio: Option<(u32, u32)>,
}

/// How the frames of a track are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// As they are.
    Same,
    /// H.264 with start codes becomes H.264 with lengths.
    Lengths,
}

/// The track for media with these caps that begin with `frame`, and the form of its frames. `None` if a later frame is
/// needed: this one is no key frame with all that a decoder needs. An error if Matroska has no such codec.
pub(super) fn describe(
    caps: &gst::CapsRef,
    frame: &[u8],
    is_key: bool,
) -> Result<Option<(Track, Form)>, String> {
    let Some(format) = caps.structure(0) else { return Ok(None) };
    let data = || {
        let data = format.get::<gst::Buffer>("codec_data").ok();
        data.and_then(|data| data.map_readable().ok().map(|map| map.to_vec()))
    };
    let size = || {
        let side = |name| format.get::<i32>(name).ok().and_then(|side| u32::try_from(side).ok());
        side("width").zip(side("height"))
    };
    let video = |codec, private, size: (u32, u32)| Track { codec, private, video: Some(size), audio: None };
    let audio =
        |codec, private, rate, channels| Track { codec, private, video: None, audio: Some((rate, channels)) };
    let track = match format.name().as_str() {
        "audio/x-opus" => audio("A_OPUS", opus_head(), 48_000, 2),
        "audio/x-mulaw" => audio("A_MS/ACM", wave_format(7), 8000, 1),
        "audio/x-alaw" => audio("A_MS/ACM", wave_format(6), 8000, 1),
        _ if !is_key => return Ok(None),
        "video/x-vp8" => video("V_VP8", Vec::new(), size().or_else(|| vp8_size(frame)).unwrap_or((640, 480))),
        "video/x-vp9" => video("V_VP9", Vec::new(), size().unwrap_or((640, 480))),
        "video/x-av1" => match av1_config(frame) {
            Some(config) => video("V_AV1", data().unwrap_or(config), size().unwrap_or((640, 480))),
            None => return Ok(None),
        },
        "video/x-h264" | "video/x-h265" if data().is_some() => {
            let codec = if format.name() == "video/x-h264" { "V_MPEG4/ISO/AVC" } else { "V_MPEGH/ISO/HEVC" };
            video(codec, data().unwrap_or_default(), size().unwrap_or((640, 480)))
        }
        "video/x-h264" => {
            let Some(private) = avc_config(frame) else { return Ok(None) };
            let size = size().unwrap_or((640, 480));
            return Ok(Some((video("V_MPEG4/ISO/AVC", private, size), Form::Lengths)));
        }
        other => return Err(format!("{other} cannot be recorded")),
    };
    Ok(Some((track, Form::Same)))
}

/// The identification header (RFC 7845, section 5.1), as in Matroska's `CodecPrivate`.
fn opus_head() -> Vec<u8> {
    let mut head = b"OpusHead\x01\x02".to_vec();
    head.extend(0u16.to_le_bytes());
    head.extend(48_000u32.to_le_bytes());
    head.extend([0, 0, 0]);
    head
}

/// A `WAVEFORMATEX` for one channel of 8000 bytes a second.
fn wave_format(tag: u16) -> Vec<u8> {
    let mut format = Vec::new();
    format.extend(tag.to_le_bytes());
    format.extend(1u16.to_le_bytes());
    format.extend(8000u32.to_le_bytes());
    format.extend(8000u32.to_le_bytes());
    format.extend(1u16.to_le_bytes());
    format.extend(8u16.to_le_bytes());
    format.extend(0u16.to_le_bytes());
    format
}

/// Width and height in the header of a VP8 key frame (RFC 6386, section 9.1).
fn vp8_size(frame: &[u8]) -> Option<(u32, u32)> {
    match frame.get(..10)? {
        [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] => {
            let side = |low: u8, high: u8| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
            Some((side(*w0, *w1), side(*h0, *h1)))
        }
        _ => None,
    }
}

/// An `av1C` with the sequence header of a key frame: AV1 in ISOBMFF, section 2.3.
fn av1_config(frame: &[u8]) -> Option<Vec<u8>> {
    let mut rest = frame;
    while let Some((header, body)) = rest.split_first() {
        let extension = usize::from(header & 4 != 0);
        let has_size = header & 2 != 0;
        let body = body.get(extension..)?;
        let (size, used) = if has_size { leb128(body)? } else { (body.len(), 0) };
        let end = used.checked_add(size)?;
        let content = body.get(used..end)?;
        if (header >> 3) & 15 == 1 {
            let profile = content.first()? >> 5;
            let mut config = vec![0x81, profile << 5, 0x0c, 0];
            config.push(header & !4 | 2);
            config.push(u8::try_from(size).ok().filter(|size| *size < 128)?);
            config.extend_from_slice(content);
            return Some(config);
        }
        rest = body.get(end..)?;
    }
    None
}

fn leb128(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0;
    for (position, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 127) << (7 * position);
        if byte & 128 == 0 {
            return Some((value, position + 1));
        }
    }
    None
}

/// The NAL units of a frame with start codes.
fn units(frame: &[u8]) -> Vec<&[u8]> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) = frame.get(at..).and_then(|rest| rest.windows(3).position(|it| it == [0, 0, 1])) {
        starts.push(at + found + 3);
        at += found + 3;
    }
    let ends = starts.iter().skip(1).map(|start| start - 3).chain([frame.len()]);
    let unit = |(start, end): (&usize, usize)| {
        let unit = frame.get(*start..end).unwrap_or_default();
        // Zeros before the next start code are no part of it.
        unit.get(..unit.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)).unwrap_or_default()
    };
    starts.iter().zip(ends).map(unit).filter(|unit| !unit.is_empty()).collect()
}

/// An `avcC` (ISO 14496-15) with the parameter sets of a key frame.
fn avc_config(frame: &[u8]) -> Option<Vec<u8>> {
    let units = units(frame);
    let find = |kind: u8| units.iter().find(|unit| unit.first().is_some_and(|it| it & 31 == kind));
    let (sequence, picture) = find(7).zip(find(8))?;
    let [_, profile, compatible, level, ..] = sequence else { return None };
    let mut config = vec![1, *profile, *compatible, *level, 0xff, 0xe1];
    config.extend(u16::try_from(sequence.len()).ok()?.to_be_bytes());
    config.extend_from_slice(sequence);
    config.push(1);
    config.extend(u16::try_from(picture.len()).ok()?.to_be_bytes());
    config.extend_from_slice(picture);
    Some(config)
}

/// A frame with a length before each NAL unit.
pub(super) fn with_lengths(frame: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(frame.len() + 16);
    for unit in units(frame) {
        out.extend(u32::try_from(unit.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(unit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caps(text: &str) -> gst::Caps {
        gst::init().unwrap();
        text.parse().unwrap()
    }

    const VP8_KEY: [u8; 10] = [0x10, 2, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xf0, 0x00];
    const H264_KEY: [u8; 26] = [
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x1f, 0x8c, 0, 0, 0, 1, 0x68, 0xce, 0x3c, 0, 0, 1, 0x65, 0x88, 0x84,
        0x21, 0xa0, 9, 7,
    ];

    #[test]
    fn vp8_says_its_size_in_caps_or_in_the_frame() {
        let describe = |text: &str, key| describe(&caps(text), &VP8_KEY, key).unwrap();
        let (track, form) = describe("video/x-vp8", true).unwrap();
        assert_eq!((track.codec, track.video, form), ("V_VP8", Some((320, 240)), Form::Same));
        assert_eq!(describe("video/x-vp8,width=64,height=48", true).unwrap().0.video, Some((64, 48)));
        assert_eq!(describe("video/x-vp8", false), None);
    }

    #[test]
    fn h264_gets_its_parameter_sets_and_lengths() {
        let (track, form) =
            describe(&caps("video/x-h264,stream-format=byte-stream"), &H264_KEY, true).unwrap().unwrap();
        assert_eq!(form, Form::Lengths);
        assert_eq!(
            track.private,
            [1, 0x42, 0xc0, 0x1f, 0xff, 0xe1, 0, 5, 0x67, 0x42, 0xc0, 0x1f, 0x8c, 1, 0, 3, 0x68, 0xce, 0x3c]
        );
        assert_eq!(
            with_lengths(&H264_KEY),
            [
                &[0, 0, 0, 5, 0x67, 0x42, 0xc0, 0x1f, 0x8c][..],
                &[0, 0, 0, 3, 0x68, 0xce, 0x3c],
                &[0, 0, 0, 7, 0x65, 0x88, 0x84, 0x21, 0xa0, 9, 7]
            ]
            .concat()
        );
        let without = &H264_KEY[16..];
        assert_eq!(describe(&caps("video/x-h264,stream-format=byte-stream"), without, true), Ok(None));
    }

    #[test]
    fn sound_needs_no_key_frame_and_unknown_codecs_are_named() {
        let opus = describe(&caps("audio/x-opus"), &[], false).unwrap().unwrap().0;
        assert_eq!((opus.codec, opus.private.len(), opus.audio), ("A_OPUS", 19, Some((48_000, 2))));
        assert_eq!(describe(&caps("audio/x-mulaw"), &[], false).unwrap().unwrap().0.private.len(), 18);
        assert!(describe(&caps("video/x-theora"), &[], true).unwrap_err().contains("x-theora"));
    }

    #[test]
    fn a_sequence_header_of_av1_becomes_its_configuration() {
        let frame = [0x12, 0x00, 0x0a, 0x03, 0x20, 0xaa, 0xbb, 0x32, 0x01, 0xcc];
        assert_eq!(av1_config(&frame).unwrap(), [0x81, 0x20, 0x0c, 0, 0x0a, 3, 0x20, 0xaa, 0xbb]);
        assert_eq!(av1_config(&[0x12, 0x00]), None);
        assert_eq!(av1_config(&[0x0a, 0x7f, 1]), None);
    }
}
