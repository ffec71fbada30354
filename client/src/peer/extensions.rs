//! RTP header extensions of sent packets (RFC 8285).
//!
//! The peer's IDs are used, and extensions that the peer does not support are not sent. They are transport-wide
//! sequence numbers, which the peer's feedback about loss and delay refers to, the mid, by which the peer separates
//! the streams of a bundle, and the capture time, for which GStreamer 1.22 has no element: it is added behind the
//! payloader. GStreamer 1.22 has none for `abs-send-time` either; peers that support transport-wide sequence numbers do
//! not need it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::Duration,
};

use gst::prelude::*;
use gst_rtp::{RTPBuffer, RTPHeaderExtension, prelude::RTPHeaderExtensionExt};

use super::probe::DATA;
use crate::{
    age::{
        capture::{Bearers, Capture},
        ntp::Ntp,
    },
    exit::Failure,
    media::{make, timing::Timing},
    rtp,
    sdp::{Codec, EXTENSION_CAPTURE, EXTENSION_MID, EXTENSION_TWCC, Kind},
};

/// Sound has its capture time once a second, as libwebrtc sends it; between, it is interpolated.
const SOUND_EVERY: Duration = Duration::from_secs(1);
/// A frame that claims to be older has another clock: it counts as new.
const OLDEST: Duration = Duration::from_secs(10);

/// The extensions of one payloader.
#[derive(Debug)]
pub(super) struct Extensions {
    payloader: gst::Element,
    all: Vec<(u8, &'static str, RTPHeaderExtension)>,
    capture: CaptureTimes,
}

/// Adds capture times to packets.
#[derive(Debug, Default)]
struct CaptureTimes {
    /// The ID that webrtcbin knows.
    known: Option<u8>,
    /// The ID in use; 0 while the peer gets no capture times.
    id: Arc<AtomicU8>,
}

impl Extensions {
    /// Adds the extensions of `codec`. The answer may drop some, but webrtcbin has to know their IDs before.
    pub(super) fn add(payloader: &gst::Element, codec: &Codec, timing: &Timing) -> Result<Self, Failure> {
        let mut all = Vec::new();
        for (id, uri) in &codec.extensions {
            let factory = match *uri {
                EXTENSION_TWCC => "rtphdrexttwcc",
                EXTENSION_MID => "rtphdrextmid",
                _ => continue,
            };
            let extension = make(factory)?.downcast::<RTPHeaderExtension>();
            let extension = extension.map_err(|_| Failure::internal(format!("{factory} is no extension")))?;
            extension.set_id(u32::from(*id));
            payloader.emit_by_name::<()>("add-extension", &[&extension]);
            all.push((*id, *uri, extension));
        }
        let capture = CaptureTimes::add(payloader, codec, timing);
        Ok(Self { payloader: payloader.clone(), all, capture })
    }

    /// Keeps only the extensions that the peer agreed to. Called before the first packet.
    pub(super) fn settle(&self, mid: &str, agreed: &Codec) {
        self.payloader.emit_by_name::<()>("clear-extensions", &[]);
        for (id, uri, extension) in &self.all {
            if !agreed.extensions.contains(&(*id, uri)) {
                continue;
            }
            if *uri == EXTENSION_MID {
                extension.set_property("mid", mid);
            }
            self.payloader.emit_by_name::<()>("add-extension", &[extension]);
        }
        self.capture.settle(agreed);
    }
}

impl CaptureTimes {
    fn add(payloader: &gst::Element, codec: &Codec, timing: &Timing) -> Self {
        let it = Self { known: codec.extension(EXTENSION_CAPTURE), id: Arc::default() };
        let Some(pad) = payloader.static_pad("src").filter(|_| it.known.is_some()) else { return it };
        let every = if codec.format.kind() == Kind::Audio { SOUND_EVERY } else { Duration::ZERO };
        let (id, timing, bearers) = (it.id.clone(), timing.clone(), Mutex::new(Bearers::new(every)));
        pad.add_probe(DATA, move |pad, info| {
            let id = id.load(Relaxed);
            if id != 0 {
                let mut bearers = bearers.lock().unwrap_or_else(PoisonError::into_inner);
                let now = timing.running_time();
                let mut bears = |packet: &gst::BufferRef| {
                    let time = rtp::time_and_source(rtp::start(packet, &mut [0; rtp::LOOK]));
                    time.is_some_and(|(time, _)| bearers.next(Duration::from_nanos(now.nseconds()), time))
                };
                // Most packets are not touched. All packets of a list are of one frame.
                if info.buffer().is_some_and(|packet| bears(packet)) {
                    let packet = info.buffer_mut().map(|packet| packet.make_mut());
                    packet.into_iter().for_each(|packet| add_time(packet, pad, id, now));
                } else if info.buffer_list().and_then(|list| list.get(0)).is_some_and(bears) {
                    let first = info.buffer_list_mut().and_then(|list| list.make_mut().get_mut(0));
                    first.into_iter().for_each(|packet| add_time(packet, pad, id, now));
                }
            }
            gst::PadProbeReturn::Ok
        });
        it
    }

