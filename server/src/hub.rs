//! Who is registered, who talks to whom: the protocol's state machine. Events in, effects out; no I/O, no
//! clock, no lock.
//!
//! A connection is in one [`Stage`] and only ever moves forward: greeting, idle, then a session or a room
//! until it closes. Closing a connection here takes it out of every table at once, before its socket knows:
//! the uid is free again, and whatever fails afterwards leaves nothing behind.

use std::collections::HashMap;

use async_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};
use callbin_protocol::{ClientMessage, ErrorMessage, ParseError, PeerId, RoomId, ServerMessage};

use crate::close::CloseReason;

/// One socket, from its WebSocket handshake to its end. Never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// What happened to a connection.
#[derive(Debug, Clone)]
pub enum Event {
    /// Its WebSocket handshake is done.
    Opened,
    /// It sent a text frame.
    Text(Utf8Bytes),
    /// It sent a binary frame.
    Binary(Bytes),
    /// Its socket is closed, closing or broken.
    Closed,
}

/// What the sockets have to do about it, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue a frame.
    Send(ConnId, Message),
    /// Close the socket. The connection is gone from the hub already.
    Close(ConnId, CloseReason),
    /// Everything one of the two sends from now on is for the other, unread.
    Pair(ConnId, ConnId),
    /// Nothing to do, but worth a line in the log.
    Note(ConnId, Note),
}

/// What an operator wants to know about. Names only, never a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// HELLO was accepted.
    Registered(PeerId),
    /// HELLO named a uid that somebody has, or that is none.
    UidRefused,
    /// SESSION was accepted.
    Called {
        /// The caller.
        caller: PeerId,
        /// The callee.
        callee: PeerId,
    },
    /// ROOM was accepted.
    Joined {
        /// Who joined.
        peer: PeerId,
        /// Which room.
        room: RoomId,
        /// How many are in it now.
        members: usize,
    },
    /// A request was answered with an ERROR.
    Refused(PeerId, &'static str),
    /// A registered peer is gone.
    Left(PeerId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    Greeting,
    Idle { uid: PeerId },
    InSession { uid: PeerId, partner: ConnId },
    InRoom { uid: PeerId, room: RoomId },
}

impl Stage {
    fn uid(&self) -> Option<&PeerId> {
        match self {
            Self::Greeting => None,
            Self::Idle { uid } | Self::InSession { uid, .. } | Self::InRoom { uid, .. } => Some(uid),
        }
    }
}

/// Everybody and every room. See the module's description.
#[derive(Debug, Default)]
pub struct Hub {
    connections: HashMap<ConnId, Stage>,
    uids: HashMap<PeerId, ConnId>,
    /// Members in the order they joined. Never empty.
    rooms: HashMap<RoomId, Vec<ConnId>>,
}

/// How many of each there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Open WebSockets.
    pub connections: usize,
    /// Registered uids.
    pub peers: usize,
    /// Rooms with somebody in them.
    pub rooms: usize,
}

