//! Records the media that this process sends.

use std::sync::Arc;

use gst::prelude::*;

use super::Recorder;
use crate::{
    exit::Failure,
    media::{
        encode::{self, codec::Format, feed::Feed},
        make,
        source::Source,
    },
    sdp::Kind,
};

/// Takes encoded media like a peer, and records them until it is dropped.
#[derive(Debug)]
pub struct Own {
    pipeline: gst::Pipeline,
    /// Dropped first: nothing more is recorded.
    feeds: Vec<Feed>,
    _recorder: Arc<Recorder>,
}

impl Own {
    pub(super) fn start(source: &Source, recorder: Arc<Recorder>) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::new();
        source.timing.apply(&pipeline);
        let mut entries = Vec::new();
        for kind in [Kind::Audio, Kind::Video] {
            // The codec that is encoded anyway.
            let Some(format) = source.formats().of(kind).next() else { continue };
            let caps = format.row().caps.parse::<gst::Caps>().map_err(Failure::internal)?;
            let appsrc = gst_app::AppSrc::builder().caps(&caps).build();
            encode::configure(&appsrc);
            let sink = make("fakesink")?;
            sink.set_property("sync", false);
            sink.set_property("async", false);
            pipeline.add_many([appsrc.upcast_ref(), &sink]).map_err(Failure::internal)?;
            appsrc.link(&sink).map_err(Failure::internal)?;
            appsrc.static_pad("src").iter().for_each(|pad| recorder.tap(pad, kind == Kind::Video));
            entries.push((format, appsrc));
        }
        pipeline.set_state(gst::State::Playing).map_err(Failure::internal)?;
        // No share of its own: the encoder follows the peers' paths.
        let attach = |(format, appsrc): &(Format, gst_app::AppSrc)| {
            source.attach(*format, 0, appsrc, None).transpose()
        };
        let feeds = entries.iter().filter_map(attach).collect::<Result<_, _>>()?;
        Ok(Self { pipeline, feeds, _recorder: recorder })
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        self.feeds.clear();
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
