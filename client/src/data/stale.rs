//! Runs the command of `--on-stale`.

use std::{
    io,
    process::{Child, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use super::{end, floor::Who, name_of};

/// Runs one command at a time. Of those that become due meanwhile, the last one is run afterwards.
#[derive(Debug)]
pub(super) struct Runner {
    command: String,
    label: String,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    due: Option<Who>,
}

impl Runner {
    pub(super) fn new(command: &str, label: &str) -> Arc<Self> {
        Arc::new(Self { command: command.into(), label: label.into(), state: Mutex::default() })
    }

    /// Starts the command before it returns: callbin may be about to end. The command may outlive callbin.
    pub(super) fn run(self: &Arc<Self>, who: &Who) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_running {
            state.due = Some(who.clone());
            return;
        }
        if let Some(child) = self.start(who) {
            state.is_running = true;
            let this = self.clone();
            let _ = thread::Builder::new().name("on-stale".into()).spawn(move || this.wait(child));
        }
    }

    fn wait(&self, mut child: Child) {
        loop {
            match child.wait() {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!("the command of --on-stale failed: {status}"),
                Err(error) => tracing::warn!("the command of --on-stale: {error}"),
            }
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match state.due.take().and_then(|who| self.start(&who)) {
                Some(next) => child = next,
                None => {
                    state.is_running = false;
                    return;
                }
            }
        }
    }

    fn start(&self, who: &Who) -> Option<Child> {
        let mut shell = end::shell(&self.command, &self.label, name_of(who));
        // Our stdout is for events, or for data.
        let child = shell.stdin(Stdio::null()).stdout(io::stderr()).spawn();
        child.inspect_err(|error| tracing::error!("cannot run the command of --on-stale: {error}")).ok()
    }
}
