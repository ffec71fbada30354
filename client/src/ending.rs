//! How a one-to-one call can end, and the result of each ending. Pure.

use crate::{
    events::EndReason,
    exit::{ExitCode, Failure, Hope},
};

/// How a call ended.
#[derive(Debug)]
pub enum Ending {
    /// The user interrupted the call.
    Interrupted,
    /// `--duration` is over.
    Duration,
    /// The frames of `--expect-video-frames` were decoded.
    Frames,
    /// The peer hung up.
    PeerLeft,
    /// The connection to the server was lost.
    ServerLost(String),
    /// The frames of `--expect-video-frames` did not come in time.
    TooFewFrames(Failure),
    /// The call failed.
    Failed(Failure),
}

impl Ending {
    /// The reason for the event `ended`.
    pub fn reason(&self) -> EndReason {
        match self {
            Self::Interrupted => EndReason::HungUp,
            Self::Duration => EndReason::Duration,
            Self::Frames => EndReason::Frames,
            Self::PeerLeft => EndReason::PeerLeft,
            Self::ServerLost(_) => EndReason::ServerLost,
            Self::TooFewFrames(failure) | Self::Failed(failure) => EndReason::Failed(failure.message.clone()),
        }
    }

    /// Whether `wait` must not go on after this ending.
    pub fn is_final(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.hope == Hope::None,
            Self::Interrupted | Self::Frames | Self::TooFewFrames(_) => true,
            Self::Duration | Self::PeerLeft | Self::ServerLost(_) => false,
        }
    }

    /// The failure, if the call failed.
    pub fn failure(self) -> Option<Failure> {
        match self {
            Self::Failed(failure) | Self::TooFewFrames(failure) => Some(failure),
            _ => None,
        }
    }

    /// Replaces "too few frames" by the reason why the server was never reached, if there is one.
    pub fn but_for(self, unreached: Option<Failure>) -> Self {
        match (self, unreached) {
            (Self::TooFewFrames(_), Some(failure)) => Self::Failed(failure),
            (ending, _) => ending,
        }
    }

    /// The result of a process that ends with this call.
    pub fn result(self, was_connected: bool) -> Result<(), Failure> {
        match self {
            Self::Interrupted | Self::Duration | Self::Frames => Ok(()),
            Self::PeerLeft if was_connected => {
                Err(Failure::new(ExitCode::PeerLeft, "the peer ended the call"))
            }
            Self::PeerLeft => {
                Err(Failure::new(ExitCode::PeerLeft, "the peer left before the call was connected"))
            }
            Self::ServerLost(reason) => Err(Failure::new(
                ExitCode::CannotConnect,
                format!("the connection to the signalling server was lost: {reason}"),
            )),
            Self::TooFewFrames(failure) | Self::Failed(failure) => Err(failure),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: ExitCode) -> Ending {
        Ending::Failed(Failure::new(code, "why"))
    }

    #[test]
    fn some_endings_are_for_good() {
        assert!(failed(ExitCode::NotAuthorised).is_final() && Ending::Interrupted.is_final());
        for ending in [failed(ExitCode::CannotConnect), Ending::PeerLeft, Ending::ServerLost("gone".into())] {
            assert!(!ending.is_final(), "{ending:?}");
        }
    }

    #[test]
    fn frames_that_a_server_never_let_come_are_not_what_failed() {
        let too_few = || Ending::TooFewFrames(Failure::new(ExitCode::NoMedia, "0 of 1"));
        let unreached = Failure::new(ExitCode::CannotConnect, "refused");
        assert_eq!(too_few().but_for(Some(unreached.clone())).failure(), Some(unreached.clone()));
        assert_eq!(too_few().but_for(None).failure().unwrap().code, ExitCode::NoMedia);
        assert!(matches!(Ending::Interrupted.but_for(Some(unreached)), Ending::Interrupted));
    }

    #[test]
    fn a_result_says_whose_end_it_was() {
        let code = |ending: Ending| ending.result(true).err().map(|failure| failure.code);
        assert_eq!(code(Ending::Duration), None);
        assert_eq!(code(Ending::PeerLeft), Some(ExitCode::PeerLeft));
        assert_eq!(code(Ending::ServerLost("gone".into())), Some(ExitCode::CannotConnect));
        assert_eq!(code(failed(ExitCode::Tls)), Some(ExitCode::Tls));
    }
}