    fn settle(&self, agreed: &Codec) {
        let id = self.known.filter(|id| agreed.extension(EXTENSION_CAPTURE) == Some(*id));
        self.id.store(id.unwrap_or(0), Relaxed);
    }
}

/// Adds the capture time to a packet.
fn add_time(packet: &mut gst::BufferRef, pad: &gst::Pad, id: u8, now: gst::ClockTime) {
    let Some(captured) = packet.pts().and_then(|pts| running_time(pad, pts)) else { return };
    let wall = Ntp::now();
    let said = said_by_source(packet);
    let age = Duration::from_nanos(now.saturating_sub(captured).nseconds());
    let time = capture_time(wall, said, age);
    if let Ok(mut packet) = RTPBuffer::from_buffer_writable(packet) {
        let _ = packet.add_extension_onebyte_header(id, &Capture::own(time).bytes());
    }
}

/// When something was captured, of which the source says this, or which is this old by its timestamp. The first counts,
/// unless the source has another clock.
fn capture_time(now: Ntp, said: Option<Ntp>, age: Duration) -> Ntp {
    let oldest = i64::try_from(OLDEST.as_nanos()).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(age.as_nanos()).ok().filter(|age| *age < oldest).unwrap_or(0);
    said.filter(|said| (0..oldest).contains(&now.since(*said))).unwrap_or(now.plus(-nanoseconds))
}

/// The time of capture that the source gave: an RTSP server does so in its sender reports.
fn said_by_source(packet: &gst::BufferRef) -> Option<Ntp> {
    let is_ntp = |meta: &gst::MetaRef<'_, gst::ReferenceTimestampMeta>| {
        meta.reference().structure(0).is_some_and(|it| it.name() == "timestamp/x-ntp")
    };
    let meta = packet.iter_meta::<gst::ReferenceTimestampMeta>().find(is_ntp)?;
    Some(Ntp::of_nanoseconds(meta.timestamp().nseconds()))
}

