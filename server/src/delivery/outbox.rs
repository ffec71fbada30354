//! A peer's queue of outgoing notices and frames, bounded in bytes. Adding to it never blocks.

use std::{
    collections::VecDeque,
    mem,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll},
};

use async_tungstenite::tungstenite::Message;
use futures_util::task::AtomicWaker;

use crate::{
    close::CloseReason,
    delivery::{
        budget::{Budget, Draw, Gives, SHARE},
        payload::{Negotiation, Side},
    },
    hub::Notice,
};

/// The cost of an item in the queue in addition to its payload, so that a flood of empty frames is bounded, too.
pub const FRAME_COST: usize = 64;

/// The capacity that an empty queue may keep.
const KEPT_ITEMS: usize = 16;

/// What a connection has to send, perhaps followed by a close. Any task may add to it; only the connection
/// takes from it.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    budget: Arc<Budget>,
    reader: AtomicWaker,
    link: OnceLock<Link>,
}

/// One side of a session.
#[derive(Debug, Clone)]
pub struct Link {
    /// The partner's queue: everything received is forwarded there.
    pub partner: Weak<Outbox>,
    /// Which side this is.
    pub side: Side,
    /// The state of the negotiation, shared by both sides.
    pub negotiation: Arc<Negotiation>,
}

#[derive(Debug, Default)]
struct Queue {
    items: VecDeque<Item>,
    /// The cost of these items and of those handed to the socket but not yet written.
    bytes: usize,
    /// Bytes held for an incomplete incoming message: they draw on the budget, too.
    incoming: usize,
    draw: Draw,
    close: Option<CloseReason>,
    /// The peer is to be pinged.
    probe: bool,
}

/// Something to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// A frame as it is.
    Frame(Message),
    /// A notice, which the connection's dialect turns into frames.
    Notice(Notice),
}

impl Item {
    /// What it counts in the queue.
    pub fn cost(&self) -> usize {
        FRAME_COST
            + match self {
                Self::Frame(frame) => frame.len(),
                Self::Notice(notice) => notice.len(),
            }
    }
}

impl From<Message> for Item {
    fn from(frame: Message) -> Self {
        Self::Frame(frame)
    }
}

impl From<Notice> for Item {
    fn from(notice: Notice) -> Self {
        Self::Notice(notice)
    }
}

/// What the connection has to send next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// This item.
    Item(Item),
    /// A ping: the peer may be gone.
    Probe,
    /// A close frame and nothing after it.
    Close(CloseReason),
    /// Nothing; the waker will be called.
    Pending,
}

