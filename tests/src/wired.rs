//! A call between two networks that are connected by a line.

use callbin_line::Conditions;

use crate::{Client, Network, Server, Wire};

/// Two clients in networks of their own, connected by a line. Signalling has another way. Server and networks live as long as
/// the call: a pattern with `..` would drop them.
#[derive(Debug)]
pub struct Wired {
    /// In the first network.
    pub caller: Client,
    /// In the second one.
    pub waiting: Client,
    /// The line.
    pub wire: Wire,
    /// The two networks.
    pub networks: [Network; 2],
    /// The signalling server.
    pub server: Server,
}

impl Wired {
    /// Starts a call between two clients that have `args`, and waits until each shows a picture of the other.
    #[track_caller]
    pub fn call(conditions: Conditions, args: &[&str]) -> Self {
        let server = Server::spawn_reachable(&[]);
        let networks = [Network::start(), Network::start()];
        let wire = Wire::between(&networks[0], &networks[1], conditions, 1);
        let start = |at: usize, own: &[&str]| Client::start_in(&networks[at], &server, &[own, args].concat());
        let mut waiting = start(1, &["wait", "--id", "waiting"]);
        waiting.wait_for("registered");
        let mut caller = start(0, &["call", "waiting"]);
        caller.wait_for("first-video");
        waiting.wait_for("first-video");
        Self { caller, waiting, wire, networks, server }
    }
}
