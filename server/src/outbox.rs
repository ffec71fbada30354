//! What waits to be sent to one peer: a queue bounded in bytes that never makes its writer wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll},
};

use async_tungstenite::tungstenite::Message;
use futures_util::task::AtomicWaker;

use crate::{
    budget::{Budget, Draw, SHARE},
    close::CloseReason,
    payload::{Negotiation, Side},
};

/// What a frame costs in the queue beside its payload, so that a flood of empty frames is bounded, too.
pub const FRAME_COST: usize = 64;

/// Capacity that an emptied queue may keep.
const KEPT_FRAMES: usize = 16;

/// The frames and then, perhaps, the close that a connection has to send. Anybody may add to it; only the
/// connection takes from it.
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
    /// Where everything goes.
    pub partner: Weak<Outbox>,
    /// Which side this is.
    pub side: Side,
    /// What both know of their negotiation.
    pub negotiation: Arc<Negotiation>,
}

#[derive(Debug, Default)]
struct Queue {
    frames: VecDeque<Message>,
    /// Of these frames, and of those that the socket has and has not written.
    bytes: usize,
    /// Of a message that is being received: memory, too, that others may want.
    incoming: usize,
    draw: Draw,
    close: Option<CloseReason>,
}

/// What the connection has to send next.
#[derive(Debug, PartialEq)]
pub enum Next {
    /// This frame.
    Frame(Message),
    /// A close frame, and no more.
    Close(CloseReason),
    /// Nothing until the waker is called.
    Pending,
}

impl Outbox {
    /// An empty queue, which may grow as far as the budget allows.
    pub fn new(budget: Arc<Budget>) -> Self {
        Self { queue: Mutex::default(), budget, reader: AtomicWaker::new(), link: OnceLock::new() }
    }

    /// Adds a frame. One too many, and what waits is dropped and the connection closed: its peer reads too
    /// slowly, and must not make anybody wait.
    pub fn push(self: &Arc<Self>, frame: Message) {
        let mut queue = self.lock();
        if queue.close.is_some() {
            return;
        }
        queue.bytes += cost(&frame);
        if queue.bytes > self.budget.bounds().queue {
            queue.drop_frames(CloseReason::SlowReader);
        } else {
            queue.frames.push_back(frame);
        }
        let draws = self.settle(&mut queue, || Arc::downgrade(self));
        drop(queue);
        self.reader.wake();
        if draws {
            self.budget.relieve();
        }
    }

    /// Closes the connection for others to have memory, if it still is at this place among those who draw.
    pub(crate) fn give_up(&self, place: u64) {
        let mut queue = self.lock();
        if !queue.draw.is_at(place) {
            return;
        }
        let unfinished = queue.incoming > queue.bytes;
        let reason = if unfinished { CloseReason::Unfinished } else { CloseReason::SlowReader };
        queue.incoming = 0;
        queue.drop_frames(reason);
        self.settle(&mut queue, Weak::new);
        drop(queue);
        self.reader.wake();
    }

    /// So much is held of a message that has not come to its end.
    pub fn receiving(self: &Arc<Self>, bytes: usize) {
        let mut queue = self.lock();
        if queue.close.is_some() {
            return;
        }
        queue.incoming = bytes;
        let draws = self.settle(&mut queue, || Arc::downgrade(self));
        drop(queue);
        if draws {
            self.budget.relieve();
        }
    }

    /// Squares the budget with what the queue holds now. True if it has drawn something.
    fn settle(&self, queue: &mut Queue, this: impl Fn() -> Weak<Self>) -> bool {
        let Queue { bytes, incoming, draw, .. } = queue;
        let held = *bytes + *incoming;
        if held > SHARE || draw.is_any() {
            self.budget.settle(draw, held, this);
        }
        draw.is_any()
    }

    /// Closes the connection once the frames before it are sent. The first reason counts.
    pub fn close(&self, reason: CloseReason) {
        self.lock().close.get_or_insert(reason);
        self.reader.wake();
    }

    /// Takes the next thing to send, or arranges to be woken.
    pub fn poll_next(&self, cx: &Context<'_>) -> Next {
        match self.take() {
            Next::Pending => {
                self.reader.register(cx.waker());
                // A frame may have come between the look and the registration.
                self.take()
            }
            next => next,
        }
    }

    /// Ready once the connection is to close, whatever still waits to be sent.
    pub fn poll_closing(&self, cx: &Context<'_>) -> Poll<CloseReason> {
        self.reader.register(cx.waker());
        self.lock().close.map_or(Poll::Pending, Poll::Ready)
    }

    /// Takes the next frame, if one waits. It counts until it is [`Outbox::written`].
    pub fn pop(&self) -> Option<Message> {
        self.lock().pop()
    }

    /// Frames that cost so much have left the process.
    pub fn written(&self, cost: usize) {
        let mut queue = self.lock();
        // Where the queue was given up it counts nothing any more.
        queue.bytes = queue.bytes.saturating_sub(cost);
        self.settle(&mut queue, Weak::new);
    }

    /// Whether it is to close.
    pub fn is_closing(&self) -> bool {
        self.lock().close.is_some()
    }

    fn take(&self) -> Next {
        let mut queue = self.lock();
        match queue.pop() {
            Some(frame) => Next::Frame(frame),
            None => queue.close.map_or(Next::Pending, Next::Close),
        }
    }

    /// Links the two sides of a session: what one receives goes to the other without detour.
    pub fn pair(caller: &Arc<Self>, callee: &Arc<Self>) {
        let negotiation = Arc::new(Negotiation::default());
        let link =
            |partner, side| Link { partner: Arc::downgrade(partner), side, negotiation: negotiation.clone() };
        // A connection has one session in its life, so neither cell was set before.
        let _ = caller.link.set(link(callee, Side::Caller));
        let _ = callee.link.set(link(caller, Side::Callee));
    }

    /// This side of the session, once there is one.
    pub fn link(&self) -> Option<&Link> {
        self.link.get()
    }

    /// How much waits, as it counts towards the limit.
    pub fn queued_bytes(&self) -> usize {
        self.lock().bytes
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        // Nothing panics while it holds the lock; if something did, the queue would still be consistent.
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        let queue = self.queue.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.budget.settle(&mut queue.draw, 0, Weak::new);
    }
}

/// What a frame counts.
pub fn cost(frame: &Message) -> usize {
    frame.len() + FRAME_COST
}

impl Queue {
    fn pop(&mut self) -> Option<Message> {
        let frame = self.frames.pop_front()?;
        if self.frames.is_empty() && self.frames.capacity() > KEPT_FRAMES {
            self.frames = VecDeque::new();
        }
        Some(frame)
    }

    fn drop_frames(&mut self, reason: CloseReason) {
        self.frames = VecDeque::new();
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
    use crate::budget::Bounds;

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
        assert_eq!(poll(&outbox), Next::Frame(Message::text("a")));
        assert_eq!(poll(&outbox), Next::Frame(Message::text("b")));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::PartnerLeft));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::PartnerLeft));
    }

    #[test]
    fn one_frame_too_many_closes() {
        let outbox = outbox(2 * (FRAME_COST + 10));
        outbox.push(Message::text("0123456789"));
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Frame(_)));
        outbox.written(FRAME_COST + 10);
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Frame(_)));
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
