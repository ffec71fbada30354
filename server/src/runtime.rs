//! All uses of the async runtime by this crate. To change the runtime, change this file.
//!
//! The runtime is tokio, because its sockets are edge-triggered: a message needs no system call to arm its socket again,
//! and no further read after one that has emptied the socket. ARCHITECTURE.md has the figures.

use std::{
    ffi::OsString,
    future::{Future, pending, poll_fn},
    io,
    net::SocketAddr,
    panic::resume_unwind,
    path::Path,
    pin::Pin,
    process::{ExitStatus, Stdio},
    task::{Context, Poll, ready},
    thread,
    time::{Duration, Instant},
};

use futures_util::{AsyncRead, AsyncWrite};
use hyper::rt::{Sleep, Timer};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead as _, AsyncWrite as _, AsyncWriteExt as _, ReadBuf},
    net, process,
    runtime::Builder,
    signal::unix::{Signal, SignalKind, signal},
    task::{self, JoinHandle},
    time,
};

/// The number of tasks that run before sockets and timers are polled. It is small, so that an honest peer waits behind few
/// tasks; flooding peers wait for one another (see `fair`).
const TASKS_AT_A_STRETCH: u32 = 16;

/// Runs a future and the tasks that it spawns. When the future ends, the remaining tasks are dropped.
///
/// There is one worker thread for each core that we may use, besides this thread. The future runs on a worker, too, so that
/// it need not wake another thread.
pub fn run<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> io::Result<T> {
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let mut builder = Builder::new_multi_thread();
    let runtime = builder.worker_threads(cores).event_interval(TASKS_AT_A_STRETCH).enable_all().build()?;
    let output = runtime.block_on(output_of(runtime.spawn(future)));
    // Does not wait for threads that block, such as on a file that cannot be read.
    runtime.shutdown_background();
    Ok(output)
}

/// Runs a future and the tasks that it spawns on this thread only.
#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::panic, reason = "without a runtime there is nothing to test")]
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.unwrap_or_else(|error| panic!("{error}")).block_on(future)
}

/// Runs a future beside the others.
pub(crate) fn spawn(future: impl Future<Output = ()> + Send + 'static) {
    task::spawn(future);
}

/// Runs a future beside the others. The returned one waits for its output.
pub(crate) fn start<T: Send + 'static>(
    future: impl Future<Output = T> + Send + 'static,
) -> impl Future<Output = T> + Send {
    output_of(task::spawn(future))
}

/// Runs blocking code on a thread of its own, so that no task waits for it.
pub(crate) async fn unblock<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    output_of(task::spawn_blocking(work)).await
}

/// Waits for a task. A panic of the task continues in the caller.
async fn output_of<T>(task: JoinHandle<T>) -> T {
    match task.await.map_err(task::JoinError::try_into_panic) {
        Ok(output) => output,
        Err(Ok(panic)) => resume_unwind(panic),
        // The runtime has ended before the task, and so has the caller.
        Err(Err(_)) => pending().await,
    }
}

/// Lets all other ready tasks run first.
pub(crate) async fn yield_now() {
    task::yield_now().await;
}

pub(crate) async fn sleep(time: Duration) {
    time::sleep(time).await;
}

/// The future's output, or `None` if it takes longer than `time`.
pub(crate) async fn timeout<T>(time: Duration, future: impl Future<Output = T>) -> Option<T> {
    time::timeout(time, future).await.ok()
}

/// A socket that accepts connections.
pub(crate) struct TcpListener(net::TcpListener);

impl TcpListener {
    /// Wraps a bound and listening socket. Its connections inherit `TCP_NODELAY`: signalling messages are small and urgent.
    pub(crate) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        SockRef::from(&socket).set_tcp_nodelay(true)?;
        net::TcpListener::from_std(socket).map(Self)
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }

    pub(crate) async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, address) = self.0.accept().await?;
        Ok((TcpStream(stream), address))
    }
}

/// A connected socket. After a read that does not fill its buffer, or a write that takes only a part, no further system
/// call is made until the system reports that the socket is readable or writable.
#[derive(Debug)]
pub struct TcpStream(net::TcpStream);

