//! The encoders, tuned for low delay.

use std::time::Duration;

use gst::prelude::*;

use super::keyframes;
use crate::{cli::Media, exit::Failure, media::make};

/// Bit rate of the audio encoder, in bit/s.
pub const AUDIO_BITRATE: u32 = 32_000;

/// A VP8 encoder and the caps of its output.
pub(super) fn vp8(media: &Media) -> Result<(gst::Element, gst::Caps), Failure> {
    let encoder = make("vp8enc")?;
    let pixels = u32::from(media.size.width) * u32::from(media.size.height);
    // A second thread is worthwhile only for large pictures.
    let threads = if pixels > 640 * 480 { 2 } else { 1 };
    let bits = i32::try_from(media.bitrate.saturating_mul(1000)).unwrap_or(i32::MAX);
    encoder.set_property("deadline", 1i64);
    encoder.set_property("cpu-used", 8i32);
    encoder.set_property("threads", threads);
    encoder.set_property("target-bitrate", bits);
    encoder.set_property("keyframe-max-dist", i32::from(media.fps).saturating_mul(10));
    encoder.set_property("lag-in-frames", 0i32);
    // Drop frames that are too large even at the worst quality; limit a key frame to the bits of 100 ms.
    encoder.set_property("max-quantizer", 63i32);
    encoder.set_property("dropframe-threshold", 20i32);
    encoder.set_property("max-intra-bitrate", i32::from(media.fps).saturating_mul(10).max(300));
    encoder.set_property("buffer-size", 500i32);
    encoder.set_property("buffer-initial-size", 300i32);
    encoder.set_property("buffer-optimal-size", 400i32);
    encoder.set_property_from_str("end-usage", "cbr");
    encoder.set_property_from_str("error-resilient", "default");
    keyframes::limit(&encoder, Duration::from_millis(u64::from(media.keyframe_interval)));
    Ok((encoder, gst::Caps::builder("video/x-vp8").build()))
}

/// An Opus encoder and the caps of its output.
pub(super) fn opus() -> Result<(gst::Element, gst::Caps), Failure> {
    let encoder = make("opusenc")?;
    encoder.set_property("bitrate", i32::try_from(AUDIO_BITRATE).unwrap_or(i32::MAX));
    encoder.set_property("complexity", 4i32);
    encoder.set_property("inband-fec", true);
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000i32)
        .field("channels", 1i32)
        .field("channel-mapping-family", 0i32)
        .build();
    Ok((encoder, caps))
}
