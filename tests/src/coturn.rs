//! Runs coturn, a real TURN server.

use std::{
    fs,
    net::TcpStream,
    process::{Command, Stdio},
};

use tempfile::TempDir;

use crate::{
    process::{Process, free_port},
    wait::{DEADLINE, wait_until},
};

const SECRET: &str = "shared-with-coturn-0123456789";

/// A coturn on the loopback address, which accepts credentials made with its secret.
#[derive(Debug)]
pub struct Coturn {
    _process: Process,
    port: u16,
    /// The port for TLS.
    tls_port: u16,
    folder: TempDir,
}

impl Coturn {
    /// Starts coturn, and waits until it listens.
    #[track_caller]
    pub fn start() -> Self {
        let folder = TempDir::new().expect("a folder");
        let (port, tls_port) = (free_port(), free_port());
        let certificate =
            rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
        let file = |name| folder.path().join(name);
        fs::write(file("cert.pem"), certificate.cert.pem()).expect("the folder is ours");
        fs::write(file("key.pem"), certificate.signing_key.serialize_pem()).expect("the folder is ours");
        let mut command = Command::new("turnserver");
        command.args(["-n", "--listening-ip", "127.0.0.1", "--relay-ip", "127.0.0.1"]);
        command.args(["--listening-port", &port.to_string(), "--realm", "callbin.test", "--use-auth-secret"]);
        command.args(["--static-auth-secret", SECRET, "--no-dtls", "--no-cli", "--verbose"]);
        command.args(["--tls-listening-port", &tls_port.to_string()]);
        command.arg("--cert").arg(file("cert.pem")).arg("--pkey").arg(file("key.pem"));
        command.args(["--allow-loopback-peers", "--simple-log", "--log-file"]).arg(file("log"));
        command.arg("--pidfile").arg(file("pid")).arg("--userdb").arg(file("users"));
        command.current_dir(folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
        let process = Process::spawn(&mut command);
        wait_until("coturn", DEADLINE, || TcpStream::connect(("127.0.0.1", port)).ok().map(drop));
        fs::write(file("secret"), format!("{SECRET}\n")).expect("the folder is ours");
        Self { _process: process, port, tls_port, folder }
    }

    /// Its URL, as in an `RTCIceServer`.
    pub fn url(&self) -> String {
        format!("turn:127.0.0.1:{}", self.port)
    }

    /// Its URL with TLS.
    pub fn tls_url(&self) -> String {
        format!("turns:127.0.0.1:{}", self.tls_port)
    }

    /// The path of its certificate.
    pub fn certificate(&self) -> String {
        self.folder.path().join("cert.pem").to_str().expect("the path is text").to_owned()
    }

    /// The path of the file with its secret, for a signalling server.
    pub fn secret_file(&self) -> String {
        self.folder.path().join("secret").to_str().expect("the path is text").to_owned()
    }

    /// Relays a packet with these credentials; returns whether that worked.
    pub fn accepts(&self, username: &str, password: &str) -> bool {
        let mut command = Command::new("timeout");
        command.args(["20", "turnutils_uclient", "-u", username, "-w", password, "-y", "-n", "1"]);
        command.args(["-c", "-e", "127.0.0.1", "-p", &self.port.to_string(), "127.0.0.1"]);
        let output = command.current_dir(self.folder.path()).output().expect("timeout runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success() && text.contains("Total lost packets 0")
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}
