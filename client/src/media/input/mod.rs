//! Where raw media come from: each input has a pipeline of its own, so that its failure stops neither encoders nor peers.

mod test;

use gst::prelude::*;
use gst_utils::{
    ConsumptionLink, StreamProducer,
    streamproducer::{ConsumerSettings, ProducerSettings},
};

use super::{make, timing::Timing};
use crate::{cli::Media, exit::Failure, sdp::Kind};

/// The most raw media that wait for an encoder. An encoder with more does not keep up, and loses the oldest.
const ENCODER_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// A running input: raw media for any number of encoders.
#[derive(Debug)]
pub struct Input {
    pipeline: gst::Pipeline,
    producer: StreamProducer,
    caps: gst::Caps,
}

impl Input {
    /// Builds and starts the input of this kind that `media` asks for.
    pub fn start(kind: Kind, media: &Media, timing: &Timing) -> Result<Self, Failure> {
        let (src, caps) = if kind == Kind::Audio { test::audio(media)? } else { test::video(media)? };
        let filter = make("capsfilter")?;
        filter.set_property("caps", &caps);
        let sink = gst_app::AppSink::builder().async_(false).max_buffers(8).build();
        sink.set_property("enable-last-sample", false);
        let pipeline = gst::Pipeline::new();
        let chain = [&src, &filter, sink.upcast_ref()];
        pipeline.add_many(chain).map_err(Failure::internal)?;
        gst::Element::link_many(chain).map_err(Failure::internal)?;
        // The source is live: a second wait for the clock would only add delay.
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        timing.apply(&pipeline);
        let input = Self { pipeline, producer, caps };
        input
            .pipeline
            .set_state(gst::State::Playing)
            .map_err(|_| Failure::internal("an input does not start"))?;
        Ok(input)
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
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
