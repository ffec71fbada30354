//! A socket that lets others have their turn.
//!
//! Whoever sends faster than we read has always something to read. A loop that reads until nothing comes would never
//! return to the executor: not to other connections, and not to its own deadline. So reading is done in turns. Who
//! uses up its turn waits in a lane for the next one, and the lane lets one go on in each round of the executor:
//! whoever floods waits for the others who do, and nobody else does.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
};

use futures_util::{AsyncRead, AsyncWrite, future::poll_fn, task::AtomicWaker};

use crate::runtime;

/// Bytes read at a stretch. Of the smallest frames these are hundreds, done in some ten microseconds.
const TURN: usize = 4 * 1024;

/// Where those wait who have used up their turn.
#[derive(Debug, Default)]
pub struct Lane {
    tickets: Mutex<VecDeque<Arc<Ticket>>>,
    driver: AtomicWaker,
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
    lane: Arc<Lane>,
    left: usize,
    ticket: Option<Arc<Ticket>>,
}

impl Lane {
    /// Lets those who wait go on, one in each round of the executor. Never ends.
    pub async fn run(&self) {
        loop {
            let ticket = poll_fn(|cx| {
                self.driver.register(cx.waker());
                self.tickets().pop_front().map_or(Poll::Pending, Poll::Ready)
            });
            ticket.await.call();
            runtime::yield_now().await;
        }
    }

    fn enter(&self) -> Arc<Ticket> {
        let ticket = Arc::new(Ticket::default());
        self.tickets().push_back(ticket.clone());
        self.driver.wake();
        ticket
    }

    fn tickets(&self) -> MutexGuard<'_, VecDeque<Arc<Ticket>>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// Makes a stream fair to those who share the lane.
    pub fn new(stream: S, lane: Arc<Lane>) -> Self {
        Self { stream, lane, left: TURN, ticket: None }
    }

    /// The stream itself.
    pub fn get_ref(&self) -> &S {
        &self.stream
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Fair<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.left == 0 {
            let ticket = this.ticket.get_or_insert_with(|| this.lane.enter());
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

    use futures_util::{AsyncReadExt, FutureExt, future::join_all, io::repeat};

    use super::*;

    /// Reads what never ends, and counts, until it is enough.
    async fn read(lane: Arc<Lane>, read: &AtomicUsize, enough: usize) {
        let mut stream = Fair::new(repeat(b'x'), lane);
        let mut scratch = [0; 1000];
        while read.fetch_add(stream.read(&mut scratch).await.unwrap(), Ordering::Relaxed) < enough {}
    }

    /// Without turns this would read for ever, and never return.
    #[test]
    fn an_endless_stream_waits_for_its_next_turn() {
        let (lane, bytes) = (Arc::new(Lane::default()), AtomicUsize::new(0));
        let mut reading = Box::pin(read(lane.clone(), &bytes, usize::MAX));
        for turn in 1..4 {
            // The second poll is one for another reason: nobody has called.
            for _ in 0..2 {
                assert!(reading.as_mut().now_or_never().is_none());
                let bytes = bytes.load(Ordering::Relaxed);
                assert!((turn * TURN..turn * (TURN + 1000)).contains(&bytes), "{bytes} in turn {turn}");
            }
            assert_eq!(lane.tickets().len(), 1, "it waits once");
            lane.tickets().pop_front().unwrap().call();
        }
    }

    #[test]
    fn everybody_in_the_lane_goes_on() {
        let lane = Arc::new(Lane::default());
        let bytes: Vec<_> = (0..3).map(|_| AtomicUsize::new(0)).collect();
        let driver = lane.clone();
        runtime::spawn(async move { driver.run().await });
        let reading = join_all(bytes.iter().map(|bytes| read(lane.clone(), bytes, 10 * TURN)));
        runtime::block_on(reading);
    }
}
