//! JSON rooms: connecting to `/ws/rooms/<room>/` is joining, and every signal goes to the other members.

mod exchange;

use async_tungstenite::tungstenite::{Message, Utf8Bytes};
use callbin_protocol::{
    PeerId, RoomId,
    rooms::{ClientFrame, ServerFrame, with_sender},
};
use percent_encoding::percent_decode_str;

use self::exchange::{Exchange, Others};
use super::{Dialect, Opening, Step, Translator, to_frame};
use crate::{
    bridge::Members,
    close::CloseReason,
    hub::{self, About, Card, Flow, Notice, Payload, Refusal, Request},
};

/// A connection of a member.
#[derive(Debug)]
pub struct Rooms {
    /// Its id. `None`: the one it wants is invalid.
    uid: Option<PeerId>,
    /// Its room. `None`: the path names none.
    room: Option<RoomId>,
    /// It wants to know who joins and leaves.
    wants_notices: bool,
    /// It is refused. Nothing is sent after the error.
    is_refused: bool,
    /// What follows from the last notice.
    next: Option<Request>,
    exchange: Exchange,
    /// What came from members of other dialects.
    foreign: Members,
}

impl Rooms {
    /// A translator for a new connection.
    pub fn new(opening: &Opening) -> Self {
        let name = opening.query("username");
        let by_token = || opening.identity.as_deref().and_then(|subject| PeerId::new(subject).ok());
        let uid = match name {
            Some(name) => PeerId::new(&name).ok(),
            None => by_token().or_else(|| Some(hub::guest(opening.number))),
        };
        let room = percent_decode_str(&opening.rest).decode_utf8().ok();
        Self {
            uid,
            room: room.and_then(|room| RoomId::new(&room).ok()),
            wants_notices: opening.query("notices").is_some_and(|value| value == "1"),
            is_refused: false,
            next: None,
            exchange: Exchange::default(),
            foreign: Members::default(),
        }
    }

    /// The request in a frame, or the code and the message of its error.
    fn request(&mut self, frame: Utf8Bytes) -> Result<Request, (&'static str, String)> {
        let parsed = ClientFrame::parse(&frame).map_err(|error| ("invalid_message", error.to_string()))?;
        let ClientFrame { signal, to, cleaned } = parsed;
        let to = match to {
            // A message to oneself is for no other member.
            Some(to) => {
                let to = PeerId::new(&to).ok().filter(|to| self.uid.as_ref() != Some(to));
                Some(to.ok_or_else(no_member)?)
            }
            None => None,
        };
        let hint = match &to {
            Some(to) => {
                self.exchange.sent_to(to, &signal);
                None
            }
            None => match self.exchange.sent_to_all(&signal) {
                Others::All => None,
                Others::One(member) => Some(member),
                // It is not among the others itself.
                Others::None => self.uid.clone(),
            },
        };
        let frame = cleaned.map_or(frame, Into::into);
        Ok(Request::Send { to, hint, payload: Payload::new(Dialect::Rooms, frame, signal) })
    }

    /// A member's message as frames of this client.
    fn message(&mut self, from: &PeerId, payload: Payload) -> Vec<Message> {
        let is_own = payload.dialect() == Dialect::Rooms;
        let verbatim = is_own.then(|| Message::text(with_sender(payload.text(), from)));
        let Some(signal) = payload.into_signal() else { return Vec::new() };
        if signal.is_offer() {
            self.exchange.got_offer(from);
        }
        match verbatim {
            Some(frame) => vec![frame],
            None => {
                let signals = self.foreign.take(from, signal);
                signals
                    .map(|signal| to_frame(&ServerFrame::Signal { signal: &signal, sender: from }))
                    .collect()
            }
        }
    }

    fn left(&mut self, member: &PeerId) {
        self.foreign.forget(member);
        self.exchange.left(member);
    }