impl Outbox {
    /// An empty queue that can grow within the budget.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { queue: Mutex::default(), budget, reader: AtomicWaker::new(), link: OnceLock::new() }
    }

    /// Adds a frame or a notice. If the queue exceeds its limit, its items are dropped and the connection closes: a peer
    /// that reads too slowly must not delay others.
    pub fn push(self: &Arc<Self>, item: impl Into<Item>) {
        let item = item.into();
        let mut queue = self.lock();
        if queue.close.is_some() {
            return;
        }
        queue.bytes += item.cost();
        if queue.bytes > self.budget.bounds().queue {
            queue.drop_items(CloseReason::SlowReader);
        } else {
            queue.items.push_back(item);
        }
        let draws = self.settle(&mut queue, || Arc::downgrade(self) as Weak<dyn Gives>);
        drop(queue);
        self.reader.wake();
        if draws {
            self.budget.relieve();
        }
    }

    /// Sets the bytes held for an incomplete incoming message.
    pub fn receiving(self: &Arc<Self>, bytes: usize) {
        let mut queue = self.lock();
        if queue.close.is_some() {
            return;
        }
        queue.incoming = bytes;
        let draws = self.settle(&mut queue, || Arc::downgrade(self) as Weak<dyn Gives>);
        drop(queue);
        if draws {
            self.budget.relieve();
        }
    }

    /// Adjusts the draw to what the queue holds now. True if it still draws.
    fn settle(&self, queue: &mut Queue, this: impl Fn() -> Weak<dyn Gives>) -> bool {
        let Queue { bytes, incoming, draw, .. } = queue;
        let held = *bytes + *incoming;
        if held > SHARE || draw.is_any() {
            self.budget.settle(draw, held, this);
        }
        draw.is_any()
    }

    /// Closes the connection after the items in the queue. The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.lock().close.get_or_insert(reason);
        self.reader.wake();
    }

    /// Lets the connection ping its peer, which may be gone.
    pub fn probe(&self) {
        self.lock().probe = true;
        self.reader.wake();
    }

    /// Takes the next item or close; if there is none, registers the waker.
    pub fn poll_next(&self, cx: &Context<'_>) -> Next {
        match self.take() {
            Next::Pending => {
                self.reader.register(cx.waker());
                // An item may have been added before the waker was registered.
                self.take()
            }
            next => next,
        }
    }

    /// Ready when the connection is to close, whatever is still queued.
    pub fn poll_closing(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        self.reader.register(cx.waker());
        self.lock().close.map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the next item, if there is one. It counts until [`Outbox::written`].
    pub fn pop(&self) -> Option<Item> {
        self.lock().pop()
    }

    /// Items of this cost have been written to the socket.
    pub fn written(&self, cost: usize) {
        let mut queue = self.lock();
        // After `give_up` the queue counts nothing any more.
        queue.bytes = queue.bytes.saturating_sub(cost);
        self.settle(&mut queue, nobody);
    }

    /// Whether it is to close.
    pub fn is_closing(&self) -> bool {
        self.lock().close.is_some()
    }

    fn take(&self) -> Next {
        let mut queue = self.lock();
        if mem::take(&mut queue.probe) {
            return Next::Probe;
        }
        match queue.pop() {
            Some(item) => Next::Item(item),
            None => queue.close.map_or(Next::Pending, Next::Close),
        }
    }

    /// Links the two sides of a session, so that each can forward directly to the other's queue.
    pub fn pair(caller: &Arc<Self>, callee: &Arc<Self>) {
        let negotiation = Arc::new(Negotiation::default());
        let link =
            |partner, side| Link { partner: Arc::downgrade(partner), side, negotiation: negotiation.clone() };
        // A connection has one session in its lifetime, so neither cell is set yet.
        let _ = caller.link.set(link(callee, Side::Caller));
        let _ = callee.link.set(link(caller, Side::Callee));
    }

    /// This side of the session, if there is one.
    pub fn link(&self) -> Option<&Link> {
        self.link.get()
    }

    /// The bytes queued, as they count towards the limit.
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; if something did, the queue would still be consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gives for Outbox {
    /// Closes the connection to free memory for others, if it has drawn without interruption since it got `place`.
    fn give_up(&self, place: u64) {
        let mut queue = self.lock();
        if !queue.draw.is_at(place) {
            return;
        }
        let unfinished = queue.incoming > queue.bytes;
        let reason = if unfinished { CloseReason::Unfinished } else { CloseReason::SlowReader };
        queue.incoming = 0;
        queue.drop_items(reason);
        self.settle(&mut queue, nobody);
        drop(queue);
        self.reader.wake();
    }
}

/// For queues that return bytes: only one that draws more has to be found later.
fn nobody() -> Weak<dyn Gives> {
    Weak::<Outbox>::new()
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.settle(&mut queue.draw, 0, nobody);
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Item> {
        let item = self.items.pop_front()?;
        if self.items.is_empty() && self.items.capacity() > KEPT_ITEMS {
            self.items = VecDeque::new();
        }
        Some(item)
    }

    fn drop_items(&mut self, reason: CloseReason) {
        self.items = VecDeque::new();
        self.bytes = 0;
        self.close.get_or_insert(reason);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
        task::{Wake, Waker},
    };

    use super::*;
    use crate::delivery::budget::Bounds;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn outbox(limit: usize) -> Arc<Outbox> {
        Arc::new(Outbox::new(Arc::new(Budget::new(Bounds { queue: limit, all: usize::MAX }))))
    }

    fn poll(outbox: &Outbox) -> Next {
        outbox.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn frames_come_out_in_order_and_the_close_last() {
        let outbox = outbox(1000);
        outbox.push(Message::text("a"));
        outbox.push(Message::text("b"));
        outbox.close(CloseReason::PartnerLeft);
        outbox.push(Message::text("too late"));
        outbox.close(CloseReason::GoingAway);
        assert_eq!(poll(&outbox), Next::Item(Message::text("a").into()));
        assert_eq!(poll(&outbox), Next::Item(Message::text("b").into()));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::PartnerLeft));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::PartnerLeft));
    }

    #[test]
    fn many_probes_are_one_and_come_before_what_waits() {
        let outbox = outbox(1000);
        outbox.push(Message::text("a"));
        (0..100).for_each(|_| outbox.probe());
        assert_eq!(outbox.queued_bytes(), FRAME_COST + 1);
        assert_eq!(poll(&outbox), Next::Probe);
        assert_eq!(poll(&outbox), Next::Item(Message::text("a").into()));
        assert_eq!(poll(&outbox), Next::Pending);
    }

    #[test]
    fn one_frame_too_many_closes() {
        let outbox = outbox(2 * (FRAME_COST + 10));
        outbox.push(Message::text("0123456789"));
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Item(_)));
        outbox.written(FRAME_COST + 10);
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Item(_)));
        outbox.push(Message::text("x"));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::SlowReader));
    }

    #[test]
    fn empty_frames_are_bounded_too() {
        let outbox = outbox(100 * FRAME_COST);
        (0..101).for_each(|_| outbox.push(Message::text("")));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::SlowReader));
    }

    #[test]
    fn whoever_waits_is_woken() {
        let outbox = outbox(1000);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert_eq!(outbox.poll_next(&Context::from_waker(&waker)), Next::Pending);
        outbox.push(Message::text("a"));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
