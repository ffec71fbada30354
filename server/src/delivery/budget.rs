//! A memory budget for outgoing queues and incomplete incoming messages, shared by all connections.
//!
//! Each queue has a small share of its own and draws what exceeds it from the budget. If the budget is exceeded, the
//! queue that has been above its share for the longest time is closed first: one that stalls, not one that just
//! received a burst.

use std::{
    collections::BTreeMap,
    fmt::Debug,
    sync::{
        Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicUsize, Ordering},
    },
};

/// A queue that draws on the budget.
pub(crate) trait Gives: Debug + Send + Sync {
    /// Closes the connection to free memory for others, if it has drawn without interruption since it got `place`.
    fn give_up(&self, place: u64);
}

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
    queues: BTreeMap<u64, Weak<dyn Gives>>,
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
    pub(crate) fn settle(&self, draw: &mut Draw, bytes: usize, queue: impl Fn() -> Weak<dyn Gives>) {
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
    fn enter(&mut self, queue: Weak<dyn Gives>) -> u64 {
        self.last += 1;
        self.queues.insert(self.last, queue);
        self.last
    }
}
