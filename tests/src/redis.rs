//! Runs a Redis, and servers that are one through it.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpStream},
    process::{Command, Stdio},
};

use crate::{
    process::{Process, free_port},
    server::Server,
    wait::{DEADLINE, wait_until},
};

/// A Redis on the loopback address that stores nothing on disk.
#[derive(Debug)]
pub struct Redis {
    process: Process,
    port: u16,
    flags: Vec<String>,
}

impl Redis {
    /// Starts Redis, and waits until it listens.
    #[track_caller]
    pub fn start(flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(|flag| (*flag).into()).collect();
        let port = free_port();
        Self { process: spawn(port, &flags), port, flags }
    }

    /// The URL for `--redis`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Kills it, so that everything it knew is lost.
    pub fn kill(&mut self) {
        self.process.signal("KILL");
        self.process.wait();
    }

    /// Starts it again on the same port.
    #[track_caller]
    pub fn restart(&mut self) {
        self.process = spawn(self.port, &self.flags);
    }

    /// Runs a command with redis-cli, and returns what that prints.
    pub fn run(&self, words: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        let output =
            command.args(["-p", &self.port.to_string()]).args(words).output().expect("redis-cli runs");
        String::from_utf8_lossy(&output.stdout).trim().into()
    }

    /// Starts a server that is a node of the cluster on this Redis, by default with a lease of two seconds.
    #[track_caller]
    pub fn node(&self, name: &str, flags: &[&str]) -> Server {
        Self::node_at(&self.url(), name, flags)
    }

    /// The same, with this URL of Redis.
    #[track_caller]
    pub fn node_at(url: &str, name: &str, flags: &[&str]) -> Server {
        let own = ["--disable-ssl", "--redis", url, "--node-name", name];
        let lease = if flags.contains(&"--node-lease") { &[][..] } else { &["--node-lease", "2"] };
        Server::start_on(0, &[&own, lease, flags].concat())
    }
}

#[track_caller]
fn spawn(port: u16, flags: &[String]) -> Process {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"]);
    let process = Process::spawn(command.args(flags).stdout(Stdio::null()).stderr(Stdio::null()));
    wait_until("Redis to listen", DEADLINE, || TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok());
    process
}
