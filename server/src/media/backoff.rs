//! The pauses before a program that has ended is started again. Pure.

use std::time::Duration;

/// The first pause. Viewers wait for it after a crash, so it is short.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(30);

/// A program that ran this long has not failed at its start.
const HEALTHY: Duration = Duration::from_secs(10);

/// The pauses double while the program ends soon after each start.
#[derive(Debug, Default)]
pub(super) struct Backoff(Duration);

impl Backoff {
    /// The pause after the program has run for this long.
    pub(super) fn pause(&mut self, ran: Duration) -> Duration {
        self.0 = if ran >= HEALTHY { FIRST } else { (2 * self.0).clamp(FIRST, LONGEST) };
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_until_the_program_has_run_for_a_while() {
        let mut backoff = Backoff::default();
        let soon = Duration::from_millis(1);
        let pauses: Vec<_> = (0..4).map(|_| backoff.pause(soon).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800]);
        assert_eq!(backoff.pause(HEALTHY), FIRST);
        assert_eq!(backoff.pause(soon), 2 * FIRST);
        let last = (0..1000).map(|_| backoff.pause(soon)).last();
        assert_eq!(last, Some(LONGEST));
    }
}
