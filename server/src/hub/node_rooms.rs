//! Rooms whose media go through a media node: carries out what [`NodeRoom`] decides.
//!
//! The sessions of a member are calls of its connection to a node, like those of a publisher or a viewer of any stream, but the
//! connection does not know them: they are its links, and what happens with them goes to the room.

use std::{
    collections::{BTreeMap, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, LazyLock},
};

use callbin_protocol::{PeerId, RoomId, Signal, node::Reason};

use super::{
    About, Change, ConnId, Effect, Hub, Key, Leg, Message, Note, Notice, Payload, Refusal, Refused, Use,
};
use crate::{
    access::Pattern,
    dialect::{Dialect, text},
    node_room::{self, NodeRoom, Peer, Why},
};

/// The most links of one member. Those of a member of a larger room are refused.
pub(super) const MAX_LINKS: usize = 256;

/// The uid that stands for the node. GStreamer's example in Rust takes numbers only.
const UID: &str = "0";

/// The most characters of a room's and of a member's name in the name of a stream.
const MAX_NAME: usize = 64;

/// Which rooms are such rooms.
#[derive(Debug, Clone, Default)]
pub struct NodeRooms(Vec<Pattern>);

impl NodeRooms {
    /// Rooms with these names.
    pub fn new(patterns: Vec<Pattern>) -> Self {
        Self(patterns)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn has(&self, room: &RoomId) -> bool {
        self.0.iter().any(|pattern| pattern.matches(room.as_str()))
    }

    /// Whether no peer may have this uid.
    pub(super) fn reserves(&self, uid: &PeerId) -> bool {
        !self.is_empty() && uid.as_str() == UID
    }

    /// The state of a new room, if it is such a room.
    pub(super) fn begin(&self, room: &RoomId) -> Option<Box<Media>> {
        self.has(room).then(Box::default)
    }
}

/// The state of such a room.
#[derive(Debug, Default)]
pub(super) struct Media {
    machine: NodeRoom,
    members: BTreeMap<PeerId, Seated>,
}

#[derive(Debug)]
struct Seated {
    conn: ConnId,
    stream: PeerId,
}

/// The sessions of a member.
#[derive(Debug, Default)]
pub(super) struct Links {
    pub(super) legs: BTreeMap<Key, Leg>,
    keys: BTreeMap<Peer, Key>,
}

impl Links {
    pub(super) fn insert(&mut self, key: Key, leg: Leg) {
        if let Some(peer) = &leg.link {
            self.keys.insert(peer.clone(), key.clone());
        }
        self.legs.insert(key, leg);
    }

    pub(super) fn remove(&mut self, key: &Key) -> Option<Leg> {
        let leg = self.legs.remove(key)?;
        if let Some(peer) = &leg.link {
            self.keys.remove(peer);
        }
        Some(leg)
    }
}

/// What happens in the room.
impl Hub {
    /// Replaces the names of such rooms. Those that exist stay what they are.
    pub fn set_node_rooms(&mut self, node_rooms: NodeRooms) {
        self.node_rooms = node_rooms;
    }

    /// Whether there can be another member in a room that begins or goes on.
    pub(super) fn permit_node_room(&self, room: &RoomId) -> Result<(), Refusal> {
        let is_node_room = match self.rooms.get(room) {
            Some(room) => room.media.is_some(),
            None => self.node_rooms.has(room),
        };
        // Without a node, members wait for one.
        let is_full = |node: &super::Node| node.is_full(Use::Publish);
        match is_node_room && !self.nodes.is_empty() && self.nodes.values().all(is_full) {
            true => Err(Refusal::NoCapacity),
            false => Ok(()),
        }
    }

    /// The members of a list, and the node if it is one of them.
    pub(super) fn with_node(&self, room: &RoomId, mut members: Vec<PeerId>) -> Vec<PeerId> {
        if self.rooms.get(room).is_some_and(|room| room.media.is_some())
            && let Ok(uid) = PeerId::new(UID)
        {
            members.insert(0, uid);
        }
        members
    }

    /// Whether a message of a member goes to a node, perhaps: it then costs as much as an offer to one.
    pub(super) fn offers_to_node(&self, conn: ConnId, payload: &Payload) -> bool {
        self.node_room_of(conn).is_some()
            && payload
                .clone()
                .into_signal()
                .is_some_and(|signal| signal.is_offer() || signal == Signal::OfferRequest)
    }

