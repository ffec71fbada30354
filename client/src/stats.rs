//! What is measured of one peer, in the form the `stats` event has.

use std::fmt;

use serde::Serialize;

/// One second's measurements of one peer. Counts are totals since the call began, levels and rates are of
/// the time since the last event. What is not known yet is left out.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeerStats {
    /// What arrives, the picture.
    pub video: VideoStats,
    /// What arrives, the sound.
    pub audio: AudioStats,
    /// Frames and packets handed to the transport.
    pub sent: SentStats,
    /// The path that ICE has chosen, once webrtcbin has told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<Path>,
    /// Round trip in milliseconds, as RTCP has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<f64>,
    /// Milliseconds since the last packet of any kind from this peer.
    pub silence_ms: u64,
}

/// The two ends of the path to the peer: `host`, `srflx`, `prflx` or `relay`, as candidates name them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Path {
    /// Ours.
    pub local: String,
    /// The peer's.
    pub remote: String,
}

/// RTP as received for one medium.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct RtpStats {
    /// RTP packets that reached the decoder's side of the jitter buffer.
    pub packets: u64,
    /// Their bytes, headers included.
    pub bytes: u64,
    /// Packets that never came.
    pub lost: u64,
    /// Interarrival jitter (RFC 3550) in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub jitter_ms: Option<f64>,
}

/// The received picture.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct VideoStats {
    /// The transport's side of it.
    #[serde(flatten)]
    pub rtp: RtpStats,
    /// Decoded frames.
    pub frames: u64,
    /// Decoded frames per second, of the last second; none before there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fps: Option<f64>,
    /// Pixels from left to right; none before the first frame.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u32>,
    /// Pixels from top to bottom.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u32>,
    /// The latest frame's mean colour as red, green, blue, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color: Option<[u8; 3]>,
    /// How much of the picture changed between the last two looks: mean difference of brightness, 0 to 255.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub motion: Option<f64>,
}

/// The received sound.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AudioStats {
    /// The transport's side of it.
    #[serde(flatten)]
    pub rtp: RtpStats,
    /// Decoded buffers of sound.
    pub buffers: u64,
    /// Level in dB below full scale (RMS); none without sound, -100 for digital silence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level_db: Option<f64>,
    /// The pitch in Hz, by counting zero crossings: right for a pure tone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pitch_hz: Option<f64>,
}

/// What was sent.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SentStats {
    /// Encoded video frames handed to this peer.
    pub video_frames: u64,
    /// Of these, dropped because the peer's queue was full.
    pub video_dropped: u64,
    /// Encoded audio frames handed to this peer.
    pub audio_frames: u64,
    /// Packets lost on the way, once the peer has reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<u64>,
    /// Packets sent again because the peer asked for them.
    pub retransmitted: u64,
    /// Packets not sent again: too soon, too old, or beyond the budget.
    pub retransmissions_refused: u64,
    /// RTCP packets not looked at, because there were too many.
    pub feedback_ignored: u64,
    /// Packets that would have exceeded the budget, and were dropped.
    pub withheld: u64,
    /// What the peer's latest transport-wide feedback says, of all media together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feedback: Option<Feedback>,
}

/// Of the packets that the peer has told about in the last moments (transport-wide congestion control).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Feedback {
    /// How many were sent.
    pub packets_sent: u64,
    /// How many arrived.
    pub packets_received: u64,
    /// The rate at which they were sent, in bit/s.
    pub bitrate_sent: u64,
    /// The rate at which they arrived.
    pub bitrate_received: u64,
}

impl fmt::Display for PeerStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { video, audio, rtt_ms, .. } = self;
        let mut parts = Vec::new();
        if let (Some(width), Some(height)) = (video.width, video.height) {
            let fps = video.fps.map_or_else(String::new, |fps| format!(", {fps:.0} fps"));
            parts.push(format!("video {width}x{height}{fps}, {} frames", video.frames));
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
        for unknown in ["width", "fps", "color", "level_db", "jitter_ms", "rtt_ms", "path", "null"] {
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
    }
}
