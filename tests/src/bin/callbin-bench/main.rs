//! `callbin-bench`: measures how fast calls begin and what they cost, with real programs on this machine.
//!
//! It only prints figures: a loaded machine is slower, and a test must not fail for that.
//!
//! ```text
//! callbin-bench [call | wait | room | peers | joins | line | flood]…
//! callbin-bench compare [NAME COMMAND]…
//! callbin-bench network [callbin | mixed | chromium | part of a line's name]…
//! callbin-bench healing [callbin | mixed | room | part of a loss's name]…
//! callbin-bench fanout [VIEWERS]…
//! callbin-bench lobby | wall
//! callbin-bench soak [HOURS [SEED]]
//! ```

mod fanout;
mod first_frame;
mod healing;
mod network;
mod page;
mod soak;
mod viewers;

use std::{
    io::{BufRead, BufReader},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use callbin_tests::{
    Browser, BrowserOptions, CALLER, Client, DEADLINE, Network, Server,
    process::{Process, program},
};

/// How long to measure a steady state.
const STEADY: Duration = Duration::from_secs(10);

/// The video of each client in a room: small, so that the figures show the cost of peers and not of pixels.
const SMALL: [&str; 4] = ["--size", "320x240", "--fps", "30"];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if let Some((command, args)) = wanted.split_first() {
        match command.as_str() {
            "compare" => first_frame::compare(args),
            "network" => network::network(args),
            "fanout" => fanout::fanout(args),
            "healing" => healing::healing(args),
            "lobby" => page::lobby(),
            "wall" => page::wall(),
            "soak" => return soak::soak(args),
            _ => costs(&wanted),
        }
    } else {
        costs(&[]);
    }
    ExitCode::SUCCESS
}

/// Measures what clients cost: all, or those with these names.
fn costs(wanted: &[String]) {
    let all = wanted.is_empty();
    for (name, bench) in [
        ("call", first_frame::call as fn()),
        ("wait", first_frame::wait),
        ("room", room),
        ("peers", peers),
        ("joins", joins),
        ("line", line),
        ("flood", flood),
    ] {
        if all || wanted.iter().any(|want| want == name) {
            bench();
        }
    }
}

/// Cost of a client in a room of three.
fn room() {
    let server = Server::start(&[]);
    let mut clients: Vec<Client> = (0..3).map(|i| join(&server, i)).collect();
    wait_for_pictures(&mut clients);
    let before: Vec<Duration> = clients.iter_mut().map(|client| client.process().cpu_time()).collect();
    thread::sleep(STEADY);
    println!("room of three clients, 320x240 at 30 frames a second, view none");
    for (client, before) in clients.iter_mut().zip(before) {
        let process = client.process();
        let cores = (process.cpu_time() - before).as_secs_f64() / STEADY.as_secs_f64();
        let mib = process.memory() as f64 / 1024.0 / 1024.0;
        println!("  {cores:>6.3} core  {mib:>6.1} MiB  {:>3} threads", process.threads());
    }
}

/// Cost of each further peer for a sender, and the number of peers at which it fails.
fn peers() {
    println!("one sender and N who only receive, 320x240 at 30 frames a second, all on this machine");
    for count in [2, 4, 8, 12, 16, 24, 32] {
        let server = Server::start(&[]);
        let mut sender = Client::start(
            &server,
            &[&["room", "r", "--id", "sender", "--send-only", "--max-peers", "64"], &SMALL[..]].concat(),
        );
        sender.wait_for("joined");
        let mut receivers: Vec<Client> = (0..count)
            .map(|i| {
                let flags = ["--receive-only", "--max-peers", "64"];
                Client::start(&server, &[&["room", "r", "--id", &format!("r{i}")], &flags[..]].concat())
            })
            .collect();
        let until = Instant::now() + DEADLINE;
        let sees = |receiver: &mut Client| {
            receiver.find(until, |event| event.name() == "peer-first-video").is_some()
        };
        if !receivers.iter_mut().all(sees) {
            println!("  here it stops: not all of {count} peers see a picture within {DEADLINE:?}");
            return;
        }
        let before = sender.process().cpu_time();
        thread::sleep(STEADY);
        let cores = (sender.process().cpu_time() - before).as_secs_f64() / STEADY.as_secs_f64();
        let process = sender.process();
        let mib = process.memory() as f64 / 1024.0 / 1024.0;
        let fps: Vec<f64> = receivers
            .iter_mut()
            .map(|receiver| {
                receiver.forget();
                receiver.wait_for_peer("sender", "stats")
            })
            .map(|stats| stats.number("/video/fps"))
            .collect();
        let least = fps.iter().copied().fold(f64::INFINITY, f64::min);
        println!(
            "  {count:>2} peers  {cores:>6.3} core  {mib:>6.1} MiB  {:>3} threads  {least:>5.1} fps at the slowest",
            process.threads()
        );
        if least < 27.0 {
            println!("  here it stops: {count} peers receive less than nine in ten frames");
            return;
        }
    }
}