    /// The room of a member, if it is such a room.
    pub(super) fn node_room_of(&self, conn: ConnId) -> Option<RoomId> {
        let room = &self.connections.get(&conn)?.seat.as_ref()?.room;
        self.rooms.get(room)?.media.as_ref()?;
        Some(room.clone())
    }

    pub(super) fn join_node_room(&mut self, conn: ConnId, room: &RoomId, uid: &PeerId) {
        let Some(media) = self.rooms.get_mut(room).and_then(|room| room.media.as_mut()) else { return };
        self.last_call += 1;
        let stream = stream_name(room, uid, self.last_call);
        media.machine.joined(uid);
        media.members.insert(uid.clone(), Seated { conn, stream });
    }

    pub(super) fn leave_node_room(&mut self, room: &RoomId, uid: &PeerId, effects: &mut Vec<Effect>) {
        self.steer(room, effects, |machine, steps| machine.left(uid, steps));
        if let Some(media) = self.rooms.get_mut(room).and_then(|room| room.media.as_mut()) {
            media.members.remove(uid);
        }
    }

    /// A message of a member. What is no signal passes as in any room.
    pub(super) fn say_in_node_room(
        &mut self,
        conn: ConnId,
        room: &RoomId,
        to: Option<PeerId>,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(uid) = self.uid(conn) else { return Err(Refusal::NotInRoom) };
        let Some(to) = to else {
            return Err(Refusal::Other("signals in a room of a media node need an address".into()));
        };
        let peer = if to.as_str() == UID { Peer::Node } else { Peer::Member(to.clone()) };
        let addressee = match &peer {
            Peer::Node => None,
            Peer::Member(_) => Some(self.addressee(conn, &to)?),
        };
        let declines = payload.dialect() == Dialect::Text && payload.text().starts_with("ERROR");
        match payload.clone().into_signal() {
            Some(signal) => {
                self.steer(room, effects, |machine, steps| machine.said(&uid, &peer, signal, steps))
            }
            None if declines => {
                self.steer(room, effects, |machine, steps| machine.declined(&uid, &peer, steps))
            }
            None => {
                if let Some(addressee) = addressee {
                    self.send_to(addressee, to, payload, effects);
                }
            }
        }
        Ok(())
    }

    /// The node sent a signal on a link of a member.
    pub(super) fn link_signalled(
        &mut self,
        member: ConnId,
        peer: &Peer,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) {
        let Some(signal) = payload.into_signal() else { return };
        self.steer_member(member, effects, |machine, uid, steps| machine.signalled(uid, peer, signal, steps));
    }

    /// The media of a link's stream arrive, or no longer.
    pub(super) fn link_live(&mut self, member: ConnId, is_live: bool, effects: &mut Vec<Effect>) {
        self.steer_member(member, effects, |machine, uid, steps| match is_live {
            true => machine.live(uid, steps),
            false => machine.silent(uid),
        });
    }

    /// A link of a member is connected.
    pub(super) fn link_connected(&mut self, member: ConnId, peer: &Peer, effects: &mut Vec<Effect>) {
        self.steer_member(member, effects, |machine, uid, _| machine.connected(uid, peer));
    }

    /// A link of a member has ended, and the room did not ask for it.
    pub(super) fn link_ended(
        &mut self,
        member: ConnId,
        peer: &Peer,
        reason: Option<&Refusal>,
        effects: &mut Vec<Effect>,
    ) {
        let why = match reason {
            None | Some(Refusal::Node(Reason::Left)) => Why::Left,
            Some(Refusal::Node(Reason::Failed | Reason::Internal)) => Why::Failed,
            Some(Refusal::Node(Reason::Gone)) => Why::Gone,
            Some(Refusal::Node(Reason::Unacceptable)) => Why::Unacceptable,
            Some(Refusal::NodeLost) => Why::Lost,
            Some(_) => Why::Refused,
        };
        self.steer_member(member, effects, |machine, uid, steps| machine.ended(uid, peer, why, steps));
        // The node has too many offers to read. It can make one itself.
        if reason == Some(&Refusal::NoCapacity)
            && let Some(room) = self.node_room_of(member)
        {
            self.unsettled.push_back(room);
        }
    }

