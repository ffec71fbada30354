//! A separate network for a program, whose link can be cut and slowed down.
//!
//! It is a network namespace with one link (a veth pair) to this machine. Needs root, or `sudo` without a password.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Write},
    net::{TcpStream, UdpSocket},
    os::fd::AsFd,
    path::PathBuf,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{
    process::{Process, as_root},
    wait::{DEADLINE, wait_until},
};

/// A network namespace of this thread and all that it starts, until it is dropped. Beside the loopback interface it has
/// one with an address, as calls do not use the former.
#[derive(Debug)]
pub(crate) struct Space {
    name: String,
    former: File,
}

impl Space {
    /// Moves this thread into a new one. Only root can do that.
    pub(crate) fn enter() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            return None;
        }
        let former = File::open("/proc/thread-self/ns/net").expect("a thread has a network");
        let name = format!("cs{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        ip(&["netns", "add", &name]);
        let space = Self { name, former };
        let inside = |args: &[&str]| ip(&[&["-n", &space.name], args].concat());
        inside(&["link", "set", "lo", "up"]);
        inside(&["link", "add", "lan", "type", "veth", "peer", "name", "nal"]);
        inside(&["addr", "add", "10.214.0.1/24", "dev", "lan"]);
        inside(&["link", "set", "lan", "up"]);
        inside(&["link", "set", "nal", "up"]);
        let own = File::open(format!("/run/netns/{}", space.name)).expect("it was just made");
        move_into_link_name_space(own.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may move");
        Some(space)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let back = move_into_link_name_space(self.former.as_fd(), Some(LinkNameSpaceType::Network));
        let _ = as_root("ip").args(["netns", "del", &self.name]).status();
        assert!(back.is_ok() || thread::panicking(), "the thread cannot go back: {back:?}");
    }
}

/// A network namespace and its link, removed on drop.
#[derive(Debug)]
pub struct Network {
    name: String,
    subnet: u32,
}

