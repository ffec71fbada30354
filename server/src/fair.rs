//! A socket that lets others have their turn.
//!
//! Whoever sends faster than we read has always something to read. A loop that reads until nothing comes would never
//! return to the executor: not to other connections, and not to its own deadline. So reading is done in turns. Who
//! uses up its turn waits in a lane for the next one, and the lane lets one go on in each round of the executor:
//! whoever floods waits for the others who do, and nobody else does.
//!
//! Newcomers have a lane of their own: a TLS handshake costs as much as thirty messages, and many at once would delay
//! those who talk already. What a newcomer has sent is read at once, and handed on in its turn. Those who go have one,
//! too: to close a socket and free everything costs as much as ten messages.

use std::{
    collections::VecDeque,
    io::{self, Read as _},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{AsyncRead, AsyncWrite, future::poll_fn, task::AtomicWaker};

/// Bytes read at a stretch. Of the smallest frames these are hundreds, done in some ten microseconds.
const TURN: usize = 4 * 1024;

/// Where connections wait for others of their kind.
#[derive(Debug)]
pub struct Lanes {
    new: Lane,
    /// Of those who have used up their turn.
    busy: Lane,
    leaving: Lane,
}

#[derive(Debug)]
struct Lane {
    /// How many go on in each round of the executor.
    width: usize,
    queue: Mutex<Queue>,
    driver: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    tickets: VecDeque<Arc<Ticket>>,
    /// How many have gone on in this round.
    taken: usize,
}

/// One that waits in the lane.
#[derive(Debug, Default)]
struct Ticket {
    waker: AtomicWaker,
    called: AtomicBool,
}

/// A stream that is read in turns.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    lanes: Arc<Lanes>,
    left: usize,
    ticket: Option<Arc<Ticket>>,
    is_new: bool,
    early: Option<Box<Early>>,
}

/// What a newcomer has sent before its turn.
#[derive(Debug)]
struct Early {
    ticket: Arc<Ticket>,
    bytes: VecDeque<u8>,
}

impl Default for Lanes {
    fn default() -> Self {
        // Each connection goes on twice when it leaves: they must not be fewer than those who come.
        Self { new: Lane::new(1), busy: Lane::new(1), leaving: Lane::new(4) }
    }
}

