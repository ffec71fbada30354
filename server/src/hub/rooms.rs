//! Joining and leaving rooms, and messages between members.

use callbin_protocol::{PeerId, RoomId};

use super::{
    ConnId, Effect, Elsewhere, FarMessage, Hub, Joined, Message, NodeName, Note, Notice, Payload, Refusal,
    Room, Seat,
};

/// Where a member of a room is.
pub(super) enum At {
    Here(ConnId),
    Node(NodeName),
}

/// A member that a message is for.
pub(super) struct Addressee {
    from: PeerId,
    room: RoomId,
    place: At,
}

impl Hub {
    pub(super) fn join(
        &mut self,
        conn: ConnId,
        id: RoomId,
        elsewhere: Elsewhere,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        // Members are known by their id.
        let Some(uid) = connection.uid().cloned() else { return Err(Refusal::UidInvalid) };
        if !connection.is_idle() {
            return Err(Refusal::AlreadyInRoom);
        }
        if !connection.grant.allows_room(&id) {
            return Err(Refusal::InvalidRoomId(id.to_string()));
        }
        self.permit_node_room(&id)?;
        // Another node counts the members that are elsewhere, too.
        let is_counted = elsewhere != Elsewhere::Unordered;
        if !self.rooms.contains_key(&id) {
            // The last member that knew them has just left.
            if elsewhere == Elsewhere::Known {
                self.share(Effect::Lacks(id.clone()), effects);
            }
            // It counts where it began.
            let is_elsewhere = matches!(&elsewhere, Elsewhere::Are(members) if !members.is_empty());
            let owners = if is_elsewhere { Vec::new() } else { self.owners(conn) };
            if self.has_all_rooms(&owners) {
                return Err(Refusal::TooManyRooms);
            }
            self.count(&owners, |usage| usage.rooms += 1);
            let media = self.node_rooms.begin(&id);
            self.rooms.insert(id.clone(), Room::new(owners, media));
        }
        if let Elsewhere::Are(far) = elsewhere {
            self.set_far_members(&id, far, true, effects);
        }
        let Some(room) = self.rooms.get_mut(&id) else { return Ok(()) };
        if !is_counted && room.is_full_for(&uid, self.rules.max_members) {
            return Err(Refusal::RoomFull(id.to_string()));
        }
        let members = room.len() + 1;
        let others = room.list(None);
        let place = room.join(conn, &uid, effects);
        if room.has_news() {
            self.news.push(id.clone());
        }
        effects.push(Effect::Note(conn, Note::Joined { peer: uid.clone(), room: id.clone(), members }));
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.seat = Some(Seat { room: id.clone(), place });
        }
        self.join_node_room(conn, &id, &uid);
        let members = self.with_node(&id, self.names(others));
        self.tell(conn, Notice::Joined(Box::new(Joined { room: id, members })), effects);
        Ok(())
    }

    pub(super) fn leave(&mut self, conn: ConnId, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get_mut(&conn) else { return Ok(()) };
        let (Some(seat), Some(uid)) = (connection.seat.take(), connection.uid().cloned()) else {
            return Err(Refusal::NotInRoom);
        };
        // What happened before its request comes first.
        if let Some(room) = self.rooms.get_mut(&seat.room) {
            room.catch_up(seat.place, effects);
        }
        // Without its uid, it leaves on other nodes, too.
        self.share(Effect::LeftRoom(conn, uid.clone(), seat.room.clone()), effects);
        self.leave_room(&seat, &uid, effects);
        Ok(())
    }

    pub(super) fn leave_room(&mut self, seat: &Seat, uid: &PeerId, effects: &mut Vec<Effect>) {
        self.leave_node_room(&seat.room, uid, effects);
        let Some(room) = self.rooms.get_mut(&seat.room) else { return };
        room.leave(seat.place, uid, effects);
        if room.is_empty() {
            if let Some(room) = self.rooms.remove(&seat.room) {
                self.count(&room.owners, |usage| usage.rooms -= 1);
            }
            self.deferred.remove(&seat.room);
        } else {
            self.news.push(seat.room.clone());
        }
    }

    /// The sender of a message to a member of its room, and where that is.
    pub(super) fn addressee(&self, conn: ConnId, to: &PeerId) -> Result<Addressee, Refusal> {
        let (from, room) = self.membership(conn)?;
        let far = self.rooms.get(&room).and_then(|room| room.far(to)).map(|member| member.node.clone());
        let place = match far {
            Some(node) => At::Node(node),
            None => At::Here(self.find_member(conn, &room, to)?),
        };
        Ok(Addressee { from, room, place })
    }

    pub(super) fn send_to(
        &mut self,
        Addressee { from, room, place }: Addressee,
        to: PeerId,
        payload: Payload,
        effects: &mut Vec<Effect>,
    ) {
        match place {
            At::Here(member) => {
                self.tell(member, Notice::Message(Box::new(Message { from, payload })), effects);
            }
            At::Node(node) => {
                let message = FarMessage { room, from, to: Some(to), hint: None, payload };
                effects.push(Effect::Far(node, Box::new(message)));
            }
        }
    }

    /// Sends a message to all other members. Those of other dialects get it only if the hint names them, if there is one.
    pub(super) fn send_to_all(
        &mut self,
        conn: ConnId,
        hint: Option<&PeerId>,
        payload: &Payload,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let (from, id) = self.membership(conn)?;
        let Some(room) = self.rooms.get(&id) else { return Ok(()) };
        for node in room.far_nodes() {
            let (room, from, payload) = (id.clone(), from.clone(), payload.clone());
            let message = FarMessage { room, from, to: None, hint: hint.cloned(), payload };
            effects.push(Effect::Far(node, Box::new(message)));
        }
        let others: Vec<ConnId> = room.members().filter(|member| *member != conn).collect();
        self.send_to_members(&others, &from, hint, payload, effects);
        Ok(())
    }

    /// Those of other dialects get it only if the hint names them, if there is one.
    pub(super) fn send_to_members(
        &mut self,
        members: &[ConnId],
        from: &PeerId,
        hint: Option<&PeerId>,
        payload: &Payload,
        effects: &mut Vec<Effect>,
    ) {
        for member in members.iter().copied() {
            let Some(connection) = self.connections.get(&member) else { continue };
            let is_meant = hint.is_none_or(|hint| connection.uid() == Some(hint));
            if is_meant || connection.dialect == payload.dialect() {
                let message = Message { from: from.clone(), payload: payload.clone() };
                self.tell(member, Notice::Message(Box::new(message)), effects);
            }
        }
    }

    pub(super) fn list_members(&mut self, conn: ConnId, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let (_, room) = self.membership(conn)?;
        let others = self.rooms.get(&room).map(|room| room.list(Some(conn))).unwrap_or_default();
        let names = self.with_node(&room, self.names(others));
        self.tell(conn, Notice::Members(names), effects);
        Ok(())
    }

    /// The id and the room of a member.
    fn membership(&self, conn: ConnId) -> Result<(PeerId, RoomId), Refusal> {
        let connection = self.connections.get(&conn);
        connection
            .and_then(|connection| Some((connection.uid()?.clone(), connection.seat.as_ref()?.room.clone())))
            .ok_or(Refusal::NotInRoom)
    }

    fn find_member(&self, from: ConnId, room: &RoomId, uid: &PeerId) -> Result<ConnId, Refusal> {
        let not_found = || Refusal::PeerNotFound(uid.to_string());
        let conn = self.uids.get(uid).ok_or_else(not_found)?.conn;
        let seat = self.connections.get(&conn).and_then(|connection| connection.seat.as_ref());
        match seat {
            Some(seat) if seat.room == *room => Ok(conn),
            // Only those who may call the peer may learn that it is registered but not in the room.
            _ if self.may_call(from, conn) => Err(Refusal::PeerNotInRoom(uid.to_string())),
            _ => Err(not_found()),
        }
    }
}
