//! Back-off: pauses between attempts to reach a server that is gone or not started yet. Pure.

use std::time::Duration;

use crate::exit::{Failure, Hope};

/// For failures of this machine.
const FIRST_LOCAL: Duration = Duration::from_millis(50);
const LONGEST_LOCAL: Duration = Duration::from_secs(5);
const FIRST: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(15);
/// The longest pause while a path to a peer is lost, too: the whole network may be away, and back at any time.
const LONGEST_IF_URGENT: Duration = Duration::from_secs(1);

/// The pause after this many failures in a row of something on this machine, such as for want of file descriptors.
pub fn local_pause(failures: u32) -> Duration {
    (FIRST_LOCAL * (1 << failures.saturating_sub(1).min(10))).min(LONGEST_LOCAL)
}

/// How long to retry a server that has never been reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitForServer {
    /// For this long; zero means one attempt.
    Limit(Duration),
    /// Without limit.
    Forever,
}

/// The state of the attempts.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    limit: WaitForServer,
    pause: Duration,
    was_let_in: bool,
    is_urgent: bool,
}

impl Backoff {
    /// The state before the first attempt.
    pub fn new(limit: WaitForServer) -> Self {
        Self { limit, pause: FIRST, was_let_in: false, is_urgent: false }
    }

    /// The server has let us in: from now on only a refusal is final.
    pub fn let_in(&mut self) {
        *self = Self { was_let_in: true, pause: FIRST, ..*self };
    }

    /// Whether the server has ever let us in.
    pub fn was_let_in(&self) -> bool {
        self.was_let_in
    }

    /// The pause after an attempt that failed `elapsed` after the first one began. `None`: give up.
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
                // Make one last attempt at the end of the time limit.
                WaitForServer::Limit(limit) if !self.was_let_in => pause.min(limit.saturating_sub(elapsed)),
                _ => pause,
            }
        })
    }

    /// The pause after the loss of a connection.
    pub fn after_loss(&mut self) -> Duration {
        let pause = self.pause.min(self.longest());
        self.pause = (pause * 2).min(LONGEST);
        pause
    }

    /// Sets whether a path to a peer is lost, too.
    pub fn set_urgent(&mut self, is_urgent: bool) {
        self.is_urgent = is_urgent;
    }

    /// The longest pause at present.
    pub fn longest(&self) -> Duration {
        if self.is_urgent { LONGEST_IF_URGENT } else { LONGEST }
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
    fn pauses_after_local_failures_grow_to_a_bound() {
        let pauses = [1, 2, 3, 7, 8, u32::MAX].map(|failures| local_pause(failures).as_millis());
        assert_eq!(pauses, [50, 100, 200, 3200, 5000, 5000]);
    }

    #[test]
    fn pauses_are_short_while_the_network_may_be_away() {
        let mut backoff = Backoff::new(WaitForServer::Forever);
        (0..9).for_each(|_| assert!(backoff.after_loss() <= LONGEST));
        backoff.set_urgent(true);
        assert_eq!([backoff.after_loss(), backoff.after_loss()], [LONGEST_IF_URGENT; 2]);
        backoff.set_urgent(false);
        assert_eq!(
            [backoff.after_loss(), backoff.after_loss()],
            [2 * LONGEST_IF_URGENT, 4 * LONGEST_IF_URGENT]
        );
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
        // Our dead connection may still hold the uid, and certificates are renewed.
        for code in [ExitCode::Tls, ExitCode::RefusedUid, ExitCode::CannotConnect] {
            assert!(backoff.after(&Failure::new(code, ""), NOW).is_some(), "{code:?}");
        }
        assert_eq!(backoff.after(&Failure::new(ExitCode::NotAuthorised, ""), NOW), None);
        let webhook = Failure::new(ExitCode::NotAuthorised, "").if_known();
        assert!(backoff.after(&webhook, NOW).is_some());
    }
}
