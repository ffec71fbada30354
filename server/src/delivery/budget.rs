//! A memory budget for outgoing queues and incomplete incoming messages, shared by all connections.
//!
//! Each queue has a small share of its own and draws what exceeds it from the budget. If the budget is exceeded, the
//! queue that has been above its share for the longest time is closed first: one that stalls, not one that just
//! received a burst.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::delivery::outbox::Outbox;

/// Bytes each queue may hold without drawing. A description and its candidates fit; an honest peer on a good line has
/// no more queued. Saves a mutex and an atomic operation per message.
pub const SHARE: usize = 16 * 1024;

/// An exhausted budget frees this fraction (1/8) at once, so that the next frame does not exhaust it again.
const FREED: usize = 8;

/// Limits of queued bytes. They can be changed at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// For one peer.
    pub queue: usize,
    /// For all peers together, without their shares.
    pub all: usize,
}

/// The shared budget (see the module's description).
///
/// Locks are taken in this order only: `relief`, a queue's, `drawing`.
#[derive(Debug)]
pub struct Budget {
    queue: AtomicUsize,
    all: AtomicUsize,
    drawn: AtomicUsize,
    drawing: Mutex<Drawing>,
    relief: Mutex<()>,
}

/// Queues above their share, in the order in which they exceeded it.
#[derive(Debug, Default)]
struct Drawing {
    queues: BTreeMap<u64, Weak<Outbox>>,
    last: u64,
}

/// What one queue has drawn.
#[derive(Debug, Default)]
pub(crate) struct Draw {
    bytes: usize,
    /// Its key in `Drawing` while it draws.
    place: u64,
}

impl Budget {
    /// A budget from which nothing is drawn.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            queue: bounds.queue.into(),
            all: bounds.all.into(),
            drawn: 0.into(),
            drawing: Mutex::default(),
            relief: Mutex::default(),
        }
    }

    /// Replaces the bounds. They also apply to what is queued already.
    pub fn set_bounds(&self, bounds: Bounds) {
        self.queue.store(bounds.queue, Ordering::Relaxed);
        self.all.store(bounds.all, Ordering::Relaxed);
        self.relieve();
    }

    /// The current bounds.
    pub fn bounds(&self) -> Bounds {
        Bounds { queue: self.queue.load(Ordering::Relaxed), all: self.all.load(Ordering::Relaxed) }
    }

    /// Bytes that all queues together have drawn.
    pub fn drawn(&self) -> usize {
        self.drawn.load(Ordering::Relaxed)
    }

    fn is_exceeded(&self) -> bool {
        self.drawn() > self.all.load(Ordering::Relaxed)
    }

    /// Draws or returns bytes to match a queue that holds `bytes`. The caller holds the queue's lock. After a draw it
    /// must call [`Budget::relieve`] without that lock.
    pub(crate) fn settle(&self, draw: &mut Draw, bytes: usize, queue: impl Fn() -> Weak<Outbox>) {
        let needed = bytes.saturating_sub(SHARE);
        if needed > draw.bytes {
            self.drawn.fetch_add(needed - draw.bytes, Ordering::Relaxed);
        } else if needed < draw.bytes {
            self.drawn.fetch_sub(draw.bytes - needed, Ordering::Relaxed);
        }
        match (draw.bytes, needed) {
            (0, 1..) => draw.place = self.drawing().enter(queue()),
            (1.., 0) => drop(self.drawing().queues.remove(&draw.place)),
            _ => {}
        }
        draw.bytes = needed;
    }

    /// If the budget is exceeded, closes queues until enough is free again.
    pub(crate) fn relieve(&self) {
        if !self.is_exceeded() {
            return;
        }
        let _one_at_a_time = self.relief.lock().unwrap_or_else(PoisonError::into_inner);
        if !self.is_exceeded() {
            return;
        }
        let all = self.all.load(Ordering::Relaxed);
        while self.drawn() > all - all / FREED {
            let Some((place, queue)) = self.drawing().queues.pop_first() else { return };
            if let Some(queue) = queue.upgrade() {
                queue.give_up(place);
            }
        }
    }

    fn drawing(&self) -> MutexGuard<'_, Drawing> {
        self.drawing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Draw {
    /// Whether the queue has drawn without interruption since it got this place.
    pub(crate) fn is_at(&self, place: u64) -> bool {
        self.bytes > 0 && self.place == place
    }

    /// Whether the queue is above its share.
    pub(crate) fn is_any(&self) -> bool {
        self.bytes > 0
    }
}

