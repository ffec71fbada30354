//! One source that may fail: a thread that follows [`Healing`], opens and closes the source, and shows its cards.
//!
//! Devices and networks may hang while they are opened or closed. That happens on another thread (`crew`), so that cards and
//! reports go on; an attempt begins only when the one before has gone, or hangs.

use std::{
    sync::{
        Arc, Mutex, Once, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use super::{
    attempt::{Attempt, Said, Tell},
    card,
    crew::{Crew, Order, Todo},
    healing::{AtEnd, Effect, Healing, Input},
    news::{Change, News, Notice},
    relay::{Relay, Tap},
    spec::Spec,
};
use crate::{cli::Size, exit::Failure, sdp::Kind};

/// Time between two looks at a live source.
const TICK: Duration = Duration::from_millis(200);
/// Time between two pictures of a card. GStreamer's receivers take a frame for lost if the frames become much rarer.
const CARD: Duration = Duration::from_millis(66);
/// Length of one buffer of sound.
const SOUND: Duration = Duration::from_millis(20);
/// Bytes of one buffer of sound: 48 kHz, 16 bits, one channel.
const SOUND_BYTES: usize = 960 * 2;
/// Time limit for the end of the thread.
const GOODBYE: Duration = Duration::from_millis(500);

/// What to open, and for which inputs.
#[derive(Debug, Clone)]
pub(super) struct Plan {
    pub(super) spec: Spec,
    /// What events and cards call it.
    pub(super) label: String,
    pub(super) size: Size,
    /// Of raw pictures of this size.
    pub(super) layout: gst_video::VideoInfo,
    pub(super) fps: u16,
    pub(super) parts: Vec<(Kind, Arc<Relay>)>,
}

/// A source. Dropping it closes the source; a source that hangs is left behind.
#[derive(Debug)]
pub(super) struct Supply {
    notes: SyncSender<Said>,
    begun: Once,
    over: Mutex<Receiver<()>>,
}

impl Supply {
    /// A source that is not opened yet.
    pub(super) fn new(plan: Plan, news: News) -> Result<Self, Failure> {
        let (notes, inbox) = sync_channel(16);
        let (ending, over) = channel();
        let tell = notes.clone();
        let for_worker = plan.clone();
        let hire = move |todo: Todo| {
            let (plan, tell) = (for_worker.clone(), tell.clone());
            let worker = thread::Builder::new().name("source-open".into());
            worker.spawn(move || work(&plan, &todo, &tell)).is_ok()
        };
        let crew = Crew::new(hire).ok_or_else(|| Failure::internal("a source gets no thread"))?;
        let keeper = thread::Builder::new().name("source".into()).spawn(move || {
            Keeper::new(plan, news, crew).run(&inbox);
            drop(ending);
        });
        keeper.map_err(Failure::internal)?;
        Ok(Self { notes, begun: Once::new(), over: Mutex::new(over) })
    }
}

impl Supply {
    /// Opens the source, if that was not done before.
    pub(super) fn begin(&self) {
        self.begun.call_once(|| {
            let _ = self.notes.try_send(Said::Begin);
        });
    }
}

impl Drop for Supply {
    fn drop(&mut self) {
        let _ = self.notes.try_send(Said::Quit);
        // The other end is only ever dropped.
        let over = self.over.get_mut().unwrap_or_else(PoisonError::into_inner);
        let _ = over.recv_timeout(GOODBYE);
    }
}

/// Opens and closes the source, one attempt after the other.
fn work(plan: &Plan, todo: &Todo, notes: &SyncSender<Said>) {
    let mut attempt = None;
    for order in todo.orders() {
        // Close the old one first: a device can be opened only once.
        drop(attempt.take());
        if let Order::Open(number, taps) = order {
            let tell = Tell::new(number, notes.clone());
            match Attempt::open(plan, &taps, &tell) {
                Ok(opened) => attempt = Some(opened),
                Err(reason) => tell.failed(&reason),
            }
        }
    }
}

/// The state of the first thread.
struct Keeper {
    plan: Plan,
    news: News,
    crew: Crew,
    healing: Healing,
    began: Instant,
    /// Number of the attempt under way.
    number: u64,
    taps: Vec<Arc<Tap>>,
    /// What each tap had at the last look.
    seen: Vec<Seen>,
    cards: Vec<Card>,
}

/// What a tap had.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    fed: u64,
    ended: bool,
}

/// The card of one part, once it was needed, and when its next buffer is due.
#[derive(Default)]
struct Card {
    buffer: Option<gst::Buffer>,
    due: Option<Duration>,
}

impl Keeper {
    fn new(plan: Plan, news: News, crew: Crew) -> Self {
        let names: Vec<_> = plan.parts.iter().map(|(kind, _)| part_name(*kind)).collect();
        let at_end = match () {
            () if plan.spec.repeats() => AtEnd::Repeat,
            () if plan.spec.ends() => AtEnd::Stay,
            () => AtEnd::Fail,
        };
        let cards = plan.parts.iter().map(|_| Card::default()).collect();
        Self {
            healing: Healing::new(&names, at_end),
            began: Instant::now(),
            number: 0,
            taps: Vec::new(),
            seen: Vec::new(),
            plan,
            news,
            crew,
            cards,
        }
    }

    fn run(mut self, inbox: &Receiver<Said>) {
        if inbox.recv() != Ok(Said::Begin) {
            return;
        }
        self.began = Instant::now();
        loop {
            let now = self.began.elapsed();
            self.look(now);
            self.crew.look(now);
            self.handle(now, Input::Time);
            self.show_cards(now);
            let wait = self.next_due(now).saturating_sub(self.began.elapsed());
            match inbox.recv_timeout(wait) {
                Ok(Said::Failed(number, reason)) if number == self.number => {
                    self.look(self.began.elapsed());
                    self.handle(self.began.elapsed(), Input::Failed(reason));
                }
                Ok(Said::Ended(number)) if number == self.number => {
                    self.look(self.began.elapsed());
                    self.handle(self.began.elapsed(), Input::Ended);
                }
                Ok(Said::Failed(..) | Said::Ended(_) | Said::Begin) | Err(RecvTimeoutError::Timeout) => {}
                Ok(Said::Quit) | Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    /// Looks which parts got buffers, and which ended.
    fn look(&mut self, now: Duration) {
        for part in 0..self.taps.len() {
            let Some((tap, seen)) = self.taps.get(part).zip(self.seen.get_mut(part)) else { return };
            // In this order: the last buffer comes before the end.
            let found = Seen { ended: tap.has_ended(), fed: tap.fed() };
            let before = std::mem::replace(seen, found);
            if found.fed != before.fed {
                self.handle(now, Input::Fed(part));
            }
            if found.ended && !before.ended {
                self.handle(now, Input::PartEnded(part));
            }
        }
    }

    fn handle(&mut self, now: Duration, input: Input) {
        for effect in self.healing.handle(now, input) {
            match effect {
                Effect::Open => self.open(),
                Effect::Close => self.close(),
                Effect::Lost(part, reason) => self.report(part, Change::Lost(reason)),
                Effect::Back(part) => {
                    self.cards.get_mut(part).into_iter().for_each(|card| card.due = None);
                    self.report(part, Change::Back);
                }
            }
        }
    }

    fn open(&mut self) {
        self.number += 1;
        self.taps = self.plan.parts.iter().map(|(_, relay)| Arc::new(Tap::new(relay.clone()))).collect();
        self.seen = vec![Seen::default(); self.taps.len()];
        self.crew.give(self.began.elapsed(), Order::Open(self.number, self.taps.clone()));
    }

    fn close(&mut self) {
        self.taps.drain(..).for_each(|tap| tap.close());
        self.crew.give(self.began.elapsed(), Order::Close);
    }

    fn report(&self, part: usize, change: Change) {
        let Some((kind, _)) = self.plan.parts.get(part) else { return };
        self.news.tell(Notice { source: self.plan.label.clone(), kind: *kind, change });
    }

    /// Pushes the cards of lost parts that are due. A thread that was late does not make up for more than a few.
    fn show_cards(&mut self, now: Duration) {
        for (part, card) in self.cards.iter_mut().enumerate() {
            let Some((kind, relay)) = self.plan.parts.get(part) else { continue };
            if !self.healing.is_lost(part) {
                continue;
            }
            let interval = interval(*kind);
            let mut due = card.due.filter(|due| *due + 10 * interval > now).unwrap_or(now);
            while due <= now {
                let buffer = card.buffer.get_or_insert_with(|| buffer(*kind, &self.plan));
                let age = gst::ClockTime::try_from(now.saturating_sub(due)).unwrap_or_default();
                relay.push(buffer.copy(), Some(relay.timing().running_time().saturating_sub(age)));
                due += interval;
            }
            card.due = Some(due);
        }
    }

    fn next_due(&self, now: Duration) -> Duration {
        let cards = self.cards.iter().filter_map(|card| card.due);
        cards.chain(self.healing.deadline()).chain([now + TICK]).min().unwrap_or(now + TICK)
    }
}

fn part_name(kind: Kind) -> &'static str {
    if kind == Kind::Audio { "sound" } else { "picture" }
}

fn interval(kind: Kind) -> Duration {
    if kind == Kind::Audio { SOUND } else { CARD }
}

/// The picture of a card, or silence.
fn buffer(kind: Kind, plan: &Plan) -> gst::Buffer {
    let bytes =
        if kind == Kind::Audio { vec![0; SOUND_BYTES] } else { card::draw(&plan.layout, &plan.label) };
    let mut buffer = gst::Buffer::from_slice(bytes);
    if let (Kind::Audio, Some(buffer)) = (kind, buffer.get_mut()) {
        buffer.set_duration(gst::ClockTime::try_from(SOUND).ok());
    }
    buffer
}

#[cfg(test)]
mod tests {
    use gst::prelude::*;

    use super::*;
    use crate::media::{input, timing::Timing};

    /// Writes a file whose picture ends after a third of a second, and its sound after three seconds.
    fn film(file: &std::path::Path) {
        let pipeline = gst::parse::launch(&format!(
            "videotestsrc num-buffers=10 ! video/x-raw,width=64,height=48,framerate=30/1 ! jpegenc ! matroskamux name=mux \
             ! filesink location={} audiotestsrc num-buffers=150 samplesperbuffer=960 ! audio/x-raw,rate=48000,channels=1 ! mux.",
            file.display()
        ));
        let pipeline = pipeline.unwrap();
        pipeline.set_state(gst::State::Playing).unwrap();
        let ends = [gst::MessageType::Eos, gst::MessageType::Error];
        let end = pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
        assert_eq!(end.expect("an end").type_(), gst::MessageType::Eos);
        pipeline.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn the_sound_of_a_file_outlives_its_picture() {
        gst::init().unwrap();
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("film.mkv");
        film(&file);
        let (timing, size) = (Timing::now(), Size { width: 64, height: 48 });
        let relay = || Arc::new(Relay::new(&gst::Caps::new_any(), &timing));
        let plan = Plan {
            spec: Spec::File { path: file.display().to_string(), repeats: false },
            label: "film".into(),
            size,
            layout: input::layout(size).unwrap(),
            fps: 30,
            parts: vec![(Kind::Video, relay()), (Kind::Audio, relay())],
        };
        let (news, notices) = News::new();
        let supply = Supply::new(plan, news).unwrap();
        supply.begin();
        let lost = [(); 2].map(|()| notices.recv_blocking().unwrap());
        let ended =
            |kind| Notice { source: "film".into(), kind, change: Change::Lost("it has ended".into()) };
        assert_eq!(lost, [Kind::Video, Kind::Audio].map(ended));
    }
}
