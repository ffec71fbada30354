//! Makes a video encoder follow the paths of its peers. All changes are made on the encoder's own thread, between two
//! frames.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::{
    codec::Rate,
    encoder,
    share::Share,
    steps::{Picture, Step, Steps},
    strain::Strain,
    tiers::{self, Tier},
};

/// A change of the bit rate that is smaller than one part in this number is not made.
const GRAIN: u64 = 25;

/// The peers of an encoder, by their shares.
#[derive(Debug, Clone, Default)]
pub(super) struct Shares(Arc<Mutex<Vec<Entry>>>);

#[derive(Debug)]
struct Entry {
    share: Share,
    /// Whether the peer is about to get another encoder.
    leaves: bool,
}

impl Shares {
    fn entries(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, share: &Share) {
        self.entries().push(Entry { share: share.clone(), leaves: false });
    }

    pub(super) fn remove(&self, share: &Share) {
        let mut all = self.entries();
        if let Some(place) = all.iter().position(|it| it.share.is(share)) {
            all.swap_remove(place);
        }
    }

    /// The peer is about to get another encoder, or stays after all.
    pub(super) fn leaves(&self, share: &Share, leaves: bool) {
        self.entries().iter_mut().filter(|it| it.share.is(share)).for_each(|it| it.leaves = leaves);
    }

    /// The bit rate for all of them, if there are any ([`tiers::rate`]).
    pub(super) fn bits(&self, enough: u64) -> Option<u64> {
        let all = self.entries();
        let shares = |leaves| all.iter().filter(move |it| it.leaves == leaves).map(|it| it.share.bits());
        tiers::rate(shares(false), enough).or_else(|| tiers::rate(shares(true), enough))
    }

    /// The losses of the worst path, in percent.
    fn lost(&self) -> u32 {
        self.entries().iter().map(|it| it.share.lost()).max().unwrap_or(0)
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
    /// What is enough for any peer, before cameras share it.
    enough: u64,
    /// How many encoders share the path of a peer.
    cameras: u64,
    bits: u64,
    steps: Steps,
    strain: Strain,
    /// The steps by which the picture is reduced because of it.
    reduced: usize,
    step: Step,
    /// Counts frames.
    frame: u32,
}

/// The elements that follow.
#[derive(Debug)]
pub(super) struct Chain {
    /// The encoder's entry.
    pub(super) entry: gst_app::AppSrc,
    /// Sets the size behind a scaler.
    pub(super) filter: gst::Element,
    /// The encoder.
    pub(super) encoder: gst::Element,
    /// How it takes its bit rate.
    pub(super) rate: Rate,
}

/// Lets the encoder in `chain`, of `tier` and one of `cameras`, follow its part of what its peers' paths carry, up to the bit rate of
/// `picture`.
pub(super) fn follow(chain: Chain, picture: Picture, tier: Tier, shares: Shares, cameras: u64) {
    let Some(pad) = chain.entry.static_pad("src") else { return };
    let Picture { width, height, bits, .. } = picture;
    let cameras = cameras.max(1);
    let steps = Steps::new(picture, tier);
    let control = Control {
        born: Instant::now(),
        shares,
        most: bits,
        enough: picture.enough(tier).saturating_mul(cameras),
        cameras,
        bits,
        strain: Strain::new(steps.below()),
        reduced: 0,
        steps,
        step: Step { size: tier.divisor(), frames: 1 },
        frame: 0,
    };
    chain.filter.set_property("caps", size_caps(width, height, tier.divisor()));
    let control = Mutex::new(control);
    let (filter, encoder) = (chain.filter.downgrade(), chain.encoder.downgrade());
    let entry = chain.entry.downgrade();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let waiting = entry.upgrade().map_or(Duration::ZERO, |entry| entry.current_level_time().into());
        let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(filter), Some(encoder)) = (filter.upgrade(), encoder.upgrade()) else {
            return gst::PadProbeReturn::Ok;
        };
        if let Some(bits) = control.new_bits() {
            encoder::set_bitrate(&encoder, chain.rate, u32::try_from(bits).unwrap_or(u32::MAX));
        }
        if let Some(size) = control.new_size(waiting) {
            filter.set_property("caps", size_caps(width, height, size));
        }
        // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
        if control.takes_frame() { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

impl Control {
    /// The bit rate, if it changes now.
    fn new_bits(&mut self) -> Option<u64> {
        let bits = self.shares.bits(self.enough).map_or(self.most, |bits| bits / self.cameras).min(self.most);
        let changes = bits.abs_diff(self.bits) > self.bits / GRAIN || bits == self.most && self.bits != bits;
        if changes {
            self.bits = bits;
        }
        changes.then_some(bits)
    }

    /// What the size is divided by, if that changes now. The frames behind this one last for `waiting`.
    fn new_size(&mut self, waiting: Duration) -> Option<u32> {
        let now = self.born.elapsed();
        let least = self.strain.frame(now, waiting);
        let reduced = std::mem::replace(&mut self.reduced, least);
        if least > reduced {
            tracing::info!(steps = least, "the encoder is too slow: the picture is reduced");
        } else if least < reduced {
            tracing::info!(steps = least, "the encoder keeps up: a larger picture is tried");
        }
        let before = std::mem::replace(&mut self.step, self.steps.choose(now, self.bits, least));
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
    fn the_slowest_of_similar_paths_decides_the_bit_rate() {
        let (shares, good, bad) = (Shares::default(), Share::new(900), Share::new(700));
        [&good, &bad].into_iter().for_each(|share| shares.add(share));
        assert_eq!(shares.bits(u64::MAX), Some(700));
        bad.set(100, 0);
        assert_eq!(shares.bits(u64::MAX), Some(900), "it gets another encoder");
        assert_eq!(shares.bits(80), Some(100), "it has no better choice");
        bad.set(700, 0);
        shares.leaves(&bad, true);
        assert_eq!(shares.bits(u64::MAX), Some(900));
        shares.remove(&good);
        assert_eq!(shares.bits(u64::MAX), Some(700), "it has not left yet");
        shares.leaves(&bad, false);
        assert_eq!(shares.bits(u64::MAX), Some(700));
        shares.remove(&bad);
        assert_eq!(shares.bits(u64::MAX), None);
    }
}
