//! Who a connection really comes from, where a trusted proxy says so.

mod forwarded;

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use ipnet::IpNet;
use ppp::v2;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Why a request has no client that can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// It names two.
    #[error("Forwarded and X-Forwarded-For name different clients")]
    Different,
    /// Its `Forwarded` can be read in more than one way.
    #[error("Forwarded is not as RFC 7239 has it")]
    Malformed,
}

/// The networks whose word is taken. Nobody else's is.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies(Vec<IpNet>);

/// A PROXY protocol header, or that there is none.
#[derive(Debug, PartialEq, Eq)]
pub enum Preface {
    /// It needs more bytes to tell.
    Incomplete,
    /// The connection starts with something else.
    Absent,
    /// It is this long, and names this client, or none for a proxy's own health check.
    Present(usize, Option<SocketAddr>),
    /// It starts like one and is none.
    Malformed,
}

impl TrustedProxies {
    /// Trusts these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Is it one of ours?
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// The client that a request comes from: the last address before the chain of trusted proxies.
    ///
    /// A proxy writes one of the two headers and may pass the other as the client sent it. Where both are there
    /// and disagree, one of them is a forgery, and only the client can have made it.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<SocketAddr, Forged> {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let Hops { forwarded, x_forwarded_for } = Hops::of(headers)?;
        let named = |hops: Option<Vec<_>>| hops.map(|hops| self.last_before_us(peer, hops));
        match (named(forwarded), named(x_forwarded_for)) {
            (Some(one), Some(other)) if one.ip() != other.ip() => Err(Forged::Different),
            (Some(client), _) | (None, Some(client)) => Ok(client),
            (None, None) => Ok(peer),
        }
    }

    /// Whether a request comes from this machine, and not from another one through a proxy. A header of a proxy that is
    /// not trusted is no proof of an address, but it is one of a proxy.
    pub fn is_local(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        if !peer.ip().to_canonical().is_loopback() {
            return false;
        }
        if !self.trusts(peer.ip()) {
            let passed_on = [header::FORWARDED, X_FORWARDED_FOR, X_REAL_IP, header::VIA];
            return !passed_on.iter().any(|name| headers.contains_key(name));
        }
        let local = |hop: &Option<SocketAddr>| hop.is_some_and(|hop| hop.ip().is_loopback());
        Hops::of(headers).is_ok_and(|Hops { forwarded, x_forwarded_for }| {
            forwarded.iter().chain(&x_forwarded_for).flatten().all(local)
        })
    }

    fn last_before_us(&self, peer: SocketAddr, hops: Vec<Option<SocketAddr>>) -> SocketAddr {
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // What an untrusted sender put in front of its own address is not to be believed.
            let Some(hop) = hop else { return client };
            client = hop;
            if !self.trusts(hop.ip()) {
                return client;
            }
        }
        client
    }
}

/// The addresses that a request passed, from the client on, by header. `None` for an address that is hidden or garbled:
/// a byte that is no text must not hide the others.
struct Hops {
    forwarded: Option<Vec<Option<SocketAddr>>>,
    x_forwarded_for: Option<Vec<Option<SocketAddr>>>,
}

impl Hops {
    fn of(headers: &HeaderMap) -> Result<Self, Forged> {
        let values = |name| headers.get_all(name).into_iter().map(|value: &HeaderValue| value.as_bytes());
        let forwarded: Vec<_> = values(header::FORWARDED)
            .map(forwarded::parse)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|forwarded::Malformed| Forged::Malformed)?
            .concat();
        let elements = values(X_FORWARDED_FOR).flat_map(|value| value.split(|byte| *byte == b','));
        let x_forwarded_for: Vec<_> =
            elements.map(|element| parse_node(str::from_utf8(element).ok()?)).collect();
        let given = |hops: Vec<_>| (!hops.is_empty()).then_some(hops);
        Ok(Self { forwarded: given(forwarded), x_forwarded_for: given(x_forwarded_for) })
    }
}

/// An address with or without a port, IPv6 with or without brackets. The port may be hidden.
fn parse_node(node: &str) -> Option<SocketAddr> {
    let node = node.trim();
    let node = node.rsplit_once(":_").map_or(node, |(address, _)| address);
    let bare = || node.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let address = node.parse().ok().or_else(|| bare().map(|ip| SocketAddr::new(ip, 0)))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

/// Bytes of a PROXY protocol header up to its length, which are the same in all of them.
pub const PREFACE_START: usize = 16;

/// How many bytes of a header that begins like this are certainly missing: up to its length, or else to its end.
pub fn missing(bytes: &[u8]) -> usize {
    let length = bytes
        .get(14..PREFACE_START)
        .map(|length| length.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)));
    length.map_or(PREFACE_START, |length| PREFACE_START + length).saturating_sub(bytes.len())
}

