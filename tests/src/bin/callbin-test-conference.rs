//! `callbin-test-conference URL UID ROOM`: a member of a room that works like GStreamer's multiparty examples. One pipeline feeds
//! a webrtcbin for each peer through a tee and a queue that waits, each codec has one payload type, uids are numbers, and an
//! unexpected message ends the program. Sends a red picture and a tone, and prints what it receives, for each ten frames.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use callbin_tests::Socket;
use gst::{glib, prelude::*};
use gst_webrtc::{WebRTCSDPType, WebRTCSessionDescription};
use serde_json::{Value, json};

const SENDER: &str = "videotestsrc is-live=true pattern=red ! video/x-raw,width=160,height=120,framerate=15/1 \
    ! vp8enc deadline=1 keyframe-max-dist=30 ! rtpvp8pay pt=96 ! tee name=video ! queue ! fakesink sync=true \
    audiotestsrc is-live=true ! opusenc ! rtpopuspay pt=97 ! application/x-rtp,encoding-name=OPUS ! tee name=audio \
    ! queue ! fakesink sync=true";

/// A message for a peer.
type Out = (u32, Value);

fn main() {
    gst::init().expect("GStreamer starts");
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, uid, room] = args.as_slice() else { panic!("usage: callbin-test-conference URL UID ROOM") };
    let mut socket = Socket::connect_to(url).hello(uid);
    let pipeline = gst::parse::launch(SENDER).expect("plugins are there");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("a pipeline");
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let (out, outgoing) = channel();
    let mut conference = Conference { pipeline, peers: BTreeMap::new(), out };
    socket.send(&format!("ROOM {room}"));
    socket.set_deadline(Duration::from_millis(10));
    loop {
        send(&mut socket, &outgoing);
        if let Some(text) = socket.try_receive_text() {
            conference.hear(&text);
        }
    }
}

fn send(socket: &mut Socket, outgoing: &Receiver<Out>) {
    for (peer, message) in outgoing.try_iter() {
        socket.send(&format!("ROOM_PEER_MSG {peer} {message}"));
    }
}

struct Conference {
    pipeline: gst::Pipeline,
    peers: BTreeMap<u32, gst::Element>,
    out: Sender<Out>,
}

impl Conference {
    fn hear(&mut self, text: &str) {
        let (verb, rest) = text.split_once(' ').unwrap_or((text, ""));
        match verb {
            "ROOM_OK" => {
                println!("joined");
                rest.split_whitespace().for_each(|peer| self.add(number(peer), true));
            }
            "ROOM_PEER_JOINED" => self.add(number(rest), false),
            "ROOM_PEER_LEFT" => self.remove(number(rest)),
            "ROOM_PEER_MSG" => {
                let (peer, message) = rest.split_once(' ').expect("a message");
                self.take(number(peer), &serde_json::from_str(message).expect("JSON"));
            }
            _ => panic!("unexpected: {text}"),
        }
    }

    fn add(&mut self, peer: u32, offers: bool) {
        println!("add {peer}");
        let webrtc = gst::ElementFactory::make("webrtcbin").name(format!("peer-{peer}"));
        let webrtc = webrtc.property_from_str("bundle-policy", "max-bundle").build().expect("a webrtcbin");
        self.pipeline.add(&webrtc).expect("a new peer");
        for tee in ["audio", "video"] {
            let queue =
                gst::ElementFactory::make("queue").name(format!("{tee}-{peer}")).build().expect("a queue");
            self.pipeline.add(&queue).expect("a new queue");
            queue.link(&webrtc).expect("a pad");
        }
        let out = self.out.clone();
        webrtc.connect("on-ice-candidate", false, move |values| {
            let (index, candidate) = (values[1].get::<u32>().ok()?, values[2].get::<String>().ok()?);
            let _ = out.send((peer, json!({ "ice": { "candidate": candidate, "sdpMLineIndex": index } })));
            None
        });
        let bin = self.pipeline.clone();
        webrtc.connect_pad_added(move |_, pad| receive(&bin, peer, pad));
        if offers {
            let out = self.out.clone();
            webrtc.connect("on-negotiation-needed", false, move |values| {
                describe(&values[0].get::<gst::Element>().ok()?, "offer", peer, &out);
                None
            });
        }
        for tee in ["audio", "video"] {
            let queue = self.pipeline.by_name(&format!("{tee}-{peer}")).expect("our queue");
            self.pipeline.by_name(tee).expect("our tee").link(&queue).expect("a pad");
            queue.sync_state_with_parent().expect("it plays");
        }
        webrtc.sync_state_with_parent().expect("it plays");
        assert!(self.peers.insert(peer, webrtc).is_none(), "peer {peer} is there already");
    }

