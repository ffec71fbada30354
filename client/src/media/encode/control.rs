//! Makes a video encoder follow the paths of its peers. All changes are made on the encoder's own thread, between two
//! frames.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    codec::Rate,
    encoder,
    share::Share,
    steps::{Step, Steps},
};

/// A bit rate is not changed for less than one part in so many.
const GRAIN: u64 = 25;

/// The peers of an encoder, by their shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<Vec<Share>>>);

impl Shares {
    pub(super) fn add(&self, share: &Share) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(share.clone());
    }

    pub(super) fn remove(&self, share: &Share) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = all.iter().position(|it| it.is(share)) {
            all.swap_remove(place);
        }
    }

    /// The largest share: a bad path lowers no other peer's picture.
    fn bits(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Share::bits).max()
    }
}

/// What an encoder is set to.
#[derive(Debug)]
struct Control {
    born: Instant,
    shares: Shares,
    /// The configured bit rate.
    most: u64,
    /// How many encoders share the path of a peer.
    cameras: u64,
    bits: u64,
    steps: Steps,
    step: Step,
    /// Counts frames.
    frame: u32,
}

/// The elements that follow.
#[derive(Debug)]
pub(super) struct Chain {
    /// The encoder's entry.
    pub(super) entry: gst::Element,
    /// Sets the size behind a scaler.
    pub(super) filter: gst::Element,
    /// The encoder.
    pub(super) encoder: gst::Element,
    /// How it takes its bit rate.
    pub(super) rate: Rate,
}

/// Lets the encoder in `chain`, one of `cameras`, follow its part of the largest of `shares`, up to `most` bit/s.
pub(super) fn follow(chain: Chain, raw: &gst::Caps, shares: Shares, most: u64, cameras: u64) {
    let Some((pad, info)) = chain.entry.static_pad("src").zip(gst_video::VideoInfo::from_caps(raw).ok())
    else {
        return;
    };
    let (width, height) = (info.width(), info.height());
    let fps = u32::try_from(info.fps().numer() / info.fps().denom().max(1)).unwrap_or(30);
    let control = Control {
        born: Instant::now(),
        shares,
        most,
        cameras: cameras.max(1),
        bits: most,
        steps: Steps::new(width, height, fps, most),
        step: Step { size: 1, frames: 1 },
        frame: 0,
    };
    let control = Mutex::new(control);
    let (filter, encoder) = (chain.filter.downgrade(), chain.encoder.downgrade());
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(filter), Some(encoder)) = (filter.upgrade(), encoder.upgrade()) else {
            return gst::PadProbeReturn::Ok;
        };
        if let Some(bits) = control.new_bits() {
            encoder::set_bitrate(&encoder, chain.rate, u32::try_from(bits).unwrap_or(u32::MAX));
        }
        if let Some(size) = control.new_size() {
            filter.set_property("caps", size_caps(width, height, size));
        }
        // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
        if control.takes_frame() { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

impl Control {
    /// The bit rate, if it changes now.
    fn new_bits(&mut self) -> Option<u64> {
        let bits = self.shares.bits().map_or(self.most, |bits| bits / self.cameras).min(self.most);
        let changes = bits.abs_diff(self.bits) > self.bits / GRAIN || bits == self.most && self.bits != bits;
        if changes {
            self.bits = bits;
        }
        changes.then_some(bits)
    }

    /// What the size is divided by, if that changes now.
    fn new_size(&mut self) -> Option<u32> {
        let now: Duration = self.born.elapsed();
        let before = std::mem::replace(&mut self.step, self.steps.choose(now, self.bits));
        (before.size != self.step.size).then_some(self.step.size)
    }

    fn takes_frame(&mut self) -> bool {
        self.frame = self.frame.wrapping_add(1);
        self.frame.is_multiple_of(self.step.frames)
    }
}

/// Caps of the picture divided by `size`, with even sides.
fn size_caps(width: u32, height: u32, size: u32) -> gst::Caps {
    let side = |side: u32| i32::try_from((side / size) & !1).unwrap_or(i32::MAX).max(2);
    let caps = gst::Caps::builder("video/x-raw");
    if size == 1 {
        return caps.build();
    }
    caps.field("width", side(width)).field("height", side(height)).build()
}
