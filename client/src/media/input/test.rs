//! The test picture and the test sound.

use gst::prelude::*;

use crate::{
    cli::Media,
    exit::{ExitCode, Failure},
    media::{make, set_nick},
};

/// The test picture.
pub(super) fn video(media: &Media, pattern: Option<&str>) -> Result<gst::Element, Failure> {
    let src = make("videotestsrc")?;
    src.set_property("is-live", true);
    let pattern = pattern.unwrap_or(&media.sources.video_pattern);
    set_nick(&src, "pattern", pattern).map_err(|e| usage("--video-pattern", e))?;
    Ok(src)
}

/// The test sound.
pub(super) fn audio(media: &Media, wave: Option<&str>) -> Result<gst::Element, Failure> {
    let src = make("audiotestsrc")?;
    src.set_property("is-live", true);
    src.set_property("freq", f64::from(media.sources.audio_freq));
    src.set_property("volume", 0.25f64);
    // One Opus frame per buffer.
    src.set_property("samplesperbuffer", 960i32);
    let wave = wave.unwrap_or(&media.sources.audio_wave);
    set_nick(&src, "wave", wave).map_err(|e| usage("--audio-wave", e))?;
    Ok(src)
}

fn usage(flag: &str, problem: String) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {problem}"))
}
