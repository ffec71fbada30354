//! What peers ask for, in neutral words.

use std::sync::Arc;

use async_tungstenite::tungstenite::Utf8Bytes;
use callbin_protocol::{
    PeerId, RoomId, Signal,
    node::{Limits, Reason, Stats, Track},
};

use super::Refusal;
use crate::{close::CloseReason, dialect::Dialect};

/// A request of a connection. The answer is a [`Notice`](super::Notice).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Can be called by this id from now on.
    Register {
        /// The id.
        uid: PeerId,
        /// How it may be called.
        card: Card,
    },
    /// Can no longer be called by this id. Its calls go on.
    Unregister(PeerId),
    /// Can no longer be called by this id, and ends this call. Not refused if there is neither: a call may have started or
    /// ended while the request was on its way.
    Retire {
        /// The id.
        uid: PeerId,
        /// The call.
        key: Key,
    },
    /// Is there a peer with this id that the connection may call?
    Find {
        /// The connection's own name for the question.
        key: Key,
        /// The id.
        uid: PeerId,
    },
    /// Change how an own id may be called. The answer is that of [`Self::Register`].
    Describe {
        /// The id.
        uid: PeerId,
        /// How it may be called from now on.
        card: Card,
    },
    /// List the peers that it may call and whose media flow this way: those that can send, or those that only receive.
    List(Flow),
    /// From now on, it is notified when a peer that it may call registers, changes its card or leaves.
    Watch,
    /// No longer.
    Unwatch,
    /// Start a call.
    Call {
        /// The connection's own name for the call.
        key: Key,
        /// The callee.
        to: PeerId,
        /// The caller's name for the callee. `None`: the connection's first id, else its token's subject, else a
        /// generated one.
        from: Option<PeerId>,
        /// How the caller gets to an offer.
        start: Start,
        /// What the caller does with the stream of this name, if no peer has it and a media node is there. `None`: it calls
        /// peers only.
        media: Option<Use>,
        /// What is allowed, if the webhook was asked about one. `None`: all.
        only: Option<Only>,
    },
    /// Call the peer with this id, or register it if there is none. After the call, the id is registered again for
    /// whichever of the two stays. One that [only sends](Flow::Sends) leaves it to a callee that had it for itself; one that
    /// [waits to receive](Flow::Awaits) always does.
    ///
    /// If there is no peer but a media node, one that only sends publishes the stream of this name, and one that waits to
    /// receive plays it.
    Meet {
        /// The connection's own name for the call.
        key: Key,
        /// The id under which the two meet.
        uid: PeerId,
        /// How the one that comes first may be called.
        card: Card,
        /// How the one that comes second gets to an offer.
        start: Start,
        /// What is allowed, if the webhook was asked about one. `None`: all.
        only: Option<Only>,
    },
    /// A signal for the other side of a call.
    Signal {
        /// The call.
        key: Key,
        /// The signal.
        payload: Payload,
    },
    /// End a call.
    End(Key),
    /// Join a room.
    Join(RoomId),
    /// Leave the room.
    Leave,
    /// A message for members of the room.
    Send {
        /// The member. `None`: all others.
        to: Option<PeerId>,
        /// Of the members that speak another dialect, only this one gets a message to all. `None`: all of them.
        hint: Option<PeerId>,
        /// The message.
        payload: Payload,
    },
    /// List the other members of the room.
    Members,
    /// A request that is malformed in its dialect: it is counted and refused.
    Reject {
        /// What was asked for.
        about: About,
        /// Why it is refused.
        refusal: Refusal,
    },
    /// A request of a media node.
    Node(NodeRequest),
    /// Nothing that the dialect knows.
    Unknown,
    /// The dialect demands that the connection is closed.
    Close(CloseReason),
}

impl Request {
    /// What is asked for, and the call that is meant, for a refusal.
    pub fn about(&self) -> (About, Key) {
        match self {
            Self::Call { key, .. } | Self::Meet { key, .. } => (About::Call, key.clone()),
            Self::Find { key, .. } => (About::Find, key.clone()),
            Self::Signal { key, .. } | Self::End(key) => (About::Signal, key.clone()),
            Self::Join(_) | Self::Leave => (About::Join, Key::default()),
            Self::Send { .. } | Self::Members => (About::Send, Key::default()),
            Self::Reject { about, .. } => (*about, Key::default()),
            Self::List(_) | Self::Watch | Self::Unwatch => (About::Send, Key::default()),
            Self::Node(_)
            | Self::Register { .. }
            | Self::Unregister(_)
            | Self::Retire { .. }
            | Self::Describe { .. }
            | Self::Unknown
            | Self::Close(_) => (About::Register, Key::default()),
        }
    }
}

/// A request of a media node. The keys are its names for the calls.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NodeRequest {
    /// Takes streams from now on.
    Attach {
        /// Its name for operators.
        name: Arc<str>,
        /// Program and version, for the log.
        software: Arc<str>,
        /// What it can carry.
        limits: Limits,
    },
    /// The media of a published stream arrive, or its tracks changed.
    Live {
        /// The publisher's call.
        key: Key,
        /// All tracks.
        tracks: Arc<[Track]>,
    },
    /// The media of a published stream no longer arrive.
    Gone(Key),
    /// The call's media can flow.
    Connected(Key),
    /// End a call.
    End {
        /// The call.
        key: Key,
        /// Why.
        reason: Reason,
        /// An explanation for the log.
        detail: Arc<str>,
    },
    /// Statistics.
    Stats(Box<Stats>),
    /// Takes no new streams and viewers from now on.
    Drain,
}

