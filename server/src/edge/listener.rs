//! The listening socket: it binds with clear errors, and survives failures to accept.

use std::{
    fs::File,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use futures_util::AsyncWriteExt;
use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};
use tracing::{info, warn};

use crate::{
    operate::metrics::Metrics,
    runtime::{self, TcpListener, TcpStream},
};

/// Connections that the kernel may queue for us: after a restart all clients reconnect at once.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept, so that file descriptors can become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `--addr` is neither an IP address nor a name that resolves to one.
    #[error("--addr {0}: not an address of this machine: {1}")]
    NoAddress(String, io::Error),
    /// Another program uses the port.
    #[error("cannot listen on {0}: another program uses the port; choose another one with --port")]
    InUse(SocketAddr),
    /// Usually a port below 1024.
    #[error("cannot listen on {0}: not permitted; ports below 1024 need privileges")]
    NotPermitted(SocketAddr),
    /// systemd passed no TCP socket, or more than one.
    #[error("the socket that systemd passes: {0}")]
    Inherited(io::Error),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

/// The socket passed by systemd (socket activation), if there is one. Call it once, before there are threads: it
/// removes the variables from the environment.
pub fn inherited() -> Result<Option<std::net::TcpListener>, BindError> {
    // Without a process id the variables may be meant for another process.
    if std::env::var_os("LISTEN_PID").is_none() {
        return Ok(None);
    }
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(BindError::Inherited(io::Error::other("there are several, and one is served")));
    }
    passed.take_tcp_listener(0).map_err(BindError::Inherited)
}

/// Binds and listens. An empty address means all interfaces, IPv6 and IPv4.
pub fn bind(addr: &str, port: u16) -> Result<std::net::TcpListener, BindError> {
    if !addr.is_empty() {
        return listen(resolve(addr, port)?);
    }
    match listen(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port)) {
        // The kernel has no IPv6.
        Err(BindError::Other(..)) => listen(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port)),
        result => result,
    }
}

fn resolve(addr: &str, port: u16) -> Result<SocketAddr, BindError> {
    use std::net::ToSocketAddrs;
    let bare = addr.trim_start_matches('[').trim_end_matches(']');
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, port));
    }
    let none = || io::Error::other("the name has no address");
    (addr, port)
        .to_socket_addrs()
        .and_then(|mut found| found.next().ok_or_else(none))
        .map_err(|error| BindError::NoAddress(addr.into(), error))
}

/// Binds and listens on exactly this address.
pub fn listen(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
    let open = || {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // A restart must not wait until the previous process's connections have timed out.
        socket.set_reuse_address(true)?;
        if address.is_ipv6() {
            socket.set_only_v6(false)?;
        }
        socket.bind(&address.into())?;
        socket.listen(BACKLOG)?;
        Ok(socket.into())
    };
    open().map_err(|error: io::Error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse(address),
        io::ErrorKind::PermissionDenied => BindError::NotPermitted(address),
        _ => BindError::Other(address, error),
    })
}

/// A listening socket that survives failures to accept.
pub(crate) struct Listener {
    socket: TcpListener,
    /// A file descriptor to release when there are none left, so that a client can be answered.
    spare: Option<File>,
    in_trouble: bool,
}

impl Listener {
    pub(crate) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::new(socket)?, spare: spare(), in_trouble: false })
    }

    pub(crate) fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// The next connection. Never fails: it waits until accepting works again.
    pub(crate) async fn accept(&mut self, metrics: &Metrics) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    if std::mem::take(&mut self.in_trouble) {
                        info!("accepting connections again");
                    }
                    return (stream, canonical(address));
                }
                // The client gave up before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    metrics.accept_errors.inc();
                    // Warn once, not twenty times a second. The metric counts every failure.
                    if !std::mem::replace(&mut self.in_trouble, true) {
                        warn!(%error, "cannot accept connections");
                    }
                    self.shed().await;
                }
            }
        }
    }

    /// Out of file descriptors: accepts the next connection with the spare one and answers 503 (retry later).
    async fn shed(&mut self) {
        if self.spare.take().is_some()
            && let Some(Ok((mut stream, _))) = runtime::timeout(ACCEPT_PAUSE, self.socket.accept()).await
        {
            // A TLS client only sees the connection close: an answer would need a handshake.
            let _ = runtime::timeout(ACCEPT_PAUSE, stream.write_all(BUSY)).await;
        }
        runtime::sleep(ACCEPT_PAUSE).await;
        self.spare = self.spare.take().or_else(spare);
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The answer to a client when there are no file descriptors left.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\
    Content-Length: 19\r\nContent-Type: text/plain\r\n\r\nthe server is full\n";

/// An IPv4-mapped IPv6 address as IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
