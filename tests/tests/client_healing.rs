//! Calls whose path is lost: the network is away for a while, or an address changes.

use callbin_line::Conditions;
use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Network, Server, Wire, client::STATS_OFTEN, machine,
    process::program, wait_until,
};

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
    let mut waiting = client(&networks[1], &server, &[&["wait", "--id", "waiting"], more].concat());
    waiting.wait_for("registered");
    let mut caller = client(&networks[0], &server, &[&["call", "waiting"], more].concat());
    for client in [&mut caller, &mut waiting] {
        client.wait_for("first-video");
        plays(client);
    }
    Call { caller, waiting, wire, networks, _server: server }
}

fn client(network: &Network, server: &Server, args: &[&str]) -> Client {
    let mut command = network.command(program("callbin"));
    let url = format!("ws://{}:{}", network.host(), server.port());
    command.args(args).args(["--server", &url, "--events", "json", "--headless"]);
    Client::spawn(command.args(["--size", "320x240"]).args(STATS_OFTEN))
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
fn a_call_goes_on_after_a_new_address_of_either_side() {
    let _machine = machine::alone();
    let Call { mut caller, mut waiting, mut wire, networks, _server } = call(&[]);
    for end in [0, 1] {
        wire.renumber(&networks[end], end);
        let moved = if end == 0 { &mut caller } else { &mut waiting };
        // Either side may notice first, and offer a new connection.
        moved.wait_for("dtls-connected");
        plays(&mut caller);
        plays(&mut waiting);
    }
    caller.hang_up();
}

#[test]
fn a_call_goes_on_after_an_outage_of_several_attempts_to_heal_it() {
    let _machine = machine::alone();
    let Call { mut caller, mut waiting, wire, networks: _networks, _server } = call(&[]);
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-lost");
        client.wait_for_stats("8 s of silence", |stats| stats.number("/silence_ms") > 8000.0);
    }
    wire.change_both(Conditions::default());
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-back");
        plays(client);
    }
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

#[test]
fn a_call_with_a_browser_goes_on_from_a_new_address() {
    let _machine = machine::alone();
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start()];
    let mut wire = Wire::between(&networks[0], &networks[1], Conditions::default(), 1);
    let origin = format!("http://{}:{}", networks[1].host(), server.port());
    let browser = Browser::start_in(&networks[1], &origin, BrowserOptions::default());
    let page = browser.open(&format!("{origin}/?id=page&auto-answer=1"));
    page.wait_for_state("ready");
    let mut caller = client(&networks[0], &server, &["call", "page"]);
    caller.wait_for("first-video");
    plays(&mut caller);
    page.wait_for_peer("caller", "connected");
    wire.renumber(&networks[0], 0);
    for news in ["path-lost", "path-back", "first-video"] {
        caller.wait_for(news);
    }
    page.wait_for_peer("caller", "connected");
    let before = page.frames_decoded("caller");
    wait_until("pictures in the page", DEADLINE, || {
        (page.frames_decoded("caller") > before + 5).then_some(())
    });
    caller.hang_up();
}
