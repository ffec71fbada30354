//! Why the server closes a WebSocket, and how it says so.

use async_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// Why the server closes a WebSocket. `Display` is the reason sent in the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The first frame was not a HELLO.
    #[error("invalid protocol")]
    InvalidProtocol,
    /// HELLO with a uid that is taken, empty or has white space.
    #[error("invalid peer uid")]
    InvalidUid,
    /// HELLO with a uid that the token does not allow, or that was refused elsewhere.
    #[error("uid not allowed")]
    UidNotAllowed,
    /// The same identity came back and took its uid over.
    #[error("replaced by a new connection")]
    Replaced,
    /// The token's time is over.
    #[error("token expired")]
    TokenExpired,
    /// More messages or bytes than allowed.
    #[error("too many messages")]
    TooFast,
    /// More registrations than allowed.
    #[error("too many registrations, try again later")]
    TooManyRegistrations,
    /// More notices to others than allowed, and those before are not through yet.
    #[error("too many notices, try again later")]
    TooManyNotices,
    /// The webhook gave no answer about its registration.
    #[error("not available, try again later")]
    Unavailable,
    /// An operator closed it.
    #[error("closed by an operator")]
    ByOperator,
    /// No HELLO came in time.
    #[error("no HELLO in time")]
    HelloTimeout,
    /// A binary frame where only a session may have one.
    #[error("binary frames are for sessions only")]
    BinaryFrame,
    /// The frame or message is larger than the limit.
    #[error("message too big")]
    TooBig,
    /// Not a WebSocket as RFC 6455 has it.
    #[error("not as RFC 6455 has it")]
    Malformed,
    /// A text frame that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// The partner of the session is gone: the call is over.
    #[error("")]
    PartnerLeft,
    /// More waits to be sent than the limit allows.
    #[error("reads too slowly")]
    SlowReader,
    /// Others want the memory that a message takes which does not come to its end.
    #[error("message not complete in time")]
    Unfinished,
    /// Pinged, and nothing came back in time.
    #[error("no pong in time")]
    NoPong,
    /// The server is shutting down.
    #[error("server is shutting down")]
    GoingAway,
}

impl CloseReason {
    /// The code of the close frame (RFC 6455, section 7.4.1).
    pub fn code(self) -> CloseCode {
        match self {
            Self::PartnerLeft => CloseCode::Normal,
            Self::GoingAway => CloseCode::Away,
            Self::InvalidProtocol | Self::InvalidUid | Self::HelloTimeout | Self::Malformed => {
                CloseCode::Protocol
            }
            Self::BinaryFrame => CloseCode::Unsupported,
            Self::NotUtf8 => CloseCode::Invalid,
            Self::SlowReader
            | Self::Unfinished
            | Self::NoPong
            | Self::UidNotAllowed
            | Self::Replaced
            | Self::TokenExpired
            | Self::TooFast
            | Self::ByOperator => CloseCode::Policy,
            Self::TooManyRegistrations | Self::TooManyNotices | Self::Unavailable => CloseCode::Again,
            Self::TooBig => CloseCode::Size,
        }
    }

    /// The close frame to send.
    pub fn frame(self) -> CloseFrame {
        CloseFrame { code: self.code(), reason: self.to_string().into() }
    }
}
