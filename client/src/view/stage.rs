//! The thread that runs one pipeline of the view: it opens it with the first guest, closes it with the last,
//! and after an error for good.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender},
    },
    thread,
    time::Duration,
};

use gst::prelude::*;

use crate::exit::Failure;

/// A peer's medium as it comes into the view.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    /// The peer's uid.
    pub(super) name: Arc<str>,
    /// Where the medium comes from.
    pub(super) feed: gst_app::AppSrc,
    /// What it is now.
    pub(super) caps: gst::Caps,
}

/// A pipeline that shows or plays guests. Dropping it ends it, and may take its time.
pub(super) trait Scene: Sized + Send + 'static {
    /// What it is called in messages.
    const NAME: &'static str;
    /// What remains without it.
    const WITHOUT: &'static str;

    /// Starts it, with this sink.
    fn open(sink: Option<&str>, alarm: Alarm) -> Result<Self, Failure>;
    /// A guest comes, or its medium changes.
    fn enter(&mut self, id: u64, guest: &Guest) -> Result<(), Failure>;
    /// A guest goes; whether others are left.
    fn leave(&mut self, id: u64) -> bool;
}

enum Command {
    /// Brings a way to speak to the thread along: one of its own would keep the thread alive for ever.
    Enter(u64, Guest, Stage),
    Leave(u64),
    Failed(u64, String),
    Close(Sender<()>),
}

/// Speaks to the thread; never waits for it.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    commands: Sender<Command>,
}

/// Tells the thread that its scene has failed. Errors of earlier scenes are not told.
#[derive(Debug, Clone)]
pub(super) struct Alarm {
    commands: Sender<Command>,
    generation: u64,
}

impl Alarm {
    /// From any thread, without waiting.
    pub(super) fn raise(&self, reason: String) {
        let _ = self.commands.send(Command::Failed(self.generation, reason));
    }

    /// Raised by the first error of `pipeline`.
    pub(super) fn watch(&self, pipeline: &gst::Pipeline) {
        let Some(bus) = pipeline.bus() else { return };
        let alarm = self.clone();
        bus.set_sync_handler(move |_, message| {
            if let gst::MessageView::Error(error) = message.view() {
                tracing::debug!(debug = ?error.debug(), source = ?message.src().map(|src| src.name()));
                alarm.raise(error.error().to_string());
            }
            gst::BusSyncReply::Pass
        });
    }
}

impl Stage {
    /// Starts the thread, which ends with the last of those who can speak to it; `None` if there are no more
    /// threads.
    pub(super) fn start<S: Scene>(sink: Option<String>) -> Option<Self> {
        let (commands, incoming) = mpsc::channel();
        let play = Play::<S> { sink, scene: None, generation: 0, failed: false };
        let spawned = thread::Builder::new().name(S::NAME.into()).spawn(move || play.run(&incoming));
        spawned.ok().map(|_| Self { commands })
    }

    /// A guest comes, or its medium changes.
    pub(super) fn enter(&self, id: u64, guest: Guest) {
        let _ = self.commands.send(Command::Enter(id, guest, self.clone()));
    }

    /// A guest goes.
    pub(super) fn leave(&self, id: u64) {
        let _ = self.commands.send(Command::Leave(id));
    }

    /// Ends the scene for good; waits for that at most `limit`.
    pub(super) fn close(&self, limit: Duration) {
        let (done, closed) = mpsc::channel();
        let _ = self.commands.send(Command::Close(done));
        let _ = closed.recv_timeout(limit);
    }
}

/// What the thread knows.
struct Play<S> {
    sink: Option<String>,
    scene: Option<S>,
    generation: u64,
    failed: bool,
}

impl<S: Scene> Play<S> {
    fn run(mut self, incoming: &Receiver<Command>) {
        for command in incoming {
            match command {
                Command::Enter(id, guest, stage) => self.enter(id, &guest, stage),
                Command::Leave(id) => {
                    if self.scene.as_mut().is_some_and(|scene| !scene.leave(id)) {
                        self.end_scene();
                    }
                }
                Command::Failed(generation, reason) if generation == self.generation => self.fail(&reason),
                Command::Failed(..) => {}
                Command::Close(done) => {
                    self.failed = true;
                    drop(self.scene.take());
                    let _ = done.send(());
                }
            }
        }
    }

    fn enter(&mut self, id: u64, guest: &Guest, stage: Stage) {
        if self.failed {
            return;
        }
        let opened = match self.scene.take() {
            Some(scene) => Ok(scene),
            None => {
                self.generation += 1;
                let alarm = Alarm { commands: stage.commands, generation: self.generation };
                S::open(self.sink.as_deref(), alarm)
            }
        };
        let entered = opened.and_then(|scene| self.scene.insert(scene).enter(id, guest));
        if let Err(failure) = entered {
            self.fail(&failure.message);
        }
    }

    /// The call goes on without.
    fn fail(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.failed, true) {
            eprintln!("callbin: {}: {reason}: the call goes on {}", S::NAME, S::WITHOUT);
        }
        self.end_scene();
    }

    /// On a thread of its own: a sink that hangs in its teardown costs only itself.
    fn end_scene(&mut self) {
        self.generation += 1;
        if let Some(scene) = self.scene.take()
            && thread::Builder::new().name("teardown".into()).spawn(move || drop(scene)).is_err()
        {
            tracing::warn!("no thread for a teardown");
        }
    }
}
