//! One sender with viewers on different lines: what each of them sees, and what it costs.

use std::{thread, time::Duration};

use callbin_line::Conditions;
use callbin_tests::{Client, Network, Server, Wire, client::Event, wire::THERE};

use crate::network::{ADAPTS, BEFORE, MEASURED, RECOVERS, SEED, client};

/// Two viewers, of which one gets a thin line.
pub fn two(kbits: u64) {
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start(), Network::start()];
    let [here, good, bad] = &networks;
    let wires = [good, bad].map(|there| Wire::between(here, there, Conditions::default(), SEED));
    let join = |network: &Network, id: &str, flag: &str| {
        let mut client = client(network, &server, &["room", "r", "--id", id, flag]);
        client.wait_for("joined");
        client
    };
    let mut sender = join(here, "sender", "--send-only");
    let mut viewers = [join(good, "good", "--receive-only"), join(bad, "bad", "--receive-only")];
    viewers.iter_mut().for_each(|viewer| drop(viewer.wait_for("peer-first-video")));
    thread::sleep(BEFORE);
    let thin = Conditions {
        rate: Some(kbits * 1000),
        delay: Duration::from_millis(20),
        queue: Duration::from_millis(1000),
        ..Conditions::default()
    };
    show("perfect lines", &mut sender, &mut viewers);
    wires[1].change(THERE, thin);
    thread::sleep(ADAPTS);
    show(&format!("one of {kbits} kbit/s"), &mut sender, &mut viewers);
    wires[1].change(THERE, Conditions::default());
    thread::sleep(RECOVERS * 2);
    show("perfect again", &mut sender, &mut viewers);
}

fn show(name: &str, sender: &mut Client, viewers: &mut [Client]) {
    let before = sender.process().cpu_time();
    viewers.iter_mut().for_each(Client::forget);
    thread::sleep(MEASURED);
    let cores = (sender.process().cpu_time() - before).as_secs_f64() / MEASURED.as_secs_f64();
    print!("{name:<20} {cores:>5.2} core");
    for (viewer, which) in viewers.iter_mut().zip(["good", "bad"]) {
        let mut stats: Vec<Event> = Vec::new();
        viewer.find(std::time::Instant::now(), |event| {
            if event.name() == "stats" && event.peer() == Some("sender") {
                stats.push(event.clone());
            }
            false
        });
        let (Some(first), Some(last)) = (stats.first(), stats.last()) else { panic!("{which} sees nothing") };
        let seconds = (last.ms() - first.ms()).max(1) as f64 / 1000.0;
        let per_second = |pointer: &str| (last.number(pointer) - first.number(pointer)) / seconds;
        let gap = stats.iter().skip(1).map(|stats| stats.number("/video/gap_ms")).fold(0.0, f64::max);
        let mut widths: Vec<u64> = stats.iter().map(|stats| stats.number("/video/width") as u64).collect();
        widths.dedup();
        print!(
            "  | {which}: {:>4.1} fps, gap {gap:>4.0} ms, {:>4.0} kbit/s, width {widths:?}",
            per_second("/video/frames"),
            per_second("/video/bytes") * 8.0 / 1000.0,
        );
    }
    println!();
}
