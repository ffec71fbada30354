//! Finds, starts, watches and ends programs.

use std::{
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::Once,
    time::Duration,
};

use crate::{
    machine,
    wait::{DEADLINE, wait_until},
};

/// The path of a program of this workspace, which is built first.
pub fn program(name: &str) -> PathBuf {
    static BUILT: Once = Once::new();
    let target = target_dir();
    BUILT.call_once(|| {
        let mut cargo = Command::new(env!("CARGO"));
        // All of the workspace, like `make test`: a single package, or programs without tests, have dependencies with other
        // features, which would be compiled again.
        cargo.args(["build", "--quiet", "--workspace", "--all-targets"]);
        // Variables that cargo sets for this test's package would look like a change to ring's build script.
        for (name, _) in std::env::vars() {
            if name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_") {
                cargo.env_remove(name);
            }
        }
        if target.ends_with("release") {
            cargo.arg("--release");
        }
        let status = cargo.current_dir(workspace()).status().expect("cargo runs");
        assert!(status.success(), "the workspace does not build");
    });
    target.join(name)
}

/// A command that runs as root: directly, or through `sudo`.
pub fn as_root(program: &str) -> Command {
    let id = Command::new("id").arg("-u").stderr(Stdio::null()).output().expect("id is installed");
    if id.stdout.trim_ascii() == b"0" {
        return Command::new(program);
    }
    let mut command = Command::new("sudo");
    command.args(["-n", program]);
    command
}

/// The folder of the workspace.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ is in the workspace")
}

/// `target/debug` or `target/release`, depending on where this test is.
fn target_dir() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    let deps = test.parent().expect("a test is in target/*/deps");
    if deps.ends_with("deps") || deps.ends_with("examples") {
        deps.parent().expect("deps is in target/*").into()
    } else {
        deps.into()
    }
}

/// Sends a signal by name to any process of this machine.
pub fn signal(pid: u32, name: &str) {
    let kill = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status();
    assert!(kill.expect("kill runs").success(), "cannot send SIG{name}");
}

/// Whether a process of this group still runs. Killed ones whose parent is gone stay as zombies until init looks for them, which may
/// take seconds; they hold nothing any more.
pub(crate) fn runs_any_of(group: u32) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| std::fs::read_to_string(process.path().join("stat")).ok()).any(|stat| {
        // The name before these fields may have spaces and brackets.
        let mut fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        let (state, group_of_it) = (fields.next(), fields.nth(1));
        !matches!(state, Some("Z" | "X")) && group_of_it.and_then(|it| it.parse().ok()) == Some(group)
    })
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts a program.
    pub fn spawn(command: &mut Command) -> Self {
        machine::join(machine::Started::Program);
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?} does not start: {error}")))
    }

    /// The child process, for its pipes.
    pub fn child(&mut self) -> &mut Child {
        &mut self.0
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Sends a signal by name: TERM, INT, KILL, STOP, CONT, HUP.
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Kills it, and waits for its end.
    pub fn kill(&mut self) {
        self.signal("KILL");
        self.wait();
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        self.wait_for(DEADLINE)
    }

    /// Waits for its end, at most this long.
    #[track_caller]
    pub fn wait_for(&mut self, deadline: Duration) -> ExitStatus {
        wait_until("the program's end", deadline, || self.0.try_wait().expect("the program is ours"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        self.0.try_wait().expect("the program is ours").is_none()
    }

    /// Resident memory in bytes (`VmRSS`).
    pub fn memory(&self) -> u64 {
        Usage::of(self.pid()).memory
    }

    /// The number of its threads.
    pub fn threads(&self) -> u64 {
        Usage::of(self.pid()).threads
    }

    /// The number of its open file descriptors.
    pub fn descriptors(&self) -> usize {
        Usage::of(self.pid()).descriptors
    }

    /// The user and system time that it has used so far.
    pub fn cpu_time(&self) -> Duration {
        cpu_time(self.pid())
    }
}

/// The user and system time that any process on this machine has used so far, with its threads that have ended.
pub fn cpu_time(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    // Fields 14 and 15 in proc(5), in ticks of 10 ms, counted after the name.
    let ticks: u64 = fields.iter().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 10)
}

/// What a process uses; zero if there is no such process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Resident memory in bytes (`VmRSS`).
    pub memory: u64,
    /// The number of its threads.
    pub threads: u64,
    /// The number of its open file descriptors.
    pub descriptors: usize,
}

impl Usage {
    /// The usage of any process on this machine.
    pub fn of(pid: u32) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|number| number.parse().ok()).unwrap_or_default()
        };
        let memory: u64 = field("VmRSS:");
        let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
        Self { memory: memory * 1024, threads: field("Threads:"), descriptors }
    }
}

/// The running child processes of a process.
pub fn process_children(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let children = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("children")).ok());
    children
        .flat_map(|text| text.split_whitespace().filter_map(|it| it.parse().ok()).collect::<Vec<u32>>())
        .collect()
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free for TCP and UDP, for a program that is started now.
pub fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = free.local_addr().expect("bound");
    let both = UdpSocket::bind(address).expect("a port of TCP's is seldom one of UDP's");
    both.local_addr().expect("bound").port()
}
