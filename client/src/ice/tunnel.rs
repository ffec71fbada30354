//! TURN over TCP and TLS: libnice speaks TURN over TCP with us, and we speak it with the server.
//!
//! libnice has no TLS. And 0.1.21 writes behind a buffer if a server announces a message of more than 64 KiB: we close the
//! connection instead. What a peer sends through the server is looked at as on UDP sockets ([`callbin_foreign::filter`]).

use std::{
    collections::BTreeMap,
    io,
    net::{Ipv4Addr, TcpListener as Listener},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use async_std::{
    future::timeout,
    net::{TcpListener, TcpStream},
    task,
};
use callbin_foreign::filter::passes;
use futures_util::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, FutureExt, Stream, StreamExt,
    future::{AbortHandle, abortable},
    select,
};

use super::{STUN_PORT, with_port};
use crate::{
    address::{Address, HTTP},
    backoff::local_pause,
    dial::{connect, direct},
    tls::Trust,
};

/// Time limit for TCP and TLS to the server.
const CONNECT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);
/// Most servers, and most connections to one of them at once.
const MAX_SERVERS: usize = 8;
const MAX_CONNECTIONS: usize = 64;
/// The port of TURN over TLS.
const TLS_PORT: u16 = 5349;
/// The first bytes of a message, which have its length, and the longest message for which libnice has room.
const HEAD: usize = 4;
const MAX_MESSAGE: usize = 1 << 16;
/// A Data indication, and its attribute with the peer's packet (RFC 8656).
const DATA_INDICATION_HIGH: u8 = 0;
const DATA_INDICATION_LOW: u8 = 0x17;
const DATA: [u8; 2] = [0, 0x13];
const STUN_HEADER: usize = 20;

/// The tunnels of this process.
#[derive(Debug)]
pub struct Tunnels {
    trust: Trust,
    /// One for each server.
    open: Mutex<BTreeMap<String, Tunnel>>,
}

#[derive(Debug)]
struct Tunnel {
    /// Its local port.
    port: u16,
    /// How many requests for any tunnel there were before the last one for this.
    asked: u64,
    /// Ends listening. Connections go on.
    listens: AbortHandle,
}

impl Tunnels {
    /// No tunnels yet. `trust` says which certificates of servers are accepted.
    pub fn new(trust: Trust) -> Self {
        Self { trust, open: Mutex::default() }
    }

    /// The URI for webrtcbin: that of a tunnel for TCP and TLS (`turns://`), unchanged for UDP. `None` if there can be no tunnel.
    pub fn uri(&self, turn: &str) -> Option<String> {
        let Some((user, server)) = parts(turn) else { return Some(turn.into()) };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = open.values().map(|tunnel| tunnel.asked + 1).max().unwrap_or_default();
        if !open.contains_key(&server) {
            let tunnel = Tunnel::open(&server, self.trust.clone());
            let tunnel = tunnel.inspect_err(|error| tracing::warn!("no tunnel to a TURN server: {error}"));
            open.insert(server.clone(), tunnel.ok()?);
            make_room(&mut open, &server);
        }
        let tunnel = open.get_mut(&server)?;
        tunnel.asked = asked;
        Some(format!("turn://{user}@127.0.0.1:{}?transport=tcp", tunnel.port))
    }
}

/// User and password of a URI for TCP or TLS, and the server's URL.
fn parts(turn: &str) -> Option<(&str, String)> {
    let (scheme, rest) = turn.split_once("://")?;
    let (user, rest) = rest.rsplit_once('@')?;
    let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
    match scheme {
        "turns" => Some((user, format!("https://{}", with_port(host, TLS_PORT)))),
        "turn" if query.eq_ignore_ascii_case("transport=tcp") => {
            Some((user, format!("http://{}", with_port(host, STUN_PORT))))
        }
        _ => None,
    }
}

/// Closes the tunnel that was not asked for longest, other than `new`, if there are too many.
fn make_room(open: &mut BTreeMap<String, Tunnel>, new: &str) {
    if open.len() <= MAX_SERVERS {
        return;
    }
    let others = open.iter().filter(|(server, _)| *server != new);
    let oldest = others.min_by_key(|(_, tunnel)| tunnel.asked).map(|(server, _)| server.clone());
    if let Some(tunnel) = oldest.and_then(|server| open.remove(&server)) {
        tunnel.listens.abort();
    }
}