impl Hub {
    /// Takes in one event of a connection and appends what follows from it to `effects`.
    pub fn handle(&mut self, conn: ConnId, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Opened => {
                self.connections.insert(conn, Stage::Greeting);
            }
            Event::Text(text) => self.handle_frame(conn, Message::Text(text), effects),
            Event::Binary(bytes) => self.handle_frame(conn, Message::Binary(bytes), effects),
            Event::Closed => self.remove(conn, effects),
        }
    }

    /// How many connections, peers and rooms there are.
    pub fn counts(&self) -> Counts {
        Counts { connections: self.connections.len(), peers: self.uids.len(), rooms: self.rooms.len() }
    }

    fn handle_frame(&mut self, conn: ConnId, frame: Message, effects: &mut Vec<Effect>) {
        // The stage comes before the parsing: in a session every frame is payload, whatever it says.
        match self.connections.get(&conn) {
            // Closed by us a moment ago, and the frame was already under way.
            None => {}
            Some(Stage::InSession { partner, .. }) => effects.push(Effect::Send(*partner, frame)),
            Some(stage) => match frame {
                Message::Text(text) => match stage.clone() {
                    Stage::Greeting => self.greet(conn, &text, effects),
                    Stage::Idle { uid } => self.handle_idle(conn, uid, &text, effects),
                    Stage::InRoom { uid, room } => self.handle_in_room(conn, uid, &room, &text, effects),
                    Stage::InSession { .. } => {}
                },
                _ => self.close(conn, CloseReason::BinaryFrame, effects),
            },
        }
    }

    fn greet(&mut self, conn: ConnId, text: &str, effects: &mut Vec<Effect>) {
        let refusal = match ClientMessage::parse(text) {
            Ok(ClientMessage::Hello(uid)) if !self.uids.contains_key(&uid) => {
                self.uids.insert(uid.clone(), conn);
                self.connections.insert(conn, Stage::Idle { uid: uid.clone() });
                effects.push(Effect::Note(conn, Note::Registered(uid)));
                return effects.push(send(conn, &ServerMessage::Hello));
            }
            Ok(ClientMessage::Hello(_)) | Err(ParseError::InvalidUid(_)) => CloseReason::InvalidUid,
            _ => CloseReason::InvalidProtocol,
        };
        if refusal == CloseReason::InvalidUid {
            effects.push(Effect::Note(conn, Note::UidRefused));
        }
        self.close(conn, refusal, effects);
    }

    fn handle_idle(&mut self, conn: ConnId, uid: PeerId, text: &str, effects: &mut Vec<Effect>) {
        let refusal = match ClientMessage::parse(text) {
            Ok(ClientMessage::Session(callee)) => self.call(conn, &uid, callee, effects).err(),
            Ok(ClientMessage::Room(room)) => {
                self.join(conn, &uid, room, effects);
                None
            }
            Err(ParseError::InvalidCallee(text)) => Some(ErrorMessage::PeerNotFound(text)),
            Err(ParseError::InvalidRoom(text)) => Some(ErrorMessage::InvalidRoomId(text)),
            // Every client takes an ERROR as the end of its call, so what is merely odd goes unanswered.
            _ => None,
        };
        if let Some(error) = refusal {
            refuse(conn, uid, error, effects);
        }
    }

    fn call(
        &mut self,
        conn: ConnId,
        uid: &PeerId,
        callee: PeerId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), ErrorMessage> {
        let not_found = || ErrorMessage::PeerNotFound(callee.to_string());
        let &partner = self.uids.get(&callee).ok_or_else(not_found)?;
        // Nobody is free to be called by themselves.
        let idle = matches!(self.connections.get(&partner), Some(Stage::Idle { .. }));
        if partner == conn || !idle {
            return Err(ErrorMessage::PeerBusy(callee.to_string()));
        }
        self.connections.insert(conn, Stage::InSession { uid: uid.clone(), partner });
        self.connections.insert(partner, Stage::InSession { uid: callee.clone(), partner: conn });
        effects.push(Effect::Note(conn, Note::Called { caller: uid.clone(), callee }));
        // SESSION_OK goes first: once they are paired the partner's frames may overtake what we send.
        effects.push(send(conn, &ServerMessage::SessionOk));
        effects.push(Effect::Pair(conn, partner));
        Ok(())
    }

    fn join(&mut self, conn: ConnId, uid: &PeerId, room: RoomId, effects: &mut Vec<Effect>) {
        let members = self.rooms.entry(room.clone()).or_default();
        let others = members.clone();
        members.push(conn);
        let note = Note::Joined { peer: uid.clone(), room: room.clone(), members: members.len() };
        effects.push(Effect::Note(conn, note));
        effects.push(send(conn, &ServerMessage::RoomOk(self.names(&others))));
        broadcast(&others, &ServerMessage::RoomPeerJoined(uid.clone()), effects);
        self.connections.insert(conn, Stage::InRoom { uid: uid.clone(), room });
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
            Ok(ClientMessage::RoomPeerMsg { to, msg }) => match self.find_member(room, &to) {
                Ok(member) => {
                    effects.push(send(member, &ServerMessage::RoomPeerMsg { from: uid, msg }));
                    return;
                }
                Err(error) => error,
            },
            Ok(ClientMessage::RoomPeerList) => {
                let members = self.rooms.get(room).map(Vec::as_slice).unwrap_or_default();
                let others: Vec<_> = members.iter().copied().filter(|member| *member != conn).collect();
                return effects.push(send(conn, &ServerMessage::RoomPeerList(self.names(&others))));
            }
            Err(ParseError::InvalidAddressee(text)) => ErrorMessage::PeerNotFound(text),
            _ => ErrorMessage::AlreadyInRoom,
        };
        refuse(conn, uid, refusal, effects);
    }

    fn find_member(&self, room: &RoomId, uid: &PeerId) -> Result<ConnId, ErrorMessage> {
        let conn = self.uids.get(uid).ok_or_else(|| ErrorMessage::PeerNotFound(uid.to_string()))?;
        match self.connections.get(conn) {
            Some(Stage::InRoom { room: theirs, .. }) if theirs == room => Ok(*conn),
            _ => Err(ErrorMessage::PeerNotInRoom(uid.to_string())),
        }
    }

    fn names(&self, members: &[ConnId]) -> Vec<PeerId> {
        members.iter().filter_map(|member| self.connections.get(member)?.uid().cloned()).collect()
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close(conn, reason));
        self.remove(conn, effects);
    }

    /// Forgets a connection, and tells whom it concerns.
    fn remove(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        let Some(stage) = self.connections.remove(&conn) else { return };
        let Some(uid) = stage.uid().cloned() else { return };
        self.uids.remove(&uid);
        effects.push(Effect::Note(conn, Note::Left(uid.clone())));
        match stage {
            Stage::Greeting | Stage::Idle { .. } => {}
            // The partner's own removal finds this connection gone, so the two do not chase each other.
            Stage::InSession { partner, .. } => {
                if self.connections.contains_key(&partner) {
                    self.close(partner, CloseReason::PartnerLeft, effects);
                }
            }
            Stage::InRoom { room, .. } => self.leave(conn, uid, &room, effects),
        }
    }

    fn leave(&mut self, conn: ConnId, uid: PeerId, room: &RoomId, effects: &mut Vec<Effect>) {
        let Some(members) = self.rooms.get_mut(room) else { return };
        members.retain(|member| *member != conn);
        broadcast(members, &ServerMessage::RoomPeerLeft(uid), effects);
        if members.is_empty() {
            self.rooms.remove(room);
        }
    }
}

fn text(message: &ServerMessage<'_>) -> Message {
    Message::Text(message.to_string().into())
}

fn send(conn: ConnId, message: &ServerMessage<'_>) -> Effect {
    Effect::Send(conn, text(message))
}

/// One frame for many: it is printed once and shared.
fn broadcast(members: &[ConnId], message: &ServerMessage<'_>, effects: &mut Vec<Effect>) {
    let frame = text(message);
    effects.extend(members.iter().map(|member| Effect::Send(*member, frame.clone())));
}

fn refuse(conn: ConnId, uid: PeerId, error: ErrorMessage, effects: &mut Vec<Effect>) {
    effects.push(Effect::Note(conn, Note::Refused(uid, error.kind())));
    effects.push(send(conn, &ServerMessage::Error(error)));
}

#[cfg(test)]
mod tests;
