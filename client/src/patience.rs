//! Limits how often a peer may have its pipeline rebuilt.
//!
//! Building a pipeline costs far more than the message that causes it. An honest peer causes only a few in a row: for
//! example, a member that was suspended finds the offers of a minute, and one whose network is away offers every four seconds.

use std::time::Duration;

/// Rebuilds allowed at once.
const AT_ONCE: u32 = 10;
/// One more rebuild is allowed after each of these pauses.
const PAUSE: Duration = Duration::from_secs(4);

/// The rebuilds that one peer has left: a token bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    at_once: u32,
    pause: Duration,
    left: u32,
    /// The time of the last refill.
    since: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(AT_ONCE, PAUSE)
    }
}

impl Patience {
    /// Allows `at_once`, and one more after each `pause`.
    pub fn new(at_once: u32, pause: Duration) -> Self {
        Self { at_once, pause, left: at_once, since: Duration::ZERO }
    }

    /// Takes one at the time `now`; returns `false` if none is left.
    pub fn spend(&mut self, now: Duration) -> bool {
        while self.left < self.at_once && now.saturating_sub(self.since) >= self.pause {
            self.left += 1;
            self.since += self.pause;
        }
        if self.left == self.at_once {
            self.since = now;
        }
        let some = self.left > 0;
        self.left = self.left.saturating_sub(1);
        some
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_and_comes_back() {
        let mut patience = Patience::default();
        let mut spent = |seconds| (0..100).filter(|_| patience.spend(Duration::from_secs(seconds))).count();
        assert_eq!(spent(1000), 10);
        assert_eq!(spent(1003), 0);
        assert_eq!(spent(1004), 1);
        assert_eq!(spent(1015), 2);
        assert_eq!(spent(1016), 1);
        assert_eq!(spent(1_000_000), 10, "no more than at first");
    }

    #[test]
    fn one_now_and_then_is_always_fine() {
        let mut patience = Patience::default();
        assert!((0..1000).all(|n| patience.spend(PAUSE * n)));
    }
}
