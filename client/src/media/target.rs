//! The rate at which the encoders aim, as it is on the wire.

use std::time::Duration;

use crate::cli::Media;

/// The sound's encoder, in bit/s.
pub const AUDIO_BITRATE: u32 = 32_000;
/// An Opus frame lasts 20 ms.
const AUDIO_PACKETS: u64 = 50;
/// What is around a packet's payload: IP (20 bytes) and UDP (8), RTP (12) with the extensions (12), the payload's
/// descriptor (3 or 4), and SRTP's tag (10).
const AROUND: u64 = 66;
/// What a packet of the picture carries; a frame's last one carries less.
const PAYLOAD: u64 = 1150;
/// RTCP, connectivity checks and DTLS, in bit/s.
const CONTROL: u64 = 32_000;

/// What is sent to one peer in a steady state, in bit/s on the wire: payload and all that is around it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// The picture.
    video: u64,
    /// The sound, which keeps to its rate by itself.
    audio: u64,
    control: u64,
}

impl Target {
    /// What `media` says is sent.
    pub fn of(media: &Media) -> Self {
        let audio = if media.audio().0 { u64::from(AUDIO_BITRATE) + AUDIO_PACKETS * AROUND * 8 } else { 0 };
        let video = if media.video().0 { video(media) } else { 0 };
        Self { video, audio, control: CONTROL }
    }

    /// Bytes of all together within `time`, times `percent`.
    pub fn total(self, percent: u64, time: Duration) -> u64 {
        bytes((self.video + self.audio + self.control) * percent / 100, time)
    }

    /// The same without the sound's share.
    pub fn beside_audio(self, percent: u64, time: Duration) -> u64 {
        self.total(percent, time).saturating_sub(bytes(self.audio, time))
    }
}

fn video(media: &Media) -> u64 {
    let bits = u64::from(media.bitrate) * 1000;
    let packets = bits / 8 / PAYLOAD + u64::from(media.fps);
    bits + packets * AROUND * 8
}

fn bytes(bits_per_second: u64, time: Duration) -> u64 {
    bits_per_second * u64::try_from(time.as_millis()).unwrap_or(u64::MAX) / 8000
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        media: Media,
    }

    /// That of a client with these flags.
    pub(crate) fn target(flags: &[&str]) -> Target {
        Target::of(&Flags::parse_from(["callbin"].iter().chain(flags)).media)
    }

    #[test]
    fn counts_what_is_sent_with_all_that_is_around_it() {
        let all = target(&[]);
        // 1000 kbit/s in 108 full packets and 30 others, 32 kbit/s in 50 packets, and 32 kbit/s of control.
        let bits = 1_000_000 + 138 * 66 * 8 + 32_000 + 50 * 66 * 8 + 32_000;
        assert_eq!(all.total(100, SECOND), bits / 8);
        assert_eq!(all.beside_audio(100, SECOND), (bits - 32_000 - 50 * 66 * 8) / 8);
        assert_eq!(all.total(130, SECOND / 2), bits * 130 / 100 / 16);
    }

    #[test]
    fn counts_nothing_that_is_not_sent() {
        assert_eq!(target(&["--receive-only"]).total(100, SECOND), 4000);
        assert!(target(&["--no-video"]).total(100, SECOND) < 12_000);
        assert!(target(&["--no-audio"]).total(100, SECOND) < target(&[]).total(100, SECOND));
    }
}
