//! The receiving side of one medium of one peer: for each codec in use a depayloader and a decoder, and one sink, with
//! measurements.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gst::prelude::*;
use gst_video::VideoFrameExt;

use super::{
    encode::{
        codec::{Format, TABLE},
        keyframes,
    },
    make,
    meter::{Meter, Planes},
    payload::Payloads,
    set_if_there,
};
use crate::{exit::Failure, plugins, record::Taps, rtp, sdp::Kind};

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
    taps: Mutex<Taps>,
    meter: Arc<Meter>,
}

impl Routes {
    /// No routes yet; the streams are recorded by `taps`, and the first of a kind is measured by `meter`.
    pub fn new(taps: Taps, meter: Arc<Meter>) -> Self {
        Self { taps: Mutex::new(taps), meter, ..Self::default() }
    }

    /// Whether the picture that is measured is received.
    pub fn has_picture(&self) -> bool {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().any(|(kind, _, branch)| (*kind, *branch) == (Kind::Video, 0))
    }

    /// The recordings of the streams.
    pub fn taps(&self) -> Taps {
        self.taps.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends the recordings.
    pub fn end_taps(&self) {
        *self.taps.lock().unwrap_or_else(PoisonError::into_inner) = Taps::default();
    }

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

    /// The branch for a stream: that of its m-line, or the first of its kind if the m-line is not known.
    pub fn find(&self, kind: Kind, seat: Option<usize>) -> Option<usize> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        match seat {
            Some(seat) => Some(all.iter().find(|(other, it, _)| *other == kind && *it == seat)?.2),
            None => Some(0),
        }
    }
}

/// The name of the element that joins the decoders of a branch.
fn joint(kind: Kind, number: usize) -> String {
    format!("receive-{}-{number}", kind.name())
}

/// The name of a branch's depayloader for one codec, to which the stream's pad is linked.
fn entry(kind: Kind, number: usize, format: Format) -> String {
    format!("{}-{format}", joint(kind, number))
}

/// Adds a branch to `pipeline`, which may be running. It has no decoder yet: see [`door`].
pub fn add(pipeline: &gst::Pipeline, branch: Branch, tell: Option<Tell>) -> Result<(), Failure> {
    let Branch { kind, number, sink, meter, taps } = branch;
    // It sends the caps again whenever another decoder has a turn.
    let funnel =
        gst::ElementFactory::make("funnel").name(joint(kind, number)).build().map_err(Failure::internal)?;
    let pad = funnel.static_pad("src").ok_or_else(|| Failure::internal("a funnel without a pad"))?;
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
    start(pipeline, &[&funnel, &sink])
}

/// The pad of a branch for a stream of this codec. Its depayloader and decoder are made at the first call. `None` if there
/// is no such branch.
pub fn door(
    pipeline: &gst::Pipeline,
    (kind, number): (Kind, usize),
    format: Format,
    routes: &Routes,
) -> Result<Option<gst::Pad>, Failure> {
    let name = entry(kind, number, format);
    if let Some(depay) = pipeline.by_name(&name) {
        return Ok(depay.static_pad("sink"));
    }
    let Some(funnel) = pipeline.by_name(&joint(kind, number)).filter(|_| format.kind() == kind) else {
        return Ok(None);
    };
    let depay = gst::ElementFactory::make(format.row().depayloader.factory).name(name).build();
    let depay = depay.map_err(Failure::internal)?;
    if format == Format::Vp9 {
        depay.static_pad("sink").iter().for_each(hide_losses);
    }
    let filter = make("capsfilter")?;
    if matches!(format, Format::H264 | Format::H265) {
        // Whole pictures: only then the depayloader waits for key frames.
        filter.set_property("caps", format.row().caps.parse::<gst::Caps>().map_err(Failure::internal)?);
    }
    if let Some(encoded) = filter.static_pad("src") {
        routes.taps().encoded(&encoded, kind == Kind::Video);
    }
    let decoder = decoder(format)?;
    check_payloads(&depay, format);
    if (kind, number) == (Kind::Video, 0) {
        watch_packets(&depay, &routes.meter);
    }
    if kind == Kind::Video {
        wait_for_key_frames(&depay, &decoder);
    }
    start(pipeline, &[&depay, &filter, &decoder])?;
    let src = decoder.static_pad("src").ok_or_else(|| Failure::internal("a decoder without a pad"))?;
    let sink =
        funnel.request_pad_simple("sink_%u").ok_or_else(|| Failure::internal("a funnel without a pad"))?;
    src.link(&sink).map_err(Failure::internal)?;
    Ok(depay.static_pad("sink"))
}

/// rtpvp9depay of GStreamer 1.22 ends the process when the jitter buffer reports a lost packet within a picture. It also sees
/// losses in the packets that follow.
fn hide_losses(sink: &gst::Pad) {
    sink.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        let structure = info.event().and_then(|event| event.structure());
        let is_loss = structure.is_some_and(|it| it.name() == "GstRTPPacketLost");
        // Not `Drop`: GStreamer 1.22 would free the event a second time.
        if is_loss { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

/// Lets the meter know when the packets of the picture were captured.
fn watch_packets(depay: &gst::Element, meter: &Arc<Meter>) {
    let (Some(pad), meter) = (depay.static_pad("sink"), meter.clone()) else { return };
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(packet) = info.buffer()
            && let Some(pts) = packet.pts()
        {
            meter.picture_packet(rtp::start(packet, &mut [0; rtp::LOOK]), pts.nseconds());
        }
        gst::PadProbeReturn::Ok
    });
}

