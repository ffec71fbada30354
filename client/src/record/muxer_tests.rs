use super::*;

const VIDEO: usize = 0;
const AUDIO: usize = 1;
const SCREEN: usize = 2;

const S: Duration = Duration::from_secs(1);

fn frame(stream: usize, ms: u64, is_key: bool) -> Frame {
    gst::init().unwrap();
    let name = if stream == AUDIO { "audio/x-opus" } else { "video/x-vp8" };
    let caps = gst::Caps::builder(name).build();
    let at = Duration::from_millis(ms);
    let (is_video, follows_gap) = (stream != AUDIO, false);
    Frame { stream, is_video, caps, at, time: at, is_key, follows_gap, bytes: vec![ms as u8; 20] }
}

/// A key frame of another codec.
fn vp9(ms: u64) -> Frame {
    Frame { caps: gst::Caps::builder("video/x-vp9").build(), ..frame(VIDEO, ms, true) }
}

fn large(stream: usize, ms: u64, is_key: bool, bytes: usize) -> Frame {
    Frame { bytes: vec![0; bytes], ..frame(stream, ms, is_key) }
}

fn muxer(limits: Limits) -> Muxer {
    let mut muxer = Muxer::new(limits);
    muxer.expect(VIDEO, true);
    muxer.expect(AUDIO, false);
    muxer
}

/// A muxer whose first file began at 0 with a frame of each of these streams.
fn recording(limits: Limits, streams: &[usize]) -> Muxer {
    let mut muxer = Muxer::new(limits);
    streams.iter().for_each(|stream| muxer.expect(*stream, *stream != AUDIO));
    let writes: Vec<_> = streams.iter().flat_map(|it| muxer.frame(frame(*it, 0, true)).unwrap()).collect();
    assert_eq!(files(&writes), 1);
    muxer
}

fn files(writes: &[Write]) -> usize {
    writes.iter().filter(|write| **write == Write::NewFile).count()
}

/// The bytes of each file.
fn sizes(writes: &[Write]) -> Vec<usize> {
    let mut sizes = Vec::new();
    for write in writes {
        match write {
            Write::NewFile => sizes.push(0),
            Write::Bytes(bytes) => *sizes.last_mut().unwrap() += bytes.len(),
            Write::AskKeyFrame(_) => {}
        }
    }
    sizes
}

fn requests(writes: &[Write]) -> Vec<usize> {
    writes.iter().filter_map(|it| if let Write::AskKeyFrame(id) = it { Some(*id) } else { None }).collect()
}

#[test]
fn a_file_begins_when_all_streams_are_there() {
    let mut muxer = muxer(Limits::default());
    assert_eq!(muxer.frame(frame(AUDIO, 1000, false)).unwrap(), []);
    let no_key_frame_yet = muxer.frame(frame(VIDEO, 1010, false)).unwrap();
    assert_eq!(no_key_frame_yet, [Write::AskKeyFrame(VIDEO)]);
    assert_eq!(muxer.frame(frame(AUDIO, 1020, false)).unwrap(), []);
    let writes = muxer.frame(frame(VIDEO, 1040, true)).unwrap();
    assert_eq!((files(&writes), writes.len()), (1, 5), "a header and three frames");
    assert_eq!(muxer.frame(frame(VIDEO, 1073, false)).unwrap().len(), 1);
}

#[test]
fn a_stream_that_does_not_come_is_not_waited_for_and_begins_a_file_later() {
    let mut muxer = muxer(Limits::default());
    let mut writes = Vec::new();
    for ms in (0..=1000).step_by(20) {
        writes.extend(muxer.frame(frame(AUDIO, ms, false)).unwrap());
    }
    assert_eq!(files(&writes), 1);
    assert_eq!(muxer.frame(frame(VIDEO, 5000, true)).unwrap(), [], "waits for sound");
    assert_eq!(files(&muxer.frame(frame(AUDIO, 5020, false)).unwrap()), 1);
}

#[test]
fn a_stream_whose_key_frame_is_late_is_waited_for_a_little_longer() {
    let mut muxer = muxer(Limits::default());
    let mut writes = Vec::new();
    for ms in (0..=3000).step_by(20) {
        assert_eq!(files(&writes), 0, "{ms}");
        writes.extend(muxer.frame(frame(VIDEO, ms, false)).unwrap());
        writes.extend(muxer.frame(frame(AUDIO, ms, false)).unwrap());
    }
    assert_eq!(files(&writes), 1);
    assert_eq!(requests(&writes), [VIDEO; 4], "one each second");
}

#[test]
fn a_short_recording_is_written_at_its_end() {
    let mut muxer = muxer(Limits::default());
    muxer.frame(frame(AUDIO, 0, false)).unwrap();
    assert_eq!(files(&muxer.finish()), 1);
    assert_eq!(muxer.finish(), []);
}

