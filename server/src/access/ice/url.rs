//! URLs of STUN and TURN servers (RFC 7064, RFC 7065). A browser rejects all ICE servers if one URL is invalid, so URLs
//! are checked here.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The kind of server in a URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `stun:` or `stuns:`.
    Stun,
    /// `turn:` or `turns:`, which need credentials.
    Turn,
}

/// Checks a URL such as `stun:host:port` or `turn:host:port?transport=udp` and returns its kind.
pub fn read(url: &str) -> Result<Kind, String> {
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err("no stun:, turn: or turns: at its beginning".into());
    };
    let kind = match scheme.to_ascii_lowercase().as_str() {
        "stun" | "stuns" => Kind::Stun,
        "turn" | "turns" => Kind::Turn,
        _ => return Err(format!("{scheme:?} is none of stun, stuns, turn and turns")),
    };
    if rest.starts_with("//") {
        return Err(format!("the host follows {scheme}: without //"));
    }
    let (place, query) = match rest.split_once('?') {
        Some((place, query)) => (place, Some(query)),
        None => (rest, None),
    };
    if place.contains('@') {
        return Err("credentials are not part of the URL".into());
    }
    check_place(place)?;
    match (kind, query) {
        (_, None) | (Kind::Turn, Some("transport=udp" | "transport=tcp")) => Ok(kind),
        (Kind::Stun, Some(_)) => Err(format!("nothing follows the host and port of a {scheme}: URL")),
        (Kind::Turn, Some(query)) => {
            Err(format!("{query:?} follows the ?, neither transport=udp nor transport=tcp"))
        }
    }
}

/// Checks a host with or without a port.
fn check_place(place: &str) -> Result<(), String> {
    let (host, port) = match place.strip_prefix('[').map(|rest| rest.split_once(']')) {
        Some(Some((address, rest))) => {
            address.parse::<Ipv6Addr>().map_err(|_| format!("{address:?} is no IPv6 address"))?;
            (None, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or(WRONG_END)?) })
        }
        Some(None) => return Err("no ] after the IPv6 address".into()),
        None => match place.split_once(':') {
            Some((_, port)) if port.contains(':') => return Err("an IPv6 address stands in [ ]".into()),
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(place), None),
        },
    };
    host.map_or(Ok(()), check_host)?;
    let is_port = |port: &str| {
        port.chars().all(|c| c.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port > 0)
    };
    match port {
        Some(port) if !is_port(port) => Err(format!("{port:?} is no port")),
        _ => Ok(()),
    }
}

const WRONG_END: &str = "a port follows the ], or nothing";

/// Checks an IPv4 address or a name.
fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("it has no host".into());
    }
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    let name = host.strip_suffix('.').unwrap_or(host);
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = !last.is_empty() && last.chars().all(|c| c.is_ascii_digit());
    match if is_number { host.parse::<Ipv4Addr>().is_ok() } else { name.split('.').all(is_label) } {
        true => Ok(()),
        false => Err(format!("{host:?} is neither a name nor an IPv4 address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_the_rfcs_are_read() {
        for (url, kind) in [
            ("stun:example.org", Kind::Stun),
            ("stuns:example.org:5349", Kind::Stun),
            ("STUN:a", Kind::Stun),
            ("stun:192.0.2.1:3478", Kind::Stun),
            ("stun:[2001:db8::1]", Kind::Stun),
            ("turn:[2001:db8::1]:3478?transport=tcp", Kind::Turn),
            ("turn:turn_1.example.org.", Kind::Turn),
            ("turns:example.org:443?transport=tcp", Kind::Turn),
            ("turn:example.org?transport=udp", Kind::Turn),
        ] {
            assert_eq!(read(url), Ok(kind), "{url}");
        }
    }

    #[test]
    fn what_is_wrong_with_others_is_said() {
        for (url, words) in [
            ("", "at its beginning"),
            ("example.org", "at its beginning"),
            ("stn:example.org", "none of stun"),
            ("https://example.org", "none of stun"),
            ("example.org:3478", "none of stun"),
            ("stun://example.org", "without //"),
            ("stun:", "no host"),
            ("stun::3478", "no host"),
            ("stun:example.org:", "no port"),
            ("stun:example.org:0", "no port"),
            ("stun:example.org:65536", "no port"),
            ("stun:example.org:port", "no port"),
            ("stun:example.org:+1", "no port"),
            ("stun:2001:db8::1", "in [ ]"),
            ("stun:[2001:db8::1", "no ]"),
            ("stun:[example.org]", "no IPv6"),
            ("stun:[::1]3478", "follows the ]"),
            ("stun:192.0.2.256", "neither a name"),
            ("stun:192.0.2", "neither a name"),
            ("stun:exa mple.org", "neither a name"),
            ("stun:example..org", "neither a name"),
            ("stun:example.org/", "neither a name"),
            ("stun:-example.org", "neither a name"),
            ("stun:example.org?transport=udp", "nothing follows"),
            ("turn:example.org?transport=sctp", "neither transport=udp"),
            ("turn:example.org?", "neither transport=udp"),
            ("turn:user:pass@example.org", "credentials"),
            ("turn:example.org?transport=udp&x=y", "neither transport=udp"),
        ] {
            let why = read(url).expect_err(url);
            assert!(why.contains(words), "{url}: {why}");
        }
    }
}
