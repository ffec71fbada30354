//! What the hub knows of other nodes: members of its rooms there, and which requests another node may have to answer.
//! A call with a peer elsewhere is a call with a stand-in: a connection without a socket that represents it.

use std::{collections::HashSet, sync::Arc};

use async_tungstenite::tungstenite;
use callbin_protocol::{PeerId, RoomId};

use super::{
    Ability, About, ConnId, Connection, Effect, Hub, Key, Message, Notice, Only, Payload, Reached, Refusal,
    Refused, Request, Room, Use,
};
use crate::{close::CloseReason, delivery::payload::Side, dialect::Dialect};

/// The name of another node, which the hub only compares.
pub type NodeName = Arc<str>;

/// A member of a room, connected to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarMember {
    /// Its uid.
    pub uid: PeerId,
    /// Its node.
    pub node: NodeName,
    /// What it speaks.
    pub dialect: Dialect,
}

/// What a join knows of the members of its room on other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Elsewhere {
    /// No other node takes part.
    Unordered,
    /// It is ordered among those of all nodes, and the members are as the room has them.
    Known,
    /// It is ordered among those of all nodes, and these are the members.
    Are(Vec<FarMember>),
}

/// A message between members of a room on different nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarMessage {
    /// The room.
    pub room: RoomId,
    /// The sender.
    pub from: PeerId,
    /// The receiver. `None`: all members there.
    pub to: Option<PeerId>,
    /// Of the members that speak another dialect, only this one gets a message to all. `None`: all of them.
    pub hint: Option<PeerId>,
    /// The message.
    pub payload: Payload,
}

/// What other nodes have to do with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// The uid has to be free everywhere.
    Register(PeerId),
    /// The uid has to be free everywhere, or its peer elsewhere is called.
    Meet {
        /// The caller's name.
        from: PeerId,
        /// The uid.
        uid: PeerId,
    },
    /// A peer elsewhere has to answer, if there is one.
    Ask {
        /// The caller's name.
        from: PeerId,
        /// The callee.
        to: PeerId,
        /// The caller takes no call itself meanwhile.
        is_exclusive: bool,
    },
    /// The node that has the stream of this name has to answer, or else one that can take it.
    Publish {
        /// The publisher's name.
        from: PeerId,
        /// The stream.
        to: PeerId,
    },
    /// The join has to be ordered.
    Join(RoomId, PeerId),
    /// The list of all nodes.
    List,
    /// A message to a uid that is not in the room: whether it exists elsewhere decides about the error.
    Find(PeerId),
    /// It is refused without a request to another node.
    Refuse(Refusal),
}

impl Hub {
    /// From now on, there are other nodes.
    pub fn set_shared(&mut self) {
        self.is_shared = true;
    }

    pub(super) fn share(&self, effect: Effect, effects: &mut Vec<Effect>) {
        if self.is_shared {
            effects.push(effect);
        }
    }