impl Lanes {
    /// Waits for the turn of one who leaves.
    pub async fn leave(&self) {
        if !self.leaving.pass() {
            let ticket = self.leaving.enter();
            poll_fn(|cx| if ticket.is_called(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }

    /// Lets those who wait go on, a few of each lane in each round of the executor. Never ends.
    pub async fn run(&self) {
        // Woken, this waits at the end of the executor's queue: when it is polled, a round is over.
        poll_fn(|cx| {
            for lane in [&self.new, &self.busy, &self.leaving] {
                lane.driver.register(cx.waker());
                if lane.begin_round() {
                    cx.waker().wake_by_ref();
                }
            }
            Poll::Pending
        })
        .await
    }
}

impl Lane {
    fn new(width: usize) -> Self {
        Self { width, queue: Mutex::default(), driver: AtomicWaker::new() }
    }

    /// Lets the next ones go on. Are there any?
    fn begin_round(&self) -> bool {
        let mut queue = self.queue();
        queue.taken = self.width.min(queue.tickets.len());
        for _ in 0..queue.taken {
            if let Some(ticket) = queue.tickets.pop_front() {
                ticket.call();
            }
        }
        queue.taken > 0
    }

    fn enter(&self) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket::default());
        self.queue().tickets.push_back(ticket.clone());
        self.driver.wake();
        ticket
    }

    /// Goes on at once if the lane has room in this round, and nobody waits.
    fn pass(&self) -> bool {
        let mut queue = self.queue();
        let is_free = queue.taken < self.width && queue.tickets.is_empty();
        queue.taken += usize::from(is_free);
        drop(queue);
        if is_free {
            self.driver.wake();
        }
        is_free
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ticket {
    fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
    }

    fn is_called(&self, cx: &Context<'_>) -> bool {
        self.waker.register(cx.waker());
        self.called.load(Ordering::Acquire)
    }
}

impl<S> Fair<S> {
    /// Makes a stream fair to those who share the lanes.
    pub fn new(stream: S, lanes: Arc<Lanes>) -> Self {
        Self { stream, lanes, left: TURN, ticket: None, is_new: true, early: None }
    }

    /// From now on it is no newcomer.
    pub fn settle(&mut self) {
        self.is_new = false;
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }

    /// Hands on what came before its turn.
    fn poll_early(&mut self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(early) = &mut self.early else { return Poll::Ready(Ok(0)) };
        if !early.ticket.is_called(cx) {
            return Poll::Pending;
        }
        let read = early.bytes.read(buf);
        if early.bytes.is_empty() {
            self.early = None;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.early.is_some() {
            return this.poll_early(cx, buf);
        }
        if this.left == 0 {
            let ticket = this.ticket.get_or_insert_with(|| this.lanes.busy.enter());
            if !ticket.is_called(cx) {
                return Poll::Pending;
            }
            this.ticket = None;
            this.left = TURN;
        }
        let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(cx, buf) else {
            this.left = TURN;
            return Poll::Pending;
        };
        let read = read?;
        this.left = this.left.saturating_sub(read);
        if this.is_new && read > 0 && !this.lanes.new.pass() {
            let bytes = buf.iter().copied().take(read).collect();
            this.early = Some(Box::new(Early { ticket: this.lanes.new.enter(), bytes }));
            return this.poll_early(cx, buf);
        }
        Poll::Ready(Ok(read))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Fair<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures_util::{
        AsyncReadExt, FutureExt,
        future::join_all,
        io::{Cursor, repeat},
    };

    use super::*;
    use crate::runtime;

    /// Reads what never ends, and counts, until it is enough.
    async fn read(lanes: Arc<Lanes>, read: &AtomicUsize, enough: usize) {
        let mut stream = Fair::new(repeat(b'x'), lanes);
        stream.settle();
        let mut scratch = [0; 1000];
        while read.fetch_add(stream.read(&mut scratch).await.unwrap(), Ordering::Relaxed) < enough {}
    }

    /// Without turns this would read for ever, and never return.
    #[test]
    fn an_endless_stream_waits_for_its_next_turn() {
        let (lanes, bytes) = (Arc::new(Lanes::default()), AtomicUsize::new(0));
        let mut reading = Box::pin(read(lanes.clone(), &bytes, usize::MAX));
        for turn in 1..4 {
            // The second poll is one for another reason: nobody has called.
            for _ in 0..2 {
                assert!(reading.as_mut().now_or_never().is_none());
                let bytes = bytes.load(Ordering::Relaxed);
                assert!((turn * TURN..turn * (TURN + 1000)).contains(&bytes), "{bytes} in turn {turn}");
            }
            assert_eq!(lanes.busy.queue().tickets.len(), 1, "it waits once");
            lanes.busy.begin_round();
        }
    }

    #[test]
    fn everybody_in_the_lane_goes_on() {
        let lanes = Arc::new(Lanes::default());
        let bytes: Vec<_> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let driver = lanes.clone();
        runtime::spawn(async move { driver.run().await });
        let reading = join_all(bytes.iter().map(|bytes| read(lanes.clone(), bytes, 10 * TURN)));
        runtime::block_on(reading);
    }

    #[test]
    fn of_newcomers_one_goes_on_in_each_round() {
        let lanes = Arc::new(Lanes::default());
        let mut streams: Vec<_> = (0..3).map(|_| Fair::new(Cursor::new(b"hello"), lanes.clone())).collect();
        for round in 0..3 {
            let mut buf = [0; 5];
            for (i, stream) in streams.iter_mut().enumerate().skip(round) {
                let read = stream.read(&mut buf).now_or_never();
                assert_eq!(read.map(Result::unwrap), (i == round).then_some(5), "{i} in round {round}");
            }
            lanes.new.begin_round();
        }
    }

    #[test]
    fn of_those_who_leave_a_few_go_on_in_each_round() {
        let lanes = Lanes::default();
        let mut leaving: Vec<_> = (0..9).map(|_| Box::pin(lanes.leave())).collect();
        let mut gone = Vec::new();
        while !leaving.is_empty() {
            let before = leaving.len();
            leaving.retain_mut(|one| one.as_mut().now_or_never().is_none());
            gone.push(before - leaving.len());
            lanes.leaving.begin_round();
        }
        assert_eq!(gone, [4, 4, 1]);
    }

    #[test]
    fn what_came_early_is_whole_and_in_order() {
        let lanes = Arc::new(Lanes::default());
        assert!(lanes.new.pass());
        let mut stream = Fair::new(Cursor::new(b"HELLO anna, and more"), lanes.clone());
        let mut all = Vec::new();
        let mut large = [0; 12];
        while !all.ends_with(b"more") {
            // A buffer smaller than the one it was read into takes it in pieces.
            assert!(stream.read(&mut large).now_or_never().is_none());
            lanes.new.begin_round();
            let mut small = [0; 5];
            while stream.early.is_some() {
                let read = stream.read(&mut small).now_or_never().unwrap().unwrap();
                all.extend_from_slice(&small[..read]);
            }
        }
        assert_eq!(all, b"HELLO anna, and more");
    }

    #[test]
    fn who_is_no_longer_new_does_not_wait_for_newcomers() {
        let lanes = Arc::new(Lanes::default());
        let mut stream = Fair::new(repeat(b'x'), lanes.clone());
        let mut buf = [0; 10];
        assert!(lanes.new.pass());
        assert!(stream.read(&mut buf).now_or_never().is_none());
        stream.settle();
        lanes.new.begin_round();
        assert!(!lanes.new.pass());
        // What it sent before comes first.
        assert_eq!(stream.read(&mut buf).now_or_never().unwrap().unwrap(), 10);
        assert!(stream.early.is_none());
        assert!(stream.read(&mut buf).now_or_never().is_some());
    }
}
