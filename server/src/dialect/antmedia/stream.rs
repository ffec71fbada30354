//! One stream of a connection.

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{
    PeerId,
    antmedia::{Definition, Reply},
};

use super::print;
use crate::{
    bridge::Inbound,
    dialect::Dialect,
    hub::{Call, Key, Request},
};

/// What a client does with a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Meet one other peer.
    Join,
    /// Send.
    Publish,
    /// Receive.
    Play,
}

impl Role {
    /// The notification when a call has got its answer.
    fn started(self) -> Option<Definition> {
        match self {
            Self::Join => None,
            Self::Publish => Some(Definition::PublishStarted),
            Self::Play => Some(Definition::PlayStarted),
        }
    }

    /// The notification at the end.
    pub(super) fn finished(self) -> Definition {
        match self {
            Self::Join => Definition::Leaved,
            Self::Publish => Definition::PublishFinished,
            Self::Play => Definition::PlayFinished,
        }
    }

    /// The error for another command with a stream in this role.
    pub(super) fn taken(self) -> Definition {
        match self {
            Self::Join => Definition::StreamIdInUse,
            Self::Publish => Definition::AlreadyPublishing,
            Self::Play => Definition::AlreadyPlaying,
        }
    }
}

/// A stream that the client named in a command.
///
/// Commands and notices cross: after `stop` and another `publish`, notices about the time before may still come. The hub
/// answers each [`Request::Meet`] with exactly one notice, in order. Until the last answer has come,
/// all other notices are old.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// What the client wants. `None`: it has stopped.
    pub(super) role: Option<Role>,
    /// How the client names it.
    pub(super) names: Names,
    /// It can be called.
    pub(super) is_registered: bool,
    /// The current call.
    pub(super) call: Option<Ongoing>,
    /// The commands that the hub has not answered yet.
    unanswered: u32,
}

/// A call.
#[derive(Debug)]
pub(super) struct Ongoing {
    /// The stream's role.
    pub(super) role: Role,
    /// The other side speaks this dialect, too.
    pub(super) is_own: bool,
    /// What comes from a side that does not.
    pub(super) inbound: Inbound,
    is_started: bool,
}

impl Ongoing {
    pub(super) fn new(role: Role, call: &Call) -> Self {
        let is_own = call.dialect == Dialect::Antmedia;
        Self { role, is_own, inbound: Inbound::default(), is_started: false }
    }

    /// Records an answer. Returns the notification for the first one.
    pub(super) fn start(&mut self) -> Option<Definition> {
        let is_first = !std::mem::replace(&mut self.is_started, true);
        self.role.started().filter(|_| is_first)
    }
}

impl Stream {
    /// Starts over in this role.
    pub(super) fn begin(&mut self, uid: &PeerId, role: Role, by_name: bool) -> Request {
        self.role = Some(role);
        self.names = Names { by_name };
        self.unanswered += 1;
        role.request(uid)
    }

    /// Ends what the client does with it. Returns what the hub has to do about it.
    pub(super) fn end(&mut self, uid: &PeerId) -> Option<Request> {
        let role = self.role.take();
        let key = Key::from(uid.as_str());
        let is_known = self.call.take().is_some() || self.is_registered || self.unanswered > 0;
        self.is_registered = false;
        role.filter(|_| is_known).map(|_| Request::Retire { uid: uid.clone(), key })
    }

    /// Counts an answer of the hub. True if it is that to the last command, and still wanted.
    pub(super) fn is_answered(&mut self) -> bool {
        self.unanswered = self.unanswered.saturating_sub(1);
        self.unanswered == 0 && self.role.is_some()
    }

    /// It can be called, and is not in a call.
    pub(super) fn is_waiting(&self) -> bool {
        self.role.is_some() && self.unanswered == 0 && self.is_registered && self.call.is_none()
    }

    /// Neither wanted nor awaiting an answer.
    pub(super) fn is_over(&self) -> bool {
        self.role.is_none() && self.unanswered == 0
    }

    /// The current call, and how to print for it.
    pub(super) fn talk(&mut self) -> Option<(Names, &mut Ongoing)> {
        Some((self.names, self.call.as_mut()?))
    }
}

/// How the client names the stream.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Names {
    /// It knows the stream only by `streamName`.
    pub(super) by_name: bool,
}

impl Names {
    /// A frame for the client.
    pub(super) fn frame(self, uid: &PeerId, reply: &Reply) -> Message {
        Message::Text(self.print(uid, reply))
    }

    /// The text of a frame for the client.
    pub(super) fn print(self, uid: &PeerId, reply: &Reply) -> Utf8Bytes {
        print(reply, Some(uid.as_str()), self.by_name)
    }
}