    /// What other nodes have to do with a request before it is carried out. `None`: nothing.
    pub fn plan(&self, conn: ConnId, request: &Request) -> Option<Plan> {
        let connection = self.connections.get(&conn)?;
        if connection.dialect.is_single() {
            // In a call, it is payload.
            let is_greeting = matches!(request, Request::Register { .. });
            if !connection.calls.is_empty() || connection.uids.is_empty() != is_greeting {
                return None;
            }
        }
        match request {
            Request::Register { uid, .. } if self.permit(connection, uid).is_ok() => {
                Some(Plan::Register(uid.clone()))
            }
            Request::Meet { uid, card, only, .. } if !self.uids.contains_key(uid) => {
                if let Some(media) = self.wants_stream(uid, card.flow.media()) {
                    return self.plan_stream(conn, connection, (uid, media), None, *only);
                }
                match only {
                    Some(Only::Stream) => None,
                    Some(Only::Peer) => Some(self.plan_ask(conn, connection, uid, None)),
                    _ if self.permit(connection, uid).is_err() => None,
                    _ => Some(Plan::Meet { from: connection.name(conn), uid: uid.clone() }),
                }
            }
            Request::Call { to, from, media, only, .. } if !self.uids.contains_key(to) => {
                if let Some(media) = self.wants_stream(to, *media) {
                    return self.plan_stream(conn, connection, (to, media), from.as_ref(), *only);
                }
                Some(self.plan_ask(conn, connection, to, from.as_ref()))
            }
            Request::Find { uid, .. } if !self.uids.contains_key(uid) => {
                Some(self.plan_ask(conn, connection, uid, None))
            }
            Request::List(_) if self.may(conn, Ability::Call) => Some(Plan::List),
            Request::Join(room) if connection.is_idle() && connection.grant.allows_room(room) => {
                Some(Plan::Join(room.clone(), connection.uid()?.clone()))
            }
            Request::Send { to: Some(to), .. } if !self.uids.contains_key(to) => {
                let room = self.rooms.get(&connection.seat.as_ref()?.room)?;
                let asks = room.far(to).is_none() && self.may(conn, Ability::Call);
                asks.then(|| Plan::Find(to.clone()))
            }
            _ => None,
        }
    }

    /// The notices of a join that is done, see [`Hub::fan_out`]: the members on other nodes are known then.
    pub fn join_price(&self, conn: ConnId) -> usize {
        let seat = self.connections.get(&conn).and_then(|connection| connection.seat.as_ref());
        let room = seat.and_then(|seat| self.rooms.get(&seat.room));
        room.map_or(0, |room| 2 * room.len().saturating_sub(1))
    }

    /// Whether a message goes to members of a room on other nodes.
    pub fn reaches_far(&self, conn: ConnId, request: &Request) -> bool {
        let seat = self.connections.get(&conn).and_then(|connection| connection.seat.as_ref());
        let Some(room) = seat.and_then(|seat| self.rooms.get(&seat.room)) else { return false };
        match request {
            Request::Send { to: Some(to), .. } => room.far(to).is_some(),
            Request::Send { to: None, .. } => room.far_members().next().is_some(),
            _ => false,
        }
    }

    fn wants_stream(&self, name: &PeerId, media: Option<Use>) -> Option<Use> {
        self.stream_wanted(name, media, None).ok().flatten()
    }

    /// Another server may have the stream, or a peer of this name. `None`: it is here, or the request is refused here.
    fn plan_stream(
        &self,
        conn: ConnId,
        connection: &Connection,
        (name, media): (&PeerId, Use),
        from: Option<&PeerId>,
        only: Option<Only>,
    ) -> Option<Plan> {
        let is_other = matches!(only, Some(Only::Peer | Only::Register));
        if is_other || self.streams.contains_key(name) || !connection.grant.permits(media, name) {
            return None;
        }
        self.permit_call(connection).ok()?;
        let from = match from.cloned() {
            Some(from) => self.may_be(conn, connection, from).ok()?,
            None => connection.name(conn),
        };
        let to = name.clone();
        Some(match media {
            Use::Publish => Plan::Publish { from, to },
            Use::Play => Plan::Ask { from, to, is_exclusive: false },
        })
    }

    /// Whether media nodes are attached to other servers.
    pub fn set_far_media(&mut self, has_far_media: bool) {
        self.has_far_media = has_far_media;
    }

    fn plan_ask(&self, conn: ConnId, connection: &Connection, to: &PeerId, from: Option<&PeerId>) -> Plan {
        // The same answer as for a uid that does not exist.
        if !self.may(conn, Ability::Call) {
            return Plan::Refuse(Refusal::PeerNotFound(to.to_string()));
        }
        if let Err(refusal) = self.check_caller(connection) {
            return Plan::Refuse(refusal);
        }
        let from = match from.cloned().map(|from| self.may_be(conn, connection, from)) {
            Some(Err(refusal)) => return Plan::Refuse(refusal),
            Some(Ok(from)) => from,
            None => connection.name(conn),
        };
        Plan::Ask { from, to: to.clone(), is_exclusive: connection.dialect.is_single() }
    }