/// Drops the packets that the depayloader would not survive.
fn check_payloads(depay: &gst::Element, format: Format) {
    let Some(pad) = depay.static_pad("sink").filter(|_| matches!(format, Format::H264 | Format::H265)) else {
        return;
    };
    let payloads = Mutex::new(Payloads::new(format));
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let packet = info.buffer().and_then(|buffer| gst_rtp::RTPBuffer::from_buffer_readable(buffer).ok());
        let takes = packet.is_some_and(|packet| {
            let payload = packet.payload().unwrap_or_default();
            payloads.lock().unwrap_or_else(PoisonError::into_inner).take(packet.seq(), payload)
        });
        // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
        if takes { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

/// The existing pads of a branch, one per codec.
pub fn doors(pipeline: &gst::Pipeline, (kind, number): (Kind, usize)) -> Vec<gst::Pad> {
    let of_kind = TABLE.iter().filter(|row| row.kind == kind);
    let depay = |format| pipeline.by_name(&entry(kind, number, format));
    of_kind.filter_map(|row| depay(row.format)?.static_pad("sink")).collect()
}

/// Adds and links elements, and starts them as the pipeline is.
fn start(pipeline: &gst::Pipeline, chain: &[&gst::Element]) -> Result<(), Failure> {
    pipeline.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    chain.iter().rev().try_for_each(|it| it.sync_state_with_parent()).map_err(Failure::internal)
}

/// A sink that discards its input.
pub fn null_sink() -> Result<gst::Element, Failure> {
    let sink = make("fakesink")?;
    sink.set_property("sync", false);
    sink.set_property("async", false);
    sink.set_property("enable-last-sample", false);
    Ok(sink)
}

/// The best decoder that is here.
fn decoder(format: Format) -> Result<gst::Element, Failure> {
    let found = format.row().decoders.iter().find(|it| plugins::has(it.factory));
    let decoder = make(found.ok_or_else(|| Failure::internal(format!("no decoder for {format}")))?.factory)?;
    for (name, value) in [("use-inband-fec", "true"), ("plc", "true")] {
        set_if_there(&decoder, name, value);
    }
    // One picture is decoded before the next one comes; a thread per core for each peer would only cost memory.
    set_if_there(&decoder, "threads", "1");
    set_if_there(&decoder, "max-threads", "1");
    Ok(decoder)
}

/// After a loss, nothing is shown until a key frame comes, which is requested.
fn wait_for_key_frames(depay: &gst::Element, decoder: &gst::Element) {
    if depay.has_property("request-keyframe") {
        depay.set_property("request-keyframe", true);
        depay.set_property("wait-for-keyframe", true);
    } else {
        set_if_there(decoder, "automatic-request-sync-points", "true");
        set_if_there(decoder, "discard-corrupted-frames", "true");
    }
    keyframes::ask_rarely(depay);
}

fn see(pad: &gst::Pad, buffer: &gst::BufferRef, meter: &Meter) -> Option<First> {
    let first = meter.frame(buffer.pts().map(gst::ClockTime::nseconds));
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

    /// All decoders that are here, behind one joint.
    #[test]
    fn each_codec_has_a_door_and_the_same_one_again() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let (kind, sink) = (Kind::Video, null_sink().unwrap());
        let (meter, routes) = (Arc::default(), Routes::default());
        let branch = Branch { kind, number: 0, sink, meter, taps: Taps::default() };
        add(&pipeline, branch, None).unwrap();
        let here = TABLE.iter().filter(|row| row.kind == Kind::Video).map(|row| row.format);
        let here: Vec<Format> =
            here.filter(|format| format.check(false, true, &plugins::has).is_ok()).collect();
        assert!(here.contains(&Format::Vp8) && here.contains(&Format::H264));
        for format in &here {
            let one = door(&pipeline, (kind, 0), *format, &routes).unwrap().unwrap();
            assert_eq!(door(&pipeline, (kind, 0), *format, &routes).unwrap(), Some(one));
        }
        assert_eq!(doors(&pipeline, (kind, 0)).len(), here.len());
        assert_eq!(
            door(&pipeline, (kind, 1), Format::Vp8, &routes).unwrap(),
            None,
            "there is no such branch"
        );
        assert_eq!(door(&pipeline, (kind, 0), Format::Opus, &routes).unwrap(), None);
        pipeline.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn a_loss_within_a_picture_of_vp9_is_survived() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let (sink, meter, routes) = (null_sink().unwrap(), Arc::default(), Routes::default());
        let branch = Branch { kind: Kind::Video, number: 0, sink, meter, taps: Taps::default() };
        add(&pipeline, branch, None).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let door = door(&pipeline, (Kind::Video, 0), Format::Vp9, &routes).unwrap().unwrap();
        let caps = "application/x-rtp,media=video,payload=100,clock-rate=90000,encoding-name=VP9";
        door.send_event(gst::event::StreamStart::new("test"));
        door.send_event(gst::event::Caps::new(&caps.parse::<gst::Caps>().unwrap()));
        door.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        // The first packet of a picture with a number.
        let packet = [0x80, 100, 0, 1, 0, 0, 0, 9, 0, 0, 0, 7, 0x88, 0x80, 1, 0x82, 0x49, 0x83, 0x42, 0];
        let mut packet = gst::Buffer::from_slice(packet);
        packet.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        assert_eq!(door.chain(packet), Ok(gst::FlowSuccess::Ok));
        let lost = gst::Structure::builder("GstRTPPacketLost")
            .field("seqnum", 2u32)
            .field("timestamp", 0u64)
            .field("duration", 0u64)
            .field("might-have-been-fec", true)
            .build();
        assert!(door.send_event(gst::event::CustomDownstream::new(lost)));
        pipeline.set_state(gst::State::Null).unwrap();
    }

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
