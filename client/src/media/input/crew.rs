//! The threads that open and close a source, one at a time. GStreamer, a driver or a network may hang for ever in either: then
//! another thread takes over.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use super::relay::Tap;

/// A thread that has not taken an order for this long hangs.
const HANGS: Duration = Duration::from_secs(10);
/// The most threads of one source, with those that hang.
const MOST: usize = 4;

/// An order to the thread.
#[derive(Debug)]
pub(super) enum Order {
    Open(u64, Vec<Arc<Tap>>),
    Close,
}

/// What a thread has to do.
#[derive(Debug)]
pub(super) struct Todo {
    latest: Arc<Mutex<Option<Order>>>,
    wakes: Receiver<()>,
    /// It counts as one of the threads that there are.
    _counted: Arc<()>,
}

impl Todo {
    /// The orders, until another thread has taken over, or nothing is to be done any more.
    pub(super) fn orders(&self) -> impl Iterator<Item = Order> {
        self.wakes.iter().filter_map(|()| take(&self.latest))
    }
}

/// Gives orders to the thread that works. A new order replaces one that is not taken yet.
pub(super) struct Crew {
    /// Starts a thread; returns whether it did.
    hire: Box<dyn Fn(Todo) -> bool + Send>,
    /// One more than the threads that there are.
    counted: Arc<()>,
    latest: Arc<Mutex<Option<Order>>>,
    wake: SyncSender<()>,
    /// Since when an order waits.
    waits: Option<Duration>,
}

impl Crew {
    /// Starts the first thread. `None` if that fails.
    pub(super) fn new(hire: impl Fn(Todo) -> bool + Send + 'static) -> Option<Self> {
        let counted = Arc::new(());
        let (latest, wake, todo) = post(&counted);
        hire(todo).then(|| Self { hire: Box::new(hire), counted, latest, wake, waits: None })
    }

    pub(super) fn give(&mut self, now: Duration, order: Order) {
        let waited = self.latest.lock().unwrap_or_else(PoisonError::into_inner).replace(order).is_some();
        self.waits = self.waits.filter(|_| waited).or(Some(now));
        // If it is full, the thread looks anyway.
        let _ = self.wake.try_send(());
    }

    /// Lets another thread take over if the present one hangs. Call it some times per second.
    pub(super) fn look(&mut self, now: Duration) {
        let hangs = self.waits.is_some_and(|since| now.saturating_sub(since) >= HANGS);
        if !hangs || Arc::strong_count(&self.counted) > MOST {
            return;
        }
        self.waits = None;
        let Some(order) = take(&self.latest) else { return };
        let (latest, wake, todo) = post(&self.counted);
        if (self.hire)(todo) {
            tracing::warn!("a source cannot be closed or opened: it is left behind, and opened anew");
            (self.latest, self.wake) = (latest, wake);
        }
        self.give(now, order);
    }
}

fn post(counted: &Arc<()>) -> (Arc<Mutex<Option<Order>>>, SyncSender<()>, Todo) {
    let (wake, wakes) = sync_channel(1);
    let latest = Arc::default();
    (Arc::clone(&latest), wake, Todo { latest, wakes, _counted: counted.clone() })
}

fn take(latest: &Mutex<Option<Order>>) -> Option<Order> {
    latest.lock().unwrap_or_else(PoisonError::into_inner).take()
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    /// Threads that do nothing before the test takes their orders.
    fn crew() -> (Crew, Receiver<Todo>) {
        let (hired, threads) = channel();
        (Crew::new(move |todo| hired.send(todo).is_ok()).unwrap(), threads)
    }

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_thread_that_hangs_finds_only_the_latest_order() {
        let (mut crew, threads) = crew();
        for number in 1..=1000 {
            crew.give(seconds(0), Order::Open(number, Vec::new()));
            crew.give(seconds(0), Order::Close);
        }
        crew.give(seconds(0), Order::Open(7, Vec::new()));
        drop(crew);
        let found: Vec<Order> = threads.recv().unwrap().orders().collect();
        assert!(matches!(found[..], [Order::Open(7, _)]), "{found:?}");
    }

    #[test]
    fn another_thread_takes_over_from_one_that_hangs() {
        let (mut crew, threads) = crew();
        crew.give(seconds(0), Order::Close);
        crew.give(seconds(9), Order::Open(2, Vec::new()));
        crew.look(seconds(9));
        let first = threads.try_recv().unwrap();
        assert!(threads.try_recv().is_err());
        crew.look(seconds(10));
        let second = threads.try_recv().unwrap();
        assert!(matches!(second.orders().next(), Some(Order::Open(2, _))));
        assert!(first.orders().next().is_none(), "it ends once it hangs no more");
        crew.look(seconds(100));
        assert!(threads.try_recv().is_err(), "the second one works");
    }

    #[test]
    fn few_threads_hang() {
        let (mut crew, threads) = crew();
        crew.give(seconds(0), Order::Close);
        for now in 0..1000 {
            crew.look(seconds(now));
        }
        let hanging: Vec<Todo> = threads.try_iter().collect();
        assert_eq!(hanging.len(), MOST);
        // Those that hang no more make room for others.
        drop(hanging);
        crew.look(seconds(2000));
        assert_eq!(threads.try_iter().count(), 1);
    }
}
