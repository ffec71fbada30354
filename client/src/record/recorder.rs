//! Writes the media of one peer: streaming threads hand over frames and never wait, one thread writes.

use std::{
    fs::File,
    io::{self, Write as _},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    Shared,
    muxer::{Frame, Limits, Muxer, Write},
};
use crate::{data::floor::Who, events::Event};

/// Frames and bytes that may wait for the disk. Further ones are dropped.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 32 << 20;
/// Bytes between two looks at the folder.
const LOOK_AFTER: u64 = 1 << 20;

/// A stream that is recorded, at the position of its number.
struct Tap {
    is_video: bool,
    pad: gst::glib::WeakRef<gst::Pad>,
}

/// The recording of one peer. It ends when this is dropped.
pub struct Recorder {
    to: SyncSender<Frame>,
    waiting: Arc<AtomicUsize>,
    taps: Arc<Mutex<Vec<Tap>>>,
    started: Instant,
}

/// What the streaming thread of one stream knows.
struct Feed {
    stream: usize,
    is_video: bool,
    /// Frames since the last one that was handed over were dropped.
    has_gap: AtomicBool,
    /// The recording has ended.
    has_ended: AtomicBool,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the recording of the peer `who`, under this name.
    pub(super) fn start(shared: &Arc<Shared>, name: &str, who: Who) -> Option<Arc<Self>> {
        let (this, from) = Self::new();
        let writer = Writer::new(shared.clone(), name, who, &this);
        shared.running.fetch_add(1, Relaxed);
        let work = move || writer.run(&from);
        let spawned = thread::Builder::new().name("record".into()).spawn(work);
        if spawned.is_err() {
            shared.running.fetch_sub(1, Relaxed);
        }
        spawned.ok().map(|_| Arc::new(this))
    }

    fn new() -> (Self, Receiver<Frame>) {
        let (to, from) = sync_channel(MAX_FRAMES);
        let (waiting, taps) = (Arc::default(), Arc::default());
        (Self { to, waiting, taps, started: Instant::now() }, from)
    }

    /// Records the encoded media that pass this source pad.
    pub fn tap(self: &Arc<Self>, pad: &gst::Pad, is_video: bool) {
        let (this, feed) = (Arc::downgrade(self), self.feed(pad, is_video));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(this), Some(buffer), Some(caps)) =
                (this.upgrade(), info.buffer(), pad.current_caps())
            {
                this.take(&feed, caps, buffer);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn feed(&self, pad: &gst::Pad, is_video: bool) -> Feed {
        let mut taps = lock(&self.taps);
        let stream = taps.len();
        taps.push(Tap { is_video, pad: pad.downgrade() });
        Feed { stream, is_video, has_gap: AtomicBool::new(false), has_ended: AtomicBool::new(false) }
    }

    /// Hands a frame over, or notes that it is missing.
    fn take(&self, feed: &Feed, caps: gst::Caps, buffer: &gst::BufferRef) {
        let (Some(time), size) = (buffer.pts(), buffer.size()) else { return };
        if feed.has_ended.load(Relaxed) {
            return;
        }
        // Looked at before the frame is copied.
        let fits = self.waiting.fetch_add(size, Relaxed) + size <= MAX_BYTES;
        let bytes = buffer.map_readable().ok().filter(|_| fits).map(|bytes| bytes.to_vec());
        let frame = bytes.map(|bytes| Frame {
            stream: feed.stream,
            is_video: feed.is_video,
            caps,
            at: self.started.elapsed(),
            time: Duration::from_nanos(time.nseconds()),
            is_key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            follows_gap: feed.has_gap.swap(false, Relaxed),
            bytes,
        });
        let sent = frame.map(|frame| self.to.try_send(frame));
        if !matches!(sent, Some(Ok(()))) {
            self.waiting.fetch_sub(size, Relaxed);
            feed.has_gap.store(true, Relaxed);
            feed.has_ended.store(matches!(sent, Some(Err(TrySendError::Disconnected(_)))), Relaxed);
        }
    }
}

/// The writing thread's state.
struct Writer {
    shared: Arc<Shared>,
    name: String,
    who: Who,
    waiting: Arc<AtomicUsize>,
    taps: Arc<Mutex<Vec<Tap>>>,
    muxer: Muxer,
    file: Option<(File, PathBuf)>,
    /// Bytes written since the folder was looked at.
    unseen: u64,
}

impl Writer {
    fn new(shared: Arc<Shared>, name: &str, who: Who, recorder: &Recorder) -> Self {
        let muxer = Muxer::new(Limits { time: shared.segment, bytes: None });
        let (waiting, taps) = (recorder.waiting.clone(), recorder.taps.clone());
        Self { shared, name: name.into(), who, waiting, taps, muxer, file: None, unseen: 0 }
    }

