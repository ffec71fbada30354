//! The protocol's state machine: registrations, sessions and rooms. Events in, effects out; no I/O, no clock, no lock.
//!
//! A connection is in one `Stage` and only moves forward: greeting, idle, then a session or a room until it closes.
//! Closing a connection here removes it from every table at once, before its socket is closed: the uid is free again,
//! and a later failure leaves nothing behind.
//!
//! Notices to the members of a room are queued in the room. [`Hub::pass_on`] delivers a few at a time, so the work of
//! one event is bounded however many members it concerns.

mod room;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use async_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use callbin_protocol::{ClientMessage, ErrorMessage, MAX_ID_LEN, ParseError, PeerId, RoomId, ServerMessage};

use crate::{
    access::{
        Ability, Grant,
        owner::{Owner, owners},
    },
    close::CloseReason,
};
use room::{News, Place, Room};

/// The number of a connection, from its WebSocket handshake to its end. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An event of a connection.
#[derive(Debug, Clone)]
pub enum Event {
    /// The WebSocket handshake is complete.
    Opened {
        /// The permissions of its token.
        grant: Arc<Grant>,
        /// The address whose limits it shares: its own or its network's.
        address: IpAddr,
        /// It asked for a notice that names its caller (the base protocol has none).
        wants_caller: bool,
    },
    /// A text frame came.
    Text(Utf8Bytes),
    /// A binary frame came.
    Binary(Bytes),
    /// The webhook refused its request for this reason.
    Refused(String),
    /// The webhook did not answer.
    Unanswered,
    /// Its socket is closed, closing or broken.
    Closed,
}

/// What the sockets have to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue a frame.
    Send(ConnId, Message),
    /// Close the socket. The connection is gone from the hub already.
    Close(ConnId, CloseReason),
    /// Forward everything that one of the two sends from now on to the other, unparsed.
    Pair(ConnId, ConnId),
    /// Only a line in the log.
    Note(ConnId, Note),
}

/// Log entries for an operator. Names only, never a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// HELLO was accepted.
    Registered(PeerId),
    /// HELLO was refused: the uid is taken, invalid or not allowed by the token.
    UidRefused(CloseReason),
    /// SESSION was accepted.
    Called {
        /// The caller.
        caller: PeerId,
        /// The callee.
        callee: PeerId,
    },
    /// ROOM was accepted.
    Joined {
        /// The new member.
        peer: PeerId,
        /// The room.
        room: RoomId,
        /// The number of members, including the new one.
        members: usize,
    },
    /// A request was answered with ERROR.
    Refused(PeerId, &'static str),
    /// A registered peer is gone.
    Left(PeerId),
}

/// The hub's state of a connection.
#[derive(Debug)]
struct Connection {
    stage: Stage,
    grant: Arc<Grant>,
    address: IpAddr,
    wants_caller: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Greeting,
    Idle { uid: PeerId },
    InSession { uid: PeerId, partner: ConnId, is_caller: bool },
    InRoom { uid: PeerId, room: RoomId, place: Place },
}

impl Connection {
    fn uid(&self) -> Option<&PeerId> {
        match &self.stage {
            Stage::Greeting => None,
            Stage::Idle { uid } | Stage::InSession { uid, .. } | Stage::InRoom { uid, .. } => Some(uid),
        }
    }

    /// The accounts that its sessions and rooms count for.
    fn owners(&self) -> Vec<Owner> {
        owners(self.address).chain(self.grant.identity.clone().map(Owner::Identity)).collect()
    }
}

/// The sessions and rooms of one owner.
#[derive(Debug, Default, PartialEq, Eq)]
struct Usage {
    sessions: usize,
    rooms: usize,
}

/// Limits of sessions, rooms, members and uids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Sessions started from one address, or by one identity.
    pub max_sessions: usize,
    /// Rooms created from one address, or by one identity.
    pub max_rooms: usize,
    /// Members per room.
    pub max_members: usize,
    /// Length of a uid in bytes.
    pub max_uid: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { max_sessions: usize::MAX, max_rooms: usize::MAX, max_members: usize::MAX, max_uid: usize::MAX }
    }
}

