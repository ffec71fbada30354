//! The bit rate that the encoders aim at, as measured on the wire.

use std::time::Duration;

use super::encode::{
    AUDIO_BITRATE,
    codec::{Format, Formats},
};
use crate::{cli::Media, sdp::Kind};

/// G.711 has eight bits per sample.
const G711_BITRATE: u32 = 64_000;
/// A frame of sound lasts 20 ms.
const AUDIO_PACKETS: u64 = 50;
/// Overhead per packet in bytes: IP (20) and UDP (8), RTP (12) with header extensions (12), the payload descriptor (3
/// or 4), and SRTP's tag (10).
const AROUND: u64 = 66;
/// The capture time in bytes, which the first packet of each frame has in addition.
const CAPTURE: u64 = 16;
/// Payload of a video packet in bytes; a frame's last packet has less.
const PAYLOAD: u64 = 1150;
/// RTCP in bit/s: reports on sent and received media, and requests for lost packets. More media need more of it, at
/// most one part in `MEDIA_PER_CONTROL`.
const CONTROL: u64 = 64_000;
const MEDIA_PER_CONTROL: u64 = 20;
/// What a thin path leaves to the picture and to RTCP, in bit/s.
const LEAST_VIDEO: u64 = 30_000;
const LEAST_CONTROL: u64 = 24_000;
/// What may be sent including retransmissions, in percent of the media.
const AGAIN: u64 = 116;

/// The rates of what is sent to one peer in a steady state, in bit/s on the wire, with all overhead.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Target {
    /// Video.
    video: u64,
    /// Audio, whose encoder keeps to its rate by itself.
    audio: u64,
    /// RTCP.
    control: u64,
    /// Frames per second, each of which has a packet that is not full.
    frames: u64,
}

impl Target {
    /// The target for the media that `media` configures, with sound in the preferred codec.
    pub fn of(media: &Media, formats: Formats) -> Self {
        let sound = match formats.of(Kind::Audio).next() {
            Some(Format::Pcmu | Format::Pcma) => G711_BITRATE,
            _ => AUDIO_BITRATE,
        };
        let audio = if media.audio().0 { u64::from(sound) + AUDIO_PACKETS * AROUND * 8 } else { 0 };
        let video = if media.video().0 { video(media) } else { 0 };
        let control = CONTROL.max((video + audio) / MEDIA_PER_CONTROL);
        Self { video, audio, control, frames: u64::from(media.fps) }
    }

    /// The rate of the media, with room for retransmissions: no peer gets more.
    pub fn most(self) -> u64 {
        (self.video + self.audio) * AGAIN / 100
    }

    /// The target for a path that carries `bits` of media, of which the share `lost` is lost and sent again. Only the
    /// picture shrinks.
    pub fn within(self, bits: u64, lost: f64) -> Self {
        let arrives = (bits as f64 * (1.0 - lost.clamp(0.0, 0.5))) as u64;
        let video = arrives.saturating_sub(self.audio).max(LEAST_VIDEO).min(self.video);
        let (media, all) = (video + self.audio, (self.video + self.audio).max(1));
        let control = (self.control * media / all).max(LEAST_CONTROL).min(self.control);
        Self { video, control, ..self }
    }

    /// The rate of the video encoder, without what is around its packets.
    pub fn encoder(self) -> u64 {
        let frames = self.frames * (AROUND + CAPTURE) * 8;
        self.video.saturating_sub(frames) * PAYLOAD / (PAYLOAD + AROUND)
    }

    /// Bytes of all media and RTCP within `time`, times `percent` / 100.
    pub fn total(self, percent: u64, time: Duration) -> u64 {
        bytes((self.video + self.audio + self.control) * percent / 100, time)
    }

    /// The video's part of [`Target::total`], after the fixed shares of audio and RTCP.
    pub fn picture(self, percent: u64, time: Duration) -> u64 {
        self.total(percent, time).saturating_sub(bytes(self.audio + self.control, time))
    }

    /// RTCP's share.
    pub fn control(self, time: Duration) -> u64 {
        bytes(self.control, time)
    }
}

fn video(media: &Media) -> u64 {
    let bits = u64::from(media.bitrate) * 1000;
    // The cameras share the bits, but not the packets that are not full.
    let frames = u64::from(media.fps) * media.sources.videos().len() as u64;
    let packets = bits / 8 / PAYLOAD + frames;
    bits + (packets * AROUND + frames * CAPTURE) * 8
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

    /// The media that these flags ask for.
    pub(crate) fn media(flags: &[&str]) -> Media {
        Flags::parse_from(["callbin"].iter().chain(flags)).media
    }

    /// The target of a client with these flags.
    pub(crate) fn target(flags: &[&str]) -> Target {
        Target::of(&media(flags), Formats::default())
    }

    #[test]
    fn counts_what_is_sent_with_all_that_is_around_it() {
        let all = target(&[]);
        // 1000 kbit/s in 108 full packets and 30 others, 32 kbit/s in 50 packets, and 64 kbit/s of RTCP.
        let video = 1_000_000 + (138 * 66 + 30 * 16) * 8;
        let bits = video + 32_000 + 50 * 66 * 8 + 64_000;
        assert_eq!(all.total(100, SECOND), bits / 8);
        assert_eq!(all.picture(100, SECOND), video / 8);
        assert_eq!(all.total(130, SECOND / 2), bits * 130 / 100 / 16);
    }

    #[test]
    fn a_thin_path_takes_from_the_picture_only() {
        let all = target(&[]);
        assert_eq!(all.within(all.most(), 0.0), all);
        assert_eq!(all.within(all.most(), 0.1), all, "there is room for retransmissions");
        let thin = all.within(400_000, 0.0);
        assert_eq!((thin.video, thin.audio), (400_000 - 58_400, 58_400));
        assert!(thin.control >= 24_000 && thin.control < all.control);
        assert_eq!(all.within(400_000, 0.25).video, 300_000 - 58_400);
        assert_eq!(all.within(0, 1.0).video, 30_000);
        assert_eq!(all.within(u64::MAX, 0.0), all);
    }

    #[test]
    fn the_encoder_gets_what_is_left_in_its_packets() {
        let rate = target(&[]).encoder();
        assert!((995_000..=1_000_000).contains(&rate), "{rate}");
        assert_eq!(target(&["--no-video"]).encoder(), 0);
    }

    #[test]
    fn much_media_have_more_to_be_reported() {
        assert_eq!(
            target(&["--bitrate", "10000"]).control(SECOND),
            (10_000_000 + 1116 * 528 + 30 * 128 + 58_400) / 160
        );
    }

    #[test]
    fn counts_nothing_that_is_not_sent() {
        assert_eq!(target(&["--receive-only"]).total(100, SECOND), 8000);
        assert!(target(&["--no-video"]).total(100, SECOND) < 16_000);
        assert!(target(&["--no-audio"]).total(100, SECOND) < target(&[]).total(100, SECOND));
    }
}
