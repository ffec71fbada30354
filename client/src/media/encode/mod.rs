//! How media are encoded: once per input and codec, whatever the number of peers.

pub mod feed;
pub mod gap;
pub mod keyframes;
pub mod share;

mod control;
mod encoder;
mod steps;

pub use encoder::AUDIO_BITRATE;
use gst::prelude::*;
use gst_utils::{
    ConsumptionLink, StreamProducer,
    streamproducer::{ConsumerSettings, ProducerSettings},
};

use self::{
    control::{Chain, Shares},
    feed::{Feed, Peers},
    share::Share,
};
use super::{input::Input, make, timing::Timing};
use crate::{cli::Media, exit::Failure, sdp::Kind};

/// The most encoded media that wait for one peer. A peer with more does not keep up.
const PEER_QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// A running encoder, in a pipeline of its own.
#[derive(Debug)]
pub struct Encoding {
    pipeline: gst::Pipeline,
    producer: StreamProducer,
    caps: gst::Caps,
    peers: Peers,
    shares: Shares,
    link: ConsumptionLink,
}

impl Encoding {
    /// Builds and starts the encoder of `input`.
    pub fn start(kind: Kind, input: &Input, media: &Media, timing: &Timing) -> Result<Self, Failure> {
        let (encoder, caps) = if kind == Kind::Audio { encoder::opus()? } else { encoder::vp8(media)? };
        let entry = gst_app::AppSrc::builder().caps(input.caps()).build();
        let sink = gst_app::AppSink::builder().async_(false).max_buffers(8).build();
        sink.set_property("enable-last-sample", false);
        let pipeline = gst::Pipeline::new();
        let (scaler, filter) = (make("videoscale")?, make("capsfilter")?);
        let mut chain = vec![entry.upcast_ref(), &encoder, sink.upcast_ref()];
        if kind == Kind::Video {
            chain.splice(1..1, [&scaler, &filter]);
        }
        pipeline.add_many(chain.iter().copied()).map_err(Failure::internal)?;
        gst::Element::link_many(chain).map_err(Failure::internal)?;
        let producer = StreamProducer::with(&sink, ProducerSettings { sync: false });
        let (peers, shares) = (Peers::default(), Shares::default());
        if kind == Kind::Video {
            // Only video: audio costs next to nothing, and its encoder does not like gaps.
            peers.rest(&encoder);
            let chain = Chain { entry: entry.clone().upcast(), filter, encoder };
            let (most, cameras) = (u64::from(media.bitrate) * 1000, media.sources.videos().len() as u64);
            control::follow(chain, input.caps(), shares.clone(), most, cameras);
        }
        timing.apply(&pipeline);
        let link = input.feed(&entry)?;
        let encoding = Self { pipeline, producer, caps, peers, shares, link };
        let started = encoding.pipeline.set_state(gst::State::Playing);
        started.map_err(|_| Failure::internal("an encoder does not start"))?;
        Ok(encoding)
    }

    /// The caps of the encoded media.
    pub fn caps(&self) -> &gst::Caps {
        &self.caps
    }

    /// Feeds `appsrc`, the entry of a peer whose path is good for `share`.
    pub fn attach(&self, appsrc: &gst_app::AppSrc, share: Share) -> Option<Feed> {
        let peers = self.peers.add();
        let Ok(link) = self.producer.add_consumer_with(appsrc, settings()) else {
            peers.remove();
            return None;
        };
        Some(Feed::new(link, peers, self.shares.clone(), share))
    }

    /// Requests a key frame.
    pub fn request_key_frame(&self) {
        if let Some(pad) = self.producer.appsink().static_pad("sink") {
            pad.push_event(keyframes::request());
        }
    }

    /// The first error of the encoder that was not returned yet.
    pub fn error(&self) -> Option<String> {
        super::error_of(&self.pipeline)
    }
}

impl Drop for Encoding {
    fn drop(&mut self) {
        self.link.disconnect();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Configures `appsrc` for a peer's encoded media: live, bounded, dropping the oldest buffer.
pub fn configure(appsrc: &gst_app::AppSrc) {
    StreamProducer::configure_consumer_with(appsrc, settings());
}

fn settings() -> ConsumerSettings {
    ConsumerSettings { max_time: PEER_QUEUE, ..ConsumerSettings::default() }
}
