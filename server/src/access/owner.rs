//! The owners that limits are counted for.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

/// An owner of connections, sessions, rooms and requests.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Owner {
    /// An address, see [`network`].
    Address(IpAddr),
    /// An IPv6 network larger than a /64, and the length of its prefix.
    Network(Ipv6Addr, u8),
    /// Pages of other sites, in browsers at an address or in a network. The users of the browsers are not responsible
    /// for them.
    Pages(Box<Owner>),
    /// The subject of a token.
    Identity(Arc<str>),
}

impl Owner {
    /// The factor of its limits. A provider gives a customer a /64, a /56 or a /48, so a larger network may be many
    /// customers, or one customer with many addresses.
    pub fn scale(&self) -> u32 {
        match self {
            Self::Network(_, 56..) => 4,
            Self::Network(..) => 16,
            Self::Pages(place) => place.scale(),
            Self::Address(_) | Self::Identity(_) => 1,
        }
    }
}

/// The owners that an address counts for: itself, and the IPv6 networks that it is in.
pub fn owners(address: IpAddr) -> impl Iterator<Item = Owner> {
    let networks = match address.to_canonical() {
        IpAddr::V6(v6) => [56, 48].map(|length| Some(Owner::Network(prefix(v6, length), length))),
        IpAddr::V4(_) => [None, None],
    };
    [Owner::Address(network(address))].into_iter().chain(networks.into_iter().flatten())
}

/// The owners that pages of other sites at an address count for.
pub fn pages(address: IpAddr) -> impl Iterator<Item = Owner> {
    owners(address).map(|place| Owner::Pages(Box::new(place)))
}

/// The address that a client is counted by: IPv4 addresses themselves, IPv6 addresses by their /64, the least that a
/// customer gets.
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => prefix(v6, 64).into(),
        v4 => v4,
    }
}

fn prefix(address: Ipv6Addr, length: u8) -> Ipv6Addr {
    let mask = u128::MAX.checked_shl(u32::from(128 - length.min(128))).unwrap_or(0);
    Ipv6Addr::from_bits(address.to_bits() & mask)
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

    #[test]
    fn an_ipv6_address_is_also_in_larger_networks() {
        let all = |text: &str| owners(text.parse().unwrap()).collect::<Vec<_>>();
        for text in ["192.0.2.7", "::ffff:192.0.2.7"] {
            assert_eq!(all(text), [Owner::Address("192.0.2.7".parse().unwrap())]);
        }
        let net = |text: &str, length| Owner::Network(text.parse().unwrap(), length);
        assert_eq!(
            all("2001:db8:1:f2f3:3:4:5:6"),
            [
                Owner::Address("2001:db8:1:f2f3::".parse().unwrap()),
                net("2001:db8:1:f200::", 56),
                net("2001:db8:1::", 48)
            ]
        );
        let address = "2001:db8::".parse().unwrap();
        for scales in [
            owners(address).map(|it| it.scale()).collect::<Vec<_>>(),
            pages(address).map(|it| it.scale()).collect(),
        ] {
            assert_eq!(scales, [1, 4, 16]);
        }
        assert!(pages(address).zip(owners(address)).all(|(page, owner)| page != owner));
    }
}
