//! How media are encoded: once per input, codec and tier, whatever the number of peers.

pub mod codec;
pub mod feed;
pub mod gap;
pub mod keyframes;
pub mod list;
pub mod share;
pub mod tiers;
pub mod trial;

mod control;
mod encoder;
mod output;
mod seam;
mod steps;
mod strain;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

pub use encoder::AUDIO_BITRATE;
use gst::prelude::*;
use gst_utils::{
    ConsumptionLink, StreamProducer,
    streamproducer::{ConsumerSettings, ProducerSettings},
};

use self::{
    codec::{Encoder, Format},
    control::Shares,
    encoder::Chain,
    feed::{Feed, Lane, Peers, Place},
    output::Output,
    share::Share,
    steps::Picture,
    tiers::Tier,
};
use super::{input::Input, make, timing::Timing};
use crate::{
    cli::{Media, Size},
    exit::Failure,
    sdp::Kind,
};

/// The most encoded media that wait for one peer. A peer with more does not keep up.
const PEER_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// A running encoder, in a pipeline of its own.
#[derive(Debug)]
pub struct Encoding {
    pipeline: gst::Pipeline,
    place: Place,
    /// Encoded bytes.
    bytes: Arc<AtomicU64>,
    output: Output,
    born: Instant,
    link: ConsumptionLink,
}

impl Encoding {
    /// Builds and starts `encoder` for `format` and `tier`, fed by `input`.
    pub fn start(
        (format, tier): (Format, Tier),
        encoder: Option<&Encoder>,
        input: &Input,
        media: &Media,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let encoder = encoder.ok_or_else(|| Failure::internal(format!("no encoder for {format}")))?;
        let chain = Chain::make(format, encoder, &reduced(media, tier))?;
        let entry = gst_app::AppSrc::builder().caps(input.caps()).build();
        let sink = gst_app::AppSink::builder().async_(false).max_buffers(8).build();
        sink.set_property("enable-last-sample", false);
        let (scaler, filter) = (make("videoscale")?, make("capsfilter")?);
        let scaling = if format.kind() == Kind::Video { &[scaler, filter.clone()][..] } else { &[] };
        let pipeline = assemble(&entry, &[scaling, &chain.elements].concat(), &sink)?;
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        let (peers, shares, number) = (Peers::default(), Shares::default(), COUNT.fetch_add(1, Relaxed));
        let bytes = Arc::<AtomicU64>::default();
        if format.kind() == Kind::Video {
            // Only video: audio costs next to nothing, and its encoder does not like gaps.
            peers.rest(&chain.encoder);
            let followers = control::Chain {
                entry: entry.clone(),
                filter,
                encoder: chain.encoder.clone(),
                rate: chain.rate,
            };
            let cameras = media.sources.videos().len() as u64;
            control::follow(followers, picture(media), tier, shares.clone(), cameras);
            mark(&sink, number, bytes.clone());
        }
        if format.kind() == Kind::Audio {
            control::expect_losses(&chain.encoder, shares.clone());
        }
        timing.apply(&pipeline);
        let link = input.feed(&entry)?;
        let place = Place { encoder: number, format, tier, producer, peers, shares };
        let (output, born) = (Output::default(), Instant::now());
        let encoding = Self { pipeline, place, bytes, output, born, link };
        let started = encoding.pipeline.set_state(gst::State::Playing);
        started.map_err(|_| Failure::internal("an encoder does not start"))?;
        tracing::debug!(%format, tier = tier.name(), element = encoder.element.factory, "an encoder starts");
        Ok(encoding)
    }

    /// The codec.
    pub fn format(&self) -> Format {
        self.place.format
    }

    /// Its part of the picture.
    pub fn tier(&self) -> Tier {
        self.place.tier
    }

    /// Feeds `appsrc`, the entry of a peer whose path is good for `share`. A recording has no path, and takes what is encoded.
    pub fn attach(&self, appsrc: &gst_app::AppSrc, share: Option<Share>) -> Option<Feed> {
        Feed::new(self.place.clone(), appsrc, share)
    }

    /// Moves a peer of another encoder here, with the next key frame.
    pub(super) fn take(&self, lane: &Arc<Lane>) {
        lane.go_to(self.place.clone());
    }

    /// Requests a key frame.
    pub fn request_key_frame(&self) {
        if let Some(pad) = self.place.producer.appsink().static_pad("sink") {
            pad.push_event(keyframes::request());
        }
    }

    /// Whether no peer has used it for this long.
    pub fn is_unused_for(&self, time: Duration) -> bool {
        self.place.peers.none_since().is_some_and(|since| Instant::now().duration_since(since) >= time)
    }

    /// The bit rate that it sends. Call it several times per second.
    pub(super) fn measure(&mut self) -> Option<u64> {
        let rests = self.place.peers.none_since().is_some();
        self.output.measure(self.born.elapsed(), self.bytes.load(Relaxed), rests)
    }

    /// Lets the encoder fail, as one does that hardware refuses.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        let error = gst::message::Error::new(gst::CoreError::Failed, "refused");
        self.pipeline.bus().unwrap().post(error).unwrap();
    }

    /// The first error of the encoder that was not returned yet.
    pub fn error(&self) -> Option<String> {
        super::error_of(&self.pipeline)
    }
}

