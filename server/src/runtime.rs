//! Everything this crate takes from the async runtime. A change of runtime is a change of this file.
//!
//! async-std is no longer developed; smol, whose reactor it is built on, is its named successor.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

pub(crate) use async_std::net::{TcpListener, TcpStream};
use futures_util::{AsyncReadExt, FutureExt, StreamExt, pin_mut, select_biased};

/// Runs a future to its end on this thread.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    async_std::task::block_on(future)
}

/// Runs a future beside the others.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    async_std::task::spawn(future);
}

/// Runs blocking code where it holds nobody up.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    async_std::task::spawn_blocking(work).await
}

/// Lets everybody else who has something to do go on.
pub(crate) async fn yield_now() {
    async_std::task::yield_now().await;
}

pub(crate) async fn sleep(time: Duration) {
    async_std::task::sleep(time).await;
}

/// The future's output, or `None` if it takes longer than `time`.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    let (future, alarm) = (future.fuse(), sleep(time).fuse());
    pin_mut!(future, alarm);
    select_biased! {
        output = future => Some(output),
        () = alarm => None,
    }
}

/// Wraps a bound and listening socket.
pub(crate) fn listener(socket: std::net::TcpListener) -> io::Result<TcpListener> {
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from(socket))
}

pub(crate) async fn accept(listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
    listener.accept().await
}

/// Reads all of `bytes` from a socket.
pub(crate) async fn read_exact(mut stream: &TcpStream, bytes: &mut [u8]) -> io::Result<()> {
    stream.read_exact(bytes).await
}

/// An alarm that can be set again.
pub(crate) struct Alarm(async_io::Timer);

impl Alarm {
    pub(crate) fn after(time: Duration) -> Self {
        Self(async_io::Timer::after(time))
    }

    pub(crate) fn set_after(&mut self, time: Duration) {
        self.0.set_after(time);
    }

    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Instant> {
        Pin::new(&mut self.0).poll(cx)
    }
}

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// SIGINT or SIGTERM.
    End,
    /// SIGHUP.
    Reload,
}

/// SIGINT, SIGTERM and SIGHUP, one after the other.
pub(crate) struct Signals(async_signal::Signals);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        use async_signal::Signal::{Hup, Int, Term};
        async_signal::Signals::new([Int, Term, Hup]).map(Self)
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Wanted {
        match self.0.next().await {
            Some(Ok(async_signal::Signal::Hup)) => Wanted::Reload,
            Some(Ok(_)) => Wanted::End,
            _ => std::future::pending().await,
        }
    }
}
