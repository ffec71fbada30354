//! The way of one peer's decoded media into the view: bounded, leaky, and nobody waits.

use std::sync::{Arc, Mutex, PoisonError};

use gst::prelude::*;

use super::stage::{Guest, Stage};
use crate::{exit::Failure, media::receive, sdp::Kind};

/// A picture that is not taken before the next ones come is old.
const MAX_FRAMES: u64 = 2;
/// Sound that waits longer is late.
const MAX_SOUND: gst::ClockTime = gst::ClockTime::from_mseconds(200);
/// A peer that changes the shape of its picture more often is no longer followed.
const MAX_SHAPES: u32 = 10_000;

/// One peer's place in the view. The peer leaves it when this is dropped.
#[derive(Debug)]
pub struct Seat {
    id: u64,
    name: Arc<str>,
    picture: Option<Door>,
    sound: Option<Door>,
}

/// Open until the seat is left: behind the lock, nothing of a peer can enter after its leaving.
type Door = Arc<Mutex<Option<Stage>>>;

impl Seat {
    pub(super) fn new(id: u64, name: &str, picture: Option<&Stage>, sound: Option<&Stage>) -> Self {
        let door = |stage: Option<&Stage>| stage.map(|stage| Arc::new(Mutex::new(Some(stage.clone()))));
        Self { id, name: name.into(), picture: door(picture), sound: door(sound) }
    }

    /// The sink for the peer's decoded media, for the peer's own pipeline. It never makes the decoder wait.
    pub fn sink(&self, kind: Kind) -> Result<gst::Element, Failure> {
        let door = if kind == Kind::Video { &self.picture } else { &self.sound };
        match door {
            Some(door) => Ok(self.sink_to(door.clone(), kind).upcast()),
            None => receive::null_sink(),
        }
    }

    fn sink_to(&self, door: Door, kind: Kind) -> gst_app::AppSink {
        let (id, name, feed) = (self.id, self.name.clone(), feed(kind));
        let mut seen: Option<gst::Caps> = None;
        let mut shapes = 0;
        let on_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if sample.caps() != seen.as_deref() && shapes < MAX_SHAPES {
                seen = sample.caps_owned();
                shapes += 1;
                if let (Some(caps), Some(stage)) = (&seen, &*lock(&door)) {
                    let guest = Guest { name: name.clone(), feed: feed.clone(), caps: caps.clone() };
                    stage.enter(id, guest);
                }
            }
            push(&feed, &sample);
            Ok(gst::FlowSuccess::Ok)
        };
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build();
        // It plays what comes when it comes: the jitter buffer has set the pace already.
        let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(2).drop(true).build();
        sink.set_property("enable-last-sample", false);
        sink.set_callbacks(callbacks);
        sink
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for door in [&self.picture, &self.sound].into_iter().flatten() {
            if let Some(stage) = lock(door).take() {
                stage.leave(self.id);
            }
        }
    }
}

fn lock(door: &Door) -> std::sync::MutexGuard<'_, Option<Stage>> {
    door.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the view takes a peer's medium from. What is not taken in time is dropped, the oldest first.
fn feed(kind: Kind) -> gst_app::AppSrc {
    let feed = gst_app::AppSrc::builder()
        .is_live(true)
        .do_timestamp(true)
        .format(gst::Format::Time)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .build();
    feed.set_max_bytes(0);
    match kind {
        Kind::Video => feed.set_max_buffers(MAX_FRAMES),
        _ => feed.set_max_time(MAX_SOUND),
    }
    feed
}

/// Stamped anew with the time of the view's own clock: one that the peer cannot influence.
fn push(feed: &gst_app::AppSrc, sample: &gst::Sample) {
    let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return };
    let is_picture = caps.structure(0).is_some_and(|it| it.name() == "video/x-raw");
    let mut buffer = buffer.copy();
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(gst::ClockTime::NONE);
        buffer.set_dts(gst::ClockTime::NONE);
        buffer.unset_flags(gst::BufferFlags::DISCONT);
        if is_picture {
            // It is to be seen until the next one comes, whenever that is.
            buffer.set_duration(gst::ClockTime::NONE);
        }
    }
    let caps = caps.to_owned();
    // Refused before the view has it in its pipeline, and after: as it should be.
    let _ = feed.push_sample(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
}
