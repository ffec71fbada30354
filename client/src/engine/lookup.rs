//! Looks up the names in candidates.

use std::{
    net::{IpAddr, ToSocketAddrs},
    pin::pin,
    time::Duration,
};

use async_std::{future::timeout, task};
use futures_util::{FutureExt, select};

use crate::{cli::IcePolicy, mdns};

/// Time limit for a lookup: nobody answers for an mDNS name that does not exist.
const LOOKUP_LIMIT: Duration = Duration::from_secs(3);

/// The address of a name, if it has one.
pub(super) async fn address_of(name: String) -> Option<IpAddr> {
    let ours = name.clone();
    let system = task::spawn_blocking(move || (name.as_str(), 0).to_socket_addrs().ok()?.next());
    let system = async { timeout(LOOKUP_LIMIT, system).await.ok().flatten().map(|at| at.ip()) };
    if !is_mdns(&ours) {
        return system.await;
    }
    // Not every system knows mDNS, and one that does not may take long to say so.
    let ours = task::spawn_blocking(move || mdns::resolve(&ours, LOOKUP_LIMIT));
    let (mut system, mut ours) = (pin!(system.fuse()), pin!(ours.fuse()));
    select! {
        ip = ours => match ip {
            Some(ip) => Some(ip),
            None => system.await,
        },
        ip = system => match ip {
            Some(ip) => Some(ip),
            None => ours.await,
        },
    }
}

/// With the policy `relay`, only mDNS names are looked up: they are asked for in our own network only, while the DNS
/// server of any other name would learn our address.
pub(super) fn may_look_up(name: &str, policy: IcePolicy) -> bool {
    policy == IcePolicy::All || is_mdns(name)
}

fn is_mdns(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(".local")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_is_not_to_know_where_we_are_does_not_learn_it_from_its_dns_server() {
        assert!(may_look_up("host.example.org", IcePolicy::All));
        assert!(may_look_up("b9a1.LOCAL", IcePolicy::Relay));
        assert!(!may_look_up("host.example.org", IcePolicy::Relay));
        assert!(!may_look_up("local", IcePolicy::Relay));
    }
}
