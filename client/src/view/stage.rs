//! The thread that runs one pipeline of the view. It opens the pipeline with the first guest and closes it with the
//! last; after an error it closes it for good.
//!
//! The thread receives no commands, which could pile up or get lost. A board lists the wanted guests, one entry each,
//! and the thread changes its scene step by step until it matches the board.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_std::channel::Sender;
use gst::prelude::*;

use crate::exit::Failure;

/// A step that takes longer has hung in an element; the scene is given up.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// One medium of a peer, as an input of the view.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// The peer's uid.
    pub(super) name: Arc<str>,
    /// The source of its buffers.
    pub(super) feed: gst_app::AppSrc,
    /// Its current caps; `None` if nothing arrives.
    pub(super) caps: Option<gst::Caps>,
}

/// A pipeline that shows or plays guests. Dropping it ends it, which may take long.
pub(super) trait Scene: Sized + Send + 'static {
    /// Its name in messages.
    const NAME: &'static str;

    /// Builds it, with `sink` or the default one.
    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure>;
    /// Adds a guest, or changes the caps of its medium.
    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure>;
    /// Removes a guest; returns whether others are left.
    fn leave(&mut self, id: u64) -> bool;
}

/// A scene that has ended while the call goes on. Reported once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// The part of the view: `window` or `sound`.
    pub part: &'static str,
    /// Why.
    pub reason: String,
}

/// Receives lost scenes.
pub type News = Sender<Lost>;

/// A handle to the thread, which ends with the last handle. Only [`Stage::close`] waits.
#[derive(Debug, Clone)]
pub(super) struct Stage(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Board>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.change(|wanted| wanted.closing = true);
    }
}

/// Reports to the thread that its scene has failed. Failures of earlier scenes are ignored.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    board: Arc<Board>,
    generation: u64,
}

/// The board: what the thread is to do.
#[derive(Debug)]
struct Board {
    part: &'static str,
    news: News,
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// The guests, each with a number that changes whenever the guest does.
    guests: BTreeMap<u64, (u64, Guest)>,
    revision: u64,
    /// The generation of the scene that failed, and why.
    failed: Option<(u64, String)>,
    closing: bool,
    /// Start of the thread's current step.
    busy: Option<Instant>,
    /// No further scene will be opened.
    over: bool,
    /// The thread has ended.
    ended: bool,
}

impl Alarm {
    /// Reports a failure, from any thread and without waiting. The first reason counts.
    pub(super) fn raise(&self, reason: String) {
        self.board.change(|wanted| {
            if wanted.failed.as_ref().is_none_or(|(generation, _)| *generation < self.generation) {
                wanted.failed = Some((self.generation, reason));
            }
        });
    }

    /// Raises the alarm at the first error of `pipeline`, except for errors of the element `but`, whose reason is
    /// reported elsewhere.
    pub(super) fn watch(&self, pipeline: &gst::Pipeline, but: &'static str) {
        let Some(bus) = pipeline.bus() else { return };
        let alarm = self.clone();
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                let source = message.src().map(|src| src.name());
                tracing::debug!(debug = ?error.debug(), ?source);
                if source.is_none_or(|source| source != but) {
                    alarm.raise(error.error().to_string());
                }
            }
            // Nothing reads this bus, so messages kept there would only pile up.
            gst::BusSyncReply::Drop
        });
    }
}

impl Stage {
    /// Starts the thread; `None` if it cannot be started.
    pub(super) fn start<S: Scene>(sink: Option<String>, news: News) -> Option<Self> {
        let board = Board { part: S::NAME, news, wanted: Mutex::default(), changed: Condvar::new() };
        let board = Arc::new(board);
        let play =
            Play::<S> { board: board.clone(), sink, scene: None, generation: 0, present: BTreeMap::new() };
        let spawned = thread::Builder::new().name(S::NAME.into()).spawn(move || play.run());
        spawned.ok().map(|_| Self(Arc::new(Owner(board))))
    }

    /// Adds a guest, or changes the caps of its medium.
    pub(super) fn enter(&self, id: u64, guest: Guest) {
        self.board().change(|wanted| {
            wanted.revision += 1;
            if !wanted.over {
                wanted.guests.insert(id, (wanted.revision, guest));
            }
        });
    }

    /// Removes a guest.
    pub(super) fn leave(&self, id: u64) {
        self.board().change(|wanted| drop(wanted.guests.remove(&id)));
    }

