//! Runs a Redis, and servers that are one through it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    process::{Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;

use crate::{
    process::{Process, free_port},
    server::Server,
    wait::{DEADLINE, wait_until},
};

/// What nodes without `--cluster-secret-file` have in common.
const DIGEST: &str = "86590911d100e802af97c0885e7d1e797ff54b73";

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
        let redis = Self { process: spawn(port, &flags), port, flags };
        // As if there had been nodes before: otherwise the first ones wait for others that had peers.
        redis.run(&["SET", "callbin:check", DIGEST]);
        redis
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
        run(self.port, words)
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
    // A replica keeps no copy of what it gets in the folder of the tests.
    command.args(["--repl-diskless-load", "swapdb", "--rdb-del-sync-files", "yes"]);
    await_answer(command.args(flags), port)
}

/// Waits until this process, and no other one on the same port, answers.
#[track_caller]
fn await_answer(command: &mut Command, port: u16) -> Process {
    let mut process = Process::spawn(command.stdout(Stdio::null()).stderr(Stdio::null()));
    let own = format!("process_id:{}", process.pid());
    wait_until("Redis to listen", DEADLINE, || {
        assert!(process.is_running(), "Redis does not start on port {port}");
        run(port, &["INFO", "server"]).lines().any(|line| line.trim() == own).then_some(())
    });
    process
}

fn run(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    let output = command.args(["-p", &port.to_string()]).args(words).output().expect("redis-cli runs");
    String::from_utf8_lossy(&output.stdout).trim().into()
}

/// A Redis Sentinel that watches one primary.
#[derive(Debug)]
pub struct Sentinel {
    _process: Process,
    _folder: TempDir,
    port: u16,
}

impl Sentinel {
    /// Starts it, and waits until it knows a replica to promote.
    #[track_caller]
    pub fn start(primary: &Redis) -> Self {
        let folder = TempDir::new().expect("a folder");
        let (file, port) = (folder.path().join("sentinel.conf"), free_port());
        let monitor = format!("sentinel monitor main 127.0.0.1 {} 1", primary.port);
        let times = "sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 5000";
        fs::write(&file, format!("port {port}\nbind 127.0.0.1\n{monitor}\n{times}\n"))
            .expect("the folder is ours");
        let process = await_answer(Command::new("redis-server").arg(&file).arg("--sentinel"), port);
        wait_until("the Sentinel to know the replica", DEADLINE, || {
            run(port, &["SENTINEL", "REPLICAS", "main"]).contains("master-link-status\nok").then_some(())
        });
        Self { _process: process, _folder: folder, port }
    }

    /// The URL for `--redis`.
    pub fn url(&self) -> String {
        format!("redis+sentinel://127.0.0.1:{}/main", self.port)
    }
}

/// A certificate authority of its own, and a certificate for the loopback address.
#[derive(Debug)]
pub struct Authority(TempDir);

impl Authority {
    /// Makes both.
    pub fn create() -> Self {
        let folder = TempDir::new().expect("a folder");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a certificate");
        let issuer = Issuer::new(params, key);
        let leaf_key = KeyPair::generate().expect("a key");
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()]).expect("a name");
        let leaf = leaf.signed_by(&leaf_key, &issuer).expect("a certificate");
        let files = [("ca.pem", root.pem()), ("cert.pem", leaf.pem()), ("key.pem", leaf_key.serialize_pem())];
        for (name, text) in files {
            fs::write(folder.path().join(name), text).expect("the folder is ours");
        }
        Self(folder)
    }

    /// The path of `ca.pem`, `cert.pem` or `key.pem`.
    pub fn file(&self, name: &str) -> String {
        self.0.path().join(name).to_str().expect("the path is text").to_owned()
    }

    /// Starts a Redis that has the certificate. Returns the URL of its port with TLS, too.
    #[track_caller]
    pub fn start_redis(&self) -> (Redis, String) {
        let (port, cert, key) = (free_port(), self.file("cert.pem"), self.file("key.pem"));
        let files = ["--tls-cert-file", &cert, "--tls-key-file", &key, "--tls-auth-clients", "no"];
        let redis = Redis::start(&[&["--tls-port", &port.to_string()], &files[..]].concat());
        (redis, format!("rediss://127.0.0.1:{port}"))
    }
}
