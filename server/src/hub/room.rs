//! A room: its members and the notices not yet delivered to all of them, with the text protocol's form of each.
//!
//! The notices are a [`Feed`]: joining and leaving cost the same in a room of any size, and members that leave together
//! get no notices of each other.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use callbin_protocol::{MAX_LIST_LEN, PeerId, RoomId};

use super::{
    Change, ConnId, Effect, Notice,
    feed::{Feed, Item, Place},
};
use crate::{access::owner::Owner, dialect::text};

/// A room with at least one member.
#[derive(Debug)]
pub(super) struct Room {
    /// The owners it counts for until it is empty: those of its creator.
    pub(super) owners: Vec<Owner>,
    feed: Feed<Change>,
    /// Bytes of the members' names in a list.
    names: usize,
}

impl Item for Change {
    fn notice(this: &Arc<Self>) -> Notice {
        Notice::Change(this.clone())
    }
}

/// Rooms in turn, each of them once. When its turn comes, a room may be gone, or another one may have its name.
#[derive(Debug, Default)]
pub(super) struct News {
    turns: VecDeque<RoomId>,
    waiting: HashSet<RoomId>,
}

impl News {
    pub(super) fn push(&mut self, id: RoomId) {
        if self.waiting.insert(id.clone()) {
            self.turns.push_back(id);
        }
    }

    pub(super) fn pop(&mut self) -> Option<RoomId> {
        let id = self.turns.pop_front()?;
        self.waiting.remove(&id);
        Some(id)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.turns.is_empty()
    }

    #[cfg(any(test, feature = "fuzzing"))]
    pub(super) fn iter(&self) -> impl Iterator<Item = &RoomId> {
        self.turns.iter()
    }
}

impl Room {
    pub(super) fn new(owners: Vec<Owner>) -> Self {
        Self { owners, feed: Feed::default(), names: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.feed.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.feed.is_empty()
    }

    /// In the order they joined.
    pub(super) fn members(&self) -> impl Iterator<Item = ConnId> {
        self.feed.followers()
    }

    /// Whether one more member would exceed `most`, or make the list longer than clients have to read
    /// (`MAX_LIST_LEN`).
    pub(super) fn is_full_for(&self, uid: &PeerId, most: usize) -> bool {
        self.len() >= most || text::list_len(self.names + name_len(uid)) > MAX_LIST_LEN
    }

    /// Adds a member. It gets notices of what happens from now on.
    pub(super) fn join(&mut self, conn: ConnId, uid: &PeerId, effects: &mut Vec<Effect>) -> Place {
        self.tell(uid, true, effects);
        self.names += name_len(uid);
        self.feed.add(conn)
    }

    pub(super) fn leave(&mut self, place: Place, uid: &PeerId, effects: &mut Vec<Effect>) {
        if self.feed.remove(place) {
            self.names = self.names.saturating_sub(name_len(uid));
            self.tell(uid, false, effects);
        }
    }

    fn tell(&mut self, uid: &PeerId, is_there: bool, effects: &mut Vec<Effect>) {
        if self.is_empty() {
            return;
        }
        self.feed.push(Change { uid: uid.clone(), is_there, text: text::change(uid, is_there) });
        if self.feed.is_too_long() {
            self.feed.pass_on_oldest(effects);
        }
    }

    /// Delivers all outstanding notices to a member, before another message is sent to it.
    pub(super) fn catch_up(&mut self, place: Place, effects: &mut Vec<Effect>) {
        self.feed.catch_up(place, effects);
    }

    /// Delivers outstanding notices member by member and subtracts their cost from `most`. True if more are left.
    pub(super) fn pass_on(&mut self, most: &mut usize, effects: &mut Vec<Effect>) -> bool {
        self.feed.pass_on(most, effects)
    }

    /// Whether some member has outstanding notices.
    pub(super) fn has_news(&self) -> bool {
        self.feed.has_news()
    }
}

/// Bytes of a name in a list, including the space before it.
fn name_len(uid: &PeerId) -> usize {
    uid.as_str().len() + 1
}