impl Drawing {
    fn enter(&mut self, queue: Weak<Outbox>) -> u64 {
        self.last += 1;
        self.queues.insert(self.last, queue);
        self.last
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_tungstenite::tungstenite::Message;
    use proptest::prelude::*;

    use super::*;
    use crate::delivery::outbox::FRAME_COST;

    const BOUNDS: Bounds = Bounds { queue: 100_000, all: 120_000 };

    fn push(outbox: &Arc<Outbox>, cost: usize) {
        outbox.push(Message::binary(vec![0; cost - FRAME_COST]));
    }

    fn outboxes(budget: &Arc<Budget>, n: usize) -> Vec<Arc<Outbox>> {
        (0..n).map(|_| Arc::new(Outbox::new(budget.clone()))).collect()
    }

    #[test]
    fn who_stays_within_its_share_draws_nothing_and_is_never_closed() {
        let budget = Arc::new(Budget::new(BOUNDS));
        let [greedy, modest] = [1000, 1000].map(|n| outboxes(&budget, n));
        modest.iter().for_each(|outbox| push(outbox, SHARE));
        assert_eq!(budget.drawn(), 0);
        greedy.iter().for_each(|outbox| push(outbox, SHARE + 10_000));
        assert!(budget.drawn() <= BOUNDS.all);
        assert!(modest.iter().all(|outbox| !outbox.is_closing()));
    }

    #[test]
    fn who_stalls_is_closed_before_who_was_just_sent_much() {
        let budget = Arc::new(Budget::new(BOUNDS));
        let stalled = outboxes(&budget, 3);
        // Each stalled queue holds less than the honest one will.
        stalled.iter().for_each(|outbox| push(outbox, SHARE + 39_000));
        let honest = &outboxes(&budget, 1)[0];
        push(honest, SHARE + 41_000);
        assert!(!honest.is_closing());
        assert_eq!(stalled.iter().filter(|outbox| outbox.is_closing()).count(), 2, "an eighth is free again");
    }

    #[test]
    fn who_catches_up_goes_to_the_end_of_the_line() {
        let budget = Arc::new(Budget::new(BOUNDS));
        let [first, second, third] = [0; 3].map(|_| outboxes(&budget, 1).remove(0));
        push(&first, SHARE + 50_000);
        push(&second, SHARE + 50_000);
        first.pop();
        assert_eq!(budget.drawn(), 100_000, "the socket has it, and has not written it");
        first.written(SHARE + 50_000);
        assert_eq!(budget.drawn(), 50_000);
        push(&first, SHARE + 50_000);
        push(&third, SHARE + 50_000);
        assert!(second.is_closing() && !first.is_closing() && !third.is_closing());
    }

    #[test]
    fn a_smaller_budget_counts_at_once() {
        let budget = Arc::new(Budget::new(BOUNDS));
        let queues = outboxes(&budget, 2);
        queues.iter().for_each(|outbox| push(outbox, SHARE + 50_000));
        budget.set_bounds(Bounds { all: 60_000, ..BOUNDS });
        assert_eq!(budget.drawn(), 50_000);
        assert!(queues[0].is_closing() && !queues[1].is_closing());
        drop(queues);
        assert_eq!(budget.drawn(), 0);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(usize, usize),
        Write(usize, usize),
        Replace(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let who = 0..12_usize;
        prop_oneof![
            6 => (who.clone(), FRAME_COST..40_000).prop_map(|(who, cost)| Step::Push(who, cost)),
            3 => (who.clone(), 1..4_usize).prop_map(|(who, n)| Step::Write(who, n)),
            1 => who.prop_map(Step::Replace),
        ]
    }

    proptest! {
        /// The bytes drawn are those above the shares and never exceed the budget. A queue is closed only if it exceeds
        /// its own limit, or if all queues that exceeded their share earlier are closed, too.
        #[test]
        fn the_budget_holds_whatever_happens(steps in proptest::collection::vec(step(), 0..400)) {
            let budget = Arc::new(Budget::new(BOUNDS));
            let mut queues = outboxes(&budget, 12);
            let mut line: Vec<usize> = Vec::new();
            for step in steps {
                let open: Vec<bool> = queues.iter().map(|queue| !queue.is_closing()).collect();
                let mut too_full = None;
                if let Step::Push(who, cost) = step && queues[who].queued_bytes() + cost > BOUNDS.queue {
                    too_full = Some(who);
                }
                match step {
                    Step::Push(who, cost) => push(&queues[who], cost),
                    Step::Write(who, n) => {
                        let popped = (0..n).map_while(|_| queues[who].pop());
                        let cost = popped.map(|frame| frame.len() + FRAME_COST).sum();
                        queues[who].written(cost);
                    }
                    Step::Replace(who) => {
                        queues[who] = Arc::new(Outbox::new(budget.clone()));
                        line.retain(|other| *other != who);
                    }
                }
                let above = |who: &usize| queues[*who].queued_bytes() > SHARE;
                (0..12).filter(above).for_each(|who| if !line.contains(&who) { line.push(who) });
                let given_up = |who: &usize| open[*who] && queues[*who].is_closing() && too_full != Some(*who);
                let waiting: Vec<usize> = line.iter().copied().filter(|who| too_full != Some(*who)).collect();
                let victims = waiting.iter().take_while(|who| given_up(who)).count();
                prop_assert_eq!((0..12).filter(given_up).count(), victims);
                line.retain(above);
                let drawn: usize = queues.iter().map(|queue| queue.queued_bytes().saturating_sub(SHARE)).sum();
                prop_assert_eq!(budget.drawn(), drawn);
                prop_assert!(drawn <= BOUNDS.all);
            }
            drop(queues);
            prop_assert_eq!(budget.drawn(), 0);
        }
    }
}
