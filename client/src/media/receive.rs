//! The receiving side of one medium of one peer: depayloader, decoder, and a sink, with measurements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst_video::VideoFrameExt;

use super::{
    encode::keyframes,
    make,
    meter::{Meter, Planes},
};
use crate::{exit::Failure, record::Taps, sdp::Kind};

/// Called on a streaming thread for the first decoded buffer: it must not wait.
pub type Tell = Arc<dyn Fn(First) + Send + Sync>;

/// The first decoded buffer of a branch.
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

/// A branch that receives one stream of the peer. The first of a kind is played.
#[derive(Debug)]
pub struct Branch {
    /// Audio or video.
    pub kind: Kind,
    /// Its number among those of its kind.
    pub number: usize,
    /// The sink for the decoded media.
    pub sink: gst::Element,
    /// Measures the decoded media.
    pub meter: Arc<Meter>,
    /// Recordings and snapshots of the stream.
    pub taps: Taps,
}

/// Which of webrtcbin's m-lines goes to which branch: kind, m-line and branch. Callbacks read it.
#[derive(Debug, Default)]
pub struct Routes {
    all: Mutex<Vec<(Kind, usize, usize)>>,
    linking: Mutex<()>,
}

impl Routes {
    /// To be held while pads are linked: a new stream is linked on a streaming thread, new routes on another one. Without
    /// it, one thread would take the other's link for that of an older stream.
    pub fn linking(&self) -> MutexGuard<'_, ()> {
        self.linking.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the m-lines of a kind that are received. Those already received keep their branch; new ones take the first
    /// free branch. Returns the number of branches needed.
    pub fn set(&self, kind: Kind, seats: &[usize]) -> usize {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(other, seat, _)| *other != kind || seats.contains(seat));
        for seat in seats {
            let is_free = |branch: &usize| !all.iter().any(|(other, _, it)| *other == kind && it == branch);
            if !all.iter().any(|(other, it, _)| *other == kind && it == seat)
                && let Some(branch) = (0..).find(is_free)
            {
                all.push((kind, *seat, branch));
            }
        }
        all.iter().filter(|(other, ..)| *other == kind).map(|(_, _, branch)| branch + 1).max().unwrap_or(0)
    }

    /// The branch in `pipeline` for a stream: that of its m-line, or the first of its kind if the m-line is not known.
    pub fn find(&self, pipeline: &gst::Pipeline, kind: Kind, seat: Option<usize>) -> Option<gst::Element> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let branch = match seat {
            Some(seat) => all.iter().find(|(other, it, _)| *other == kind && *it == seat)?.2,
            None => 0,
        };
        pipeline.by_name(&entry(kind, branch))
    }
}

/// The name of a branch's first element, to which the stream's pad is linked.
fn entry(kind: Kind, number: usize) -> String {
    let kind = if kind == Kind::Audio { "audio" } else { "video" };
    format!("receive-{kind}-{number}")
}

/// Adds a branch to `pipeline`, which may be running.
pub fn add(pipeline: &gst::Pipeline, branch: Branch, tell: Option<Tell>) -> Result<(), Failure> {
    let Branch { kind, number, sink, meter, taps } = branch;
    let factory = if kind == Kind::Audio { "rtpopusdepay" } else { "rtpvp8depay" };
    let depay =
        gst::ElementFactory::make(factory).name(entry(kind, number)).build().map_err(Failure::internal)?;
    let decoder = if kind == Kind::Audio { audio_decoder()? } else { video_decoder(&depay)? };
    if let Some(encoded) = depay.static_pad("src") {
        taps.encoded(&encoded, kind == Kind::Video);
    }
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
    if kind == Kind::Video {
        taps.decoded(&pad);
    }
    let chain = [&depay, &decoder, &sink];
    pipeline.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    chain.into_iter().rev().try_for_each(gst::Element::sync_state_with_parent).map_err(Failure::internal)
}

/// A sink that discards its input.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_keep_their_branch_and_new_ones_take_the_first_that_is_free() {
        let routes = Routes::default();
        let branches =
            || routes.all.lock().unwrap().iter().map(|(_, seat, it)| (*seat, *it)).collect::<Vec<_>>();
        assert_eq!(routes.set(Kind::Video, &[1, 3]), 2);
        assert_eq!(branches(), [(1, 0), (3, 1)]);
        assert_eq!(routes.set(Kind::Video, &[3]), 2);
        assert_eq!(routes.set(Kind::Video, &[3, 4]), 2);
        assert_eq!(branches(), [(3, 1), (4, 0)]);
        assert_eq!(routes.set(Kind::Audio, &[0]), 1);
        assert_eq!(branches().len(), 3);
        assert_eq!(routes.set(Kind::Video, &[]), 0);
        assert_eq!(branches(), [(0, 0)]);
    }
}
