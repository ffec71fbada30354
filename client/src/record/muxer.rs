//! Puts the frames of a peer's streams into files: which tracks a file has, and where clusters and files begin. Pure:
//! frames go in, writes come out.

use std::{collections::VecDeque, time::Duration};

use super::{
    ebml,
    track::{Form, Track, describe, with_lengths},
};

/// How long the first frames wait for the first ones of other streams: all tracks are named at the start of a file.
const GATHERING: Duration = Duration::from_secs(1);
/// Bytes that may wait meanwhile.
const MAX_GATHERED: usize = 8 << 20;
/// The longest cluster, in milliseconds.
const CLUSTER: u64 = 1000;

/// An encoded frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Which stream it belongs to.
    pub(super) stream: usize,
    pub(super) caps: gst::Caps,
    /// Its time, on a clock that all streams share.
    pub(super) time: Duration,
    pub(super) is_key: bool,
    pub(super) bytes: Vec<u8>,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// Begin a new file.
    NewFile,
    /// Append to the file.
    Bytes(Vec<u8>),
    /// Ask the sender of this stream for a key frame: a new file is due.
    AskKeyFrame(usize),
}

/// When a new file begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// After this time.
    pub(super) time: Option<Duration>,
    /// After this many bytes.
    pub(super) bytes: Option<u64>,
}

/// The state of one recording.
#[derive(Debug)]
pub(super) struct Muxer {
    limits: Limits,
    streams: Vec<Stream>,
    /// The first frames, before the file begins.
    gathered: VecDeque<Frame>,
    file: Option<File>,
    asked: bool,
}

/// What is known about a stream.
#[derive(Debug)]
struct Stream {
    id: usize,
    is_video: bool,
    track: Option<(Track, Form)>,
    /// A frame was lost: those up to the next key frame are useless.
    is_broken: bool,
}

#[derive(Debug)]
struct File {
    /// The streams of its tracks, in their order.
    tracks: Vec<usize>,
    start: Duration,
    bytes: u64,
    /// The start of the cluster, in milliseconds of the file.
    cluster: Option<u64>,
}

