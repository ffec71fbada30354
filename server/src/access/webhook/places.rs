//! Decides which questions to the webhook may be asked now and which ones wait. No I/O, no clock.
//!
//! Each owner has a share of the places. When all places are taken, owners take turns: an owner with many questions
//! waits for its own, and a new owner for one answer per owner that waited before it.

use std::collections::{HashMap, VecDeque};

use crate::access::owner::Owner;

/// The most questions under way.
pub(crate) const PLACES: usize = 64;

/// The most places of one owner.
const OF_ONE: usize = 16;

/// The most places of an owner with a scale above one, see [`Owner::scale`].
const OF_MANY: usize = 32;

/// The most queued questions of one owner, times its scale: as many as it may register at once.
const WAITING: usize = 1000;

/// The result of `Places::enter`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Entry {
    /// It has a place.
    Taken,
    /// It is queued. Its token is returned when it gets a place.
    Waits,
    /// Too many questions of one of its owners are queued.
    Full,
}

/// A question with the owners it counts for.
#[derive(Debug, Clone)]
struct Asker {
    id: u64,
    owners: Vec<Owner>,
}

/// The places (see the module's description). `W` is the token that wakes a queued question.
#[derive(Debug)]
pub(super) struct Places<W> {
    free: usize,
    usage: HashMap<Owner, Usage>,
    /// Queued questions by their first owner, in the order they came.
    queues: HashMap<Owner, VecDeque<(Asker, W)>>,
    /// The owners with a queue, in turn.
    turns: VecDeque<Owner>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Usage {
    taken: usize,
    waiting: usize,
}

impl<W> Default for Places<W> {
    fn default() -> Self {
        Self { free: PLACES, usage: HashMap::new(), queues: HashMap::new(), turns: VecDeque::new() }
    }
}

impl<W> Places<W> {
    /// Asks for a place. If there is none, the question waits in the queue of its first owner.
    pub(super) fn enter(&mut self, id: u64, owners: &[Owner], token: W) -> Entry {
        let asker = Asker { id, owners: owners.to_vec() };
        // No queued question could take a free place, so this one overtakes none.
        if self.has_room(&asker) {
            self.take(&asker);
            return Entry::Taken;
        }
        let Some(first) = owners.first() else { return Entry::Full };
        let is_full = |owner| self.usage_of(owner).waiting >= WAITING.saturating_mul(owner.scale() as usize);
        if owners.iter().any(is_full) {
            return Entry::Full;
        }
        self.change(owners, |usage| usage.waiting += 1);
        let queue = self.queues.entry(first.clone()).or_default();
        if queue.is_empty() {
            self.turns.push_back(first.clone());
        }
        queue.push_back((asker, token));
        Entry::Waits
    }

    /// Releases a question's place, or removes it from its queue. Returns the tokens of the questions that get a place
    /// now.
    pub(super) fn leave(&mut self, id: u64, owners: &[Owner]) -> Vec<W> {
        if self.leave_queue(id, owners) {
            return Vec::new();
        }
        self.free += 1;
        self.change(owners, |usage| usage.taken = usage.taken.saturating_sub(1));
        let mut woken = Vec::new();
        // Stop after one round in which no question could get a place.
        let mut left = self.turns.len();
        while left > 0
            && self.free > 0
            && let Some(owner) = self.turns.pop_front()
        {
            let next = self.next_of(&owner);
            left = if next.is_some() { self.turns.len() + 1 } else { left - 1 };
            woken.extend(next);
            if self.queues.contains_key(&owner) {
                self.turns.push_back(owner);
            }
        }
        woken
    }

    /// Gives a place to the first question in a queue that may have one.
    fn next_of(&mut self, owner: &Owner) -> Option<W> {
        if self.is_at_its_share(owner) {
            return None;
        }
        let queue = self.queues.get(owner)?;
        let index = queue.iter().position(|(asker, _)| self.has_room(asker))?;
        let (asker, token) = self.remove(owner, index)?;
        self.take(&asker);
        Some(token)
    }

    fn leave_queue(&mut self, id: u64, owners: &[Owner]) -> bool {
        let Some(first) = owners.first() else { return false };
        let queue = self.queues.get(first);
        let index = queue.and_then(|queue| queue.iter().position(|(asker, _)| asker.id == id));
        let left = index.and_then(|index| self.remove(first, index)).is_some();
        if left && !self.queues.contains_key(first) {
            self.turns.retain(|owner| owner != first);
        }
        left
    }

    fn remove(&mut self, first: &Owner, index: usize) -> Option<(Asker, W)> {
        let queue = self.queues.get_mut(first)?;
        let (asker, token) = queue.remove(index)?;
        if queue.is_empty() {
            self.queues.remove(first);
        }
        self.change(&asker.owners, |usage| usage.waiting = usage.waiting.saturating_sub(1));
        Some((asker, token))
    }

    fn take(&mut self, asker: &Asker) {
        self.free = self.free.saturating_sub(1);
        self.change(&asker.owners, |usage| usage.taken += 1);
    }

    fn has_room(&self, asker: &Asker) -> bool {
        self.free > 0 && !asker.owners.iter().any(|owner| self.is_at_its_share(owner))
    }

    fn is_at_its_share(&self, owner: &Owner) -> bool {
        let share = if owner.scale() > 1 { OF_MANY } else { OF_ONE };
        self.usage_of(owner).taken >= share
    }

    fn usage_of(&self, owner: &Owner) -> Usage {
        self.usage.get(owner).copied().unwrap_or_default()
    }

