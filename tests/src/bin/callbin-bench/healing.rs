//! How soon pictures are back after a path is lost: outages of some seconds, and addresses that change.

use std::{
    fmt, thread,
    time::{Duration, Instant},
};

use callbin_line::Conditions;
use callbin_tests::client::STATS_OFTEN;

use crate::network::{Call, End, Kind};

/// Time before each loss: a path that is lost again within ten seconds is noticed later.
const BEFORE: Duration = Duration::from_secs(12);
/// How long pictures may take.
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to the path.
#[derive(Debug, Clone, Copy)]
enum Loss {
    /// The line is away for some seconds.
    Outage(u64),
    /// The line and the connections to the server are away for some seconds.
    Everything(u64),
    /// One end has another address from now on.
    Address(usize),
}

const LOSSES: [Loss; 9] = [
    Loss::Outage(1),
    Loss::Outage(3),
    Loss::Outage(10),
    Loss::Outage(20),
    Loss::Outage(60),
    Loss::Everything(10),
    Loss::Everything(20),
    Loss::Address(0),
    Loss::Address(1),
];

/// Runs the losses whose names contain one of `wanted`, or all; `callbin`, `mixed`, and `room` choose pairs.
pub fn healing(wanted: &[String]) {
    let pairs = [
        ("callbin", (Kind::Callbin, Kind::Callbin), false),
        ("mixed", (Kind::Callbin, Kind::Chromium), false),
        ("room", (Kind::Callbin, Kind::Callbin), true),
    ];
    let is_pair = |word: &&String| pairs.iter().any(|(name, ..)| name == word);
    let has_pairs = wanted.iter().any(|word| is_pair(&word));
    let has_losses = wanted.iter().any(|word| !is_pair(&word));
    println!("ms from the end of the outage, or from the change, to the next picture, at each end");
    for (name, pair, room) in pairs {
        if has_pairs && !wanted.iter().any(|word| word == name) {
            continue;
        }
        for loss in LOSSES {
            let text = loss.to_string();
            if !has_losses || wanted.iter().any(|word| text.contains(word.as_str())) {
                let times = measure(loss, pair, room);
                println!("{name:<8} {text:<28} {:>6} {:>6}", shown(times[0]), shown(times[1]));
            }
        }
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or("never".into(), |time| time.as_millis().to_string())
}

fn measure(loss: Loss, pair: (Kind, Kind), room: bool) -> [Option<Duration>; 2] {
    let mut call = Call::start_with(pair, room, &STATS_OFTEN);
    thread::sleep(BEFORE);
    let away = Conditions { loss: 1.0, ..Conditions::default() };
    match loss {
        Loss::Outage(seconds) => {
            call.wire.change_both(away);
            thread::sleep(Duration::from_secs(seconds));
            call.wire.change_both(Conditions::default());
        }
        Loss::Everything(seconds) => {
            call.wire.change_both(away);
            call.networks.iter().for_each(callbin_tests::Network::cut);
            thread::sleep(Duration::from_secs(seconds));
            call.networks.iter().for_each(callbin_tests::Network::restore);
            call.wire.change_both(Conditions::default());
        }
        Loss::Address(end) => call.wire.renumber(&call.networks[end], end),
    }
    let since = Instant::now();
    if matches!(loss, Loss::Address(_)) {
        // Pictures that are on their way.
        thread::sleep(Duration::from_millis(300));
    }
    let [one, other] = &mut call.ends;
    thread::scope(|scope| {
        let one = scope.spawn(move || next_picture(one, since));
        let other = next_picture(other, since);
        [one.join().expect("it does not panic"), other]
    })
}

fn next_picture(end: &mut End, since: Instant) -> Option<Duration> {
    end.next_picture(since + LIMIT).then(|| since.elapsed())
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Outage(seconds) => write!(f, "outage of {seconds} s"),
            Self::Everything(seconds) => write!(f, "outage of {seconds} s, server too"),
            Self::Address(0) => f.write_str("address of the caller"),
            Self::Address(_) => f.write_str("address of the callee"),
        }
    }
}
