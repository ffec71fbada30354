//! Runs `callbin-server`.

use std::{
    io::{BufRead, BufReader, Read},
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    http,
    process::{Process, program},
    redis::Redis,
    wait::{DEADLINE, wait_until},
};

/// A running `callbin-server`.
#[derive(Debug)]
pub struct Server {
    process: Process,
    url: String,
    admin: Arc<OnceLock<SocketAddr>>,
    /// The lines on stdout after the first.
    lines: Arc<Mutex<Vec<String>>>,
    log: Arc<Mutex<String>>,
    twin: Option<Box<Twin>>,
}

/// A second node of the same cluster. WebSockets go to the two in turn.
#[derive(Debug)]
struct Twin {
    server: Server,
    turns: AtomicUsize,
    /// Dropped last.
    _redis: Redis,
}

impl Server {
    /// Starts a server on a free loopback port, without TLS. With the environment variable `CALLBIN_TEST_NODES`, it is a
    /// pair of nodes of a cluster, and successive WebSockets are at different ones.
    pub fn start(flags: &[&str]) -> Self {
        if std::env::var_os("CALLBIN_TEST_NODES").is_some() {
            return Self::start_pair(flags);
        }
        Self::start_on(0, &[&["--disable-ssl"], flags].concat())
    }

    /// Starts a server with its own media node on a free UDP port, and waits until that is attached.
    pub fn with_media() -> Self {
        let server = Self::start(&["--media", "--media-arg=--listen=[::]:0"]);
        server.wait_for_log("media node attached");
        server
    }

    fn start_pair(flags: &[&str]) -> Self {
        let redis = Redis::start(&[]);
        // These tests are not about the lease, also on a busy machine.
        let flags = &[&["--node-lease", "60"], flags].concat();
        let mut server = redis.node("one", flags);
        let twin = Twin { server: redis.node("two", flags), turns: AtomicUsize::new(0), _redis: redis };
        server.twin = Some(Box::new(twin));
        server
    }

    /// Starts a server on this loopback port, with these flags only, and waits until it listens.
    pub fn start_on(port: u16, flags: &[&str]) -> Self {
        let mut command = Command::new(program("callbin-server"));
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]).args(flags);
        Self::spawn(&mut command)
    }

    /// Starts a server that other networks of this machine can reach, without TLS.
    pub fn spawn_reachable(flags: &[&str]) -> Self {
        Self::spawn_reachable_on(0, flags)
    }

    /// The same on this port.
    pub fn spawn_reachable_on(port: u16, flags: &[&str]) -> Self {
        let mut command = Command::new(program("callbin-server"));
        command.args(["--addr", "0.0.0.0", "--port", &port.to_string(), "--disable-ssl"]).args(flags);
        let mut server = Self::spawn(&mut command);
        server.url = format!("http://127.0.0.1:{}/", server.port());
        server
    }

    /// Starts a command, whose stdin may be special, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let log = Arc::new(Mutex::new(String::new()));
        let mut stderr = process.child().stderr.take().expect("stderr is piped");
        let sink = log.clone();
        thread::spawn(move || {
            let mut chunk = [0; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut chunk) {
                let text = String::from_utf8_lossy(chunk.get(..n).unwrap_or_default()).into_owned();
                sink.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        let mut line = String::new();
        let stdout = process.child().stdout.take().expect("stdout is piped");
        let mut stdout = BufReader::new(stdout);
        stdout.read_line(&mut line).expect("stdout is text");
        let admin = Arc::new(OnceLock::new());
        let found = admin.clone();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let more = lines.clone();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let address = line.strip_prefix("admin on http://").map(|rest| rest.trim_end_matches('/'));
                address.and_then(|address| address.parse().ok()).map(|address| found.set(address));
                more.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            }
        });
        let url = line.trim().strip_prefix("listening on ").map(String::from);
        let url = url.unwrap_or_else(|| {
            let status = process.wait();
            thread::sleep(Duration::from_millis(100));
            panic!("the server does not listen ({status}): {line}{}", log.lock().expect("not poisoned"))
        });
        Self { process, url, admin, lines, log, twin: None }
    }

    /// The value in the line of `/metrics` that begins with `line`, of a pair of nodes the sum.
    pub fn metric(&self, line: &str) -> Option<f64> {
        let metrics = http::get(self, "/metrics", &[]).body;
        let value = metrics.lines().find_map(|found| found.strip_prefix(line)?.trim().parse::<f64>().ok());
        let other = self.twin.as_ref().and_then(|twin| twin.server.metric(line));
        value.into_iter().chain(other).reduce(|a, b| a + b)
    }

    /// The address of the page, with a trailing slash.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The address of the WebSocket.
    pub fn ws_url(&self) -> String {
        if let Some(twin) = &self.twin
            && !twin.turns.fetch_add(1, Ordering::Relaxed).is_multiple_of(2)
        {
            return twin.server.ws_url();
        }
        self.url.replacen("http", "ws", 1)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        let port = self.url.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
        port.parse().expect("the address has a port")
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port()).into()
    }

    /// The address of the admin API, which must be enabled.
    #[track_caller]
    pub fn admin_address(&self) -> SocketAddr {
        wait_until("the admin address", DEADLINE, || self.admin.get().copied())
    }

    /// The address where WebSockets on any path speak this dialect: `--listen NAME=…`.
    #[track_caller]
    pub fn ws_url_of(&self, dialect: &str) -> String {
        wait_until("the dialect's address", DEADLINE, || {
            let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            lines.iter().find_map(|line| line.strip_prefix(&format!("{dialect} on "))).map(String::from)
        })
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        let own = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let other = self.twin.as_ref().map(|twin| twin.server.log());
        own + &other.unwrap_or_default()
    }

    /// Waits until the log has this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the server's log"), DEADLINE, || {
            self.log().contains(text).then_some(())
        });
    }
}
