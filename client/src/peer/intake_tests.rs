//! With real SCTP associations, connected without ICE and DTLS. Some failures end the whole process.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering::SeqCst},
        mpsc::{Receiver, channel},
    },
    thread,
    time::Duration,
};

use super::*;
use crate::{
    peer::{PeerEvent, Said},
    sdp::{Fingerprint, Hash},
};

const LIMIT: Duration = Duration::from_secs(10);
const DATA: u8 = 0;
const FORWARD_TSN: u8 = 192;
/// "abc" as a certificate, and its SHA-256.
const PEM: &str = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
const HASH: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

/// An association is known by a number in the whole process.
static NEXT_ID: AtomicU32 = AtomicU32::new(1);

/// A peer's and our end of an association. Our data goes to sinks outside `ours`, which do not stop with it.
struct Association {
    peer: gst::Pipeline,
    peer_enc: gst::Element,
    ours: gst::Pipeline,
    our_dec: gst::Element,
    /// The streams that begin at our end.
    begun: Arc<Mutex<Receiver<String>>>,
    /// The peer's packets that we have handled.
    handled: Receiver<()>,
    voice: Voice,
    said: async_std::channel::Receiver<Said>,
}

impl Association {
    /// Connects both ends. `change` changes the peer's packets; it gets our first TSN.
    fn connect(mut change: impl FnMut(&mut Vec<u8>, u32) + Send + 'static) -> Self {
        gst::init().unwrap();
        let [(peer, peer_enc, peer_dec), (ours, our_enc, our_dec)] = [(); 2].map(|()| end());
        let (inbox, said) = async_std::channel::unbounded();
        let voice = Voice::new(1, 1, inbox);
        guard(&our_dec, &voice, &open_gate());
        let begun = Arc::new(Mutex::new(take_streams(&our_dec, &peer)));
        let (up, is_up) = channel();
        peer_enc.connect("sctp-association-established", false, move |_| {
            let _ = up.send(());
            None
        });
        let first_tsn = Arc::new(AtomicU32::new(0));
        let told = first_tsn.clone();
        on_packets(&our_enc, move |packet| {
            if matches!(packet.get(12), Some(1 | 2)) {
                told.store(number(packet, 28), SeqCst);
            }
        });
        let (done, handled) = channel();
        on_packets(&peer_enc, move |packet| {
            let _ = done.send(());
            change(packet, first_tsn.load(SeqCst));
        });
        for (enc, dec) in [(&peer_enc, &our_dec), (&our_enc, &peer_dec)] {
            let (src, sink) = (enc.static_pad("src").unwrap(), dec.static_pad("sink").unwrap());
            src.link_full(&sink, gst::PadLinkCheck::empty()).unwrap();
        }
        for dec in [&peer_dec, &our_dec] {
            dec.set_state(gst::State::Playing).unwrap();
        }
        for end in [&peer, &ours] {
            end.set_state(gst::State::Playing).unwrap();
        }
        is_up.recv_timeout(LIMIT).expect("they connect");
        Self { peer, peer_enc, ours, our_dec, begun, handled, voice, said }
    }

    /// A stream to us.
    fn stream(&self, number: usize) -> gst::Pad {
        let src = gst::Pad::builder(gst::PadDirection::Src).build();
        let sink = self.peer_enc.request_pad_simple(&format!("sink_{number}")).unwrap();
        src.link_full(&sink, gst::PadLinkCheck::empty()).unwrap();
        src.set_active(true).unwrap();
        src.push_event(gst::event::StreamStart::new("texts"));
        src.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        src
    }

    /// Waits for a stream to begin, for `limit` at most.
    fn begins(&self, limit: Duration) -> Option<String> {
        next(&self.begun, limit)
    }

    /// Sends a text, and waits until we have handled it.
    fn deliver(&self, stream: &gst::Pad) {
        while self.handled.try_recv().is_ok() {}
        // Packets are handled one after the other, the second when the first is done.
        for _ in 0..2 {
            stream.push(text()).unwrap();
            self.handled.recv_timeout(LIMIT).expect("the peer sends");
        }
    }
}

impl Drop for Association {
    fn drop(&mut self) {
        self.voice.silence();
        shut(self.ours.upcast_ref());
        let _ = self.ours.set_state(gst::State::Null);
        let _ = self.peer.set_state(gst::State::Null);
    }
}

fn end() -> (gst::Pipeline, gst::Element, gst::Element) {
    let id = NEXT_ID.fetch_add(1, SeqCst);
    let make = |name| gst::ElementFactory::make(name).property("sctp-association-id", id);
    let enc = make("sctpenc").property("remote-sctp-port", 5000u32).property("use-sock-stream", true);
    let dec = make("sctpdec").property("local-sctp-port", 5000u32);
    let (enc, dec) = (enc.build().unwrap(), dec.build().unwrap());
    let pipeline = gst::Pipeline::new();
    pipeline.add_many([&enc, &dec]).unwrap();
    (pipeline, enc, dec)
}

fn open_gate() -> Arc<Gate> {
    let gate = Arc::new(Gate::default());
    gate.expect(vec![Fingerprint { hash: Hash::Sha256, hex: HASH.into() }]);
    assert!(gate.show(PEM));
    gate
}

/// Links each stream to a sink in `bin`. Returns their names as they begin.
fn take_streams(dec: &gst::Element, bin: &gst::Pipeline) -> Receiver<String> {
    let (begins, begun) = channel();
    let bin = bin.downgrade();
    dec.connect_pad_added(move |_, pad| {
        let sink = gst::ElementFactory::make("fakesink").property("async", false).build().unwrap();
        bin.upgrade().unwrap().add(&sink).unwrap();
        sink.sync_state_with_parent().unwrap();
        pad.link_full(&sink.static_pad("sink").unwrap(), gst::PadLinkCheck::empty()).unwrap();
        let _ = begins.send(pad.name().to_string());
    });
    begun
}

