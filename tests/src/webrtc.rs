//! Shared code of the test peers that run a webrtcbin of their own and answer calls.

use std::sync::mpsc;

use callbin_protocol::{Candidate, SdpType, Signal};
use gst::prelude::*;
use gst_webrtc::{WebRTCICEGatheringState, WebRTCSDPType, WebRTCSessionDescription};

use crate::{DEADLINE, Socket, socket::Received, wait_until};

/// Registers `uid`, enters a room if one is given, and prints `registered`. Then passes each message to `take`, with the prefix
/// that names its sender, and sends the signals that it returns to that peer, until the connection ends.
pub fn take_calls(
    url: &str,
    uid: &str,
    room: Option<&String>,
    mut take: impl FnMut(&str, &str) -> Vec<Signal>,
) {
    let mut socket = Socket::connect_to(url).hello(uid);
    if let Some(room) = room {
        socket.send(&format!("ROOM {room}"));
        socket.expect("ROOM_OK ");
    }
    println!("registered");
    loop {
        match socket.receive() {
            Received::Text(text) => {
                let (from, message) = split(&text);
                for signal in take(from, message) {
                    socket.send(&format!("{from}{signal}"));
                }
            }
            Received::Binary(_) => {}
            Received::Closed(_) | Received::Cut => break,
        }
    }
}

/// Splits a message into prefix and content. In a room the prefix names the sender, and that of a reply the receiver.
fn split(text: &str) -> (&str, &str) {
    let behind_two_words = text.match_indices(' ').nth(1).map(|(space, _)| space + 1);
    match behind_two_words.filter(|_| text.starts_with("ROOM_PEER_MSG ")) {
        Some(message) => text.split_at(message),
        None => ("", text),
    }
}

/// Passes a signal to webrtcbin. Returns the signals to reply with.
pub fn react(webrtcbin: &gst::Element, message: &str) -> Vec<Signal> {
    match Signal::parse(message) {
        Ok(Signal::Sdp { kind: SdpType::Offer, sdp }) => return answer_fully(webrtcbin, &sdp),
        Ok(Signal::Ice(Candidate { candidate, sdp_m_line_index: Some(index), .. })) => {
            webrtcbin.emit_by_name::<()>("add-ice-candidate", &[&index, &candidate]);
        }
        _ => {}
    }
    Vec::new()
}

/// The answer and all candidates.
fn answer_fully(webrtcbin: &gst::Element, offer: &str) -> Vec<Signal> {
    answer(webrtcbin, offer);
    wait_until("candidates", DEADLINE, || {
        let state = webrtcbin.property::<WebRTCICEGatheringState>("ice-gathering-state");
        (state == WebRTCICEGatheringState::Complete).then_some(())
    });
    let local = webrtcbin.property::<WebRTCSessionDescription>("local-description");
    let sdp = local.sdp().as_text().expect("it is text");
    let candidates: Vec<Signal> = sdp
        .lines()
        .filter_map(|line| line.strip_prefix("a=candidate:"))
        .map(|rest| Candidate {
            candidate: format!("candidate:{rest}"),
            sdp_m_line_index: Some(0),
            ..Candidate::default()
        })
        .map(Signal::Ice)
        .collect();
    let mut all = vec![Signal::Sdp { kind: SdpType::Answer, sdp }];
    all.extend(candidates);
    all
}

/// Lets webrtcbin answer an offer, and begin to gather candidates. Returns the answer.
pub fn answer(webrtcbin: &gst::Element, offer: &str) -> String {
    let offer = gst_sdp::SDPMessage::parse_buffer(offer.as_bytes()).expect("callbin makes sound offers");
    let offer = WebRTCSessionDescription::new(WebRTCSDPType::Offer, offer);
    ask(webrtcbin, "set-remote-description", &[&offer]);
    let answer = ask(webrtcbin, "create-answer", &[&None::<gst::Structure>]).expect("there is an answer");
    let answer = answer.get::<WebRTCSessionDescription>("answer").expect("there is an answer");
    ask(webrtcbin, "set-local-description", &[&answer]);
    answer.sdp().as_text().expect("it is text")
}

/// Emits a signal that replies through a promise, and waits for the reply.
fn ask(webrtcbin: &gst::Element, signal: &str, args: &[&dyn ToValue]) -> Option<gst::Structure> {
    let (sender, receiver) = mpsc::channel();
    let promise = gst::Promise::with_change_func(move |reply| {
        let reply = reply.expect("it is not interrupted").map(ToOwned::to_owned);
        sender.send(reply).expect("it is waited for");
    });
    let args: Vec<&dyn ToValue> = args.iter().copied().chain([&promise as &dyn ToValue]).collect();
    webrtcbin.emit_by_name::<()>(signal, &args);
    receiver.recv_timeout(DEADLINE).expect("webrtcbin answers in time")
}
