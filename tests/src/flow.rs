//! Counts frames between two clients, to check that nothing else disturbs them.

use std::{
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::client::{Client, Event};

/// Two clients, each with its uid.
pub type Pair<'a> = [(&'a mut Client, &'a str); 2];

/// Runs `work`, and fails unless the two clients go on receiving each other for this time in all, as [`assert_flows`] says.
///
/// If the two make a new connection meanwhile, their counters start over. That is written to the log.
#[track_caller]
pub fn assert_undisturbed(pair: Pair, fps: f64, time: Duration, work: impl FnOnce()) {
    let [(a, a_uid), (b, b_uid)] = pair;
    let (begin_a, begin_b, started) = (a.fresh_stats(b_uid), b.fresh_stats(a_uid), Instant::now());
    work();
    thread::sleep(time.saturating_sub(started.elapsed()));
    let (of_a, of_b) = (a.stats_since(begin_a), b.stats_since(begin_b));
    let stories = format!("{a_uid}:\n{}\n{b_uid}:\n{}", a.story(), b.story());
    for (receiver, sender, uid) in [(&of_a, &of_b, b_uid), (&of_b, &of_a, a_uid)] {
        if !frames(receiver, RECEIVED).is_sorted() {
            // Not with eprintln!, which a test that succeeds does not show.
            let _ = writeln!(std::io::stderr(), "{a_uid} and {b_uid} have a new connection. {stories}");
        }
        assert_flows(receiver, sender, fps, &format!("from {uid}. {stories}"));
    }
}

/// Fails unless the receiver, by its statistics, decodes 90 % of the frames that the sender sends to it by its own, and the
/// sender sends at least two thirds of `fps`. A busy machine encodes fewer frames, but not below that; an encoder that waits
/// for a peer does.
#[track_caller]
pub fn assert_flows(receiver: &[Event], sender: &[Event], fps: f64, what: &str) {
    let (received, sent) = (rate(receiver, RECEIVED), rate(sender, SENT));
    assert!(sent >= fps / 1.5, "only {sent:.1} frames a second were sent {what}");
    let stats =
        |side: &[Event]| side.iter().map(|event| event.json().to_string()).collect::<Vec<_>>().join("\n");
    let both = || format!("the sender:\n{}\nthe receiver:\n{}", stats(sender), stats(receiver));
    assert!(received >= 0.9 * sent, "{received:.1} of {sent:.1} frames a second came {what}\n{}", both());
}

const RECEIVED: &str = "/video/frames";
const SENT: &str = "/sent/video_frames";

fn frames(stats: &[Event], counter: &str) -> Vec<f64> {
    stats.iter().map(|event| event.number(counter)).collect()
}

/// How much a counter grows per second. It may start over.
fn rate(stats: &[Event], counter: &str) -> f64 {
    let values = frames(stats, counter);
    let steps = values.windows(2).map(|pair| if pair[1] < pair[0] { pair[1] } else { pair[1] - pair[0] });
    let ms = |event: Option<&Event>| event.map_or(0, Event::ms) as f64;
    let seconds = (ms(stats.last()) - ms(stats.first())) / 1000.0;
    steps.sum::<f64>() / seconds
}
