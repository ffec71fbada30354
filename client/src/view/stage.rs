//! The thread that runs one pipeline of the view: it opens it with the first guest, closes it with the last,
//! and after an error for good.
//!
//! Nobody sends it commands, which could pile up or get lost. Who is to be in the scene stands on a board with
//! one place for each guest, and the thread makes its scene like the board, one step after the other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use async_std::channel::Sender;
use gst::prelude::*;

use crate::exit::Failure;

/// A step that takes longer has met an element that hangs. It costs the scene.
const STEP_LIMIT: Duration = Duration::from_secs(5);

/// A peer's medium as it comes into the view.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// The peer's uid.
    pub(super) name: Arc<str>,
    /// Where the medium comes from.
    pub(super) feed: gst_app::AppSrc,
    /// What it is now; `None` if nothing comes.
    pub(super) caps: Option<gst::Caps>,
}

/// A pipeline that shows or plays guests. Dropping it ends it, and may take its time.
pub(super) trait Scene: Sized + Send + 'static {
    /// What it is called in messages.
    const NAME: &'static str;

    /// Starts it, with this sink.
    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure>;
    /// A guest comes, or its medium changes.
    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure>;
    /// A guest goes; whether others are left.
    fn leave(&mut self, id: u64) -> bool;
}

/// A scene that is over, though the call is not. It is told once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lost {
    /// Which part of the view.
    pub part: &'static str,
    /// Why.
    pub reason: String,
}

/// Where to tell of it.
pub type News = Sender<Lost>;

/// A way to the thread, which ends with the last of them. Nothing here waits, but for [`Stage::close`].
#[derive(Debug, Clone)]
pub(super) struct Stage(Arc<Owner>);

#[derive(Debug)]
struct Owner(Arc<Board>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.change(|wanted| wanted.closing = true);
    }
}

/// Tells the thread that its scene has failed. Errors of earlier scenes are not told.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    board: Arc<Board>,
    generation: u64,
}

/// What is wanted of the thread.
#[derive(Debug)]
struct Board {
    part: &'static str,
    news: News,
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// Each with a number that is new whenever the guest is.
    guests: BTreeMap<u64, (u64, Guest)>,
    revision: u64,
    /// The scene that failed, and why.
    failed: Option<(u64, String)>,
    closing: bool,
    /// Since when the thread has been at one step.
    busy: Option<Instant>,
    /// Nothing is wanted any more.
    over: bool,
    /// The thread has ended.
    ended: bool,
}

impl Alarm {
    /// From any thread, without waiting. The first reason counts.
    pub(super) fn raise(&self, reason: String) {
        self.board.change(|wanted| {
            if wanted.failed.as_ref().is_none_or(|(generation, _)| *generation < self.generation) {
                wanted.failed = Some((self.generation, reason));
            }
        });
    }

    /// Raised by the first error of `pipeline`, but for those of `but`, whose reason somebody else knows better.
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
            // Nobody reads this bus: what is kept there would only grow.
            gst::BusSyncReply::Drop
        });
    }
}

impl Stage {
    /// Starts the thread; `None` if there are no more threads.
    pub(super) fn start<S: Scene>(sink: Option<String>, news: News) -> Option<Self> {
        let board = Board { part: S::NAME, news, wanted: Mutex::default(), changed: Condvar::new() };
        let board = Arc::new(board);
        let play =
            Play::<S> { board: board.clone(), sink, scene: None, generation: 0, present: BTreeMap::new() };
        let spawned = thread::Builder::new().name(S::NAME.into()).spawn(move || play.run());
        spawned.ok().map(|_| Self(Arc::new(Owner(board))))
    }

    /// A guest comes, or its medium changes.
    pub(super) fn enter(&self, id: u64, guest: Guest) {
        self.board().change(|wanted| {
            wanted.revision += 1;
            if !wanted.over {
                wanted.guests.insert(id, (wanted.revision, guest));
            }
        });
    }

    /// A guest goes.
    pub(super) fn leave(&self, id: u64) {
        self.board().change(|wanted| drop(wanted.guests.remove(&id)));
    }

    /// Gives a scene up whose thread hangs; to be called now and then.
    pub(super) fn check(&self) {
        let hangs = |wanted: &Wanted| wanted.busy.is_some_and(|since| since.elapsed() > STEP_LIMIT);
        if hangs(&self.board().lock()) {
            self.board().give_up("it does not respond");
        }
    }

    /// Ends the scene for good; waits for that at most `limit`.
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

    /// The call goes on without; said once.
    fn give_up(&self, reason: &str) {
        self.change(|wanted| {
            wanted.guests.clear();
            if !std::mem::replace(&mut wanted.over, true) && !wanted.closing {
                let _ = self.news.try_send(Lost { part: self.part, reason: reason.into() });
            }
        });
    }
}

/// What the thread knows.
struct Play<S: Scene> {
    board: Arc<Board>,
    sink: Option<String>,
    scene: Option<S>,
    generation: u64,
    /// Who is in the scene, and as what.
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

    /// Waits until scene and board differ.
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

    /// On a thread of its own: a sink that hangs in its teardown costs only itself.
    fn end_scene(&mut self) {
        // Nobody is to hear how it dies.
        self.generation += 1;
        if let Some(scene) = self.scene.take()
            && thread::Builder::new().name("teardown".into()).spawn(move || drop(scene)).is_err()
        {
            tracing::warn!("no thread for a teardown");
        }
    }
}

impl<S: Scene> Drop for Play<S> {
    /// However the thread ends.
    fn drop(&mut self) {
        if thread::panicking() {
            self.board.give_up("it failed by a fault in callbin");
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
