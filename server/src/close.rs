//! The reasons for closing a WebSocket, and their close frames.

use async_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};

/// Why the server closes a WebSocket. `Display` is the reason sent in the close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CloseReason {
    /// The first frame was not a HELLO.
    #[error("invalid protocol")]
    InvalidProtocol,
    /// HELLO with a uid that is taken, empty or contains whitespace.
    #[error("invalid peer uid")]
    InvalidUid,
    /// It came to be in a room, and may not join it.
    #[error("not in the room")]
    NotJoined,
    /// HELLO with a uid that the token does not allow or the webhook refused.
    #[error("uid not allowed")]
    UidNotAllowed,
    /// A new connection of the same identity took over its uid.
    #[error("replaced by a new connection")]
    Replaced,
    /// The token has expired.
    #[error("token expired")]
    TokenExpired,
    /// More messages or bytes than allowed.
    #[error("too many messages")]
    TooFast,
    /// More registrations than allowed.
    #[error("too many registrations, try again later")]
    TooManyRegistrations,
    /// More notices to others than allowed: the request would have to wait too long.
    #[error("too many notices, try again later")]
    TooManyNotices,
    /// The webhook did not answer about its registration.
    #[error("not available, try again later")]
    Unavailable,
    /// An operator closed it.
    #[error("closed by an operator")]
    ByOperator,
    /// No HELLO came in time.
    #[error("no HELLO in time")]
    HelloTimeout,
    /// A binary frame outside of a session.
    #[error("binary frames are for sessions only")]
    BinaryFrame,
    /// The frame or message is larger than the limit.
    #[error("message too big")]
    TooBig,
    /// Not a valid WebSocket (RFC 6455).
    #[error("not as RFC 6455 has it")]
    Malformed,
    /// A text frame that is not UTF-8.
    #[error("text is not UTF-8")]
    NotUtf8,
    /// The partner of the session has left: the call is over.
    #[error("")]
    PartnerLeft,
    /// The queue of outgoing frames exceeds its limit.
    #[error("reads too slowly")]
    SlowReader,
    /// Its incomplete message used memory that other peers need.
    #[error("message not complete in time")]
    Unfinished,
    /// No pong came in time.
    #[error("no pong in time")]
    NoPong,
    /// An HTTP client has sent no request for its call or its registration in time.
    #[error("no request in time")]
    Abandoned,
    /// A media node has sent no statistics in time.
    #[error("no statistics in time")]
    NoStatistics,
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
            | Self::NoStatistics
            | Self::Abandoned
            | Self::UidNotAllowed
            | Self::NotJoined
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
