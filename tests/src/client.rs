//! Runs `callbin` and reads its events.

use std::{
    collections::VecDeque,
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{
    machine,
    network::Network,
    process::{Process, program},
    server::Server,
    wait::DEADLINE,
};

/// A running `callbin`.
#[derive(Debug)]
pub struct Client {
    process: Process,
    lines: Receiver<String>,
    /// Events that a wait for another one skipped.
    seen: VecDeque<Event>,
    ended: bool,
    errors: Arc<Mutex<String>>,
    /// The thread that reads its stderr.
    reader: Option<JoinHandle<()>>,
}

/// One event, as written on stdout.
#[derive(Debug, Clone, PartialEq)]
pub struct Event(Value);

impl Event {
    /// Its name.
    pub fn name(&self) -> &str {
        self.text("/event")
    }

    /// Its time, in milliseconds since the client started.
    pub fn ms(&self) -> u64 {
        self.0.pointer("/ms").and_then(Value::as_u64).expect("an event has a time")
    }

    /// The uid of the peer that it is about.
    pub fn peer(&self) -> Option<&str> {
        self.0.pointer("/peer").and_then(Value::as_str)
    }

    /// A string in it, by JSON pointer; empty if there is none.
    pub fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number in it, by JSON pointer; 0 if there is none.
    pub fn number(&self, pointer: &str) -> f64 {
        self.0.pointer(pointer).and_then(Value::as_f64).unwrap_or_default()
    }

    /// The whole event.
    pub fn json(&self) -> &Value {
        &self.0
    }

    /// The mean colour of the latest frame, in a `stats` event.
    pub fn color(&self) -> Option<[u8; 3]> {
        let all = self.0.pointer("/video/color")?.as_array()?;
        let mut parts = all.iter().filter_map(Value::as_u64).filter_map(|part| u8::try_from(part).ok());
        Some([parts.next()?, parts.next()?, parts.next()?])
    }
}

/// Proxies of this machine are none of a test's, unless it names one.
pub fn forget_proxies(command: &mut Command) {
    let given: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in ["http_proxy", "https_proxy", "all_proxy", "no_proxy"] {
        for name in [name.to_owned(), name.to_uppercase()] {
            if !given.contains(&name.clone().into()) {
                command.env_remove(name);
            }
        }
    }
}

/// Statistics four times a second: a test that awaits some has them sooner.
pub const STATS_OFTEN: [&str; 2] = ["--stats-interval", "0.25"];

/// A small picture with few frames, for tests that do not choose a size.
const SMALL: [&str; 4] = ["--size", "320x240", "--fps", "15"];

impl Client {
    /// Starts a client with these arguments for this server, headless, with events in JSON, frequent statistics and a small picture.
    pub fn start(server: &Server, args: &[&str]) -> Self {
        let mut command = Command::new(program("callbin"));
        command.args(args).args(["--server", &server.ws_url(), "--events", "json", "--headless"]);
        if !args.contains(&STATS_OFTEN[0]) {
            command.args(STATS_OFTEN);
        }
        let has_size = args.contains(&SMALL[0]) || args.contains(&SMALL[2]);
        if matches!(args.first(), Some(&("call" | "wait" | "room"))) && !has_size {
            command.args(SMALL);
        }
        Self::spawn(&mut command)
    }

    /// Starts a client in a network, headless, with events in JSON. The server must be reachable from there.
    pub fn start_in(network: &Network, server: &Server, args: &[&str]) -> Self {
        let mut command = network.command(program("callbin"));
        let url = format!("ws://{}:{}", network.host(), server.port());
        Self::spawn(command.args(args).args(["--server", &url, "--events", "json", "--headless"]))
    }

    /// Starts a command, whose events must be in JSON. Critical warnings of GLib, such as a double free, end it.
    pub fn spawn(command: &mut Command) -> Self {
        machine::join(machine::Started::Client);
        command.env("G_DEBUG", "fatal-criticals");
        forget_proxies(command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let stdout = BufReader::new(process.child().stdout.take().expect("stdout is piped"));
        let (line, lines) = channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        let mut stderr = process.child().stderr.take().expect("stderr is piped");
        let errors = Arc::new(Mutex::new(String::new()));
        let sink = errors.clone();
        let reader = thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                let text = String::from_utf8_lossy(chunk.get(..n).unwrap_or_default()).into_owned();
                // Helps to find the cause of a failure.
                if std::env::var_os("CALLBIN_TEST_VERBOSE").is_some() {
                    eprint!("{text}");
                }
                sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Self { process, lines, seen: VecDeque::new(), ended: false, errors, reader: Some(reader) }
    }

    /// Waits for the next event of this name, skipping others.
    #[track_caller]
    pub fn wait_for(&mut self, name: &str) -> Event {
        self.wait_for_any(&format!("{name:?}"), DEADLINE, |event| event.name() == name)
    }

    /// Waits for the next event of this name about this peer.
    #[track_caller]
    pub fn wait_for_peer(&mut self, peer: &str, name: &str) -> Event {
        self.wait_for_any(&format!("{name:?} about {peer}"), DEADLINE, |event| {
            event.name() == name && event.peer() == Some(peer)
        })
    }

    /// Waits for a `stats` event for which `wanted` is true.
    #[track_caller]
    pub fn wait_for_stats(&mut self, what: &str, wanted: impl FnMut(&Event) -> bool) -> Event {
        let mut wanted = wanted;
        self.wait_for_any(what, DEADLINE, |event| event.name() == "stats" && wanted(event))
    }

    /// Waits for the first event for which `wanted` is true. Skipped events stay for other waits.
    #[track_caller]
    pub fn wait_for_any(
        &mut self,
        what: &str,
        deadline: Duration,
        wanted: impl FnMut(&Event) -> bool,
    ) -> Event {
        self.find(Instant::now() + deadline, wanted).unwrap_or_else(|| {
            panic!(
                "waited {deadline:?} for {what}; the client {}, and said: {:#?}\n{}",
                if self.ended { "has ended" } else { "runs" },
                self.seen,
                self.errors()
            )
        })
    }

    /// The first event for which `wanted` is true, if it comes before `until`. Skipped events stay for other waits.
    pub fn find(&mut self, until: Instant, mut wanted: impl FnMut(&Event) -> bool) -> Option<Event> {
        if let Some(position) = self.seen.iter().position(&mut wanted) {
            return self.seen.remove(position);
        }
        loop {
            match self.next_line(until)? {
                event if wanted(&event) => return Some(event),
                event => self.seen.push_back(event),
            }
        }
    }

    /// All events until its end, skipped ones first.
    pub fn rest(&mut self) -> Vec<Event> {
        let until = Instant::now() + DEADLINE;
        while let Some(event) = self.next_line(until) {
            self.seen.push_back(event);
        }
        self.seen.drain(..).collect()
    }

    /// Drops the events so far: later waits see only new ones.
    pub fn forget(&mut self) {
        while self.next_line(Instant::now()).is_some() {}
        self.seen.clear();
    }

    /// These statistics of a peer, and all later ones so far.
    pub fn stats_since(&mut self, begin: Event) -> Vec<Event> {
        self.take_lines();
        let is_later = |event: &Event| {
            event.name() == "stats" && event.peer() == begin.peer() && event.ms() > begin.ms()
        };
        let (later, others) = self.seen.drain(..).partition::<Vec<_>, _>(is_later);
        self.seen.extend(others);
        [vec![begin], later].concat()
    }

    /// For messages: what has happened since it was last forgotten, apart from statistics and what a wait has taken, and its
    /// errors.
    pub fn story(&mut self) -> String {
        self.take_lines();
        let others = self.seen.iter().filter(|event| event.name() != "stats");
        let lines: Vec<String> = others.map(|event| event.json().to_string()).collect();
        format!("{}\n{}", lines.join("\n"), self.errors())
    }

    /// Waits for new stats of a peer, dropping only its earlier ones.
    #[track_caller]
    pub fn fresh_stats(&mut self, peer: &str) -> Event {
        self.take_lines();
        self.seen.retain(|event| event.name() != "stats" || event.peer() != Some(peer));
        self.wait_for_peer(peer, "stats")
    }

    /// Keeps the events that have come for later waits.
    fn take_lines(&mut self) {
        while let Some(event) = self.next_line(Instant::now()) {
            self.seen.push_back(event);
        }
    }

    fn next_line(&mut self, until: Instant) -> Option<Event> {
        match self.lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                Some(Event(serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))))
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => {
                self.ended = true;
                None
            }
        }
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its stderr so far.
    pub fn errors(&self) -> String {
        self.errors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for its end and the end of its stderr; returns its exit code.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let status = self.process.wait();
        self.reader.take().map(JoinHandle::join);
        status.code().unwrap_or_else(|| panic!("{status}: {}", self.errors()))
    }

    /// Hangs up like Ctrl-C; fails if it does not exit with 0.
    #[track_caller]
    pub fn hang_up(mut self) {
        self.process.signal("INT");
        assert_eq!(self.exit_code(), 0, "{}", self.errors());
    }
}
