//! The real client of a connection, as a trusted proxy gives it.

mod forwarded;
mod preface;

use std::net::{IpAddr, SocketAddr};

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};
use ipnet::IpNet;

pub use preface::{CHUNK, Preface, preface};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Why a request's client cannot be determined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Forged {
    /// Two headers name different clients.
    #[error("Forwarded and X-Forwarded-For name different clients")]
    Different,
    /// Its `Forwarded` header is malformed or ambiguous.
    #[error("malformed Forwarded header (RFC 7239)")]
    Malformed,
}

/// The proxies whose headers are trusted.
#[derive(Debug, Clone, Default)]
pub struct TrustedProxies {
    networks: Vec<IpNet>,
    /// The only header that they write, if it is known.
    header: Option<HeaderName>,
}

impl TrustedProxies {
    /// Trusts proxies in these networks, and only this header, if one is given.
    pub fn new(networks: Vec<IpNet>, header: Option<HeaderName>) -> Self {
        Self { networks, header }
    }

    /// Whether the address belongs to a trusted proxy.
    pub fn trusts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// The client that a request comes from: the last address before the chain of trusted proxies.
    ///
    /// A proxy writes one of the two headers and may forward the other unchanged from the client. If both are present
    /// and disagree, the client forged one of them. If the proxy's header is configured, the other one is ignored.
    pub fn client(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<SocketAddr, Forged> {
        if !self.trusts(peer.ip()) {
            return Ok(peer);
        }
        let named = |hops: Option<Vec<_>>| hops.map(|hops| self.last_before_us(peer, hops));
        if let Some(header) = &self.header {
            return Ok(named(hops(headers, header)?).unwrap_or(peer));
        }
        let (forwarded, x_forwarded_for) =
            (hops(headers, &header::FORWARDED)?, hops(headers, &X_FORWARDED_FOR)?);
        match (named(forwarded), named(x_forwarded_for)) {
            (Some(one), Some(other)) if one.ip() != other.ip() => Err(Forged::Different),
            (Some(client), _) | (None, Some(client)) => Ok(client),
            (None, None) => Ok(peer),
        }
    }

    /// Whether a request comes from this machine and not through a proxy from another one. The header of an untrusted
    /// proxy does not prove an address, but it does prove that there is a proxy.
    pub fn is_local(&self, peer: SocketAddr, headers: &HeaderMap) -> bool {
        if !peer.ip().to_canonical().is_loopback() {
            return false;
        }
        let known = [header::FORWARDED, X_FORWARDED_FOR, X_REAL_IP];
        let named = known.iter().chain(&self.header);
        let named: Vec<_> = named.filter(|name| headers.contains_key(*name)).collect();
        if named.is_empty() {
            return !headers.contains_key(header::VIA);
        }
        let local = |hop: &Option<SocketAddr>| hop.is_some_and(|hop| hop.ip().is_loopback());
        self.trusts(peer.ip())
            && named.into_iter().all(|name| {
                hops(headers, name).is_ok_and(|hops| hops.is_some_and(|hops| hops.iter().all(local)))
            })
    }

    fn last_before_us(&self, peer: SocketAddr, hops: Vec<Option<SocketAddr>>) -> SocketAddr {
        let mut client = peer;
        for hop in hops.into_iter().rev() {
            // An untrusted sender may have put anything in front of its own address.
            let Some(hop) = hop else { return client };
            client = hop;
            if !self.trusts(hop.ip()) {
                return client;
            }
        }
        client
    }
}

/// The addresses in a header, the client's first, if the header is present. `None` for an address that is hidden or
/// malformed: bytes that are not text must not hide the others.
fn hops(headers: &HeaderMap, name: &HeaderName) -> Result<Option<Vec<Option<SocketAddr>>>, Forged> {
    let values = headers.get_all(name).into_iter().map(HeaderValue::as_bytes);
    let hops: Vec<_> = if *name == header::FORWARDED {
        let read: Result<Vec<_>, _> = values.map(forwarded::parse).collect();
        read.map_err(|forwarded::Malformed| Forged::Malformed)?.concat()
    } else {
        let elements = values.flat_map(|value| value.split(|byte| *byte == b','));
        elements.map(|element| parse_node(str::from_utf8(element).ok()?)).collect()
    };
    Ok((!hops.is_empty()).then_some(hops))
}

/// Parses an address with or without a port, IPv6 with or without brackets. The port may be obfuscated.
fn parse_node(node: &str) -> Option<SocketAddr> {
    let node = node.trim();
    let node = node.rsplit_once(":_").map_or(node, |(address, _)| address);
    let bare = || node.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().ok();
    let address = node.parse().ok().or_else(|| bare().map(|ip| SocketAddr::new(ip, 0)))?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, name: &'static str, value: &str) -> String {
        let trusted =
            TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()], None);
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
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], None);
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
    fn of_a_header_that_is_named_the_others_are_no_rivals() {
        let ask = |name: &'static str, headers: &[(&'static str, &str)]| {
            let name = HeaderName::from_static(name);
            let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], Some(name));
            let headers = headers
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
                .collect();
            let client = |peer: &str| {
                trusted
                    .client(SocketAddr::new(peer.parse().unwrap(), 1), &headers)
                    .map(|it| it.ip().to_string())
            };
            assert_eq!(client("192.0.2.1"), Ok("192.0.2.1".into()), "not believed at all");
            client("10.0.0.1")
        };
        let all = [
            ("forwarded", "for=198.51.100.1, for=10.0.0.2"),
            ("x-forwarded-for", "1.2.3.4, 198.51.100.2, 10.0.0.2"),
            ("x-real-ip", "198.51.100.3"),
            ("fly-client-ip", "2001:db8::4"),
        ];
        for (name, client) in [
            ("forwarded", "198.51.100.1"),
            ("x-forwarded-for", "198.51.100.2"),
            ("x-real-ip", "198.51.100.3"),
            ("fly-client-ip", "2001:db8::4"),
            ("cf-connecting-ip", "10.0.0.1"),
        ] {
            assert_eq!(ask(name, &all), Ok(client.into()), "{name}");
        }
        let quote = [("forwarded", "for=\", for=198.51.100.1"), ("x-real-ip", "198.51.100.3")];
        assert_eq!(ask("forwarded", &quote), Err(Forged::Malformed));
        assert_eq!(ask("x-real-ip", &quote), Ok("198.51.100.3".into()));
    }

    #[test]
    fn what_a_proxy_passes_on_is_not_local() {
        let is_local = |trusted: &str, peer: &str, headers: &[(&'static str, &str)]| {
            let trusted = TrustedProxies::new(vec![trusted.parse().unwrap()], None);
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
                ("x-real-ip", "192.0.2.1"),
                ("via", "1.1 proxy"),
            ] {
                assert!(!is_local(trusted, "127.0.0.1", &[header]), "{header:?}");
            }
        }
        assert!(is_local(us, "127.0.0.1", &[("x-forwarded-for", "127.0.0.1")]));
        assert!(is_local(us, "127.0.0.1", &[("x-real-ip", "127.0.0.1"), ("via", "1.1 proxy")]));
        let two = [("x-forwarded-for", "127.0.0.1"), ("x-real-ip", "192.0.2.1")];
        assert!(!is_local(us, "127.0.0.1", &two));
        assert!(!is_local(nobody, "127.0.0.1", &[("x-forwarded-for", "127.0.0.1")]));
        assert!(!is_local(nobody, "127.0.0.1", &[("x-real-ip", "127.0.0.1")]));
        assert!(!is_local(nobody, "127.0.0.1", &[("via", "1.1 proxy")]));
        assert!(!is_local("192.0.2.0/24", "192.0.2.1", &[("x-forwarded-for", "127.0.0.1")]));
    }

    #[test]
    fn a_byte_that_is_no_text_hides_nobody() {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap()], None);
        let mut headers = HeaderMap::new();
        let value = hyper::header::HeaderValue::from_bytes(b"\xff, 198.51.100.1").unwrap();
        headers.insert("x-forwarded-for", value);
        let client = trusted.client("10.0.0.1:1".parse().unwrap(), &headers).unwrap();
        assert_eq!(client.ip().to_string(), "198.51.100.1");
    }
}
