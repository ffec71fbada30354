//! What the pad probes on a peer's packets share.

use gst::{BufferRef, PadProbeData, PadProbeInfo, PadProbeReturn, PadProbeType};

/// Packets, alone or in lists.
pub(super) const DATA: PadProbeType = PadProbeType::BUFFER.union(PadProbeType::BUFFER_LIST);

/// The packet goes no further. Not `Drop`: GStreamer 1.22 would free the data a second time.
pub(super) const DROP: PadProbeReturn = PadProbeReturn::Handled;

/// Passes the data on, or not.
pub(super) fn pass_if(condition: bool) -> PadProbeReturn {
    if condition { PadProbeReturn::Ok } else { DROP }
}

/// Looks at each packet.
pub(super) fn each(info: &PadProbeInfo<'_>, mut look: impl FnMut(&BufferRef)) {
    all(info, |packet| {
        look(packet);
        true
    });
}

/// Whether a condition holds for all packets.
pub(super) fn all(info: &PadProbeInfo<'_>, mut holds: impl FnMut(&BufferRef) -> bool) -> bool {
    match &info.data {
        Some(PadProbeData::Buffer(buffer)) => holds(buffer),
        Some(PadProbeData::BufferList(list)) => list.iter().all(holds),
        _ => true,
    }
}