/// What a client does with a stream of a media node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It sends the stream's media.
    Publish,
    /// It receives them.
    Play,
}

/// The one of the possible outcomes of a request that the webhook has allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Only {
    /// The id is registered.
    Register,
    /// A peer is called.
    Peer,
    /// A stream is published or played.
    Stream,
}

/// The kinds of requests that can be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    /// [`Request::Register`], [`Request::Unregister`] or [`Request::Describe`].
    Register,
    /// [`Request::Call`] or [`Request::Meet`].
    Call,
    /// [`Request::Find`].
    Find,
    /// [`Request::Signal`] or [`Request::End`].
    Signal,
    /// [`Request::Join`] or [`Request::Leave`].
    Join,
    /// [`Request::Send`] or [`Request::Members`], or a request about other peers.
    Send,
}

/// A connection's own name for one of its calls. A connection with one call uses the empty one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Key(Option<Arc<str>>);

impl Key {
    /// The name.
    pub fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self((!text.is_empty()).then(|| text.into()))
    }
}

/// How a peer may be called.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Card {
    /// It takes several calls at the same time.
    pub is_shared: bool,
    /// It prefers to offer where the caller would offer only when asked.
    pub leads: bool,
    /// Which way its media flow.
    pub flow: Flow,
    /// Its description for lists of peers, JSON.
    pub meta: Option<Arc<str>>,
}

/// Which way the media of a registered peer flow. It decides who offers, who can meet, and which list has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Flow {
    /// Both ways, as far as the hub knows.
    #[default]
    Both,
    /// It only sends. Two such peers do not meet: the second one registers, which takes the place of the first if both have
    /// the same identity.
    Sends,
    /// It only receives, and never offers.
    Receives,
    /// It waits to receive one call, and never offers. Any other peer that registers the id gets it, and nobody finds this
    /// one there.
    Awaits,
    /// It cannot be called: its id is for a room.
    None,
}

impl Flow {
    /// What a peer with these media does with a stream: one that sends may publish it, one that waits to receive may
    /// play it.
    pub fn media(self) -> Option<Use> {
        match self {
            Self::Sends => Some(Use::Publish),
            Self::Awaits => Some(Use::Play),
            Self::Both | Self::Receives | Self::None => None,
        }
    }
}

/// How a caller gets to an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// It offers by itself, or asks the other side to.
    AtOnce,
    /// It offers when it is asked, and answers any offer.
    WhenAsked,
    /// It asks the other side to offer, and offers itself only to a peer that never does.
    IfNeeded,
    /// It only answers.
    Never,
}

/// A message from one peer to another: the sender's frame, and its meaning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    dialect: Dialect,
    frame: Utf8Bytes,
    /// Where the message starts in the frame.
    start: usize,
    /// What the dialect has read already.
    signal: Option<Arc<Signal>>,
}

impl Payload {
    /// A message of the text protocol: the end of a frame. It is read only if the receiver speaks another dialect.
    pub fn text_from(frame: Utf8Bytes, start: usize) -> Self {
        Self { dialect: Dialect::Text, frame, start, signal: None }
    }

    /// A message that other dialects do not know.
    pub fn private(dialect: Dialect, frame: Utf8Bytes) -> Self {
        Self { dialect, frame, start: 0, signal: None }
    }

    /// A signal, and the frame it came in.
    pub fn new(dialect: Dialect, frame: Utf8Bytes, signal: Signal) -> Self {
        Self { dialect, frame, start: 0, signal: Some(Arc::new(signal)) }
    }

    /// A message that came from another node: its frame, where it starts there, and its meaning, if it was read already.
    pub fn from_parts(dialect: Dialect, frame: Utf8Bytes, start: usize, signal: Option<Signal>) -> Self {
        Self { dialect, frame, start, signal: signal.map(Arc::new) }
    }

    /// What [`Payload::from_parts`] needs.
    pub fn parts(&self) -> (&str, usize, Option<&Signal>) {
        (&self.frame, self.start, self.signal.as_deref())
    }

    /// The sender's dialect.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The message as its sender wrote it.
    pub fn text(&self) -> &str {
        self.frame.get(self.start..).unwrap_or_default()
    }

    /// Its meaning. `None`: it has none that other dialects know.
    pub fn into_signal(self) -> Option<Signal> {
        match self.signal {
            Some(signal) => Some(Arc::unwrap_or_clone(signal)),
            None if self.dialect == Dialect::Text => Signal::parse(self.text()).ok(),
            None => None,
        }
    }

    /// Whether it is an offer. A message of the text protocol is not read.
    pub fn is_offer(&self) -> bool {
        self.signal.as_deref().is_some_and(Signal::is_offer)
    }

    /// Whether it is a description. A message of the text protocol is not read.
    pub fn is_description(&self) -> bool {
        matches!(self.signal.as_deref(), Some(Signal::Sdp { .. }))
    }

    /// Its size in bytes, as it counts in queues. All receivers share the frame and its meaning, which is a part of it. Without
    /// a frame, the meaning counts.
    pub fn len(&self) -> usize {
        let meaning = match self.signal.as_deref() {
            Some(Signal::Sdp { sdp, .. }) => sdp.len(),
            Some(Signal::Ice(candidate)) => candidate.candidate.len(),
            Some(Signal::OfferRequest) | None => 0,
        };
        if self.frame.is_empty() { meaning } else { self.frame.len() }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
