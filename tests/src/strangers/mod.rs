//! Strangers: random peers that send descriptions from a grammar, candidates and later offers to real webrtcbins.
//!
//! A process that such input ends is a bug. So each run is in a child process, which prints each seed before it tries
//! it. The parent reports the seed that ended the child, and continues with the next one.

mod grammar;
mod victim;

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

pub use victim::run;

/// A seed takes some milliseconds; a child without output for this long hangs. Pipelines take much longer to end on a busy machine.
const HANG: Duration = Duration::from_secs(120);

/// A seed that ended a child.
#[derive(Debug, PartialEq, Eq)]
pub struct Death {
    /// The seed.
    pub seed: u64,
    /// How the child ended, and its last lines on stderr.
    pub how: String,
}

/// The results of a range of seeds.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seeds that ended a child.
    pub deaths: Vec<Death>,
    /// Descriptions that were answered.
    pub answered: u64,
    /// Descriptions that were refused.
    pub refused: u64,
}

/// Tries `count` seeds starting with `from`, in children of `program`. Says on stderr why it starts another child.
pub fn survive(program: &Path, from: u64, count: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let end = from + count;
    let mut next = from;
    while next < end {
        next = child(program, next, end, &mut outcome) + 1;
    }
    outcome
}

/// Runs one child; returns the last seed that it tried.
fn child(program: &Path, from: u64, end: u64, outcome: &mut Outcome) -> u64 {
    let mut command = Command::new(program);
    command.arg("victim").arg(from.to_string()).arg(end.to_string());
    // A critical warning of GLib often means corrupt memory, so it ends the child.
    command.env("G_DEBUG", "fatal-criticals").env("MALLOC_ARENA_MAX", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut process = command.spawn().expect("the child starts");
    let stderr = process.stderr.take().expect("stderr is piped");
    let words = thread::spawn(move || {
        let lines: Vec<String> = BufReader::new(stderr).lines().map_while(Result::ok).collect();
        lines.iter().rev().take(3).rev().cloned().collect::<Vec<_>>().join(" | ")
    });
    let stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
    let (line, lines) = channel();
    thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|text| line.send(text)));
    let mut seed = from;
    let hangs = loop {
        match lines.recv_timeout(HANG) {
            Ok(line) => match line.split_once(' ') {
                Some(("seed", number)) => seed = number.parse().expect("a seed"),
                Some(("answered", _)) => outcome.answered += 1,
                Some(("refused", _)) => outcome.refused += 1,
                _ => {}
            },
            Err(RecvTimeoutError::Timeout) => break true,
            Err(RecvTimeoutError::Disconnected) => break false,
        }
    };
    if hangs {
        let _ = process.kill();
    }
    let status = process.wait().expect("the child ends");
    let words = words.join().unwrap_or_default();
    if hangs || !status.success() {
        let how = if hangs {
            format!("silent for {} s, killed", HANG.as_secs())
        } else {
            format!("{status}: {words}")
        };
        eprintln!("the child that began with seed {from} ended with seed {seed}: {how}");
        outcome.deaths.push(Death { seed, how });
        return seed;
    }
    end
}
