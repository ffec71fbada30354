//! A room: its members and the notices not yet delivered to all of them, with the text protocol's form of each.
//!
//! The notices are a [`Feed`]: joining and leaving cost the same in a room of any size, and members that leave together
//! get no notices of each other.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    sync::Arc,
};

use callbin_protocol::{MAX_LIST_LEN, PeerId, RoomId};

use super::{
    Change, ConnId, Effect, FarMember, NodeName, Notice,
    feed::{Feed, Item, Place},
    node_rooms::Media,
};
use crate::{access::owner::Owner, dialect::text};

/// A room with at least one member.
#[derive(Debug)]
pub(super) struct Room {
    /// The owners it counts for until it is empty: those of its creator.
    pub(super) owners: Vec<Owner>,
    feed: Feed<Change>,
    /// The members on other nodes.
    far: BTreeMap<Place, FarMember>,
    /// Their places.
    far_places: HashMap<PeerId, Place>,
    /// Bytes of the members' names in a list.
    names: usize,
    /// Its media go through a media node.
    pub(super) media: Option<Box<Media>>,
}

/// A member in a list.
#[derive(Debug)]
pub(super) enum Listed {
    /// A connection of this node.
    Here(ConnId),
    /// A peer of another node.
    Far(PeerId),
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
    pub(super) fn new(owners: Vec<Owner>, media: Option<Box<Media>>) -> Self {
        let (far, far_places) = (BTreeMap::new(), HashMap::new());
        Self { owners, feed: Feed::default(), far, far_places, names: 0, media }
    }

    /// The number of members on all nodes.
    pub(super) fn len(&self) -> usize {
        self.feed.len() + self.far.len()
    }

    /// Whether it has no members here.
    pub(super) fn is_empty(&self) -> bool {
        self.feed.is_empty()
    }

    /// The members on all nodes, without this one, in the order they joined.
    pub(super) fn list(&self, without: Option<ConnId>) -> Vec<Listed> {
        let here = self.feed.places().filter(|(_, conn)| Some(*conn) != without);
        let here = here.map(|(place, conn)| (place, Listed::Here(conn)));
        let far = self.far.iter().map(|(place, member)| (*place, Listed::Far(member.uid.clone())));
        let mut all: Vec<(Place, Listed)> = here.chain(far).collect();
        all.sort_by_key(|(place, _)| *place);
        all.into_iter().map(|(_, listed)| listed).collect()
    }

    /// A member on another node.
    pub(super) fn far(&self, uid: &PeerId) -> Option<&FarMember> {
        self.far.get(self.far_places.get(uid)?)
    }

    /// The members on other nodes.
    pub(super) fn far_members(&self) -> impl Iterator<Item = &FarMember> {
        self.far.values()
    }

    /// The nodes of these.
    pub(super) fn far_nodes(&self) -> BTreeSet<NodeName> {
        self.far.values().map(|member| member.node.clone()).collect()
    }

    /// Adds a member on another node, or says that a known one is there now.
    pub(super) fn join_far(&mut self, member: FarMember, effects: &mut Vec<Effect>) -> bool {
        if let Some(known) = self.far_places.get(&member.uid).and_then(|place| self.far.get_mut(place)) {
            known.node = member.node;
            return false;
        }
        self.tell(&member.uid, true, effects);
        self.names += name_len(&member.uid);
        let place = self.feed.take_place();
        self.far_places.insert(member.uid.clone(), place);
        self.far.insert(place, member);
        true
    }

    /// Removes a member on another node. False: there is none.
    pub(super) fn leave_far(&mut self, uid: &PeerId, effects: &mut Vec<Effect>) -> bool {
        let member = self.far_places.remove(uid).and_then(|place| self.far.remove(&place));
        if member.is_some() {
            self.names = self.names.saturating_sub(name_len(uid));
            self.tell(uid, false, effects);
        }
        member.is_some()
    }

    /// The members on this node, in the order they joined.
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
