//! Writes Matroska (RFC 9559) so that a file that ends anywhere can be played up to there. Pure.
//!
//! Segment and clusters have unknown sizes (RFC 8794, section 6.2): each block is complete as soon as it is written, and
//! nothing has to be written at the end.

use super::track::Track;

/// Element ids.
const EBML: u32 = 0x1A45_DFA3;
const SEGMENT: u32 = 0x1853_8067;
const INFO: u32 = 0x1549_A966;
const TRACKS: u32 = 0x1654_AE6B;
const TRACK_ENTRY: u32 = 0xAE;
const CLUSTER: u32 = 0x1F43_B675;
const SIMPLE_BLOCK: u32 = 0xA3;
/// Eight bytes that say "size unknown".
const UNKNOWN: [u8; 8] = [0x01, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF];
const APPLICATION: &str = "callbin";
/// One millisecond, in nanoseconds: the unit of all times in the file.
const TIMESTAMP_SCALE: u64 = 1_000_000;
const VIDEO: u64 = 1;
const AUDIO: u64 = 2;

/// The start of a file with these tracks, numbered from one.
pub(super) fn header(tracks: &[Track]) -> Vec<u8> {
    let mut out = element(
        EBML,
        &[
            number(0x4286, 1),
            number(0x42F7, 1),
            number(0x42F2, 4),
            number(0x42F3, 8),
            element(0x4282, b"matroska"),
            number(0x4287, 4),
            number(0x4285, 2),
        ]
        .concat(),
    );
    out.extend(id(SEGMENT));
    out.extend(UNKNOWN);
    let info = [
        number(0x2A_D7B1, TIMESTAMP_SCALE),
        element(0x4D80, APPLICATION.as_bytes()),
        element(0x5741, APPLICATION.as_bytes()),
    ];
    out.extend(element(INFO, &info.concat()));
    let entries = tracks.iter().zip(1..).map(|(track, number)| entry(track, number));
    out.extend(element(TRACKS, &entries.collect::<Vec<_>>().concat()));
    out
}

fn entry(track: &Track, track_number: u64) -> Vec<u8> {
    let kind = if track.video.is_some() { VIDEO } else { AUDIO };
    let mut parts = vec![
        number(0xD7, track_number),
        number(0x73C5, track_number),
        number(0x83, kind),
        // No lacing.
        number(0x9C, 0),
        element(0x86, track.codec.as_bytes()),
    ];
    if !track.private.is_empty() {
        parts.push(element(0x63A2, &track.private));
    }
    if track.codec == "A_OPUS" {
        // A decoder needs 80 ms before a seek point (RFC 9559, section 18).
        parts.push(number(0x56AA, 0));
        parts.push(number(0x56BB, 80_000_000));
    }
    if let Some((width, height)) = track.video {
        parts.push(element(0xE0, &[number(0xB0, width.into()), number(0xBA, height.into())].concat()));
    }
    if let Some((rate, channels)) = track.audio {
        let rate = element(0xB5, &f64::from(rate).to_be_bytes());
        parts.push(element(0xE1, &[rate, number(0x9F, channels.into())].concat()));
    }
    element(TRACK_ENTRY, &parts.concat())
}

/// The start of a cluster at this time, in milliseconds.
pub(super) fn cluster(time: u64) -> Vec<u8> {
    [id(CLUSTER), UNKNOWN.to_vec(), number(0xE7, time)].concat()
}

/// A frame; `time` counts from the start of its cluster.
pub(super) fn block(track: u8, time: i16, is_key: bool, frame: &[u8]) -> Vec<u8> {
    let [high, low] = time.to_be_bytes();
    let flags = if is_key { 0x80 } else { 0 };
    let mut out = id(SIMPLE_BLOCK);
    out.extend(size(frame.len() + 4));
    out.extend([0x80 | track, high, low, flags]);
    out.extend_from_slice(frame);
    out
}

fn element(name: u32, content: &[u8]) -> Vec<u8> {
    [&*id(name), &*size(content.len()), content].concat()
}

fn number(name: u32, value: u64) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    let skip = bytes.iter().take(7).take_while(|byte| **byte == 0).count();
    element(name, bytes.get(skip..).unwrap_or_default())
}

/// An id holds its length in its first bits already.
fn id(name: u32) -> Vec<u8> {
    name.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect()
}

/// A size, in as many bytes as it needs, but never the one that means "unknown".
fn size(value: usize) -> Vec<u8> {
    let value = value as u64;
    let length = (1..8u32).find(|length| value < (1 << (7 * length)) - 1).unwrap_or(8);
    let marked = value | (1 << (7 * length));
    marked.to_be_bytes().into_iter().skip(8 - length as usize).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_as_short_as_possible_and_never_unknown() {
        assert_eq!(size(0), [0x80]);
        assert_eq!(size(126), [0xFE]);
        assert_eq!(size(127), [0x40, 0x7F]);
        assert_eq!(size(16_382), [0x7F, 0xFE]);
        assert_eq!(size(16_383), [0x20, 0x3F, 0xFF]);
        assert_eq!(size(1 << 20), [0x30, 0, 0]);
    }

    #[test]
    fn elements_are_id_size_and_content() {
        assert_eq!(number(0xD7, 1), [0xD7, 0x81, 1]);
        assert_eq!(number(0x9C, 0), [0x9C, 0x81, 0]);
        assert_eq!(number(0x2A_D7B1, 1_000_000), [0x2A, 0xD7, 0xB1, 0x83, 0x0F, 0x42, 0x40]);
        assert_eq!(element(0x4282, b"ab"), [0x42, 0x82, 0x82, b'a', b'b']);
    }

    #[test]
    fn blocks_have_track_time_and_flags() {
        assert_eq!(block(1, 258, true, &[7, 8]), [0xA3, 0x86, 0x81, 1, 2, 0x80, 7, 8]);
        assert_eq!(block(2, -1, false, &[]), [0xA3, 0x84, 0x82, 0xFF, 0xFF, 0]);
    }
}
