//! One publisher and many viewers: what each packet costs a media server, and how much memory each viewer.
//!
//! The publisher and its viewers are in this process, on one core; the media server has another one. A stream of 1.4 Mbit/s: 30
//! frames a second of 5 packets each, and 50 packets of sound. Janus, if it is installed, gets the same in the same run.

mod callbin;
mod client;
mod janus;

use std::{
    net::{IpAddr, UdpSocket},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use callbin_tests::process::{Usage, cpu_time};

use self::client::{Client, Publisher};

const SECONDS: u64 = 10;
/// The time until all viewers receive the stream.
const PATIENCE: Duration = Duration::from_secs(60);

/// What forwards the media.
trait Forwarder {
    fn name(&self) -> String;
    /// The process that does so.
    fn pid(&self) -> u32;
    fn publish(&mut self, at: IpAddr) -> Client;
    fn play(&mut self, at: IpAddr) -> Client;
}

/// Runs with these numbers of viewers, by default 100 and 400.
pub fn fanout(args: &[String]) {
    let counts: Vec<u64> = args.iter().filter_map(|arg| arg.parse().ok()).collect();
    let counts = if counts.is_empty() { vec![100, 400] } else { counts };
    let at = own_address();
    pin(std::process::id(), 1);
    println!(
        "| media server | viewers | packets/s | CPU per packet | of a core | lost | memory per viewer |\n|---|---|---|---|---|---|---|"
    );
    for count in counts {
        run(&mut callbin::Node::start(at), at, count);
        match janus::Janus::start() {
            Ok(mut janus) => run(&mut janus, at, count),
            Err(error) => println!("| Janus | {count} | {error} |||||"),
        }
    }
}

fn run(forwarder: &mut dyn Forwarder, at: IpAddr, count: u64) {
    let (name, pid) = (forwarder.name(), forwarder.pid());
    let mut scene = Scene { publisher: Publisher::new(), clients: vec![forwarder.publish(at)] };
    if !scene.work(Instant::now() + PATIENCE, |clients| clients[0].is_connected) {
        return println!("| {name} | {count} | the publisher does not connect |||||");
    }
    // The stream is live when media have come.
    scene.work(Instant::now() + Duration::from_secs(1), |_| false);
    let before = Usage::of(pid).memory;
    for _ in 0..count {
        scene.clients.push(forwarder.play(at));
        scene.work(Instant::now() + Duration::from_millis(5), |_| false);
    }
    let all_play = |clients: &[Client]| clients[1..].iter().all(|client| client.received > 100);
    if !scene.work(Instant::now() + PATIENCE, all_play) {
        let playing = scene.clients[1..].iter().filter(|client| client.received > 100).count();
        return println!("| {name} | {count} | only {playing} viewers get the stream |||||");
    }
    let (sent, received, cpu, start) =
        (scene.publisher.sent, scene.received(), cpu_time(pid), Instant::now());
    scene.work(start + Duration::from_secs(SECONDS), |_| false);
    let time = start.elapsed().as_secs_f64();
    let (sent, received) = (scene.publisher.sent - sent, scene.received() - received);
    let cpu = cpu_time(pid).saturating_sub(cpu).as_secs_f64();
    let memory = Usage::of(pid).memory.saturating_sub(before) / 1024 / count.max(1);
    println!(
        "| {name} | {count} | {:.0} | {:.2} µs | {:.0} % | {:.2} % | {memory} KiB |",
        received as f64 / time,
        cpu * 1e6 / received.max(1) as f64,
        cpu / time * 100.0,
        100.0 - received as f64 * 100.0 / (sent * count).max(1) as f64,
    );
}

struct Scene {
    publisher: Publisher,
    /// The publisher's client first.
    clients: Vec<Client>,
}

impl Scene {
    /// Sends and receives until then, or until `is_done`; returns whether it is.
    fn work(&mut self, until: Instant, is_done: impl Fn(&[Client]) -> bool) -> bool {
        while Instant::now() < until {
            if is_done(&self.clients) {
                return true;
            }
            if let Some(client) = self.clients.first_mut().filter(|client| client.is_connected) {
                self.publisher.send(client);
            }
            let busy = self.clients.iter_mut().map(Client::work).filter(|is_busy| *is_busy).count();
            if busy == 0 {
                thread::sleep(Duration::from_micros(500));
            }
        }
        false
    }

    fn received(&self) -> u64 {
        self.clients[1..].iter().map(|client| client.received).sum()
    }
}

/// The address of this machine that is not loopback: Janus uses no other.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("sockets exist");
    socket.connect("192.0.2.1:9").expect("this machine has a route");
    socket.local_addr().expect("bound").ip()
}

/// Lets all threads of a process run on this core only.
fn pin(pid: u32, core: u32) {
    let mut command = Command::new("taskset");
    let command = command.args(["-apc", &core.to_string(), &pid.to_string()]).stdout(Stdio::null());
    assert!(command.status().is_ok_and(|status| status.success()), "taskset does not work");
}