/// All connections and rooms (see the module's description).
#[derive(Debug, Default)]
pub struct Hub {
    rules: Rules,
    connections: HashMap<ConnId, Connection>,
    uids: HashMap<PeerId, ConnId>,
    rooms: HashMap<RoomId, Room>,
    /// Rooms with undelivered notices, each of them once.
    news: News,
    usage: HashMap<Owner, Usage>,
    sessions: usize,
}

/// Numbers of connections, peers, sessions and rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Open WebSockets.
    pub connections: usize,
    /// Registered uids.
    pub peers: usize,
    /// Sessions.
    pub sessions: usize,
    /// Rooms with at least one member.
    pub rooms: usize,
}

/// The state of a registered peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing<'a> {
    /// Idle: it can be called.
    Nothing,
    /// In a session.
    Session {
        /// Its partner.
        with: &'a PeerId,
        /// Whether it is the caller.
        is_caller: bool,
    },
    /// In a room.
    Room(&'a RoomId),
}

/// What a request would do if it were carried out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Register.
    Register(PeerId),
    /// Start a session.
    Call(PeerId),
    /// Join a room.
    Join(RoomId),
}

impl Hub {
    /// A hub with limits.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Replaces the limits. Existing sessions, rooms and members stay.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Handles an event of a connection and appends the resulting effects to `effects`.
    pub fn handle(&mut self, conn: ConnId, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Opened { grant, address, wants_caller } => {
                let connection = Connection { stage: Stage::Greeting, grant, address, wants_caller };
                self.connections.insert(conn, connection);
            }
            Event::Text(text) => self.handle_frame(conn, Message::Text(text), effects),
            Event::Binary(bytes) => self.handle_frame(conn, Message::Binary(bytes), effects),
            Event::Refused(reason) => self.refuse_wish(conn, reason, effects),
            Event::Unanswered => self.leave_wish(conn, effects),
            Event::Closed => self.remove(conn, effects),
        }
    }

    /// How many connections, peers, sessions and rooms there are.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.len(),
            peers: self.uids.len(),
            sessions: self.sessions,
            rooms: self.rooms.len(),
        }
    }

    /// The request in a frame, if it is one that the webhook may refuse, and the uid of its sender, if it has one.
    pub fn wish(&self, conn: ConnId, text: &str) -> Option<(Wish, Option<PeerId>)> {
        let connection = self.connections.get(&conn)?;
        match (&connection.stage, ClientMessage::parse(text)) {
            (Stage::Greeting, Ok(ClientMessage::Hello(uid))) => Some((Wish::Register(uid), None)),
            (Stage::Idle { uid }, Ok(ClientMessage::Session(peer))) => {
                Some((Wish::Call(peer), Some(uid.clone())))
            }
            (Stage::Idle { uid }, Ok(ClientMessage::Room(room))) => {
                Some((Wish::Join(room), Some(uid.clone())))
            }
            _ => None,
        }
    }

    /// The cost of a frame beyond itself if it were handled now: the notices it causes and the names in its answer.
    ///
    /// Of two members, the one that joined later pays for both notices between them: its joining and the first leaving.
    /// So leaving is free, also when a whole network leaves.
    pub fn fan_out(&self, conn: ConnId, text: &str) -> usize {
        let Some(connection) = self.connections.get(&conn) else { return 0 };
        match (&connection.stage, ClientMessage::parse(text)) {
            (Stage::Idle { .. }, Ok(ClientMessage::Room(id))) if connection.grant.allows_room(&id) => {
                let members = self.rooms.get(&id).map_or(0, Room::len);
                if members < self.rules.max_members { 2 * members } else { 0 }
            }
            (Stage::InRoom { room, .. }, Ok(ClientMessage::RoomPeerList)) => {
                self.rooms.get(room).map_or(0, Room::len)
            }
            _ => 0,
        }
    }

    /// Delivers notices to members of rooms, at a cost of about `most`. True if more are queued.
    pub fn pass_on(&mut self, mut most: usize, effects: &mut Vec<Effect>) -> bool {
        while most > 0
            && let Some(id) = self.news.pop()
        {
            // Looking up a room that is gone costs one.
            let Some(room) = self.rooms.get_mut(&id) else {
                most -= 1;
                continue;
            };
            if room.pass_on(&mut most, effects) {
                self.news.push(id);
            }
        }
        !self.news.is_empty()
    }

    /// Whether notices are queued.
    pub fn has_news(&self) -> bool {
        !self.news.is_empty()
    }

    /// The registered peers and the state of each.
    pub fn peers(&self) -> impl Iterator<Item = (ConnId, &PeerId, Doing<'_>)> {
        self.connections.iter().filter_map(|(conn, connection)| {
            let doing = match &connection.stage {
                Stage::Greeting => return None,
                Stage::Idle { .. } => Doing::Nothing,
                Stage::InSession { partner, is_caller, .. } => {
                    Doing::Session { with: self.connections.get(partner)?.uid()?, is_caller: *is_caller }
                }
                Stage::InRoom { room, .. } => Doing::Room(room),
            };
            Some((*conn, connection.uid()?, doing))
        })
    }

    /// The rooms and their members, in the order in which the members joined.
    pub fn rooms(&self) -> impl Iterator<Item = (&RoomId, Vec<PeerId>)> {
        self.rooms.iter().map(|(id, room)| (id, self.names(room.members())))
    }

    /// The connections of a room.
    pub fn members(&self, room: &str) -> Vec<ConnId> {
        self.rooms.get(room).map(|room| room.members().collect()).unwrap_or_default()
    }

    /// The connection with this uid, and its grant.
    pub fn find(&self, uid: &str) -> Option<(ConnId, &Arc<Grant>)> {
        let conn = self.uids.get(uid)?;
        Some((*conn, &self.connections.get(conn)?.grant))
    }

    /// Connections that are neither in a session nor in a room.
    pub fn idle(&self) -> impl Iterator<Item = ConnId> {
        let idle = |stage: &Stage| matches!(stage, Stage::Greeting | Stage::Idle { .. });
        self.connections.iter().filter(move |(_, connection)| idle(&connection.stage)).map(|(conn, _)| *conn)
    }

    /// Any connection together with its session partner or the other members of its room.
    pub fn company(&self) -> Option<Vec<ConnId>> {
        let (conn, connection) = self.connections.iter().next()?;
        Some(match &connection.stage {
            Stage::Greeting | Stage::Idle { .. } => vec![*conn],
            Stage::InSession { partner, .. } => vec![*conn, *partner],
            Stage::InRoom { room, .. } => self.members(room.as_str()),
        })
    }

    /// Closes a connection for a reason outside the protocol.
    pub fn kick(&mut self, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
        if self.connections.contains_key(&conn) {
            self.close(conn, reason, effects);
        }
    }

    /// Closes many connections at once. None of them gets a notice about another one.
    pub fn kick_all(&mut self, conns: &[ConnId], reason: CloseReason, effects: &mut Vec<Effect>) {
        conns.iter().for_each(|conn| self.kick(*conn, reason, effects));
    }

    fn handle_frame(&mut self, conn: ConnId, frame: Message, effects: &mut Vec<Effect>) {
        // Check the stage before parsing: in a session every frame is payload, whatever its text is.
        match self.connections.get(&conn).map(|connection| &connection.stage) {
            // The hub has just closed the connection; the frame was already under way.
            None => {}
            Some(Stage::InSession { partner, .. }) => effects.push(Effect::Send(*partner, frame)),
            Some(stage) => match frame {
                Message::Text(text) => match stage.clone() {
                    Stage::Greeting => self.greet(conn, &text, effects),
                    Stage::Idle { uid } => self.handle_idle(conn, uid, &text, effects),
                    Stage::InRoom { uid, room, .. } => self.handle_in_room(conn, uid, &room, &text, effects),
                    Stage::InSession { .. } => {}
                },
                _ => self.close(conn, CloseReason::BinaryFrame, effects),
            },
        }
    }

    fn greet(&mut self, conn: ConnId, text: &str, effects: &mut Vec<Effect>) {
        let refusal = match ClientMessage::parse(text) {
            Ok(ClientMessage::Hello(uid)) => match self.register(conn, uid, effects) {
                Ok(()) => return,
                Err(reason) => reason,
            },
            Err(ParseError::InvalidUid(_)) => CloseReason::InvalidUid,
            _ => return self.close(conn, CloseReason::InvalidProtocol, effects),
        };
        effects.push(Effect::Note(conn, Note::UidRefused(refusal)));
        self.close(conn, refusal, effects);
    }

    fn register(&mut self, conn: ConnId, uid: PeerId, effects: &mut Vec<Effect>) -> Result<(), CloseReason> {
        if uid.as_str().len() > self.rules.max_uid {
            return Err(CloseReason::InvalidUid);
        }
        // Check the permission first: a peer that may not have a uid must not learn whether it is taken.
        let grant =
            self.connections.get(&conn).map(|connection| connection.grant.clone()).unwrap_or_default();
        if !grant.allows_uid(&uid) {
            return Err(CloseReason::UidNotAllowed);
        }
        if let Some(&holder) = self.uids.get(&uid) {
            let ghost =
                self.connections.get(&holder).is_some_and(|other| other.grant.is_same_identity(&grant));
            if !ghost {
                return Err(CloseReason::InvalidUid);
            }
            self.close(holder, CloseReason::Replaced, effects);
        }
        self.uids.insert(uid.clone(), conn);
        self.set_stage(conn, Stage::Idle { uid: uid.clone() });
        effects.push(Effect::Note(conn, Note::Registered(uid)));
        self.send(conn, &ServerMessage::Hello, effects);
        Ok(())
    }

    fn handle_idle(&mut self, conn: ConnId, uid: PeerId, text: &str, effects: &mut Vec<Effect>) {
        let result = match ClientMessage::parse(text) {
            Ok(ClientMessage::Session(callee)) => self.call(conn, &uid, callee, effects),
            Ok(ClientMessage::Room(room)) => self.join(conn, &uid, room, effects),
            Err(ParseError::InvalidCallee(text)) => Err(ErrorMessage::PeerNotFound(cut(text))),
            Err(ParseError::InvalidRoom(text)) => Err(ErrorMessage::InvalidRoomId(cut(text))),
            // Clients end their call at any ERROR, so a merely unexpected message gets no answer.
            _ => Ok(()),
        };
        if let Err(error) = result {
            self.refuse(conn, uid, error, effects);
        }
    }

    fn call(
        &mut self,
        conn: ConnId,
        uid: &PeerId,
        callee: PeerId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorMessage> {
        let partner = self.find_callee(conn, &callee)?;
        let owners = self.owners(conn);
        if self.is_any_at(&owners, self.rules.max_sessions, |usage| usage.sessions) {
            return Err(ErrorMessage::TooManySessions);
        }
        self.count(&owners, |usage| usage.sessions += 1);
        self.sessions += 1;
        self.set_stage(conn, Stage::InSession { uid: uid.clone(), partner, is_caller: true });
        self.set_stage(partner, Stage::InSession { uid: callee.clone(), partner: conn, is_caller: false });
        effects.push(Effect::Note(conn, Note::Called { caller: uid.clone(), callee }));
        // SESSION_OK goes first: after the pairing, the partner's frames may overtake ours.
        self.send(conn, &ServerMessage::SessionOk, effects);
        // This also has to precede the caller's first frame.
        if self.connections.get(&partner).is_some_and(|connection| connection.wants_caller) {
            self.send(partner, &ServerMessage::Caller(uid.clone()), effects);
        }
        effects.push(Effect::Pair(conn, partner));
        Ok(())
    }

    /// A callee that is absent and one that may not be called give the same error, so that callers cannot probe uids.
    fn find_callee(&self, conn: ConnId, callee: &PeerId) -> Result<ConnId, ErrorMessage> {
        let found = self.uids.get(callee).copied();
        let partner = found
            .filter(|partner| self.may_call(conn, *partner))
            .ok_or_else(|| ErrorMessage::PeerNotFound(callee.to_string()))?;
        // A peer that calls itself gets "busy".
        let stage = self.connections.get(&partner).map(|connection| &connection.stage);
        if partner == conn || !matches!(stage, Some(Stage::Idle { .. })) {
            return Err(ErrorMessage::PeerBusy(callee.to_string()));
        }
        Ok(partner)
    }

    fn join(
        &mut self,
        conn: ConnId,
        uid: &PeerId,
        id: RoomId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorMessage> {
        let allowed = self.connections.get(&conn).is_some_and(|connection| connection.grant.allows_room(&id));
        if !allowed {
            return Err(ErrorMessage::InvalidRoomId(id.to_string()));
        }
        if !self.rooms.contains_key(&id) {
            let owners = self.owners(conn);
            if self.is_any_at(&owners, self.rules.max_rooms, |usage| usage.rooms) {
                return Err(ErrorMessage::TooManyRooms);
            }
            self.count(&owners, |usage| usage.rooms += 1);
            self.rooms.insert(id.clone(), Room::new(owners));
        }
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        if room.is_full_for(uid, self.rules.max_members) {
            return Err(ErrorMessage::RoomFull(id.to_string()));
        }
        let others: Vec<ConnId> = room.members().collect();
        let place = room.join(conn, uid, effects);
        if room.has_news() {
            self.news.push(id.clone());
        }
        let note = Note::Joined { peer: uid.clone(), room: id.clone(), members: others.len() + 1 };
        effects.push(Effect::Note(conn, note));
        self.set_stage(conn, Stage::InRoom { uid: uid.clone(), room: id, place });
        let names = self.names(others.into_iter());
        self.send(conn, &ServerMessage::RoomOk(names), effects);
        Ok(())
    }

    fn handle_in_room(
        &mut self,
        conn: ConnId,
        uid: PeerId,
        room: &RoomId,
        text: &str,
        effects: &mut Vec<Effect>,
    ) {
        let refusal = match ClientMessage::parse(text) {
            Ok(ClientMessage::RoomPeerMsg { to, msg }) => match self.find_member(conn, room, &to) {
                Ok(member) => {
                    return self.send(member, &ServerMessage::RoomPeerMsg { from: uid, msg }, effects);
                }
                Err(error) => error,
            },
            Ok(ClientMessage::RoomPeerList) => {
                let others = self.rooms.get(room).into_iter().flat_map(Room::members);
                let names = self.names(others.filter(|member| *member != conn));
                return self.send(conn, &ServerMessage::RoomPeerList(names), effects);
            }
            Err(ParseError::InvalidAddressee(text)) => ErrorMessage::PeerNotFound(cut(text)),
            _ => ErrorMessage::AlreadyInRoom,
        };
        self.refuse(conn, uid, refusal, effects);
    }

    fn find_member(&self, from: ConnId, room: &RoomId, uid: &PeerId) -> Result<ConnId, ErrorMessage> {
        let not_found = || ErrorMessage::PeerNotFound(uid.to_string());
        let conn = *self.uids.get(uid).ok_or_else(not_found)?;
        match self.connections.get(&conn).map(|connection| &connection.stage) {
            Some(Stage::InRoom { room: theirs, .. }) if theirs == room => Ok(conn),
            // Only those who may call the peer may learn that it is registered but not in the room.
            _ if self.may_call(from, conn) => Err(ErrorMessage::PeerNotInRoom(uid.to_string())),
            _ => Err(not_found()),
        }
    }

    fn may_call(&self, caller: ConnId, callee: ConnId) -> bool {
        let may = |conn, ability| {
            self.connections.get(&conn).is_some_and(|connection| connection.grant.allows(ability))
        };
        may(caller, Ability::Call) && may(callee, Ability::Answer)
    }

    /// The webhook refused a connection's request.
    fn refuse_wish(&mut self, conn: ConnId, reason: String, effects: &mut Vec<Effect>) {
        // The connection closed before the webhook answered.
        let Some(connection) = self.connections.get(&conn) else { return };
        match connection.uid().cloned() {
            Some(uid) => self.refuse(conn, uid, ErrorMessage::Other(reason), effects),
            None => {
                // The reason goes in an ERROR: it may not fit into a close frame.
                self.send(conn, &ServerMessage::Error(ErrorMessage::Other(reason)), effects);
                effects.push(Effect::Note(conn, Note::UidRefused(CloseReason::UidNotAllowed)));
                self.close(conn, CloseReason::UidNotAllowed, effects);
            }
        }
    }

    /// The webhook did not answer. The peer may repeat its request.
    fn leave_wish(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.get(&conn) else { return };
        match connection.uid().cloned() {
            Some(uid) => self.refuse(conn, uid, ErrorMessage::Other("not available".into()), effects),
            // Send no ERROR: clients take it as final.
            None => {
                effects.push(Effect::Note(conn, Note::UidRefused(CloseReason::Unavailable)));
                self.close(conn, CloseReason::Unavailable, effects);
            }
        }
    }

    fn set_stage(&mut self, conn: ConnId, stage: Stage) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.stage = stage;
        }
    }

    /// Queues a frame. A member of a room first gets its undelivered notices.
    fn send(&mut self, conn: ConnId, message: &ServerMessage<'_>, effects: &mut Vec<Effect>) {
        if let Some(Connection { stage: Stage::InRoom { room, place, .. }, .. }) = self.connections.get(&conn)
            && let Some(room) = self.rooms.get_mut(room)
        {
            room.catch_up(*place, effects);
        }
        effects.push(Effect::Send(conn, text(message)));
    }

    fn refuse(&mut self, conn: ConnId, uid: PeerId, error: ErrorMessage, effects: &mut Vec<Effect>) {
        effects.push(Effect::Note(conn, Note::Refused(uid, error.kind())));
        self.send(conn, &ServerMessage::Error(error), effects);
    }

    fn names(&self, members: impl Iterator<Item = ConnId>) -> Vec<PeerId> {
        members.filter_map(|member| self.connections.get(&member)?.uid().cloned()).collect()
    }

    fn owners(&self, conn: ConnId) -> Vec<Owner> {
        self.connections.get(&conn).map(Connection::owners).unwrap_or_default()
    }

    fn is_any_at(&self, owners: &[Owner], limit: usize, used: impl Fn(&Usage) -> usize) -> bool {
        let at = |owner: &Owner| limit.saturating_mul(owner.scale() as usize);
        owners.iter().any(|owner| self.usage.get(owner).map_or(0, &used) >= at(owner))
    }

    fn count(&mut self, owners: &[Owner], change: impl Fn(&mut Usage)) {
        for owner in owners {
            let usage = self.usage.entry(owner.clone()).or_default();
            change(usage);
            if *usage == Usage::default() {
                self.usage.remove(owner);
            }
        }
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close(conn, reason));
        self.remove(conn, effects);
    }

    /// Removes a connection and notifies its partner or its room.
    fn remove(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        let Some(connection) = self.connections.remove(&conn) else { return };
        let Some(uid) = connection.uid().cloned() else { return };
        self.uids.remove(&uid);
        effects.push(Effect::Note(conn, Note::Left(uid.clone())));
        match &connection.stage {
            Stage::Greeting | Stage::Idle { .. } => {}
            Stage::InSession { partner, is_caller, .. } => {
                if *is_caller {
                    self.sessions -= 1;
                    self.count(&connection.owners(), |usage| usage.sessions -= 1);
                }
                // The partner's own removal does not find this connection any more, so the recursion ends.
                if self.connections.contains_key(partner) {
                    self.close(*partner, CloseReason::PartnerLeft, effects);
                }
            }
            Stage::InRoom { room, place, .. } => self.leave(*place, &uid, room, effects),
        }
    }

    fn leave(&mut self, place: Place, uid: &PeerId, id: &RoomId, effects: &mut Vec<Effect>) {
        let Some(room) = self.rooms.get_mut(id) else { return };
        room.leave(place, uid, effects);
        if room.is_empty() {
            if let Some(room) = self.rooms.remove(id) {
                self.count(&room.owners, |usage| usage.rooms -= 1);
            }
        } else {
            self.news.push(id.clone());
        }
    }
}

fn text(message: &ServerMessage<'_>) -> Message {
    Message::Text(message.to_string().into())
}

/// Cuts an invalid id to the longest valid length before it is quoted: it may be as long as a message.
fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(MAX_ID_LEN));
    text
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod invariants;
#[cfg(test)]
mod tests;
