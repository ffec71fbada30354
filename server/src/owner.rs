//! On whose account something happens: what limits are counted by.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// Whom a limit is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An address, see [`network`].
    Address(IpAddr),
    /// The subject of a token.
    Identity(Arc<str>),
}

/// The address that stands for a client: an IPv4 address for itself, an IPv6 address for its /64, which is
/// what one customer has at least.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_counts_by_network() {
        let net = |text: &str| network(text.parse().unwrap()).to_string();
        assert_eq!(net("192.0.2.7"), "192.0.2.7");
        assert_eq!(net("::ffff:192.0.2.7"), "192.0.2.7");
        assert_eq!(net("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::");
    }
}
