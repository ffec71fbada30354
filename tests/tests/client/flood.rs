//! The client's traffic, measured on the wire: on a link that is too slow, and to a peer that requests more than it
//! should.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
    time::Duration,
};

use callbin_tests::{
    BrowserOptions, CALLER, Client, DEADLINE, Network, Server, Site, machine,
    network::Meter,
    process::{Process, program},
};

/// 1000 kbit/s of video in 138 packets a second, 32 of sound in 50, with 66 bytes of overhead each, and 64 kbit/s of
/// RTCP.
const TARGET: f64 = 1000.0 + 32.0 + (138.0 + 50.0) * 66.0 * 8.0 / 1000.0 + 64.0;
const WINDOW: Duration = Duration::from_millis(500);

/// A client in its own network namespace that calls `to`.
fn call(network: &Network, server: &Server, to: &str) -> Client {
    let picture = ["--bitrate", "1000", "--fps", "30", "--size", "640x480"];
    Client::start_in(network, server, &[&["call", to, "--id", "gst"][..], &picture].concat())
}

/// A peer that floods in the way that `args` say.
fn flooder(server: &Server, args: &[&str]) -> Process {
    let mut command = Command::new(program("callbin-test-flooder"));
    registered(command.args([&server.ws_url(), "flooder"]).args(args))
}

fn registered(command: &mut Command) -> Process {
    let mut process = Process::spawn(command.stdout(Stdio::piped()));
    let mut line = String::new();
    let stdout = process.child().stdout.as_mut().expect("stdout is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says when it is there");
    assert_eq!(line, "registered\n");
    process
}

/// Checks that for this many windows the rate stays within the budget; returns the mean rate.
#[track_caller]
fn assert_within_budget(meter: &Meter, windows: u32) -> f64 {
    let rates = meter.rates(WINDOW, windows);
    assert!(rates.iter().all(|rate| *rate < 1.3 * TARGET), "{rates:.0?} of {:.0}", 1.3 * TARGET);
    rates.iter().sum::<f64>() / rates.len() as f64
}

#[test]
fn a_peer_that_asks_for_everything_gets_no_more_than_the_budget() {
    let _machine = machine::apart();
    let server = Server::spawn_reachable(&[]);
    let network = Network::start();
    let _flooder = flooder(&server, &["asks"]);
    let mut client = call(&network, &server, "flooder");
    client.wait_for_stats("requests", |stats| stats.number("/sent/retransmissions_refused") > 1000.0);
    assert_within_budget(&network.meter(), 20);
    client.forget();
    let stats = client.wait_for("stats");
    assert!(stats.number("/sent/retransmitted") > 100.0, "honest requests are met: {stats:?}");
    client.hang_up();
}

#[test]
fn a_peer_that_floods_is_ended_and_gets_no_more_than_the_budget_before() {
    let _machine = machine::apart();
    let server = Server::spawn_reachable(&[]);
    let network = Network::start();
    let _flooder = flooder(&server, &["floods"]);
    let mut client = call(&network, &server, "flooder");
    client.wait_for("dtls-connected");
    assert_within_budget(&network.meter(), 16);
    assert_eq!(client.exit_code(), 14, "{}", client.errors());
    assert!(client.errors().contains("floods us: feedback"), "{}", client.errors());
}

/// Two clients that join a room with the flooder.
fn beside_a_flooder(server: &Server) -> [Client; 2] {
    ["red", "green"].map(|uid| {
        let args = ["room", "r", "--id", uid, "--video-pattern", uid, "--size", "320x240", "--view", "none"];
        let mut client = Client::start(server, &[&args[..], &["--stats-interval", "1"]].concat());
        client.wait_for("joined");
        client
    })
}

#[test]
fn in_a_room_whoever_asks_for_everything_disturbs_nobody() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let _flooder = flooder(&server, &["asks", "r"]);
    let [mut red, mut green] = beside_a_flooder(&server);
    for requests in [1000.0, 10_000.0] {
        for (client, other) in [(&mut red, "green"), (&mut green, "red")] {
            client.wait_for_stats("requests", |stats| {
                stats.peer() == Some("flooder") && stats.number("/sent/retransmissions_refused") > requests
            });
            client.forget();
            client.wait_for_stats("a picture of the other", |stats| {
                stats.peer() == Some(other) && stats.number("/video/fps") > 20.0
            });
        }
    }
}

#[test]
fn in_a_room_whoever_floods_is_ended_and_shunned() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let _flooder = flooder(&server, &["floods", "r"]);
    let [mut red, mut green] = beside_a_flooder(&server);
    for client in [&mut red, &mut green] {
        let failed = client.wait_for_peer("flooder", "peer-failed");
        assert!(failed.text("/reason").contains("floods us: feedback"), "{failed:?}");
    }
    red.wait_for_peer("green", "peer-first-video");
    green.wait_for_peer("red", "peer-first-video");
}

/// Garbled RTP, RTCP and SCTP of a peer with valid ICE and DTLS. For longer runs start `callbin-test-garbler` directly.
#[test]
fn in_a_room_whoever_garbles_packets_disturbs_nobody() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let mut command = Command::new(program("callbin-test-garbler"));
    let _garbler = registered(command.args([&server.ws_url(), "garbler", "1", "r"]));
    let [mut red, mut green] = beside_a_flooder(&server);
    for (client, other) in [(&mut red, "green"), (&mut green, "red")] {
        client.wait_for_peer("garbler", "peer-connected");
        client.wait_for_stats("a picture of the other", |stats| {
            stats.peer() == Some(other) && stats.number("/video/fps") > 20.0
        });
        client.forget();
    }
    // The garbage ends one connection or another with the garbler, and all begin again.
    for _ in 0..12 {
        for (client, other) in [(&mut red, "green"), (&mut green, "red")] {
            let stats = client.wait_for_peer(other, "stats");
            assert!(stats.number("/video/fps") > 20.0, "{stats:?}");
        }
    }
    for mut client in [red, green] {
        client.wait_for_any(
            "garbage: packets that look lost, or a connection that ends",
            DEADLINE,
            |event| {
                let is_lost = event.name() == "stats" && event.number("/audio/lost") > 0.0;
                event.peer() == Some("garbler") && (is_lost || event.name() == "peer-failed")
            },
        );
        client.hang_up();
    }
}

/// Chromium repeatedly requests lost packets and key frames.
#[test]
fn on_a_line_that_is_too_narrow_the_loss_is_not_made_worse() {
    let _machine = machine::apart();
    let site = Site::at(Server::spawn_reachable(&[]), BrowserOptions::default());
    let page = site.waiting("web");
    let network = Network::start();
    network.limit(800);
    let mut client = call(&network, &site.server, "web");
    client.wait_for("dtls-connected");
    assert_within_budget(&network.meter(), 20);
    client.forget();
    let stats = client.wait_for_stats("losses", |stats| stats.number("/sent/lost") > 0.0);
    assert!(stats.number("/sent/retransmissions_refused") > 0.0, "the budget was needed: {stats:?}");
    // An honest peer is not ended, and as soon as the link is fast enough the video is back.
    network.limit(10_000);
    let before = page.frames_decoded(CALLER);
    callbin_tests::wait_until("more frames", callbin_tests::DEADLINE, || {
        (page.frames_decoded(CALLER) > before + 30).then_some(())
    });
    client.hang_up();
}