    /// Pings the peers that a connection talks with.
    pub fn probe_partners(&self, conn: ConnId, effects: &mut Vec<Effect>) {
        let calls = self.connections.get(&conn).into_iter().flat_map(|connection| connection.calls.values());
        effects.extend(calls.map(|leg| Effect::Probe(leg.partner)));
    }

    /// A stand-in's peer has lost its call for this reason.
    pub fn end_far(&mut self, conn: ConnId, key: &Key, reason: Refusal, effects: &mut Vec<Effect>) {
        let _ = self.end(conn, key, Some(reason), effects);
    }

    /// The main id of a connection.
    pub fn uid(&self, conn: ConnId) -> Option<PeerId> {
        self.connections.get(&conn)?.uid().cloned()
    }

    /// The name of a connection for its partners.
    pub fn name(&self, conn: ConnId) -> Option<PeerId> {
        Some(self.connections.get(&conn)?.name(conn))
    }

    /// Whether a stand-in would get the id after its call. Its peer gets it instead, on its own node.
    pub fn take_return(&mut self, conn: ConnId) -> bool {
        let leg = self.connections.get_mut(&conn).and_then(|connection| connection.calls.values_mut().next());
        leg.is_some_and(|leg| leg.returns_as.take().is_some())
    }

    /// The most members of a room.
    pub fn max_members(&self) -> usize {
        self.rules.max_members
    }

    /// The connection that has registered a uid.
    pub fn holder(&self, uid: &PeerId) -> Option<ConnId> {
        self.uids.get(uid).map(|peer| peer.conn)
    }

    /// Whether a connection is in this room.
    pub fn is_in(&self, conn: ConnId, room: &RoomId) -> bool {
        let seat = self.connections.get(&conn).and_then(|connection| connection.seat.as_ref());
        seat.is_some_and(|seat| seat.room == *room)
    }

    /// The callee's node has started a call: the same happens here, with the stand-in.
    pub(super) fn reach(&mut self, conn: ConnId, reached: Reached, effects: &mut Vec<Effect>) {
        let Reached { key, from, to, stand_in, is_asked, returns_as } = reached;
        self.change(conn, |connection| connection.asks = false);
        let is_taken = |it: &Connection| it.dialect.is_single() && !it.calls.is_empty();
        if self.connections.get(&conn).is_none_or(is_taken) {
            return self.close(stand_in, CloseReason::PartnerLeft, effects);
        }
        let asked = is_asked.then_some(Side::Caller);
        let callee = (stand_in, to);
        if let Err(refusal) = self.connect((conn, &key, Some(from)), callee, asked, returns_as, effects) {
            self.close(stand_in, CloseReason::PartnerLeft, effects);
            let about = About::Call;
            self.refuse(conn, Refused { about, key, refusal, payload: None }, effects);
        }
    }

    /// A join whose turn has come.
    pub(super) fn enter_room(
        &mut self,
        conn: ConnId,
        room: RoomId,
        others: Option<Vec<FarMember>>,
        frame: Option<tungstenite::Message>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(connection) = self.connections.get(&conn) else { return };
        if connection.dialect.is_single() && !connection.calls.is_empty() {
            // It was called meanwhile.
            return self.relay_frame(conn, frame, effects);
        }
        let elsewhere = others.map_or(Elsewhere::Known, Elsewhere::Are);
        if let Err(refusal) = self.join(conn, room, elsewhere, effects) {
            let key = Key::default();
            self.refuse(conn, Refused { about: About::Join, key, refusal, payload: None }, effects);
        }
    }

    /// A peer of another node joined a room.
    pub fn join_far(&mut self, room: &RoomId, member: FarMember, effects: &mut Vec<Effect>) {
        self.close_replaced(&member.uid, room, effects);
        let Some(found) = self.rooms.get_mut(room) else { return };
        if found.join_far(member, effects) {
            self.news.push(room.clone());
        }
    }

