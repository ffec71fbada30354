//! The PROXY protocol: the header that a load balancer sends before the bytes it forwards. Version 1 is a line of text,
//! version 2 is binary.

use std::net::{IpAddr, SocketAddr};

use ppp::v2;

/// The most bytes to look at in one step. Headers of version 1 are shorter, and most of version 2; some contain a
/// client's certificate.
pub const CHUNK: usize = 1024;

/// The longest line of version 1, including its line end.
const LONGEST_LINE: usize = 107;

/// The beginning of a version 1 line.
const LINE_START: &[u8] = b"PROXY ";

/// The result of parsing a connection's first bytes.
#[derive(Debug, PartialEq, Eq)]
pub enum Preface {
    /// More bytes are needed; all bytes so far belong to the header.
    Incomplete,
    /// There is no header.
    Absent,
    /// A header of this length and its client, or none for a health check by the proxy itself.
    Present(usize, Option<SocketAddr>),
    /// It starts like a header but is invalid.
    Malformed,
}

/// Parses a PROXY protocol header at the start of a connection.
pub fn preface(bytes: &[u8]) -> Preface {
    let known = bytes.len().min(LINE_START.len());
    if known > 0 && bytes.get(..known) == LINE_START.get(..known) {
        return version_1(bytes);
    }
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

/// Parses `PROXY TCP4 198.51.100.1 192.0.2.1 4711 8443`, or `PROXY UNKNOWN` and any text after it.
fn version_1(bytes: &[u8]) -> Preface {
    let start = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(length) = start.windows(2).position(|end| end == b"\r\n") else {
        return if bytes.len() < LONGEST_LINE { Preface::Incomplete } else { Preface::Malformed };
    };
    match start.get(..length).and_then(|line| client(str::from_utf8(line).ok()?)) {
        Some(client) => Preface::Present(length + 2, client),
        None => Preface::Malformed,
    }
}

/// The client in a line, or none if the line has no client; `None` if the line is invalid.
fn client(line: &str) -> Option<Option<SocketAddr>> {
    let words: Vec<&str> = line.split(' ').collect();
    let (family, rest) = match words.as_slice() {
        ["PROXY", "UNKNOWN", ..] => return Some(None),
        ["PROXY", family @ ("TCP4" | "TCP6"), rest @ ..] => (*family, rest),
        _ => return None,
    };
    let [source, destination, source_port, destination_port] = rest else { return None };
    let address = |text: &str| text.parse::<IpAddr>().ok().filter(|it| it.is_ipv4() == (family == "TCP4"));
    let (source, _) = address(source).zip(address(destination))?;
    let (port, _) = source_port.parse().ok().zip(destination_port.parse::<u16>().ok())?;
    Some(Some(SocketAddr::new(source.to_canonical(), port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_is_a_line() {
        let of = |line: &str| preface(line.as_bytes());
        let client = |text: &str| Some(text.parse::<SocketAddr>().unwrap());
        for (line, expected) in [
            ("PROXY TCP4 198.51.100.1 192.0.2.1 4711 8443", client("198.51.100.1:4711")),
            ("PROXY TCP6 2001:db8::1 2001:db8::2 4711 8443", client("[2001:db8::1]:4711")),
            ("PROXY TCP6 ::ffff:198.51.100.1 ::ffff:192.0.2.1 4711 8443", client("198.51.100.1:4711")),
            ("PROXY UNKNOWN", None),
            ("PROXY UNKNOWN ffff:f::ffff ffff:f::ffff 65535 65535", None),
        ] {
            let stream = format!("{line}\r\nGET / HTTP/1.1\r\n\r\n");
            assert_eq!(of(&stream), Preface::Present(line.len() + 2, expected), "{line}");
            for n in 1..line.len() + 2 {
                assert_eq!(of(&stream[..n]), Preface::Incomplete, "{n} bytes of {line}");
            }
        }
        for line in [
            "PROXY ",
            "PROXY TCP4",
            "PROXY TCP5 198.51.100.1 192.0.2.1 4711 8443",
            "PROXY TCP4 2001:db8::1 2001:db8::2 4711 8443",
            "PROXY TCP4 198.51.100.1 192.0.2.1 4711",
            "PROXY TCP4 198.51.100.1 192.0.2.1 4711 8443 1",
            "PROXY TCP4 198.51.100.1 192.0.2.1 65536 8443",
            "PROXY TCP4  198.51.100.1 192.0.2.1 4711 8443",
            "PROXY TCP4 198.51.100.x 192.0.2.1 4711 8443",
            "PROXY /path HTTP/1.1",
        ] {
            assert_eq!(of(&format!("{line}\r\n")), Preface::Malformed, "{line}");
        }
        assert_eq!(of(&format!("PROXY UNKNOWN {}", "x".repeat(93))), Preface::Malformed, "too long");
        assert_eq!(of("PROXYTCP4 198.51.100.1 192.0.2.1 4711 8443\r\n"), Preface::Absent);
        assert_eq!(of("PUT / HTTP/1.1"), Preface::Absent);
        assert_eq!(preface(b"PROXY TCP4 \xff\r\n"), Preface::Malformed);
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
        }
        assert_eq!(preface(b"GET / HTTP/1.1"), Preface::Absent);
        assert_eq!(preface(b"\x16\x03\x01"), Preface::Absent);
        assert_eq!(preface(b"\r\n\r\n\0\r\nQUIT\n\x99\x99\0\0"), Preface::Malformed);
    }
}
