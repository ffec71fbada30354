//! Parsers of option values.

use std::{net::IpAddr, time::Duration};

use callbin_protocol::RoomId;
use hyper::header::HeaderName;
use ipnet::{IpNet, Ipv4Net};

use crate::access::{
    Pattern,
    ice::url::{self, Kind},
};

const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

pub(super) fn path(text: &str) -> Result<String, String> {
    if text.starts_with('/') { Ok(text.into()) } else { Err("does not begin with /".into()) }
}

/// A network, or a single address. IPv4-mapped IPv6 addresses become IPv4, as those of clients do.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    let network = network.map_err(|_| "neither a network, such as 10.0.0.0/8, nor an address".to_owned())?;
    let IpNet::V6(v6) = network else { return Ok(network) };
    let mapped = v6.addr().to_ipv4_mapped().zip(v6.prefix_len().checked_sub(96));
    let mapped = mapped.and_then(|(address, length)| Ipv4Net::new(address, length).ok());
    Ok(mapped.map_or(network, IpNet::V4))
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    seconds_or_none(text)
        .and_then(|time| if time.is_zero() { Err("not more than 0".into()) } else { Ok(time) })
}

pub(super) fn seconds_or_none(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if time <= MAX_TIME => Ok(time),
        _ => Err("not between 0 and 31536000 seconds (a year)".into()),
    }
}

pub(super) fn size(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(bytes @ 125..=0x4000_0000) => Ok(bytes),
        Ok(_) => Err("not between 125 and 1073741824 bytes".into()),
        Err(_) => Err("not a number of bytes".into()),
    }
}

pub(super) fn stun_url(text: &str) -> Result<String, String> {
    match url::read(text)? {
        Kind::Stun => Ok(text.into()),
        Kind::Turn => Err("a TURN server, which belongs to turn-url".into()),
    }
}

pub(super) fn turn_url(text: &str) -> Result<String, String> {
    match url::read(text)? {
        Kind::Turn => Ok(text.into()),
        Kind::Stun => Err("a STUN server, which belongs to stun-url".into()),
    }
}

/// An http or https URL.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    let uri: Option<hyper::Uri> = text.parse().ok();
    match uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()) {
        Some(_) => Ok(text.into()),
        None => Err("not an http:// or https:// URL".into()),
    }
}

/// An origin of pages, in the form of [`normal_origin`]. No browser would send another form.
pub(super) fn origin(text: &str) -> Result<String, String> {
    let origin = normal_origin(text);
    let host = origin.split_once("://").map(|(_, host)| host);
    match host {
        Some(host) if !host.is_empty() && !host.contains(['/', '?', '#', '@', '*']) => Ok(origin),
        // The origin of a file or of a sandboxed frame.
        None if origin == "null" => Ok(origin),
        _ => Err("not an origin, which is a scheme, a host and perhaps a port: https://example.org".into()),
    }
}

/// An origin in a form that can be compared.
pub fn normal_origin(origin: &str) -> String {
    origin.trim_end_matches('/').to_ascii_lowercase()
}

/// The name of a room, or the beginning of names.
pub(super) fn room_pattern(text: &str) -> Result<Pattern, String> {
    let begin = text.strip_suffix('*').unwrap_or(text);
    let is_name = text == "*" || RoomId::new(begin).is_ok();
    match is_name && !begin.contains('*') {
        true => Ok(Pattern::from(text)),
        false => Err("neither the name of a room nor its beginning with an asterisk: stage-*".into()),
    }
}

pub(super) fn header(text: &str) -> Result<HeaderName, String> {
    text.parse().map_err(|_| "not the name of a header".into())
}