    /// A peer of another node left a room.
    pub fn leave_far(&mut self, room: &RoomId, uid: &PeerId, effects: &mut Vec<Effect>) {
        let Some(found) = self.rooms.get_mut(room) else { return };
        if found.leave_far(uid, effects) {
            self.news.push(room.clone());
        }
        self.count_room(room);
    }

    /// A room that began at another node is counted here as soon as it has no members elsewhere.
    fn count_room(&mut self, id: &RoomId) {
        let Some(room) = self.rooms.get(id) else { return };
        let is_uncounted = room.owners.is_empty() && room.far_members().next().is_none();
        let Some(first) = room.members().next().filter(|_| is_uncounted) else { return };
        let owners = self.owners(first);
        self.count(&owners, |usage| usage.rooms += 1);
        if let Some(room) = self.rooms.get_mut(id) {
            room.owners = owners;
        }
    }

    /// The members of a room on other nodes. If the list is complete, there are no others.
    pub fn set_far_members(
        &mut self,
        room: &RoomId,
        members: Vec<FarMember>,
        is_complete: bool,
        effects: &mut Vec<Effect>,
    ) {
        let Some(found) = self.rooms.get(room) else { return };
        let known = found.far_members().map(|member| &member.uid);
        let there: HashSet<&PeerId> = members.iter().map(|member| &member.uid).collect();
        let is_gone = |uid: &PeerId| is_complete && !there.contains(uid);
        let gone: Vec<PeerId> = known.filter(|uid| is_gone(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.leave_far(room, uid, effects));
        members.into_iter().for_each(|member| self.join_far(room, member, effects));
    }

    /// The members on other nodes are gone: those of one node, or all.
    pub fn lose_far(&mut self, node: Option<&NodeName>, effects: &mut Vec<Effect>) {
        self.forget_far_directory(node);
        self.forget_far_usage(node);
        for (room, uid) in self.far_of(node) {
            self.leave_far(&room, &uid.uid, effects);
        }
    }

    /// Messages of a node's members may be lost. They leave and join again, so that the other members start over with them.
    pub fn renew_far(&mut self, node: &NodeName, effects: &mut Vec<Effect>) {
        for (room, member) in self.far_of(Some(node)) {
            self.leave_far(&room, &member.uid, effects);
            self.join_far(&room, member, effects);
        }
    }

    fn far_of(&self, node: Option<&NodeName>) -> Vec<(RoomId, FarMember)> {
        let is_meant = |member: &&FarMember| node.is_none_or(|node| member.node == *node);
        let of_room = |(id, room): (&RoomId, &Room)| {
            room.far_members().filter(is_meant).map(|member| (id.clone(), member.clone())).collect::<Vec<_>>()
        };
        self.rooms.iter().flat_map(of_room).collect()
    }

    /// A message from a member of a room on another node. It is dropped if either has left.
    pub fn hear_far(&mut self, message: FarMessage, effects: &mut Vec<Effect>) {
        let FarMessage { room, from, to, hint, payload } = message;
        let Some(found) = self.rooms.get(&room) else { return };
        if found.far(&from).is_none() {
            return;
        }
        let Some(to) = to else {
            let members: Vec<ConnId> = found.members().collect();
            return self.send_to_members(&members, &from, hint.as_ref(), &payload, effects);
        };
        if let Some(member) = self.holder(&to).filter(|conn| self.is_in(*conn, &room)) {
            self.tell(member, Notice::Message(Box::new(Message { from, payload })), effects);
        }
    }

    /// A member elsewhere has the uid of one here: that has lost it while this node was alone.
    fn close_replaced(&mut self, uid: &PeerId, room: &RoomId, effects: &mut Vec<Effect>) {
        if let Some(conn) = self.holder(uid).filter(|conn| self.is_in(*conn, room)) {
            self.close(conn, CloseReason::Replaced, effects);
        }
    }
}