    fn change(&mut self, owners: &[Owner], change: impl Fn(&mut Usage)) {
        for owner in owners {
            let usage = self.usage.entry(owner.clone()).or_default();
            change(usage);
            if *usage == Usage::default() {
                self.usage.remove(owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::access::owner::owners;

    fn address(last: u8) -> Owner {
        Owner::Address([192, 0, 2, last].into())
    }

    fn identity(name: &str) -> Owner {
        Owner::Identity(name.into())
    }

    /// Enters questions and returns how many got a place.
    fn enter(places: &mut Places<u64>, ids: std::ops::Range<u64>, owners: &[Owner]) -> usize {
        ids.filter(|id| places.enter(*id, owners, *id) == Entry::Taken).count()
    }

    #[test]
    fn one_owner_leaves_places_to_the_others() {
        let mut places = Places::default();
        assert_eq!(enter(&mut places, 0..500, &[address(1)]), OF_ONE);
        assert_eq!(places.enter(500, &[address(2)], 500), Entry::Taken);
        // The owner's own next question gets its place when one of its own is answered.
        assert!(places.leave(500, &[address(2)]).is_empty());
        assert_eq!(places.leave(0, &[address(1)]), [16]);
    }

    #[test]
    fn an_identity_is_one_owner_wherever_it_is() {
        let mut places = Places::default();
        let taken: usize = (0..20_u8)
            .map(|i| {
                let ids = u64::from(i) * 10..u64::from(i) * 10 + 10;
                enter(&mut places, ids, &[address(i), identity("a")])
            })
            .sum();
        assert_eq!(taken, OF_ONE);
        assert_eq!(places.enter(1000, &[address(0), identity("b")], 1000), Entry::Taken);
    }

    #[test]
    fn an_ipv6_network_is_one_owner_of_half_the_places() {
        let mut places = Places::default();
        let taken = (0..500_u128).filter(|i| {
            let address = std::net::Ipv6Addr::from_bits((0x2001_0db8 << 96) + (i << 64));
            let mut owners: Vec<Owner> = owners(address.into()).collect();
            owners.reverse();
            places.enter(u64::try_from(*i).unwrap(), &owners, 0) == Entry::Taken
        });
        assert_eq!(taken.count(), OF_MANY);
        assert_eq!(places.enter(1000, &[address(1)], 0), Entry::Taken);
    }

    #[test]
    fn who_comes_when_all_places_are_taken_waits_for_one_answer() {
        let mut places = Places::default();
        for i in 0..4 {
            enter(&mut places, u64::from(i) * 100..u64::from(i) * 100 + 100, &[address(i)]);
        }
        assert_eq!(places.free, 0);
        assert_eq!(places.enter(1000, &[address(9)], 1000), Entry::Waits);
        // The four owners with queues have one turn each before.
        let woken: Vec<u64> = (0..5).flat_map(|id| places.leave(id, &[address(0)])).collect();
        assert!(woken.contains(&1000), "{woken:?}");
    }

    #[test]
    fn who_gives_up_makes_room_in_the_queue() {
        let mut places = Places::default();
        let last = u64::try_from(OF_ONE + WAITING).unwrap();
        enter(&mut places, 0..last, &[address(1)]);
        assert_eq!(places.enter(last, &[address(1)], last), Entry::Full);
        assert!(places.leave(16, &[address(1)]).is_empty(), "it waited, and held no place");
        assert_eq!(places.enter(last, &[address(1)], last), Entry::Waits);
        assert_eq!(places.leave(0, &[address(1)]), [17]);
    }

    proptest! {
        /// In any order: no place is lost or given twice, no share is exceeded, and no question waits while a place is
        /// free for it.
        #[test]
        fn the_books_are_kept(steps in prop::collection::vec((0..5_u8, 0..3_u8, 0..4_usize), 1..600)) {
            let mut places = Places::default();
            let (mut held, mut waiting) = (Vec::<(u64, Vec<Owner>)>::new(), Vec::<(u64, Vec<Owner>)>::new());
            for (id, (who, name, what)) in steps.into_iter().enumerate() {
                let id = id as u64;
                let owners = vec![address(who), identity(&name.to_string())];
                let gone = match what {
                    0 if !held.is_empty() => Some(held.swap_remove(usize::from(who) % held.len())),
                    1 if !waiting.is_empty() => Some(waiting.swap_remove(usize::from(who) % waiting.len())),
                    _ => None,
                };
                match gone {
                    Some((gone, owners)) => for woken in places.leave(gone, &owners) {
                        let index = waiting.iter().position(|(id, _)| *id == woken).expect("it waited");
                        held.push(waiting.swap_remove(index));
                    },
                    None => match places.enter(id, &owners, id) {
                        Entry::Taken => held.push((id, owners)),
                        Entry::Waits => waiting.push((id, owners)),
                        Entry::Full => {}
                    },
                }
                let of = |all: &[(u64, Vec<Owner>)], owner: &Owner| {
                    all.iter().filter(|(_, owners)| owners.contains(owner)).count()
                };
                prop_assert_eq!(places.free + held.len(), PLACES);
                for owner in (0..5).map(address).chain((0..3).map(|name| identity(&name.to_string()))) {
                    let expected = Usage { taken: of(&held, &owner), waiting: of(&waiting, &owner) };
                    prop_assert_eq!(places.usage_of(&owner), expected);
                    prop_assert!(expected.taken <= OF_ONE);
                }
                for (id, owners) in &waiting {
                    let asker = Asker { id: *id, owners: owners.clone() };
                    prop_assert!(!places.has_room(&asker));
                }
            }
            for (id, owners) in waiting.into_iter().chain(held) {
                places.leave(id, &owners);
            }
            prop_assert!(places.usage.is_empty() && places.queues.is_empty() && places.turns.is_empty());
        }
    }
}
