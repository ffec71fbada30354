//! What is measured of one peer, in the form the `stats` event has.

use std::fmt;

use serde::Serialize;

/// One second's measurements of one peer. Counts are totals since the call began, levels and rates are of
/// the time since the last event.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct PeerStats {
    /// What arrives, the picture.
    pub video: VideoStats,
    /// What arrives, the sound.
    pub audio: AudioStats,
    /// Frames and packets handed to the transport.
    pub sent: SentStats,
    /// The path that ICE has chosen, once webrtcbin has told.
    pub path: Option<Path>,
    /// Round trip in milliseconds, as RTCP has it.
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
    pub lost: i64,
    /// Interarrival jitter (RFC 3550) in milliseconds.
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
    /// Decoded frames per second, of the last second.
    pub fps: f64,
    /// Pixels from left to right; 0 before the first frame.
    pub width: u32,
    /// Pixels from top to bottom.
    pub height: u32,
    /// The latest frame's mean colour as red, green, blue, 0 to 255.
    pub color: Option<[u8; 3]>,
    /// How much of the picture changed between the last two looks: mean difference of brightness, 0 to 255.
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
    pub level_db: Option<f64>,
    /// The pitch in Hz, by counting zero crossings: right for a pure tone.
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
    /// Packets lost on the way, as the peer reports.
    pub lost: i64,
    /// Packets sent again because the peer asked for them.
    pub retransmitted: u64,
    /// Packets not sent again: too soon, too old, or beyond the budget.
    pub retransmissions_refused: u64,
    /// RTCP packets not looked at, because there were too many.
    pub feedback_ignored: u64,
    /// Packets that would have exceeded the budget, and were dropped.
    pub withheld: u64,
    /// What the peer's latest transport-wide feedback says, of all media together.
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
        write!(f, "video {}x{} {:.0} fps, {} frames", video.width, video.height, video.fps, video.frames)?;
        if let Some(level) = audio.level_db {
            write!(f, "; audio {level:.0} dB")?;
        }
        write!(f, "; lost {}", video.rtp.lost + audio.rtp.lost)?;
        if let Some(rtt) = rtt_ms {
            write!(f, "; RTT {rtt:.0} ms")?;
        }
        Ok(())
    }
}
