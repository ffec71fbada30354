//! A socket that is read in turns, so that no peer can starve the others.
//!
//! A peer that sends faster than we read always has data in its socket. A loop that reads until the socket is empty would
//! never return to the executor: neither to other connections nor to its own deadline. So reading is done in turns. A
//! connection that has used up its turn waits in a lane, which lets one connection go on in each round of the executor.
//! Flooding peers therefore wait for one another, and nobody else waits for them.
//!
//! New connections have a lane of their own: a TLS handshake costs as much as thirty messages, and many at once would delay
//! the established peers. The bytes of a new connection are read at once, and handed on in its turn. Closing connections
//! have a lane, too: closing a socket and freeing its state costs as much as ten messages.

use std::{
    cell::RefCell,
    collections::VecDeque,
    io::{self, Read as _},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
};

use futures_util::{AsyncRead, AsyncWrite, future::poll_fn, task::AtomicWaker};

/// Bytes read per turn. That is hundreds of the smallest frames, which take some ten microseconds.
const TURN: usize = 4 * 1024;

thread_local! {
    /// The buffer for reading ahead. It is shared, so that an idle peer needs none.
    static CHUNK: RefCell<[u8; TURN]> = const { RefCell::new([0; TURN]) };
}

/// The lanes in which connections wait for their next turn.
#[derive(Debug)]
pub struct Lanes {
    new: Lane,
    /// Connections that have used up their turn.
    busy: Lane,
    leaving: Lane,
}

#[derive(Debug)]
struct Lane {
    /// The number of connections that go on in each round of the executor.
    width: usize,
    queue: Mutex<Queue>,
    driver: AtomicWaker,
}

#[derive(Debug, Default)]
struct Queue {
    tickets: VecDeque<Arc<Ticket>>,
    /// The number that went on in this round.
    taken: usize,
}

/// A connection that waits in a lane.
#[derive(Debug, Default)]
struct Ticket {
    waker: AtomicWaker,
    called: AtomicBool,
}

/// A stream that is read in turns. See the module's description.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    lanes: Arc<Lanes>,
    left: usize,
    ticket: Option<Arc<Ticket>>,
    is_new: bool,
    ahead: Option<Box<Ahead>>,
}

/// Bytes that were read and not yet handed on.
#[derive(Debug)]
struct Ahead {
    /// The place of a new connection that waits for its turn.
    ticket: Option<Arc<Ticket>>,
    bytes: Vec<u8>,
    taken: usize,
}

impl Default for Lanes {
    fn default() -> Self {
        // A closing connection passes the lane twice: its lane must be faster than that of new connections.
        Self { new: Lane::new(1), busy: Lane::new(1), leaving: Lane::new(4) }
    }
}

