//! The flags about the media that are sent and received.

use std::{fmt, str::FromStr};

use clap::{Args, Parser, ValueEnum};

use super::Sources;
use crate::media::encode::codec::Format;

/// The media sent and received.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Media")]
pub struct Media {
    /// Where the media come from.
    #[command(flatten)]
    pub sources: Sources,
    /// The size of the picture.
    #[arg(long, value_name = "WxH", default_value = "640x480")]
    pub size: Size,
    /// Frames per second.
    #[arg(long, value_name = "N", default_value_t = 30, value_parser = clap::value_parser!(u16).range(1..=120))]
    pub fps: u16,
    /// The codecs to negotiate, in order of preference: vp8, h264, vp9, av1, h265, opus, pcmu, pcma. If the list has no
    /// codec for video, or none for sound, all that are installed are negotiated. `callbin codecs` lists them.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub codecs: Vec<Format>,
    /// The video encoder's target in kbit/s.
    #[arg(long, value_name = "KBIT/S", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(16..=100_000))]
    pub bitrate: u32,
    /// Neither send nor receive audio.
    #[arg(long)]
    pub no_audio: bool,
    /// Neither send nor receive video.
    #[arg(long)]
    pub no_video: bool,
    /// Send nothing; with a value, only do not send this medium.
    #[arg(long, value_enum, value_name = "MEDIUM", num_args = 0..=1, require_equals = true, default_missing_value = "both", conflicts_with = "send_only")]
    pub receive_only: Option<Which>,
    /// Receive nothing; with a value, only do not receive this medium.
    #[arg(long, value_enum, value_name = "MEDIUM", num_args = 0..=1, require_equals = true, default_missing_value = "both")]
    pub send_only: Option<Which>,
    /// How long a missing packet is waited for, in milliseconds; `auto` follows the line, from 50 to 500.
    #[arg(long, value_name = "MS|auto", default_value = "auto")]
    pub latency: Latency,
    /// At most one key frame on request per encoder in this many milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 500, value_parser = clap::value_parser!(u32).range(0..=60_000))]
    pub keyframe_interval: u32,
}

/// How long a missing packet is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency(pub Option<u32>);

impl FromStr for Latency {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            _ if text == "auto" => Ok(Self(None)),
            Ok(ms @ 0..=10_000) => Ok(Self(Some(ms))),
            _ => Err("neither `auto` nor a number from 0 to 10000"),
        }
    }
}

/// Which media a flag is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Which {
    /// Only sound.
    Audio,
    /// Only the picture.
    Video,
    /// All of it.
    Both,
}

/// Width and height in pixels, both even and within limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Pixels from left to right.
    pub width: u16,
    /// Pixels from top to bottom.
    pub height: u16,
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = |part: &str| part.parse::<u16>().ok().filter(|n| (16..=4096).contains(n) && n % 2 == 0);
        text.split_once(['x', 'X', '×'])
            .and_then(|(width, height)| Some(Self { width: parse(width)?, height: parse(height)? }))
            .ok_or_else(|| "want WIDTHxHEIGHT, even numbers from 16 to 4096, as in 640x480".into())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl Which {
    fn covers(this: Option<Self>, medium: Self) -> bool {
        this.is_some_and(|which| which == Self::Both || which == medium)
    }
}

impl Media {
    /// The media without any flags.
    pub fn usual() -> Result<Self, clap::Error> {
        #[derive(Parser)]
        struct Flags {
            #[command(flatten)]
            media: Media,
        }
        Flags::try_parse_from(["callbin"]).map(|flags| flags.media)
    }

    /// Whether audio is sent, and whether it is received.
    pub fn audio(&self) -> (bool, bool) {
        let (sends, receives) = self.directions(Which::Audio, self.no_audio);
        (sends && self.sources.sound().is_some(), receives)
    }

    /// Whether video is sent, and whether it is received.
    pub fn video(&self) -> (bool, bool) {
        let (sends, receives) = self.directions(Which::Video, self.no_video);
        (sends && !self.sources.videos().is_empty(), receives)
    }

    fn directions(&self, medium: Which, off: bool) -> (bool, bool) {
        (!off && !Which::covers(self.receive_only, medium), !off && !Which::covers(self.send_only, medium))
    }
}
