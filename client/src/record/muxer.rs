//! Puts the frames of a peer's streams into files: which tracks a file has, and where clusters and files begin. Pure:
//! frames go in, writes come out.

use std::{collections::VecDeque, time::Duration};

use super::{
    ebml,
    track::{Form, Track, describe, with_lengths},
};

/// How long the first frames wait for the first ones of other streams: all tracks are named at the start of a file.
const GATHERING: Duration = Duration::from_secs(1);
/// How long they wait for the key frame of a stream whose other frames come.
const KEY_WAIT: Duration = Duration::from_secs(3);
/// Bytes and frames that may wait meanwhile.
const MAX_GATHERED: u64 = 8 << 20;
const MAX_FRAMES: usize = 1024;
/// A peer that changes its streams begins no more files than one in this time.
const SPACING: Duration = Duration::from_secs(1);
/// A request for a key frame is repeated after this time.
const ASK_AGAIN: Duration = Duration::from_secs(1);
/// The longest cluster, in milliseconds.
const CLUSTER: u64 = 1000;
/// More than the bytes that a file has around a frame.
const AROUND_FRAME: u64 = 64;

/// An encoded frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    /// Which stream it belongs to.
    pub(super) stream: usize,
    pub(super) is_video: bool,
    pub(super) caps: gst::Caps,
    /// When it came.
    pub(super) at: Duration,
    /// Its time, on a clock that all streams share. It depends on what the peer sends.
    pub(super) time: Duration,
    pub(super) is_key: bool,
    /// Frames between this one and the last one were dropped.
    pub(super) follows_gap: bool,
    pub(super) bytes: Vec<u8>,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Write {
    /// Begin a new file.
    NewFile,
    /// Append to the file.
    Bytes(Vec<u8>),
    /// Ask the sender of this stream for a key frame.
    AskKeyFrame(usize),
}

impl Frame {
    /// More than its bytes in a file.
    fn size(&self) -> u64 {
        self.bytes.len() as u64 + AROUND_FRAME
    }
}

/// When a new file begins.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Limits {
    /// After this time, at a key frame; after twice this time in any case.
    pub(super) time: Option<Duration>,
    /// No file becomes larger. It ends at a key frame after half of it.
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
    /// When the last file began, unless a limit ended it.
    began: Option<Duration>,
}

/// What is known about a stream.
#[derive(Debug)]
struct Stream {
    id: usize,
    is_video: bool,
    track: Option<(Track, Form)>,
    /// Frames up to the next key frame are useless.
    awaits_key: bool,
    /// When a key frame was requested.
    asked: Option<Duration>,
    /// When the last frame came.
    seen: Option<Duration>,
}

#[derive(Debug)]
struct File {
    /// The streams of its tracks, in their order.
    tracks: Vec<usize>,
    /// When it began, and the time of its first frame.
    began: Duration,
    start: Duration,
    bytes: u64,
    /// The start of the cluster, in milliseconds of the file.
    cluster: Option<u64>,
}

/// Whether a file has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Due {
    No,
    /// At a key frame.
    AtKeyFrame,
    Now,
}

impl Stream {
    /// Requests a key frame, unless that was done a moment ago.
    fn ask(&mut self, now: Duration) -> Option<Write> {
        let is_due = self.asked.is_none_or(|asked| now.saturating_sub(asked) >= ASK_AGAIN);
        is_due.then(|| {
            self.asked = Some(now);
            Write::AskKeyFrame(self.id)
        })
    }

    /// Drops the frames of a video stream up to the next key frame, which is requested.
    fn await_key(&mut self, now: Duration) -> Option<Write> {
        self.awaits_key = self.is_video;
        if self.is_video { self.ask(now) } else { None }
    }

    /// How long a file's start waits for this stream.
    fn patience(&self, now: Duration) -> Duration {
        let is_alive = self.seen.is_some_and(|seen| now.saturating_sub(seen) < GATHERING);
        if self.awaits_key && is_alive { KEY_WAIT } else { GATHERING }
    }
}

