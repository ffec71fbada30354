//! The media that this process sends: each medium is captured once, and encoded once per codec in use for any number of
//! peers.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    task::Poll,
    thread,
    time::Duration,
};

use super::{
    encode::{
        Encoding,
        codec::{Format, Formats},
        feed::Feed,
        share::Share,
        trial,
    },
    input::{self, Input, news::News},
    target::Target,
    timing::Timing,
};
use crate::{cli::Media, exit::Failure, sdp::Kind};

/// An encoder without peers is freed after this time, except the first one of each medium.
const KEPT: Duration = Duration::from_secs(30);

/// The running inputs and encoders, and the clock that all pipelines share.
#[derive(Debug)]
pub struct Source {
    tracks: Vec<Track>,
    /// The bit rate that the encoders aim at.
    pub target: Target,
    /// Clock and base time of every peer's pipeline, so that timestamps mean the same in all of them.
    pub timing: Timing,
    media: Media,
}

/// One medium.
#[derive(Debug)]
struct Track {
    kind: Kind,
    // Dropped in this order: the encoders take from the input.
    encodings: Mutex<Vec<Encoding>>,
    input: Input,
}

impl Source {
    /// Builds and starts the encoder of the preferred codec of each medium that `media` asks for, and prepares the inputs.
    pub fn start(media: &Media, formats: Formats, news: &News) -> Result<Self, Failure> {
        let timing = Timing::now();
        let inputs = input::make_all(media, &timing, news)?;
        // The cameras share the bit rate.
        let cameras = inputs.iter().filter(|input| input.kind() == Kind::Video).count();
        let cameras = u32::try_from(cameras.max(1)).unwrap_or(u32::MAX);
        let one = Media { bitrate: (media.bitrate / cameras).max(16), ..media.clone() };
        let tracks = inputs.into_iter().map(|input| Track::start(input, formats, &one, &timing));
        let tracks = tracks.collect::<Result<Vec<_>, _>>()?;
        let is_sent = |format: &Format| tracks.iter().any(|track| track.kind == format.kind());
        trial::prepare(formats.iter().filter(is_sent).collect(), &one);
        Ok(Self { tracks, target: Target::of(media, formats), timing, media: one })
    }

    /// Opens cameras and other sources, if that was not done before. Until then only encoders run, so that a client that
    /// waits uses no device.
    pub fn open(&self) {
        self.tracks.iter().for_each(|track| track.input.open());
    }

    /// Whether media of this kind are sent.
    pub fn sends(&self, kind: Kind) -> bool {
        self.track(kind, 0).is_some()
    }

    /// Feeds `appsrc`, of a peer whose path is good for `share` or of a recording without one, with a track of the medium in this codec, and requests a
    /// key frame for it. `None` if the track is not sent, or if its encoder is still being tried: try again later.
    pub fn attach(
        &self,
        format: Format,
        track: usize,
        appsrc: &gst_app::AppSrc,
        share: Option<Share>,
    ) -> Result<Option<Feed>, Failure> {
        let Some(track) = self.track(format.kind(), track) else { return Ok(None) };
        let mut encodings = track.encodings();
        let encoding = match encodings.iter().position(|it| it.format() == format) {
            Some(at) => encodings.get(at),
            None => {
                // This runs on the app's loop, which must not wait for a driver.
                let Poll::Ready(encoder) = trial::known(format) else { return Ok(None) };
                encodings.push(Encoding::start(format, encoder, &track.input, &self.media, &self.timing)?);
                encodings.last()
            }
        };
        let Some(encoding) = encoding else { return Ok(None) };
        let feed = encoding.attach(appsrc, share);
        if format.kind() == Kind::Video {
            encoding.request_key_frame();
        }
        Ok(feed)
    }

    /// The name that the user gave to a track.
    pub fn name(&self, kind: Kind, track: usize) -> Option<&str> {
        self.track(kind, track)?.input.name()
    }

    /// Frees encoders that no peer has used for a while.
    pub fn free_unused(&self) {
        self.tracks.iter().for_each(|track| track.free_unused(KEPT));
    }

    /// The codecs that are encoded now.
    pub fn formats(&self) -> Formats {
        self.tracks
            .iter()
            .flat_map(|track| track.encodings().iter().map(Encoding::format).collect::<Vec<_>>())
            .collect()
    }

    /// The tracks of a kind have numbers from 0, in the order of the flags.
    fn track(&self, kind: Kind, number: usize) -> Option<&Track> {
        self.tracks.iter().filter(|track| track.kind == kind).nth(number)
    }

    /// The first error of an input or encoder that was not returned yet.
    pub fn error(&self) -> Option<String> {
        self.tracks.iter().find_map(|track| {
            track.input.error().or_else(|| track.encodings().iter().find_map(Encoding::error))
        })
    }
}

impl Track {
    fn start(input: Input, formats: Formats, media: &Media, timing: &Timing) -> Result<Self, Failure> {
        let kind = input.kind();
        let format =
            formats.of(kind).next().ok_or_else(|| Failure::internal("no codec for a medium that is sent"))?;
        let first = Encoding::start(format, trial::best(format, media), &input, media, timing)?;
        Ok(Self { kind, encodings: Mutex::new(vec![first]), input })
    }

    fn encodings(&self) -> MutexGuard<'_, Vec<Encoding>> {
        self.encodings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first encoder stays: the next peer most likely needs it.
    fn free_unused(&self, kept: Duration) {
        let mut encodings = self.encodings();
        let unused = |at: usize, it: &Encoding| at > 0 && it.is_unused_for(kept);
        while let Some(at) = encodings.iter().enumerate().position(|(at, it)| unused(at, it)) {
            let encoding = encodings.remove(at);
            tracing::debug!(format = %encoding.format(), "an encoder without peers ends");
            // An encoder may take a while to end.
            let _ = thread::Builder::new().name("encoder-end".into()).spawn(move || drop(encoding));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::{encode::configure, target::tests::media};

    #[test]
    fn each_codec_in_use_has_one_encoder_and_an_unused_one_ends() {
        gst::init().unwrap();
        let media = media(&["--size", "160x120"]);
        let formats: Formats = [Format::Vp8, Format::Vp9, Format::Opus].into_iter().collect();
        let source = Source::start(&media, formats, &News::new().0).unwrap();
        let running = || source.formats().iter().collect::<Vec<_>>();
        assert_eq!(running(), [Format::Vp8, Format::Opus]);
        let entry = || {
            let entry = gst_app::AppSrc::builder().build();
            configure(&entry);
            entry
        };
        let entries = [entry(), entry()];
        let feeds = entries
            .each_ref()
            .map(|it| source.attach(Format::Vp9, 0, it, Some(Share::new(100_000))).unwrap().unwrap());
        assert_eq!(running(), [Format::Vp8, Format::Vp9, Format::Opus]);
        assert_eq!(source.tracks[0].encodings().len(), 2, "one encoder serves both peers");
        source.tracks[0].free_unused(Duration::ZERO);
        assert_eq!(running().len(), 3, "it has peers");
        drop(feeds);
        source.free_unused();
        assert_eq!(running().len(), 3, "its peers left just now");
        source.tracks.iter().for_each(|track| track.free_unused(Duration::ZERO));
        assert_eq!(running(), [Format::Vp8, Format::Opus], "the first ones stay");
    }
}
