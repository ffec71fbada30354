//! Which connection a datagram belongs to: STUN by the user name that the node chose, everything else by the address that
//! passed a STUN check.

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::stun;
use crate::core::stream::Key;

/// How long an address stays with its connection after the last check that it passed. Clients check at least every 5 s
/// (RFC 7675).
const HOLD: Duration = Duration::from_secs(10);
/// The most addresses and user names of a connection.
const MAX_EACH: usize = 8;

/// The tables.
#[derive(Debug, Default)]
pub struct Routes {
    by_ufrag: HashMap<String, Key>,
    by_address: HashMap<SocketAddr, Route>,
    /// The entries of each connection, the oldest first.
    of: HashMap<Key, Entries>,
}

#[derive(Debug)]
struct Route {
    key: Key,
    checked: Instant,
}

#[derive(Debug, Default)]
struct Entries {
    ufrags: Vec<String>,
    addresses: Vec<SocketAddr>,
}

impl Routes {
    /// STUN requests with this user name belong to the connection.
    pub fn name(&mut self, ufrag: String, key: Key) {
        let entries = self.of.entry(key).or_default();
        if entries.ufrags.contains(&ufrag) {
            return;
        }
        if entries.ufrags.len() >= MAX_EACH {
            self.by_ufrag.remove(&entries.ufrags.remove(0));
        }
        entries.ufrags.push(ufrag.clone());
        self.by_ufrag.insert(ufrag, key);
    }

    /// The connection of a datagram.
    pub fn find(&self, source: SocketAddr, datagram: &[u8]) -> Option<Key> {
        if stun::is_stun(datagram) {
            return self.by_ufrag.get(stun::ufrag(datagram)?).copied();
        }
        self.by_address.get(&source).map(|route| route.key)
    }

    /// Whether this address has passed a check of the connection.
    pub fn is_at(&self, address: SocketAddr, key: Key) -> bool {
        self.by_address.get(&address).is_some_and(|route| route.key == key)
    }

    /// A client at this address has passed a check of this connection. An address that another connection uses is not
    /// taken from it: a datagram's source can be forged.
    pub fn confirm(&mut self, address: SocketAddr, key: Key, now: Instant) {
        match self.by_address.get_mut(&address) {
            Some(route) if route.key == key => {
                route.checked = now;
                return;
            }
            Some(route) if now.saturating_duration_since(route.checked) < HOLD => return,
            Some(route) => {
                if let Some(entries) = self.of.get_mut(&route.key) {
                    entries.addresses.retain(|other| *other != address);
                }
            }
            None => {}
        }
        let entries = self.of.entry(key).or_default();
        if entries.addresses.len() >= MAX_EACH {
            self.by_address.remove(&entries.addresses.remove(0));
        }
        entries.addresses.push(address);
        self.by_address.insert(address, Route { key, checked: now });
    }

    /// A connection is over.
    pub fn remove(&mut self, key: Key) {
        let Some(entries) = self.of.remove(&key) else { return };
        for ufrag in &entries.ufrags {
            self.by_ufrag.remove(ufrag);
        }
        for address in &entries.addresses {
            self.by_address.remove(address);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEDIA: &[u8] = &[0x80, 96, 0, 1];

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], port))
    }

    #[test]
    fn media_follow_the_address_that_passed_a_check() {
        let now = Instant::now();
        let mut routes = Routes::default();
        routes.name("a".into(), 1);
        assert_eq!(routes.find(address(1), MEDIA), None);
        routes.confirm(address(1), 1, now);
        assert_eq!(routes.find(address(1), MEDIA), Some(1));
        routes.remove(1);
        assert_eq!(routes.find(address(1), MEDIA), None);
        assert!(routes.by_ufrag.is_empty() && routes.by_address.is_empty() && routes.of.is_empty());
    }

    #[test]
    fn an_address_in_use_is_not_taken_over() {
        let now = Instant::now();
        let mut routes = Routes::default();
        routes.confirm(address(1), 1, now);
        routes.confirm(address(1), 1, now + Duration::from_secs(9));
        routes.confirm(address(1), 2, now + Duration::from_secs(18));
        assert_eq!(routes.find(address(1), MEDIA), Some(1), "checked 9 s ago");
        routes.confirm(address(1), 2, now + Duration::from_secs(19));
        assert_eq!(routes.find(address(1), MEDIA), Some(2));
        routes.remove(1);
        assert_eq!(routes.find(address(1), MEDIA), Some(2));
    }

    #[test]
    fn a_connection_has_few_addresses_and_names() {
        let now = Instant::now();
        let mut routes = Routes::default();
        for port in 1..=1000 {
            routes.confirm(address(port), 1, now);
            routes.name(port.to_string(), 1);
        }
        assert_eq!((routes.by_address.len(), routes.by_ufrag.len()), (MAX_EACH, MAX_EACH));
        assert_eq!(routes.find(address(1000), MEDIA), Some(1));
        assert_eq!(routes.find(address(1), MEDIA), None);
    }
}
