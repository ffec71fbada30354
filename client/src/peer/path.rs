//! Which path ICE has chosen: direct, or through a relay.
//!
//! libnice says so. webrtcbin's `get-stats` would, too, but in 1.22 it asks rtpbin under webrtcbin's lock, and hangs for
//! good if rtpbin begins a stream of the peer meanwhile: then rtpbin calls webrtcbin under its own lock.

use callbin_foreign::ice::candidate_type;
use gst::{
    glib::{self, subclass::SignalId},
    prelude::*,
};

use super::{PeerEvent, Voice};
use crate::stats::Path;

/// The signal of a `NiceAgent`: stream, component, local and remote candidate.
const SELECTED: &str = "new-selected-pair-full";

/// Reports each path that `agent` selects as [`PeerEvent::Path`].
pub(super) fn watch(agent: &glib::Object, voice: &Voice) {
    if SignalId::lookup(SELECTED, agent.type_()).is_none() {
        return;
    }
    let voice = voice.clone();
    agent.connect(SELECTED, false, move |args| {
        let kind = |at: usize| args.get(at).and_then(candidate_type).map(String::from);
        if let (Some(local), Some(remote)) = (kind(3), kind(4)) {
            voice.tell(PeerEvent::Path(Path { local, remote }));
        }
        None
    });
}