impl Lanes {
    /// Waits for the turn of a closing connection.
    pub async fn leave(&self) {
        if !self.leaving.pass() {
            let ticket = self.leaving.enter();
            poll_fn(|cx| if ticket.is_called(cx) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    }

    /// Lets waiting connections go on, a few of each lane in each round of the executor. Never returns.
    pub async fn run(&self) {
        // Once woken, this task is at the end of the executor's queue: when it is polled, a round is over.
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

    /// Lets the next connections go on. Returns whether there were any.
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

    /// Whether a connection may go on at once: the lane has room in this round, and none waits.
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
    /// Wraps a stream that shares these lanes.
    pub fn new(stream: S, lanes: Arc<Lanes>) -> Self {
        Self { stream, lanes, left: TURN, ticket: None, is_new: true, ahead: None }
    }

    /// From now on it does not count as a new connection.
    pub fn settle(&mut self) {
        self.is_new = false;
    }

    /// A place in the lane of new connections, for one that has sent something before its turn.
    fn wait_if_new(&self, read: usize) -> Option<Arc<Ticket>> {
        (self.is_new && read > 0 && !self.lanes.new.pass()).then(|| self.lanes.new.enter())
    }

    fn keep(&mut self, bytes: Option<&[u8]>, ticket: Option<Arc<Ticket>>) {
        let bytes = bytes.unwrap_or_default().to_vec();
        self.ahead = Some(Box::new(Ahead { ticket, bytes, taken: 0 }));
    }

    /// Hands on what was read ahead.
    fn poll_ahead(&mut self, cx: &Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(ahead) = &mut self.ahead else { return Poll::Ready(Ok(0)) };
        if ahead.ticket.as_ref().is_some_and(|ticket| !ticket.is_called(cx)) {
            return Poll::Pending;
        }
        let read = ahead.bytes.get(ahead.taken..).unwrap_or_default().read(buf);
        ahead.taken += read.as_ref().unwrap_or(&0);
        if ahead.taken == ahead.bytes.len() {
            self.ahead = None;
        }
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + Unpin> Fair<S> {
    /// Reads, and counts the bytes against the turn. An empty socket begins a new turn.
    fn poll_stream(&mut self, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, buf) else {
            self.left = TURN;
            return Poll::Pending;
        };
        self.left = self.left.saturating_sub(*read.as_ref().unwrap_or(&0));
        Poll::Ready(read)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    /// Reads up to a turn's bytes with one system call, whatever the size of the buffer, and keeps the bytes that do not fit:
    /// a WebSocket reads each frame in pieces, and each piece would cost a system call.
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.ahead.is_some() {
            return this.poll_ahead(cx, buf);
        }
        if this.left == 0 {
            let ticket = this.ticket.get_or_insert_with(|| this.lanes.busy.enter());
            if !ticket.is_called(cx) {
                return Poll::Pending;
            }
            this.ticket = None;
            this.left = TURN;
        }
        if buf.len() < TURN {
            return CHUNK.with_borrow_mut(|chunk| {
                let read = ready!(this.poll_stream(cx, chunk))?;
                this.keep(chunk.get(..read), this.wait_if_new(read));
                this.poll_ahead(cx, buf)
            });
        }
        let read = ready!(this.poll_stream(cx, buf))?;
        let Some(ticket) = this.wait_if_new(read) else { return Poll::Ready(Ok(read)) };
        this.keep(buf.get(..read), Some(ticket));
        this.poll_ahead(cx, buf)
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

    /// Reads an endless stream, counting the bytes, until there are `enough`.
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
            // The second poll has another cause than the lane.
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
        runtime::block_on(async {
            runtime::spawn(async move { driver.run().await });
            join_all(bytes.iter().map(|bytes| read(lanes.clone(), bytes, 10 * TURN))).await
        });
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
            while stream.ahead.is_some() {
                let read = stream.read(&mut small).now_or_never().unwrap().unwrap();
                all.extend_from_slice(&small[..read]);
            }
        }
        assert_eq!(all, b"HELLO anna, and more");
    }

    #[test]
    fn who_is_no_longer_new_does_not_wait_for_newcomers() {
        let lanes = Arc::new(Lanes::default());
        let mut stream = Fair::new(Cursor::new(b"HELLO anna").chain(repeat(b'x')), lanes.clone());
        let mut buf = [0; 10];
        assert!(lanes.new.pass());
        assert!(stream.read(&mut buf).now_or_never().is_none());
        stream.settle();
        lanes.new.begin_round();
        assert!(!lanes.new.pass());
        // The bytes it sent before come first.
        assert_eq!(stream.read(&mut buf).now_or_never().unwrap().unwrap(), 10);
        assert_eq!(&buf, b"HELLO anna");
        assert!(stream.read(&mut buf).now_or_never().is_some());
    }

    /// A stream of limited length that counts how often it is read.
    struct Counted(Cursor<Vec<u8>>, Arc<AtomicUsize>);

    impl AsyncRead for Counted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            self.1.fetch_add(1, Ordering::Relaxed);
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[test]
    fn what_is_asked_for_in_pieces_is_read_once() {
        let (reads, lanes) = (Arc::new(AtomicUsize::new(0)), Arc::new(Lanes::default()));
        let sent: Vec<u8> = (0..2008).map(|i| i as u8).collect();
        let mut stream = Fair::new(Counted(Cursor::new(sent.clone()), reads.clone()), lanes);
        stream.settle();
        let mut received = vec![0; sent.len()];
        for piece in received.chunks_mut(40) {
            stream.read_exact(piece).now_or_never().unwrap().unwrap();
        }
        assert_eq!(received, sent);
        assert_eq!(reads.load(Ordering::Relaxed), 1);
        assert!(stream.ahead.is_none(), "an idle peer keeps nothing");
    }
}
