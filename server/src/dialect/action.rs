//! `action`/`data` envelopes, for rooms of peers that send media to each other themselves (`p2p`).

mod stay;

use std::time::Duration;

use async_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use callbin_protocol::{
    Candidate, PeerId, RoomId, SdpType, Signal,
    action::{Channel, ClientFrame, Code, InvalidFrame, ServerFrame, Verb},
};
use serde_json::Value;

use self::stay::Stay;
use super::{Dialect, Opening, Step, Translator, to_frame};
use crate::{
    close::CloseReason,
    hub::{About, Card, Flow, Notice, Payload, Refusal, Refused, Request},
};

/// A client that sends heartbeats is offline after this time without a frame.
const OFFLINE: Duration = Duration::from_secs(10);

/// The most members in the acknowledgement of a JOIN: clients need not read longer messages than 128 KB.
const MAX_LISTED: usize = 64;

/// A client's connection.
#[derive(Debug)]
pub struct Action {
    /// Its token allows it to send OFFER.
    can_offer: bool,
    stage: Stage,
    /// What follows from the last notice.
    next: Option<Request>,
}

#[derive(Debug)]
enum Stage {
    /// In no room.
    Out {
        /// The room that it left last.
        left: Option<RoomId>,
    },
    /// A JOIN is not acknowledged yet.
    Joining(Box<Joining>),
    /// In a room.
    In(Box<Stay>),
}

/// A JOIN that is not acknowledged yet.
#[derive(Debug)]
struct Joining {
    uid: PeerId,
    room: RoomId,
    /// Its signal.
    data: Utf8Bytes,
    /// Its id is refused. The hub refuses the join next.
    is_refused: bool,
    ice_servers: Vec<Value>,
}