/// Time from a join to the first decoded frame of an existing member.
fn joins() {
    let server = Server::start(&[]);
    let mut member = join(&server, 0);
    member.wait_for("joined");
    let mut times = Vec::new();
    for i in 1..=30 {
        let mut client = join(&server, i);
        let joined = client.wait_for("joined").ms() as f64;
        let first = client.wait_for_peer("member-0", "peer-first-video").ms() as f64;
        times.push(first - joined);
        client.hang_up();
        member.wait_for_peer(&format!("member-{i}"), "peer-left");
    }
    println!("joined to first frame of an existing member decoded, {} joins", times.len());
    print_times("first frame", times);
}

/// Rate of a client that calls Chromium through a link slower than, or just about as fast as, its target.
fn line() {
    println!(
        "callbin call, 1000 kbit/s of video and 32 of sound, IP octets sent in windows of 500 ms for 20 s"
    );
    for kbits in [400, 800, 2000] {
        let server = Server::spawn_reachable(&[]);
        let browser = Browser::start(BrowserOptions::whole());
        let page = browser.open(&format!("{}?id=web&auto-answer=1", server.url()));
        page.wait_for_state("ready");
        let network = Network::start();
        network.limit(kbits);
        let mut client = call_from(&network, &server, "web");
        print_rates(&format!("to Chromium, line of {kbits} kbit/s"), &network, &mut client);
        println!("    {} frames decoded", page.frames_decoded(CALLER));
    }
}

/// Rate of a client that calls a peer which requests everything all the time.
fn flood() {
    println!(
        "callbin call, 1000 kbit/s of video and 32 of sound, IP octets sent in windows of 500 ms for 20 s"
    );
    for manner in ["asks", "floods"] {
        let server = Server::spawn_reachable(&[]);
        let network = Network::start();
        let mut command = Command::new(program("callbin-test-flooder"));
        let mut flooder =
            Process::spawn(command.args([&server.ws_url(), "flooder", manner]).stdout(Stdio::piped()));
        let mut stdout = BufReader::new(flooder.child().stdout.take().expect("stdout is piped"));
        stdout.read_line(&mut String::new()).expect("it registers");
        let mut client = call_from(&network, &server, "flooder");
        print_rates(&format!("to a peer that {manner}"), &network, &mut client);
    }
}

fn call_from(network: &Network, server: &Server, to: &str) -> Client {
    Client::start_in(network, server, &["call", to, "--id", "gst"])
}

fn print_rates(name: &str, network: &Network, client: &mut Client) {
    client.wait_for("dtls-connected");
    let rates = network.meter().rates(Duration::from_millis(500), 40);
    let (mean, most) =
        (rates.iter().sum::<f64>() / rates.len() as f64, rates.iter().copied().fold(0.0, f64::max));
    println!("  {name:<34} mean {mean:>7.0} kbit/s   most {most:>7.0} kbit/s");
    let last = std::iter::from_fn(|| client.find(Instant::now(), |event| event.name() == "stats")).last();
    if let Some(stats) = last {
        let of = |name: &str| stats.number(&format!("/sent/{name}"));
        println!(
            "    {} packets lost, {} sent again, {} not, {} withheld, {} reports ignored",
            of("lost"),
            of("retransmitted"),
            of("retransmissions_refused"),
            of("withheld"),
            of("feedback_ignored")
        );
    }
}

fn join(server: &Server, number: usize) -> Client {
    let id = format!("member-{number}");
    Client::start(server, &[&["room", "r", "--id", &id, "--view", "none"], &SMALL[..]].concat())
}

fn wait_for_pictures(clients: &mut [Client]) {
    let count = clients.len();
    for (number, client) in clients.iter_mut().enumerate() {
        for other in (0..count).filter(|other| *other != number) {
            client.wait_for_peer(&format!("member-{other}"), "peer-first-video");
        }
    }
}

fn print_times(name: &str, mut times: Vec<f64>) {
    let [median, most] = quantiles(&mut times, [0.5, 0.95]);
    println!("  {name:<26} median {median:>6.0} ms   95 % {most:>6.0} ms");
}

fn quantiles<const N: usize>(times: &mut [f64], quantiles: [f64; N]) -> [f64; N] {
    times.sort_by(f64::total_cmp);
    quantiles.map(|quantile| {
        let index = (times.len().saturating_sub(1) as f64 * quantile).round() as usize;
        times.get(index).copied().unwrap_or_default()
    })
}
