//! What peers are sent, in neutral words.

use std::sync::Arc;

use async_tungstenite::tungstenite::Utf8Bytes;
use callbin_protocol::{PeerId, RoomId, node::Reason};

use super::{About, Flow, Key, Payload, Use};
use crate::{close::CloseReason, dialect::Dialect};

/// Something that a connection's client has to learn. Small: queues have many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// It can be called by this id.
    Registered(PeerId),
    /// A call has started. Both sides get this first.
    Called(Box<Call>),
    /// A request is refused.
    Refused(Box<Refused>),
    /// There is such a peer: the answer to [`Request::Find`](super::Request::Find).
    Found(Box<Found>),
    /// A signal from the other side of a call.
    Signal(Box<Incoming>),
    /// The other side ended a call.
    Ended(Box<Ended>),
    /// It is in the room.
    Joined(Box<Joined>),
    /// A member joined or left.
    Change(Arc<Change>),
    /// A message from a member.
    Message(Box<Message>),
    /// The other members of the room.
    Members(Vec<PeerId>),
    /// The peers that it may call. Without a request: it missed some news about them.
    Peers(Box<Peers>),
    /// A peer that it may call registered, changed its card or left.
    Presence(Arc<Presence>),
    /// The media node is attached.
    Attached,
}

/// The start of a call, for one side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// This side's name for the call. For the callee it is that of the id that was called, or a generated one.
    pub key: Key,
    /// The id of this side.
    pub uid: PeerId,
    /// The id of the other side.
    pub peer: PeerId,
    /// The dialect of the other side.
    pub dialect: Dialect,
    /// Whether this side called.
    pub is_caller: bool,
    /// Whether this side has to offer now.
    pub is_asked: bool,
    /// What the caller does with a stream of a media node, which is the callee. `None`: the callee is a peer.
    pub media: Option<Use>,
    /// The most bits per second that the caller may publish. `None`: the media node's own limit.
    pub max_bitrate: Option<u64>,
    /// For a media node that has to offer: another call of the same client, which shows its payload types.
    pub like: Option<Key>,
}

/// A peer that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The name of the question.
    pub key: Key,
    /// The peer.
    pub uid: PeerId,
}

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// What was refused.
    pub about: About,
    /// The call that was meant, if any.
    pub key: Key,
    /// Why.
    pub refusal: Refusal,
    /// The message that is not delivered, if the dialect is not single.
    pub payload: Option<Payload>,
}

/// A signal of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// This side's name for the call.
    pub key: Key,
    /// The signal.
    pub payload: Payload,
}

/// The end of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// This side's name for the call.
    pub key: Key,
    /// The id of the other side.
    pub peer: PeerId,
    /// Whether this side can be called by the id that was called.
    pub stays: bool,
    /// Why, if the other side has not simply left.
    pub reason: Option<Refusal>,
}

/// The answer to a join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Joined {
    /// The room.
    pub room: RoomId,
    /// The other members, in the order in which they joined.
    pub members: Vec<PeerId>,
}

/// A change in a room, the same for all members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The member.
    pub uid: PeerId,
    /// Whether it joined or left.
    pub is_there: bool,
    /// The text protocol's frame, made once for all members.
    pub text: Utf8Bytes,
}

/// A message between members of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The sender.
    pub from: PeerId,
    /// The message.
    pub payload: Payload,
}

/// A list of peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peers {
    /// What all of them do with media.
    pub flow: Flow,
    /// Those that are free come first.
    pub peers: Vec<Listed>,
}

/// A peer in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub uid: PeerId,
    /// Its description, JSON.
    pub meta: Option<Arc<str>>,
}