impl Muxer {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, streams: Vec::new(), gathered: VecDeque::new(), file: None, asked: false }
    }

    /// A stream will come; frames of others wait for it a little.
    pub(super) fn expect(&mut self, id: usize, is_video: bool) {
        if !self.streams.iter().any(|stream| stream.id == id) {
            self.streams.push(Stream { id, is_video, track: None, is_broken: false });
        }
    }

    /// A frame of this stream was dropped.
    pub(super) fn lost(&mut self, id: usize) {
        let stream = self.streams.iter_mut().find(|stream| stream.id == id && stream.is_video);
        stream.into_iter().for_each(|stream| stream.is_broken = true);
    }

    /// Takes a frame. An error if its codec cannot be recorded.
    pub(super) fn frame(&mut self, frame: Frame) -> Result<Vec<Write>, String> {
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == frame.stream) else {
            return Ok(Vec::new());
        };
        stream.is_broken &= !frame.is_key;
        if stream.is_broken {
            return Ok(Vec::new());
        }
        // The codec may change during a call, and a key frame may have other parameter sets.
        if stream.track.is_none() || (stream.is_video && frame.is_key) {
            let new = describe(&frame.caps, &frame.bytes, frame.is_key)?;
            let other = new
                .as_ref()
                .zip(stream.track.as_ref())
                .is_some_and(|(new, old)| new.0.codec != old.0.codec || new.0.private != old.0.private);
            if other {
                self.file = None;
            }
            stream.track = new.or(stream.track.take());
        }
        if stream.track.is_none() {
            // Nothing to decode before the first key frame.
            return Ok(Vec::new());
        }
        Ok(self.place(frame))
    }

    /// The recording ends: what was gathered is written.
    pub(super) fn finish(&mut self) -> Vec<Write> {
        if self.file.is_none() { self.begin() } else { Vec::new() }
    }

    fn place(&mut self, frame: Frame) -> Vec<Write> {
        let mut writes = self.cut(&frame);
        match &self.file {
            Some(file) if file.tracks.contains(&frame.stream) => writes.extend(self.append(&frame)),
            _ => {
                self.file = None;
                self.gathered.push_back(frame);
                if self.has_gathered() {
                    writes.extend(self.begin());
                }
            }
        }
        writes
    }

    /// Ends the file if it is long enough, where a video frame can be decoded without those before it.
    fn cut(&mut self, frame: &Frame) -> Vec<Write> {
        let Some(file) = &self.file else { return Vec::new() };
        let is_due = self.limits.time.is_some_and(|limit| frame.time.saturating_sub(file.start) >= limit)
            || self.limits.bytes.is_some_and(|limit| file.bytes >= limit);
        let has_video = self.streams.iter().find(|it| it.is_video && file.tracks.contains(&it.id));
        match has_video {
            _ if !is_due => Vec::new(),
            Some(video) if video.id == frame.stream && frame.is_key => {
                self.file = None;
                Vec::new()
            }
            Some(_) if self.asked => Vec::new(),
            Some(video) => {
                self.asked = true;
                vec![Write::AskKeyFrame(video.id)]
            }
            None => {
                self.file = None;
                Vec::new()
            }
        }
    }

    fn has_gathered(&self) -> bool {
        let all = self.streams.iter().all(|stream| self.gathered.iter().any(|it| it.stream == stream.id));
        let first = self.gathered.iter().map(|it| it.time).min();
        let last = self.gathered.iter().map(|it| it.time).max();
        let waited = first.zip(last).is_some_and(|(first, last)| last - first >= GATHERING);
        all || waited || self.gathered.iter().map(|it| it.bytes.len()).sum::<usize>() > MAX_GATHERED
    }

    /// Begins a file with the streams that frames have come of.
    fn begin(&mut self) -> Vec<Write> {
        let Some(start) = self.gathered.iter().map(|frame| frame.time).min() else { return Vec::new() };
        let here = |stream: &&Stream| self.gathered.iter().any(|frame| frame.stream == stream.id);
        let used: Vec<_> = self.streams.iter().filter(here).collect();
        let tracks: Vec<Track> = used.iter().filter_map(|it| Some(it.track.as_ref()?.0.clone())).collect();
        let header = ebml::header(&tracks);
        let bytes = header.len() as u64;
        self.file = Some(File { tracks: used.iter().map(|it| it.id).collect(), start, bytes, cluster: None });
        self.asked = false;
        let mut writes = vec![Write::NewFile, Write::Bytes(header)];
        for frame in std::mem::take(&mut self.gathered) {
            writes.extend(self.append(&frame));
        }
        writes
    }

    fn append(&mut self, frame: &Frame) -> Option<Write> {
        let stream = self.streams.iter().find(|stream| stream.id == frame.stream)?;
        let file = self.file.as_mut()?;
        let position = file.tracks.iter().position(|id| *id == frame.stream)?;
        let track = u8::try_from(position + 1).ok()?;
        let time = u64::try_from(frame.time.saturating_sub(file.start).as_millis()).ok()?;
        let starts = file.cluster.is_none_or(|cluster| {
            time.saturating_sub(cluster) >= CLUSTER || (stream.is_video && frame.is_key)
        });
        let mut bytes = if starts { ebml::cluster(time) } else { Vec::new() };
        if starts {
            file.cluster = Some(time);
        }
        let cluster = i64::try_from(file.cluster?).ok()?;
        // A stream that is late by more than half a minute is not placed exactly.
        let offset = (i64::try_from(time).ok()? - cluster).clamp(i16::MIN.into(), i16::MAX.into());
        let offset = i16::try_from(offset).ok()?;
        let is_key = frame.is_key || !stream.is_video;
        let lengths = stream.track.as_ref().is_some_and(|(_, form)| *form == Form::Lengths);
        bytes.extend(match lengths {
            true => ebml::block(track, offset, is_key, &with_lengths(&frame.bytes)),
            false => ebml::block(track, offset, is_key, &frame.bytes),
        });
        file.bytes += bytes.len() as u64;
        Some(Write::Bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIDEO: usize = 0;
    const AUDIO: usize = 1;

    fn frame(stream: usize, ms: u64, is_key: bool) -> Frame {
        gst::init().unwrap();
        let name = if stream == VIDEO { "video/x-vp8" } else { "audio/x-opus" };
        let caps = gst::Caps::builder(name).build();
        Frame { stream, caps, time: Duration::from_millis(ms), is_key, bytes: vec![ms as u8; 20] }
    }

    fn muxer(limits: Limits) -> Muxer {
        let mut muxer = Muxer::new(limits);
        muxer.expect(VIDEO, true);
        muxer.expect(AUDIO, false);
        muxer
    }

    fn files(writes: &[Write]) -> usize {
        writes.iter().filter(|write| **write == Write::NewFile).count()
    }

    #[test]
    fn a_file_begins_when_all_streams_are_there() {
        let mut muxer = muxer(Limits::default());
        assert_eq!(muxer.frame(frame(AUDIO, 1000, false)).unwrap(), []);
        assert_eq!(muxer.frame(frame(VIDEO, 1010, false)).unwrap(), [], "no key frame yet");
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
    fn a_short_recording_is_written_at_its_end() {
        let mut muxer = muxer(Limits::default());
        muxer.frame(frame(AUDIO, 0, false)).unwrap();
        assert_eq!(files(&muxer.finish()), 1);
        assert_eq!(muxer.finish(), []);
    }

    #[test]
    fn a_new_file_begins_with_a_key_frame_that_is_asked_for_once() {
        let limits = Limits { time: Some(Duration::from_secs(2)), bytes: None };
        let mut muxer = muxer(limits);
        muxer.frame(frame(AUDIO, 0, false)).unwrap();
        muxer.frame(frame(VIDEO, 0, true)).unwrap();
        assert_eq!(muxer.frame(frame(VIDEO, 1900, true)).unwrap().len(), 1);
        assert_eq!(muxer.frame(frame(VIDEO, 2000, false)).unwrap().first(), Some(&Write::AskKeyFrame(VIDEO)));
        assert_eq!(muxer.frame(frame(AUDIO, 2010, false)).unwrap().len(), 1);
        assert_eq!(muxer.frame(frame(VIDEO, 2033, true)).unwrap(), []);
        let writes = muxer.frame(frame(AUDIO, 2040, false)).unwrap();
        assert_eq!(files(&writes), 1);
    }

    #[test]
    fn what_follows_a_lost_frame_is_dropped_up_to_the_next_key_frame() {
        let mut muxer = muxer(Limits::default());
        muxer.frame(frame(AUDIO, 0, false)).unwrap();
        muxer.frame(frame(VIDEO, 0, true)).unwrap();
        muxer.lost(VIDEO);
        assert_eq!(muxer.frame(frame(VIDEO, 33, false)).unwrap(), []);
        assert_eq!(muxer.frame(frame(VIDEO, 66, true)).unwrap().len(), 1);
        muxer.lost(AUDIO);
        assert_eq!(muxer.frame(frame(AUDIO, 70, false)).unwrap().len(), 1);
    }
}
