//! Messages from the server to a peer.

use std::{borrow::Cow, fmt};

use crate::{
    id::{PeerId, is_white_space},
    repr::{PythonRepr, unquote},
    split_verb,
};

/// A frame that the server itself sends to a peer. Within a session, every frame after `SESSION_OK` comes from the
/// other peer, except [`ServerMessage::Error`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// `HELLO`: the peer is registered.
    Hello,
    /// `SESSION_OK`: from now on, the peer's frames go to the peer that it called.
    SessionOk,
    /// `ROOM_OK <uid> …`: the peer is in the room, with these members, in the order they joined.
    ///
    /// If there are none, a space follows the verb: clients test for that prefix.
    RoomOk(Vec<PeerId>),
    /// `ROOM_PEER_JOINED <uid>`.
    RoomPeerJoined(PeerId),
    /// `ROOM_PEER_LEFT <uid>`.
    RoomPeerLeft(PeerId),
    /// `ROOM_PEER_MSG <uid> <msg>`: a message from a member.
    RoomPeerMsg {
        /// The sender.
        from: PeerId,
        /// The message, unchanged.
        msg: Cow<'a, str>,
    },
    /// `ROOM_PEER_LIST <uid> …`: the others in the room.
    RoomPeerList(Vec<PeerId>),
    /// `ERROR …`. Every client ends the call on it.
    Error(ErrorMessage),
    /// `CALLER <uid>`: this peer calls you, and what you get from now on is from it. Only for clients that asked for it.
    Caller(PeerId),
    /// `HEARTBEAT <seconds>`: the server is there, and says so again within this time. Only for clients that asked for it.
    Heartbeat(u64),
}

/// What follows `ERROR `.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorMessage {
    /// `peer '<uid>' not found`.
    PeerNotFound(String),
    /// `peer '<uid>' busy`.
    PeerBusy(String),
    /// `peer '<uid>' is not in the room`.
    PeerNotInRoom(String),
    /// `invalid room id '<id>'`.
    InvalidRoomId(String),
    /// `invalid msg, already in room`.
    AlreadyInRoom,
    /// `room '<id>' is full`. Only from callbin's server, with a limit.
    RoomFull(String),
    /// `too many rooms`. Only from callbin's server, with a limit.
    TooManyRooms,
    /// `too many sessions`. Only from callbin's server, with a limit.
    TooManySessions,
    /// Any other text, from this or another server.
    Other(String),
}

/// The text is not a frame of a signalling server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a message of a signalling server")]
pub struct UnknownMessage;

impl<'a> ServerMessage<'a> {
    /// Parses one text frame.
    pub fn parse(text: &'a str) -> Result<Self, UnknownMessage> {
        let (verb, rest) = split_verb(text);
        match verb {
            "HELLO" if rest.is_empty() => Ok(Self::Hello),
            "SESSION_OK" if rest.is_empty() => Ok(Self::SessionOk),
            "ROOM_OK" => parse_peers(rest).map(Self::RoomOk),
            "ROOM_PEER_LIST" => parse_peers(rest).map(Self::RoomPeerList),
            "ROOM_PEER_JOINED" => parse_peer(rest).map(Self::RoomPeerJoined),
            "ROOM_PEER_LEFT" => parse_peer(rest).map(Self::RoomPeerLeft),
            "CALLER" => parse_peer(rest).map(Self::Caller),
            "HEARTBEAT" => rest.parse().map(Self::Heartbeat).map_err(|_| UnknownMessage),
            "ROOM_PEER_MSG" => {
                let (from, msg) = rest.split_once(is_white_space).ok_or(UnknownMessage)?;
                Ok(Self::RoomPeerMsg { from: parse_peer(from)?, msg: msg.into() })
            }
            _ => {
                text.strip_prefix("ERROR").map(|e| Self::Error(ErrorMessage::parse(e))).ok_or(UnknownMessage)
            }
        }
    }
}

fn parse_peer(text: &str) -> Result<PeerId, UnknownMessage> {
    PeerId::new(text).map_err(|_| UnknownMessage)
}

fn parse_peers(text: &str) -> Result<Vec<PeerId>, UnknownMessage> {
    text.split(is_white_space).filter(|id| !id.is_empty()).map(parse_peer).collect()
}

impl ErrorMessage {
    /// The kind of the error, without text from a peer.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::PeerNotFound(_) => "peer not found",
            Self::PeerBusy(_) => "peer busy",
            Self::PeerNotInRoom(_) => "peer is not in the room",
            Self::InvalidRoomId(_) => "invalid room id",
            Self::AlreadyInRoom => "invalid msg, already in room",
            Self::RoomFull(_) => "room is full",
            Self::TooManyRooms => "too many rooms",
            Self::TooManySessions => "too many sessions",
            Self::Other(_) => "other",
        }
    }

    /// Parses what follows `ERROR`: clients accept any text with that prefix as an error.
    fn parse(text: &str) -> Self {
        let text = text.trim_matches(is_white_space);
        let quoted = |prefix: &str, suffix: &str| {
            let id = text.strip_prefix(prefix)?.strip_suffix(suffix)?;
            unquote(id).map(String::from)
        };
        None.or_else(|| quoted("peer ", " not found").map(Self::PeerNotFound))
            .or_else(|| quoted("peer ", " busy").map(Self::PeerBusy))
            .or_else(|| quoted("peer ", " is not in the room").map(Self::PeerNotInRoom))
            .or_else(|| quoted("invalid room id ", "").map(Self::InvalidRoomId))
            .or_else(|| quoted("room ", " is full").map(Self::RoomFull))
            .or_else(|| FIXED.into_iter().find(|error| error.kind() == text))
            .unwrap_or_else(|| Self::Other(text.into()))
    }
}

