//! A room: its members, and the notices that they have not heard yet.
//!
//! A notice is written once and kept once, whoever is to hear it. Each member knows how far it has heard, and is brought
//! up to date before anything else is sent to it: each hears everything in the order it happened, whenever it is passed
//! on. So one who joins or leaves costs the same in a room of any size at that moment, what is passed on at a time has a
//! bound, and those who leave together are not told of each other.

use std::collections::{BTreeMap, HashSet, VecDeque};

use async_tungstenite::tungstenite::Message;
use callbin_protocol::{MAX_LIST_LEN, PeerId, RoomId, ServerMessage};

use super::{ConnId, Effect, text};
use crate::owner::Owner;

/// Notices kept until everybody has heard them, or four for each member there ever was. Beyond that the oldest is passed
/// on at once.
const MAX_NOTICES: usize = 4096;

/// What it costs to have a member hear something, in notices: it is woken, and writes to its socket.
const VISIT: usize = 8;

/// How large a list is beside the names in it, at most: its verb.
const LIST_HEAD: usize = "ROOM_PEER_LIST ".len();

/// A member's place in the order in which they joined. No place is taken twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

/// A room with somebody in it.
#[derive(Debug)]
pub(super) struct Room {
    /// Who made it, and has it counted until it is empty.
    pub(super) owners: Vec<Owner>,
    /// In the order they joined.
    members: BTreeMap<Place, Member>,
    last_place: u64,
    /// The most members there ever were.
    largest: usize,
    /// What their names take in a list.
    names: usize,
    notices: Notices,
}

/// Rooms in turns, each of them once. A room may be gone, and another one have its name, before its turn.
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
    /// The number of the first notice that it has not heard.
    hears: u64,
}

#[derive(Debug, Default)]
struct Notices {
    /// Those that somebody has not heard, and their first one's number.
    waiting: VecDeque<Message>,
    first: u64,
    /// Passing on goes from member to member: who is next, and the number of the first notice that is not for this
    /// round.
    next: Option<(Place, u64)>,
}

impl Notices {
    fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    /// From one number to another.
    fn range(&self, from: u64, to: u64) -> impl Iterator<Item = &Message> {
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

    /// Whether one more would make it larger than this, or its list longer than everybody reads.
    pub(super) fn is_full_for(&self, uid: &PeerId, most: usize) -> bool {
        self.members.len() >= most || LIST_HEAD + self.names + name_len(uid) > MAX_LIST_LEN
    }

    /// Takes in a member. It hears what happens from now on.
    pub(super) fn join(&mut self, conn: ConnId, uid: &PeerId, effects: &mut Vec<Effect>) -> Place {
        self.tell(&ServerMessage::RoomPeerJoined(uid.clone()), effects);
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
            self.tell(&ServerMessage::RoomPeerLeft(uid.clone()), effects);
        }
    }

    fn tell(&mut self, notice: &ServerMessage<'_>, effects: &mut Vec<Effect>) {
        if self.members.is_empty() {
            return;
        }
        self.notices.waiting.push_back(text(notice));
        if self.notices.waiting.len() > MAX_NOTICES.max(4 * self.largest) {
            self.pass_on_oldest(effects);
        }
    }

    /// More has happened than may wait.
    fn pass_on_oldest(&mut self, effects: &mut Vec<Effect>) {
        let to = self.notices.first + 1;
        for member in self.members.values_mut() {
            catch_up(member, to, &self.notices, effects);
        }
        self.notices.forget_before(to);
    }

    /// Lets a member hear all that it has not heard, before it is sent something else.
    pub(super) fn catch_up(&mut self, place: Place, effects: &mut Vec<Effect>) {
        if let Some(member) = self.members.get_mut(&place) {
            catch_up(member, self.notices.end(), &self.notices, effects);
        }
    }

    /// Lets members hear some of what they have not heard, one after the other, and takes from `most` what that was.
    /// True if there is more.
    pub(super) fn pass_on(&mut self, most: &mut usize, effects: &mut Vec<Effect>) -> bool {
        let (next, to) = self.notices.next.unwrap_or((Place(0), self.notices.end()));
        let mut stopped_at = None;
        for (place, member) in self.members.range_mut(next..) {
            if *most == 0 {
                stopped_at = Some(*place);
                break;
            }
            let until = to.min(member.hears.saturating_add(*most as u64));
            // Somebody who has heard everything costs a look.
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

    /// Whether somebody has not heard something.
    pub(super) fn has_news(&self) -> bool {
        !self.notices.waiting.is_empty()
    }
}

/// Sends a member the notices up to a number, and returns how many that were.
fn catch_up(member: &mut Member, to: u64, notices: &Notices, effects: &mut Vec<Effect>) -> usize {
    let before = effects.len();
    effects.extend(notices.range(member.hears, to).map(|notice| Effect::Send(member.conn, notice.clone())));
    member.hears = member.hears.max(to);
    effects.len() - before
}

/// What a name takes in a list, with the space before it.
fn name_len(uid: &PeerId) -> usize {
    uid.as_str().len() + 1
}
