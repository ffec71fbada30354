//! What a peer gets after a gap: nothing before the next key frame.
//!
//! A peer whose path is too thin for a moment loses the oldest frames of its queue. The frames that follow refer to them,
//! and RTP has no gap that would show the peer that its picture is wrong.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;

use super::keyframes;

/// What to do with a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pass,
    Drop,
    /// Drops it, and asks for a key frame.
    Ask,
}

/// Frames between two requests: about half a second.
const PATIENCE: u32 = 15;

/// The rule: the number of frames until the next request, while there is a gap. A second gap within the first one changes
/// nothing.
#[derive(Debug, Default)]
struct Gap(Option<u32>);

impl Gap {
    fn judge(&mut self, is_first_after_gap: bool, is_key: bool, may_ask: impl FnOnce() -> bool) -> Verdict {
        if is_key {
            self.0 = None;
            return Verdict::Pass;
        }
        if is_first_after_gap {
            self.0.get_or_insert(0);
        }
        let Some(wait) = &mut self.0 else { return Verdict::Pass };
        if *wait > 0 {
            *wait -= 1;
            return Verdict::Drop;
        }
        if !may_ask() {
            return Verdict::Drop;
        }
        *wait = PATIENCE - 1;
        Verdict::Ask
    }
}

/// Watches the video that leaves `appsrc`, the entry of a peer. `may_ask` says whether the peer may cause a key frame now: each
/// one costs all peers of the encoder bandwidth.
pub fn watch(appsrc: &gst_app::AppSrc, may_ask: impl Fn() -> bool + Send + Sync + 'static) {
    let Some(pad) = appsrc.static_pad("src") else { return };
    let gap = Mutex::new(Gap::default());
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let Some(flags) = info.buffer().map(|buffer| buffer.flags()) else { return gst::PadProbeReturn::Ok };
        let (discont, key) =
            (flags.contains(gst::BufferFlags::DISCONT), !flags.contains(gst::BufferFlags::DELTA_UNIT));
        let verdict = gap.lock().unwrap_or_else(PoisonError::into_inner).judge(discont, key, &may_ask);
        if verdict == Verdict::Ask {
            pad.send_event(keyframes::request());
        }
        // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
        if verdict == Verdict::Pass { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_gap_only_a_key_frame_passes() {
        let mut gap = Gap::default();
        let mut judge = |discont, key| gap.judge(discont, key, || true);
        assert_eq!(judge(true, true), Verdict::Pass, "the first frame of all");
        assert_eq!(judge(false, false), Verdict::Pass);
        assert_eq!(judge(true, false), Verdict::Ask);
        // Other gaps meanwhile are no reason to ask sooner.
        assert!((1..PATIENCE).all(|number| judge(number % 2 == 0, false) == Verdict::Drop));
        assert_eq!(judge(false, false), Verdict::Ask, "the request was lost");
        assert_eq!(judge(true, false), Verdict::Drop);
        assert_eq!(judge(true, true), Verdict::Pass);
        assert_eq!(judge(false, false), Verdict::Pass);
    }

    #[test]
    fn a_request_that_may_not_be_made_yet_is_made_as_soon_as_it_may() {
        let mut gap = Gap::default();
        assert_eq!(gap.judge(true, false, || false), Verdict::Drop);
        assert!((0..100).all(|number| gap.judge(number % 3 == 0, false, || false) == Verdict::Drop));
        assert_eq!(gap.judge(false, false, || true), Verdict::Ask);
        assert_eq!(gap.judge(false, false, || panic!("it was made just now")), Verdict::Drop);
    }

    #[test]
    fn a_full_queue_loses_frames_until_the_next_key_frame() {
        gst::init().unwrap();
        let appsrc = gst_app::AppSrc::builder().format(gst::Format::Time).build();
        crate::media::encode::configure(&appsrc);
        watch(&appsrc, || true);
        let sink = gst_app::AppSink::builder().sync(false).max_buffers(1).build();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many([appsrc.upcast_ref::<gst::Element>(), sink.upcast_ref()]).unwrap();
        appsrc.link(&sink).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        // 100 frames before any is taken: half a second fits.
        for number in 0..100 {
            let mut frame = gst::Buffer::from_slice([number]);
            let buffer = frame.get_mut().unwrap();
            buffer.set_pts(gst::ClockTime::from_mseconds(u64::from(number) * 33));
            buffer.set_duration(gst::ClockTime::from_mseconds(33));
            if number != 0 && number != 95 {
                buffer.set_flags(gst::BufferFlags::DELTA_UNIT);
            }
            appsrc.push_buffer(frame).unwrap();
        }
        let pull = || sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a frame in time");
        let number = || pull().buffer().unwrap().map_readable().unwrap()[0];
        let taken: Vec<u8> = std::iter::repeat_with(number).take_while(|number| *number != 99).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        let first = taken.iter().take_while(|number| **number < 50).count();
        let expected = (0..first).map(|number| u8::try_from(number).unwrap()).chain(95..99);
        assert!(taken.iter().copied().eq(expected), "{taken:?}");
    }
}
