//! The listening socket: bound with a clear error, and accepting whatever happens.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use crate::runtime::{self, TcpListener, TcpStream};

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
    /// Anything else.
    #[error("cannot listen on {0}: {1}")]
    Other(SocketAddr, io::Error),
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

fn listen(address: SocketAddr) -> Result<std::net::TcpListener, BindError> {
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

/// The next connection. Never fails: it waits until accepting works again.
pub(crate) async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match runtime::accept(listener).await {
            Ok((stream, address)) => {
                // Signalling is small messages that somebody waits for.
                let _ = stream.set_nodelay(true);
                return (stream, canonical(address));
            }
            // The client gave up before we got to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                runtime::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// IPv4 as IPv4, also where it came through an IPv6 socket.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
