//! One medium that this process sends: an input, and the encoders that its peers need.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use super::{
    encode::{
        self, Encoding,
        codec::Format,
        feed::{Feed, Lane},
        share::Share,
        tiers::{Line, Sent, Tier, Tiers},
        trial,
    },
    input::Input,
    timing::Timing,
};
use crate::{cli::Media, exit::Failure, sdp::Kind};

/// An encoder without peers is freed after this time, except the first one of each medium.
const KEPT: Duration = Duration::from_secs(30);
/// The same for an encoder of smaller pictures.
const TIER_KEPT: Duration = Duration::from_secs(5);

/// One medium.
#[derive(Debug)]
pub(super) struct Track {
    kind: Kind,
    born: Instant,
    media: Media,
    timing: Timing,
    // Dropped in this order: the encoders take from the input.
    encoders: Mutex<Encoders>,
    input: Input,
}

#[derive(Debug)]
struct Encoders {
    running: Vec<Encoding>,
    /// All peers, of all codecs.
    lanes: Vec<Weak<Lane>>,
    /// Which of them get which tier.
    tiers: BTreeMap<Format, Tiers>,
}

impl Track {
    /// Starts the encoder of `format`.
    pub(super) fn start(
        input: Input,
        format: Format,
        media: &Media,
        timing: &Timing,
    ) -> Result<Self, Failure> {
        let kind = input.kind();
        let (media, timing) = (media.clone(), timing.clone());
        let first = (format, Tier::Full);
        let first = Encoding::start(first, trial::best(format, &media), &input, &media, &timing)?;
        let encoders = Encoders { running: vec![first], lanes: Vec::new(), tiers: BTreeMap::new() };
        Ok(Self { kind, born: Instant::now(), media, timing, encoders: Mutex::new(encoders), input })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    fn encoders(&self) -> MutexGuard<'_, Encoders> {
        self.encoders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// See [`super::source::Source::attach`].
    pub(super) fn attach(
        &self,
        format: Format,
        appsrc: &gst_app::AppSrc,
        share: Option<Share>,
    ) -> Result<Option<Feed>, Failure> {
        let mut encoders = self.encoders();
        // This runs on the app's loop, which must not wait for a driver.
        if trial::known(format).is_pending() && !encoders.running.iter().any(|it| it.format() == format) {
            return Ok(None);
        }
        let at = self.run(&mut encoders, format, Tier::Full)?;
        let Some(encoding) = encoders.running.get(at) else { return Ok(None) };
        let feed = encoding.attach(appsrc, share);
        if self.kind == Kind::Video {
            encoding.request_key_frame();
            encoders.lanes.extend(feed.as_ref().map(Feed::lane));
        }
        Ok(feed)
    }

    /// Moves peers to the encoders that suit their paths. Returns whether there are several peers: call it some times per
    /// second then, and once per second otherwise.
    pub(super) fn arrange(&self) -> bool {
        let mut encoders = self.encoders();
        encoders.lanes.retain(|lane| lane.strong_count() > 0);
        let lanes: Vec<Arc<Lane>> = encoders.lanes.iter().filter_map(Weak::upgrade).collect();
        let formats = encoders.running.iter().filter(|it| it.tier() == Tier::Full).map(Encoding::format);
        let mut are_several = false;
        for format in formats.collect::<Vec<_>>() {
            let lanes: Vec<_> = lanes.iter().filter(|lane| lane.format == format).collect();
            are_several |= lanes.len() > 1;
            self.arrange_peers(&mut encoders, format, &lanes);
        }
        are_several
    }

    fn arrange_peers(&self, encoders: &mut Encoders, format: Format, lanes: &[&Arc<Lane>]) {
        let sent = encoders.measure(format);
        let lines = lanes.iter().filter_map(|lane| Some(Line { id: lane.id, bits: lane.bits()? }));
        let lines: Vec<Line> = lines.collect();
        let tiers = encoders.tiers(format, &self.media).arrange(self.born.elapsed(), &lines, sent);
        for (id, tier) in tiers {
            let Some(lane) = lanes.iter().find(|lane| lane.id == id && lane.goal() != tier) else { continue };
            match self.run(encoders, format, tier) {
                Ok(at) => encoders.running.get(at).iter().for_each(|it| it.take(lane)),
                Err(failure) => {
                    tracing::warn!(
                        "no second encoder for {format}: all peers share one: {}",
                        failure.message
                    );
                    // The next call moves them.
                    encoders.tiers(format, &self.media).keep_to_one();
                    return;
                }
            }
        }
    }

    /// The position of this encoder, which is started if it does not run.
    fn run(&self, encoders: &mut Encoders, format: Format, tier: Tier) -> Result<usize, Failure> {
        let running = &mut encoders.running;
        if let Some(at) = running.iter().position(|it| (it.format(), it.tier()) == (format, tier)) {
            return Ok(at);
        }
        let Poll::Ready(encoder) = trial::known(format) else {
            return Err(Failure::internal(format!("the encoder for {format} is still being tried")));
        };
        running.push(Encoding::start((format, tier), encoder, &self.input, &self.media, &self.timing)?);
        Ok(running.len() - 1)
    }

    /// The codecs that are encoded now.
    pub(super) fn formats(&self) -> Vec<Format> {
        self.encoders().running.iter().map(Encoding::format).collect()
    }

    /// The tiers that are encoded now.
    #[cfg(test)]
    pub(super) fn tiers(&self) -> Vec<Tier> {
        self.encoders().running.iter().map(Encoding::tier).collect()
    }

    /// Lets the encoder of this tier fail.
    #[cfg(test)]
    pub(super) fn fail(&self, tier: Tier) {
        self.encoders().running.iter().filter(|it| it.tier() == tier).for_each(Encoding::fail);
    }

    /// The first error of the input or an encoder that was not returned yet. If an encoder of smaller pictures fails, all peers
    /// share one from now on.
    pub(super) fn error(&self) -> Option<String> {
        if let Some(error) = self.input.error() {
            return Some(error);
        }
        let mut encoders = self.encoders();
        let failed = encoders.running.iter().enumerate().find_map(|(at, it)| Some((at, it.error()?)));
        let (at, error) = failed?;
        if encoders.running.get(at).is_some_and(|it| it.tier() != Tier::Full) {
            let encoding = encoders.running.remove(at);
            encoders.tiers(encoding.format(), &self.media).keep_to_one();
            end(encoding);
        }
        Some(error)
    }

    /// Frees encoders that no peer has used for a while.
    pub(super) fn free_unused(&self) {
        self.free_unused_for(KEPT, TIER_KEPT);
    }

    /// The first encoder stays: the next peer most likely needs it.
    pub(super) fn free_unused_for(&self, kept: Duration, tier_kept: Duration) {
        let mut encoders = self.encoders();
        let unused = |at: usize, it: &Encoding| {
            at > 0 && it.is_unused_for(if it.tier() == Tier::Full { kept } else { tier_kept })
        };
        while let Some(at) = encoders.running.iter().enumerate().position(|(at, it)| unused(at, it)) {
            let encoding = encoders.running.remove(at);
            tracing::debug!(format = %encoding.format(), tier = encoding.tier().name(), "an encoder without peers ends");
            end(encoding);
        }
    }
}

/// An encoder may take a while to end.
fn end(encoding: Encoding) {
    let _ = thread::Builder::new().name("encoder-end".into()).spawn(move || drop(encoding));
}

impl Encoders {
    fn tiers(&mut self, format: Format, media: &Media) -> &mut Tiers {
        self.tiers.entry(format).or_insert_with(|| Tiers::new(encode::last_tier(media)))
    }

    fn measure(&mut self, format: Format) -> Sent {
        let mut of = |tier| {
            let mut running = self.running.iter_mut();
            running.find(|it| (it.format(), it.tier()) == (format, tier)).and_then(Encoding::measure)
        };
        Sent(Tier::ALL.map(&mut of))
    }
}
