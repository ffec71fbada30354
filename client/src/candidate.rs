//! ICE candidates: checks remote ones before they go to libnice, and hides our addresses in local ones if wanted.

use std::net::IpAddr;

/// The longest accepted line, in bytes: real ones have about 200.
const MAX_LENGTH: usize = 512;

/// A parsed candidate line (RFC 8839, section 5.1), as far as needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCandidate {
    before_address: String,
    /// Its address.
    pub address: Address,
    after_address: String,
    /// The ICE user fragment that it belongs to, if given.
    pub ufrag: Option<String>,
}

/// The address of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address.
    Ip(IpAddr),
    /// A name to look up first: an mDNS name of a browser (`….local`) or a host name.
    Name(String),
}

/// Why a candidate is not used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// Not a candidate line.
    #[error("not a candidate")]
    Malformed,
    /// A transport or component that this client does not use.
    #[error("a transport or component that is not used")]
    NotForUs,
}

impl RemoteCandidate {
    /// Parses `candidate:…`, with or without `a=` before it.
    pub fn parse(line: &str) -> Result<Self, Unusable> {
        let line = line.trim();
        let line = line.strip_prefix("a=").unwrap_or(line);
        let printable = line.bytes().all(|b| (b' '..=b'~').contains(&b));
        if line.len() > MAX_LENGTH || !printable {
            return Err(Unusable::Malformed);
        }
        let rest = line.strip_prefix("candidate:").ok_or(Unusable::Malformed)?;
        let words: Vec<&str> = rest.split(' ').collect();
        let [foundation, component, transport, priority, address, port, "typ", kind, extra @ ..] = &*words
        else {
            return Err(Unusable::Malformed);
        };
        check(foundation, component, priority, port, kind)?;
        if !transport.eq_ignore_ascii_case("udp") || *component != "1" {
            return Err(Unusable::NotForUs);
        }
        let ufrag = extra.chunks_exact(2).find_map(|pair| match pair {
            ["ufrag", value] => Some((*value).to_owned()),
            _ => None,
        });
        Ok(Self {
            before_address: format!("candidate:{foundation} {component} UDP {priority}"),
            address: parse_address(address)?,
            after_address: words.get(5..).unwrap_or_default().join(" "),
            ufrag,
        })
    }

    /// The line with `address` as its address.
    pub fn at(&self, address: IpAddr) -> String {
        format!("{} {address} {}", self.before_address, self.after_address)
    }
}

/// A local candidate for a peer that must learn only relay addresses; `None` if it is not a relay candidate. The
/// related address, which is ours (RFC 8839, section 5.1), is blanked. The empty line, end of candidates, stays.
pub fn only_relayed(line: &str) -> Option<String> {
    if line.is_empty() {
        return Some(String::new());
    }
    let mut words: Vec<&str> = line.split(' ').collect();
    let nobody = if words.get(4)?.contains(':') { "::" } else { "0.0.0.0" };
    let mut after = words.get_mut(6..)?.iter_mut();
    if after.next() != Some(&mut "typ") || after.next() != Some(&mut "relay") {
        return None;
    }
    while let (Some(name), Some(value)) = (after.next(), after.next()) {
        match *name {
            "raddr" => *value = nobody,
            "rport" => *value = "0",
            _ => {}
        }
    }
    Some(words.join(" "))
}

/// A local candidate for a peer that must not learn our addresses: `name_of` gives the mDNS name of a host candidate's
/// address (`None`: leave the candidate out). In other candidates the related address, which is ours, is blanked. The
/// empty line, end of candidates, stays.
pub fn hidden(line: &str, name_of: impl FnOnce(IpAddr) -> Option<String>) -> Option<String> {
    if line.is_empty() {
        return Some(String::new());
    }
    let mut words: Vec<String> = line.split(' ').map(String::from).collect();
    let address: IpAddr = words.get(4)?.parse().ok()?;
    if words.get(7)? == "host" {
        *words.get_mut(4)? = name_of(address)?;
    }
    let mut related = None;
    for position in 8..words.len() {
        match words.get(position).map(String::as_str) {
            Some("raddr") => related = Some(position),
            Some("rport") => words.get_mut(position + 1).into_iter().for_each(|port| *port = "0".into()),
            _ => {}
        }
    }
    if let Some(value) = related.and_then(|position| words.get_mut(position + 1)) {
        *value = if address.is_ipv6() { "::" } else { "0.0.0.0" }.into();
    }
    Some(words.join(" "))
}

fn check(foundation: &str, component: &str, priority: &str, port: &str, kind: &str) -> Result<(), Unusable> {
    let ok = !foundation.is_empty()
        && foundation.len() <= 32
        && component.parse::<u16>().is_ok()
        && priority.parse::<u32>().is_ok()
        && port.parse::<u16>().is_ok()
        && matches!(kind, "host" | "srflx" | "prflx" | "relay");
    if ok { Ok(()) } else { Err(Unusable::Malformed) }
}

