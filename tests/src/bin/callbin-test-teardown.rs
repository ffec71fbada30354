//! `callbin-test-teardown [ROUNDS]`: a client's engine in this process is flooded with texts, and ends the peers that
//! do it, while their packets still arrive. Repeats that ROUNDS (1000) times, and then prints `survived`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use callbin::{engine::Out, negotiation::Start};
use callbin_protocol::{Candidate, SdpType, Signal};
use callbin_tests::{DEADLINE, host::Host, webrtc::answer};
use gst::prelude::*;
use gst_webrtc::{WebRTCDataChannel, WebRTCDataChannelState};

/// Floods at the same time.
const WIDTH: usize = 3;
/// Between two texts: more than the client takes, and less than makes SCTP pause.
const PACE: Duration = Duration::from_micros(300);
const TURN: Duration = Duration::from_millis(5);
/// Data packets that are in flight when the client hangs up have arrived then.
const LINGER: Duration = Duration::from_millis(300);

fn main() {
    let rounds = std::env::args().nth(1).map_or(1000, |text| text.parse().expect("a number"));
    gst::init().expect("GStreamer starts");
    let mut host = Host::start((false, false), DEADLINE);
    let mut flooders = HashMap::new();
    let (mut begun, mut ended) = (0, 0);
    let mut progress = Instant::now();
    while ended < rounds {
        while flooders.len() < WIDTH && begun < rounds {
            let key = host.engine.open(None, Start::Offer, true, Duration::ZERO);
            flooders.insert(key, Flooder::start());
            begun += 1;
        }
        for (key, flooder) in &flooders {
            flooder.candidates.try_iter().for_each(|candidate| host.engine.signal(*key, candidate));
        }
        host.turn(TURN);
        while let Some((key, out)) = host.engine.next_out() {
            match out {
                Out::Send(signal) => {
                    let reply = flooders.get(&key).and_then(|flooder| flooder.take(signal));
                    reply.into_iter().for_each(|reply| host.engine.signal(key, reply));
                }
                Out::Failed { failure, .. } => {
                    host.engine.close(key);
                    flooders.remove(&key).into_iter().for_each(Flooder::end);
                    if failure.to_string().contains("too many texts") {
                        (ended, progress) = (ended + 1, Instant::now());
                    } else {
                        // A flooder that does not connect is no flood: another one takes its place.
                        eprintln!("{failure}");
                        begun -= 1;
                    }
                }
                _ => {}
            }
        }
        assert!(progress.elapsed() < DEADLINE, "no flood arrives after {ended} rounds");
    }
    assert!(host.engine.wait_for_teardown(DEADLINE), "pipelines do not end");
    println!("survived");
}

/// A webrtcbin that answers, and floods the data channel.
struct Flooder {
    pipeline: gst::Pipeline,
    webrtcbin: gst::Element,
    candidates: Receiver<Signal>,
    /// Kept until the pipeline is gone: its elements point to the channel without a reference.
    channels: Arc<Mutex<Vec<WebRTCDataChannel>>>,
}

impl Flooder {
    fn start() -> Self {
        let pipeline = gst::Pipeline::new();
        let webrtcbin = gst::ElementFactory::make("webrtcbin").build().expect("webrtcbin is installed");
        webrtcbin.set_property_from_str("bundle-policy", "max-bundle");
        pipeline.add(&webrtcbin).expect("it is a fresh pipeline");
        let (found, candidates) = channel();
        webrtcbin.connect("on-ice-candidate", false, move |args| {
            let candidate = args[2].get().expect("a candidate");
            let _ = found.send(Signal::Ice(Candidate {
                candidate,
                sdp_m_line_index: Some(0),
                ..Candidate::default()
            }));
            None
        });
        let channels = Arc::new(Mutex::new(Vec::new()));
        let kept = channels.clone();
        webrtcbin.connect("on-data-channel", false, move |args| {
            let channel = args[1].get::<WebRTCDataChannel>().expect("a channel");
            kept.lock().unwrap_or_else(PoisonError::into_inner).push(channel.clone());
            thread::spawn(move || flood(&channel));
            None
        });
        pipeline.set_state(gst::State::Playing).expect("it starts");
        Self { pipeline, webrtcbin, candidates, channels }
    }

    /// Passes on the client's signal; returns the answer to an offer.
    fn take(&self, signal: Signal) -> Option<Signal> {
        match signal {
            Signal::Sdp { kind: SdpType::Offer, sdp } => {
                Some(Signal::Sdp { kind: SdpType::Answer, sdp: answer(&self.webrtcbin, &sdp) })
            }
            Signal::Ice(Candidate { candidate, sdp_m_line_index: Some(index), .. }) => {
                self.webrtcbin.emit_by_name::<()>("add-ice-candidate", &[&index, &candidate]);
                None
            }
            _ => None,
        }
    }

    /// Ends the flood, some time after the client has hung up.
    fn end(self) {
        thread::spawn(move || {
            thread::sleep(LINGER);
            let Self { pipeline, webrtcbin, channels, .. } = self;
            for channel in channels.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                channel.close();
            }
            let _ = pipeline.set_state(gst::State::Null);
            drop((pipeline, webrtcbin));
        });
    }
}

fn flood(channel: &WebRTCDataChannel) {
    let text = "x".repeat(64);
    while channel.ready_state() <= WebRTCDataChannelState::Open {
        thread::sleep(PACE);
        let _ = channel.send_string_full(Some(&text));
    }
}
