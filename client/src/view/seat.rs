//! Feeds one peer's decoded media into the view: bounded, leaky, and never waiting.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;

use super::stage::{Guest, Stage};
use crate::{exit::Failure, media::receive, sdp::Kind};

/// Frames that may wait; older ones are dropped.
const MAX_FRAMES: u64 = 2;
/// Audio that may wait; older audio is dropped.
const MAX_SOUND: gst::ClockTime = gst::ClockTime::from_mseconds(200);
/// Changes of caps that the view follows; later ones are ignored.
const MAX_SHAPES: u32 = 10_000;

/// After more than this many looks without a frame, one per second, the last picture is removed.
const MAX_STILL: u32 = 3;

/// One peer's place in the view. Dropping it removes the peer.
#[derive(Debug)]
pub struct Seat {
    picture: Option<Door>,
    sound: Option<Door>,
}

/// Feeds one medium into its stage.
#[derive(Debug, Clone)]
struct Door {
    feed: gst_app::AppSrc,
    /// `None` once the seat is dropped; the lock ensures that the peer does not enter the stage afterwards.
    place: Arc<Mutex<Option<Place>>>,
}

#[derive(Debug)]
struct Place {
    id: u64,
    name: Arc<str>,
    stage: Stage,
    /// Whether a buffer came since the last look.
    fed: bool,
    /// Looks since the last buffer; initially as if none had come for long.
    still: u32,
}

impl Seat {
    pub(super) fn new(id: u64, name: &str, picture: Option<&Stage>, sound: Option<&Stage>) -> Self {
        let name: Arc<str> = name.into();
        let door = |stage: Option<&Stage>, kind| stage.map(|stage| Door::new(id, name.clone(), stage, kind));
        Self { picture: door(picture, Kind::Video), sound: door(sound, Kind::Audio) }
    }

    /// The sink for decoded media in the peer's own pipeline. It never blocks the decoder.
    pub fn sink(&self, kind: Kind) -> Result<gst::Element, Failure> {
        let door = if kind == Kind::Video { &self.picture } else { &self.sound };
        door.as_ref().map_or_else(receive::null_sink, |door| Ok(door.sink().upcast()))
    }

    /// Called once per second while the peer is connected: a peer without a picture gets a blank tile.
    pub fn look(&self) {
        if let Some(door) = &self.picture {
            door.look();
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        for door in [&self.picture, &self.sound].into_iter().flatten() {
            if let Some(place) = door.lock().take() {
                place.stage.leave(place.id);
            }
        }
    }
}

impl Door {
    fn new(id: u64, name: Arc<str>, stage: &Stage, kind: Kind) -> Self {
        let place = Place { id, name, stage: stage.clone(), fed: false, still: MAX_STILL };
        Self { feed: feed(kind), place: Arc::new(Mutex::new(Some(place))) }
    }

    fn sink(&self) -> gst_app::AppSink {
        let door = self.clone();
        let mut seen: Option<gst::Caps> = None;
        let mut shapes = 0;
        let on_sample = move |sink: &gst_app::AppSink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let changed = sample.caps() != seen.as_deref() && shapes < MAX_SHAPES;
            if changed {
                seen = sample.caps_owned();
                shapes += 1;
            }
            door.fed(seen.as_ref().filter(|_| changed));
            push(&door.feed, &sample);
            Ok(gst::FlowSuccess::Ok)
        };
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(on_sample).build();
        // No sync: the jitter buffer has set the pace already.
        let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(2).drop(true).build();
        sink.set_property("enable-last-sample", false);
        sink.set_callbacks(callbacks);
        sink
    }

    /// Records a buffer; `shape` has its caps if they changed.
    fn fed(&self, shape: Option<&gst::Caps>) {
        if let Some(place) = &mut *self.lock() {
            place.fed = true;
            if let Some(caps) = shape {
                place.enter(&self.feed, Some(caps.clone()));
            }
        }
    }

    fn look(&self) {
        let Some(place) = &mut *self.lock() else { return };
        place.still = if std::mem::take(&mut place.fed) { 0 } else { place.still.saturating_add(1) };
        if place.still == MAX_STILL + 1 {
            place.enter(&self.feed, None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Place>> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    fn enter(&self, feed: &gst_app::AppSrc, caps: Option<gst::Caps>) {
        self.stage.enter(self.id, Guest { name: self.name.clone(), feed: feed.clone(), caps });
    }
}

/// The view's source for a peer's medium. It drops the oldest buffers that are not taken in time.
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

/// Pushes a sample with a new timestamp from the view's clock, which the peer cannot influence.
pub(super) fn push(feed: &gst_app::AppSrc, sample: &gst::Sample) {
    // Before PLAYING there is no base time: timestamps would be hours ahead, and the mixer would wait until then.
    if feed.current_state() != gst::State::Playing {
        return;
    }
    let (Some(buffer), Some(caps)) = (sample.buffer(), sample.caps()) else { return };
    let is_picture = caps.structure(0).is_some_and(|it| it.name() == "video/x-raw");
    let mut buffer = buffer.copy();
    if let Some(buffer) = buffer.get_mut() {
        buffer.set_pts(gst::ClockTime::NONE);
        buffer.set_dts(gst::ClockTime::NONE);
        buffer.unset_flags(gst::BufferFlags::DISCONT);
        if is_picture {
            // It is visible until the next one comes, whenever that is.
            buffer.set_duration(gst::ClockTime::NONE);
        }
    }
    let caps = caps.to_owned();
    // Pushing may fail while the view starts or ends, which does not matter.
    let _ = feed.push_sample(&gst::Sample::builder().buffer(&buffer).caps(&caps).build());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_taken_before_there_is_a_time_to_stamp_it_with() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let feed = feed(Kind::Audio);
        let sink = gst_app::AppSink::builder().sync(false).build();
        pipeline.add_many([feed.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        feed.link(&sink).unwrap();
        let caps = gst::Caps::builder("audio/x-raw").build();
        let sample = gst::Sample::builder().buffer(&gst::Buffer::with_size(4).unwrap()).caps(&caps).build();
        for state in [gst::State::Null, gst::State::Ready, gst::State::Paused] {
            pipeline.set_state(state).unwrap();
            push(&feed, &sample);
            assert_eq!(feed.current_level_buffers(), 0, "{state:?}");
        }
        pipeline.set_state(gst::State::Playing).unwrap();
        push(&feed, &sample);
        let taken = sink.try_pull_sample(gst::ClockTime::from_seconds(5)).unwrap();
        assert!(taken.buffer().unwrap().pts().unwrap() < gst::ClockTime::from_seconds(60));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