impl Network {
    /// Creates a network.
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let id = std::process::id();
        let network = Self { name: format!("cb{id}-{number}"), subnet: free_subnet(id + number) };
        let Self { name, .. } = &network;
        let (ours, theirs) = (network.cable(), network.guest());
        ip(&["netns", "add", name]);
        ip(&["link", "add", &ours, "type", "veth", "peer", "name", &theirs]);
        ip(&["link", "set", &theirs, "netns", name]);
        ip(&["addr", "add", &format!("{}/29", network.host()), "dev", &ours]);
        ip(&["link", "set", &ours, "up"]);
        ip(&["-n", name, "addr", "add", &network.own(2), "dev", &theirs]);
        ip(&["-n", name, "link", "set", &theirs, "up"]);
        ip(&["-n", name, "link", "set", "lo", "up"]);
        network
    }

    /// The address of this machine, as seen from the network.
    pub fn host(&self) -> String {
        format!("10.213.{}.1", self.subnet)
    }

    fn own(&self, number: u32) -> String {
        format!("10.213.{}.{number}/29", self.subnet)
    }

    /// Replaces the network's address, as a router does that hands out addresses anew.
    pub fn readdress(&self) {
        self.renumber(&self.guest(), &self.own(2), &self.own(3));
    }

    /// A command that runs a program in the network.
    pub fn command(&self, program: PathBuf) -> Command {
        let mut command = as_root("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Connects to a server in the network. Needs root.
    pub fn connect(&self, address: &str) -> io::Result<TcpStream> {
        let space = File::open(format!("/run/netns/{}", self.name))?;
        // A socket stays in the network of the thread that made it, and this thread ends.
        thread::scope(|scope| {
            let connecting = scope.spawn(|| {
                move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
                TcpStream::connect(address)
            });
            connecting.join().expect("it does not panic")
        })
    }

    /// Gives the program there another table of names.
    pub fn set_hosts(&self, text: &str) {
        let mut command = as_root("sh");
        let script = r#"mkdir -p "$0" && cat > "$0/hosts""#;
        command.args(["-c", script, &self.folder()]).stdin(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut stdin = process.child().stdin.take().expect("stdin is piped");
        stdin.write_all(text.as_bytes()).expect("it reads");
        drop(stdin);
        assert!(process.wait().success(), "this test needs root, or sudo without a password");
    }

    /// Makes an IPv6 address reachable from there that swallows what is sent to it.
    pub fn swallow(&self, address: &str) {
        let (name, device) = (&self.name, self.guest());
        let own = format!("{address}0/64");
        ip(&["-n", name, "addr", "add", &own, "dev", &device, "nodad"]);
        let nobody = ["lladdr", "02:00:00:00:00:01", "nud", "permanent", "dev", &device];
        ip(&[&["-n", name, "neigh", "add", address], &nobody[..]].concat());
    }

    /// Moves a device of this machine into the network, and gives it an address there: only this one, none of IPv6.
    pub(crate) fn adopt(&self, device: &str, address: &str) {
        ip(&["link", "set", device, "netns", &self.name]);
        ip(&["-n", &self.name, "addr", "add", address, "dev", device]);
        ip(&["-n", &self.name, "link", "set", device, "addrgenmode", "none"]);
        ip(&["-n", &self.name, "link", "set", device, "up"]);
    }

    /// Replaces the address of a device there.
    pub(crate) fn renumber(&self, device: &str, old: &str, new: &str) {
        ip(&["-n", &self.name, "addr", "del", old, "dev", device]);
        ip(&["-n", &self.name, "addr", "add", new, "dev", device]);
    }

    /// Where `ip netns exec` looks for files to put in the place of those in /etc.
    fn folder(&self) -> String {
        format!("/etc/netns/{}", self.name)
    }

    /// Limits the outgoing rate, with a queue of 100 ms; packets that find it full are lost.
    pub fn limit(&self, kbits: u32) {
        let rate = format!("{kbits}kbit");
        let tbf = ["root", "tbf", "rate", &rate, "burst", "5kb", "latency", "100ms"];
        let mut command = self.command("tc".into());
        let status = command.args(["qdisc", "replace", "dev", &self.guest()]).args(tbf).status();
        assert!(status.expect("tc is installed: make setup").success(), "tc failed: this test needs root");
    }

    /// Counts what programs in the network send, before the limit.
    pub fn meter(&self) -> Meter {
        let mut command = self.command("sh".into());
        command.args(["-c", "echo $$; read -r _"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Process::spawn(&mut command);
        let mut pid = String::new();
        let stdout = process.child().stdout.as_mut().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut pid).expect("it says its process id");
        Meter { _process: process, counters: format!("/proc/{}/net/netstat", pid.trim()).into() }
    }

    /// Cuts the link, without notice to either end.
    pub fn cut(&self) {
        ip(&["link", "set", &self.cable(), "down"]);
    }

    /// Connects the link again after [`Network::cut`].
    pub fn restore(&self) {
        ip(&["link", "set", &self.cable(), "up"]);
    }

    fn cable(&self) -> String {
        format!("h{}", self.name)
    }

    fn guest(&self) -> String {
        format!("v{}", self.name.trim_start_matches("cb"))
    }
}

/// See [`Network::meter`].
#[derive(Debug)]
pub struct Meter {
    /// A process in the network, through whose `/proc` entry the counters are read.
    _process: Process,
    counters: PathBuf,
}

/// The longest read of the counters; a slower one has no exact time.
const LOOK: Duration = Duration::from_millis(2);

impl Meter {
    /// When the counters were read, and the octets of IP packets sent so far, as counted by the kernel before any queue
    /// that may drop packets.
    pub fn octets(&self) -> (Instant, u64) {
        wait_until("a moment to look at the counters", DEADLINE, || {
            let start = Instant::now();
            let text = std::fs::read_to_string(&self.counters).expect("the network is there");
            let mut lines = text.lines().filter(|line| line.starts_with("IpExt:"));
            let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
            let mut pairs = names.split_whitespace().zip(values.split_whitespace());
            let octets =
                pairs.find(|(name, _)| *name == "OutOctets").and_then(|(_, octets)| octets.parse().ok());
            (start.elapsed() < LOOK).then(|| (start, octets.expect("the kernel counts octets")))
        })
    }

    /// The rates in kbit/s of `count` consecutive windows.
    pub fn rates(&self, window: Duration, count: u32) -> Vec<f64> {
        let mut last = self.octets();
        let rates = (0..count).map(|_| {
            thread::sleep(window);
            let now = self.octets();
            let before = std::mem::replace(&mut last, now);
            (now.1 - before.1) as f64 * 8.0 / 1000.0 / (now.0 - before.0).as_secs_f64()
        });
        rates.collect()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let _ = as_root("rm").args(["-rf", &self.folder()]).status();
        // A network namespace outlives its name for as long as a socket in it is closing, and so would the link. Calls outside
        // could then use its address, and lose their path when it goes.
        let _ = as_root("ip").args(["link", "del", &self.cable()]).status();
        let _ = as_root("ip").args(["netns", "del", &self.name]).status();
    }
}

#[track_caller]
pub(crate) fn ip(args: &[&str]) {
    let status = as_root("ip").args(args).status().expect("ip is installed: make setup");
    assert!(status.success(), "ip {args:?} failed: this test needs root, or sudo without a password");
}

/// A subnet whose address on this side no interface has, not even one that a killed test has left.
fn free_subnet(first: u32) -> u32 {
    let is_free = |subnet: &u32| UdpSocket::bind((format!("10.213.{subnet}.1"), 0)).is_err();
    (0..250).map(|next| (first + next) % 250).find(is_free).expect("one of 250 subnets is free")
}
