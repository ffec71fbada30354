//! The media source of the process: a test picture and a test sound, each encoded once for any number of peers.

use std::time::Duration;

use gst::prelude::*;
use gst_utils::{
    StreamProducer,
    streamproducer::{ConsumerSettings, ProducerSettings},
};

use super::{
    feed::{Feed, Peers},
    keyframes, make, set_nick,
    target::{AUDIO_BITRATE, Target},
};
use crate::{
    cli::Media,
    exit::{ExitCode, Failure},
    sdp::Kind,
};

/// The most encoded media that wait for one peer. A peer with more does not keep up.
const PEER_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// The running source, and the clock that all pipelines share.
#[derive(Debug)]
pub struct Source {
    pipeline: gst::Pipeline,
    audio: Option<Encoded>,
    video: Option<Encoded>,
    /// The bit rate that the encoders aim at.
    pub target: Target,
    /// Clock and base time of every peer's pipeline, so that timestamps mean the same in all of them.
    pub timing: Timing,
}

/// A clock and a base time.
#[derive(Debug, Clone)]
pub struct Timing {
    clock: gst::Clock,
    base_time: gst::ClockTime,
}

/// One encoder's output.
#[derive(Debug)]
struct Encoded {
    producer: StreamProducer,
    caps: gst::Caps,
    peers: Peers,
}

impl Source {
    /// Builds and starts the encoders that `media` asks for.
    pub fn start(media: &Media) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::with_name("source");
        let video = media.video().0.then(|| video(&pipeline, media)).transpose()?;
        let audio = media.audio().0.then(|| audio(&pipeline, media)).transpose()?;
        let timing = Timing::now();
        timing.apply(&pipeline);
        if video.is_some() || audio.is_some() {
            pipeline
                .set_state(gst::State::Playing)
                .map_err(|_| Failure::internal("the encoders do not start"))?;
        }
        Ok(Self { pipeline, audio, video, target: Target::of(media), timing })
    }

    /// The caps of the encoded medium, if it is sent.
    pub fn caps(&self, kind: Kind) -> Option<&gst::Caps> {
        self.encoded(kind).map(|encoded| &encoded.caps)
    }

    /// Feeds `appsrc` with the medium, and requests a key frame for it. `None` if the medium is not sent.
    pub fn attach(&self, kind: Kind, appsrc: &gst_app::AppSrc) -> Option<Feed> {
        let encoded = self.encoded(kind)?;
        let peers = encoded.peers.add();
        let Ok(link) = encoded.producer.add_consumer_with(appsrc, settings()) else {
            peers.remove();
            return None;
        };
        if kind == Kind::Video {
            self.request_key_frame();
        }
        Some(Feed::new(link, peers))
    }

    /// Requests a key frame from the video encoder.
    pub fn request_key_frame(&self) {
        let pad = self.video.as_ref().and_then(|video| video.producer.appsink().static_pad("sink"));
        if let Some(pad) = pad {
            pad.push_event(keyframes::request());
        }
    }

    fn encoded(&self, kind: Kind) -> Option<&Encoded> {
        match kind {
            Kind::Audio => self.audio.as_ref(),
            Kind::Video => self.video.as_ref(),
            Kind::Data | Kind::Other => None,
        }
    }

    /// The first error of the encoders that was not returned yet.
    pub fn error(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => Some(error.error().to_string()),
            _ => None,
        }
    }
}

impl Drop for Source {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

impl Timing {
    fn now() -> Self {
        let clock = gst::SystemClock::obtain();
        let base_time = clock.time();
        Self { clock, base_time }
    }

    /// Sets clock and base time of `pipeline`.
    pub fn apply(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base_time);
    }
}

/// Configures `appsrc` for a peer's encoded media: live, bounded, dropping the oldest buffer.
pub fn configure(appsrc: &gst_app::AppSrc) {
    StreamProducer::configure_consumer_with(appsrc, settings());
}

fn settings() -> ConsumerSettings {
    ConsumerSettings { max_time: PEER_QUEUE, ..ConsumerSettings::default() }
}

fn usage(flag: &str, problem: String) -> Failure {
    Failure::new(ExitCode::Usage, format!("{flag}: {problem}"))
}

fn video(pipeline: &gst::Pipeline, media: &Media) -> Result<Encoded, Failure> {
    let src = make("videotestsrc")?;
    src.set_property("is-live", true);
    set_nick(&src, "pattern", &media.video_pattern).map_err(|e| usage("--video-pattern", e))?;
    let raw = gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(i32::from(media.size.width))
        .height(i32::from(media.size.height))
        .framerate(gst::Fraction::new(i32::from(media.fps), 1))
        .build();
    let encoder = vp8_encoder(media)?;
    keyframes::limit(&encoder, Duration::from_millis(u64::from(media.keyframe_interval)));
    let caps = gst::Caps::builder("video/x-vp8").build();
    let encoded = finish(pipeline, &src, &raw, &encoder, caps)?;
    // Only video: audio costs next to nothing, and its encoder does not like gaps.
    encoded.peers.rest(&encoder);
    Ok(encoded)
}

fn vp8_encoder(media: &Media) -> Result<gst::Element, Failure> {
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
    Ok(encoder)
}

fn audio(pipeline: &gst::Pipeline, media: &Media) -> Result<Encoded, Failure> {
    let src = make("audiotestsrc")?;
    src.set_property("is-live", true);
    src.set_property("freq", f64::from(media.audio_freq));
    src.set_property("volume", 0.25f64);
    // One Opus frame per buffer.
    src.set_property("samplesperbuffer", 960i32);
    set_nick(&src, "wave", &media.audio_wave).map_err(|e| usage("--audio-wave", e))?;
    let raw = gst_audio::AudioCapsBuilder::new_interleaved()
        .format(gst_audio::AudioFormat::S16le)
        .rate(48_000)
        .channels(1)
        .build();
    let encoder = make("opusenc")?;
    encoder.set_property("bitrate", i32::try_from(AUDIO_BITRATE).unwrap_or(i32::MAX));
    encoder.set_property("complexity", 4i32);
    encoder.set_property("inband-fec", true);
    let caps = gst::Caps::builder("audio/x-opus")
        .field("rate", 48_000i32)
        .field("channels", 1i32)
        .field("channel-mapping-family", 0i32)
        .build();
    finish(pipeline, &src, &raw, &encoder, caps)
}

fn finish(
    pipeline: &gst::Pipeline,
    src: &gst::Element,
    raw: &gst::Caps,
    encoder: &gst::Element,
    caps: gst::Caps,
) -> Result<Encoded, Failure> {
    let filter = make("capsfilter")?;
    filter.set_property("caps", raw);
    let sink = gst_app::AppSink::builder().async_(false).max_buffers(8).build();
    sink.set_property("enable-last-sample", false);
    let chain = [src, &filter, encoder, sink.upcast_ref()];
    pipeline.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    // The source is live: a second wait for the clock would only add delay.
    let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
    Ok(Encoded { producer, caps, peers: Peers::default() })
}
