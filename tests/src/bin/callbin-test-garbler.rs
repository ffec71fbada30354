//! `callbin-test-garbler URL UID SEED [ROOM [CODEC]]`: a peer that answers calls and sends garbled packets. CODEC is vp8
//! (as without it), vp9, h264 or h265.
//!
//! It is a real peer with GStreamer's webrtcbin. Its ICE and DTLS are correct, so the other side decrypts its packets and
//! reads them. RTP, RTCP and the SCTP of a data channel are changed just before they are encrypted; the SCTP checksum is
//! corrected. The seed determines the changes, apart from timing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use callbin_protocol::{SdpType, Signal};
use callbin_tests::webrtc::{react, take_calls};
use gst::prelude::*;
use gst_webrtc::WebRTCDataChannel;
use rand::{Rng, RngExt, SeedableRng, rngs::StdRng};

/// A pipeline with this encoder and payloader.
fn sender(codec: &str) -> String {
    // The payload types are those that callbin offers.
    let (encoder, name, number) = match codec {
        "vp8" => ("vp8enc deadline=1 keyframe-max-dist=10 ! rtpvp8pay", "VP8", 96),
        "vp9" => ("vp9enc deadline=1 cpu-used=8 keyframe-max-dist=10 ! rtpvp9pay", "VP9", 100),
        "h264" => ("x264enc tune=zerolatency key-int-max=10 ! rtph264pay config-interval=-1", "H264", 98),
        "h265" => (
            "x265enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph265pay config-interval=-1",
            "H265",
            104,
        ),
        other => panic!("{other} is not a codec of this program"),
    };
    format!(
        "webrtcbin name=peer bundle-policy=max-bundle \
        videotestsrc is-live=true pattern=ball ! video/x-raw,format=I420,width=320,height=240,framerate=30/1 \
        ! {encoder} pt={number} mtu=600 ! application/x-rtp,media=video,encoding-name={name},payload={number} ! peer. \
        audiotestsrc is-live=true ! opusenc ! rtpopuspay pt=111 \
        ! application/x-rtp,media=audio,encoding-name=OPUS,payload=111 ! peer."
    )
}

/// The first packets of each kind are not changed, so that media and data channel work before they are disturbed.
const SOUND: u32 = 40;

/// One packet in `ONE_IN` is garbled.
const ONE_IN: u32 = 3;

type Random = Arc<Mutex<StdRng>>;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, uid, seed, room @ ..] = args.as_slice() else {
        panic!("usage: callbin-test-garbler URL UID SEED [ROOM [CODEC]]")
    };
    gst::init().expect("GStreamer is installed");
    let seed = seed.parse().expect("the seed is a number");
    let sender = sender(room.get(1).map_or("vp8", String::as_str));
    let random: Random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed)));
    // By the prefix of the peer's messages.
    let mut peers = HashMap::new();
    take_calls(url, uid, room.first(), |from, message| {
        // An offer begins a connection: the garbage may have ended the one before.
        if matches!(Signal::parse(message), Ok(Signal::Sdp { kind: SdpType::Offer, .. })) {
            peers.insert(from.to_owned(), Sender(pipeline(&sender, &random)));
        }
        let Some(Sender(peer)) = peers.get(from) else { return Vec::new() };
        react(&peer.by_name("peer").expect("it is named so"), message)
    });
}

/// Ends its pipeline when dropped.
struct Sender(gst::Pipeline);

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.set_state(gst::State::Null);
    }
}

fn pipeline(sender: &str, random: &Random) -> gst::Pipeline {
    let pipeline = gst::parse::launch(sender).expect("the plugins are there");
    let pipeline = pipeline.downcast::<gst::Pipeline>().expect("it is a pipeline");
    let webrtcbin = pipeline.by_name("peer").expect("it is named so");
    let own = random.clone();
    let bin = webrtcbin.downcast_ref::<gst::Bin>().expect("webrtcbin is a bin");
    bin.connect_deep_element_added(move |_, _, element| {
        if element.factory().is_some_and(|factory| factory.name() == "dtlssrtpenc") {
            element.pads().iter().for_each(|pad| garble(pad, &own));
            let random = own.clone();
            element.connect_pad_added(move |_, pad| garble(pad, &random));
        }
    });
    webrtcbin.connect("on-data-channel", false, |args| {
        let channel = args[1].get::<WebRTCDataChannel>().expect("it is one");
        thread::spawn(move || {
            loop {
                thread::sleep(Duration::from_millis(20));
                let _ = channel.send_string_full(Some("one more message, soon to be garbled"));
            }
        });
        None
    });
    pipeline.set_state(gst::State::Playing).expect("it starts");
    pipeline
}

