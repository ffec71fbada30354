//! A room: its members and the notices not yet delivered to all of them.
//!
//! A notice is stored once, with the text protocol's form of it, however many members get it. Each member has a position
//! in the queue of notices and gets the missing ones before any other message, so it sees everything in order, whenever
//! notices are delivered. Therefore joining and leaving cost the same in a room of any size, delivery is bounded per
//! step, and members that leave together get no notices of each other.

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
};

use callbin_protocol::{MAX_LIST_LEN, PeerId, RoomId};

use super::{Change, ConnId, Effect, Notice};
use crate::{access::owner::Owner, dialect::text};

/// Limit of stored notices; four times the most members the room ever had, if that is more. Beyond it the oldest notice
/// is delivered at once.
const MAX_NOTICES: usize = 4096;

/// The fixed cost of a delivery to one member, in notices: a wake-up and a write to its socket.
const VISIT: usize = 8;

/// A member's position in joining order. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

/// A room with at least one member.
#[derive(Debug)]
pub(super) struct Room {
    /// The owners it counts for until it is empty: those of its creator.
    pub(super) owners: Vec<Owner>,
    /// In the order they joined.
    members: BTreeMap<Place, Member>,
    last_place: u64,
    /// The most members the room ever had.
    largest: usize,
    /// Bytes of their names in a list.
    names: usize,
    notices: Notices,
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

#[derive(Debug)]
struct Member {
    conn: ConnId,
    /// The number of the first notice that it has not received.
    hears: u64,
}

#[derive(Debug, Default)]
struct Notices {
    /// Notices that some member has not received; `first` is the number of the oldest.
    waiting: VecDeque<Arc<Change>>,
    first: u64,
    /// The current round of deliveries: the next member, and the number of the first notice beyond this round.
    next: Option<(Place, u64)>,
}

impl Notices {
    fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// Notices `from` (inclusive) to `to` (exclusive).
    fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Arc<Change>> {
        let index = |number: u64| usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        self.waiting.iter().take(index(to)).skip(index(from))
    }

    fn forget_before(&mut self, number: u64) {
        while self.first < number && self.waiting.pop_front().is_some() {
            self.first += 1;
        }
        if self.waiting.is_empty() {
            self.waiting = VecDeque::new();
        }
    }
}

impl Room {
    pub(super) fn new(owners: Vec<Owner>) -> Self {
        Self {
            owners,
            members: BTreeMap::new(),
            last_place: 0,
            largest: 0,
            names: 0,
            notices: Notices::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.members.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// In the order they joined.
    pub(super) fn members(&self) -> impl Iterator<Item = ConnId> {
        self.members.values().map(|member| member.conn)
    }

    /// Whether one more member would exceed `most`, or make the list longer than clients have to read
    /// (`MAX_LIST_LEN`).
    pub(super) fn is_full_for(&self, uid: &PeerId, most: usize) -> bool {
        self.members.len() >= most || text::list_len(self.names + name_len(uid)) > MAX_LIST_LEN
    }

    /// Adds a member. It gets notices of what happens from now on.
    pub(super) fn join(&mut self, conn: ConnId, uid: &PeerId, effects: &mut Vec<Effect>) -> Place {
        self.tell(uid, true, effects);
        self.last_place += 1;
        let place = Place(self.last_place);
        self.members.insert(place, Member { conn, hears: self.notices.end() });
        self.largest = self.largest.max(self.members.len());
        self.names += name_len(uid);
        place
    }

    pub(super) fn leave(&mut self, place: Place, uid: &PeerId, effects: &mut Vec<Effect>) {
        if self.members.remove(&place).is_some() {
            self.names = self.names.saturating_sub(name_len(uid));
            self.tell(uid, false, effects);
        }
    }

    fn tell(&mut self, uid: &PeerId, is_there: bool, effects: &mut Vec<Effect>) {
        if self.members.is_empty() {
            return;
        }
        let change = Change { uid: uid.clone(), is_there, text: text::change(uid, is_there) };
        self.notices.waiting.push_back(Arc::new(change));
        if self.notices.waiting.len() > MAX_NOTICES.max(4 * self.largest) {
            self.pass_on_oldest(effects);
        }
    }

    /// The queue of notices is too long: delivers the oldest one to all members.
    fn pass_on_oldest(&mut self, effects: &mut Vec<Effect>) {
        let to = self.notices.first + 1;
        for member in self.members.values_mut() {
            catch_up(member, to, &self.notices, effects);
        }
        self.notices.forget_before(to);
    }

    /// Delivers all outstanding notices to a member, before another message is sent to it.
    pub(super) fn catch_up(&mut self, place: Place, effects: &mut Vec<Effect>) {
        if let Some(member) = self.members.get_mut(&place) {
            catch_up(member, self.notices.end(), &self.notices, effects);
        }
    }

    /// Delivers outstanding notices member by member and subtracts their cost from `most`. True if more are left.
    pub(super) fn pass_on(&mut self, most: &mut usize, effects: &mut Vec<Effect>) -> bool {
        let (next, to) = self.notices.next.unwrap_or((Place(0), self.notices.end()));
        let mut stopped_at = None;
        for (place, member) in self.members.range_mut(next..) {
            if *most == 0 {
                stopped_at = Some(*place);
                break;
            }
            let until = to.min(member.hears.saturating_add(*most as u64));
            // A member with nothing outstanding costs one.
            let cost = match catch_up(member, until, &self.notices, effects) {
                0 => 1,
                heard => VISIT + heard,
            };
            *most = most.saturating_sub(cost);
            if member.hears < to {
                stopped_at = Some(*place);
                break;
            }
        }
        self.notices.next = stopped_at.map(|place| (place, to));
        if stopped_at.is_none() {
            self.notices.forget_before(to);
        }
        stopped_at.is_some() || !self.notices.waiting.is_empty()
    }

    /// Whether some member has outstanding notices.
    pub(super) fn has_news(&self) -> bool {
        !self.notices.waiting.is_empty()
    }
}

/// Sends a member the notices up to the number `to`, exclusive. Returns how many.
fn catch_up(member: &mut Member, to: u64, notices: &Notices, effects: &mut Vec<Effect>) -> usize {
    let before = effects.len();
    let missing = notices.range(member.hears, to);
    effects.extend(missing.map(|change| Effect::Tell(member.conn, Notice::Change(change.clone()))));
    member.hears = member.hears.max(to);
    effects.len() - before
}

/// Bytes of a name in a list, including the space before it.
fn name_len(uid: &PeerId) -> usize {
    uid.as_str().len() + 1
}