/// Looks at a connection's first bytes for a PROXY protocol header, version 2.
pub fn preface(bytes: &[u8]) -> Preface {
    match v2::Header::try_from(bytes) {
        Ok(header) => {
            let source = match header.addresses {
                v2::Addresses::IPv4(ip) => Some(SocketAddr::new(ip.source_address.into(), ip.source_port)),
                v2::Addresses::IPv6(ip) => Some(SocketAddr::new(ip.source_address.into(), ip.source_port)),
                _ => None,
            };
            let source = source.filter(|_| header.command == v2::Command::Proxy);
            Preface::Present(header.len(), source)
        }
        Err(v2::ParseError::Incomplete(_) | v2::ParseError::Partial(..)) => Preface::Incomplete,
        Err(v2::ParseError::Prefix) => Preface::Absent,
        Err(_) => Preface::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, name: &'static str, value: &str) -> String {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        trusted.client(SocketAddr::new(peer.parse().unwrap(), 1), &headers).unwrap().ip().to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        assert_eq!(client("192.0.2.1", "x-forwarded-for", "198.51.100.1"), "192.0.2.1");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "198.51.100.1"), "198.51.100.1");
        assert_eq!(client("fd00::1", "x-forwarded-for", "198.51.100.1"), "198.51.100.1");
        assert_eq!(client("::ffff:10.0.0.1", "x-forwarded-for", "198.51.100.1"), "198.51.100.1");
    }

    #[test]
    fn what_the_client_claims_itself_does_not_count() {
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "1.2.3.4, 198.51.100.1, 10.0.0.2"), "198.51.100.1");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "1.2.3.4, unknown, 10.0.0.2"), "10.0.0.2");
        assert_eq!(client("10.0.0.1", "x-forwarded-for", "garbage"), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_too() {
        for (value, expected) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"[2001:db8::1]:4711\";proto=https", "2001:db8::1"),
            ("for=1.2.3.4, for=198.51.100.1;by=10.0.0.2, for=10.0.0.3", "198.51.100.1"),
            ("proto=https", "10.0.0.1"),
        ] {
            assert_eq!(client("10.0.0.1", "forwarded", value), expected, "{value}");
        }
    }

    #[test]
    fn two_headers_that_disagree_are_a_forgery() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let ask = |peer: &str, forwarded: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("forwarded", forwarded.parse().unwrap());
            headers.insert("x-forwarded-for", "1.2.3.4, 198.51.100.1".parse().unwrap());
            trusted.client(SocketAddr::new(peer.parse().unwrap(), 1), &headers).map(|client| client.ip())
        };
        assert_eq!(ask("10.0.0.1", "for=203.0.113.9"), Err(Forged::Different));
        assert_eq!(ask("10.0.0.1", "proto=https"), Err(Forged::Different));
        assert_eq!(ask("10.0.0.1", "for=\", for=198.51.100.1"), Err(Forged::Malformed));
        assert_eq!(ask("10.0.0.1", "for=198.51.100.1"), Ok("198.51.100.1".parse().unwrap()));
        assert_eq!(
            ask("192.0.2.1", "for=203.0.113.9"),
            Ok("192.0.2.1".parse().unwrap()),
            "not believed at all"
        );
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_local() {
        let is_local = |trusted: &str, peer: &str, headers: &[(&'static str, &str)]| {
            let trusted = TrustedProxies::new(vec![trusted.parse().unwrap()]);
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            trusted.is_local(SocketAddr::new(peer.parse().unwrap(), 1), &headers)
        };
        let (nobody, us) = ("203.0.113.0/24", "127.0.0.0/8");
        for trusted in [nobody, us] {
            assert!(is_local(trusted, "127.0.0.1", &[]));
            assert!(is_local(trusted, "::ffff:127.0.0.1", &[]));
            assert!(!is_local(trusted, "192.0.2.1", &[]));
            for header in [
                ("forwarded", "for=192.0.2.1"),
                ("forwarded", "for=unknown"),
                ("forwarded", "for=\""),
                ("x-forwarded-for", "192.0.2.1"),
                ("x-forwarded-for", "127.0.0.1, 192.0.2.1"),
                ("x-forwarded-for", "garbage"),
            ] {
                assert!(!is_local(trusted, "127.0.0.1", &[header]), "{header:?}");
            }
        }
        assert!(is_local(us, "127.0.0.1", &[("x-forwarded-for", "127.0.0.1")]));
        assert!(!is_local(nobody, "127.0.0.1", &[("x-forwarded-for", "127.0.0.1")]));
        assert!(!is_local(nobody, "127.0.0.1", &[("x-real-ip", "127.0.0.1")]));
        assert!(!is_local(nobody, "127.0.0.1", &[("via", "1.1 proxy")]));
        assert!(!is_local("192.0.2.0/24", "192.0.2.1", &[("x-forwarded-for", "127.0.0.1")]));
    }

    #[test]
    fn a_byte_that_is_no_text_hides_nobody() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        let value = hyper::header::HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap();
        headers.insert("x-forwarded-for", value);
        let client = trusted.client("10.0.0.1:1".parse().unwrap(), &headers).unwrap();
        assert_eq!(client.ip().to_string(), "198.51.100.1");
    }

    #[test]
    fn the_proxy_protocol_is_told_from_the_rest() {
        let client: SocketAddr = "198.51.100.1:4711".parse().unwrap();
        let server: SocketAddr = "192.0.2.1:8443".parse().unwrap();
        let version = v2::Version::Two | v2::Command::Proxy;
        let header =
            v2::Builder::with_addresses(version, v2::Protocol::Stream, (client, server)).build().unwrap();
        let stream = [header.as_slice(), b"GET / HTTP/1.1\r\n"].concat();
        assert_eq!(preface(&stream), Preface::Present(header.len(), Some(client)));
        for n in 0..header.len() {
            assert_eq!(preface(&stream[..n]), Preface::Incomplete, "{n} bytes");
            assert!((1..=header.len() - n).contains(&missing(&stream[..n])), "{n} bytes");
        }
        assert_eq!(missing(&header), 0);
        assert_eq!(missing(&header[..16]), header.len() - 16);
        assert_eq!(preface(b"GET / HTTP/1.1"), Preface::Absent);
        assert_eq!(preface(b"\x16\x03\x01"), Preface::Absent);
        assert_eq!(preface(b"\r\n\r\n\0\r\nQUIT\n\x99\x99\0\0"), Preface::Malformed);
    }
}
