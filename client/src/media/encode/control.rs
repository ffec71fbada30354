//! Makes a video encoder follow the paths of its peers. All changes are made on the encoder's own thread, between two
//! frames.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
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

    /// The largest share, if there is one: a bad path lowers no other peer's picture.
    pub(super) fn bits(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Share::bits).max()
    }

    /// The losses of the worst path, in percent.
    fn lost(&self) -> u32 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().map(Share::lost).max().unwrap_or(0)
    }
}

/// Opus packets carry a copy of the packet before only if losses are expected; more than this makes the sound itself worse.
const MOST_LOST: u32 = 25;

/// Lets an Opus encoder expect the losses of the worst path.
pub(super) fn expect_losses(encoder: &gst::Element, shares: Shares) {
    let name = "packet-loss-percentage";
    let Some(pad) = encoder.static_pad("sink").filter(|_| encoder.has_property(name)) else { return };
    let (encoder, expected) = (encoder.downgrade(), AtomicU32::new(0));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let lost = shares.lost().min(MOST_LOST);
        if expected.swap(lost, Relaxed) != lost
            && let Some(encoder) = encoder.upgrade()
        {
            encoder.set_property(name, i32::try_from(lost).unwrap_or(0));
        }
        gst::PadProbeReturn::Ok
    });
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_is_protected_as_much_as_the_worst_path_needs() {
        gst::init().unwrap();
        let pipeline = gst::parse::launch(
            "audiotestsrc num-buffers=50 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 \
             ! opusenc name=opus inband-fec=true ! fakesink",
        );
        let pipeline = pipeline.unwrap().downcast::<gst::Pipeline>().unwrap();
        let encoder = pipeline.by_name("opus").unwrap();
        let (shares, good, bad) = (Shares::default(), Share::new(1), Share::new(1));
        bad.set(1, 7);
        [&good, &bad].into_iter().for_each(|share| shares.add(share));
        expect_losses(&encoder, shares.clone());
        let run = || {
            pipeline.set_state(gst::State::Playing).unwrap();
            let end = pipeline.bus().unwrap().timed_pop_filtered(
                gst::ClockTime::from_seconds(20),
                &[gst::MessageType::Eos, gst::MessageType::Error],
            );
            assert_eq!(end.expect("an end").type_(), gst::MessageType::Eos);
            pipeline.set_state(gst::State::Null).unwrap();
            encoder.property::<i32>("packet-loss-percentage")
        };
        assert_eq!(run(), 7);
        bad.set(1, 90);
        assert_eq!(run(), 25);
        shares.remove(&bad);
        assert_eq!(run(), 0);
    }

    #[test]
    fn the_best_path_decides_the_bit_rate() {
        let (shares, good, bad) = (Shares::default(), Share::new(900), Share::new(100));
        [&good, &bad].into_iter().for_each(|share| shares.add(share));
        assert_eq!(shares.bits(), Some(900));
        good.set(500, 0);
        assert_eq!(shares.bits(), Some(500));
        shares.remove(&good);
        assert_eq!(shares.bits(), Some(100));
        shares.remove(&bad);
        assert_eq!(shares.bits(), None);
    }
}