    /// There is a new node: all rooms look for what they could not start, and leave nodes that are about to end.
    pub(super) fn node_came(&mut self) {
        let rooms = self.rooms.iter().filter(|(_, room)| room.media.is_some());
        self.unsettled = rooms.map(|(id, _)| id.clone()).collect();
        self.leave_draining_nodes();
    }

    /// A session has ended: there may be a place for another one.
    pub(super) fn place_is_free(&mut self) {
        self.unsettled.extend(std::mem::take(&mut self.deferred));
    }

    /// If there is another node, the rooms move there.
    pub(super) fn leave_draining_nodes(&mut self) {
        if self.nodes.values().any(|node| !node.is_draining) {
            let draining = self.nodes.iter().filter(|(_, node)| node.is_draining).map(|(conn, _)| *conn);
            self.emptied = draining.collect();
        }
    }

    /// Does some of this work, at a cost of about `most`. A room counts as many as its members.
    pub(super) fn settle_rooms(&mut self, most: &mut usize, effects: &mut Vec<Effect>) {
        while *most > 0
            && let Some(conn) = self.emptied.front().copied()
        {
            *most -= 1;
            match self.link_of_node(conn) {
                Some((member, key, peer)) => {
                    let _ = self.end(member, &key, None, effects);
                    self.link_ended(member, &peer, Some(&Refusal::NodeLost), effects);
                }
                None => drop(self.emptied.pop_front()),
            }
        }
        while *most > 0
            && let Some(room) = self.unsettled.pop_front()
        {
            let members = self.rooms.get(&room).map_or(1, |room| room.len());
            *most = most.saturating_sub(members);
            self.steer(&room, effects, NodeRoom::look_again);
        }
    }

    /// A link that a node has: first those of viewers, so that no stream stays at the node for them.
    fn link_of_node(&self, node: ConnId) -> Option<(ConnId, Key, Peer)> {
        let legs =
            || self.connections.get(&node).into_iter().flat_map(|connection| connection.calls.values());
        let of = |media| legs().find(move |leg| leg.link.is_some() && leg.media == Some(media));
        let leg = of(Use::Play).or_else(|| of(Use::Publish))?;
        Some((leg.partner, leg.partner_key.clone(), leg.link.clone()?))
    }
}

/// What the room decides.
impl Hub {
    fn steer_member(
        &mut self,
        member: ConnId,
        effects: &mut Vec<Effect>,
        decide: impl FnOnce(&mut NodeRoom, &PeerId, &mut Vec<node_room::Effect>),
    ) {
        let (Some(room), Some(uid)) = (self.node_room_of(member), self.uid(member)) else { return };
        self.steer(&room, effects, |machine, steps| decide(machine, &uid, steps));
    }

    fn steer(
        &mut self,
        room: &RoomId,
        effects: &mut Vec<Effect>,
        decide: impl FnOnce(&mut NodeRoom, &mut Vec<node_room::Effect>),
    ) {
        let mut steps = VecDeque::from(self.decide(room, decide));
        while let Some(step) = steps.pop_front() {
            // What follows from a refusal comes before what was to come.
            for next in self.carry_out_step(room, step, effects).into_iter().rev() {
                steps.push_front(next);
            }
        }
    }

    fn decide(
        &mut self,
        room: &RoomId,
        decide: impl FnOnce(&mut NodeRoom, &mut Vec<node_room::Effect>),
    ) -> Vec<node_room::Effect> {
        let has_node = self.nodes.values().any(|node| !node.is_draining);
        let mut steps = Vec::new();
        if let Some(media) = self.rooms.get_mut(room).and_then(|room| room.media.as_mut()) {
            media.machine.set_has_node(has_node);
            decide(&mut media.machine, &mut steps);
        }
        steps
    }

