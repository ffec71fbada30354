//! The text protocol: `HELLO`, `SESSION`, `ROOM`, and everything else as payload between peers.

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{ClientMessage, ErrorMessage, ParseError, PeerId, ServerMessage, Signal, cut_id};

use super::{Dialect, Step, Translator, to_frame};
use crate::{
    bridge::{Inbound, Members},
    close::CloseReason,
    hub::{About, Card, Key, Notice, Payload, Refusal, Request, Start},
};

/// The state of a connection: almost nothing, because the hub knows what its peer does.
#[derive(Debug, Default)]
pub struct Text {
    /// It asked for a message that names its caller; the base protocol has none.
    wants_caller: bool,
    /// What came from peers of other dialects: from the partner of a session, or from members of a room by their uids.
    foreign: Option<Box<Foreign>>,
}

#[derive(Debug, Default)]
struct Foreign {
    session: Inbound,
    members: Members,
}

impl Text {
    /// A translator for a new connection.
    pub fn new(wants_caller: bool) -> Self {
        Self { wants_caller, foreign: None }
    }

    fn foreign(&mut self) -> &mut Foreign {
        self.foreign.get_or_insert_default()
    }

    /// The payload as texts for this client.
    fn payloads(&mut self, from: Option<&PeerId>, payload: Payload) -> Vec<Utf8Bytes> {
        if payload.dialect() == Dialect::Text {
            return vec![payload.text().into()];
        }
        let Some(signal) = payload.into_signal() else { return Vec::new() };
        let ready = match from {
            None => self.foreign().session.take(signal),
            Some(from) => self.foreign().members.take(from, signal),
        };
        ready.map(|signal| signal.to_string().into()).collect()
    }

    fn forget(&mut self, member: &PeerId) {
        if let Some(foreign) = &mut self.foreign {
            foreign.members.forget(member);
        }
    }
}

impl Translator for Text {
    fn dialect(&self) -> Dialect {
        Dialect::Text
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        steps.push(Step::Ask(request(&frame)));
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        let message = match notice {
            Notice::Registered(_) => ServerMessage::Hello,
            Notice::Called(call) if call.is_caller => ServerMessage::SessionOk,
            Notice::Called(call) => {
                if self.wants_caller {
                    frames.push(to_frame(&ServerMessage::Caller(call.peer)));
                }
                if call.is_asked {
                    frames.push(Message::text(Signal::OfferRequest.to_string()));
                }
                return;
            }
            Notice::Refused(refused) => match error(refused.refusal) {
                Some(error) => ServerMessage::Error(error),
                None => return,
            },
            Notice::Signal(signal) => {
                let texts = self.payloads(None, signal.payload);
                return frames.extend(texts.into_iter().map(Message::Text));
            }
            Notice::Joined(joined) => ServerMessage::RoomOk(joined.members),
            Notice::Change(change) => {
                if !change.is_there {
                    self.forget(&change.uid);
                }
                return frames.push(Message::Text(change.text.clone()));
            }
            Notice::Message(message) => {
                let from = message.from;
                return for msg in self.payloads(Some(&from), message.payload) {
                    let msg = msg.as_str().into();
                    frames.push(to_frame(&ServerMessage::RoomPeerMsg { from: from.clone(), msg }));
                };
            }
            Notice::Members(members) => ServerMessage::RoomPeerList(members),
            // Its connection is closed instead.
            Notice::Ended(_) => return,
            // It asks no such questions.
            Notice::Found(_) | Notice::Peers(_) | Notice::Presence(_) | Notice::Attached => return,
        };
        frames.push(to_frame(&message));
    }
}

/// The text of a change in a room. All its members get the same text, so it is made once.
pub fn change(uid: &PeerId, is_there: bool) -> Utf8Bytes {
    let message = match is_there {
        true => ServerMessage::RoomPeerJoined(uid.clone()),
        false => ServerMessage::RoomPeerLeft(uid.clone()),
    };
    message.to_string().into()
}

/// The request in a frame. What it means in the peer's state is decided by the hub: in a session, every frame is payload.
pub fn request(frame: &Message) -> Request {
    let Message::Text(text) = frame else { return Request::Close(CloseReason::BinaryFrame) };
    match ClientMessage::parse(text) {
        Ok(ClientMessage::Hello(uid)) => Request::Register { uid, card: Card::default() },
        Ok(ClientMessage::Session(to)) => Request::Call {
            key: Key::default(),
            to,
            from: None,
            start: Start::AtOnce,
            media: None,
            only: None,
        },
        Ok(ClientMessage::Room(room)) => Request::Join(room),
        Ok(ClientMessage::RoomPeerMsg { to, msg }) => {
            let start = text.len() - msg.len();
            Request::Send { to: Some(to), hint: None, payload: Payload::text_from(text.clone(), start) }
        }
        Ok(ClientMessage::RoomPeerList) => Request::Members,
        Err(ParseError::InvalidUid(_)) => {
            Request::Reject { about: About::Register, refusal: Refusal::UidInvalid }
        }
        Err(ParseError::InvalidCallee(id)) => {
            Request::Reject { about: About::Call, refusal: Refusal::PeerNotFound(cut_id(&id).into()) }
        }
        Err(ParseError::InvalidRoom(id)) => {
            Request::Reject { about: About::Join, refusal: Refusal::InvalidRoomId(cut_id(&id).into()) }
        }
        Err(ParseError::InvalidAddressee(id)) => {
            Request::Reject { about: About::Send, refusal: Refusal::PeerNotFound(cut_id(&id).into()) }
        }
        Err(ParseError::UnknownVerb | ParseError::NoMessage(_)) => Request::Unknown,
    }
}

/// The error for a refusal. `None`: the connection is closed instead.
fn error(refusal: Refusal) -> Option<ErrorMessage> {
    Some(match refusal {
        Refusal::PeerNotFound(id) => ErrorMessage::PeerNotFound(id),
        Refusal::PeerBusy(id) => ErrorMessage::PeerBusy(id),
        Refusal::PeerNotInRoom(id) => ErrorMessage::PeerNotInRoom(id),
        Refusal::InvalidRoomId(id) => ErrorMessage::InvalidRoomId(id),
        Refusal::AlreadyInRoom => ErrorMessage::AlreadyInRoom,
        Refusal::RoomFull(id) => ErrorMessage::RoomFull(id),
        Refusal::TooManyRooms => ErrorMessage::TooManyRooms,
        Refusal::TooManySessions => ErrorMessage::TooManySessions,
        Refusal::Unavailable => ErrorMessage::Other("not available".into()),
        // In a room of a media node.
        Refusal::NoCapacity | Refusal::TooManyStreams => ErrorMessage::Other(refusal.kind().into()),
        Refusal::Other(text) => ErrorMessage::Other(text),
        Refusal::UidInvalid
        | Refusal::UidTaken
        | Refusal::UidNotAllowed
        | Refusal::NotInRoom
        | Refusal::NoSuchCall
        | Refusal::TooManyIds
        | Refusal::TooManyWatchers
        | Refusal::NobodyOffers
        | Refusal::StreamNotAllowed
        | Refusal::TooManyViewers
        | Refusal::Node(_)
        | Refusal::NodeLost
        | Refusal::Replaced => return None,
    })
}

/// The longest list of names, as the text protocol writes it: clients have to read it as one message.
pub fn list_len(names: usize) -> usize {
    "ROOM_PEER_LIST ".len() + names
}
