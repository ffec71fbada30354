//! Recordings of the media as they are sent, without transcoding, and snapshots (`--record`, `--snapshot`).
//!
//! ```text
//! webrtcbin → depayloader ─┬→ decoder ─┬→ …
//!                          │           └→ snapshot: one frame → JPEG
//!                          └→ recorder: bounded queue → muxer (pure) → file
//! ```
//!
//! Pure: `ebml` writes Matroska, `track` knows codecs, `muxer` decides where files begin, `shelf` names files and
//! decides which ones make room. A disk that is slow or full never disturbs a call.

mod ebml;
mod muxer;
mod own;
mod recorder;
mod shelf;
mod snapshot;
mod track;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_std::channel::Sender;

pub use self::{own::Own, recorder::Recorder, snapshot::Camera};
use crate::{
    cli::Recording,
    data::{Told, floor::Who, name_of},
    events::Event,
    exit::{ExitCode, Failure},
    media::source::Source,
};

/// At the end of the process: how long the last frames may take, and how often that is looked at.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(10);
/// Recordings, or pictures, of one name and second. Uids that differ may have the same name, and a room has up to 500 members
/// by default.
const MAX_AGAIN: u32 = 512;

/// All recordings and snapshots of this process.
#[derive(Debug, Default)]
pub struct Archive(Option<Arc<Shared>>);

/// What they share.
#[derive(Debug)]
struct Shared {
    folder: Option<PathBuf>,
    /// Whether our own media are recorded.
    own: bool,
    segment: Option<Duration>,
    max_disk: Option<u64>,
    snapshot: Option<PathBuf>,
    told: Sender<Told>,
    /// The number of the latest picture that was asked for.
    wanted: AtomicU64,
    /// Held while a picture is stored.
    storing: Mutex<()>,
    /// The files that are written to.
    open: Mutex<BTreeSet<PathBuf>>,
    running: AtomicUsize,
}

/// What is done with the media of one peer.
#[derive(Debug, Clone, Default)]
pub struct Taps {
    recorder: Option<Arc<Recorder>>,
    camera: Option<Arc<Camera>>,
}

impl Archive {
    /// Prepares recordings and snapshots; `told` takes their events.
    pub fn new(flags: &Recording, told: &Sender<Told>) -> Result<Self, Failure> {
        if flags.folder.is_none() && flags.snapshot.is_none() {
            return Ok(Self::default());
        }
        if let Some(folder) = &flags.folder {
            let failed =
                |error| Failure::new(ExitCode::Usage, format!("--record {}: {error}", folder.display()));
            fs::create_dir_all(folder).map_err(failed)?;
        }
        Ok(Self(Some(Arc::new(Shared {
            folder: flags.folder.clone(),
            own: flags.record_own,
            segment: flags.record_segment,
            max_disk: flags.record_max_disk,
            snapshot: flags.snapshot.clone(),
            told: told.clone(),
            wanted: AtomicU64::new(1),
            storing: Mutex::default(),
            open: Mutex::default(),
            running: AtomicUsize::new(0),
        }))))
    }

    /// What to do with a peer's media.
    pub fn taps(&self, who: Who) -> Taps {
        let Some(shared) = &self.0 else { return Taps::default() };
        let name = name_of(&who).to_owned();
        let recorder = shared.folder.as_ref().and_then(|_| Recorder::start(shared, &name, who.clone()));
        let camera = shared.snapshot.as_ref().map(|_| Camera::new(shared, &name, who));
        Taps { recorder, camera }
    }

    /// Records our own media, if that is wanted. `who` is our own uid.
    pub fn own(&self, source: &Source, who: Who) -> Option<Own> {
        let shared = self.0.as_ref().filter(|shared| shared.own)?;
        let recorder = Recorder::start(shared, name_of(&who), who.clone())?;
        Own::start(source, recorder)
            .inspect_err(|error| tracing::warn!("no recording of our media: {error}"))
            .ok()
    }

    /// Takes a picture of each peer.
    pub fn snap(&self) {
        if let Some(shared) = &self.0 {
            shared.wanted.fetch_add(1, Relaxed);
        }
    }

    /// Waits until everything is written, within a limit. Call it when all peers are closed.
    pub fn close(&self) {
        let until = Instant::now() + GOODBYE_LIMIT;
        let is_running = || self.0.as_ref().is_some_and(|shared| shared.running.load(Relaxed) > 0);
        while is_running() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }
}

impl Taps {
    /// Encoded media pass this source pad.
    pub fn encoded(&self, pad: &gst::Pad, is_video: bool) {
        self.recorder.iter().for_each(|recorder| recorder.tap(pad, is_video));
    }

    /// Decoded pictures pass this source pad.
    pub fn decoded(&self, pad: &gst::Pad) {
        self.camera.iter().for_each(|camera| camera.tap(pad));
    }
}

impl Shared {
    fn tell(&self, who: Who, event: Event) {
        let _ = self.told.try_send((who, event));
    }

    fn open(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        recorder::lock(&self.open)
    }

    /// A new file for a recording of the peer `name`.
    fn create(&self, name: &str) -> io::Result<(File, PathBuf)> {
        let folder = self.folder.as_ref().ok_or(io::ErrorKind::NotFound)?;
        under_a_free_name(folder, name, seconds(), shelf::EXTENSION, |path| File::create_new(path))
    }

    /// The most bytes of one file, if all recordings together have a limit.
    fn most_of_a_file(&self) -> Option<u64> {
        self.max_disk.map(|limit| shelf::share(limit, self.running.load(Relaxed)))
    }

    /// Removes the oldest finished recordings if there are too many.
    fn make_room(&self, limit: u64) {
        let Some(folder) = &self.folder else { return };
        // One look at a time: two would remove twice as much.
        let open = self.open();
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let recordings = entries.filter_map(|entry| {
            let name = entry.file_name().into_string().ok().filter(|name| shelf::is_ours(name))?;
            let data = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            let changed = data.modified().ok()?.duration_since(UNIX_EPOCH).ok()?.as_millis();
            let changed = u64::try_from(changed).ok()?;
            let is_open = open.contains(&entry.path());
            Some(shelf::Recording { name, bytes: data.len(), changed, is_open })
        });
        for name in shelf::surplus(recordings.collect(), limit) {
            if let Err(error) = fs::remove_file(folder.join(&name)) {
                tracing::warn!("{name} cannot be removed: {error}");
            }
        }
    }
}

/// Seconds since 1970.
fn seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// Makes a file in this folder, named after the peer and the time. If `make` finds that it exists, it gets another name.
fn under_a_free_name<T>(
    folder: &Path,
    name: &str,
    seconds: u64,
    extension: &str,
    make: impl Fn(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    for again in 0..MAX_AGAIN {
        let path = folder.join(shelf::name(name, seconds, again, extension));
        match make(&path) {
            Ok(made) => return Ok((made, path)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other(format!("too many files of {} in this second", shelf::sanitised(name))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_one_name_and_second_are_bounded_and_none_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let make =
            |second| under_a_free_name(folder.path(), "anna", second, ".mkv", |path| File::create_new(path));
        assert_eq!((0..600).filter(|_| make(0).is_ok()).count(), MAX_AGAIN as usize);
        assert!(make(0).unwrap_err().to_string().contains("too many files of anna"));
        assert!(make(1).is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), MAX_AGAIN as usize + 1);
    }
}
