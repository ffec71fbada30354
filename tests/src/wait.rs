//! Waiting for conditions.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Long enough for a busy machine: a test waits this long only if something is wrong.
pub const DEADLINE: Duration = Duration::from_secs(90);

/// Polls until `condition` returns a value, and returns that. Panics at the deadline.
#[track_caller]
pub fn wait_until<T>(what: &str, deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(start.elapsed() < deadline, "waited {deadline:?} in vain for: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}