impl TcpStream {
    /// Waits for bytes and copies them without taking them out of the socket.
    pub(crate) async fn peek(&self, bytes: &mut [u8]) -> io::Result<usize> {
        self.0.peek(bytes).await
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buf = ReadBuf::new(buf);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(buf.filled().len()))
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    /// Ends our direction of the connection; the other end may still send.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// A program that we have started. It is killed when dropped.
pub(crate) struct Child(process::Child);

impl Child {
    /// Starts a program with our environment except for these variables. It has its own process group, so that a
    /// terminal's interrupt reaches us only, and our standard error; its standard output is that, too.
    pub(crate) fn start(
        program: &Path,
        args: &[String],
        removed: impl IntoIterator<Item = OsString>,
    ) -> io::Result<Self> {
        let mut command = process::Command::new(program);
        command.args(args).stdin(Stdio::piped()).stdout(io::stderr()).process_group(0).kill_on_drop(true);
        for name in removed {
            command.env_remove(name);
        }
        command.spawn().map(Self)
    }

    /// The process id, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.0.id()
    }

    /// Writes a line to its standard input.
    pub(crate) async fn write_line(&mut self, line: &str) -> io::Result<()> {
        let Some(stdin) = &mut self.0.stdin else { return Ok(()) };
        stdin.write_all(format!("{line}\n").as_bytes()).await
    }

    /// Ends its standard input.
    pub(crate) fn close_input(&mut self) {
        self.0.stdin = None;
    }

    /// Waits for its end. Does not end its standard input.
    pub(crate) async fn wait(&mut self) -> io::Result<ExitStatus> {
        let stdin = self.0.stdin.take();
        let status = self.0.wait().await;
        self.0.stdin = stdin;
        status
    }

    /// Kills it and waits for its end.
    pub(crate) async fn kill(&mut self) -> io::Result<ExitStatus> {
        self.0.start_kill()?;
        self.0.wait().await
    }
}

/// An alarm that can be set again.
pub(crate) struct Alarm(Pin<Box<time::Sleep>>);

impl Alarm {
    pub(crate) fn after(time: Duration) -> Self {
        Self(Box::pin(time::sleep(time)))
    }

    pub(crate) fn set_after(&mut self, time: Duration) {
        let at = time::Instant::now().checked_add(time);
        // Beyond the range of the clock.
        let Some(at) = at else { return *self = Self::after(time) };
        self.0.as_mut().reset(at);
    }
}

impl Future for Alarm {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

/// Timers for hyper.
#[derive(Debug)]
pub(crate) struct HttpTimer;

impl Sleep for Alarm {}

impl Timer for HttpTimer {
    fn sleep(&self, time: Duration) -> Pin<Box<dyn Sleep>> {
        Box::pin(Alarm::after(time))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        self.sleep(deadline.saturating_duration_since(Instant::now()))
    }
}

/// The action that a signal requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// SIGINT or SIGTERM.
    End,
    /// SIGHUP.
    Reload,
}

/// Receives SIGINT, SIGTERM and SIGHUP.
pub(crate) struct Signals([(Signal, Wanted); 3]);

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self([
            (signal(SignalKind::interrupt())?, Wanted::End),
            (signal(SignalKind::terminate())?, Wanted::End),
            (signal(SignalKind::hangup())?, Wanted::Reload),
        ]))
    }

    /// Waits for the next signal.
    pub(crate) async fn next(&mut self) -> Wanted {
        poll_fn(|cx| {
            let came = self
                .0
                .iter_mut()
                .find_map(|(signal, wanted)| signal.poll_recv(cx).is_ready().then_some(*wanted));
            came.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use futures_util::{AsyncReadExt, FutureExt};

    use super::*;

    /// The next bytes are in the socket at once, but are not read before the reactor has reported them.
    #[test]
    fn after_a_read_that_does_not_fill_its_buffer_nobody_asks_again() {
        block_on(async {
            let listener = TcpListener::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
            let mut client = std::net::TcpStream::connect(listener.0.local_addr().unwrap()).unwrap();
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut buf = [0; 100];
            client.write_all(b"first").unwrap();
            assert_eq!(stream.read(&mut buf).await.unwrap(), 5);
            client.write_all(b"second").unwrap();
            assert!(stream.read(&mut buf).now_or_never().is_none());
            assert_eq!(stream.read(&mut buf).await.unwrap(), 6);
        });
    }

    #[test]
    fn connections_inherit_nodelay() {
        block_on(async {
            let listener = TcpListener::new(std::net::TcpListener::bind("127.0.0.1:0").unwrap()).unwrap();
            let _client = std::net::TcpStream::connect(listener.0.local_addr().unwrap()).unwrap();
            let (stream, _) = listener.accept().await.unwrap();
            assert!(stream.0.nodelay().unwrap());
        });
    }
}