    /// The error for a refusal. Without its id or its room the connection is of no use.
    fn refused(&mut self, refused: hub::Refused) -> Message {
        let (code, message) = explain(&refused.refusal);
        let reason = match (refused.about, &refused.refusal) {
            (About::Register | About::Join, Refusal::Unavailable) => Some(CloseReason::Unavailable),
            (About::Register, Refusal::UidNotAllowed | Refusal::Other(_)) => Some(CloseReason::UidNotAllowed),
            (About::Register, _) => Some(CloseReason::InvalidUid),
            (About::Join, _) => Some(CloseReason::NotJoined),
            _ => None,
        };
        if let Some(reason) = reason {
            self.is_refused = true;
            self.next = Some(Request::Close(reason));
        }
        to_frame(&ServerFrame::Error { code, message })
    }
}

impl Translator for Rooms {
    fn dialect(&self) -> Dialect {
        Dialect::Rooms
    }

    fn open(&mut self, steps: &mut Vec<Step>) {
        let (problem, reason) = match (&self.uid, &self.room) {
            (Some(uid), Some(room)) => {
                let register = Request::Register {
                    uid: uid.clone(),
                    card: Card { flow: Flow::None, ..Card::default() },
                };
                return steps.extend([register, Request::Join(room.clone())].map(Step::Ask));
            }
            (None, _) => (Refusal::UidInvalid, CloseReason::InvalidUid),
            (_, None) => (Refusal::InvalidRoomId(String::new()), CloseReason::NotJoined),
        };
        self.is_refused = true;
        let (code, message) = explain(&problem);
        steps.push(refuse(code, message));
        steps.push(Step::Ask(Request::Close(reason)));
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        if self.is_refused {
            return;
        }
        let Message::Text(frame) = frame else {
            return steps.push(refuse("invalid_message", "not a text frame"));
        };
        steps.push(match self.request(frame) {
            Ok(request) => Step::Ask(request),
            Err((code, message)) => refuse(code, &message),
        });
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        if self.is_refused {
            return;
        }
        match notice {
            Notice::Joined(joined) => {
                if let (true, Some(uid)) = (self.wants_notices, &self.uid) {
                    frames.push(to_frame(&ServerFrame::Room { you: uid, members: &joined.members }));
                }
            }
            Notice::Change(change) => {
                if !change.is_there {
                    self.left(&change.uid);
                }
                if self.wants_notices {
                    frames.push(to_frame(&match change.is_there {
                        true => ServerFrame::Joined(&change.uid),
                        false => ServerFrame::Left(&change.uid),
                    }));
                }
            }
            Notice::Message(message) => frames.extend(self.message(&message.from, message.payload)),
            Notice::Refused(refused) => frames.push(self.refused(*refused)),
            // Someone called before it had joined.
            Notice::Called(call) => self.next = Some(Request::End(call.key)),
            // The rest is about calls and lists, which it never asks for.
            _ => {}
        }
    }

    fn follow(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.next.take().map(Step::Ask));
    }
}

fn refuse(code: &'static str, message: &str) -> Step {
    Step::Refuse(code, ServerFrame::Error { code, message }.to_string().into())
}

fn no_member() -> (&'static str, String) {
    let refusal = Refusal::PeerNotFound(String::new());
    let (code, message) = explain(&refusal);
    (code, message.into())
}

/// A refusal for programs and for people. It never quotes an id: the client knows what it sent.
fn explain(refusal: &Refusal) -> (&'static str, &str) {
    match refusal {
        Refusal::UidInvalid => ("username_invalid", "the username is empty, too long or has white space"),
        Refusal::UidTaken => ("username_taken", "the username is taken"),
        Refusal::UidNotAllowed => ("username_not_allowed", "the token does not allow this username"),
        Refusal::PeerNotFound(_) | Refusal::PeerNotInRoom(_) => {
            ("member_not_found", "no such member in this room")
        }
        Refusal::InvalidRoomId(_) => ("room_not_allowed", "the room's name is invalid or not allowed"),
        Refusal::RoomFull(_) => ("room_full", "the room is full"),
        Refusal::TooManyRooms => ("too_many_rooms", "too many rooms were created from here"),
        Refusal::NotInRoom | Refusal::AlreadyInRoom => ("not_in_room", "not in the room"),
        Refusal::Unavailable => ("unavailable", "not available, try again later"),
        Refusal::Other(text) => ("refused", text),
        _ => ("refused", refusal.kind()),
    }
}

#[cfg(test)]
mod tests;