fn next(begun: &Mutex<Receiver<String>>, limit: Duration) -> Option<String> {
    begun.lock().unwrap().recv_timeout(limit).ok()
}

/// Reads and changes the packets that leave; their checksums are corrected.
fn on_packets(enc: &gst::Element, change: impl FnMut(&mut Vec<u8>) + Send + 'static) {
    let change = Mutex::new(change);
    enc.static_pad("src").unwrap().add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = info.data.take() else { unreachable!() };
        let mut packet = buffer.map_readable().unwrap().to_vec();
        change.lock().unwrap()(&mut packet);
        packet[8..12].fill(0);
        let sum = packet.iter().fold(!0u32, |sum, byte| {
            (0..8)
                .fold(sum ^ u32::from(*byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg()))
        });
        packet[8..12].copy_from_slice(&(!sum).to_le_bytes());
        info.data = Some(gst::PadProbeData::Buffer(gst::Buffer::from_mut_slice(packet)));
        gst::PadProbeReturn::Ok
    });
}

fn number(packet: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(packet[at..at + 4].try_into().unwrap())
}

fn text() -> gst::Buffer {
    gst::Buffer::from_slice(b"a text")
}

#[test]
fn no_stream_begins_while_the_receiver_stops() {
    let association = Association::connect(|_, _| {});
    let stream = association.stream(1);
    stream.push(text()).unwrap();
    assert_eq!(association.begins(LIMIT).as_deref(), Some("src_1"));
    // Between the removal of a stream and the next step, there is time for the flood to begin it again.
    let (tell, again) = channel();
    let begun = association.begun.clone();
    association.our_dec.connect_pad_removed(move |_, _| {
        let _ = tell.send(next(&begun, Duration::from_millis(100)));
    });
    let flood = thread::spawn(move || while stream.push(text()).is_ok() {});
    shut(association.ours.upcast_ref());
    association.ours.set_state(gst::State::Null).unwrap();
    assert_eq!(again.recv_timeout(LIMIT), Ok(None));
    association.peer.set_state(gst::State::Null).unwrap();
    flood.join().unwrap();
}

#[test]
fn a_silenced_peer_begins_no_stream() {
    let association = Association::connect(|_, _| {});
    association.deliver(&association.stream(1));
    assert_eq!(association.begins(LIMIT).as_deref(), Some("src_1"));
    association.voice.silence();
    association.deliver(&association.stream(2));
    assert_eq!(association.begins(Duration::ZERO), None);
}

#[test]
fn a_peer_that_begins_streams_without_end_is_ended() {
    let association = Association::connect(|_, _| {});
    let begun = (0..1000).take_while(|number| {
        association.stream(*number).push(text()).unwrap();
        association.begins(LIMIT).expect("each one begins");
        !association.voice.is_silent()
    });
    assert_eq!(begun.count(), 32);
    assert!(matches!(association.said.try_recv().unwrap().event, PeerEvent::Flood("too many data channels")));
}

/// The peer sends a message too early, then closes the association, and says that nothing is missing.
#[test]
fn a_message_cannot_follow_a_shutdown() {
    let (mut is_early, mut is_shut) = (false, false);
    let (told, shut_down) = channel();
    let association = Association::connect(move |packet, our_tsn| {
        if packet[12] != DATA || is_shut {
            return;
        }
        let tsn = number(packet, 16);
        if std::mem::replace(&mut is_early, true) {
            packet.truncate(COMMON_HEADER);
            packet.extend([SHUTDOWN, 0, 0, 8]);
            packet.extend(our_tsn.wrapping_sub(1).to_be_bytes());
            packet.extend([FORWARD_TSN, 0, 0, 12]);
            packet.extend(tsn.to_be_bytes());
            packet.extend([0, 7, 0, 0]);
            is_shut = true;
            let _ = told.send(());
        } else {
            // Ordered, unfragmented, on stream 7, its second message.
            packet[13] = 3;
            packet[20..24].copy_from_slice(&[0, 7, 0, 1]);
        }
    });
    let stream = association.stream(1);
    while shut_down.try_recv().is_err() {
        association.deliver(&stream);
    }
    stream.push(text()).unwrap();
    assert_eq!(association.begins(LIMIT).as_deref(), Some("src_1"), "the association goes on");
}

#[test]
fn a_shutdown_is_found_wherever_it_stands() {
    let header = [0; COMMON_HEADER];
    let data = [0, 3, 0, 6, 1, 2, 0, 0];
    let shutdown = [SHUTDOWN, 0, 0, 8, 0, 0, 0, 1];
    for (chunks, enters) in [
        (vec![], true),
        (vec![&data[..]], true),
        (vec![&shutdown[..]], false),
        (vec![&data, &shutdown], false),
        // Within data it is none.
        (vec![&[0, 3, 0, 12], &shutdown[..]], true),
        // A chunk without a length does not hide the next.
        (vec![&[9, 0, 0, 0], &shutdown[..]], false),
        (vec![&[9, 0, 255, 255], &data[..]], true),
    ] {
        let packet = [&header[..], &chunks.concat()].concat();
        assert_eq!(may_enter(&packet), enters, "{packet:?}");
    }
    assert!(may_enter(&[]) && may_enter(&header[1..]));
}
