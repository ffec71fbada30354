//! `callbin-test-webrtcbin URL UID [PEER]`: GStreamer's webrtcbin with default settings, without bundling. Waits for an
//! offer as UID, or calls PEER and offers. Sends a red picture and a tone, answers each text with `echo`, and prints what it
//! receives.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Sender, channel},
    },
    time::Duration,
};

use callbin_tests::Socket;
use gst::{glib, prelude::*};
use gst_webrtc::{WebRTCDataChannel, WebRTCSDPType, WebRTCSessionDescription};
use serde_json::{Value, json};

/// The payload types are those of Chromium's offers.
const SENDER: &str = "webrtcbin name=peer \
    videotestsrc is-live=true pattern=red ! video/x-raw,width=320,height=240,framerate=15/1 \
    ! vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay pt=96 ! application/x-rtp,media=video,encoding-name=VP8,payload=96 ! peer. \
    audiotestsrc is-live=true ! opusenc ! rtpopuspay pt=111 ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer.";

fn main() {
    gst::init().expect("GStreamer starts");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (url, uid, callee) = (&args[0], &args[1], args.get(2));
    let (out, outgoing) = channel();
    let mut socket = Socket::connect_to(url).hello(uid);
    println!("registered");
    let peer = callee.map(|callee| {
        socket.send(&format!("SESSION {callee}"));
        socket.expect("SESSION_OK");
        Peer::start(&out, true)
    });
    let mut peer = peer;
    socket.set_deadline(Duration::from_millis(10));
    loop {
        outgoing.try_iter().for_each(|frame: Value| socket.send(&frame.to_string()));
        let Some(frame) = socket.try_receive_text() else { continue };
        let signal: Value = serde_json::from_str(&frame).unwrap_or_default();
        peer.get_or_insert_with(|| Peer::start(&out, false)).take(&signal);
    }
}

struct Peer {
    pipeline: gst::Pipeline,
    webrtc: gst::Element,
    out: Sender<Value>,
}

impl Peer {
    fn start(out: &Sender<Value>, offers: bool) -> Self {
        let pipeline = gst::parse::launch(SENDER).expect("plugins are there");
        let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
        let webrtc = pipeline.by_name("peer").expect("named");
        let signals = out.clone();
        webrtc.connect("on-ice-candidate", false, move |values| {
            let (index, candidate) = (values[1].get::<u32>().ok()?, values[2].get::<String>().ok()?);
            let _ = signals.send(json!({ "ice": { "candidate": candidate, "sdpMLineIndex": index } }));
            None
        });
        webrtc.connect("on-data-channel", false, |values| {
            listen(&values[1].get().expect("a data channel"));
            None
        });
        let bin = pipeline.clone();
        webrtc.connect_pad_added(move |_, pad| receive(&bin, pad));
        if offers {
            let signals = out.clone();
            webrtc.connect("on-negotiation-needed", false, move |values| {
                let webrtc = values[0].get::<gst::Element>().ok()?;
                describe(&webrtc, "offer", &signals);
                None
            });
        }
        pipeline.set_state(gst::State::Playing).expect("it plays");
        Self { pipeline, webrtc, out: out.clone() }
    }

    fn take(&self, signal: &Value) {
        if let Some(sdp) = signal["sdp"]["sdp"].as_str() {
            let is_offer = signal["sdp"]["type"] == "offer";
            let kind = if is_offer { WebRTCSDPType::Offer } else { WebRTCSDPType::Answer };
            let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).expect("a session description");
            let description = WebRTCSessionDescription::new(kind, message);
            let (webrtc, out) = (self.webrtc.clone(), self.out.clone());
            let promise = gst::Promise::with_change_func(move |_| {
                if is_offer {
                    describe(&webrtc, "answer", &out);
                }
            });
            self.webrtc.emit_by_name::<()>("set-remote-description", &[&description, &promise]);
        } else if let (Some(candidate), Some(index)) = (
            signal["ice"]["candidate"].as_str().filter(|it| !it.is_empty()),
            signal["ice"]["sdpMLineIndex"].as_u64(),
        ) {
            let index = u32::try_from(index).expect("an m-line");
            self.webrtc.emit_by_name::<()>("add-ice-candidate", &[&index, &candidate]);
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// Creates an offer or an answer, sends it, and then sets it.
fn describe(webrtc: &gst::Element, kind: &'static str, out: &Sender<Value>) {
    let (element, out) = (webrtc.clone(), out.clone());
    let promise = gst::Promise::with_change_func(move |reply| {
        let Ok(Some(reply)) = reply else { return };
        let description = reply.get::<WebRTCSessionDescription>(kind).expect("a description");
        let text = description.sdp().as_text().expect("text");
        println!("{kind} {} bundled", if text.contains("a=group:BUNDLE") { "is" } else { "not" });
        let _ = out.send(json!({ "sdp": { "type": kind, "sdp": text } }));
        element.emit_by_name::<()>("set-local-description", &[&description, &None::<gst::Promise>]);
    });
    webrtc.emit_by_name::<()>(&format!("create-{kind}"), &[&None::<gst::Structure>, &promise]);
}

/// Prints each text, and answers it. webrtcbin points to the channel without a reference, so it is kept.
fn listen(channel: &WebRTCDataChannel) {
    channel.connect_on_message_string(|channel, text| {
        println!("text {}", text.unwrap_or_default());
        let _ = channel.send_string_full(Some("echo"));
    });
    std::mem::forget(channel.clone());
}

/// Decodes a stream, and prints `video` or `audio` after ten frames.
fn receive(pipeline: &gst::Pipeline, pad: &gst::Pad) {
    if pad.direction() != gst::PadDirection::Src {
        return;
    }
    let caps = pad.current_caps().or_else(|| pad.allowed_caps()).expect("a pad of webrtcbin has caps");
    let media = caps.structure(0).and_then(|it| it.get::<String>("media").ok()).unwrap_or_default();
    let decoder = if media == "video" { "rtpvp8depay ! vp8dec" } else { "rtpopusdepay ! opusdec" };
    let sink = format!("queue ! {decoder} ! fakesink name=sink signal-handoffs=true sync=false");
    let bin = gst::parse::bin_from_description(&sink, true).expect("plugins are there");
    let frames = Arc::new(AtomicUsize::new(0));
    bin.by_name("sink").expect("named").connect("handoff", false, move |_| {
        if frames.fetch_add(1, Ordering::Relaxed) == 10 {
            println!("{media}");
        }
        None::<glib::Value>
    });
    pipeline.add(&bin).expect("a bin can be added");
    bin.sync_state_with_parent().expect("it plays");
    pad.link(&bin.static_pad("sink").expect("a ghost pad")).expect("the pads fit");
}
