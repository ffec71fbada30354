//! A signalling server of our own.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use crate::{
    process::{Process, program},
    wait::{DEADLINE, wait_until},
};

/// A running `callbin-server`.
#[derive(Debug)]
pub struct Server {
    process: Process,
    url: String,
    log: Arc<Mutex<String>>,
}

impl Server {
    /// Starts one on a free port of the loopback address, without TLS.
    pub fn start(flags: &[&str]) -> Self {
        Self::start_on(0, &[&["--disable-ssl"], flags].concat())
    }

    /// Starts one on this port, with these flags only, and waits until it listens.
    pub fn start_on(port: u16, flags: &[&str]) -> Self {
        let mut command = Command::new(program("callbin-server"));
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string()]).args(flags);
        Self::spawn(&mut command)
    }

    /// Starts one that other networks of this machine reach, too; without TLS.
    pub fn spawn_reachable(flags: &[&str]) -> Self {
        let mut command = Command::new(program("callbin-server"));
        let mut server =
            Self::spawn(command.args(["--addr", "0.0.0.0", "--port", "0", "--disable-ssl"]).args(flags));
        server.url = format!("http://127.0.0.1:{}/", server.port());
        server
    }

    /// Starts it as told, and waits until it listens.
    pub fn spawn(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
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
        BufReader::new(stdout).read_line(&mut line).expect("stdout is text");
        let url = line.trim().strip_prefix("listening on ").map(String::from);
        let url = url.unwrap_or_else(|| {
            let status = process.wait();
            thread::sleep(Duration::from_millis(100));
            panic!("the server does not listen ({status}): {line}{}", log.lock().expect("not poisoned"))
        });
        Self { process, url, log }
    }

    /// The page's address, with a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The WebSocket's address.
    pub fn ws_url(&self) -> String {
        self.url.replacen("http", "ws", 1)
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        let port = self.url.trim_end_matches('/').rsplit(':').next().unwrap_or_default();
        port.parse().expect("the address has a port")
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the log has this text.
    #[track_caller]
    pub fn wait_for_log(&self, text: &str) {
        wait_until(&format!("{text:?} in the server's log"), DEADLINE, || {
            self.log().contains(text).then_some(())
        });
    }
}