    fn run(mut self, from: &Receiver<Frame>) {
        if let Err(why) = self.write_all(from) {
            if self.file.is_none() {
                self.tell_end(String::new(), &why);
            }
            self.close(&why);
        }
        self.close("the peer is gone, or the call is over");
        self.shared.running.fetch_sub(1, Relaxed);
    }

    fn write_all(&mut self, from: &Receiver<Frame>) -> Result<(), String> {
        for frame in from {
            self.waiting.fetch_sub(frame.bytes.len(), Relaxed);
            for (stream, tap) in lock(&self.taps).iter().enumerate() {
                self.muxer.expect(stream, tap.is_video);
            }
            self.muxer.limit_bytes(self.shared.most_of_a_file());
            let writes = self.muxer.frame(frame)?;
            self.carry_out(writes)?;
        }
        let writes = self.muxer.finish();
        self.carry_out(writes)
    }

    fn carry_out(&mut self, writes: Vec<Write>) -> Result<(), String> {
        for write in writes {
            match write {
                Write::NewFile => self.begin().map_err(|error| error.to_string())?,
                Write::Bytes(bytes) => self.append(&bytes).map_err(|error| error.to_string())?,
                Write::AskKeyFrame(stream) => {
                    let pad = lock(&self.taps).get(stream).and_then(|tap| tap.pad.upgrade());
                    pad.map(|pad| pad.send_event(crate::media::encode::keyframes::request()));
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.close("a new file begins");
        self.make_room();
        let (file, path) = self.shared.create(&self.name)?;
        self.shared.open().insert(path.clone());
        let event = Event::RecordStarted { file: path.display().to_string() };
        self.shared.tell(self.who.clone(), event);
        self.file = Some((file, path));
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some((file, _)) = &mut self.file else { return Ok(()) };
        file.write_all(bytes)?;
        self.unseen += bytes.len() as u64;
        if self.unseen > self.shared.most_of_a_file().map_or(LOOK_AFTER, |most| LOOK_AFTER.min(most)) {
            self.make_room();
        }
        Ok(())
    }

    fn make_room(&mut self) {
        self.unseen = 0;
        if let Some(limit) = self.shared.max_disk {
            self.shared.make_room(limit);
        }
    }

    /// Ends the file.
    fn close(&mut self, reason: &str) {
        if let Some((_, path)) = self.file.take() {
            self.shared.open().remove(&path);
            self.tell_end(path.display().to_string(), reason);
        }
    }

    fn tell_end(&self, file: String, reason: &str) {
        self.shared.tell(self.who.clone(), Event::RecordEnded { file, reason: reason.into() });
    }
}

/// The lock of a mutex, whatever happened to its last owner.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offer(recorder: &Recorder, feed: &Feed, bytes: usize) {
        let mut buffer = gst::Buffer::with_size(bytes).unwrap();
        buffer.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        recorder.take(feed, gst::Caps::new_empty_simple("video/x-vp8"), &buffer);
    }

    fn recorder() -> (Recorder, Receiver<Frame>, Feed, gst::Pad) {
        gst::init().unwrap();
        let (recorder, from) = Recorder::new();
        let pad = gst::Pad::new(gst::PadDirection::Src);
        let feed = recorder.feed(&pad, true);
        (recorder, from, feed, pad)
    }

    #[test]
    fn a_frame_after_dropped_ones_is_marked_and_nothing_waits_beyond_the_bounds() {
        let (recorder, from, feed, _pad) = recorder();
        offer(&recorder, &feed, MAX_BYTES);
        offer(&recorder, &feed, 1);
        assert_eq!(recorder.waiting.load(Relaxed), MAX_BYTES);
        recorder.waiting.store(0, Relaxed);
        for _ in 0..MAX_FRAMES {
            offer(&recorder, &feed, 1);
        }
        let gaps: Vec<bool> = from.try_iter().map(|frame| frame.follows_gap).collect();
        assert_eq!((gaps.len(), &gaps[..3]), (MAX_FRAMES, &[false, true, false][..]));
        assert_eq!(recorder.waiting.load(Relaxed), MAX_FRAMES - 1, "the last one found no place");
        offer(&recorder, &feed, 1);
        assert!(from.recv().unwrap().follows_gap, "for frames as for bytes");
    }

    #[test]
    fn streams_are_known_however_many_frames_wait() {
        let (recorder, from, feed, pad) = recorder();
        for _ in 0..=MAX_FRAMES {
            offer(&recorder, &feed, 1);
        }
        let late = recorder.feed(&pad, false);
        assert_eq!((late.stream, lock(&recorder.taps).len()), (1, 2));
        drop(from);
        offer(&recorder, &feed, 1);
        assert!(feed.has_ended.load(Relaxed));
    }
}
