//! The media that this process sends: each medium is captured once and encoded once for any number of peers.

use super::{
    encode::{Encoding, feed::Feed, share::Share},
    input::{self, Input, news::News},
    target::Target,
    timing::Timing,
};
use crate::{cli::Media, exit::Failure, sdp::Kind};

/// The running inputs and encoders, and the clock that all pipelines share.
#[derive(Debug)]
pub struct Source {
    tracks: Vec<Track>,
    /// The bit rate that the encoders aim at.
    pub target: Target,
    /// Clock and base time of every peer's pipeline, so that timestamps mean the same in all of them.
    pub timing: Timing,
}

/// One medium.
#[derive(Debug)]
struct Track {
    kind: Kind,
    // Dropped in this order: the encoder takes from the input.
    encoding: Encoding,
    input: Input,
}

impl Source {
    /// Builds and starts the encoders that `media` asks for, and prepares their inputs.
    pub fn start(media: &Media, news: &News) -> Result<Self, Failure> {
        let timing = Timing::now();
        let inputs = input::make_all(media, &timing, news)?;
        // The cameras share the bit rate.
        let cameras = inputs.iter().filter(|input| input.kind() == Kind::Video).count();
        let shares = u32::try_from(cameras.max(1)).unwrap_or(u32::MAX);
        let one = Media { bitrate: (media.bitrate / shares).max(16), ..media.clone() };
        let tracks = inputs.into_iter().map(|input| Track::start(input, &one, &timing));
        let tracks = tracks.collect::<Result<_, _>>()?;
        Ok(Self { tracks, target: Target::of(media), timing })
    }

    /// Opens cameras and other sources, if that was not done before. Until then only encoders run, so that a client that
    /// waits uses no device.
    pub fn open(&self) {
        self.tracks.iter().for_each(|track| track.input.open());
    }

    /// The caps of the encoded medium, if it is sent.
    pub fn caps(&self, kind: Kind) -> Option<&gst::Caps> {
        self.track(kind, 0).map(|track| track.encoding.caps())
    }

    /// Feeds `appsrc`, of a peer whose path is good for `share`, with a track of the medium, and requests a key frame for
    /// it. `None` if the medium is not sent.
    pub fn attach(&self, kind: Kind, track: usize, appsrc: &gst_app::AppSrc, share: Share) -> Option<Feed> {
        let encoding = &self.track(kind, track)?.encoding;
        let feed = encoding.attach(appsrc, share)?;
        if kind == Kind::Video {
            encoding.request_key_frame();
        }
        Some(feed)
    }

    /// The name that the user gave to a track.
    pub fn name(&self, kind: Kind, track: usize) -> Option<&str> {
        self.track(kind, track)?.input.name()
    }

    /// The tracks of a kind have numbers from 0, in the order of the flags.
    fn track(&self, kind: Kind, number: usize) -> Option<&Track> {
        self.tracks.iter().filter(|track| track.kind == kind).nth(number)
    }

    /// The first error of an input or encoder that was not returned yet.
    pub fn error(&self) -> Option<String> {
        self.tracks.iter().find_map(|track| track.input.error().or_else(|| track.encoding.error()))
    }
}

impl Track {
    fn start(input: Input, media: &Media, timing: &Timing) -> Result<Self, Failure> {
        let kind = input.kind();
        let encoding = Encoding::start(kind, &input, media, timing)?;
        Ok(Self { kind, encoding, input })
    }
}