    fn remove(&mut self, peer: u32) {
        println!("remove {peer}");
        let webrtc = self.peers.remove(&peer).expect("it is there");
        for tee in ["audio", "video"] {
            let queue = self.pipeline.by_name(&format!("{tee}-{peer}")).expect("our queue");
            let (tee, sink) =
                (self.pipeline.by_name(tee).expect("our tee"), queue.static_pad("sink").expect("a pad"));
            if let Some(pad) = sink.peer() {
                // Not while a buffer passes.
                let (queue, bin, tee) = (queue.clone(), self.pipeline.clone(), tee.clone());
                pad.add_probe(gst::PadProbeType::IDLE, move |pad, _| {
                    let _ = pad.peer().map(|sink| pad.unlink(&sink));
                    tee.release_request_pad(pad);
                    let (queue, bin) = (queue.clone(), bin.clone());
                    bin.call_async(move |bin| {
                        let _ = bin.remove(&queue);
                        let _ = queue.set_state(gst::State::Null);
                    });
                    gst::PadProbeReturn::Remove
                });
            }
        }
        let _ = self.pipeline.remove(&webrtc);
        let _ = webrtc.set_state(gst::State::Null);
    }

    fn take(&mut self, peer: u32, signal: &Value) {
        let webrtc = self.peers.get(&peer).expect("it is there").clone();
        if let Some(sdp) = signal["sdp"]["sdp"].as_str() {
            let is_offer = signal["sdp"]["type"] == "offer";
            let kind = if is_offer { WebRTCSDPType::Offer } else { WebRTCSDPType::Answer };
            let message = gst_sdp::SDPMessage::parse_buffer(sdp.as_bytes()).expect("a session description");
            let description = WebRTCSessionDescription::new(kind, message);
            let (element, out) = (webrtc.clone(), self.out.clone());
            let promise = gst::Promise::with_change_func(move |_| {
                if is_offer {
                    describe(&element, "answer", peer, &out);
                }
            });
            webrtc.emit_by_name::<()>("set-remote-description", &[&description, &promise]);
        } else if let (Some(candidate), Some(index)) =
            (signal["ice"]["candidate"].as_str(), signal["ice"]["sdpMLineIndex"].as_u64())
        {
            let index = u32::try_from(index).expect("an m-line");
            webrtc.emit_by_name::<()>("add-ice-candidate", &[&index, &candidate]);
        } else {
            panic!("unexpected: {signal}");
        }
    }
}

fn number(peer: &str) -> u32 {
    peer.trim().parse().expect("a number")
}

/// Creates an offer or an answer, sets it, and sends it.
fn describe(webrtc: &gst::Element, kind: &'static str, peer: u32, out: &Sender<Out>) {
    let (element, out) = (webrtc.clone(), out.clone());
    let promise = gst::Promise::with_change_func(move |reply| {
        let Ok(Some(reply)) = reply else { return };
        let description = reply.get::<WebRTCSessionDescription>(kind).expect("a description");
        let text = description.sdp().as_text().expect("text");
        let _ = out.send((peer, json!({ "sdp": { "type": kind, "sdp": text } })));
        element.emit_by_name::<()>("set-local-description", &[&description, &None::<gst::Promise>]);
    });
    webrtc.emit_by_name::<()>(&format!("create-{kind}"), &[&None::<gst::Structure>, &promise]);
}

/// Decodes a stream, and prints `video` or `audio` and the peer after each ten frames.
fn receive(pipeline: &gst::Pipeline, peer: u32, pad: &gst::Pad) {
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
        if (frames.fetch_add(1, Ordering::Relaxed) + 1).is_multiple_of(10) {
            println!("{media} {peer}");
        }
        None::<glib::Value>
    });
    pipeline.add(&bin).expect("a bin can be added");
    bin.sync_state_with_parent().expect("it plays");
    pad.link(&bin.static_pad("sink").expect("a ghost pad")).expect("the pads fit");
}
