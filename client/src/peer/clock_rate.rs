//! Gives RTP sessions the clock rates of the streams that we send.
//!
//! webrtcbin joins its streams in a funnel, whose caps have neither SSRC nor clock rate. An RTP session of GStreamer
//! 1.22 therefore requests the clock rate at the first sender report, and releases its lock for that in the middle of a
//! walk over its sources (`generate_rtcp` in rtpsession.c, `rtp_source_get_new_sr` in rtpsource.c). If another thread
//! adds a source meanwhile, which is likely at the beginning of a call, GLib detects that the table changed
//! (`g_hash_table_foreach: assertion 'version == hash_table->version' failed`), and the walk and its reports stop
//! there. So each SSRC gets caps of its own before its first packet.

use std::sync::{Mutex, PoisonError};

use gst::prelude::*;

use super::probe::DATA;

/// Most of our streams that get caps.
const MAX_STREAMS: usize = 8;

/// Watches an `rtpsession` that has no pads yet.
pub(super) fn tell(session: &gst::Element) {
    session.connect_pad_added(|session, pad| {
        if pad.name() == "send_rtp_sink" {
            watch(session, pad);
        }
    });
}

fn watch(session: &gst::Element, pad: &gst::Pad) {
    let session = session.downgrade();
    let told = Mutex::new(Vec::new());
    pad.add_probe(DATA, move |pad, info| {
        let Some((ssrc, payload_type)) = header(info) else { return gst::PadProbeReturn::Ok };
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if !told.contains(&ssrc) && told.len() < MAX_STREAMS {
            told.push(ssrc);
            let session = session.upgrade();
            if let Some(caps) = session.and_then(|session| caps(&session, pad, ssrc, payload_type)) {
                pad.send_event(gst::event::Caps::new(&caps));
            }
        }
        gst::PadProbeReturn::Ok
    });
}

/// SSRC and payload type of the first packet (RFC 3550, section 5.1).
fn header(info: &gst::PadProbeInfo<'_>) -> Option<(u32, u8)> {
    let of_list = || info.buffer_list().and_then(|list| list.get(0));
    let buffer = info.buffer().map(AsRef::as_ref).or_else(of_list)?;
    // Header and payload are separate memories: mapping the whole buffer would copy it.
    let bytes = buffer.peek_memory(0).map_readable().ok()?;
    let ssrc = bytes.get(8..12)?.try_into().ok()?;
    Some((u32::from_be_bytes(ssrc), bytes.get(1)? & 0x7f))
}

/// The pad's caps with the SSRC, payload type and clock rate of one stream.
fn caps(session: &gst::Element, pad: &gst::Pad, ssrc: u32, payload_type: u8) -> Option<gst::Caps> {
    let payload_type = u32::from(payload_type);
    let known = session.emit_by_name::<Option<gst::Caps>>("request-pt-map", &[&payload_type])?;
    let clock_rate = known.structure(0)?.get::<i32>("clock-rate").ok()?;
    let mut caps = pad.current_caps()?;
    let structure = caps.make_mut().structure_mut(0)?;
    structure.set("ssrc", ssrc);
    structure.set("payload", i32::try_from(payload_type).ok()?);
    structure.set("clock-rate", clock_rate);
    Some(caps)
}
