//! The receiving side of one medium of one peer: depayloader, decoder, and a sink that counts.

use std::sync::Arc;

use gst::prelude::*;
use gst_video::VideoFrameExt;

use super::{
    keyframes, make,
    meter::{Meter, Planes},
};
use crate::{exit::Failure, sdp::Kind};

/// How a branch tells, from a streaming thread: it must not wait.
pub type Tell = Arc<dyn Fn(First) + Send + Sync>;

/// The first of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum First {
    /// Sound.
    Audio,
    /// A frame of this size.
    Video {
        /// Pixels from left to right.
        width: u32,
        /// Pixels from top to bottom.
        height: u32,
    },
}

/// What takes one stream of the peer's.
#[derive(Debug)]
pub struct Branch {
    /// Sound or picture.
    pub kind: Kind,
    /// webrtcbin's m-line.
    pub seat: usize,
    /// Takes the decoded media.
    pub sink: gst::Element,
    /// Measures them.
    pub meter: Arc<Meter>,
}

/// The branch in `pipeline` for a stream: the m-line's, if that is known, or the first of its kind.
pub fn find(pipeline: &gst::Pipeline, kind: Kind, seat: Option<usize>) -> Option<gst::Element> {
    let exact = seat.and_then(|seat| pipeline.by_name(&entry(kind, seat)));
    exact.or_else(|| (0..MAX_SEAT).find_map(|seat| pipeline.by_name(&entry(kind, seat))))
}

/// webrtcbin's m-lines are fewer.
const MAX_SEAT: usize = 32;

/// The name of the element that a stream's pad is linked to, within the peer's pipeline.
fn entry(kind: Kind, seat: usize) -> String {
    let kind = if kind == Kind::Audio { "audio" } else { "video" };
    format!("receive-{kind}-{seat}")
}

/// Builds a branch into `pipeline`, which may be running.
pub fn add(pipeline: &gst::Pipeline, branch: Branch, tell: Option<Tell>) -> Result<(), Failure> {
    let Branch { kind, seat, sink, meter } = branch;
    let factory = if kind == Kind::Audio { "rtpopusdepay" } else { "rtpvp8depay" };
    let depay =
        gst::ElementFactory::make(factory).name(entry(kind, seat)).build().map_err(Failure::internal)?;
    let decoder = if kind == Kind::Audio { audio_decoder()? } else { video_decoder(&depay)? };
    let pad = decoder.static_pad("src").ok_or_else(|| Failure::internal("a decoder without a pad"))?;
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        if let Some(buffer) = info.buffer() {
            let first =
                if kind == Kind::Audio { hear(pad, buffer, &meter) } else { see(pad, buffer, &meter) };
            if let (Some(first), Some(tell)) = (first, &tell) {
                tell(first);
            }
        }
        gst::PadProbeReturn::Ok
    });
    let chain = [&depay, &decoder, &sink];
    pipeline.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    chain.into_iter().rev().try_for_each(gst::Element::sync_state_with_parent).map_err(Failure::internal)
}

/// A sink that only takes.
pub fn null_sink() -> Result<gst::Element, Failure> {
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    sink.set_property("enable-last-sample", false);
    Ok(sink)
}

fn audio_decoder() -> Result<gst::Element, Failure> {
    let decoder = make("opusdec")?;
    decoder.set_property("use-inband-fec", true);
    decoder.set_property("plc", true);
    Ok(decoder)
}

fn video_decoder(depay: &gst::Element) -> Result<gst::Element, Failure> {
    depay.set_property("request-keyframe", true);
    depay.set_property("wait-for-keyframe", true);
    keyframes::ask_rarely(depay);
    let decoder = make("vp8dec")?;
    decoder.set_property("threads", 1u32);
    Ok(decoder)
}

fn see(pad: &gst::Pad, buffer: &gst::BufferRef, meter: &Meter) -> Option<First> {
    let first = meter.frame();
    if !meter.wants_to_look() && !first {
        return None;
    }
    let info = gst_video::VideoInfo::from_caps(pad.current_caps()?.as_ref()).ok()?;
    let (width, height) = (info.width(), info.height());
    if let Ok(frame) = gst_video::VideoFrameRef::from_buffer_ref_readable(buffer, &info)
        && let (Ok(y), Ok(u), Ok(v)) = (frame.plane_data(0), frame.plane_data(1), frame.plane_data(2))
        && let [ys, us, vs, ..] = *frame.plane_stride()
    {
        let stride = |stride: i32| usize::try_from(stride).unwrap_or(0);
        meter.look(width, height, Planes { y: (y, stride(ys)), u: (u, stride(us)), v: (v, stride(vs)) });
    }
    first.then_some(First::Video { width, height })
}

fn hear(pad: &gst::Pad, buffer: &gst::BufferRef, meter: &Meter) -> Option<First> {
    let info = gst_audio::AudioInfo::from_caps(pad.current_caps()?.as_ref()).ok()?;
    let map = buffer.map_readable().ok()?;
    let first = meter.listen(&map, info.channels() as usize, info.rate());
    first.then_some(First::Audio)
}
