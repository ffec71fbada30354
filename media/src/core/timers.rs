//! Deadlines by key, the earliest first.

use std::{
    collections::{BTreeSet, HashMap},
    hash::Hash,
    time::Instant,
};

/// At most one deadline for each key.
#[derive(Debug)]
pub struct Timers<K> {
    by_key: HashMap<K, Instant>,
    in_order: BTreeSet<(Instant, K)>,
}

impl<K: Copy + Ord + Hash> Timers<K> {
    /// Replaces the deadline of a key. None removes it.
    pub fn set(&mut self, key: K, at: Option<Instant>) {
        let old = match at {
            Some(at) => self.by_key.insert(key, at),
            None => self.by_key.remove(&key),
        };
        if old == at {
            return;
        }
        if let Some(old) = old {
            self.in_order.remove(&(old, key));
        }
        if let Some(at) = at {
            self.in_order.insert((at, key));
        }
    }

    /// The earliest deadline.
    pub fn next(&self) -> Option<Instant> {
        self.in_order.first().map(|(at, _)| *at)
    }

    /// Removes the earliest deadline that has passed, and returns its key.
    pub fn pop(&mut self, now: Instant) -> Option<K> {
        let (at, key) = *self.in_order.first()?;
        if at > now {
            return None;
        }
        self.in_order.pop_first();
        self.by_key.remove(&key);
        Some(key)
    }
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { by_key: HashMap::new(), in_order: BTreeSet::new() }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn keys_come_in_the_order_of_their_latest_deadline() {
        let now = Instant::now();
        let after = |ms| Some(now + Duration::from_millis(ms));
        let mut timers = Timers::default();
        timers.set("a", after(30));
        timers.set("b", after(20));
        timers.set("c", after(10));
        timers.set("a", after(5));
        timers.set("c", None);
        assert_eq!(timers.next(), after(5));
        assert_eq!(timers.pop(now), None);
        assert_eq!(timers.pop(now + Duration::from_millis(20)), Some("a"));
        assert_eq!(timers.pop(now + Duration::from_millis(20)), Some("b"));
        assert_eq!((timers.pop(now + Duration::from_secs(9)), timers.next()), (None, None));
    }
}