impl Listed {
    /// The bytes of its id and its description.
    pub fn len(&self) -> usize {
        self.uid.as_str().len() + self.meta.as_deref().map_or(0, str::len)
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// News about a peer, the same for all watchers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The peer.
    pub uid: PeerId,
    /// What it does with media.
    pub flow: Flow,
    /// Whether it can be called.
    pub is_there: bool,
    /// The frame of webrtcsink's protocol, made once for all watchers.
    pub text: Utf8Bytes,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The id is empty, too long or has white space.
    UidInvalid,
    /// Another connection has the id.
    UidTaken,
    /// The token does not allow the id.
    UidNotAllowed,
    /// The connection has too many ids or calls already.
    TooManyIds,
    /// There is no such peer, or this one may not call it.
    PeerNotFound(String),
    /// The peer has a call already, or is in a room.
    PeerBusy(String),
    /// The peer is not in this room.
    PeerNotInRoom(String),
    /// There is no call of this name.
    NoSuchCall,
    /// The room's id is invalid or not allowed.
    InvalidRoomId(String),
    /// The connection is in a room already.
    AlreadyInRoom,
    /// The connection is in no room.
    NotInRoom,
    /// The room has no place left.
    RoomFull(String),
    /// The address or identity has created too many rooms.
    TooManyRooms,
    /// The address or identity has started too many calls.
    TooManySessions,
    /// The address or identity watches with too many connections.
    TooManyWatchers,
    /// Neither of the two offers: the caller only answers, and so does the callee.
    NobodyOffers,
    /// The token does not allow publishing or playing the stream.
    StreamNotAllowed,
    /// The address or identity publishes too many streams.
    TooManyStreams,
    /// The address or identity plays too many streams.
    TooManyViewers,
    /// No media node has capacity left.
    NoCapacity,
    /// The media node has ended the call.
    Node(Reason),
    /// The connection of the media node has closed.
    NodeLost,
    /// A new publisher of the same identity has taken over the stream.
    Replaced,
    /// The webhook did not answer.
    Unavailable,
    /// Any other reason, for people.
    Other(String),
}

impl Refusal {
    /// The kind of the refusal, without text from a peer.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UidInvalid => "invalid uid",
            Self::UidTaken => "uid taken",
            Self::UidNotAllowed => "uid not allowed",
            Self::TooManyIds => "too many ids",
            Self::PeerNotFound(_) => "peer not found",
            Self::PeerBusy(_) => "peer busy",
            Self::PeerNotInRoom(_) => "peer is not in the room",
            Self::NoSuchCall => "no such call",
            Self::InvalidRoomId(_) => "invalid room id",
            Self::AlreadyInRoom => "invalid msg, already in room",
            Self::NotInRoom => "not in a room",
            Self::RoomFull(_) => "room is full",
            Self::TooManyRooms => "too many rooms",
            Self::TooManySessions => "too many sessions",
            Self::TooManyWatchers => "too many listeners",
            Self::NobodyOffers => "neither peer offers",
            Self::StreamNotAllowed => "stream not allowed",
            Self::TooManyStreams => "too many streams",
            Self::TooManyViewers => "too many viewers",
            Self::NoCapacity => "no media node has capacity",
            Self::Node(_) => "ended by the media node",
            Self::NodeLost => "media node lost",
            Self::Replaced => "replaced by a new publisher",
            Self::Unavailable | Self::Other(_) => "other",
        }
    }

    /// The reason for closing a single connection whose registration is refused.
    pub(super) fn close_reason(&self) -> CloseReason {
        match self {
            Self::UidNotAllowed | Self::Other(_) => CloseReason::UidNotAllowed,
            Self::Unavailable => CloseReason::Unavailable,
            _ => CloseReason::InvalidUid,
        }
    }

    /// Bytes of text from a peer.
    fn len(&self) -> usize {
        match self {
            Self::PeerNotFound(text)
            | Self::PeerBusy(text)
            | Self::PeerNotInRoom(text)
            | Self::InvalidRoomId(text)
            | Self::RoomFull(text)
            | Self::Other(text) => text.len(),
            _ => 0,
        }
    }
}

impl Notice {
    /// Its size in bytes, as it counts in queues.
    pub fn len(&self) -> usize {
        let names = |names: &[PeerId]| names.iter().map(|name| name.as_str().len() + 1).sum();
        match self {
            Self::Registered(uid) => uid.as_str().len(),
            Self::Called(call) => call.uid.as_str().len() + call.peer.as_str().len(),
            Self::Refused(refused) => {
                refused.refusal.len() + refused.payload.as_ref().map_or(0, Payload::len)
            }
            Self::Found(found) => found.key.as_str().len() + found.uid.as_str().len(),
            Self::Signal(signal) => signal.payload.len(),
            Self::Ended(ended) => ended.peer.as_str().len(),
            Self::Joined(joined) => names(&joined.members),
            Self::Change(change) => change.text.len(),
            Self::Message(message) => message.from.as_str().len() + message.payload.len(),
            Self::Members(members) => names(members),
            Self::Peers(list) => list.peers.iter().map(Listed::len).sum(),
            Self::Presence(presence) => presence.text.len(),
            Self::Attached => 0,
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
