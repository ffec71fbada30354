//! Handles answers whose payload types differ from those of our offer.
//!
//! RFC 3264 (section 6.1) says that an answer SHOULD keep the offer's payload types, so other ones are legal. We then
//! send with the peer's payload types and receive with ours. webrtcbin knows only one payload type per codec and takes
//! another one for another codec. So it gets the answer with our payload types, and outgoing packets get the peer's.

use std::ops::ControlFlow;

use gst::prelude::*;

use super::{probe::DATA, rtpbin};

/// Our payload type, and the peer's payload type for the same codec.
pub(super) type Pair = (u8, u8);

/// Writes the peer's payload types into the packets that leave `webrtcbin`.
pub(super) fn install(webrtcbin: &gst::Element, pairs: &[Pair]) {
    let Some(rtpbin) = rtpbin(webrtcbin).filter(|_| !pairs.is_empty()) else { return };
    // Behind rtpbin, to include retransmissions; rtpbin itself identifies packets by our payload types.
    for pad in rtpbin.src_pads().into_iter().filter(|pad| pad.name().starts_with("send_rtp_src_")) {
        let pairs = pairs.to_owned();
        pad.add_probe(DATA, move |_, info| {
            if let Some(buffer) = info.buffer_mut() {
                renumber(buffer.make_mut(), &pairs);
            } else if let Some(list) = info.buffer_list_mut() {
                list.make_mut().foreach_mut(|mut buffer, _| {
                    renumber(buffer.make_mut(), &pairs);
                    ControlFlow::Continue(Some(buffer))
                });
            }
            gst::PadProbeReturn::Ok
        });
    }
}

/// The second byte of an RTP packet (RFC 3550, section 5.1): the marker, and seven bits of payload type.
fn renumber(packet: &mut gst::BufferRef, pairs: &[Pair]) {
    let Ok(mut packet) = packet.map_writable() else { return };
    let Some(byte) = packet.get_mut(1) else { return };
    if let Some((_, theirs)) = pairs.iter().find(|(ours, _)| *ours == *byte & 0x7f) {
        *byte = (*byte & 0x80) | theirs;
    }
}
