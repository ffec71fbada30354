//! Our addresses: those that clients send to, and the one that a packet came to.

use std::net::{IpAddr, SocketAddr};

/// The most candidates.
const MAX_CANDIDATES: usize = 8;

/// The candidates, and which address of this machine belongs to each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Local {
    candidates: Vec<SocketAddr>,
    /// Whether the socket has all addresses of this machine.
    is_wildcard: bool,
    machine: Vec<IpAddr>,
}

impl Local {
    /// `bound` is the socket's address, `public` are the addresses that clients use, with the port of the socket if they
    /// have none, `machine` are those of the interfaces.
    pub fn new(bound: SocketAddr, public: &[(IpAddr, Option<u16>)], machine: Vec<IpAddr>) -> Self {
        let is_wildcard = bound.ip().is_unspecified();
        let with_port = |ip: IpAddr| SocketAddr::new(ip, bound.port());
        let takes = |ip: &IpAddr| ip.is_ipv4() || bound.is_ipv6();
        let mut candidates: Vec<SocketAddr> = if !public.is_empty() {
            public.iter().map(|(ip, port)| SocketAddr::new(*ip, port.unwrap_or(bound.port()))).collect()
        } else if !is_wildcard {
            vec![bound]
        } else {
            let outside =
                machine.iter().copied().filter(|ip| takes(ip) && is_useful(ip)).map(with_port).collect();
            let inside =
                || machine.iter().copied().filter(takes).filter(IpAddr::is_loopback).map(with_port).collect();
            Some(outside).filter(|found: &Vec<_>| !found.is_empty()).unwrap_or_else(inside)
        };
        candidates.truncate(MAX_CANDIDATES);
        Self { candidates, is_wildcard, machine }
    }

    /// The addresses that clients send to.
    pub fn candidates(&self) -> &[SocketAddr] {
        &self.candidates
    }

    /// The candidate that a packet came to: the one of the address it has, or behind a NAT the first of its family.
    pub fn destination(&self, to: Option<IpAddr>, source: IpAddr) -> Option<SocketAddr> {
        let mut all = self.candidates.iter();
        let same = all.clone().find(|it| Some(it.ip()) == to);
        same.or_else(|| all.find(|it| it.is_ipv4() == source.is_ipv4())).copied()
    }

    /// The address of this machine to send from, if it matters.
    pub fn source(&self, candidate: SocketAddr) -> Option<IpAddr> {
        Some(candidate.ip()).filter(|ip| self.is_wildcard && self.machine.contains(ip))
    }
}

/// Whether clients on other machines can use the address.
fn is_useful(ip: &IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(bound: &str, public: &[(&str, Option<u16>)], machine: &[&str]) -> Local {
        let public: Vec<_> = public.iter().map(|(ip, port)| (ip.parse().unwrap(), *port)).collect();
        Local::new(bound.parse().unwrap(), &public, machine.iter().map(|ip| ip.parse().unwrap()).collect())
    }

    fn texts(local: &Local) -> Vec<String> {
        local.candidates().iter().map(ToString::to_string).collect()
    }

    const MACHINE: &[&str] = &["127.0.0.1", "::1", "10.0.0.5", "fe80::1", "2001:db8::5"];

    #[test]
    fn all_useful_addresses_of_the_machine_are_candidates() {
        assert_eq!(texts(&local("[::]:7", &[], MACHINE)), ["10.0.0.5:7", "[2001:db8::5]:7"]);
        assert_eq!(texts(&local("0.0.0.0:7", &[], MACHINE)), ["10.0.0.5:7"]);
        assert_eq!(texts(&local("0.0.0.0:7", &[], &["127.0.0.1", "::1"])), ["127.0.0.1:7"]);
        assert_eq!(texts(&local("10.0.0.5:7", &[], MACHINE)), ["10.0.0.5:7"]);
        let many: Vec<String> = (1..100).map(|host| format!("10.0.0.{host}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(local("0.0.0.0:7", &[], &many).candidates().len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_public_address_replaces_them() {
        let nat = local("[::]:7", &[("203.0.113.9", None), ("203.0.113.9", Some(443))], MACHINE);
        assert_eq!(texts(&nat), ["203.0.113.9:7", "203.0.113.9:443"]);
        let (to, from) = ("10.0.0.5".parse().unwrap(), "198.51.100.1".parse().unwrap());
        let candidate = nat.destination(Some(to), from).unwrap();
        assert_eq!(candidate.to_string(), "203.0.113.9:7");
        assert_eq!(nat.source(candidate), None, "no address of this machine");
    }

    #[test]
    fn an_answer_leaves_from_the_address_that_was_asked() {
        let both = local("[::]:7", &[], MACHINE);
        let to: IpAddr = "2001:db8::5".parse().unwrap();
        let candidate = both.destination(Some(to), "2001:db8::9".parse().unwrap()).unwrap();
        assert_eq!(both.source(candidate), Some(to));
        assert_eq!(local("10.0.0.5:7", &[], MACHINE).source(candidate), None);
    }
}
