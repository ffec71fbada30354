//! `callbin-test-flooder URL UID asks|floods [ROOM]`: a peer that takes calls and requests retransmissions and key
//! frames.
//!
//! A real peer with GStreamer's webrtcbin. `asks` sends NACKs for each packet ten times per second, PLIs and FIRs, but
//! no more than an honest peer might send. `floods` requests as much as fits into 0.4 Mbit/s.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use callbin_tests::webrtc::{react, take_calls};
use gst::prelude::*;
use gst_webrtc::WebRTCRTPTransceiver;

/// How it requests: the pause between reports; in each report, how often each of the last `packets` packets is
/// requested, and the number of key frame requests.
struct Manner {
    pause: Duration,
    times: usize,
    packets: u16,
    key_frames: usize,
}

/// 0.2 Mbit/s that request 2,000 packets and 30 key frames per second.
const ASKS: Manner = Manner { pause: Duration::from_millis(100), times: 1, packets: 204, key_frames: 3 };
/// 0.4 Mbit/s that request 190,000 packets per second.
const FLOODS: Manner = Manner { pause: Duration::from_millis(25), times: 10, packets: 476, key_frames: 3 };

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, uid, manner, room @ ..] = args.as_slice() else {
        panic!("usage: callbin-test-flooder URL UID asks|floods [ROOM]")
    };
    let manner = if manner == "floods" { &FLOODS } else { &ASKS };
    gst::init().expect("GStreamer is installed");
    // By the prefix of a peer's messages.
    let mut peers = HashMap::new();
    take_calls(url, uid, room.first(), |from, message| {
        let (_, webrtcbin) = peers.entry(from.to_owned()).or_insert_with(|| receiver(manner));
        react(webrtcbin, message)
    });
}

/// A webrtcbin that receives all media, and then requests them again.
fn receiver(manner: &'static Manner) -> (gst::Pipeline, gst::Element) {
    let pipeline = gst::Pipeline::new();
    let webrtcbin = gst::ElementFactory::make("webrtcbin").build().expect("webrtcbin is installed");
    webrtcbin.set_property_from_str("bundle-policy", "max-bundle");
    pipeline.add(&webrtcbin).expect("it is a fresh pipeline");
    webrtcbin.connect("on-new-transceiver", false, |args| {
        let transceiver = args[1].get::<WebRTCRTPTransceiver>().expect("it is one");
        transceiver.set_property("do-nack", true);
        None
    });
    let weak = pipeline.downgrade();
    webrtcbin.connect_pad_added(move |webrtcbin, pad| {
        if pad.direction() != gst::PadDirection::Src {
            return;
        }
        let pipeline = weak.upgrade().expect("it runs");
        let sink = gst::ElementFactory::make("fakesink").property("async", false).build().expect("core");
        pipeline.add(&sink).expect("it is a fresh sink");
        sink.sync_state_with_parent().expect("it runs");
        pad.link(&sink.static_pad("sink").expect("a sink has one")).expect("it takes anything");
        let caps = pad.current_caps().expect("a stream has caps");
        if caps.structure(0).expect("caps are fixed").get("media") == Ok("video") {
            let (newest, session) = (watch(pad), session(webrtcbin));
            thread::spawn(move || flood(&session, &newest, manner));
        }
    });
    pipeline.set_state(gst::State::Playing).expect("it starts");
    (pipeline, webrtcbin)
}

/// SSRC and sequence number of the newest packet, combined in one number.
fn watch(pad: &gst::Pad) -> Arc<AtomicU64> {
    let newest = Arc::new(AtomicU64::new(0));
    let told = newest.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let bytes = info.buffer().expect("it is a buffer").map_readable().expect("it can be read");
        let number = u64::from(u16::from_be_bytes([bytes[2], bytes[3]]));
        let ssrc = u64::from(u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]));
        told.store(ssrc << 16 | number, Relaxed);
        gst::PadProbeReturn::Ok
    });
    newest
}

/// The RTP session of the bundle.
fn session(webrtcbin: &gst::Element) -> gst::Element {
    let bin = webrtcbin.downcast_ref::<gst::Bin>().expect("webrtcbin is a bin");
    let rtpbin = bin.by_name("rtpbin").expect("it has an rtpbin");
    rtpbin.emit_by_name::<gst::Element>("get-session", &[&0u32])
}

/// Sends reports endlessly, on the pad where the session sends its own.
fn flood(session: &gst::Element, newest: &AtomicU64, manner: &Manner) {
    let pad = session.static_pad("send_rtcp_src").expect("the session sends reports");
    loop {
        thread::sleep(manner.pause);
        let newest = newest.load(Relaxed);
        // Not before the session's own first report, which brings the pad's caps and segment.
        if newest == 0 || pad.sticky_event::<gst::event::Segment>(0).is_none() {
            continue;
        }
        let report = report(u32::try_from(newest >> 16).expect("it was one"), newest as u16, manner);
        let _ = pad.push(gst::Buffer::from_slice(report));
    }
}

/// A compound packet of a receiver report and the requests (RFC 3550, section 6.4.2, RFC 4585, section 6).
fn report(ssrc: u32, newest: u16, manner: &Manner) -> Vec<u8> {
    let mut entries = Vec::new();
    for _ in 0..manner.times {
        for first in (0..manner.packets).step_by(17).map(|back| newest.wrapping_sub(back + 16)) {
            entries.extend(first.to_be_bytes());
            entries.extend([0xff, 0xff]);
        }
    }
    let mut compound = vec![0x80, 201, 0, 1, 0, 0, 0, 1];
    add(&mut compound, 205, 1, ssrc, &entries);
    let fir = [&ssrc.to_be_bytes()[..], &[newest as u8, 0, 0, 0]].concat();
    for number in 0..manner.key_frames {
        let (format, body) = if number == 0 { (4, &fir[..]) } else { (1, &[][..]) };
        add(&mut compound, 206, format, ssrc, body);
    }
    compound
}

fn add(compound: &mut Vec<u8>, kind: u8, format: u8, ssrc: u32, body: &[u8]) {
    let words = u16::try_from(2 + body.len() / 4).expect("it is short");
    compound.extend([0x80 | format, kind]);
    compound.extend(words.to_be_bytes());
    compound.extend([0, 0, 0, 1]);
    compound.extend(ssrc.to_be_bytes());
    compound.extend(body);
}
