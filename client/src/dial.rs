//! Connects to the signalling server: name lookup, TCP, perhaps a proxy, TLS.
//!
//! IPv4 and IPv6 are tried side by side (RFC 8305): a family that swallows packets costs a quarter of a second instead
//! of the whole time limit.

use std::{
    env, io,
    net::{IpAddr, SocketAddr},
    pin::pin,
    time::Duration,
};

use async_io::Timer;
use async_std::{
    future::timeout,
    io::{ReadExt, WriteExt},
    net::{TcpStream, ToSocketAddrs},
};
use futures_util::{
    AsyncRead, AsyncWrite, FutureExt, future, select,
    stream::{FuturesUnordered, StreamExt},
};

use crate::{
    address::Address,
    exit::{ExitCode, Failure},
    proxy, tls,
};

/// If an attempt takes longer, the next one starts beside it.
const ATTEMPT_PAUSE: Duration = Duration::from_millis(250);
/// Most addresses tried for one name.
const MAX_ADDRESSES: usize = 16;
/// Time limit for a proxy's answer: the proxy has to connect first.
const PROXY_LIMIT: Duration = Duration::from_secs(8);
/// Longest head of a proxy's answer, in bytes.
const MAX_HEAD: usize = 16 * 1024;

/// Any byte stream: TCP or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// Opens TCP, perhaps through a proxy, and TLS if the address is `wss://`. Sends nothing to the server yet.
pub async fn connect(address: &Address, trust: &tls::Trust) -> Result<Box<dyn Stream>, Failure> {
    connect_from(address, trust).await.map(|(stream, _)| stream)
}

/// Opens TCP without a proxy or TLS.
pub async fn direct(address: &Address) -> Result<Box<dyn Stream>, Failure> {
    let tcp = tcp(address).await.map_err(|error| cannot_connect(address, &error.to_string()).passing())?;
    let _ = tcp.set_nodelay(true);
    Ok(Box::new(tcp))
}

/// Like [`connect`]; also returns our own address of the connection, if it is known.
pub async fn connect_from(
    address: &Address,
    trust: &tls::Trust,
) -> Result<(Box<dyn Stream>, Option<IpAddr>), Failure> {
    let tcp = match proxy::choose(address, |name| env::var(name).ok()) {
        Ok(Some(proxy)) => through(&proxy, address).await?,
        Ok(None) => tcp(address).await.map_err(|error| unreachable(address, &error))?,
        Err(words) => return Err(Failure::new(ExitCode::Usage, words)),
    };
    // A call is set up with many small messages, and each is waited for.
    let _ = tcp.set_nodelay(true);
    let from = tcp.local_addr().ok().map(|at| at.ip().to_canonical());
    if !address.secure {
        return Ok((Box::new(tcp), from));
    }
    Ok((Box::new(tls::connect(trust, &address.host, tcp).await?), from))
}

fn unreachable(address: &Address, error: &io::Error) -> Failure {
    cannot_connect(address, &format!("{error}: is callbin-server running there?")).passing()
}

/// The failure for a server that cannot be reached.
pub fn cannot_connect(address: &Address, why: &str) -> Failure {
    Failure::new(ExitCode::CannotConnect, format!("cannot connect to {address}: {why}"))
}

async fn tcp(address: &Address) -> io::Result<TcpStream> {
    let found = (address.host.as_str(), address.port).to_socket_addrs().await?;
    race(interleave(found.take(MAX_ADDRESSES).collect())).await
}

/// The order in which to try addresses: the resolver's, but with the families alternating (RFC 8305, section 4).
fn interleave(found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let is_v6 = found.first().is_some_and(SocketAddr::is_ipv6);
    let (first, second): (Vec<_>, Vec<_>) = found.into_iter().partition(|at| at.is_ipv6() == is_v6);
    let longest = first.len().max(second.len());
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    (0..longest).flat_map(|_| [first.next(), second.next()]).flatten().collect()
}

/// Tries the addresses in order, the next one after `ATTEMPT_PAUSE` or a failure; the first connection wins.
async fn race(order: Vec<SocketAddr>) -> io::Result<TcpStream> {
    let mut waiting = order.into_iter();
    let mut running = FuturesUnordered::new();
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        running.extend(waiting.next().map(TcpStream::connect));
        let is_last = waiting.len() == 0;
        if running.is_empty() {
            return Err(failed);
        }
        let pause =
            async { if is_last { future::pending().await } else { Timer::after(ATTEMPT_PAUSE).await } };
        let mut pause = pin!(pause.fuse());
        select! {
            result = running.select_next_some() => match result {
                Ok(stream) => return Ok(stream),
                Err(error) => failed = error,
            },
            _ = pause => {}
        }
    }
}

