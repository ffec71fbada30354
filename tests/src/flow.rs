//! Counts frames between two clients, to check that nothing else disturbs them.

use std::{
    sync::mpsc::{self, RecvTimeoutError},
    thread,
    time::{Duration, Instant},
};

use crate::client::{Client, Event};

/// Two clients, each with its uid.
pub type Pair<'a> = [(&'a mut Client, &'a str); 2];

/// A thread that sleeps for this long is back after [`LATE`], unless the machine stands still.
const TICK: Duration = Duration::from_millis(20);
const LATE: Duration = Duration::from_millis(100);

/// Runs `work`, and fails unless the two clients go on receiving each other for this time in all: each decodes 90 % of
/// the frames that the other sends, and each sends at least two thirds of `fps`. A busy machine encodes fewer frames, but not
/// below that; an encoder that waits for a peer does. Time for which the whole machine stood still does not count.
#[track_caller]
pub fn assert_undisturbed(mut pair: Pair, fps: f64, time: Duration, work: impl FnOnce()) {
    let before = counters(&mut pair);
    let stood_still = stood_still_during(|| {
        let started = Instant::now();
        work();
        thread::sleep(time.saturating_sub(started.elapsed()));
    });
    let after = counters(&mut pair);
    let rate = |of: usize, counter: &str| {
        let (from, to) = (&before[of], &after[of]);
        let seconds = (to.ms() - from.ms()) as f64 / 1000.0 - stood_still.as_secs_f64();
        (to.number(counter) - from.number(counter)) / seconds
    };
    let [first, second] = [(0, 1), (1, 0)]
        .map(|(receiver, sender)| (rate(sender, "/sent/video_frames"), rate(receiver, "/video/frames")));
    let is_good = |(sent, received): (f64, f64)| sent >= fps / 1.5 && received >= 0.9 * sent;
    assert!(
        is_good(first) && is_good(second),
        "frames a second, sent and received: {first:.1?} to {}, {second:.1?} to {}; the machine stood still for {stood_still:?}",
        pair[0].1,
        pair[1].1,
    );
}

/// What each has sent to the other and received from it so far.
#[track_caller]
fn counters([(a, a_uid), (b, b_uid)]: &mut Pair) -> [Event; 2] {
    [a.fresh_stats(b_uid), b.fresh_stats(a_uid)]
}

/// Runs `work`, and returns for how long no thread of this machine ran meanwhile, as far as a sleeping one can tell.
fn stood_still_during(work: impl FnOnce()) -> Duration {
    let (working, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        let meter = scope.spawn(move || {
            let (mut still, mut slept) = (Duration::ZERO, Instant::now());
            while is_over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let late = slept.elapsed();
                still += if late >= LATE { late - TICK } else { Duration::ZERO };
                slept = Instant::now();
            }
            still
        });
        // Owned here, so that a panic of the work ends the thread, too.
        let working = working;
        work();
        drop(working);
        meter.join().unwrap_or_default()
    })
}
