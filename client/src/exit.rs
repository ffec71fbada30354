//! The exit codes: one documented code per kind of ending.

use std::fmt;

/// Why callbin ends. The numbers are part of the interface: never change one, only add.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Success: the call ran its time, the expected frames came, or the user hung up.
    Success = 0,
    /// An unexpected failure of GStreamer or the system.
    Internal = 1,
    /// A flag or argument is wrong.
    Usage = 2,
    /// No connection to the signalling server, or it was lost.
    CannotConnect = 3,
    /// The server's certificate is not trusted, or `--ca-file` cannot be used.
    Tls = 4,
    /// The server refused the uid: it is taken or invalid.
    RefusedUid = 5,
    /// Nobody is registered under the uid to call.
    PeerNotFound = 6,
    /// The peer is in a call or a room already.
    Busy = 7,
    /// No usable offer or answer, or the peer's certificate does not match its description.
    NegotiationFailed = 8,
    /// Offer and answer were exchanged, but ICE found no path to the peer, or the path broke.
    IceFailed = 9,
    /// Connected, but the expected media did not arrive in time.
    NoMedia = 10,
    /// A GStreamer plugin is not installed.
    MissingPlugin = 11,
    /// The peer ended the call.
    PeerLeft = 12,
    /// The server or a proxy demands credentials, refuses us or our request, or wants us to stay away.
    NotAuthorised = 13,
    /// The peer sent more than the limits allow.
    Misbehaved = 14,
    /// The call succeeded, but the text of `--send-text` was not sent.
    TextUnsent = 15,
}

impl ExitCode {
    const ALL: [Self; 16] = [
        Self::Success,
        Self::Internal,
        Self::Usage,
        Self::CannotConnect,
        Self::Tls,
        Self::RefusedUid,
        Self::PeerNotFound,
        Self::Busy,
        Self::NegotiationFailed,
        Self::IceFailed,
        Self::NoMedia,
        Self::MissingPlugin,
        Self::PeerLeft,
        Self::NotAuthorised,
        Self::Misbehaved,
        Self::TextUnsent,
    ];

    /// One line for `--help` and the README.
    fn meaning(self) -> &'static str {
        match self {
            Self::Success => {
                "success: --duration has passed, the expected frames have arrived, or you hung up"
            }
            Self::Internal => "internal error: GStreamer or the system failed",
            Self::Usage => "usage: a flag or argument is wrong",
            Self::CannotConnect => {
                "cannot connect: no connection to the signalling server, or it was lost before the call was connected"
            }
            Self::Tls => "TLS: the server's certificate is not trusted, or --ca-file is invalid",
            Self::RefusedUid => "refused uid: taken or not acceptable to the server",
            Self::PeerNotFound => "peer not found: the uid is not registered",
            Self::Busy => "busy: the peer is in another call or room",
            Self::NegotiationFailed => {
                "negotiation failed: no usable offer or answer, no common codec, the wrong certificate, or a silent peer"
            }
            Self::IceFailed => {
                "ICE failed: no network path to the peer, a broken path, or no TURN server for --ice-transport-policy relay"
            }
            Self::NoMedia => "no media: the expected frames or packets did not arrive in time",
            Self::MissingPlugin => {
                "missing plugin: a GStreamer plugin is not installed, or a sink is an unknown element"
            }
            Self::PeerLeft => "peer left: the other side ended the call",
            Self::Misbehaved => {
                "misbehaved peer: it floods, starts over too often, or sends a message larger than the client reads"
            }
            Self::NotAuthorised => {
                "not authorised: the server or a proxy requires a token or password, or refuses us, the call or the room"
            }
            Self::TextUnsent => {
                "text not sent: the call succeeded, but the peer had no data channel for --send-text"
            }
        }
    }

    /// The table of codes, one per line.
    pub fn table() -> String {
        Self::ALL.iter().map(|code| format!("  {:>2}  {}\n", *code as u8, code.meaning())).collect()
    }
}

/// A failure: the exit code and the message for the user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub code: ExitCode,
    /// The cause and what to do, in one line.
    pub message: String,
    /// Whether another attempt makes sense.
    pub hope: Hope,
}

/// The expected result of another attempt to reach the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hope {
    /// The same failure.
    None,
    /// Success, if the server has let us in before: then our settings are not the cause.
    IfKnown,
    /// Success: the server may not be started yet.
    Passing,
}

impl Failure {
    /// A failure of kind `code`.
    pub fn new(code: ExitCode, message: impl Into<String>) -> Self {
        let hope = if code == ExitCode::NotAuthorised { Hope::None } else { Hope::IfKnown };
        Self { code, message: message.into(), hope }
    }

    /// Marks the failure as passing: another attempt may succeed soon.
    pub fn passing(self) -> Self {
        Self { hope: Hope::Passing, ..self }
    }

    /// Marks the failure as passing if the server has let us in before.
    pub fn if_known(self) -> Self {
        Self { hope: Hope::IfKnown, ..self }
    }

    /// A failure of GStreamer or the system.
    pub fn internal(error: impl fmt::Display) -> Self {
        Self::new(ExitCode::Internal, error.to_string())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_numbered_in_order() {
        for (number, code) in ExitCode::ALL.iter().enumerate() {
            assert_eq!(*code as usize, number);
        }
        assert_eq!(ExitCode::table().lines().count(), ExitCode::ALL.len());
    }
}
