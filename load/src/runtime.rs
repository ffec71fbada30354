//! All uses of the async runtime in this crate. To change the runtime, change this file.

use std::{
    future::Future,
    io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::{Duration, Instant},
};

pub(crate) use async_std::net::TcpStream;
use async_std::net::ToSocketAddrs;
use futures_util::future::{Either, select};
use socket2::{Domain, Protocol, Socket, Type};

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    async_std::task::block_on(future)
}

/// Runs only this future on this thread: it never waits for another task.
pub(crate) fn block_on_alone<T>(future: impl Future<Output = T>) -> T {
    async_io::block_on(future)
}

/// A task that can be cancelled.
pub(crate) struct Task(async_std::task::JoinHandle<()>);

impl Task {
    pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(async_std::task::spawn(future))
    }

    /// Cancels the task and waits until its future is dropped.
    pub(crate) async fn cancel(self) {
        self.0.cancel().await;
    }
}

/// The future's output, or `None` if it takes longer than `time`.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    async_std::future::timeout(time, future).await.ok()
}

/// Lets other tasks run.
pub(crate) async fn yield_now() {
    async_std::task::yield_now().await;
}

/// The future's output, or `None` if `other` ends first.
pub(crate) async fn unless<T>(future: impl Future<Output = T>, other: impl Future<Output = ()>) -> Option<T> {
    match select(pin!(future), pin!(other)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(_) => None,
    }
}

/// Starts a task. It continues if the returned future is dropped.
pub(crate) fn spawn<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> {
    async_std::task::spawn(future)
}

pub(crate) async fn sleep_until(when: Instant) {
    async_std::task::sleep(when.saturating_duration_since(Instant::now())).await;
}

pub(crate) async fn sleep(time: Duration) {
    async_std::task::sleep(time).await;
}

/// Connects, from an address of this machine if `source` is given.
pub(crate) async fn connect(address: &str, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let stream = match source {
        None => TcpStream::connect(address).await?,
        Some(source) => connect_from(source, address).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_from(source: IpAddr, address: &str) -> io::Result<TcpStream> {
    let unknown = || io::Error::other("the name has no address of this kind");
    let mut found = address.to_socket_addrs().await?;
    let address = found.find(|address| address.is_ipv4() == source.is_ipv4()).ok_or_else(unknown)?;
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error),
        _ => {}
    }
    let stream = async_io::Async::new(std::net::TcpStream::from(socket))?;
    stream.writable().await?;
    match stream.get_ref().take_error()? {
        Some(error) => Err(error),
        None => Ok(stream.into_inner()?.into()),
    }
}

/// The error of a non-blocking connect in progress on Linux.
const EINPROGRESS: i32 = 115;