    fn carry_out_step(
        &mut self,
        room: &RoomId,
        step: node_room::Effect,
        effects: &mut Vec<Effect>,
    ) -> Vec<node_room::Effect> {
        match step {
            node_room::Effect::Start { member, peer, is_asked, shows } => {
                return self.start_link(room, (member, peer), is_asked, shows, effects);
            }
            node_room::Effect::Send { member, peer, signal } => {
                if let Some((conn, key)) = self.find_link(room, &member, &peer) {
                    let payload = Payload::new(Dialect::Node, "".into(), signal);
                    let _ = self.signal(conn, &key, payload, effects);
                }
            }
            node_room::Effect::End { member, peer } => {
                if let Some((conn, key)) = self.find_link(room, &member, &peer) {
                    let _ = self.end(conn, &key, None, effects);
                }
            }
            node_room::Effect::Deliver { member, peer, signal } => {
                if let (Some(conn), Some(from)) = (self.seated(room, &member), name(&peer)) {
                    let payload = Payload::new(Dialect::Node, "".into(), signal);
                    self.tell(conn, Notice::Message(Box::new(Message { from, payload })), effects);
                }
            }
            node_room::Effect::Show { member, peer } => {
                if let Some(conn) = self.seated(room, &member) {
                    self.tell_change(conn, &peer, true, effects);
                }
            }
            node_room::Effect::Hide { member, peer } => {
                if let Some(conn) = self.seated(room, &member) {
                    self.tell_change(conn, &peer, false, effects);
                }
            }
        }
        Vec::new()
    }

    fn start_link(
        &mut self,
        room: &RoomId,
        (member, peer): (PeerId, Peer),
        is_asked: bool,
        shows: bool,
        effects: &mut Vec<Effect>,
    ) -> Vec<node_room::Effect> {
        let Some((conn, stream)) = self.stream_of(room, &member, &peer) else { return Vec::new() };
        match self.open_link(conn, &peer, stream, is_asked, effects) {
            Ok(()) if shows => self.tell_change(conn, &peer, true, effects),
            Ok(()) => {}
            Err(refusal) => {
                effects.push(Effect::Note(conn, Note::Refused(member.clone(), refusal.kind())));
                // The others do not get its media: that is worth an error.
                if peer == Peer::Node && !shows {
                    let refused = Refused { about: About::Send, key: Key::default(), refusal, payload: None };
                    self.tell(conn, Notice::Refused(Box::new(refused)), effects);
                }
                self.deferred.insert(room.clone());
                return self.decide(room, |machine, steps| machine.refused(&member, &peer, shows, steps));
            }
        }
        Vec::new()
    }

    /// The connection of a member, and the stream that its link to a peer is about.
    fn stream_of(&self, room: &RoomId, member: &PeerId, peer: &Peer) -> Option<(ConnId, PeerId)> {
        let members = &self.rooms.get(room)?.media.as_ref()?.members;
        let conn = members.get(member)?.conn;
        let publisher = match peer {
            Peer::Node => member,
            Peer::Member(other) => other,
        };
        Some((conn, members.get(publisher)?.stream.clone()))
    }

    fn seated(&self, room: &RoomId, member: &PeerId) -> Option<ConnId> {
        Some(self.rooms.get(room)?.media.as_ref()?.members.get(member)?.conn)
    }

    fn find_link(&self, room: &RoomId, member: &PeerId, peer: &Peer) -> Option<(ConnId, Key)> {
        let conn = self.seated(room, member)?;
        Some((conn, self.connections.get(&conn)?.links.keys.get(peer)?.clone()))
    }

    /// The node's name for the session in which a member publishes, if it is at this node.
    pub(super) fn published_by(&self, member: ConnId, node: ConnId) -> Option<Key> {
        let links = &self.connections.get(&member)?.links;
        let leg = links.legs.get(links.keys.get(&Peer::Node)?)?;
        (leg.partner == node).then(|| leg.partner_key.clone())
    }

    fn tell_change(&mut self, conn: ConnId, peer: &Peer, is_there: bool, effects: &mut Vec<Effect>) {
        let Some(uid) = name(peer) else { return };
        let text = text::change(&uid, is_there);
        self.tell(conn, Notice::Change(Arc::new(Change { uid, is_there, text })), effects);
    }
}

/// The name of a link's other side.
fn name(peer: &Peer) -> Option<PeerId> {
    match peer {
        Peer::Node => PeerId::new(UID).ok(),
        Peer::Member(uid) => Some(uid.clone()),
    }
}

/// The name of a member's stream. It shows operators whose stream it is, and nobody else can guess it.
fn stream_name(room: &RoomId, uid: &PeerId, number: u64) -> PeerId {
    static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    let part = |text: &str| text.chars().take(MAX_NAME).collect::<String>();
    let secret = SECRET.hash_one(number);
    let name = format!("{}/{}/{secret:016x}", part(room.as_str()), part(uid.as_str()));
    PeerId::new(&name).unwrap_or_else(|_| PeerId::guest(number, secret))
}
