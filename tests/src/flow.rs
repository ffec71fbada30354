//! Counts frames between two clients, to check that nothing else disturbs them.

use std::{
    collections::BTreeMap,
    io::Write as _,
    thread,
    time::{Duration, Instant},
};

use crate::client::Client;

/// Two clients, each with its uid.
pub type Pair<'a> = [(&'a mut Client, &'a str); 2];

/// Runs `work`, and fails unless the two clients go on receiving each other for this time in all: each decodes at least two
/// thirds of `fps` on average. A busy machine encodes fewer frames: the bound is lower by the share of the time for which a
/// thread of the clients waited for a core. An encoder that waits for a peer does not wait for a core.
///
/// The two may agree on a new connection meanwhile, if packets of the old one are late: that is written to the log.
#[track_caller]
pub fn assert_undisturbed(mut pair: Pair, fps: f64, time: Duration, work: impl FnOnce()) {
    let [(a, a_uid), (b, b_uid)] = &mut pair;
    let begin = [a.fresh_stats(b_uid), b.fresh_stats(a_uid)].map(|stats| stats.ms());
    let (waits, started) = (waits(&mut pair), Instant::now());
    work();
    thread::sleep(time.saturating_sub(started.elapsed()));
    let starved = longest(&waits, &self::waits(&mut pair)).as_secs_f64() / started.elapsed().as_secs_f64();
    let [(a, a_uid), (b, b_uid)] = pair;
    let rates = [a.frame_rates(b_uid, begin[0]), b.frame_rates(a_uid, begin[1])];
    let stories = [a.story(), b.story()];
    let is_new = |(story, other): (&String, &str)| {
        story.lines().any(|line| line.contains("path-lost") && line.contains(&format!("\"{other}\"")))
    };
    if stories.iter().zip([b_uid, a_uid]).any(is_new) {
        // Not with eprintln!, which a test that succeeds does not show.
        let _ = writeln!(std::io::stderr(), "{a_uid} and {b_uid}: {rates:.0?}\n{}", stories.join("\n"));
    }
    let mean = |rates: &[f64]| rates.iter().sum::<f64>() / rates.len().max(1) as f64;
    assert!(
        rates.iter().all(|rates| mean(rates) >= fps / 1.5 * (1.0 - starved.min(1.0))),
        "frames a second, to {a_uid} and to {b_uid}: {rates:.0?}; a thread waited for a core for {:.0} % of the time; {}",
        starved * 100.0,
        stories.join("\n"),
    );
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
