//! How long to pause between attempts to reach a server that is gone, or not there yet. Pure.

use std::time::Duration;

use crate::exit::{Failure, Hope};

const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);

/// How long to wait for a server that has never been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitForServer {
    /// This long; zero: one attempt.
    Limit(Duration),
    /// Until it is there.
    Forever,
}

/// The attempts so far.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    limit: WaitForServer,
    pause: Duration,
    was_let_in: bool,
}

impl Backoff {
    /// No attempt yet.
    pub fn new(limit: WaitForServer) -> Self {
        Self { limit, pause: FIRST, was_let_in: false }
    }

    /// The server has let us in: from now on only its refusal is final.
    pub fn let_in(&mut self) {
        *self = Self { was_let_in: true, pause: FIRST, ..*self };
    }

    /// Whether it ever has.
    pub fn was_let_in(&self) -> bool {
        self.was_let_in
    }

    /// An attempt failed, `elapsed` after the first one began: the pause before the next one, if there is one.
    pub fn after(&mut self, failure: &Failure, elapsed: Duration) -> Option<Duration> {
        let again = match failure.hope {
            Hope::None => false,
            _ if self.was_let_in => true,
            Hope::IfKnown => false,
            Hope::Passing => match self.limit {
                WaitForServer::Forever => true,
                WaitForServer::Limit(limit) => elapsed < limit,
            },
        };
        again.then(|| {
            let pause = self.after_loss();
            match self.limit {
                // One last attempt when the time is over.
                WaitForServer::Limit(limit) if !self.was_let_in => pause.min(limit.saturating_sub(elapsed)),
                _ => pause,
            }
        })
    }

    /// The connection was lost: the pause before the next attempt.
    pub fn after_loss(&mut self) -> Duration {
        let pause = self.pause;
        self.pause = (pause * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::ExitCode;

    const NOW: Duration = Duration::ZERO;

    fn refused() -> Failure {
        Failure::new(ExitCode::CannotConnect, "refused").passing()
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew() {
        let mut backoff = Backoff::new(WaitForServer::Forever);
        let pauses: Vec<_> = (0..9).map(|_| backoff.after(&refused(), NOW).unwrap().as_millis()).collect();
        assert_eq!(pauses, [250, 500, 1000, 2000, 4000, 8000, 15_000, 15_000, 15_000]);
        backoff.let_in();
        assert_eq!(backoff.after(&refused(), NOW), Some(FIRST));
        assert_eq!(backoff.after_loss(), 2 * FIRST);
    }

    #[test]
    fn a_server_that_never_was_there_is_waited_for_as_told() {
        let seconds = Duration::from_secs;
        let mut none = Backoff::new(WaitForServer::Limit(NOW));
        assert_eq!(none.after(&refused(), NOW), None);
        let mut some = Backoff::new(WaitForServer::Limit(seconds(10)));
        assert_eq!(some.after(&refused(), seconds(9)), Some(FIRST));
        assert_eq!(some.after(&refused(), seconds(10) - FIRST), Some(FIRST), "not beyond the limit");
        assert_eq!(some.after(&refused(), seconds(10)), None);
        let mut forever = Backoff::new(WaitForServer::Forever);
        assert_eq!(forever.after(&refused(), seconds(1 << 40)), Some(FIRST));
    }

    #[test]
    fn what_waiting_does_not_mend_is_final() {
        let mut backoff = Backoff::new(WaitForServer::Forever);
        for code in [ExitCode::Tls, ExitCode::RefusedUid, ExitCode::NotAuthorised, ExitCode::CannotConnect] {
            assert_eq!(backoff.after(&Failure::new(code, ""), NOW), None, "{code:?}");
        }
        backoff.let_in();
        // A ghost of ours may still have the uid, and certificates are renewed.
        for code in [ExitCode::Tls, ExitCode::RefusedUid, ExitCode::CannotConnect] {
            assert!(backoff.after(&Failure::new(code, ""), NOW).is_some(), "{code:?}");
        }
        assert_eq!(backoff.after(&Failure::new(ExitCode::NotAuthorised, ""), NOW), None);
        let webhook = Failure::new(ExitCode::NotAuthorised, "").if_known();
        assert!(backoff.after(&webhook, NOW).is_some());
    }
}
