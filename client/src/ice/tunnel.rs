//! TURN over TLS (`turns:`): libnice speaks no TLS, so it speaks TURN over TCP with us, and we speak TLS with the server.

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener as Listener},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use async_std::{
    future::timeout,
    net::{TcpListener, TcpStream},
    task,
};
use futures_util::{AsyncReadExt, FutureExt, Stream, StreamExt, select};

use super::with_port;
use crate::{
    address::{Address, HTTP},
    backoff::local_pause,
    dial::connect,
    tls::Trust,
};

/// Time limit for TCP and TLS to the server.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most servers, and most connections to one of them at once.
const MAX_SERVERS: usize = 8;
const MAX_CONNECTIONS: usize = 64;
/// The port of TURN over TLS.
const PORT: u16 = 5349;

/// The tunnels of this process.
#[derive(Debug)]
pub struct Tunnels {
    trust: Trust,
    /// The local port for each server.
    ports: Mutex<BTreeMap<String, u16>>,
    /// Whether it was reported that there are too many.
    is_full: AtomicBool,
}

impl Tunnels {
    /// No tunnels yet. `trust` says which certificates of servers are accepted.
    pub fn new(trust: Trust) -> Self {
        Self { trust, ports: Mutex::default(), is_full: AtomicBool::default() }
    }

    /// The URI for webrtcbin: that of a tunnel if it is `turns://`, else unchanged. `None` if there can be no tunnel.
    pub fn uri(&self, turn: &str) -> Option<String> {
        let Some((user, server)) = parts(turn) else { return Some(turn.into()) };
        let mut ports = self.ports.lock().unwrap_or_else(PoisonError::into_inner);
        let port = match ports.get(&server) {
            Some(port) => *port,
            None if ports.len() >= MAX_SERVERS => {
                if !self.is_full.swap(true, Relaxed) {
                    tracing::warn!(
                        "no tunnel to the TURN server {server}, nor to others: {MAX_SERVERS} have one"
                    );
                }
                return None;
            }
            None => {
                let port = open(&server, self.trust.clone());
                let port =
                    port.inspect_err(|error| tracing::warn!("no tunnel to a TURN server: {error}")).ok()?;
                ports.insert(server, port);
                port
            }
        };
        Some(format!("turn://{user}@127.0.0.1:{port}?transport=tcp"))
    }
}

/// User and password, and host and port, of a `turns://` URI.
fn parts(turn: &str) -> Option<(&str, String)> {
    let (user, rest) = turn.strip_prefix("turns://")?.rsplit_once('@')?;
    let host = rest.split('?').next().unwrap_or_default();
    Some((user, with_port(host, PORT)))
}

/// Listens on the loopback address; returns the port.
fn open(server: &str, trust: Trust) -> io::Result<u16> {
    let address = Address::parse(&format!("https://{server}"), HTTP).ok_or(io::ErrorKind::InvalidInput)?;
    let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let listener = TcpListener::from(listener);
    task::spawn(async move { serve(listener.incoming(), address, trust).await });
    Ok(port)
}

async fn serve(connections: impl Stream<Item = io::Result<TcpStream>>, address: Address, trust: Trust) {
    let mut connections = pin!(connections);
    let open = Arc::new(AtomicUsize::new(0));
    let mut failures = 0;
    while let Some(connection) = connections.next().await {
        let local = match connection {
            Ok(local) => local,
            Err(error) => {
                failures += 1;
                tracing::warn!("a tunnel to {} accepts no connection: {error}", address.authority);
                task::sleep(local_pause(failures)).await;
                continue;
            }
        };
        failures = 0;
        if open.load(Relaxed) >= MAX_CONNECTIONS {
            continue;
        }
        open.fetch_add(1, Relaxed);
        let (open, address, trust) = (open.clone(), address.clone(), trust.clone());
        task::spawn(async move {
            tunnel(local, &address, &trust).await;
            open.fetch_sub(1, Relaxed);
        });
    }
}

/// Moves bytes in both directions until one side ends.
async fn tunnel(local: TcpStream, address: &Address, trust: &Trust) {
    let server = match timeout(CONNECT_LIMIT, connect(address, trust)).await {
        Ok(Ok(server)) => server,
        Ok(Err(failure)) => {
            tracing::warn!("no TLS to the TURN server {}: {failure}", address.authority);
            return;
        }
        Err(_) => {
            tracing::warn!("no TLS to the TURN server {} in time", address.authority);
            return;
        }
    };
    let _ = local.set_nodelay(true);
    let (from, mut to) = server.split();
    let (local_from, mut local_to) = (local.clone(), local);
    let mut up = pin!(futures_util::io::copy(local_from, &mut to).fuse());
    let mut down = pin!(futures_util::io::copy(from, &mut local_to).fuse());
    select! {
        _ = up => {}
        _ = down => {}
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

    #[derive(Default, Clone)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_tunnel_goes_on_after_errors() {
        let listener = TcpListener::from(Listener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
        let port = listener.local_addr().unwrap().port();
        // Nothing listens there: the tunnel closes the connection that it has accepted.
        let address = Address::parse("https://127.0.0.1:1", HTTP).unwrap();
        let failures = [(); 2].map(|()| Err(io::ErrorKind::ConnectionAborted.into()));
        task::spawn(async move {
            serve(stream::iter(failures).chain(listener.incoming()), address, Trust::System).await;
        });
        let mut stream = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        assert_eq!(io::Read::read(&mut stream, &mut [0]).unwrap(), 0, "it is not accepted");
    }

    #[test]
    fn only_turns_goes_through_a_tunnel_and_a_server_has_one() {
        let tunnels = Tunnels::new(Trust::System);
        let plain = "turn://u:p@turn.example.org:3478?transport=udp";
        assert_eq!(tunnels.uri(plain).as_deref(), Some(plain));
        let first = tunnels.uri("turns://u%40:p@turn.example.org").unwrap();
        assert!(
            first.starts_with("turn://u%40:p@127.0.0.1:") && first.ends_with("?transport=tcp"),
            "{first}"
        );
        let again = tunnels.uri("turns://x:y@turn.example.org:5349?transport=tcp").unwrap();
        assert_eq!(first.rsplit_once('@').unwrap().1, again.rsplit_once('@').unwrap().1);
        let other = tunnels.uri("turns://u:p@turn.example.org:443").unwrap();
        assert_ne!(first, other);
        let log = Log::default();
        let written = log.0.clone();
        let logger = tracing_subscriber::fmt().with_writer(move || log.clone()).finish();
        let more = || (0..20).filter_map(|n| tunnels.uri(&format!("turns://u:p@host{n}"))).count();
        assert_eq!(tracing::subscriber::with_default(logger, more), MAX_SERVERS - 2);
        let lines = String::from_utf8(written.lock().unwrap().clone()).unwrap();
        assert!(lines.lines().count() == 1 && lines.contains("host6:5349"), "{lines}");
    }
}
