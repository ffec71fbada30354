//! Which path ICE has chosen: direct, or through a relay.

use gst::prelude::*;
use gst_webrtc::WebRTCStatsType;

use super::{PeerEvent, Voice};
use crate::stats::Path;

/// Queries webrtcbin; the result arrives as [`PeerEvent::Path`].
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

/// Follows the candidate pair's references: webrtcbin 1.22 swaps the types of local and remote candidates.
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