impl Muxer {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, streams: Vec::new(), gathered: VecDeque::new(), file: None, began: None }
    }

    /// The most bytes of a file from now on.
    pub(super) fn limit_bytes(&mut self, bytes: Option<u64>) {
        self.limits.bytes = bytes;
    }

    /// A stream will come; frames of others wait for it a little.
    pub(super) fn expect(&mut self, id: usize, is_video: bool) {
        if !self.streams.iter().any(|stream| stream.id == id) {
            let (track, asked, seen) = (None, None, None);
            self.streams.push(Stream { id, is_video, track, awaits_key: is_video, asked, seen });
        }
    }

    /// Takes a frame. An error if its codec cannot be recorded.
    pub(super) fn frame(&mut self, frame: Frame) -> Result<Vec<Write>, String> {
        self.expect(frame.stream, frame.is_video);
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.id == frame.stream) else {
            return Ok(Vec::new());
        };
        stream.seen = Some(frame.at);
        let is_key = stream.is_video && frame.is_key;
        stream.awaits_key |= stream.is_video && frame.follows_gap;
        let is_too_large = self.limits.bytes.is_some_and(|limit| frame.size() > limit / 2);
        if is_too_large || (stream.awaits_key && !is_key) {
            return Ok(stream.await_key(frame.at).into_iter().collect());
        }
        let mut writes = Vec::new();
        // The codec may change during a call, and a key frame may have other parameter sets.
        if stream.track.is_none() || is_key {
            let new = describe(&frame.caps, &frame.bytes, frame.is_key)?;
            let is_other = |(old, _): &(Track, Form)| {
                new.as_ref().is_some_and(|(new, _)| new.codec != old.codec || new.private != old.private)
            };
            let changes = stream.track.as_ref().is_some_and(is_other);
            stream.track = new.or(stream.track.take());
            if stream.track.is_none() {
                // A key frame without all that a decoder needs.
                return Ok(stream.await_key(frame.at).into_iter().collect());
            }
            stream.awaits_key = false;
            if changes {
                // Frames of the old kind do not fit the new track.
                self.gathered.retain(|gathered| gathered.stream != frame.stream);
                writes = self.end_file(&frame);
            }
        }
        writes.extend(self.place(frame));
        Ok(writes)
    }

    /// The recording ends: what was gathered is written.
    pub(super) fn finish(&mut self) -> Vec<Write> {
        let last = self.gathered.back().map(|frame| frame.at);
        last.map_or_else(Vec::new, |now| self.begin(now))
    }

    fn place(&mut self, frame: Frame) -> Vec<Write> {
        let mut writes = self.cut(&frame);
        if self.streams.iter().any(|stream| stream.id == frame.stream && stream.awaits_key) {
            return writes;
        }
        match &self.file {
            Some(file) if file.tracks.contains(&frame.stream) => writes.extend(self.append(&frame)),
            _ => {
                writes.extend(self.end_file(&frame));
                writes.extend(self.gather(frame));
            }
        }
        writes
    }

    /// Ends the file at a limit. If possible, that is where a video frame can be decoded without those before it.
    fn cut(&mut self, frame: &Frame) -> Vec<Write> {
        let due = self.file.as_ref().map_or(Due::No, |file| self.due(file, frame));
        let tracks = self.file.as_ref().map_or(&[][..], |file| &file.tracks);
        let videos = self.streams.iter_mut().filter(|it| it.is_video && tracks.contains(&it.id));
        let mut videos = videos.peekable();
        match due {
            Due::No => Vec::new(),
            Due::AtKeyFrame if videos.peek().is_some() && !(frame.is_video && frame.is_key) => {
                videos.filter_map(|stream| stream.ask(frame.at)).collect()
            }
            _ => {
                let writes = self.end_file(frame);
                self.began = None;
                writes
            }
        }
    }

    fn due(&self, file: &File, frame: &Frame) -> Due {
        let age = frame.at.saturating_sub(file.began);
        let is_older = |times: u32| self.limits.time.is_some_and(|limit| age >= limit * times);
        let is_full = self.limits.bytes.is_some_and(|limit| file.bytes + frame.size() > limit);
        let is_half_full = self.limits.bytes.is_some_and(|limit| file.bytes >= limit / 2);
        match () {
            () if is_full || is_older(2) => Due::Now,
            () if is_half_full || is_older(1) => Due::AtKeyFrame,
            () => Due::No,
        }
    }

    /// Ends the file, if there is one, before `frame`. In the next one, each video stream begins at a key frame.
    fn end_file(&mut self, frame: &Frame) -> Vec<Write> {
        if self.file.take().is_none() {
            return Vec::new();
        }
        let is_key = frame.is_video && frame.is_key;
        let others = self.streams.iter_mut().filter(|it| it.is_video && !(is_key && it.id == frame.stream));
        others.filter_map(|stream| stream.await_key(frame.at)).collect()
    }

    /// Keeps a frame until the file begins.
    fn gather(&mut self, frame: Frame) -> Vec<Write> {
        let now = frame.at;
        self.gathered.push_back(frame);
        let is_soon = self.began.is_some_and(|began| now.saturating_sub(began) < SPACING);
        match () {
            () if is_soon && self.is_full() => {
                self.gathered.clear();
                let videos = self.streams.iter_mut().filter(|it| it.is_video);
                videos.filter_map(|stream| stream.await_key(now)).collect()
            }
            () if !is_soon && (self.is_full() || self.has_gathered(now)) => self.begin(now),
            () => Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        let bytes = self.gathered.iter().map(Frame::size).sum::<u64>();
        let limit = self.limits.bytes.map_or(MAX_GATHERED, |limit| MAX_GATHERED.min(limit / 2));
        bytes > limit || self.gathered.len() >= MAX_FRAMES
    }

    fn has_gathered(&self, now: Duration) -> bool {
        let Some(first) = self.gathered.front() else { return false };
        let waited = now.saturating_sub(first.at);
        self.streams.iter().all(|stream| waited >= stream.patience(now) || self.is_here(stream))
    }

    fn is_here(&self, stream: &Stream) -> bool {
        self.gathered.iter().any(|frame| frame.stream == stream.id)
    }

    /// Begins a file with the streams that frames have come of.
    fn begin(&mut self, now: Duration) -> Vec<Write> {
        let Some(start) = self.gathered.iter().map(|frame| frame.time).min() else { return Vec::new() };
        let used: Vec<_> = self.streams.iter().filter(|stream| self.is_here(stream)).collect();
        let tracks: Vec<Track> = used.iter().filter_map(|it| Some(it.track.as_ref()?.0.clone())).collect();
        let ids: Vec<_> = used.iter().map(|it| it.id).collect();
        // The others begin a file of their own when they come.
        let others = self.streams.iter_mut().filter(|it| it.is_video && !ids.contains(&it.id));
        others.for_each(|stream| stream.awaits_key = true);
        let header = ebml::header(&tracks);
        let bytes = header.len() as u64;
        self.file = Some(File { tracks: ids, began: now, start, bytes, cluster: None });
        self.began = Some(now);
        let mut writes = vec![Write::NewFile, Write::Bytes(header)];
        for frame in std::mem::take(&mut self.gathered) {
            writes.extend(self.append(&frame));
        }
        writes
    }

    /// Appends a frame to the file, if it fits.
    fn append(&mut self, frame: &Frame) -> Option<Write> {
        let stream = self.streams.iter_mut().find(|stream| stream.id == frame.stream)?;
        let is_key = frame.is_key || !stream.is_video;
        let file = self.file.as_mut()?;
        let position = file.tracks.iter().position(|id| *id == frame.stream)?;
        let track = u8::try_from(position + 1).ok()?;
        let time = u64::try_from(frame.time.saturating_sub(file.start).as_millis()).ok()?;
        let starts = file
            .cluster
            .is_none_or(|cluster| time.saturating_sub(cluster) >= CLUSTER || (stream.is_video && is_key));
        let cluster = if starts { time } else { file.cluster? };
        let mut bytes = if starts { ebml::cluster(time) } else { Vec::new() };
        // A stream that is late by more than half a minute is not placed exactly.
        let offset = i64::try_from(time).ok()? - i64::try_from(cluster).ok()?;
        let offset = i16::try_from(offset.clamp(i16::MIN.into(), i16::MAX.into())).ok()?;
        let lengths = stream.track.as_ref().is_some_and(|(_, form)| *form == Form::Lengths);
        bytes.extend(match lengths {
            true => ebml::block(track, offset, is_key, &with_lengths(&frame.bytes)),
            false => ebml::block(track, offset, is_key, &frame.bytes),
        });
        let size = file.bytes + bytes.len() as u64;
        if self.limits.bytes.is_some_and(|limit| size > limit) {
            return stream.await_key(frame.at);
        }
        file.cluster = Some(cluster);
        file.bytes = size;
        Some(Write::Bytes(bytes))
    }
}

#[cfg(test)]
#[path = "muxer_tests.rs"]
mod tests;
