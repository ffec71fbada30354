//! A foreign peer: GStreamer's webrtcbin with default settings, which does not bundle.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use crate::{
    DEADLINE, Server,
    process::{Process, program},
};

/// The program `callbin-test-webrtcbin`, and what it prints.
#[derive(Debug)]
pub struct Webrtcbin {
    _process: Process,
    lines: Receiver<String>,
}

impl Webrtcbin {
    /// Starts it with these arguments after the server's URL; returns when it is registered.
    #[track_caller]
    pub fn start(server: &Server, args: &[&str]) -> Self {
        let mut command = Command::new(program("callbin-test-webrtcbin"));
        let mut process = Process::spawn(command.arg(server.ws_url()).args(args).stdout(Stdio::piped()));
        let stdout = process.child().stdout.take().expect("stdout is piped");
        let (line, lines) = channel();
        thread::spawn(move || {
            BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|text| line.send(text))
        });
        let this = Self { _process: process, lines };
        this.expect(&["registered"]);
        this
    }

    /// Waits until it has printed each of these.
    #[track_caller]
    pub fn expect(&self, wanted: &[&str]) {
        let mut missing = wanted.to_vec();
        while !missing.is_empty() {
            let line = self.lines.recv_timeout(DEADLINE);
            let line = line.unwrap_or_else(|error| panic!("{missing:?} is not said: {error}"));
            missing.retain(|wanted| *wanted != line);
        }
    }
}