impl Tunnel {
    /// Listens on the loopback address.
    fn open(server: &str, trust: Trust) -> io::Result<Self> {
        let address = Address::parse(server, HTTP).ok_or(io::ErrorKind::InvalidInput)?;
        let listener = Listener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let listener = TcpListener::from(listener);
        let (serving, listens) = abortable(async move { serve(listener.incoming(), address, trust).await });
        task::spawn(serving);
        Ok(Self { port, asked: 0, listens })
    }
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
    let connecting =
        async { if address.secure { connect(address, trust).await } else { direct(address).await } };
    let what = if address.secure { "TLS" } else { "TCP" };
    let server = match timeout(CONNECT_LIMIT, connecting).await {
        Ok(Ok(server)) => server,
        Ok(Err(failure)) => {
            tracing::warn!("no {what} to the TURN server {}: {failure}", address.authority);
            return;
        }
        Err(_) => {
            tracing::warn!("no {what} to the TURN server {} in time", address.authority);
            return;
        }
    };
    let _ = local.set_nodelay(true);
    let (from, mut to) = server.split();
    let (local_from, mut local_to) = (local.clone(), local);
    let mut up = pin!(futures_util::io::copy(local_from, &mut to).fuse());
    let mut down = pin!(messages(from, &mut local_to).fuse());
    select! {
        _ = up => {}
        ended = down => {
            if ended.is_err_and(|error| error.kind() == io::ErrorKind::InvalidData) {
                let what = "something that is not TURN, or a message of more than 64 KiB";
                tracing::warn!("the TURN server {} sent {what}", address.authority);
            }
        }
    }
}

/// Passes on messages of TURN until an end, or an invalid message.
async fn messages(mut from: impl AsyncRead + Unpin, to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut message = vec![0; HEAD];
    loop {
        message.resize(HEAD, 0);
        from.read_exact(&mut message).await?;
        let head = message.first_chunk().copied().unwrap_or_default();
        let length =
            length(head).filter(|length| *length <= MAX_MESSAGE).ok_or(io::ErrorKind::InvalidData)?;
        message.resize(length, 0);
        from.read_exact(message.get_mut(HEAD..).unwrap_or_default()).await?;
        if is_harmless(&message) {
            to.write_all(&message).await?;
        }
    }
}

/// Whether the message has no packet inside that libnice does not survive.
fn is_harmless(message: &[u8]) -> bool {
    match *message {
        [0x40..=0x7f, _, high, low, ref packet @ ..] => {
            // Behind its length there may be padding.
            let length = usize::from(u16::from_be_bytes([high, low]));
            passes(packet.get(..length).unwrap_or(packet))
        }
        [DATA_INDICATION_HIGH, DATA_INDICATION_LOW, ..] => {
            let mut attributes = message.get(STUN_HEADER..).unwrap_or_default();
            while let [top, kind, high, low, rest @ ..] = attributes {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                if [*top, *kind] == DATA && !passes(rest.get(..length).unwrap_or(rest)) {
                    return false;
                }
                attributes = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            }
            true
        }
        _ => true,
    }
}