fn parse_address(text: &str) -> Result<Address, Unusable> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Ok(Address::Ip(ip));
    }
    let is_name = text.len() <= 253
        && text.split('.').all(|label| {
            (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        });
    if is_name { Ok(Address::Name(text.into())) } else { Err(Unusable::Malformed) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_peers_send() {
        let chrome =
            "candidate:3 1 udp 2113937151 9b36.local 54400 typ host generation 0 ufrag ab network-cost 999";
        let parsed = RemoteCandidate::parse(chrome).unwrap();
        assert_eq!(parsed.address, Address::Name("9b36.local".into()));
        assert_eq!(parsed.ufrag.as_deref(), Some("ab"));
        assert_eq!(
            parsed.at("10.0.0.1".parse().unwrap()),
            "candidate:3 1 UDP 2113937151 10.0.0.1 54400 typ host generation 0 ufrag ab network-cost 999"
        );
        let nice = "a=candidate:1 1 UDP 2015363327 ::1 40000 typ host";
        let parsed = RemoteCandidate::parse(nice).unwrap();
        assert_eq!(parsed.address, Address::Ip("::1".parse().unwrap()));
    }

    #[test]
    fn leaves_out_what_is_not_used() {
        for line in [
            "candidate:1 1 TCP 1015021823 10.0.0.1 9 typ host tcptype active",
            "candidate:1 2 UDP 1015021823 10.0.0.1 9 typ host",
        ] {
            assert_eq!(RemoteCandidate::parse(line), Err(Unusable::NotForUs), "{line}");
        }
    }

    #[test]
    fn a_relayed_candidate_does_not_say_for_whom() {
        for (line, told) in [
            (
                "candidate:5 1 UDP 505413887 198.51.100.7 50000 typ relay raddr 192.168.1.5 rport 42000",
                Some("candidate:5 1 UDP 505413887 198.51.100.7 50000 typ relay raddr 0.0.0.0 rport 0"),
            ),
            (
                "a=candidate:5 1 UDP 5 2001:db8::1 9 typ relay raddr fd00::5 rport 4 ufrag rport",
                Some("a=candidate:5 1 UDP 5 2001:db8::1 9 typ relay raddr :: rport 0 ufrag rport"),
            ),
            (
                "candidate:5 1 UDP 5 198.51.100.7 9 typ relay",
                Some("candidate:5 1 UDP 5 198.51.100.7 9 typ relay"),
            ),
            ("", Some("")),
            ("candidate:1 1 UDP 2015363327 192.168.1.5 40000 typ host", None),
            ("candidate:1 1 UDP 2 203.0.113.1 4 typ srflx raddr 192.168.1.5 rport 40000", None),
            ("candidate:1 1 TCP 1 192.168.1.5 9 typ host tcptype active", None),
            ("typ relay", None),
        ] {
            assert_eq!(only_relayed(line).as_deref(), told, "{line}");
        }
    }

    #[test]
    fn refuses_garbage() {
        for line in [
            "",
            "candidate:",
            "garbage",
            "candidate:1 1 UDP x 10.0.0.1 9 typ host",
            "candidate:1 1 UDP 1 10.0.0.1 99999 typ host",
            "candidate:1 1 UDP 1 10.0.0.1 9 typ ghost",
            "candidate:1 1 UDP 1 ..local 9 typ host",
            "candidate:1 1 UDP 1 %n%n 9 typ host",
            "candidate:1 1 UDP 1 10.0.0.1 9 typ host\r\na=x",
        ] {
            assert_eq!(RemoteCandidate::parse(line), Err(Unusable::Malformed), "{line}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(line in "(candidate:)?\\PC{0,80}") {
            let _ = RemoteCandidate::parse(&line);
        }
    }

    #[test]
    fn hidden_candidates_have_names_and_no_address_of_ours() {
        let name = |ip: IpAddr| Some(format!("for-{ip}.local"));
        let host = "candidate:1 1 UDP 2015363327 10.0.0.7 40000 typ host";
        assert_eq!(
            hidden(host, name).as_deref(),
            Some("candidate:1 1 UDP 2015363327 for-10.0.0.7.local 40000 typ host")
        );
        assert_eq!(hidden(host, |_| None), None);
        let found = "candidate:2 1 UDP 1679819263 192.0.2.1 5 typ srflx raddr 10.0.0.7 rport 40000 ufrag x";
        assert_eq!(
            hidden(found, name).as_deref(),
            Some("candidate:2 1 UDP 1679819263 192.0.2.1 5 typ srflx raddr 0.0.0.0 rport 0 ufrag x")
        );
        assert_eq!(hidden("", name).as_deref(), Some(""));
        assert_eq!(hidden("candidate:1 1 UDP 1 x.local 9 typ host", name), None);
    }
}
