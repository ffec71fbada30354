//! Messages from a peer to the server.

use std::{borrow::Cow, fmt};

use crate::{
    id::{PeerId, RoomId, is_white_space},
    split_verb,
};

/// A frame that a peer sends to the server. Which ones are valid depends on the peer's state; within a session every
/// frame is payload for the other peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// `HELLO <uid>`: register.
    Hello(PeerId),
    /// `SESSION <uid>`: call a peer.
    Session(PeerId),
    /// `ROOM <id>`: join a room, which is created if it does not exist.
    Room(RoomId),
    /// `ROOM_PEER_MSG <uid> <msg>`: send a message to one member of the room.
    RoomPeerMsg {
        /// The receiver.
        to: PeerId,
        /// Everything after the one space that follows the uid, unchanged.
        msg: Cow<'a, str>,
    },
    /// `ROOM_PEER_LIST`: list the other members of the room.
    RoomPeerList,
}

/// Why a frame is not a [`ClientMessage`]. The strings are the invalid ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a verb of this protocol, or one with too many arguments.
    #[error("not a message of this protocol")]
    UnknownVerb,
    /// `HELLO` with an invalid uid.
    #[error("not a uid to register as")]
    InvalidUid(String),
    /// `SESSION` with an invalid uid.
    #[error("not a uid to call")]
    InvalidCallee(String),
    /// `ROOM_PEER_MSG` with an invalid uid.
    #[error("not a uid to send to")]
    InvalidAddressee(String),
    /// `ROOM` with an invalid room id.
    #[error("not the id of a room")]
    InvalidRoom(String),
    /// `ROOM_PEER_MSG <uid>` without a message.
    #[error("no message for the peer")]
    NoMessage(PeerId),
}

impl<'a> ClientMessage<'a> {
    /// Parses one text frame. The verb is matched as a whole: `ROOMMATE x` is not `ROOM`.
    pub fn parse(text: &'a str) -> Result<Self, ParseError> {
        let (verb, rest) = split_verb(text);
        match verb {
            "HELLO" => PeerId::new(rest).map(Self::Hello).map_err(|_| ParseError::InvalidUid(rest.into())),
            "SESSION" => {
                PeerId::new(rest).map(Self::Session).map_err(|_| ParseError::InvalidCallee(rest.into()))
            }
            "ROOM" => RoomId::new(rest).map(Self::Room).map_err(|_| ParseError::InvalidRoom(rest.into())),
            "ROOM_PEER_MSG" => Self::parse_peer_msg(rest),
            "ROOM_PEER_LIST" if rest.is_empty() => Ok(Self::RoomPeerList),
            _ => Err(ParseError::UnknownVerb),
        }
    }

    fn parse_peer_msg(rest: &'a str) -> Result<Self, ParseError> {
        let (to, msg) = match rest.split_once(is_white_space) {
            Some((to, msg)) => (to, Some(msg)),
            None => (rest, None),
        };
        let to = PeerId::new(to).map_err(|_| ParseError::InvalidAddressee(to.into()))?;
        match msg {
            Some(msg) if !msg.is_empty() => Ok(Self::RoomPeerMsg { to, msg: msg.into() }),
            _ => Err(ParseError::NoMessage(to)),
        }
    }
}

impl fmt::Display for ClientMessage<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hello(uid) => write!(f, "HELLO {uid}"),
            Self::Session(uid) => write!(f, "SESSION {uid}"),
            Self::Room(room) => write!(f, "ROOM {room}"),
            Self::RoomPeerMsg { to, msg } => write!(f, "ROOM_PEER_MSG {to} {msg}"),
            Self::RoomPeerList => f.write_str("ROOM_PEER_LIST"),
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
    fn reads_each_message() {
        assert_eq!(ClientMessage::parse("HELLO me"), Ok(ClientMessage::Hello(peer("me"))));
        assert_eq!(ClientMessage::parse("HELLO   me"), Ok(ClientMessage::Hello(peer("me"))));
        assert_eq!(ClientMessage::parse("SESSION you"), Ok(ClientMessage::Session(peer("you"))));
        assert_eq!(ClientMessage::parse("ROOM r"), Ok(ClientMessage::Room(RoomId::new("r").unwrap())));
        assert_eq!(ClientMessage::parse("ROOM_PEER_LIST"), Ok(ClientMessage::RoomPeerList));
        assert_eq!(ClientMessage::parse("ROOM_PEER_LIST "), Ok(ClientMessage::RoomPeerList));
    }

    #[test]
    fn keeps_a_peer_message_verbatim() {
        let parsed = ClientMessage::parse("ROOM_PEER_MSG you  {\"a\": 1} \n");
        assert_eq!(parsed, Ok(ClientMessage::RoomPeerMsg { to: peer("you"), msg: " {\"a\": 1} \n".into() }));
    }

    #[test]
    fn matches_the_verb_whole() {
        for text in ["ROOMMATE x", "SESSIONS x", "HELLOx", "hello x", " HELLO x", "", " ", "ROOM_PEER_LIST x"]
        {
            assert_eq!(ClientMessage::parse(text), Err(ParseError::UnknownVerb), "{text:?}");
        }
    }

    #[test]
    fn says_which_argument_is_wrong() {
        assert_eq!(ClientMessage::parse("HELLO"), Err(ParseError::InvalidUid("".into())));
        assert_eq!(ClientMessage::parse("HELLO a b"), Err(ParseError::InvalidUid("a b".into())));
        assert_eq!(ClientMessage::parse("HELLO a "), Err(ParseError::InvalidUid("a ".into())));
        assert_eq!(ClientMessage::parse("SESSION"), Err(ParseError::InvalidCallee("".into())));
        assert_eq!(ClientMessage::parse("ROOM session"), Err(ParseError::InvalidRoom("session".into())));
        assert_eq!(ClientMessage::parse("ROOM_PEER_MSG"), Err(ParseError::InvalidAddressee("".into())));
        assert_eq!(ClientMessage::parse("ROOM_PEER_MSG you"), Err(ParseError::NoMessage(peer("you"))));
        assert_eq!(ClientMessage::parse("ROOM_PEER_MSG you "), Err(ParseError::NoMessage(peer("you"))));
    }

    proptest! {
        #[test]
        fn any_text_parses_to_something_that_prints_and_parses_the_same(text in "\\PC{0,40}|(HELLO|SESSION|ROOM|ROOM_PEER_MSG) \\PC{0,20}") {
            if let Ok(message) = ClientMessage::parse(&text) {
                let printed = message.to_string();
                prop_assert_eq!(ClientMessage::parse(&printed), Ok(message));
            }
        }
    }
}
