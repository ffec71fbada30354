//! Counts frames between two clients, to check that nothing else disturbs them.

use std::{
    collections::BTreeMap,
    thread,
    time::{Duration, Instant},
};

use crate::client::{Client, Event};

/// Two clients, each with its uid.
pub type Pair<'a> = [(&'a mut Client, &'a str); 2];

/// Runs `work`, and fails unless the two clients go on receiving each other for this time in all: each decodes 90 % of
/// the frames that the other sends, and each sends at least two thirds of `fps`. A busy machine encodes fewer frames: both
/// bounds are lower by the share of the time for which a thread of the clients waited for a core. An encoder that waits for
/// a peer does not wait for a core.
#[track_caller]
pub fn assert_undisturbed(mut pair: Pair, fps: f64, time: Duration, work: impl FnOnce()) {
    let (before, waits, started) = (counters(&mut pair), waits(&mut pair), Instant::now());
    work();
    thread::sleep(time.saturating_sub(started.elapsed()));
    let starved = longest(&waits, &self::waits(&mut pair)).as_secs_f64() / started.elapsed().as_secs_f64();
    let after = counters(&mut pair);
    let rate = |of: usize, counter: &str| {
        let (from, to) = (&before[of], &after[of]);
        (to.number(counter) - from.number(counter)) * 1000.0 / (to.ms() - from.ms()) as f64
    };
    let [first, second] = [(0, 1), (1, 0)]
        .map(|(receiver, sender)| (rate(sender, "/sent/video_frames"), rate(receiver, "/video/frames")));
    let share = 1.0 - starved.min(1.0);
    let is_good = |(sent, received): (f64, f64)| sent >= fps / 1.5 * share && received >= 0.9 * sent * share;
    assert!(
        is_good(first) && is_good(second),
        "frames a second, sent and received: {first:.1?} to {}, {second:.1?} to {}; a thread waited for a core for {:.0} % of the time",
        pair[0].1,
        pair[1].1,
        starved * 100.0,
    );
}

/// What each has sent to the other and received from it so far.
#[track_caller]
fn counters([(a, a_uid), (b, b_uid)]: &mut Pair) -> [Event; 2] {
    [a.fresh_stats(b_uid), b.fresh_stats(a_uid)]
}

/// How long each thread of the clients has waited for a core so far.
fn waits(pair: &mut Pair) -> BTreeMap<String, Duration> {
    let tasks = pair.iter_mut().map(|(client, _)| format!("/proc/{}/task", client.process().pid()));
    let tasks = tasks.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let wait = |task: std::fs::DirEntry| {
        let stat = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        let nanoseconds = stat.split(' ').nth(1)?.parse().ok()?;
        Some((task.file_name().to_string_lossy().into_owned(), Duration::from_nanos(nanoseconds)))
    };
    tasks.filter_map(wait).collect()
}

/// The longest wait of a thread between two looks.
fn longest(before: &BTreeMap<String, Duration>, after: &BTreeMap<String, Duration>) -> Duration {
    let waited = |(thread, all): (&String, &Duration)| all.saturating_sub(*before.get(thread)?).into();
    after.iter().filter_map(waited).max().unwrap_or_default()
}
