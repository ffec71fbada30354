//! Losses, jitter and round-trip time from rtpbin's sessions: `get-stats` is wrong for bundled streams before GStreamer
//! 1.26.

use gst::{glib, prelude::*};

use super::rtpbin;
use crate::stats::{Feedback, PeerStats};

/// A bundle has one session; without a bundle there is one per m-line, of which this many are read.
const SESSIONS: u32 = 3;

/// The clock rate of every video codec; no sound has it.
const VIDEO_RATE: i32 = 90_000;

/// Lets sender reports map RTP times to the times of capture. By itself GStreamer maps them to the times of sending, for
/// which it needs the pipeline's latency; webrtcbin sets none, and then the RTP times in the reports run at twice the
/// clock's speed (`send_latency` in gstrtpsession.c of 1.22).
pub(super) fn map_capture_times(session: &gst::Element) {
    if session.has_property("rtcp-sync-send-time") {
        session.set_property("rtcp-sync-send-time", false);
    }
}

/// Losses, jitter and round-trip time.
pub(super) fn reports(webrtcbin: &gst::Element) -> PeerStats {
    let mut stats = PeerStats::default();
    fill_in_reports(webrtcbin, &mut stats);
    stats
}

/// Adds the statistics that RTCP gives.
pub(super) fn fill_in(webrtcbin: &gst::Element, stats: &mut PeerStats) {
    fill_in_reports(webrtcbin, stats);
    for session in sessions::<gst::Element>(webrtcbin, "get-session") {
        if session.has_property("twcc-stats") {
            let feedback = session.property::<Option<gst::Structure>>("twcc-stats");
            let feedback = feedback.as_deref().and_then(read_feedback);
            stats.sent.feedback = stats.sent.feedback.take().or(feedback);
        }
    }
}

fn fill_in_reports(webrtcbin: &gst::Element, stats: &mut PeerStats) {
    for session in sessions::<glib::Object>(webrtcbin, "get-internal-session") {
        let all = session.property::<Option<gst::Structure>>("stats");
        all.iter().for_each(|all| read_session(all, stats));
    }
}

/// The sessions that this signal of rtpbin gives.
fn sessions<T>(webrtcbin: &gst::Element, signal: &str) -> Vec<T>
where
    T: IsA<glib::Object>,
{
    let Some(rtpbin) = rtpbin(webrtcbin) else { return Vec::new() };
    let session = |id: u32| rtpbin.emit_by_name::<Option<glib::Object>>(signal, &[&id])?.downcast().ok();
    (0..SESSIONS).filter_map(session).collect()
}

fn read_session(session: &gst::Structure, stats: &mut PeerStats) {
    let Ok(sources) = session.get::<glib::ValueArray>("source-stats") else { return };
    for source in sources.iter() {
        if let Ok(source) = source.get::<gst::Structure>() {
            read_source(&source, stats);
        }
    }
}

/// `None` until the peer's first transport-wide feedback.
fn read_feedback(feedback: &gst::StructureRef) -> Option<Feedback> {
    let number = |name| feedback.get::<u32>(name).ok().map(u64::from);
    Some(Feedback {
        packets_sent: number("packets-sent").filter(|count| *count > 0)?,
        packets_received: number("packets-recv")?,
        bitrate_sent: number("bitrate-sent")?,
        bitrate_received: number("bitrate-recv")?,
    })
}

fn read_source(source: &gst::Structure, stats: &mut PeerStats) {
    let flag = |name: &str| source.get::<bool>(name).unwrap_or(false);
    if flag("internal") {
        return;
    }
    if flag("have-rb") {
        if let Ok(round_trip) = source.get::<u32>("rb-round-trip")
            && round_trip > 0
        {
            // In units of 1/65536 s.
            let ms = f64::from(round_trip) * 1000.0 / 65536.0;
            stats.rtt_ms = Some((ms * 100.0).round() / 100.0);
        }
        *stats.sent.lost.get_or_insert(0) += lost(source, "rb-packetslost");
    }
    if !flag("is-sender") {
        return;
    }
    // It is unknown before the first packet that is accepted.
    let Some(rate) = source.get::<i32>("clock-rate").ok().filter(|rate| *rate > 0) else { return };
    let rtp = if rate == VIDEO_RATE { &mut stats.video.rtp } else { &mut stats.audio.rtp };
    rtp.lost += lost(source, "packets-lost");
    if let Ok(jitter) = source.get::<u32>("jitter") {
        rtp.jitter_ms = Some((f64::from(jitter) * 100_000.0 / f64::from(rate)).round() / 100.0);
    }
}

/// Below zero where packets came twice (RFC 3550, section 6.4.1): then none is lost.
fn lost(source: &gst::Structure, name: &str) -> u64 {
    source.get::<i32>(name).ok().and_then(|lost| u64::try_from(lost).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{media::encode::codec::TABLE, sdp::Kind};

    fn report(lost: i32) -> gst::Structure {
        gst::Structure::builder("source").field("have-rb", true).field("rb-packetslost", lost).build()
    }

    #[test]
    fn losses_are_unknown_before_a_report_and_never_negative() {
        gst::init().unwrap();
        let mut stats = PeerStats::default();
        read_source(&gst::Structure::new_empty("source"), &mut stats);
        assert_eq!(stats.sent.lost, None);
        read_source(&report(-2), &mut stats);
        assert_eq!(stats.sent.lost, Some(0));
        read_source(&report(3), &mut stats);
        assert_eq!(stats.sent.lost, Some(3));
    }

    #[test]
    fn each_codec_counts_as_what_it_is() {
        gst::init().unwrap();
        for row in &TABLE {
            let mut stats = PeerStats::default();
            let rate = i32::try_from(row.clock_rate).unwrap();
            let source = gst::Structure::builder("source").field("is-sender", true).field("clock-rate", rate);
            // Half a second of jitter.
            let source = source.field("packets-lost", 5i32).field("jitter", row.clock_rate / 2).build();
            read_source(&source, &mut stats);
            let (own, other) = match row.kind {
                Kind::Audio => (stats.audio.rtp, stats.video.rtp),
                _ => (stats.video.rtp, stats.audio.rtp),
            };
            assert_eq!((own.lost, own.jitter_ms), (5, Some(500.0)), "{}", row.name);
            assert_eq!((other.lost, other.jitter_ms), (0, None), "{}", row.name);
        }
    }
}
