//! The measurements of one peer, in the form of the `stats` event.

use std::fmt;

use serde::Serialize;

use crate::age::{
    ages::{GlassAge, Origin},
    clock::Estimate,
};

/// The measurements of one peer at a time. Counts are totals since the call began; levels and rates are for the
/// time since the last event. Values that are not known yet are left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeerStats {
    /// Received video.
    pub video: VideoStats,
    /// Received audio.
    pub audio: AudioStats,
    /// Frames and packets handed to the transport.
    pub sent: SentStats,
    /// The path that ICE selected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Round-trip time in milliseconds, from RTCP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Milliseconds since the last RTP or RTCP packet from this peer.
    pub silence_ms: u64,
}

/// The candidate types at the two ends of the path: `host`, `srflx`, `prflx` or `relay`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Ours.
    pub local: String,
    /// The peer's.
    pub remote: String,
}

/// Received RTP of one medium.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RtpStats {
    /// RTP packets that came out of the jitter buffer.
    pub packets: u64,
    /// Bytes of these packets, headers included.
    pub bytes: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550) in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
}

/// Received video.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VideoStats {
    /// Its RTP packets.
    #[serde(flatten)]
    pub rtp: RtpStats,
    /// Decoded frames.
    pub frames: u64,
    /// Decoded frames per second since the last event; none in the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// The longest time without a decoded frame since the last event, in milliseconds; none before the first frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gap_ms: Option<u64>,
    /// How long a missing packet is waited for, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer_ms: Option<u32>,
    /// How old the frames were when they were decoded, since the last event; none if that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub glass_age_ms: Option<GlassAge>,
    /// Where the capture times of these frames come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capture_time: Option<Origin>,
    /// The clock of the peer, by its reports on this picture.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<ClockStats>,
    /// Pixels from left to right; none before the first frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels from top to bottom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// The latest frame's mean colour as red, green, blue, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<[u8; 3]>,
    /// Motion: the mean difference of brightness between the last two samples of the picture, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<f64>,
}

/// The peer's clock and ours.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ClockStats {
    /// How many milliseconds the peer's clock is ahead.
    pub ahead_ms: f64,
    /// How wrong that may be at most; none if no round trip is known: then the age lacks the time of one way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_ms: Option<f64>,
}

impl ClockStats {
    /// An estimate in milliseconds.
    pub fn of(estimate: Estimate) -> Self {
        let ms = |nanoseconds: i64| (nanoseconds as f64 / 100_000.0).round() / 10.0;
        Self { ahead_ms: ms(estimate.ahead), error_ms: estimate.error.map(ms) }
    }
}

/// Received audio.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AudioStats {
    /// Its RTP packets.
    #[serde(flatten)]
    pub rtp: RtpStats,
    /// Decoded audio buffers.
    pub buffers: u64,
    /// RMS level in dBFS; none without audio, -100 for digital silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_db: Option<f64>,
    /// The pitch in Hz, from zero crossings: correct for a pure tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitch_hz: Option<f64>,
}

/// Sent media.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SentStats {
    /// The codec of the video, while it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_codec: Option<&'static str>,
    /// The codec of the audio, while it is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_codec: Option<&'static str>,
    /// The picture that this peer gets: `full`, `half` or `quarter`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub video_tier: Option<&'static str>,
    /// Encoded video frames for this peer.
    pub video_frames: u64,
    /// Video frames of these that were dropped because the peer's queue was full.
    pub video_dropped: u64,
    /// Encoded audio frames for this peer.
    pub audio_frames: u64,
    /// Packets lost on the way to the peer, once it has reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Packets sent again because the peer asked for them.
    pub retransmitted: u64,
    /// Requested packets not sent again: requested too soon, too old, or beyond the budget.
    pub retransmissions_refused: u64,
    /// RTCP packets ignored because there were too many.
    pub feedback_ignored: u64,
    /// Packets dropped because they exceeded the budget.
    pub withheld: u64,
    /// What the path to the peer carries, in bit/s: an estimate, not above what may be sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<u64>,
    /// The peer's latest transport-wide feedback, for all media together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// Transport-wide congestion control: the packets that the peer's latest feedback covers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Feedback {
    /// Packets sent.
    pub packets_sent: u64,
    /// Packets that arrived.
    pub packets_received: u64,
    /// The rate at which they were sent, in bit/s.
    pub bitrate_sent: u64,
    /// The rate at which they arrived, in bit/s.
    pub bitrate_received: u64,
}

impl fmt::Display for PeerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { video, audio, rtt_ms, .. } = self;
        let mut parts = Vec::new();
        if let (Some(width), Some(height)) = (video.width, video.height) {
            let fps = video.fps.map_or_else(String::new, |fps| format!(", {fps:.0} fps"));
            let age = video.glass_age_ms.map_or_else(String::new, |age| format!(", {:.0} ms old", age.p50));
            parts.push(format!("video {width}x{height}{fps}{age}, {} frames", video.frames));
        }
        parts.extend(audio.level_db.map(|level| format!("audio {level:.0} dB")));
        if parts.is_empty() {
            parts.push("nothing decoded yet".into());
        }
        parts.push(format!("{} packets lost", video.rtp.lost + audio.rtp.lost));
        parts.extend(rtt_ms.map(|rtt| format!("round trip {rtt:.0} ms")));
        f.write_str(&parts.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_left_out() {
        let first = PeerStats::default();
        let json = serde_json::to_string(&first).unwrap();
        for unknown in [
            "width",
            "fps",
            "color",
            "glass_age_ms",
            "capture_time",
            "clock",
            "level_db",
            "jitter_ms",
            "rtt_ms",
            "path",
            "null",
        ] {
            assert!(!json.contains(unknown), "{json}");
        }
        assert!(
            !json.contains(r#""sent":{"video_frames":0,"video_dropped":0,"audio_frames":0,"lost""#),
            "{json}"
        );
        assert_eq!(first.to_string(), "nothing decoded yet; 0 packets lost");
        let video = VideoStats { width: Some(64), height: Some(48), frames: 3, ..VideoStats::default() };
        let mut next = PeerStats { video, ..first };
        assert_eq!(next.to_string(), "video 64x48, 3 frames; 0 packets lost");
        next.video.fps = Some(29.7);
        next.audio.level_db = Some(-15.2);
        next.rtt_ms = Some(12.3);
        let words = "video 64x48, 30 fps, 3 frames; audio -15 dB; 0 packets lost; round trip 12 ms";
        assert_eq!(next.to_string(), words);
        next.video.glass_age_ms = Some(GlassAge { p50: 123.4, p95: 150.0, p99: 200.0 });
        assert!(next.to_string().starts_with("video 64x48, 30 fps, 123 ms old, 3 frames"), "{next}");
        next.video.clock = Some(ClockStats::of(Estimate { ahead: -1_260_000, error: Some(40_000_000) }));
        next.video.capture_time = Some(Origin::AbsCaptureTime);
        let json = serde_json::to_string(&next).unwrap();
        for part in [
            r#""glass_age_ms":{"p50":123.4,"p95":150.0,"p99":200.0}"#,
            r#""capture_time":"abs-capture-time""#,
            r#""clock":{"ahead_ms":-1.3,"error_ms":40.0}"#,
        ] {
            assert!(json.contains(part), "{json}");
        }
    }
}