/// The media as the encoder of this tier gets them.
fn reduced(media: &Media, tier: Tier) -> Media {
    let part = |side: u16| (u32::from(side) / tier.divisor()).try_into().unwrap_or(side);
    let size = Size { width: part(media.size.width), height: part(media.size.height) };
    Media { size, ..media.clone() }
}

/// The smallest tier of this picture.
pub(super) fn last_tier(media: &Media) -> Tier {
    picture(media).last()
}

fn picture(media: &Media) -> Picture {
    Picture {
        width: media.size.width.into(),
        height: media.size.height.into(),
        fps: media.fps.into(),
        bits: u64::from(media.bitrate) * 1000,
    }
}

/// Lets each frame carry the number of its encoder, and counts their bytes.
fn mark(sink: &gst_app::AppSink, encoder: u64, bytes: Arc<AtomicU64>) {
    let Some(pad) = sink.static_pad("sink") else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer_mut() {
            bytes.fetch_add(buffer.size() as u64, Relaxed);
            buffer.make_mut().set_offset(encoder);
        }
        gst::PadProbeReturn::Ok
    });
}

impl Drop for Encoding {
    fn drop(&mut self) {
        self.link.disconnect();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

fn assemble(
    entry: &gst_app::AppSrc,
    between: &[gst::Element],
    sink: &gst_app::AppSink,
) -> Result<gst::Pipeline, Failure> {
    let pipeline = gst::Pipeline::new();
    let all = [&[entry.clone().upcast()], between, &[sink.clone().upcast()]].concat();
    pipeline.add_many(&all).map_err(Failure::internal)?;
    gst::Element::link_many(&all).map_err(Failure::internal)?;
    Ok(pipeline)
}

/// Configures `appsrc` for a peer's encoded media: live, bounded, dropping the oldest buffer.
pub fn configure(appsrc: &gst_app::AppSrc) {
    StreamProducer::configure_consumer_with(appsrc, settings());
}

fn settings() -> ConsumerSettings {
    ConsumerSettings { max_time: PEER_QUEUE, ..ConsumerSettings::default() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{
        input::{self, news::News},
        target::tests::media,
    };

    #[test]
    fn a_recording_does_not_lower_the_bit_rate() {
        gst::init().unwrap();
        let media = media(&["--size", "160x120", "--no-audio"]);
        let timing = Timing::now();
        let inputs = input::make_all(&media, &timing, &News::new().0).unwrap();
        let encoder = trial::best(Format::Vp8, &media);
        let encoding =
            Encoding::start((Format::Vp8, Tier::Full), encoder, &inputs[0], &media, &timing).unwrap();
        let entry = || {
            let entry = gst_app::AppSrc::builder().build();
            configure(&entry);
            entry
        };
        let entries = [entry(), entry()];
        let recording = encoding.attach(&entries[0], None).unwrap();
        assert_eq!(encoding.place.shares.bits(u64::MAX), None, "it is the only one");
        let peer = encoding.attach(&entries[1], Some(Share::new(0))).unwrap();
        assert_eq!(encoding.place.shares.bits(u64::MAX), Some(0), "a path that carries nothing");
        drop((recording, peer));
        assert_eq!(encoding.place.shares.bits(u64::MAX), None);
    }

    /// The encoder needs 60 ms for a frame of 320 pixels, as on a slow machine.
    #[test]
    fn an_encoder_that_is_too_slow_gets_a_smaller_picture() {
        gst::init().unwrap();
        let media = media(&["--size", "320x240", "--no-audio"]);
        let timing = Timing::now();
        let inputs = input::make_all(&media, &timing, &News::new().0).unwrap();
        let encoder = trial::best(Format::Vp8, &media).unwrap();
        let first = (Format::Vp8, Tier::Full);
        let encoding = Encoding::start(first, Some(encoder), &inputs[0], &media, &timing).unwrap();
        let is_encoder =
            |it: &gst::Element| it.factory().is_some_and(|it| it.name() == encoder.element.factory);
        let element = encoding.pipeline.iterate_elements().into_iter().flatten().find(is_encoder).unwrap();
        let width = |caps: Option<gst::Caps>| caps?.structure(0)?.get::<i32>("width").ok();
        element.static_pad("sink").unwrap().add_probe(gst::PadProbeType::BUFFER, move |pad, _| {
            if width(pad.current_caps()) == Some(320) {
                std::thread::sleep(Duration::from_millis(60));
            }
            gst::PadProbeReturn::Ok
        });
        let entry = gst_app::AppSrc::builder().build();
        configure(&entry);
        let sink = gst_app::AppSink::builder().sync(false).build();
        let pipeline = assemble(&entry, &[], &sink).unwrap();
        timing.apply(&pipeline);
        pipeline.set_state(gst::State::Playing).unwrap();
        let feed = encoding.attach(&entry, Some(Share::new(1_000_000))).unwrap();
        let pull = || {
            let sample = sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a frame in time");
            (width(sample.caps_owned()).unwrap(), sample.buffer().unwrap().pts().unwrap())
        };
        assert_eq!(pull().0, 320);
        assert!((0..300).any(|_| pull().0 == 160));
        let (_, start) = pull();
        let ends: Vec<_> = (0..30).map(|_| pull()).collect();
        pipeline.set_state(gst::State::Null).unwrap();
        drop(feed);
        assert!(ends.iter().all(|(width, _)| *width == 160));
        let took = ends[29].1 - start;
        assert!(took < gst::ClockTime::from_mseconds(1500), "30 frames of {took}");
    }
}