/// Garbles the packets that pass through a pad on their way to encryption.
fn garble(pad: &gst::Pad, random: &Random) {
    if pad.direction() != gst::PadDirection::Sink {
        return;
    }
    let random = random.clone();
    let keep_sound: fn(&mut Vec<u8>, &[u8]) = match pad.name().split('_').next() {
        Some("data") => |bytes, _| set_checksum(bytes),
        Some("rtcp") => keep_rtcp,
        _ => keep_rtp,
    };
    let mut seen = 0;
    let change = move |buffer: &gst::BufferRef| {
        let sound = buffer.map_readable().expect("it can be read");
        let mut bytes = sound.to_vec();
        seen += 1;
        let mut random = random.lock().unwrap_or_else(PoisonError::into_inner);
        if seen > SOUND && random.random_ratio(1, ONE_IN) {
            mutate(&mut bytes, &mut *random);
            keep_sound(&mut bytes, &sound);
        }
        let mut garbled = gst::Buffer::from_mut_slice(bytes);
        let copy = garbled.get_mut().expect("it is ours alone");
        copy.set_pts(buffer.pts());
        garbled
    };
    let both = gst::PadProbeType::BUFFER | gst::PadProbeType::BUFFER_LIST;
    let change = Mutex::new(change);
    pad.add_probe(both, move |_, info| {
        let mut change = change.lock().unwrap_or_else(PoisonError::into_inner);
        info.data = match info.data.take() {
            Some(gst::PadProbeData::Buffer(buffer)) => Some(gst::PadProbeData::Buffer(change(&buffer))),
            Some(gst::PadProbeData::BufferList(list)) => {
                Some(gst::PadProbeData::BufferList(list.iter().map(&mut *change).collect()))
            }
            other => other,
        };
        gst::PadProbeReturn::Ok
    });
}

/// Changes a few bytes, cuts, repeats or adds some.
fn mutate(bytes: &mut Vec<u8>, random: &mut impl Rng) {
    // Prefer headers: parsers fail there.
    let place = |bytes: &[u8], random: &mut dyn Rng| {
        let end = if random.random_bool(0.7) { bytes.len().min(40) } else { bytes.len() };
        random.random_range(0..end.max(1))
    };
    for _ in 0..random.random_range(1..4) {
        if bytes.is_empty() {
            return;
        }
        let at = place(bytes, random);
        match random.random_range(0..6) {
            0 => bytes[at] = random.random(),
            1 => bytes[at] ^= 1 << random.random_range(0..8),
            2 => bytes[at] = [0, 1, 0x7f, 0x80, 0xfe, 0xff][random.random_range(0..6)],
            3 => bytes.truncate(at.max(1)),
            4 => bytes.extend((0..random.random_range(1..200)).map(|_| random.random::<u8>())),
            _ => {
                let copied = bytes[at..].to_vec();
                bytes.splice(at..at, copied);
                bytes.truncate(1200);
            }
        }
    }
}

/// Restores what the encryption checks: the header fits into the packet, and sequence numbers continue.
fn keep_rtp(bytes: &mut Vec<u8>, sound: &[u8]) {
    if bytes.len() < 12 {
        *bytes = sound.to_vec();
    }
    bytes[2..4].copy_from_slice(&sound[2..4]);
    let sources = 12 + 4 * usize::from(bytes[0] & 15);
    let words = bytes.get(sources + 2..sources + 4).map(|words| u16::from_be_bytes([words[0], words[1]]));
    let extension = if bytes[0] & 16 == 0 { Some(0) } else { words.map(|words| 4 + 4 * usize::from(words)) };
    if extension.is_none_or(|extension| sources + extension > bytes.len()) {
        bytes[0] = 0x80;
    }
}

/// Restores what the encryption checks: the header of the first report.
fn keep_rtcp(bytes: &mut Vec<u8>, sound: &[u8]) {
    if bytes.len() < 8 {
        *bytes = sound.to_vec();
    }
}

/// Sets the checksum: CRC32c of the packet with zeros in the checksum's place (RFC 9260, appendix A).
fn set_checksum(bytes: &mut [u8]) {
    if bytes.len() < 12 {
        return;
    }
    bytes[8..12].fill(0);
    let sum = bytes.iter().fold(!0u32, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
    });
    bytes[8..12].copy_from_slice(&(!sum).to_le_bytes());
}
