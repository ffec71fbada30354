//! Writes the current picture of a peer as a JPEG.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use gst::prelude::*;

use super::{Shared, recorder, seconds, under_a_free_name};
use crate::{data::floor::Who, events::Event};

/// What snapshots end with.
const EXTENSION: &str = ".jpg";
/// How long the encoder may take.
const LIMIT: gst::ClockTime = gst::ClockTime::from_seconds(5);

/// Takes the pictures of one peer.
#[derive(Debug)]
pub struct Camera {
    shared: Arc<Shared>,
    name: String,
    who: Who,
    /// The number of the last picture.
    taken: AtomicU64,
}

impl Camera {
    pub(super) fn new(shared: &Arc<Shared>, name: &str, who: Who) -> Arc<Self> {
        Arc::new(Self { shared: shared.clone(), name: name.into(), who, taken: AtomicU64::new(0) })
    }

    /// Takes pictures of the decoded frames that pass this source pad.
    pub fn tap(self: &Arc<Self>, pad: &gst::Pad) {
        let this = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let wanted = this.shared.wanted.load(Relaxed);
            if this.taken.load(Relaxed) < wanted
                && let (Some(buffer), Some(caps)) = (info.buffer(), pad.current_caps())
            {
                this.taken.store(wanted, Relaxed);
                // Not on this thread: the frame is wanted on the screen.
                let (of, buffer) = (this.clone(), buffer.clone());
                let work = move || of.write(&buffer, &caps);
                let _ = thread::Builder::new().name("snapshot".into()).spawn(work);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn write(&self, picture: &gst::Buffer, caps: &gst::Caps) {
        let event = match encode(picture, caps).and_then(|jpeg| self.store(&jpeg)) {
            Ok(path) => Event::Snapshot { file: path.display().to_string() },
            Err(error) => Event::SnapshotFailed { reason: error.to_string() },
        };
        self.shared.tell(self.who.clone(), event);
    }

    fn store(&self, jpeg: &[u8]) -> io::Result<PathBuf> {
        let to = self.shared.snapshot.as_ref().ok_or(io::ErrorKind::NotFound)?;
        // One at a time: all pictures are first written to the same file.
        let _alone = recorder::lock(&self.shared.storing);
        store(to, &self.name, seconds(), |new| fs::write(new, jpeg))
    }
}

/// Stores a picture as `to`, or in that folder. `write` writes it to a hidden file beside, which then gets its name: a reader never
/// sees half a picture.
fn store(
    to: &Path,
    name: &str,
    seconds: u64,
    write: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let is_folder = to.is_dir();
    let folder = if is_folder { to } else { to.parent().unwrap_or(Path::new("")) };
    let new = folder.join(format!(".callbin-{}.new", process::id()));
    let rename = |path: &Path| match is_folder && path.symlink_metadata().is_ok() {
        true => Err(io::ErrorKind::AlreadyExists.into()),
        false => fs::rename(&new, path),
    };
    let stored = write(&new).and_then(|()| match is_folder {
        true => under_a_free_name(to, name, seconds, EXTENSION, rename).map(|((), path)| path),
        false => rename(to).map(|()| to.to_owned()),
    });
    if stored.is_err() {
        let _ = fs::remove_file(&new);
    }
    stored
}

fn encode(picture: &gst::Buffer, caps: &gst::Caps) -> io::Result<Vec<u8>> {
    let sample = gst::Sample::builder().buffer(picture).caps(caps).build();
    let jpeg = gst::Caps::builder("image/jpeg").build();
    let sample = gst_video::convert_sample(&sample, &jpeg, Some(LIMIT)).map_err(io::Error::other)?;
    let buffer = sample.buffer().ok_or(io::ErrorKind::InvalidData)?;
    Ok(buffer.map_readable().map_err(io::Error::other)?.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
        let mut names: Vec<_> = fs::read_dir(folder).unwrap().map(name).collect();
        names.sort();
        names
    }

    #[test]
    fn no_picture_is_visible_before_it_is_complete() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("now.jpg");
        fs::write(&file, "old").unwrap();
        for to in [folder.path(), &file] {
            let stored = store(to, "anna", 0, |new| {
                fs::write(new, "ne")?;
                assert_eq!(names(folder.path()).iter().filter(|it| !it.starts_with('.')).count(), 1);
                assert_eq!(fs::read(&file)?, b"old");
                fs::write(new, "new")
            });
            let stored = stored.unwrap();
            assert_eq!(fs::read(&stored).unwrap(), b"new");
            if to == folder.path() {
                fs::remove_file(stored).unwrap();
            }
        }
        assert_eq!(names(folder.path()), ["now.jpg"]);
    }

    #[test]
    fn in_a_folder_no_picture_is_replaced_and_a_failure_leaves_none() {
        let folder = tempfile::tempdir().unwrap();
        for text in ["a", "b"] {
            store(folder.path(), "anna", 0, |new| fs::write(new, text)).unwrap();
        }
        let full = |new: &Path| fs::write(new, "half").and(Err(io::ErrorKind::StorageFull.into()));
        assert!(store(folder.path(), "anna", 0, full).is_err());
        assert_eq!(names(folder.path()), ["anna-19700101T000000Z-2.jpg", "anna-19700101T000000Z.jpg"]);
        assert_eq!(fs::read(folder.path().join("anna-19700101T000000Z.jpg")).unwrap(), b"a");
    }
}