#[test]
fn a_new_file_begins_with_a_key_frame_that_is_requested_each_second() {
    let mut muxer = recording(Limits { time: Some(2 * S), bytes: None }, &[AUDIO, VIDEO]);
    assert_eq!(muxer.frame(frame(VIDEO, 1900, true)).unwrap().len(), 1);
    assert_eq!(requests(&muxer.frame(frame(VIDEO, 2000, false)).unwrap()), [VIDEO]);
    assert_eq!(muxer.frame(frame(AUDIO, 2010, false)).unwrap().len(), 1);
    assert_eq!(requests(&muxer.frame(frame(VIDEO, 2990, false)).unwrap()), [0; 0]);
    let again = muxer.frame(frame(AUDIO, 3000, false)).unwrap();
    assert_eq!((requests(&again), again.len()), (vec![VIDEO], 2), "sound is written meanwhile");
    assert_eq!(muxer.frame(frame(VIDEO, 3033, true)).unwrap(), []);
    assert_eq!(files(&muxer.frame(frame(AUDIO, 3040, false)).unwrap()), 1);
}

#[test]
fn without_a_key_frame_a_file_ends_at_twice_its_time() {
    let mut muxer = recording(Limits { time: Some(2 * S), bytes: None }, &[AUDIO, VIDEO]);
    assert_eq!(muxer.frame(frame(VIDEO, 3990, false)).unwrap().len(), 2);
    assert_eq!(requests(&muxer.frame(frame(VIDEO, 4000, false)).unwrap()), [0; 0], "requested a moment ago");
    assert!(muxer.file.is_none());
    assert_eq!(muxer.frame(frame(VIDEO, 4033, false)).unwrap(), [], "nothing could decode it");
    assert_eq!(muxer.frame(frame(AUDIO, 4040, false)).unwrap(), []);
    assert_eq!(files(&muxer.frame(frame(VIDEO, 4066, true)).unwrap()), 1);
}

#[test]
fn no_file_is_larger_than_its_limit_and_none_is_tiny() {
    let limit = 4000;
    let mut muxer = recording(Limits { time: None, bytes: Some(limit) }, &[VIDEO]);
    let mut writes = vec![Write::NewFile];
    for number in 1..2000 {
        // No key frame comes when it is requested.
        let (is_key, bytes) = (number % 50 == 0, if number % 20 == 0 { 1900 } else { 300 });
        writes.extend(muxer.frame(large(VIDEO, number * 33, is_key, bytes)).unwrap());
    }
    let sizes = sizes(&writes);
    assert!(sizes.len() > 10 && sizes.iter().all(|size| *size as u64 <= limit), "{sizes:?}");
    let full = sizes.split_last().unwrap().1;
    assert!(full.iter().all(|size| *size as u64 > limit / 2 - 300), "{sizes:?}");
}

#[test]
fn without_a_key_frame_a_file_ends_at_its_size_and_sound_goes_on() {
    let mut muxer = recording(Limits { time: None, bytes: Some(4000) }, &[AUDIO, VIDEO]);
    let mut writes = Vec::new();
    for ms in (20..8000).step_by(20) {
        writes.extend(muxer.frame(frame(AUDIO, ms, false)).unwrap());
        writes.extend(muxer.frame(frame(VIDEO, ms, false)).unwrap());
    }
    assert!(files(&writes) > 0, "it waits {KEY_WAIT:?} for the key frame");
    assert!(muxer.file.is_some_and(|file| file.tracks == [AUDIO]));
}

#[test]
fn a_frame_too_large_for_a_file_is_a_loss() {
    let mut muxer = recording(Limits { time: None, bytes: Some(4000) }, &[AUDIO, VIDEO]);
    assert_eq!(muxer.frame(large(VIDEO, 33, true, 5000)).unwrap(), [Write::AskKeyFrame(VIDEO)]);
    assert_eq!(muxer.frame(frame(VIDEO, 66, false)).unwrap(), []);
    assert_eq!(muxer.frame(large(AUDIO, 70, false, 5000)).unwrap(), []);
    assert_eq!(muxer.frame(frame(AUDIO, 90, false)).unwrap().len(), 1);
    assert_eq!(muxer.frame(frame(VIDEO, 99, true)).unwrap().len(), 1);
}

#[test]
fn each_video_stream_of_a_new_file_begins_at_a_key_frame() {
    let mut muxer = recording(Limits { time: Some(2 * S), bytes: None }, &[VIDEO, AUDIO, SCREEN]);
    assert_eq!(requests(&muxer.frame(frame(AUDIO, 2000, false)).unwrap()), [VIDEO, SCREEN]);
    assert_eq!(muxer.frame(frame(VIDEO, 2010, true)).unwrap(), [], "both were requested a moment ago");
    assert_eq!(muxer.frame(frame(SCREEN, 2015, false)).unwrap(), [], "nothing could decode it");
    assert_eq!(muxer.frame(frame(AUDIO, 2020, false)).unwrap(), []);
    let writes = muxer.frame(frame(SCREEN, 2030, true)).unwrap();
    assert_eq!((files(&writes), writes.len()), (1, 5), "{writes:?}");
}

