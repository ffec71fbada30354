//! Runs the command of `--on-stale`.

use std::{
    io,
    process::{Child, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{self, Sender},
    },
    thread,
};

use super::{command, floor::Who, name_of};
use crate::exit::Failure;

/// Runs one command at a time. Of those that become due meanwhile, the last one is run afterwards.
#[derive(Debug)]
pub(super) struct Runner {
    command: String,
    label: String,
    state: Mutex<State>,
    /// To the thread that waits for the commands. It starts before they do: a command without it would never count as
    /// ended.
    to_waiter: Sender<Child>,
}

#[derive(Debug, Default)]
struct State {
    is_running: bool,
    due: Option<Who>,
}

impl Runner {
    pub(super) fn new(command: &str, label: &str) -> Result<Arc<Self>, Failure> {
        let (to_waiter, started) = mpsc::channel();
        let (command, label, state) = (command.into(), label.into(), Mutex::default());
        let this = Arc::new(Self { command, label, state, to_waiter });
        let waiter = this.clone();
        let work = move || started.into_iter().for_each(|child| waiter.wait(child));
        thread::Builder::new().name("on-stale".into()).spawn(work).map_err(Failure::internal)?;
        Ok(this)
    }

    /// Starts the command before it returns: callbin may be about to end. The command may outlive callbin: to be
    /// cut off while it stops a motor would be worse.
    pub(super) fn run(&self, who: &Who) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_running {
            state.due = Some(who.clone());
            return;
        }
        if let Some(child) = self.start(who) {
            state.is_running = self.to_waiter.send(child).is_ok();
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
        let mut shell = command::shell(&self.command, &self.label, name_of(who));
        // Our stdout is for events, or for data.
        let child = shell.stdin(Stdio::null()).stdout(io::stderr()).spawn();
        child.inspect_err(|error| tracing::error!("cannot run the command of --on-stale: {error}")).ok()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use callbin_protocol::PeerId;

    use super::{super::tests::wait_until, *};

    #[test]
    fn commands_run_one_after_the_other_and_the_last_one_is_not_forgotten() {
        let folder = tempfile::TempDir::new().unwrap();
        let (log, go) = (folder.path().join("log"), folder.path().join("go"));
        let wait_for = |text: &str| {
            wait_until(text, || (fs::read_to_string(&log).unwrap_or_default() == text).then_some(()));
        };
        let command = format!(
            "echo $CALLBIN_LABEL $CALLBIN_PEER >> {}; until [ -e {} ]; do sleep 0.01; done",
            log.display(),
            go.display()
        );
        let runner = Runner::new(&command, "x").unwrap();
        let run = |name: &str| runner.run(&PeerId::new(name).ok());
        ["a", "b", "c"].into_iter().for_each(run);
        wait_for("x a\n");
        fs::write(&go, "").unwrap();
        wait_for("x a\nx c\n");
        run("d");
        wait_for("x a\nx c\nx d\n");
    }
}
