//! Looks up mDNS names (RFC 6762) without the system's help, which not every system gives, and answers for our own.
//!
//! Browsers hide the addresses in their candidates behind such names, and answer questions for them in their own network.

mod message;
mod responder;

use std::{
    collections::BTreeSet,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket},
    time::{Duration, Instant},
};

pub use self::responder::Responder;
use socket2::{Domain, Protocol, Socket, Type};

const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 5353;
/// When to ask, after the start: packets get lost.
const ASK_AT: [Duration; 3] = [Duration::ZERO, Duration::from_millis(250), Duration::from_secs(1)];
/// Most interfaces asked.
const MAX_INTERFACES: usize = 8;
/// The largest message (RFC 6762, section 17).
const MAX_MESSAGE: usize = 9000;

/// The address of `name`, if an answer comes within `limit`. Blocks.
pub fn resolve(name: &str, limit: Duration) -> Option<IpAddr> {
    let found = ask(name, limit, &interfaces());
    found.inspect_err(|error| tracing::debug!("an mDNS name was not found: {error}")).ok().flatten()
}

/// Our IPv4 addresses; the loopback one comes last.
fn interfaces() -> Vec<Ipv4Addr> {
    let all = if_addrs::get_if_addrs().unwrap_or_default();
    let of = |it: &if_addrs::Interface| match it.ip() {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    to_ask(all.iter().filter_map(of).collect())
}

/// Each address once, the loopback ones last, and not too many.
fn to_ask(mut found: Vec<Ipv4Addr>) -> Vec<Ipv4Addr> {
    let mut seen = BTreeSet::new();
    found.retain(|ip| seen.insert(*ip));
    found.sort_by_key(|ip| ip.is_loopback());
    found.truncate(MAX_INTERFACES);
    found
}

fn ask(name: &str, limit: Duration, interfaces: &[Ipv4Addr]) -> io::Result<Option<IpAddr>> {
    let question = message::question(name).ok_or(io::ErrorKind::InvalidInput)?;
    let socket = open(interfaces)?;
    let start = Instant::now();
    let mut times = ASK_AT.iter().map(|at| start + *at).chain([start + limit]).peekable();
    let mut buffer = [0; MAX_MESSAGE];
    while start.elapsed() < limit {
        if times.next_if(|at| *at <= Instant::now()).is_some() {
            interfaces.iter().for_each(|via| send(&socket, &question, *via));
        }
        let until = times.peek().map_or(start + limit, |at| *at).min(start + limit);
        let wait = until.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        // Answers come from the port of mDNS only (RFC 6762, section 6).
        if let Ok((bytes, from)) = socket.recv_from(&mut buffer)
            && from.port() == PORT
            && let Some(address) = message::address_in(buffer.get(..bytes).unwrap_or_default(), name)
        {
            return Ok(Some(address));
        }
    }
    Ok(None)
}

/// A socket at the port of mDNS, which all programs of a machine share: many responders answer to the group only.
fn open(interfaces: &[Ipv4Addr]) -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, PORT).into())?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    for via in interfaces {
        if let Err(error) = socket.join_multicast_v4(&GROUP, via) {
            tracing::debug!("no multicast through {via}: {error}");
        }
    }
    Ok(socket.into())
}

fn send(socket: &UdpSocket, bytes: &[u8], via: Ipv4Addr) {
    let through = socket2::SockRef::from(socket).set_multicast_if_v4(&via);
    let _ = through.and_then(|()| socket.send_to(bytes, (GROUP, PORT)));
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    const LOOPBACK: [Ipv4Addr; 1] = [Ipv4Addr::LOCALHOST];

    /// Answers questions for `name` like a browser: to the group.
    fn responder(name: &'static str, address: IpAddr) {
        let socket = open(&LOOPBACK).unwrap();
        thread::spawn(move || {
            let mut buffer = [0; MAX_MESSAGE];
            while let Ok((bytes, _)) = socket.recv_from(&mut buffer) {
                if message::asked(&buffer[..bytes]).iter().any(|it| it.eq_ignore_ascii_case(name)) {
                    send(&socket, &message::answer(name, address).unwrap(), Ipv4Addr::LOCALHOST);
                }
            }
        });
    }

    #[test]
    fn an_address_of_two_interfaces_is_asked_once() {
        let [lo, a, b] = [[127, 0, 0, 1], [192, 0, 2, 2], [192, 0, 2, 1]].map(Ipv4Addr::from);
        assert_eq!(to_ask(vec![lo, a, b, a, lo]), [a, b, lo]);
        let many = (0..100).map(|n| Ipv4Addr::from([10, 0, 0, n])).collect();
        assert_eq!(to_ask(many).len(), MAX_INTERFACES);
    }

    #[test]
    fn a_name_is_found_and_others_are_given_up_in_time() {
        let address = "192.0.2.7".parse().unwrap();
        responder("callbin-test-1.local", address);
        assert_eq!(ask("Callbin-Test-1.local", Duration::from_secs(10), &LOOPBACK).unwrap(), Some(address));
        assert_eq!(ask("callbin-test-2.local", Duration::from_millis(300), &LOOPBACK).unwrap(), None);
        assert!(ask("no..name", Duration::from_secs(10), &LOOPBACK).is_err());
    }
}