#[test]
fn a_stream_that_comes_later_begins_a_file_with_a_key_frame_of_the_others() {
    let mut muxer = recording(Limits::default(), &[VIDEO]);
    assert_eq!(requests(&muxer.frame(frame(AUDIO, 2000, false)).unwrap()), [VIDEO]);
    assert_eq!(muxer.frame(frame(VIDEO, 2033, false)).unwrap(), []);
    let writes = muxer.frame(frame(VIDEO, 2066, true)).unwrap();
    assert_eq!((files(&writes), writes.len()), (1, 4), "{writes:?}");
}

#[test]
fn another_codec_begins_a_file_with_a_key_frame_of_the_other_streams() {
    let mut muxer = recording(Limits::default(), &[VIDEO, SCREEN]);
    assert_eq!(muxer.frame(vp9(1000)).unwrap(), [Write::AskKeyFrame(SCREEN)]);
    assert_eq!(muxer.frame(frame(SCREEN, 1010, false)).unwrap(), []);
    let writes = muxer.frame(frame(SCREEN, 1020, true)).unwrap();
    assert_eq!((files(&writes), writes.len()), (1, 4), "{writes:?}");
}

#[test]
fn a_peer_that_changes_its_codec_all_the_time_begins_one_file_a_second() {
    let mut muxer = recording(Limits::default(), &[VIDEO]);
    let mut writes = Vec::new();
    for ms in (10..9_980).step_by(20) {
        writes.extend(muxer.frame(vp9(ms)).unwrap());
        assert!(muxer.gathered.len() <= 1, "frames of another codec do not fit the track");
        writes.extend(muxer.frame(frame(VIDEO, ms + 10, true)).unwrap());
    }
    assert_eq!(files(&writes), 9);
}

#[test]
fn frames_and_bytes_that_wait_for_a_file_are_bounded() {
    for (frames, bytes) in [(2 * MAX_FRAMES, 1), (40, 1 << 20)] {
        let mut muxer = muxer(Limits::default());
        let mut writes = Vec::new();
        for _ in 0..frames {
            writes.extend(muxer.frame(large(AUDIO, 0, false, bytes)).unwrap());
            assert!(muxer.gathered.len() <= MAX_FRAMES);
        }
        assert_eq!(files(&writes), 1, "{bytes}");
        // Another stream comes: the next file is not due yet, so what waits is dropped.
        writes = muxer.frame(frame(VIDEO, 0, true)).unwrap();
        for _ in 0..frames {
            writes.extend(muxer.frame(large(AUDIO, 0, false, bytes)).unwrap());
            let waiting: usize = muxer.gathered.iter().map(|frame| frame.bytes.len()).sum();
            assert!(muxer.gathered.len() <= MAX_FRAMES && waiting as u64 <= MAX_GATHERED);
        }
        assert_eq!((files(&writes), requests(&writes)), (0, vec![VIDEO]), "{bytes}");
    }
}

#[test]
fn what_follows_a_gap_is_dropped_up_to_the_next_key_frame() {
    let mut muxer = recording(Limits::default(), &[AUDIO, VIDEO]);
    let gap = |frame| Frame { follows_gap: true, ..frame };
    assert_eq!(muxer.frame(gap(frame(VIDEO, 33, false))).unwrap(), [Write::AskKeyFrame(VIDEO)]);
    assert_eq!(muxer.frame(frame(VIDEO, 66, false)).unwrap(), []);
    assert_eq!(muxer.frame(frame(VIDEO, 99, true)).unwrap().len(), 1);
    assert_eq!(muxer.frame(gap(frame(AUDIO, 100, false))).unwrap().len(), 1);
    assert_eq!(
        muxer.frame(gap(frame(VIDEO, 133, true))).unwrap().len(),
        1,
        "a key frame needs nothing before it"
    );
}

#[test]
fn a_gap_before_the_file_begins_counts_as_well() {
    let mut muxer = muxer(Limits::default());
    muxer.frame(frame(VIDEO, 0, true)).unwrap();
    muxer.frame(Frame { follows_gap: true, ..frame(VIDEO, 33, false) }).unwrap();
    assert_eq!(files(&muxer.frame(frame(AUDIO, 40, false)).unwrap()), 1);
    assert_eq!(muxer.frame(frame(VIDEO, 66, false)).unwrap(), []);
}
