//! Calls whose path is lost: the network is away for a while, or an address changes.

use std::time::{Duration, Instant};

use callbin_line::Conditions;
use callbin_tests::{Client, Network, Server, Wire, client::STATS_OFTEN, machine, process::program};

/// Two clients in networks of their own, connected by a line. Signalling has another way.
struct Call {
    caller: Client,
    waiting: Client,
    wire: Wire,
    networks: [Network; 2],
    _server: Server,
}

fn call(more: &[&str]) -> Call {
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start()];
    let wire = Wire::between(&networks[0], &networks[1], Conditions::default(), 1);
    let client = |network: &Network, args: &[&str]| {
        let mut command = network.command(program("callbin"));
        let url = format!("ws://{}:{}", network.host(), server.port());
        command.args(args).args(["--server", &url, "--events", "json", "--headless"]);
        Client::spawn(command.args(["--size", "320x240"]).args(STATS_OFTEN).args(more))
    };
    let mut waiting = client(&networks[1], &["wait", "--id", "waiting"]);
    waiting.wait_for("registered");
    let mut caller = client(&networks[0], &["call", "waiting"]);
    for client in [&mut caller, &mut waiting] {
        client.wait_for("first-video");
        plays(client);
    }
    Call { caller, waiting, wire, networks, _server: server }
}

/// Waits for a moving picture and sound.
#[track_caller]
fn plays(client: &mut Client) {
    client.forget();
    client.wait_for_stats("a moving picture and sound", |stats| {
        stats.number("/video/fps") > 10.0
            && stats.number("/silence_ms") < 500.0
            && stats.number("/audio/pitch_hz") > 100.0
    });
}

#[test]
fn a_new_address_of_either_side_is_noticed_at_once_and_the_call_goes_on() {
    let _machine = machine::alone();
    let Call { mut caller, mut waiting, mut wire, networks, _server } = call(&[]);
    for end in [0, 1] {
        wire.renumber(&networks[end], end);
        let moved = if end == 0 { &mut caller } else { &mut waiting };
        moved.wait_for("path-lost");
        let gap = moved.wait_for("path-back").number("/gap_ms");
        eprintln!("end {end}: {gap} ms");
        plays(&mut caller);
        plays(&mut waiting);
    }
    caller.hang_up();
}

#[test]
fn a_call_outlives_an_outage_that_ice_does_not() {
    let _machine = machine::alone();
    let Call { mut caller, mut waiting, wire, networks: _networks, _server } = call(&[]);
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-lost");
        client.wait_for_stats("20 s of silence", |stats| stats.number("/silence_ms") > 18_000.0);
    }
    wire.change_both(Conditions::default());
    let since = Instant::now();
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-back");
        plays(client);
    }
    eprintln!("pictures after {:?}", since.elapsed());
    assert!(since.elapsed() < Duration::from_secs(10));
    caller.hang_up();
}

#[test]
fn a_peer_without_a_path_is_given_up_after_the_limit() {
    let _machine = machine::shared();
    let Call { mut caller, mut waiting, wire, networks: _networks, _server } =
        call(&["--give-up-after", "3"]);
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    assert_eq!(caller.exit_code(), 9, "{}", caller.errors());
    assert!(waiting.wait_for("ended").text("/reason").contains("none for 3 s"));
    waiting.wait_for("waiting");
    waiting.hang_up();
}
