//! Writes the media of one peer: streaming threads hand over frames and never wait, one thread writes.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use gst::prelude::*;

use super::{
    Shared,
    muxer::{Frame, Limits, Muxer, Write},
    shelf,
};
use crate::{data::floor::Who, events::Event};

/// Frames and bytes that may wait for the disk. Further ones are dropped.
const MAX_FRAMES: usize = 4096;
const MAX_BYTES: usize = 32 << 20;
/// With a limit for the disk, a file is at most this part of it, so that finished files can make room.
const FILES_PER_DISK: u64 = 8;
/// Bytes between two looks at the folder.
const LOOK_AFTER: u64 = 1 << 20;

enum Message {
    /// A stream will come.
    Expect {
        stream: usize,
        is_video: bool,
        pad: gst::glib::WeakRef<gst::Pad>,
    },
    Frame(Frame),
    Lost(usize),
}

/// The recording of one peer. It ends when this is dropped.
pub struct Recorder {
    to: SyncSender<Message>,
    waiting: Arc<AtomicUsize>,
    streams: AtomicUsize,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts the recording of the peer `who`, under this name.
    pub(super) fn start(shared: &Arc<Shared>, name: &str, who: Who) -> Option<Arc<Self>> {
        let (to, from) = sync_channel(MAX_FRAMES);
        let waiting = Arc::new(AtomicUsize::new(0));
        let writer = Writer::new(shared.clone(), name, who, waiting.clone());
        shared.running.fetch_add(1, Relaxed);
        let work = move || writer.run(&from);
        let spawned = thread::Builder::new().name("record".into()).spawn(work);
        if spawned.is_err() {
            shared.running.fetch_sub(1, Relaxed);
        }
        spawned.ok().map(|_| Arc::new(Self { to, waiting, streams: AtomicUsize::new(0) }))
    }

    /// Records the encoded media that pass this source pad.
    pub fn tap(self: &Arc<Self>, pad: &gst::Pad, is_video: bool) {
        let stream = self.streams.fetch_add(1, Relaxed);
        let _ = self.to.try_send(Message::Expect { stream, is_video, pad: pad.downgrade() });
        let (this, ended) = (Arc::downgrade(self), AtomicBool::new(false));
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if !ended.load(Relaxed)
                && let (Some(this), Some(buffer)) = (this.upgrade(), info.buffer())
            {
                ended.store(!this.take(stream, pad, buffer), Relaxed);
            }
            gst::PadProbeReturn::Ok
        });
    }

    /// Hands a frame over; false if the recording has ended.
    fn take(&self, stream: usize, pad: &gst::Pad, buffer: &gst::BufferRef) -> bool {
        let (Some(caps), Some(time)) = (pad.current_caps(), buffer.pts()) else { return true };
        let Ok(bytes) = buffer.map_readable() else { return true };
        let size = bytes.size();
        let frame = Frame {
            stream,
            caps,
            time: Duration::from_nanos(time.nseconds()),
            is_key: !buffer.flags().contains(gst::BufferFlags::DELTA_UNIT),
            bytes: bytes.to_vec(),
        };
        if self.waiting.fetch_add(size, Relaxed) + size > MAX_BYTES {
            self.waiting.fetch_sub(size, Relaxed);
            return !matches!(
                self.to.try_send(Message::Lost(stream)),
                Err(std::sync::mpsc::TrySendError::Disconnected(_))
            );
        }
        match self.to.try_send(Message::Frame(frame)) {
            Ok(()) => true,
            Err(error) => {
                self.waiting.fetch_sub(size, Relaxed);
                matches!(error, std::sync::mpsc::TrySendError::Full(_))
            }
        }
    }
}

/// The writing thread's state.
struct Writer {
    shared: Arc<Shared>,
    name: String,
    who: Who,
    waiting: Arc<AtomicUsize>,
    muxer: Muxer,
    pads: Vec<(usize, gst::glib::WeakRef<gst::Pad>)>,
    file: Option<(File, PathBuf)>,
    /// Bytes written since the folder was looked at.
    unseen: u64,
}

impl Writer {
    fn new(shared: Arc<Shared>, name: &str, who: Who, waiting: Arc<AtomicUsize>) -> Self {
        let bytes = shared.max_disk.map(|limit| limit / FILES_PER_DISK);
        let muxer = Muxer::new(Limits { time: shared.segment, bytes });
        Self { shared, name: name.into(), who, waiting, muxer, pads: Vec::new(), file: None, unseen: 0 }
    }

    fn run(mut self, from: &Receiver<Message>) {
        if let Err(why) = self.write_all(from) {
            if self.file.is_none() {
                self.tell_end(String::new(), &why);
            }
            self.close(&why);
        }
        self.close("the peer is gone, or the call is over");
        self.shared.running.fetch_sub(1, Relaxed);
    }

    fn write_all(&mut self, from: &Receiver<Message>) -> Result<(), String> {
        for message in from {
            match message {
                Message::Expect { stream, is_video, pad } => {
                    self.muxer.expect(stream, is_video);
                    self.pads.push((stream, pad));
                }
                Message::Lost(stream) => self.muxer.lost(stream),
                Message::Frame(frame) => {
                    self.waiting.fetch_sub(frame.bytes.len(), Relaxed);
                    let writes = self.muxer.frame(frame)?;
                    self.carry_out(writes)?;
                }
            }
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
                    let pad =
                        self.pads.iter().find(|(id, _)| *id == stream).and_then(|(_, pad)| pad.upgrade());
                    if let Some(pad) = pad {
                        pad.send_event(crate::media::encode::keyframes::request());
                    }
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) -> io::Result<()> {
        self.close("a new file begins");
        self.make_room();
        let (file, path) = self.shared.create(&self.name, shelf::EXTENSION)?;
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
        let most = self.shared.max_disk.map_or(LOOK_AFTER, |limit| LOOK_AFTER.min(limit / FILES_PER_DISK));
        if self.unseen > most {
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

/// A new file that nobody else has, for writing.
pub(super) fn create_new(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// The lock of a mutex, whatever happened to its last owner.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
