//! The flags that name what is sent.

use clap::{Args, builder::PossibleValuesParser};

use crate::media::input::spec::{self, Named, PATTERNS, Spec, WAVES};

/// The most cameras of one call. callbin itself receives no more.
const MAX_CAMERAS: usize = 4;

/// The sources of picture and sound.
#[derive(Debug, Clone, Args)]
pub struct Sources {
    /// The picture to send: test or test:PATTERN, camera or camera:DEVICE, screen or screen:DISPLAY, file:PATH or
    /// file:PATH?loop, an address (rtsp://, http://, https://, srt://, udp://), fd:N or - (a stream on stdin),
    /// pipeline:ELEMENTS as for gst-launch-1.0, or none [default: test]. Repeated, with a name before each: several cameras, as in
    /// --video front=camera:/dev/video0 --video rear=rtsp://192.0.2.7/1. docs/sources.md describes them.
    #[arg(id = "video_source", long = "video", value_name = "[NAME=]SOURCE", value_parser = spec::video, conflicts_with = "no_video")]
    pub video: Vec<Named>,
    /// The sound to send: test or test:WAVE, microphone or microphone:NAME, none, or the same file, address, stream or pipeline as for
    /// --video [default: test].
    #[arg(id = "audio_source", long = "audio", value_name = "[NAME=]SOURCE", value_parser = spec::audio, conflicts_with = "no_audio")]
    pub audio: Option<Named>,
    /// The pattern of the test picture, one of videotestsrc (smpte, ball, red, green, blue, snow, …).
    #[arg(long, value_name = "NAME", default_value = "smpte", value_parser = PossibleValuesParser::new(PATTERNS), hide_possible_values = true)]
    pub video_pattern: String,
    /// The wave of the test sound, one of audiotestsrc (sine, square, ticks, silence, …).
    #[arg(long, value_name = "NAME", default_value = "sine", value_parser = PossibleValuesParser::new(WAVES), hide_possible_values = true)]
    pub audio_wave: String,
    /// The pitch of the test sound in Hz.
    #[arg(long, value_name = "HZ", default_value_t = 440, value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub audio_freq: u32,
}

impl Sources {
    /// The pictures to send: none, or each with another name.
    pub fn videos(&self) -> Vec<Named> {
        match &self.video[..] {
            [] => vec![test()],
            all => all.iter().filter(|named| named.spec != Spec::None).cloned().collect(),
        }
    }

    /// The sound to send.
    pub fn sound(&self) -> Option<Named> {
        Some(self.audio.clone().unwrap_or_else(test)).filter(|named| named.spec != Spec::None)
    }

    /// The error message for sources that contradict each other.
    pub(super) fn conflict(&self) -> Option<&'static str> {
        let labels: Vec<String> = self.video.iter().map(Named::label).collect();
        let is_repeated = |(at, label): (usize, &String)| labels.iter().skip(at + 1).any(|it| it == label);
        if self.video.len() > MAX_CAMERAS {
            return Some("--video can be given at most 4 times");
        }
        if self.video.len() > 1 && self.video.iter().any(|named| named.spec == Spec::None) {
            return Some("--video none excludes every other --video");
        }
        if labels.iter().enumerate().any(is_repeated) {
            return Some("two sources of --video have one name: want a different NAME= before each");
        }
        self.reads_twice().then_some(
            "a stream can be read by one source only: see --video and --audio; \
             one stream may have a picture and sound",
        )
    }

    /// Whether two sources read from one open file, unless they are the picture and the sound of one stream.
    fn reads_twice(&self) -> bool {
        let numbers: Vec<u16> = self.video.iter().filter_map(|it| it.spec.descriptor()).collect();
        let is_repeated = |(at, number): (usize, &u16)| numbers.iter().skip(at + 1).any(|it| it == number);
        numbers.iter().enumerate().any(is_repeated)
    }
}

fn test() -> Named {
    Named { name: None, spec: Spec::Test(None) }
}
