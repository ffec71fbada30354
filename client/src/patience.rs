//! How often a peer may have its pipeline built anew.
//!
//! To build one costs far more than the message that asks for it. Who tries again for a reason does so a few
//! times at most, a member that was suspended for instance finds the offers of a minute.

use std::time::Duration;

/// So many at once.
const AT_ONCE: u32 = 10;
/// And one more after each of these.
const PAUSE: Duration = Duration::from_secs(10);

/// What is left of it for one peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    at_once: u32,
    pause: Duration,
    left: u32,
    /// The last time that one came back.
    since: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self::new(AT_ONCE, PAUSE)
    }
}

impl Patience {
    /// `at_once`, and one more after each `pause`.
    pub fn new(at_once: u32, pause: Duration) -> Self {
        Self { at_once, pause, left: at_once, since: Duration::ZERO }
    }

    /// Takes one at the time `now`; `false`: there is none left.
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
        assert_eq!(spent(1009), 0);
        assert_eq!(spent(1010), 1);
        assert_eq!(spent(1039), 2);
        assert_eq!(spent(1040), 1);
        assert_eq!(spent(1_000_000), 10, "no more than at first");
    }

    #[test]
    fn one_now_and_then_is_always_fine() {
        let mut patience = Patience::default();
        assert!((0..1000).all(|n| patience.spend(PAUSE * n)));
    }
}
