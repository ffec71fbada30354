//! Everything this crate takes from the async runtime. A change of runtime is a change of this file.

use std::{
    future::Future,
    io,
    time::{Duration, Instant},
};

pub(crate) use async_std::net::TcpStream;

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    async_std::task::block_on(future)
}

/// A task whose output can be awaited. Dropped, it goes on.
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

pub(crate) async fn connect(address: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
