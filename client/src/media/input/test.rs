//! The test picture and the test sound.

use gst::prelude::*;

use crate::{
    cli::Media,
    exit::{ExitCode, Failure},
    media::{make, set_nick},
};

/// The test picture and its raw caps.
pub(super) fn video(media: &Media) -> Result<(gst::Element, gst::Caps), Failure> {
    let src = make("videotestsrc")?;
    src.set_property("is-live", true);
    set_nick(&src, "pattern", &media.video_pattern).map_err(|e| usage("--video-pattern", e))?;
    let caps = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(i32::from(media.size.width))
        .height(i32::from(media.size.height))
        .framerate(gst::Fraction::new(i32::from(media.fps), 1))
        .build();
    Ok((src, caps))
}

/// The test sound and its raw caps.
pub(super) fn audio(media: &Media) -> Result<(gst::Element, gst::Caps), Failure> {
    let src = make("audiotestsrc")?;
    src.set_property("is-live", true);
    src.set_property("freq", f64::from(media.audio_freq));
    src.set_property("volume", 0.25f64);
    // One Opus frame per buffer.
    src.set_property("samplesperbuffer", 960i32);
    set_nick(&src, "wave", &media.audio_wave).map_err(|e| usage("--audio-wave", e))?;
    let caps = gst_audio::AudioCapsBuilder::new_interleaved()
        .format(gst_audio::AudioFormat::S16le)
        .rate(48_000)
        .channels(1)
        .build();
    Ok((src, caps))
}

fn usage(flag: &str, problem: String) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {problem}"))
}
