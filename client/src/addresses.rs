//! The addresses of this machine.

use std::{collections::BTreeSet, net::IpAddr};

use if_addrs::Interface;

/// The addresses over which peers may be reached: those of interfaces that are up, without loopback. `None` if the system does not list them.
pub fn usable() -> Option<BTreeSet<IpAddr>> {
    list(|it| it.is_oper_up() && !it.is_loopback())
}

/// Whether the machine has this address, also while its cable is unplugged. Yes if the system does not list them.
pub fn has(ip: IpAddr) -> bool {
    list(|_| true).is_none_or(|all| all.contains(&ip))
}

fn list(filter: impl Fn(&Interface) -> bool) -> Option<BTreeSet<IpAddr>> {
    let all = if_addrs::get_if_addrs().ok()?;
    Some(all.iter().filter(|it| filter(it)).map(Interface::ip).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_ours_and_no_way_to_a_peer() {
        let here = IpAddr::from([127, 0, 0, 1]);
        assert!(has(here) && !usable().expect("the system lists them").contains(&here));
        assert!(!has(IpAddr::from([203, 0, 113, 9])));
    }
}
