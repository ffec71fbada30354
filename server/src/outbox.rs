//! What waits to be sent to one peer: a queue bounded in bytes that never makes its writer wait.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak},
    task::{Context, Poll},
};

use async_tungstenite::tungstenite::Message;
use futures_util::task::AtomicWaker;

use crate::{
    close::CloseReason,
    payload::{Negotiation, Side},
};

/// What a frame costs in the queue beside its payload, so that a flood of empty frames is bounded, too.
const FRAME_COST: usize = 64;

/// Capacity that an emptied queue may keep.
const KEPT_FRAMES: usize = 16;

/// The frames and then, perhaps, the close that a connection has to send. Anybody may add to it; only the
/// connection takes from it.
#[derive(Debug)]
pub struct Outbox {
    queue: Mutex<Queue>,
    limit: usize,
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
    bytes: usize,
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
    /// An empty queue for at most `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { queue: Mutex::default(), limit, reader: AtomicWaker::new(), link: OnceLock::new() }
    }

    /// Adds a frame. One too many, and what waits is dropped and the connection closed: its peer reads too
    /// slowly, and must not make anybody wait.
    pub fn push(&self, frame: Message) {
        let mut queue = self.lock();
        if queue.close.is_some() {
            return;
        }
        queue.bytes += frame.len() + FRAME_COST;
        if queue.bytes > self.limit {
            *queue = Queue { close: Some(CloseReason::SlowReader), ..Queue::default() };
        } else {
            queue.frames.push_back(frame);
        }
        drop(queue);
        self.reader.wake();
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

    /// Takes the next frame, if one waits.
    pub fn pop(&self) -> Option<Message> {
        self.lock().pop()
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

impl Queue {
    fn pop(&mut self) -> Option<Message> {
        let frame = self.frames.pop_front()?;
        self.bytes = self.bytes.saturating_sub(frame.len() + FRAME_COST);
        if self.frames.is_empty() && self.frames.capacity() > KEPT_FRAMES {
            self.frames = VecDeque::new();
        }
        Some(frame)
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

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn poll(outbox: &Outbox) -> Next {
        outbox.poll_next(&Context::from_waker(Waker::noop()))
    }

    #[test]
    fn frames_come_out_in_order_and_the_close_last() {
        let outbox = Outbox::new(1000);
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
        let outbox = Outbox::new(2 * (FRAME_COST + 10));
        outbox.push(Message::text("0123456789"));
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Frame(_)));
        outbox.push(Message::text("0123456789"));
        assert!(matches!(poll(&outbox), Next::Frame(_)));
        outbox.push(Message::text("0123456789"));
        outbox.push(Message::text("x"));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::SlowReader));
    }

    #[test]
    fn empty_frames_are_bounded_too() {
        let outbox = Outbox::new(100 * FRAME_COST);
        (0..101).for_each(|_| outbox.push(Message::text("")));
        assert_eq!(poll(&outbox), Next::Close(CloseReason::SlowReader));
    }

    #[test]
    fn whoever_waits_is_woken() {
        let outbox = Outbox::new(1000);
        let count = Arc::new(Count::default());
        let waker = Waker::from(count.clone());
        assert_eq!(outbox.poll_next(&Context::from_waker(&waker)), Next::Pending);
        outbox.push(Message::text("a"));
        assert_eq!(count.0.load(Ordering::SeqCst), 1);
    }
}
