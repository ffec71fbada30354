//! Where raw media come from: each input has a pipeline of its own, so that its failure stops neither encoders nor peers.
//!
//! The test picture and sound are made in that pipeline. Every other source may fail: it has a pipeline per attempt
//! (`attempt`), a thread that opens it again (`supply`, with `healing`), and a card in its place meanwhile (`card`).

pub mod devices;
pub mod elements;
pub mod grab;
pub mod news;
pub mod spec;

mod attempt;
mod card;
mod crew;
mod font;
mod healing;
mod relay;
mod secret;
mod shape;
mod stamp;
mod supply;
mod test;

use std::sync::Arc;

use gst::prelude::*;
use gst_utils::{
    ConsumptionLink, StreamProducer,
    streamproducer::{ConsumerSettings, ProducerSettings},
};

use self::{
    news::News,
    relay::Relay,
    spec::{Named, Spec},
    supply::{Plan, Supply},
};
use super::{make, timing::Timing};
use crate::{
    cli::{Media, Size},
    exit::Failure,
    sdp::Kind,
};

/// The most raw media that wait for an encoder. An encoder with more does not keep up, and loses the oldest.
const ENCODER_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// A running input: raw media for any number of encoders.
#[derive(Debug)]
pub struct Input {
    kind: Kind,
    /// The name that the user gave it.
    name: Option<String>,
    pipeline: gst::Pipeline,
    producer: StreamProducer,
    caps: gst::Caps,
    /// What feeds the input; it may feed another one, too.
    supply: Option<Arc<Supply>>,
}

/// Makes the inputs that `media` asks for: pictures, then sound. [`Input::open`] opens their sources.
pub fn make_all(media: &Media, timing: &Timing, news: &News) -> Result<Vec<Input>, Failure> {
    let videos = if media.video().0 { media.sources.videos() } else { Vec::new() };
    let sound = media.sources.sound().filter(|_| media.audio().0);
    // One that has both is opened once.
    let has_sound = |named: &Named| {
        sound.as_ref().is_some_and(|sound| sound.spec == named.spec && named.spec.may_have_both())
    };
    let joined = videos.iter().position(has_sound);
    let mut inputs = Vec::new();
    for (number, named) in videos.iter().enumerate() {
        let sound = sound.as_ref().filter(|_| joined == Some(number));
        inputs.extend(inputs_of(&[(Kind::Video, Some(named)), (Kind::Audio, sound)], media, timing, news)?);
    }
    if joined.is_none() {
        inputs.extend(inputs_of(&[(Kind::Audio, sound.as_ref())], media, timing, news)?);
    }
    inputs.sort_by_key(|input| input.kind == Kind::Audio);
    Ok(inputs)
}

/// Makes the inputs of one source.
fn inputs_of(
    parts: &[(Kind, Option<&Named>)],
    media: &Media,
    timing: &Timing,
    news: &News,
) -> Result<Vec<Input>, Failure> {
    let parts = parts.iter().filter_map(|(kind, named)| Some((*kind, (*named)?)));
    let Some((_, first)) = parts.clone().next() else { return Ok(Vec::new()) };
    if let Spec::Test(pattern) = &first.spec {
        return parts
            .map(|(kind, named)| Input::test(kind, named, pattern.as_deref(), media, timing))
            .collect();
    }
    let mut inputs = Vec::new();
    let mut relays = Vec::new();
    for (kind, named) in parts {
        let caps = if kind == Kind::Audio { audio_caps() } else { video_caps(media) };
        let relay = Arc::new(Relay::new(&caps, timing));
        inputs.push(Input::run(kind, named, &[relay.entry().upcast_ref()], caps, timing)?);
        relays.push((kind, relay));
    }
    let plan = Plan {
        spec: first.spec.clone(),
        label: first.label(),
        size: media.size,
        layout: layout(media.size)?,
        fps: media.fps,
        parts: relays,
    };
    let supply = Arc::new(Supply::new(plan, news.clone())?);
    inputs.iter_mut().for_each(|input| input.supply = Some(supply.clone()));
    Ok(inputs)
}

impl Input {
    fn test(
        kind: Kind,
        named: &Named,
        pattern: Option<&str>,
        media: &Media,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        let src =
            if kind == Kind::Audio { test::audio(media, pattern)? } else { test::video(media, pattern)? };
        let caps = if kind == Kind::Audio { audio_caps() } else { video_caps(media) };
        let filter = make("capsfilter")?;
        filter.set_property("caps", &caps);
        Self::run(kind, named, &[&src, &filter], caps, timing)
    }

    /// Starts a pipeline of these elements.
    fn run(
        kind: Kind,
        named: &Named,
        elements: &[&gst::Element],
        caps: gst::Caps,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        let sink = gst_app::AppSink::builder().async_(false).max_buffers(8).build();
        sink.set_property("enable-last-sample", false);
        let pipeline = gst::Pipeline::new();
        let chain = [elements, &[sink.upcast_ref()]].concat();
        pipeline.add_many(&chain).map_err(Failure::internal)?;
        gst::Element::link_many(&chain).map_err(Failure::internal)?;
        // The source is live: a second wait for the clock would only add delay.
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        timing.apply(&pipeline);
        let input = Self { kind, name: named.name.clone(), pipeline, producer, caps, supply: None };
        input
            .pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| Failure::internal("a source does not start"))?;
        Ok(input)
    }

    /// Picture or sound.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Opens the source, if that was not done before.
    pub fn open(&self) {
        self.supply.iter().for_each(|supply| supply.begin());
    }

    /// The name that the user gave it.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// The caps of the raw media.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Feeds `appsrc`, the entry of an encoder, until the link is dropped.
    pub fn feed(&self, appsrc: &gst_app::AppSrc) -> Result<ConsumptionLink, Failure> {
        let settings = ConsumerSettings { max_time: ENCODER_QUEUE, ..ConsumerSettings::default() };
        StreamProducer::configure_consumer_with(appsrc, settings.clone());
        self.producer.add_consumer_with(appsrc, settings).map_err(Failure::internal)
    }

    /// The first error of the input that was not returned yet.
    pub fn error(&self) -> Option<String> {
        super::error_of(&self.pipeline)
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        // First the source, which pushes into the pipeline.
        drop(self.supply.take());
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// The picture that encoders take.
pub(crate) fn video_caps(media: &Media) -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(i32::from(media.size.width))
        .height(i32::from(media.size.height))
        .framerate(gst::Fraction::new(i32::from(media.fps), 1))
        .build()
}

/// The layout of such a picture in memory. GStreamer pads its lines: a plane's stride is a multiple of 4.
pub(crate) fn layout(size: Size) -> Result<gst_video::VideoInfo, Failure> {
    gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, size.width.into(), size.height.into())
        .build()
        .map_err(Failure::internal)
}

/// The sound that encoders take.
fn audio_caps() -> gst::Caps {
    gst_audio::AudioCapsBuilder::new_interleaved()
        .format(gst_audio::AudioFormat::S16le)
        .rate(48_000)
        .channels(1)
        .build()
}
