//! Commands: each has a process group of its own. One that is the end of a channel ends with it.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::{Arc, atomic::Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::{
    Join,
    end::{Reader, Writer},
    line::Line,
    name_of,
};

/// How long a command may run on after its channel is closed.
pub(super) const LAST_WORDS: Duration = Duration::from_secs(5);
/// How often a command is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(20);

/// Variables for us alone: credentials and what names them, and those of systemd's readiness and watchdog.
const OURS: [&str; 8] = [
    "CALLBIN_CLIENT_CONFIG",
    "CREDENTIALS_DIRECTORY",
    "CALLBIN_TOKEN",
    "CALLBIN_TOKEN_FILE",
    "CALLBIN_SERVER",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
];

/// A command for `sh`, in a process group of its own: Ctrl-C is for us.
pub(super) fn shell(command: &str, label: &str, who: &str) -> Command {
    let mut shell = Command::new("sh");
    for name in OURS {
        shell.env_remove(name);
    }
    shell.args(["-c", command]).env("CALLBIN_LABEL", label).env("CALLBIN_PEER", who).process_group(0);
    shell
}

/// Starts the command of a channel, with pipes for its stdin and stdout.
pub(super) fn start(join: &Arc<Join>, line: &Arc<Line>, command: &str) -> io::Result<(Reader, Writer)> {
    let counted = Counted::new(join);
    // Check after counting: when the process ends, it closes the channels, and then waits for all counted commands.
    if line.is_closed() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    let mut shell = shell(command, &join.spec.label, name_of(&line.who));
    let child = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut running = Running { child, _counted: counted };
    let pipes = running.child.stdout.take().zip(running.child.stdin.take());
    let of = line.clone();
    let work = move || {
        of.wait_closed(Duration::MAX);
        running.end_within(LAST_WORDS);
    };
    thread::Builder::new().name("data-exec".into()).spawn(work)?;
    let (from, to) = pipes.ok_or_else(|| io::Error::other("a command without pipes"))?;
    Ok((Box::new(from), Box::new(to)))
}

/// Counts a command of a join until it is dropped.
struct Counted(Arc<Join>);

impl Counted {
    fn new(join: &Arc<Join>) -> Self {
        join.commands.fetch_add(1, Relaxed);
        Self(join.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.commands.fetch_sub(1, Relaxed);
    }
}

/// A command. When it is dropped, its process group is killed.
struct Running {
    child: Child,
    _counted: Counted,
}

impl Running {
    /// Gives it time to finish its work.
    fn end_within(self, limit: Duration) {
        let until = Instant::now() + limit;
        while !self.has_ended() && Instant::now() < until {
            thread::sleep(LOOK);
        }
    }

    /// Leaves its status to be waited for: until then, no other process or group can have its number.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(Pid::from_child(&self.child)), options), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = kill_process_group(Pid::from_child(&self.child), Signal::KILL);
        let _ = self.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::{
        super::tests::{LIMIT, Scene, wait_until},
        *,
    };

    /// A command that leaves a process behind, and `rest`.
    fn with_child(file: &Path, rest: &str) -> String {
        format!("sleep 1000 & echo $! > {0}.new; mv {0}.new {0}; {rest}", file.display())
    }

    fn child(file: &Path) -> String {
        wait_until("the command starts", || fs::read_to_string(file).ok()).trim().to_owned()
    }

    /// Whether a process runs; a zombie does not.
    fn runs(pid: &str) -> bool {
        fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
    }

    #[test]
    fn commands_get_no_credentials_and_do_not_speak_to_systemd() {
        let shell = shell("true", "x", "y");
        let removed: Vec<_> =
            shell.get_envs().filter_map(|(name, value)| value.is_none().then_some(name)).collect();
        let credentials = [
            "CALLBIN_TOKEN",
            "CALLBIN_TOKEN_FILE",
            "CALLBIN_SERVER",
            "CALLBIN_CLIENT_CONFIG",
            "CREDENTIALS_DIRECTORY",
        ];
        for name in [&credentials[..], &["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"]].concat() {
            assert!(removed.iter().any(|it| *it == name), "{name}");
        }
    }

    #[test]
    fn nothing_of_a_command_outlives_the_joins() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("pid");
        let mut scene = Scene::new(&format!("x=exec:{}", with_child(&file, "cat")));
        let line = scene.line();
        scene.join.open(&line, &|| true);
        let pid = child(&file);
        assert!(runs(&pid));
        scene.join.end(&line, "the test closes it");
        scene.joins().close();
        assert_eq!(scene.join.commands.load(Relaxed), 0, "it is not waited for");
        wait_until("the process ends", || (!runs(&pid)).then_some(()));
    }

    #[test]
    fn a_command_that_runs_on_is_killed_after_a_time() {
        let folder = tempfile::TempDir::new().unwrap();
        let file = folder.path().join("pid");
        let scene = Scene::new("x=stdio");
        let child_of = |command: &str| {
            let child = shell(command, "x", "y").spawn().unwrap();
            Running { child, _counted: Counted::new(&scene.join) }
        };
        let command = child_of(&with_child(&file, "wait"));
        let pid = child(&file);
        command.end_within(Duration::from_millis(50));
        wait_until("the process ends", || (!runs(&pid)).then_some(()));
        let done = folder.path().join("done");
        child_of(&format!("sleep 0.2; touch {}", done.display())).end_within(LIMIT);
        assert!(done.exists(), "it is not let finish");
    }

    #[test]
    fn no_command_starts_for_a_closed_channel() {
        let mut scene = Scene::new("x=exec:cat");
        let line = scene.line();
        line.close();
        assert!(start(&scene.join, &line, "cat").is_err());
        assert_eq!(scene.join.commands.load(Relaxed), 0);
    }
}