/// The errors whose text equals their kind.
const FIXED: [ErrorMessage; 3] =
    [ErrorMessage::AlreadyInRoom, ErrorMessage::TooManyRooms, ErrorMessage::TooManySessions];

impl fmt::Display for ServerMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello => f.write_str("HELLO"),
            Self::SessionOk => f.write_str("SESSION_OK"),
            Self::RoomOk(peers) => write_peers(f, "ROOM_OK", peers),
            Self::RoomPeerList(peers) => write_peers(f, "ROOM_PEER_LIST", peers),
            Self::RoomPeerJoined(peer) => write!(f, "ROOM_PEER_JOINED {peer}"),
            Self::RoomPeerLeft(peer) => write!(f, "ROOM_PEER_LEFT {peer}"),
            Self::RoomPeerMsg { from, msg } => write!(f, "ROOM_PEER_MSG {from} {msg}"),
            Self::Error(error) => write!(f, "ERROR {error}"),
            Self::Caller(peer) => write!(f, "CALLER {peer}"),
            Self::Heartbeat(seconds) => write!(f, "HEARTBEAT {seconds}"),
        }
    }
}

/// `VERB a b`, or `VERB ` with a trailing space for an empty list.
fn write_peers(f: &mut fmt::Formatter<'_>, verb: &str, peers: &[PeerId]) -> fmt::Result {
    f.write_str(verb)?;
    if peers.is_empty() {
        return f.write_str(" ");
    }
    peers.iter().try_for_each(|peer| write!(f, " {peer}"))
}

impl fmt::Display for ErrorMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerNotFound(id) => write!(f, "peer {} not found", PythonRepr(id)),
            Self::PeerBusy(id) => write!(f, "peer {} busy", PythonRepr(id)),
            Self::PeerNotInRoom(id) => write!(f, "peer {} is not in the room", PythonRepr(id)),
            Self::InvalidRoomId(id) => write!(f, "invalid room id {}", PythonRepr(id)),
            Self::AlreadyInRoom | Self::TooManyRooms | Self::TooManySessions => f.write_str(self.kind()),
            Self::RoomFull(id) => write!(f, "room {} is full", PythonRepr(id)),
            Self::Other(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer(text: &str) -> PeerId {
        PeerId::new(text).unwrap()
    }

    #[test]
    fn prints_what_existing_clients_expect() {
        use ErrorMessage as E;
        use ServerMessage as M;
        for (message, text) in [
            (M::Hello, "HELLO"),
            (M::SessionOk, "SESSION_OK"),
            (M::RoomOk(vec![]), "ROOM_OK "),
            (M::RoomOk(vec![peer("a"), peer("b")]), "ROOM_OK a b"),
            (M::RoomPeerList(vec![]), "ROOM_PEER_LIST "),
            (M::RoomPeerJoined(peer("a")), "ROOM_PEER_JOINED a"),
            (M::RoomPeerLeft(peer("a")), "ROOM_PEER_LEFT a"),
            (M::RoomPeerMsg { from: peer("a"), msg: " {} ".into() }, "ROOM_PEER_MSG a  {} "),
            (M::Error(E::PeerNotFound("x".into())), "ERROR peer 'x' not found"),
            (M::Error(E::PeerBusy("o'brien".into())), "ERROR peer \"o'brien\" busy"),
            (M::Error(E::PeerNotInRoom("x".into())), "ERROR peer 'x' is not in the room"),
            (M::Error(E::InvalidRoomId("".into())), "ERROR invalid room id ''"),
            (M::Error(E::AlreadyInRoom), "ERROR invalid msg, already in room"),
            (M::Error(E::RoomFull("r".into())), "ERROR room 'r' is full"),
            (M::Error(E::TooManyRooms), "ERROR too many rooms"),
            (M::Error(E::TooManySessions), "ERROR too many sessions"),
            (M::Error(E::Other("the roof is on fire".into())), "ERROR the roof is on fire"),
            (M::Caller(peer("a")), "CALLER a"),
            (M::Heartbeat(15), "HEARTBEAT 15"),
        ] {
            assert_eq!(message.to_string(), text);
            assert_eq!(M::parse(text), Ok(message));
        }
    }

    #[test]
    fn a_bare_room_ok_is_an_empty_room() {
        assert_eq!(ServerMessage::parse("ROOM_OK"), Ok(ServerMessage::RoomOk(vec![])));
    }

    #[test]
    fn anything_that_starts_with_error_is_one() {
        for text in ["ERROR", "ERROR:", "ERRORS galore"] {
            assert!(matches!(ServerMessage::parse(text), Ok(ServerMessage::Error(_))), "{text}");
        }
        for text in [
            "",
            "HELLO you",
            "SESSION_OKAY",
            "CALLER",
            "CALLER a b",
            "HEARTBEAT",
            "HEARTBEAT -1",
            "ROOM_PEER_JOINED",
            "ROOM_PEER_MSG a",
            "{}",
        ] {
            assert_eq!(ServerMessage::parse(text), Err(UnknownMessage), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "(ERROR|ROOM_OK|ROOM_PEER_MSG|ROOM_PEER_LIST|)( peer | )?\\PC{0,30}") {
            if let Ok(message) = ServerMessage::parse(&text) {
                let _ = message.to_string();
            }
        }
    }
}
