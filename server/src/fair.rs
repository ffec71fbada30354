//! A socket that lets others have their turn.
//!
//! Whoever sends faster than we read has always something to read. A loop that reads until nothing comes would never
//! return to the executor: not to other connections, and not to its own deadline.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::{AsyncRead, AsyncWrite};

/// Bytes read at a stretch. Of the smallest frames these are hundreds, done in some ten microseconds.
const TURN: usize = 4 * 1024;

/// A stream whose reads are interrupted now and then, as if nothing more had come for a moment.
#[derive(Debug)]
pub struct Fair<S> {
    stream: S,
    left: usize,
}

impl<S> Fair<S> {
    /// Makes a stream fair.
    pub fn new(stream: S) -> Self {
        Self { stream, left: TURN }
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
            this.left = TURN;
            cx.waker().wake_by_ref();
            return Poll::Pending;
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
    use futures_util::{AsyncReadExt, FutureExt, io::repeat};

    use super::*;

    /// Without turns this would read for ever, and never return.
    #[test]
    fn an_endless_stream_returns_to_the_executor() {
        let mut stream = Fair::new(repeat(b'x'));
        let mut scratch = [0; 1000];
        let mut read = 0;
        let mut reading = Box::pin(async {
            loop {
                read += stream.read(&mut scratch).await.unwrap();
            }
        });
        let mut poll = || reading.as_mut().now_or_never().is_none();
        assert!(poll() && poll());
        drop(reading);
        assert!((2 * TURN..3 * TURN).contains(&read), "{read}");
    }
}