/// Connects to `address` through `proxy`.
async fn through(proxy: &Address, address: &Address) -> Result<TcpStream, Failure> {
    let failed = |why: &str| cannot_connect(address, &format!("the proxy {proxy} {why}"));
    let question = async {
        let mut tcp = tcp(proxy).await?;
        tcp.write_all(&proxy::request(address, proxy)).await?;
        let head = read_head(&mut tcp).await?;
        Ok::<_, io::Error>((tcp, proxy::status(&head)))
    };
    let (tcp, status) = match timeout(PROXY_LIMIT, question).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(error)) => return Err(failed(&format!("fails: {error}")).passing()),
        Err(_) => {
            return Err(failed(&format!("does not answer within {} s", PROXY_LIMIT.as_secs())).passing());
        }
    };
    let refused = |why: &str| {
        let message = format!("the proxy {proxy} does not let us connect to {address}: {why}");
        Err(Failure::new(ExitCode::NotAuthorised, message))
    };
    match status {
        Some(200..=299) => Ok(tcp),
        Some(407) if proxy.login.is_some() => {
            refused("it refuses the user and password of its address (HTTP 407)")
        }
        Some(407) => refused("it wants a user and password, as in http://user:password@host:port (HTTP 407)"),
        Some(403) => refused("it is forbidden (HTTP 403)"),
        Some(status @ 500..) => Err(failed(&format!("cannot connect to it (HTTP {status})")).passing()),
        Some(status) => Err(failed(&format!("refuses to connect to it (HTTP {status})"))),
        None => Err(failed("does not speak HTTP")),
    }
}

/// Reads the head byte by byte: the bytes behind it come from the server.
async fn read_head(tcp: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && !head.ends_with(b"\n\n") {
        if head.len() == MAX_HEAD {
            return Err(io::Error::other(format!("its answer is longer than {MAX_HEAD} bytes")));
        }
        tcp.read_exact(&mut byte).await?;
        head.extend(byte);
    }
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, TcpListener};

    use async_std::task::block_on;
    use socket2::{Domain, Socket, Type};

    use super::*;

    fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
        texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 1)).collect()
    }

    #[test]
    fn families_take_turns_from_the_first_on() {
        for (found, wanted) in [
            (&[][..], &[][..]),
            (&["::1", "::2", "::3", "1.1.1.1", "1.1.1.2"], &["::1", "1.1.1.1", "::2", "1.1.1.2", "::3"]),
            (&["1.1.1.1", "1.1.1.2", "::1"], &["1.1.1.1", "::1", "1.1.1.2"]),
            (&["::1", "::2"], &["::1", "::2"]),
        ] {
            assert_eq!(interleave(addresses(found)), addresses(wanted));
        }
    }

    /// A listening socket with a full queue: new connections get no answer.
    fn black_hole() -> (Socket, Vec<Socket>, SocketAddr) {
        let hole = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        hole.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, 0)).into()).unwrap();
        hole.listen(0).unwrap();
        let address = hole.local_addr().unwrap();
        let fill = |_| {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address);
            socket
        };
        let queue = (0..4).map(fill).collect();
        (hole, queue, address.as_socket().unwrap())
    }

    #[test]
    fn an_address_that_swallows_packets_holds_nobody_up() {
        let (hole, queue, swallows) = black_hole();
        let answers = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let refuses = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);
        let order = vec![swallows, refuses, answers.local_addr().unwrap(), swallows];
        let found = block_on(timeout(Duration::from_secs(30), race(order))).unwrap().unwrap();
        assert_eq!(found.peer_addr().unwrap(), answers.local_addr().unwrap());
        // The black hole still swallows connections.
        let alone = block_on(timeout(ATTEMPT_PAUSE, race(vec![swallows])));
        assert!(alone.is_err(), "{alone:?}");
        drop((hole, queue));
    }

    #[test]
    fn nowhere_to_go_is_an_error() {
        assert!(block_on(race(Vec::new())).is_err());
        assert!(block_on(race(addresses(&["127.0.0.1", "::1"]))).is_err());
    }
}
