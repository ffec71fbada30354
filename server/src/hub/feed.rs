//! News that many connections get, in order, at the same cost for any number of them.
//!
//! An item is stored once, however many get it. Each follower has a position in the queue of items and gets the missing
//! ones before any other message, so it sees everything in order, whenever items are delivered. Therefore one more item
//! costs the same with any number of followers, and delivery is bounded per step.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use super::{ConnId, Effect, Notice};

/// Limit of stored items; four times the most followers there ever were, if that is more.
pub(super) const MAX_ITEMS: usize = 4096;

/// The fixed cost of a delivery to one follower, in items: a wake-up and a write to its socket.
const VISIT: usize = 8;

/// A follower's position in the order of arrival. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place(u64);

/// What a feed is made of.
pub(super) trait Item {
    /// The notice for a follower.
    fn notice(this: &Arc<Self>) -> Notice;
}

#[derive(Debug)]
struct Follower {
    conn: ConnId,
    /// The number of the first item that it has not received.
    hears: u64,
    /// It missed items, and is in the queue of those that did.
    is_late: bool,
}

/// Followers, and the items that some of them have not received.
#[derive(Debug)]
pub(super) struct Feed<T> {
    /// In the order they came.
    followers: BTreeMap<Place, Follower>,
    last_place: u64,
    /// The most followers there ever were.
    largest: usize,
    waiting: VecDeque<Arc<T>>,
    /// The number of the oldest waiting item.
    first: u64,
    /// The current round of deliveries: the next follower, and the number of the first item beyond this round.
    next: Option<(Place, u64)>,
    /// Followers that missed items, see [`Feed::drop_oldest`]: each of them once.
    late: VecDeque<Place>,
}

impl<T> Default for Feed<T> {
    fn default() -> Self {
        Self {
            followers: BTreeMap::new(),
            last_place: 0,
            largest: 0,
            waiting: VecDeque::new(),
            first: 0,
            next: None,
            late: VecDeque::new(),
        }
    }
}

impl<T: Item> Feed<T> {
    pub(super) fn len(&self) -> usize {
        self.followers.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.followers.is_empty()
    }

    /// In the order they came.
    pub(super) fn followers(&self) -> impl Iterator<Item = ConnId> {
        self.followers.values().map(|follower| follower.conn)
    }

    /// The followers and their places, in the order they came.
    pub(super) fn places(&self) -> impl Iterator<Item = (Place, ConnId)> {
        self.followers.iter().map(|(place, follower)| (*place, follower.conn))
    }

    /// A place for something that does not follow.
    pub(super) fn take_place(&mut self) -> Place {
        self.last_place += 1;
        Place(self.last_place)
    }

    /// Adds a follower. It gets what happens from now on.
    pub(super) fn add(&mut self, conn: ConnId) -> Place {
        let place = self.take_place();
        self.followers.insert(place, Follower { conn, hears: self.end(), is_late: false });
        self.largest = self.largest.max(self.followers.len());
        place
    }

    /// Removes a follower. False if it was none.
    pub(super) fn remove(&mut self, place: Place) -> bool {
        self.followers.remove(&place).is_some()
    }

    /// Queues an item for the present followers.
    pub(super) fn push(&mut self, item: T) {
        if !self.is_empty() {
            self.waiting.push_back(Arc::new(item));
        }
    }

    /// Whether there are more items than should be stored.
    pub(super) fn is_too_long(&self) -> bool {
        self.waiting.len() > MAX_ITEMS.max(4 * self.largest)
    }

    /// Delivers the oldest item to all followers: nothing is lost, but this costs more the more followers there are.
    pub(super) fn pass_on_oldest(&mut self, effects: &mut Vec<Effect>) {
        let to = self.first + 1;
        for follower in self.followers.values_mut() {
            catch_up(follower, to, self.first, &self.waiting, effects);
        }
        self.forget_before(to);
    }

    /// Forgets the oldest item. Followers that have not received it are late: see [`Feed::pop_late`].
    pub(super) fn drop_oldest(&mut self) {
        self.forget_before(self.first + 1);
    }

    /// The next follower that missed items: it needs the whole instead of what changed.
    pub(super) fn pop_late(&mut self) -> Option<ConnId> {
        while let Some(place) = self.late.pop_front() {
            if let Some(follower) = self.followers.get_mut(&place) {
                follower.is_late = false;
                return Some(follower.conn);
            }
        }
        None
    }

    /// Delivers all outstanding items to a follower, before another message is sent to it.
    pub(super) fn catch_up(&mut self, place: Place, effects: &mut Vec<Effect>) {
        let end = self.end();
        if let Some(follower) = self.followers.get_mut(&place) {
            skip_lost(place, follower, self.first, end, &mut self.late);
            catch_up(follower, end, self.first, &self.waiting, effects);
        }
    }

    /// Delivers outstanding items follower by follower and subtracts their cost from `most`. True if more are left.
    pub(super) fn pass_on(&mut self, most: &mut usize, effects: &mut Vec<Effect>) -> bool {
        let (next, to) = self.next.unwrap_or((Place(0), self.end()));
        let end = self.end();
        let mut stopped_at = None;
        for (place, follower) in self.followers.range_mut(next..) {
            if *most == 0 {
                stopped_at = Some(*place);
                break;
            }
            skip_lost(*place, follower, self.first, end, &mut self.late);
            let until = to.min(follower.hears.saturating_add(*most as u64));
            // A follower with nothing outstanding costs one.
            let cost = match catch_up(follower, until, self.first, &self.waiting, effects) {
                0 => 1,
                heard => VISIT + heard,
            };
            *most = most.saturating_sub(cost);
            if follower.hears < to {
                stopped_at = Some(*place);
                break;
            }
        }
        self.next = stopped_at.map(|place| (place, to));
        if stopped_at.is_none() {
            self.forget_before(to);
        }
        stopped_at.is_some() || self.has_news()
    }

    /// Whether some follower has outstanding items, or is late.
    pub(super) fn has_news(&self) -> bool {
        !self.waiting.is_empty() || !self.late.is_empty()
    }

    fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
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

/// Marks a follower as late if it missed items. It gets what comes after the present ones.
fn skip_lost(place: Place, follower: &mut Follower, first: u64, end: u64, late: &mut VecDeque<Place>) {
    if follower.hears < first {
        follower.hears = end;
        if !std::mem::replace(&mut follower.is_late, true) {
            late.push_back(place);
        }
    }
}

/// Sends a follower the items up to the number `to`, exclusive. Returns how many.
fn catch_up<T: Item>(
    follower: &mut Follower,
    to: u64,
    first: u64,
    waiting: &VecDeque<Arc<T>>,
    effects: &mut Vec<Effect>,
) -> usize {
    let before = effects.len();
    let index = |number: u64| usize::try_from(number.saturating_sub(first)).unwrap_or(usize::MAX);
    let missing = waiting.iter().take(index(to)).skip(index(follower.hears));
    effects.extend(missing.map(|item| Effect::Tell(follower.conn, T::notice(item))));
    follower.hears = follower.hears.max(to);
    effects.len() - before
}