/// The running time of a timestamp at a pad, by the pad's segment.
fn running_time(pad: &gst::Pad, pts: gst::ClockTime) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    event.segment().downcast_ref::<gst::ClockTime>()?.to_running_time(pts)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The content of a packet's extensions, by their IDs 1 to 14.
    fn packet(offered: &Codec, agreed: &Codec) -> Vec<(u8, Vec<u8>)> {
        gst::init().unwrap();
        let payloader = make("rtpopuspay").unwrap();
        payloader.set_property("auto-header-extension", false);
        let timing = Timing::now();
        let extensions = Extensions::add(&payloader, offered, &timing).unwrap();
        extensions.settle("sound", agreed);
        let caps = gst::Caps::builder("audio/x-opus").field("channel-mapping-family", 0i32).build();
        let appsrc = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
        let appsink = gst_app::AppSink::builder().sync(false).build();
        let pipeline = gst::Pipeline::new();
        timing.apply(&pipeline);
        let chain = [appsrc.upcast_ref(), &payloader, appsink.upcast_ref()];
        pipeline.add_many(chain).unwrap();
        gst::Element::link_many(chain).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frame = gst::Buffer::from_slice([0u8; 20]);
        frame.get_mut().unwrap().set_pts(gst::ClockTime::ZERO);
        appsrc.push_buffer(frame).unwrap();
        let sample = appsink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a packet in time");
        pipeline.set_state(gst::State::Null).unwrap();
        let packet = RTPBuffer::from_buffer_readable(sample.buffer().unwrap()).unwrap();
        let found = (1..=14)
            .filter_map(|id| packet.extension_onebyte_header(id, 0).map(|bytes| (id, bytes.to_vec())));
        found.collect()
    }

    #[test]
    fn packets_carry_what_was_agreed_under_its_numbers() {
        let both = Codec {
            payload_type: 111,
            extensions: vec![(3, EXTENSION_TWCC), (9, EXTENSION_MID)],
            ..Codec::default()
        };
        let found = packet(&both, &both);
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3, 9]);
        assert_eq!(found.last().unwrap().1, b"sound");

        let only_mid = Codec { payload_type: 111, extensions: vec![(9, EXTENSION_MID)], ..Codec::default() };
        assert_eq!(packet(&both, &only_mid), [(9, b"sound".to_vec())]);
        let none = Codec { payload_type: 111, extensions: Vec::new(), ..Codec::default() };
        assert_eq!(packet(&both, &none), []);
        // RFC 8285 lets an answer drop an extension, not renumber it.
        let renumbered =
            Codec { payload_type: 111, extensions: vec![(4, EXTENSION_MID)], ..Codec::default() };
        assert_eq!(packet(&both, &renumbered), []);
    }

    /// Encoder and payloader keep the time with the frame.
    #[test]
    fn packets_carry_the_time_that_the_source_gave_their_frame() {
        gst::init().unwrap();
        let timing = Timing::now();
        let codec = Codec {
            extensions: vec![(3, EXTENSION_CAPTURE)],
            ..Codec::ours(crate::media::encode::codec::Format::Vp8)
        };
        let (encoder, payloader) = (make("vp8enc").unwrap(), make("rtpvp8pay").unwrap());
        Extensions::add(&payloader, &codec, &timing).unwrap().settle("picture", &codec);
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, 64, 48);
        let caps = info.fps(gst::Fraction::new(30, 1)).build().unwrap().to_caps().unwrap();
        let appsrc = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
        let appsink = gst_app::AppSink::builder().sync(false).build();
        let pipeline = gst::Pipeline::new();
        timing.apply(&pipeline);
        let chain = [appsrc.upcast_ref(), &encoder, &payloader, appsink.upcast_ref()];
        pipeline.add_many(chain).unwrap();
        gst::Element::link_many(chain).unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let mut frame = gst::Buffer::from_slice([90u8; 64 * 48 * 3 / 2]);
        let data = frame.get_mut().unwrap();
        data.set_pts(timing.running_time());
        // Three seconds ago.
        let captured = Ntp::now().plus(-3_000_000_000);
        let nanoseconds = captured.since(Ntp(1 << 63)).cast_unsigned() + (1 << 31) * 1_000_000_000;
        let reference = gst::Caps::new_empty_simple("timestamp/x-ntp");
        gst::ReferenceTimestampMeta::add(
            data,
            &reference,
            gst::ClockTime::from_nseconds(nanoseconds),
            gst::ClockTime::NONE,
        );
        appsrc.push_buffer(frame).unwrap();
        let sample = appsink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a packet in time");
        pipeline.set_state(gst::State::Null).unwrap();
        let packet = RTPBuffer::from_buffer_readable(sample.buffer().unwrap()).unwrap();
        let found = Capture::read(packet.extension_onebyte_header(3, 0).unwrap()).unwrap();
        assert!(found.time.since(captured).abs() < 1000, "{}", found.time.since(captured));
    }

    #[test]
    fn the_time_of_the_source_counts_unless_it_has_another_clock() {
        let (now, age) = (Ntp(0xe900_0000_0000_0000), Duration::from_millis(20));
        let found =
            |said: Option<i64>| now.since(capture_time(now, said.map(|ms| now.plus(ms * -1_000_000)), age));
        let ms = [None, Some(150), Some(0), Some(-1), Some(9_999), Some(10_000), Some(-1_000_000_000)];
        let wanted = [20, 150, 0, 20, 9_999, 20, 20].map(|ms| ms * 1_000_000);
        assert!(ms.map(found).into_iter().zip(wanted).all(|(it, wanted)| it.abs_diff(wanted) <= 1));
        assert_eq!(capture_time(now, None, Duration::from_secs(3600)), now);
    }

    #[test]
    fn the_capture_time_is_that_of_the_frame() {
        let all = vec![(1, EXTENSION_TWCC), (2, EXTENSION_MID), (14, EXTENSION_CAPTURE)];
        let both = Codec { payload_type: 111, extensions: all, ..Codec::default() };
        let before = Ntp::now();
        let found = packet(&both, &both);
        let (id, bytes) = found.last().unwrap();
        let capture = Capture::read(bytes).unwrap();
        let late = capture.time.since(before);
        assert_eq!((*id, capture.ahead), (14, Some(0)));
        assert!((-1_000_000..10_000_000_000).contains(&late), "{late}");

        let none = Codec { extensions: vec![(1, EXTENSION_TWCC), (2, EXTENSION_MID)], ..both.clone() };
        assert_eq!(packet(&both, &none).len(), 2);
    }
}
