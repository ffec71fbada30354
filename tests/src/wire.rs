//! A bad line between two networks: a relay between TUN devices, because not every kernel has netem.
//!
//! Each end gets an interface of its own beside its link to this machine, so signalling is not affected. The relay runs
//! [`callbin_line::Line`] for each direction.

use std::{
    fs::File,
    io::{ErrorKind, Read, Write},
    os::fd::AsRawFd,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use callbin_line::{Conditions, Counts, Line};
use mio::{Events, Interest, Poll, Token, Waker, unix::SourceFd};

use crate::{Network, network::ip};

/// Wakes the relay when the test changes or ends the line.
const CHANGED: Token = Token(2);

/// The direction from the first network to the second.
pub const THERE: usize = 0;
/// The direction from the second network to the first.
pub const BACK: usize = 1;

/// A running relay, which ends when dropped.
#[derive(Debug)]
pub struct Wire {
    shared: Arc<Shared>,
    waker: Waker,
    relay: Option<JoinHandle<()>>,
    addresses: [String; 2],
    names: [String; 2],
}

#[derive(Debug)]
struct Shared {
    born: Instant,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    ends: bool,
    lines: [Line<Vec<u8>>; 2],
}

impl Wire {
    /// Connects two networks. Both directions have the same conditions.
    pub fn between(one: &Network, other: &Network, conditions: Conditions, seed: u64) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let subnet = format!("10.214.{}", (std::process::id() + number) % 250);
        let addresses = [1, 2].map(|host| format!("{subnet}.{host}"));
        let names = [0, 1].map(|end| format!("w{}x{number}x{end}", std::process::id()));
        let ends = [(one, 0), (other, 1)].map(|(network, end)| {
            let name = &names[end];
            let user = rustix::process::getuid().as_raw().to_string();
            ip(&["tuntap", "add", "dev", name, "mode", "tun", "user", &user]);
            let device = callbin_foreign::tun::open(name).expect("the kernel has /dev/net/tun");
            network.adopt(name, &format!("{}/24", addresses[end]));
            device
        });
        let lines = [THERE, BACK].map(|direction| Line::new(conditions, seed * 2 + direction as u64));
        let state = Mutex::new(State { ends: false, lines });
        let shared = Arc::new(Shared { born: Instant::now(), state });
        let poll = Poll::new().expect("the kernel has epoll");
        let waker = Waker::new(poll.registry(), CHANGED).expect("the kernel has eventfd");
        let run = shared.clone();
        let relay = thread::spawn(move || run.relay(poll, ends));
        Self { shared, waker, relay: Some(relay), addresses, names }
    }

    /// Changes one direction.
    pub fn change(&self, direction: usize, conditions: Conditions) {
        let now = self.shared.now();
        self.shared.state().lines[direction].change(now, conditions);
        self.waker.wake().expect("the relay runs");
    }

    /// Changes both directions.
    pub fn change_both(&self, conditions: Conditions) {
        [THERE, BACK].into_iter().for_each(|direction| self.change(direction, conditions));
    }

    /// Gives one end, in this network, another address instead of the present one, like a host that enters another Wi-Fi.
    pub fn renumber(&mut self, network: &Network, end: usize) {
        let old = std::mem::take(&mut self.addresses[end]);
        let (subnet, host) = old.rsplit_once('.').expect("it has dots");
        let host: u32 = host.parse().expect("it ends in a number");
        let next = if host + 2 < 255 { host + 2 } else { 2 - host % 2 };
        let new = format!("{subnet}.{next}");
        network.renumber(&self.names[end], &format!("{old}/24"), &format!("{new}/24"));
        self.addresses[end] = new;
    }

    /// What happened in a direction so far.
    pub fn counts(&self, direction: usize) -> Counts {
        self.shared.state().lines[direction].counts()
    }

    /// The longest wait in a direction's queue since the last call.
    pub fn take_longest(&self, direction: usize) -> Duration {
        self.shared.state().lines[direction].take_longest()
    }

    /// The addresses of both ends.
    pub fn addresses(&self) -> &[String; 2] {
        &self.addresses
    }
}

impl Shared {
    fn now(&self) -> Duration {
        self.born.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn relay(&self, mut poll: Poll, mut ends: [File; 2]) {
        for (token, end) in ends.iter().enumerate() {
            let fd = end.as_raw_fd();
            let source = &mut SourceFd(&fd);
            poll.registry()
                .register(source, Token(token), Interest::READABLE)
                .expect("epoll takes TUN devices");
        }
        let mut events = Events::with_capacity(8);
        let mut packet = vec![0; 65_536];
        loop {
            let next = {
                let mut state = self.state();
                if state.ends {
                    return;
                }
                for direction in [THERE, BACK] {
                    self.pass(&mut state.lines[direction], &mut ends, direction, &mut packet);
                }
                state.lines.iter().filter_map(Line::next).min()
            };
            let timeout = next.map(|next| next.saturating_sub(self.now()));
            if let Err(error) = poll.poll(&mut events, timeout) {
                assert_eq!(error.kind(), ErrorKind::Interrupted, "{error}");
            }
        }
    }

    /// Reads what has come in at one end, and writes what has come out at the other.
    fn pass(&self, line: &mut Line<Vec<u8>>, ends: &mut [File; 2], direction: usize, packet: &mut [u8]) {
        while let Ok(size @ 1..) = ends[direction].read(packet) {
            line.push(self.now(), size as u64, packet[..size].to_vec());
        }
        while let Some(packet) = line.pop(self.now()) {
            // A network that is removed takes its device along.
            let _ = ends[1 - direction].write(&packet);
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.shared.state().ends = true;
        if self.waker.wake().is_ok() {
            let _ = self.relay.take().map(JoinHandle::join);
        }
    }
}