/// The length of a message with this head, with padding (RFC 8656, sections 12.4 and 12.5); `None` if it is neither a STUN message
/// nor channel data.
fn length(head: [u8; HEAD]) -> Option<usize> {
    let [kind, _, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low])).next_multiple_of(4);
    match kind >> 6 {
        0 => Some(20 + length),
        1 => Some(HEAD + length),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use callbin_foreign::filter::LONGEST_REQUEST;
    use futures_util::stream;

    use super::*;

    const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

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
    fn messages_that_libnice_has_no_room_for_end_the_connection() {
        let pass = |bytes: Vec<u8>| {
            task::block_on(async move {
                let mut to = Vec::new();
                let end = messages(&*bytes, &mut to).await.unwrap_err().kind();
                (to.len(), end)
            })
        };
        let stun =
            |length: u16, bytes: usize| [&[0, 1][..], &length.to_be_bytes(), &vec![7; bytes - 4]].concat();
        let data =
            |length: u16, bytes: usize| [&[0x40, 0][..], &length.to_be_bytes(), &vec![7; bytes - 4]].concat();
        let good = [stun(0, 20), data(5, 12), stun(8, 28), data(0, 4)].concat();
        assert_eq!(pass(good.clone()), (64, io::ErrorKind::UnexpectedEof));
        assert_eq!(pass([good.clone(), stun(65_516, 65_536)].concat()).0, 64 + 65_536);
        for bad in [stun(65_520, 70_000), data(65_533, 70_000), vec![0x80; 100]] {
            assert_eq!(pass([good.clone(), bad].concat()), (64, io::ErrorKind::InvalidData));
        }
    }

    #[test]
    fn what_libnice_does_not_survive_is_left_out() {
        let packet = |kind: u8, length: usize| [&[0, kind][..], &vec![7; length - 2]].concat();
        let channel = |packet: &[u8]| [&[0x40, 0][..], &(packet.len() as u16).to_be_bytes(), packet].concat();
        let indication = |packet: &[u8]| {
            let padding = vec![0; packet.len().next_multiple_of(4) - packet.len()];
            let peer = [0, 0x12, 0, 8, 1, 1, 1, 1, 1, 1, 1, 1];
            let data = [&DATA[..], &(packet.len() as u16).to_be_bytes(), packet, &padding].concat();
            let length = (peer.len() + data.len()) as u16;
            [&[0, 0x17][..], &length.to_be_bytes(), &[9; 16], &peer, &data].concat()
        };
        let longest = LONGEST_REQUEST as usize;
        let response =
            |attributes: &[u8]| [&[1, 1, 0, attributes.len() as u8][..], &[9; 16], attributes].concat();
        let address = [0, 0x20, 0, 8, 0, 1, 2, 3, 4, 5, 6, 7];
        let cases = [
            (packet(1, longest), true),
            (packet(1, longest + 1), false),
            (packet(0x80, 1400), true),
            (response(&address), true),
            (response(&[]), false),
            (response(&address[..8]), false),
        ];
        for (packet, is_fine) in cases {
            assert_eq!([channel(&packet), indication(&packet)].map(|it| is_harmless(&it)), [is_fine; 2]);
        }
        assert!(
            is_harmless(&[0, 0x17, 0, 0]) && is_harmless(&packet(1, 1300)),
            "that is for us, not a peer's"
        );
    }

    #[test]
    fn tcp_and_tls_go_through_a_tunnel_and_a_server_has_one() {
        let tunnels = Tunnels::new(Trust::System);
        let plain = "turn://u:p@turn.example.org:3478?transport=udp";
        assert_eq!(tunnels.uri(plain).as_deref(), Some(plain));
        let tcp = tunnels.uri("turn://u:p@turn.example.org?transport=tcp").unwrap();
        assert!(tcp.starts_with("turn://u:p@127.0.0.1:"), "{tcp}");
        let first = tunnels.uri("turns://u%40:p@turn.example.org").unwrap();
        assert!(
            first.starts_with("turn://u%40:p@127.0.0.1:") && first.ends_with("?transport=tcp"),
            "{first}"
        );
        let again = tunnels.uri("turns://x:y@turn.example.org:5349?transport=tcp").unwrap();
        assert_eq!(first.rsplit_once('@').unwrap().1, again.rsplit_once('@').unwrap().1);
        let other = tunnels.uri("turns://u:p@turn.example.org:443").unwrap();
        assert_ne!(first, other);
    }

    #[test]
    fn the_tunnel_that_was_not_asked_for_longest_makes_room() {
        let tunnels = Tunnels::new(Trust::System);
        let ask = |n: usize| tunnels.uri(&format!("turns://u:p@host{n}")).unwrap();
        let first: Vec<_> = (0..MAX_SERVERS).map(ask).collect();
        assert_eq!(ask(0), first[0]);
        let (new, opens) = (ask(MAX_SERVERS), |uri: &str| {
            let address = uri.rsplit('@').next().unwrap().split('?').next().unwrap();
            std::net::TcpStream::connect(address).is_ok()
        });
        assert!(opens(&first[0]) && opens(&new));
        let end = std::time::Instant::now() + LIMIT;
        while opens(&first[1]) {
            assert!(std::time::Instant::now() < end, "it still listens");
            std::thread::yield_now();
        }
        assert_eq!(tunnels.open.lock().unwrap().len(), MAX_SERVERS);
    }
}
