//! The listening socket: bound with a clear error, and accepting whatever happens.

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
    metrics::Metrics,
    runtime::{self, TcpListener, TcpStream},
};

/// Connections the kernel may hold for us: everybody comes back at once after a restart.
const BACKLOG: i32 = 4096;

/// Pause after a failed accept, for descriptors to become free.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Why the server can't listen.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// `--addr` is neither an IP address nor a name that resolves to one.
    #[error("--addr {0}: not an address of this machine: {1}")]
    NoAddress(String, io::Error),
    /// Somebody else has the port.
    #[error("cannot listen on {0}: another program uses the port; choose another one with --port")]
    InUse(SocketAddr),
    /// Ports below 1024, mostly.
    #[error("cannot listen on {0}: not permitted; ports below 1024 need privileges")]
    NotPermitted(SocketAddr),
    /// What systemd passes is no such socket, or more than one.
    #[error("the socket that systemd passes: {0}")]
    Inherited(io::Error),
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
}

/// The socket that systemd opened for us, if it did (socket activation). To be called once and before there are
/// threads: it takes the variables that tell so out of the environment.
pub fn inherited() -> Result<Option<std::net::TcpListener>, BindError> {
    // Without a process id they may be meant for somebody else.
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
        // A kernel without IPv6.
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
        // A restart must not wait for the last one's connections to time out.
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

/// A listening socket that goes on whatever happens.
pub(crate) struct Listener {
    socket: TcpListener,
    /// A descriptor to give up when there are none left, so that somebody can be told.
    spare: Option<File>,
    in_trouble: bool,
}

impl Listener {
    pub(crate) fn new(socket: std::net::TcpListener) -> io::Result<Self> {
        Ok(Self { socket: TcpListener::new(socket)?, spare: spare(), in_trouble: false })
    }

    /// The next connection. Never fails: it waits until accepting works again.
    pub(crate) async fn accept(&mut self, metrics: &Metrics) -> (TcpStream, SocketAddr) {
        loop {
            match self.socket.accept().await {
                Ok((stream, address)) => {
                    if std::mem::take(&mut self.in_trouble) {
                        info!("accepting connections again");
                    }
                    // Signalling is small messages that somebody waits for.
                    let _ = stream.set_nodelay(true);
                    return (stream, canonical(address));
                }
                // The client gave up before we got to it.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    metrics.accept_errors.inc();
                    // Once, and not twenty times a second: the metric counts.
                    if !std::mem::replace(&mut self.in_trouble, true) {
                        warn!(%error, "cannot accept connections");
                    }
                    self.shed().await;
                }
            }
        }
    }

    /// Out of descriptors: takes the next connection with the spare one, and tells it to come back later.
    async fn shed(&mut self) {
        if self.spare.take().is_some()
            && let Some(Ok((mut stream, _))) = runtime::timeout(ACCEPT_PAUSE, self.socket.accept()).await
        {
            // A client with TLS sees an end; it can't be told without a handshake.
            let _ = runtime::timeout(ACCEPT_PAUSE, stream.write_all(BUSY)).await;
        }
        runtime::sleep(ACCEPT_PAUSE).await;
        self.spare = self.spare.take().or_else(spare);
    }
}

fn spare() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The answer to whoever comes when there are no descriptors left.
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 10\r\nConnection: close\r\n\
    Content-Length: 19\r\nContent-Type: text/plain\r\n\r\nthe server is full\n";

/// IPv4 as IPv4, also where it came through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
