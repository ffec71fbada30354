//! Writes the current picture of a peer as a JPEG.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use gst::prelude::*;

use super::{Shared, seconds, shelf, under_a_free_name};
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
        let Some(to) = &self.shared.snapshot else { return Err(io::ErrorKind::NotFound.into()) };
        if to.is_dir() {
            let make = |path: &Path| fs::File::create_new(path);
            let (file, path) = under_a_free_name(to, &self.name, seconds(), EXTENSION, make)?;
            drop(file);
            fs::write(&path, jpeg)?;
            return Ok(path);
        }
        // A reader of the file never sees half a picture.
        let new = Path::new(to).with_extension(format!("{}.new", shelf::sanitised(&self.name)));
        fs::write(&new, jpeg)?;
        fs::rename(&new, to)?;
        Ok(to.clone())
    }
}

fn encode(picture: &gst::Buffer, caps: &gst::Caps) -> io::Result<Vec<u8>> {
    let sample = gst::Sample::builder().buffer(picture).caps(caps).build();
    let jpeg = gst::Caps::builder("image/jpeg").build();
    let sample = gst_video::convert_sample(&sample, &jpeg, Some(LIMIT)).map_err(io::Error::other)?;
    let buffer = sample.buffer().ok_or(io::ErrorKind::InvalidData)?;
    Ok(buffer.map_readable().map_err(io::Error::other)?.to_vec())
}
