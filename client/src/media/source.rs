//! The media that this process sends: each medium is captured once, and encoded once per codec and tier in use for any
//! number of peers.

use super::{
    encode::{
        codec::{Format, Formats},
        feed::Feed,
        share::Share,
        trial,
    },
    input::{self, Input, news::News},
    target::Target,
    timing::Timing,
    track::Track,
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

impl Source {
    /// Builds and starts the encoder of the preferred codec of each medium that `media` asks for, and prepares the inputs.
    pub fn start(media: &Media, formats: Formats, news: &News) -> Result<Self, Failure> {
        let timing = Timing::now();
        let inputs = input::make_all(media, &timing, news)?;
        // The cameras share the bit rate.
        let cameras = inputs.iter().filter(|input| input.kind() == Kind::Video).count();
        let cameras = u32::try_from(cameras.max(1)).unwrap_or(u32::MAX);
        let one = Media { bitrate: (media.bitrate / cameras).max(16), ..media.clone() };
        let start = |input: Input| {
            let format = formats.of(input.kind()).next();
            let format = format.ok_or_else(|| Failure::internal("no codec for a medium that is sent"))?;
            Track::start(input, format, &one, &timing)
        };
        let tracks = inputs.into_iter().map(start).collect::<Result<Vec<_>, _>>()?;
        let is_sent = |format: &Format| tracks.iter().any(|track| track.kind() == format.kind());
        trial::prepare(formats.iter().filter(is_sent).collect(), &one);
        Ok(Self { tracks, target: Target::of(media, formats), timing })
    }

    /// Opens cameras and other sources, if that was not done before. Until then only encoders run, so that a client that
    /// waits uses no device.
    pub fn open(&self) {
        self.tracks.iter().for_each(|track| track.input().open());
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
        track.attach(format, appsrc, share)
    }

    /// Gives each peer the picture that suits its path. Returns whether there are several peers: call it some times per second
    /// then, and once per second otherwise.
    pub fn arrange(&self) -> bool {
        let videos = self.tracks.iter().filter(|track| track.kind() == Kind::Video);
        videos.map(Track::arrange).fold(false, |several, it| several | it)
    }

    /// The name that the user gave to a track.
    pub fn name(&self, kind: Kind, track: usize) -> Option<&str> {
        self.track(kind, track)?.input().name()
    }

    /// Frees encoders that no peer has used for a while.
    pub fn free_unused(&self) {
        self.tracks.iter().for_each(Track::free_unused);
    }

    /// The codecs that are encoded now.
    pub fn formats(&self) -> Formats {
        self.tracks.iter().flat_map(Track::formats).collect()
    }

    /// The tracks of a kind have numbers from 0, in the order of the flags.
    fn track(&self, kind: Kind, number: usize) -> Option<&Track> {
        self.tracks.iter().filter(|track| track.kind() == kind).nth(number)
    }

    /// The first error of an input or encoder that was not returned yet.
    pub fn error(&self) -> Option<String> {
        self.tracks.iter().find_map(Track::error)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        thread,
        time::{Duration, Instant},
    };

    use super::*;
    use crate::media::{
        encode::{configure, tiers::Tier},
        target::tests::media,
    };
    use gst::prelude::*;

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
        assert_eq!(source.tracks[0].formats().len(), 2, "one encoder serves both peers");
        source.tracks[0].free_unused_for(Duration::ZERO, Duration::ZERO);
        assert_eq!(running().len(), 3, "it has peers");
        drop(feeds);
        source.free_unused();
        assert_eq!(running().len(), 3, "its peers left just now");
        source.tracks.iter().for_each(|track| track.free_unused_for(Duration::ZERO, Duration::ZERO));
        assert_eq!(running(), [Format::Vp8, Format::Opus], "the first ones stay");
    }

    /// A peer: its entry, and what comes out of its queue.
    struct Viewer {
        entry: gst_app::AppSrc,
        sink: gst_app::AppSink,
        pipeline: gst::Pipeline,
        last: Option<gst::ClockTime>,
    }

    impl Viewer {
        fn new(source: &Source, decoder: &str) -> Self {
            let pipeline = gst::Pipeline::new();
            let entry = gst_app::AppSrc::builder().build();
            configure(&entry);
            let decoder = gst::ElementFactory::make(decoder).build().unwrap();
            let sink = gst_app::AppSink::builder().sync(false).build();
            let all = [entry.upcast_ref::<gst::Element>(), &decoder, sink.upcast_ref()];
            pipeline.add_many(all).unwrap();
            gst::Element::link_many(all).unwrap();
            source.timing.apply(&pipeline);
            pipeline.set_state(gst::State::Playing).unwrap();
            Self { entry, sink, pipeline, last: None }
        }

        /// The width of the next picture, which is not older than the one before, and follows it without a gap.
        fn width(&mut self) -> i32 {
            let sample =
                self.sink.try_pull_sample(gst::ClockTime::from_seconds(10)).expect("a picture in time");
            let time = sample.buffer().unwrap().pts().unwrap();
            if let Some(last) = self.last.replace(time) {
                assert!(time > last, "{last} {time}");
                // Frames come every 100 ms. On a busy machine the last ones of the former encoder may be late.
                assert!(time - last < gst::ClockTime::SECOND, "{last} {time}");
            }
            sample.caps().unwrap().structure(0).unwrap().get("width").unwrap()
        }

        fn wait_for_width(&mut self, width: i32) {
            assert!((0..300).any(|_| self.width() == width), "never {width} wide");
        }
    }

    impl Drop for Viewer {
        fn drop(&mut self) {
            let _ = self.pipeline.set_state(gst::State::Null);
        }
    }

    fn a_peer_is_moved_at_a_key_frame(format: Format, decoder: &str) {
        gst::init().unwrap();
        let media = media(&["--size", "640x480", "--fps", "10", "--no-audio"]);
        let source = Source::start(&media, [format].into_iter().collect(), &News::new().0).unwrap();
        let mut viewers = [(); 2].map(|()| Viewer::new(&source, decoder));
        let shares = [Share::new(1_000_000), Share::new(1_000_000)];
        let feed = |at: usize| source.attach(format, 0, &viewers[at].entry, Some(shares[at].clone()));
        let feeds = [0, 1].map(|at| feed(at).unwrap().unwrap());
        let tiers = || source.tracks[0].tiers();
        viewers.iter_mut().for_each(|it| it.wait_for_width(640));
        assert!(source.arrange(), "there are two");
        assert_eq!(tiers(), [Tier::Full]);

        shares[1].set(100_000, 0);
        source.arrange();
        assert_eq!(tiers(), [Tier::Full, Tier::Half]);
        viewers[1].wait_for_width(320);
        assert_eq!(feeds.each_ref().map(Feed::tier), [Tier::Full, Tier::Half]);
        // The other one saw all frames, and sees more of them.
        (0..15).for_each(|_| assert_eq!(viewers[0].width(), 640));
        (0..15).for_each(|_| assert_eq!(viewers[1].width(), 320));

        let [first, second] = feeds;
        drop(first);
        // A thread may be about to hand it a frame.
        let until = Instant::now() + Duration::from_secs(30);
        while source.arrange() {
            assert!(Instant::now() < until, "one is alone");
            thread::yield_now();
        }
        // A lone peer gets the first encoder, also over a thin path.
        assert_eq!(second.lane().upgrade().unwrap().goal(), Tier::Full);
        shares[1].set(1_000_000, 0);
        viewers[1].wait_for_width(640);
        assert_eq!(second.tier(), Tier::Full);
        source.tracks[0].free_unused_for(Duration::MAX, Duration::ZERO);
        assert_eq!(tiers(), [Tier::Full], "the other encoder ends");
        (0..15).for_each(|_| assert_eq!(viewers[1].width(), 640));
        assert_eq!(second.dropped(), 0);
    }

    #[test]
    fn peers_of_a_smaller_encoder_that_fails_get_the_first_one() {
        gst::init().unwrap();
        let media = media(&["--size", "640x480", "--fps", "10", "--no-audio"]);
        let source = Source::start(&media, [Format::Vp8].into_iter().collect(), &News::new().0).unwrap();
        let mut viewers = [(); 2].map(|()| Viewer::new(&source, "vp8dec"));
        let shares = [Share::new(1_000_000), Share::new(1_000_000)];
        let feeds = [0, 1].map(|at| {
            let share = Some(shares[at].clone());
            source.attach(Format::Vp8, 0, &viewers[at].entry, share).unwrap().unwrap()
        });
        source.arrange();
        shares[1].set(100_000, 0);
        source.arrange();
        viewers[1].wait_for_width(320);
        source.tracks[0].fail(Tier::Half);
        assert!(source.error().is_some_and(|error| error.contains("refused")));
        source.arrange();
        assert_eq!(source.tracks[0].tiers(), [Tier::Full]);
        viewers[1].wait_for_width(640);
        assert_eq!(feeds.each_ref().map(Feed::tier), [Tier::Full; 2]);
    }

    #[test]
    fn a_peer_is_moved_at_a_key_frame_of_vp8() {
        a_peer_is_moved_at_a_key_frame(Format::Vp8, "vp8dec");
    }

    #[test]
    fn a_peer_is_moved_at_a_key_frame_of_h264() {
        a_peer_is_moved_at_a_key_frame(Format::H264, "avdec_h264");
    }
}
