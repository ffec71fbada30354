//! What peers ask for, in neutral words.

use std::sync::Arc;

use async_tungstenite::tungstenite::Utf8Bytes;
use callbin_protocol::{PeerId, RoomId, Signal};

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
    },
    /// Call the peer with this id, or register it if there is none. After the call, the id is registered again for
    /// whichever of the two stays. One that [only sends](Flow::Sends) leaves it to a callee that had it for itself; one that
    /// [waits to receive](Flow::Awaits) always does.
    Meet {
        /// The connection's own name for the call.
        key: Key,
        /// The id under which the two meet.
        uid: PeerId,
        /// How the one that comes first may be called.
        card: Card,
        /// How the one that comes second gets to an offer.
        start: Start,
        /// The only one of the two that is allowed, if the webhook was asked about one. `None`: both.
        only: Option<About>,
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
            Self::Register { .. }
            | Self::Unregister(_)
            | Self::Retire { .. }
            | Self::Describe { .. }
            | Self::Unknown
            | Self::Close(_) => (About::Register, Key::default()),
        }
    }
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

    /// Its size in bytes, as it counts in queues. All receivers share the frame and its meaning, which is a part of it.
    pub fn len(&self) -> usize {
        self.frame.len()
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