    /// Gives the scene up if its thread hangs; called once per second.
    pub(super) fn check(&self) {
        let hangs = |wanted: &Wanted| wanted.busy.is_some_and(|since| since.elapsed() > STEP_LIMIT);
        if hangs(&self.board().lock()) {
            self.board().give_up("it does not respond");
        }
    }

    /// Ends the scene for good; waits at most `limit`.
    pub(super) fn close(&self, limit: Duration) {
        self.board().change(|wanted| wanted.closing = true);
        let wanted = self.board().lock();
        let _ = self.board().changed.wait_timeout_while(wanted, limit, |wanted| !wanted.ended);
    }

    fn board(&self) -> &Board {
        &self.0.0
    }
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Wanted> {
        self.wanted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut Wanted)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Gives the scene up and reports that once; the call goes on.
    fn give_up(&self, reason: &str) {
        self.change(|wanted| {
            wanted.guests.clear();
            if !std::mem::replace(&mut wanted.over, true) && !wanted.closing {
                let _ = self.news.try_send(Lost { part: self.part, reason: reason.into() });
            }
        });
    }
}

/// The state of the thread.
struct Play<S: Scene> {
    board: Arc<Board>,
    sink: Option<String>,
    scene: Option<S>,
    generation: u64,
    /// The guests in the scene, with their numbers on the board.
    present: BTreeMap<u64, u64>,
}

enum Step {
    Enter(u64, u64, Guest),
    Leave(u64),
    Fail(String),
    End,
}

impl<S: Scene> Play<S> {
    fn run(mut self) {
        loop {
            match self.next() {
                Step::Enter(id, revision, guest) => {
                    self.present.insert(id, revision);
                    if let Err(failure) = self.enter(id, &guest) {
                        return self.fail(&failure.message);
                    }
                }
                Step::Leave(id) => {
                    self.present.remove(&id);
                    if self.scene.as_mut().is_some_and(|scene| !scene.leave(id)) {
                        self.end_scene();
                    }
                }
                Step::Fail(reason) => return self.fail(&reason),
                Step::End => return drop(self.scene.take()),
            }
        }
    }

    /// Waits until scene and board differ; returns the next step.
    fn next(&self) -> Step {
        let mut wanted = self.board.lock();
        wanted.busy = None;
        loop {
            if let Some(step) = self.difference(&wanted) {
                wanted.busy = Some(Instant::now());
                return step;
            }
            wanted = self.board.changed.wait(wanted).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn difference(&self, wanted: &Wanted) -> Option<Step> {
        if wanted.closing || wanted.over {
            return Some(Step::End);
        }
        let failed = wanted.failed.as_ref().filter(|(generation, _)| *generation == self.generation);
        if let Some((_, reason)) = failed {
            return Some(Step::Fail(reason.clone()));
        }
        let gone = self.present.keys().find(|id| !wanted.guests.contains_key(id));
        if let Some(id) = gone {
            return Some(Step::Leave(*id));
        }
        let new = |(id, (revision, _)): &(&u64, &(u64, Guest))| self.present.get(id) != Some(revision);
        wanted
            .guests
            .iter()
            .find(new)
            .map(|(id, (revision, guest))| Step::Enter(*id, *revision, guest.clone()))
    }

    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure> {
        let scene = match self.scene.take() {
            Some(scene) => scene,
            None => {
                self.generation += 1;
                S::open(
                    self.sink.as_deref(),
                    Alarm { board: self.board.clone(), generation: self.generation },
                )?
            }
        };
        self.scene.insert(scene).enter(id, guest)
    }

    fn fail(mut self, reason: &str) {
        self.board.give_up(reason);
        self.end_scene();
    }

    /// Drops the scene on a thread of its own, in case a sink hangs in its teardown.
    fn end_scene(&mut self) {
        // Ignore errors of its teardown.
        self.generation += 1;
        if let Some(scene) = self.scene.take()
            && thread::Builder::new().name("teardown".into()).spawn(move || drop(scene)).is_err()
        {
            tracing::warn!("no thread for a teardown");
        }
    }
}

impl<S: Scene> Drop for Play<S> {
    /// Runs however the thread ends, also after a panic.
    fn drop(&mut self) {
        if thread::panicking() {
            self.board.give_up("it failed because of a bug in callbin");
        }
        self.board.change(|wanted| {
            wanted.over = true;
            wanted.ended = true;
            wanted.busy = None;
        });
    }
}

#[cfg(test)]
#[path = "stage_tests.rs"]
mod tests;
