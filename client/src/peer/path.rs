//! Which path ICE has chosen: straight, or through a relay.

use gst::prelude::*;
use gst_webrtc::WebRTCStatsType;

use super::{PeerEvent, Voice};
use crate::stats::Path;

/// Asks webrtcbin; the answer comes as [`PeerEvent::Path`].
pub(super) fn ask(webrtcbin: &gst::Element, voice: &Voice) {
    let voice = voice.clone();
    let promise = gst::Promise::with_change_func(move |reply| {
        if let Ok(Some(report)) = reply
            && let Some(path) = read(report)
        {
            voice.tell(PeerEvent::Path(path));
        }
    });
    webrtcbin.emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
}

/// By the pair's references: 1.22 calls the local candidate remote in its type, and the other way round.
fn read(report: &gst::StructureRef) -> Option<Path> {
    let pair = report.iter().find_map(|(_, value)| {
        let entry = value.get::<gst::Structure>().ok()?;
        (entry.get::<WebRTCStatsType>("type").ok()? == WebRTCStatsType::CandidatePair).then_some(entry)
    })?;
    let end = |reference| {
        let candidate = report.get::<gst::Structure>(pair.get::<&str>(reference).ok()?).ok()?;
        candidate.get::<String>("candidate-type").ok()
    };
    Some(Path { local: end("local-candidate-id")?, remote: end("remote-candidate-id")? })
}