/// Why a signal is refused.
type Fault = (Code, &'static str);

impl Action {
    /// A translator for a new connection.
    pub fn new(opening: &Opening) -> Self {
        Self { can_offer: opening.can_call, stage: Stage::Out { left: None }, next: None }
    }

    fn carry_out(
        &mut self,
        text: &Utf8Bytes,
        frame: ClientFrame<'_>,
        steps: &mut Vec<Step>,
    ) -> Result<(), Fault> {
        match frame.channel {
            Some(Channel::M2m | Channel::A2m) => {
                return Err((Code::UnsupportedChannel, "this server has p2p rooms only"));
            }
            _ if frame.verb == Verb::Watch => {
                return Err((Code::UnsupportedChannel, "in p2p rooms the peers offer"));
            }
            _ => {}
        }
        match frame.verb {
            Verb::Join => self.join(part(text, frame.data), &frame, steps),
            Verb::Heartbeat => self.beat(&frame, steps),
            Verb::Leave => self.leave(&frame, steps),
            Verb::Kick => Err((Code::PermissionNotFound, "no user may remove another")),
            Verb::Offer | Verb::Answer | Verb::Ice | Verb::Watch => {
                let request = self.send(part(text, frame.data), frame)?;
                steps.push(Step::Ask(request));
                Ok(())
            }
        }
    }

    fn join(&mut self, data: Utf8Bytes, frame: &ClientFrame<'_>, steps: &mut Vec<Step>) -> Result<(), Fault> {
        if !matches!(self.stage, Stage::Out { .. }) {
            return Err((Code::InvalidSignal, "already in a room, or joining one"));
        }
        let (uid, room) = (frame.user.as_deref(), frame.room.as_deref());
        let uid = uid.and_then(|uid| PeerId::new(uid).ok());
        let uid = uid.ok_or((Code::InvalidSignal, "the userId is empty, too long or has white space"))?;
        let room = room.and_then(|room| RoomId::new(room).ok());
        let room =
            room.ok_or((Code::InvalidSignal, "the rid is empty, reserved, too long or has white space"))?;
        let register =
            Request::Register { uid: uid.clone(), card: Card { flow: Flow::None, ..Card::default() } };
        steps.extend([register, Request::Join(room.clone())].map(Step::Ask));
        steps.push(Step::IceServers);
        let joining = Joining { uid, room, data, is_refused: false, ice_servers: Vec::new() };
        self.stage = Stage::Joining(Box::new(joining));
        Ok(())
    }

    fn beat(&mut self, frame: &ClientFrame<'_>, steps: &mut Vec<Step>) -> Result<(), Fault> {
        let stay = self.stay(frame)?;
        stay.sends_heartbeats = true;
        if frame.send_ack {
            steps.push(Step::Say(ServerFrame::Alive(frame.beat).to_string().into()));
        }
        Ok(())
    }

    fn leave(&mut self, frame: &ClientFrame<'_>, steps: &mut Vec<Step>) -> Result<(), Fault> {
        let room = self.stay(frame)?.room.clone();
        self.go(steps);
        steps.push(Step::Say(ServerFrame::Left(&room).to_string().into()));
        Ok(())
    }

    /// Leaves the room, and gives the id back.
    fn go(&mut self, steps: &mut Vec<Step>) {
        if let Stage::In(stay) = &self.stage {
            steps.extend([Request::Leave, Request::Unregister(stay.uid.clone())].map(Step::Ask));
            self.stage = Stage::Out { left: Some(stay.room.clone()) };
        }
    }

    fn send(&mut self, data: Utf8Bytes, frame: ClientFrame<'_>) -> Result<Request, Fault> {
        let can_offer = self.can_offer;
        let stay = self.stay(&frame)?;
        if frame.verb == Verb::Offer && !can_offer {
            return Err((Code::PermissionNotFound, "the token does not allow to send OFFER"));
        }
        let is_answer = frame.verb == Verb::Answer;
        let to = stay.recipient(frame.to.as_deref(), is_answer)?;
        let sdp = frame.sdp.unwrap_or_default();
        let signal = match frame.verb {
            Verb::Offer => Signal::Sdp { kind: SdpType::Offer, sdp },
            Verb::Answer => Signal::Sdp { kind: SdpType::Answer, sdp },
            _ => Signal::Ice(Candidate { candidate: sdp, ..Candidate::default() }),
        };
        Ok(Request::Send { to: Some(to), hint: None, payload: Payload::new(Dialect::Action, data, signal) })
    }

    /// The stay in the room that the signal names, as the user that it names.
    fn stay(&mut self, frame: &ClientFrame<'_>) -> Result<&mut Stay, Fault> {
        let room = frame.room.as_deref();
        match &mut self.stage {
            Stage::In(stay) if room.is_none_or(|room| room == stay.room.as_str()) => {
                // Recipients get the signal as it is, so it must not name another sender.
                match frame.user.as_deref().is_none_or(|user| user == stay.uid.as_str()) {
                    true => Ok(stay),
                    false => Err((Code::InvalidSignal, "the userId is not the one that joined")),
                }
            }
            Stage::Joining(joining) if room.is_none_or(|room| room == joining.room.as_str()) => {
                Err((Code::RoomNotFound, "the JOIN is not acknowledged yet"))
            }
            // Only these have a code for it.
            Stage::Out { left: Some(left) }
                if matches!(frame.verb, Verb::Answer | Verb::Heartbeat)
                    && room.is_none_or(|room| room == left.as_str()) =>
            {
                Err((Code::UserLeft, "you have left the room"))
            }
            _ => Err((Code::RoomNotFound, "you are not in this room")),
        }
    }

    /// The error for a refusal of the hub. `None`: another error went before.
    fn refused(&mut self, refused: Refused) -> Option<Message> {
        if let Some(payload) = refused.payload {
            return Some(self.undelivered(payload, &refused.refusal));
        }
        let Stage::Joining(joining) = &mut self.stage else { return None };
        let was_refused = joining.is_refused;
        let (code, message) = explain(&refused.refusal);
        let verb = Some(Verb::Join);
        let frame = to_frame(&ServerFrame::Error { code, verb, data: Some(&joining.data), message });
        match refused.about {
            About::Register => joining.is_refused = true,
            _ => {
                self.next = (!was_refused).then(|| Request::Unregister(joining.uid.clone()));
                self.stage = Stage::Out { left: None };
            }
        }
        (!was_refused).then_some(frame)
    }

    fn undelivered(&self, payload: Payload, refusal: &Refusal) -> Message {
        let data = payload.text().to_owned();
        let verb = payload.into_signal().as_ref().and_then(Verb::of);
        let (code, message) = match (&self.stage, refusal) {
            (_, Refusal::NotInRoom) => (Code::RoomNotFound, "you are not in this room"),
            (Stage::In(stay), Refusal::PeerNotFound(id) | Refusal::PeerNotInRoom(id)) => {
                stay.absent(id, verb == Some(Verb::Answer))
            }
            _ => explain(refusal),
        };
        to_frame(&ServerFrame::Error { code, verb, data: Some(&data), message })
    }
}

impl Translator for Action {
    fn dialect(&self) -> Dialect {
        Dialect::Action
    }

    fn read(&mut self, frame: Message, steps: &mut Vec<Step>) {
        let Message::Text(text) = frame else {
            return steps.push(refuse(Code::InvalidSignal, None, None, "not a text frame"));
        };
        // Its first frame may have come on the path of another dialect, with other limits.
        if Dialect::Action.max_sizes().is_some_and(|(_, message)| text.len() > message) {
            return steps.push(Step::Ask(Request::Close(CloseReason::TooBig)));
        }
        match ClientFrame::parse(&text) {
            Ok(frame) => {
                let (verb, data) = (frame.verb, frame.data);
                if let Err((code, message)) = self.carry_out(&text, frame, steps) {
                    steps.push(refuse(code, Some(verb), Some(data), message));
                }
            }
            Err(InvalidFrame { data, verb, message }) => {
                steps.push(refuse(Code::InvalidSignal, verb, data, message));
            }
        }
    }

    fn write_ice_servers(&mut self, servers: &[Value], _: &mut Vec<Message>) {
        if let Stage::Joining(joining) = &mut self.stage {
            joining.ice_servers = servers.to_vec();
        }
    }

    fn write(&mut self, notice: Notice, frames: &mut Vec<Message>) {
        match notice {
            Notice::Joined(joined) => {
                let Stage::Joining(joining) = &mut self.stage else { return };
                let members = joined.members.get(..MAX_LISTED).unwrap_or(&joined.members);
                let (can_offer, ice_servers) = (self.can_offer, std::mem::take(&mut joining.ice_servers));
                frames.push(to_frame(&ServerFrame::Joined {
                    room: &joined.room,
                    members,
                    can_offer,
                    ice_servers: &ice_servers,
                }));
                let stay = Stay::new(joining.uid.clone(), joined.room, joined.members);
                self.stage = Stage::In(Box::new(stay));
            }
            Notice::Change(change) => {
                let Stage::In(stay) = &mut self.stage else { return };
                stay.change(&change.uid, change.is_there);
                frames.push(to_frame(&match change.is_there {
                    true => ServerFrame::MemberJoined(&stay.room, &change.uid),
                    false => ServerFrame::MemberLeft(&stay.room, &change.uid),
                }));
            }
            Notice::Message(message) => {
                let Stage::In(stay) = &mut self.stage else { return };
                frames.extend(stay.message(&message.from, message.payload).map(Message::Text));
            }
            Notice::Refused(refused) => frames.extend(self.refused(*refused)),
            // Someone called before it had joined.
            Notice::Called(call) => self.next = Some(Request::End(call.key)),
            // The rest is about calls and lists, which it never asks for.
            _ => {}
        }
    }

    fn follow(&mut self, steps: &mut Vec<Step>) {
        steps.extend(self.next.take().map(Step::Ask));
    }

    fn silence(&self) -> Option<Duration> {
        matches!(&self.stage, Stage::In(stay) if stay.sends_heartbeats).then_some(OFFLINE)
    }

    fn lapse(&mut self, steps: &mut Vec<Step>) {
        self.go(steps);
        steps.push(refuse(
            Code::UserLeft,
            Some(Verb::Heartbeat),
            None,
            "no heartbeat for 10 s: you have left the room",
        ));
    }
}

/// The part of a frame, without a copy.
fn part(frame: &Utf8Bytes, part: &str) -> Utf8Bytes {
    let bytes: &Bytes = frame.as_ref();
    Utf8Bytes::try_from(bytes.slice_ref(part.as_bytes())).unwrap_or_default()
}

fn refuse(code: Code, verb: Option<Verb>, data: Option<&str>, message: &str) -> Step {
    let kind = match code {
        Code::UnsupportedChannel => "unsupported channel",
        Code::RoomNotFound => "not in the room",
        Code::RecipientNotMember => "peer is not in the room",
        Code::UserLeft => "user left",
        Code::PermissionNotFound => "not allowed",
        Code::Ok | Code::Internal | Code::InvalidSignal => "invalid signal",
    };
    Step::Refuse(kind, ServerFrame::Error { code, verb, data, message }.to_string().into())
}

/// The hub's refusal of a JOIN.
fn explain(refusal: &Refusal) -> (Code, &str) {
    match refusal {
        Refusal::UidInvalid => (Code::InvalidSignal, "the userId is empty, too long or has white space"),
        Refusal::UidTaken => (Code::InvalidSignal, "the userId is taken"),
        Refusal::UidNotAllowed => (Code::PermissionNotFound, "the token does not allow this userId"),
        Refusal::InvalidRoomId(_) => (Code::PermissionNotFound, "the token does not allow this room"),
        Refusal::Other(message) => (Code::PermissionNotFound, message),
        Refusal::NotInRoom => (Code::RoomNotFound, "you are not in this room"),
        Refusal::PeerNotFound(_) | Refusal::PeerNotInRoom(_) => {
            (Code::RecipientNotMember, "no such member in the room")
        }
        Refusal::RoomFull(_) => (Code::Internal, "the room is full"),
        Refusal::TooManyRooms => (Code::Internal, "too many rooms were created from here"),
        Refusal::Unavailable => (Code::Internal, "not available, try again later"),
        _ => (Code::Internal, refusal.kind()),
    }
}

#[cfg(test)]
mod tests;
