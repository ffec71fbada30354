//! Requests lost packets of the picture at once.
//!
//! GStreamer's RTP session sends requests with its next report, and between two regular reports only one report early
//! (RFC 4585, section 3.5.2), which is two to five requests per second: most come too late. So its jitter buffer still
//! decides what to request and when, but the request becomes a small packet of its own. Sound is never sent again, so
//! requests for it are dropped.

use gst::prelude::*;

/// RTCP: an empty receiver report, which begins each compound, and a NACK for one packet (RFC 4585, section 6.2.1).
fn packet(ours: u32, theirs: u32, number: u16) -> [u8; 24] {
    let [a, b, c, d] = ours.to_be_bytes();
    let [e, f, g, h] = theirs.to_be_bytes();
    let [high, low] = number.to_be_bytes();
    [0x80, 201, 0, 1, a, b, c, d, 0x81, 205, 0, 3, a, b, c, d, e, f, g, h, high, low, 0, 0]
}

/// Sends the requests that arrive at an RTP session.
pub(super) fn watch_session(session: &gst::Element) {
    session.connect_pad_added(|session, pad| {
        if pad.name() != "recv_rtp_src" {
            return;
        }
        let session = session.downgrade();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let request = info.event().and_then(|event| request(event));
            let sent =
                request.zip(session.upgrade()).is_some_and(|(request, session)| send(&session, request));
            // Not `Drop`: GStreamer 1.22 would free the event a second time.
            if sent { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
        });
    });
}

/// Drops the requests of a jitter buffer that has sound.
pub(super) fn watch_buffer(buffer: &gst::Element) {
    let Some(sink) = buffer.static_pad("sink") else { return };
    sink.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |pad, info| {
        let is_sound = || {
            let caps = pad.current_caps();
            caps.as_ref().and_then(|caps| caps.structure(0)?.get::<&str>("media").ok()) == Some("audio")
        };
        let drops = info.event().and_then(|event| request(event)).is_some() && is_sound();
        // Not `Drop`: GStreamer 1.22 would free the event a second time.
        if drops { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
}

/// SSRC and number of the requested packet. The jitter buffer does not know the SSRC; the elements after it add it.
fn request(event: &gst::EventRef) -> Option<(u32, u16)> {
    let structure = event.structure().filter(|it| it.name() == "GstRTPRetransmissionRequest")?;
    let number = u16::try_from(structure.get::<u32>("seqnum").ok()?).ok()?;
    Some((structure.get::<u32>("ssrc").unwrap_or_default(), number))
}

fn send(session: &gst::Element, (theirs, number): (u32, u16)) -> bool {
    let inner = session.property::<Option<gst::glib::Object>>("internal-session");
    let ours =
        inner.filter(|it| it.has_property("internal-ssrc")).map(|it| it.property::<u32>("internal-ssrc"));
    let Some((ours, pad)) = ours.zip(session.static_pad("send_rtcp_src")) else { return false };
    // Before the session's own first report, the pad has no caps.
    let is_ready = pad.sticky_event::<gst::event::Segment>(0).is_some();
    is_ready && pad.push(gst::Buffer::from_slice(packet(ours, theirs, number))).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_compound_of_its_own() {
        let bytes = packet(0x0102_0304, 0x0506_0708, 0x090a);
        let parts: Vec<_> =
            super::super::compound::packets(&bytes).map(|it| (it.kind, it.format, it.bytes.len())).collect();
        assert_eq!(parts, [(201, 0, 8), (205, 1, 16)]);
        assert_eq!(bytes[4..8], [1, 2, 3, 4]);
        assert_eq!(bytes[12..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0]);
    }
}
