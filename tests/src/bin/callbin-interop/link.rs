//! The connection to a peer program: sends commands and receives reports, both in JSON.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{Socket, process::Process};
use serde_json::Value;

/// A controlled peer: a program, or a page in a browser.
pub enum Link {
    /// A program: lines on its stdin and stdout.
    Program(Box<Program>),
    /// A page: frames of a session with us.
    Page(Box<Socket>),
}

/// A running peer program, killed when dropped.
pub struct Program {
    _process: Process,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Link {
    /// Starts a program. Its stderr becomes reports, too.
    pub fn program(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = Process::spawn(command);
        let child = process.child();
        let stdin = child.stdin.take().expect("stdin is piped");
        let (line, lines) = channel();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let other = line.clone();
        let stdout = BufReader::new(stdout.expect("stdout is piped"));
        thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
        let stderr = BufReader::new(stderr.expect("stderr is piped"));
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|text| other.send(text)));
        Self::Program(Box::new(Program { _process: process, stdin, lines }))
    }

    /// Sends a command. A failure is ignored: the program's reports, or their absence, show it.
    pub fn send(&mut self, command: &Value) {
        match self {
            Self::Program(program) => drop(writeln!(program.stdin, "{command}")),
            Self::Page(socket) => drop(socket.try_send(&command.to_string())),
        }
    }

    /// The next report, if one comes before `until`.
    pub fn next(&mut self, until: Instant) -> Option<Value> {
        let left = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        let line = match self {
            Self::Program(program) => match program.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => return None,
                Err(RecvTimeoutError::Disconnected) => {
                    thread::sleep(left);
                    return None;
                }
            },
            Self::Page(socket) => {
                socket.set_deadline(left);
                socket.try_receive_text()?
            }
        };
        let report = serde_json::from_str(&line).ok().filter(Value::is_object);
        Some(report.unwrap_or_else(|| serde_json::json!({ "is": "stderr", "text": line })))
    }
}
