//! A network of its own for a program, whose cable can be cut.
//!
//! A namespace with one cable (a veth pair) to this machine. That takes root; without it, `sudo` is asked.

use std::{
    path::PathBuf,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::process::as_root;

/// See the module's description. Gone when dropped.
#[derive(Debug)]
pub struct Network {
    name: String,
    subnet: u32,
}

impl Network {
    /// Makes one.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let network = Self { name: format!("cb{id}-{number}"), subnet: (id + number) % 250 };
        let Self { name, .. } = &network;
        let (ours, theirs) = (network.cable(), format!("v{id}-{number}"));
        ip(&["netns", "add", name]);
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", &theirs]);
        ip(&["link", "set", &theirs, "netns", name]);
        ip(&["addr", "add", &format!("{}/30", network.host()), "dev", &ours]);
        ip(&["link", "set", &ours, "up"]);
        let guest = format!("10.213.{}.2/30", network.subnet);
        ip(&["-n", name, "addr", "add", &guest, "dev", &theirs]);
        ip(&["-n", name, "link", "set", &theirs, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        network
    }

    /// The address under which the program there finds this machine.
    pub fn host(&self) -> String {
        format!("10.213.{}.1", self.subnet)
    }

    /// Runs a program there.
    pub fn command(&self, program: PathBuf) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Cuts the cable: nobody is told.
    pub fn cut(&self) {
        ip(&["link", "set", &self.cable(), "down"]);
    }

    fn cable(&self) -> String {
        format!("h{}", self.name)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The cable goes with its other end.
        let _ = as_root("ip").args(["netns", "del", &self.name]).status();
    }
}

#[track_caller]
fn ip(args: &[&str]) {
    let status = as_root("ip").args(args).status().expect("ip is installed: make setup");
    assert!(status.success(), "ip {args:?} failed: this test needs root, or sudo without a password");
}
