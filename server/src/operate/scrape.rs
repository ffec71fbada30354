//! A cache for values that need a loop over all connections, so that frequent requests do not cause frequent loops.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// A value is kept for this many times its computing time, so computing takes at most a hundredth of the time.
const TIMES: u32 = 100;

/// The longest time that a value is kept.
const MAX_AGE: Duration = Duration::from_secs(1);

/// The last value and its expiry.
#[derive(Debug)]
pub struct Kept<T>(Mutex<Option<(T, Instant)>>);

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self(Mutex::new(None))
    }
}

impl<T: Copy> Kept<T> {
    /// The last value, or a new one if that has expired.
    pub fn get(&self, make: impl FnOnce() -> T) -> T {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        if let Some((value, until)) = *kept
            && start < until
        {
            return value;
        }
        let value = make();
        let end = Instant::now();
        *kept = Some((value, end + (end - start).saturating_mul(TIMES).min(MAX_AGE)));
        value
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn busy(time: Duration) {
        let start = Instant::now();
        while start.elapsed() < time {}
    }

    #[test]
    fn what_takes_long_is_made_seldom() {
        let (kept, mut made) = (Kept::default(), 0);
        let start = Instant::now();
        let mut asked = 0;
        while start.elapsed() < Duration::from_millis(1500) {
            kept.get(|| {
                busy(Duration::from_millis(10));
                made += 1;
            });
            asked += 1;
        }
        assert!(asked > 100 && (1..=3).contains(&made), "made {made} times for {asked} who asked");
    }

    #[test]
    fn what_is_quick_is_never_old() {
        let kept = Kept::default();
        assert_eq!(kept.get(|| 1), 1);
        let start = Instant::now();
        while kept.get(|| 2) == 1 {
            assert!(start.elapsed() < MAX_AGE * 10, "still the first one");
        }
    }
}
