//! What reaches `sctpdec`, webrtcbin's receiver of data channels.
//!
//! In GStreamer 1.22 a packet can end the process there:
//!
//! - If a packet is handled while `sctpdec` stops, it begins a stream again whose pad was just removed. Then a thread
//!   runs for a pad without element (SIGSEGV), or the association is closed already (SIGABRT). So nothing enters after
//!   the peer is silenced, and [`shut`] waits for what has entered.
//! - A SHUTDOWN closes the association, but FORWARD-TSN can still deliver a message that had arrived early (SIGABRT).
//!   So a SHUTDOWN is dropped: WebRTC ends an association with ABORT, or with its DTLS connection (RFC 8831).

use std::sync::Arc;

use gst::prelude::*;

use super::{
    Voice,
    dtls::Gate,
    probe::{DATA, DROP, all, pass_if},
};

/// RFC 9260, section 3.1: ports, verification tag, checksum.
const COMMON_HEADER: usize = 12;
/// Type, flags and length of a chunk.
const CHUNK_HEADER: usize = 4;
const SHUTDOWN: u8 = 7;

/// Watches a new `sctpdec`: bounds its streams, and drops the packets that it must not get.
pub(super) fn guard(sctpdec: &gst::Element, voice: &Voice, gate: &Arc<Gate>) {
    let streams = voice.clone();
    sctpdec.connect_pad_added(move |_, _| streams.stream());
    let Some(sink) = sctpdec.static_pad("sink") else { return };
    let (voice, gate) = (voice.clone(), gate.clone());
    sink.add_probe(DATA, move |_, info| {
        let enters = |buffer: &gst::BufferRef| buffer.map_readable().is_ok_and(|packet| may_enter(&packet));
        pass_if(all(info, enters) && gate.is_open() && !voice.is_silent())
    });
}

/// Closes the data path of a silenced peer, in both directions, and waits for the threads that are in it.
pub(super) fn shut(webrtcbin: &gst::Element) {
    let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else { return };
    for sctpdec in bin.iterate_all_by_element_factory_name("sctpdec").into_iter().flatten() {
        sctpdec.sink_pads().iter().for_each(stop);
    }
    // The first of the two that stops closes the association's socket, also under a thread that sends.
    for sctpenc in bin.iterate_all_by_element_factory_name("sctpenc").into_iter().flatten() {
        for src in sctpenc.src_pads() {
            src.add_probe(gst::PadProbeType::EVENT_FLUSH, |_, _| DROP);
        }
        for sink in sctpenc.sink_pads() {
            // A sender that waits for the peer does not wait on.
            sink.send_event(gst::event::FlushStart::new());
            stop(&sink);
        }
    }
}

/// Refuses buffers, and waits for the one that is being handled.
fn stop(pad: &gst::Pad) {
    let _ = pad.set_active(false);
}

/// Whether `sctpdec` can take an SCTP packet: one without SHUTDOWN.
fn may_enter(packet: &[u8]) -> bool {
    let mut chunks = packet.get(COMMON_HEADER..).unwrap_or_default();
    while let [kind, _, high, low, ..] = *chunks {
        if kind == SHUTDOWN {
            return false;
        }
        let length = usize::from(u16::from_be_bytes([high, low])).max(CHUNK_HEADER);
        chunks = chunks.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    true
}

#[cfg(test)]
#[path = "intake_tests.rs"]
mod tests;
