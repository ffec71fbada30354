//! The uids of a node, and which of them are in which room. Pure.

use std::{
    collections::{BTreeMap, btree_map},
    sync::Arc,
};

use callbin_protocol::{PeerId, RoomId};

use super::store::{Command, Own};
use crate::{dialect::Dialect, hub::ConnId};

/// The most members in one command.
const SYNC: usize = 500;

/// A uid of this node.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    pub(super) conn: ConnId,
    pub(super) identity: Option<Arc<str>>,
    room: Option<Seat>,
}

/// Its place in a room.
#[derive(Debug, Clone)]
struct Seat {
    room: RoomId,
    dialect: Dialect,
    /// The store has ordered its join: since then, this node knows the members elsewhere.
    is_ordered: bool,
}

impl Holder {
    pub(super) fn new(conn: ConnId, identity: Option<Arc<str>>) -> Self {
        Self { conn, identity, room: None }
    }

    pub(super) fn is_in(&self, room: &RoomId) -> bool {
        self.room.as_ref().is_some_and(|seat| seat.room == *room)
    }
}

/// All uids of a node.
#[derive(Debug, Default)]
pub(super) struct Held {
    peers: BTreeMap<PeerId, Holder>,
    /// How many members have entered each room in the store's order.
    ordered: BTreeMap<RoomId, usize>,
}

impl Held {
    pub(super) fn get(&self, uid: &PeerId) -> Option<&Holder> {
        self.peers.get(uid)
    }

    /// Whether this connection has the uid.
    pub(super) fn is_at(&self, uid: &PeerId, conn: ConnId) -> bool {
        self.get(uid).is_some_and(|holder| holder.conn == conn)
    }

    pub(super) fn iter(&self) -> btree_map::Iter<'_, PeerId, Holder> {
        self.peers.iter()
    }

    pub(super) fn insert(&mut self, uid: PeerId, holder: Holder) {
        self.remove(&uid);
        self.peers.insert(uid, holder);
    }

    /// Does nothing if another connection has the uid.
    pub(super) fn insert_if_free(&mut self, uid: PeerId, holder: Holder) {
        self.peers.entry(uid).or_insert(holder);
    }

    pub(super) fn remove(&mut self, uid: &PeerId) -> Option<Holder> {
        self.leave(uid);
        self.peers.remove(uid)
    }

    pub(super) fn enter(&mut self, uid: &PeerId, room: RoomId, dialect: Dialect, is_ordered: bool) {
        self.leave(uid);
        let Some(holder) = self.peers.get_mut(uid) else { return };
        if is_ordered {
            *self.ordered.entry(room.clone()).or_default() += 1;
        }
        holder.room = Some(Seat { room, dialect, is_ordered });
    }

    pub(super) fn leave(&mut self, uid: &PeerId) {
        let Some(seat) = self.peers.get_mut(uid).and_then(|holder| holder.room.take()) else { return };
        if let btree_map::Entry::Occupied(mut count) = self.ordered.entry(seat.room)
            && seat.is_ordered
        {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }

    /// Whether a member here knows those elsewhere.
    pub(super) fn knows(&self, room: &RoomId) -> bool {
        self.ordered.contains_key(room)
    }
}

/// The commands that compare rooms of these uids with the store's.
pub(super) fn syncs<'a>(
    held: impl IntoIterator<Item = (&'a PeerId, &'a Holder)>,
    whole: bool,
) -> Vec<Command> {
    let mut rooms: BTreeMap<&RoomId, Vec<Own>> = BTreeMap::new();
    for (uid, holder) in held {
        if let Some(seat) = &holder.room {
            let own = Own { uid: uid.clone(), conn: holder.conn, dialect: seat.dialect };
            rooms.entry(&seat.room).or_default().push(own);
        }
    }
    let command = |room: &RoomId, own: &[Own]| Command::Sync { room: room.clone(), own: own.to_vec(), whole };
    rooms.iter().flat_map(|(room, own)| own.chunks(SYNC).map(|own| command(room, own))).collect()
}
