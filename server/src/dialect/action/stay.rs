//! A user's stay in a room: who else is there, and what came from whom.

use std::collections::{HashSet, VecDeque};

use async_tungstenite::tungstenite::Utf8Bytes;
use callbin_protocol::{
    PeerId, RoomId, Signal,
    action::{Code, ServerFrame},
};

use super::Fault;
use crate::{bridge::Members, dialect::Dialect, hub::Payload};

/// The most members that are remembered after they left.
const MAX_GONE: usize = 16;

/// The stay.
#[derive(Debug)]
pub(super) struct Stay {
    pub(super) uid: PeerId,
    pub(super) room: RoomId,
    /// The client has sent a heartbeat.
    pub(super) sends_heartbeats: bool,
    /// The other members, at most as many as a room can have.
    members: HashSet<PeerId>,
    /// The members that left, the last one last.
    gone: VecDeque<PeerId>,
    /// What came from members of other dialects.
    foreign: Members,
}

impl Stay {
    pub(super) fn new(uid: PeerId, room: RoomId, members: Vec<PeerId>) -> Self {
        let (gone, foreign) = (VecDeque::new(), Members::default());
        Self { uid, room, sends_heartbeats: false, members: HashSet::from_iter(members), gone, foreign }
    }

    /// A member joined or left.
    pub(super) fn change(&mut self, member: &PeerId, is_there: bool) {
        self.gone.retain(|other| other != member);
        if is_there {
            self.members.insert(member.clone());
            return;
        }
        self.members.remove(member);
        self.foreign.forget(member);
        if self.gone.len() == MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back(member.clone());
    }

    /// The member that a signal is for. Without `to`, it is the only other one.
    pub(super) fn recipient(&self, to: Option<&str>, is_answer: bool) -> Result<PeerId, Fault> {
        if let Some(to) = to {
            let to = PeerId::new(to).map_err(|_| (Code::RecipientNotMember, "no such member in the room"))?;
            return match to == self.uid {
                true => Err((Code::InvalidSignal, "\"to\" is the sender itself")),
                false => Ok(to),
            };
        }
        let mut members = self.members.iter();
        match (members.next(), members.next()) {
            (Some(member), None) => Ok(member.clone()),
            (None, _) if is_answer && !self.gone.is_empty() => {
                Err((Code::UserLeft, "the user has left the room"))
            }
            (None, _) => Err((Code::RecipientNotMember, "nobody else is in the room")),
            _ => Err((Code::InvalidSignal, "\"to\" is missing, and there are several other members")),
        }
    }

    /// Why a signal to someone who is not in the room is refused.
    pub(super) fn absent(&self, id: &str, is_answer: bool) -> Fault {
        match is_answer && self.gone.iter().any(|member| member.as_str() == id) {
            true => (Code::UserLeft, "the user has left the room"),
            false => (Code::RecipientNotMember, "no such member in the room"),
        }
    }

    /// A member's message, as bare signals of this protocol.
    pub(super) fn message(&mut self, from: &PeerId, payload: Payload) -> impl Iterator<Item = Utf8Bytes> {
        let mut signals = Vec::new();
        if payload.dialect() == Dialect::Action {
            signals.push(payload.text().into());
        } else if let Some(signal) = payload.into_signal() {
            let ready = self.foreign.take(from, signal);
            let (room, to) = (&self.room, &self.uid);
            signals.extend(
                ready
                    .filter(is_known)
                    .map(|signal| ServerFrame::Signal { signal: &signal, room, from, to }.to_string().into()),
            );
        }
        signals.into_iter()
    }
}

/// The protocol knows neither requests for offers between peers nor the end of candidates.
fn is_known(signal: &Signal) -> bool {
    match signal {
        Signal::OfferRequest => false,
        Signal::Ice(candidate) => !candidate.is_end(),
        Signal::Sdp { .. } => true,
    }
}
