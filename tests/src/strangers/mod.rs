//! Strangers that send whatever they like to real webrtcbins: descriptions from a grammar, candidates, later offers.
//!
//! A process that dies of it is a bug, so each run is in a child process, which says what it is about to try. The
//! parent names the seed that ended the child, and goes on behind it.

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

/// One seed takes some milliseconds; a child that says nothing for so long hangs.
const HANG: Duration = Duration::from_secs(60);

/// A seed that a child did not survive.
#[derive(Debug, PartialEq, Eq)]
pub struct Death {
    /// The seed.
    pub seed: u64,
    /// How it ended, and the last of what it wrote to stderr.
    pub how: String,
}

/// What strangers of some seeds came to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Seeds that ended a child.
    pub deaths: Vec<Death>,
    /// Descriptions that were answered.
    pub answered: u64,
    /// Descriptions that were refused.
    pub refused: u64,
}

/// Tries `count` seeds from `from` on, in children of `program`.
pub fn survive(program: &Path, from: u64, count: u64) -> Outcome {
    let mut outcome = Outcome::default();
    let end = from + count;
    let mut next = from;
    while next < end {
        next = child(program, next, end, &mut outcome) + 1;
    }
    outcome
}

/// Runs one child; gives the last seed it began.
fn child(program: &Path, from: u64, end: u64, outcome: &mut Outcome) -> u64 {
    let mut command = Command::new(program);
    command.arg("victim").arg(from.to_string()).arg(end.to_string());
    // What GLib calls critical is memory that is not what the code takes it for.
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
        let how = if hangs { "hangs".into() } else { format!("{status}: {words}") };
        outcome.deaths.push(Death { seed, how });
        return seed;
    }
    end
}
