//! Calls whose path is lost: the network is away for a while, or an address changes.

use callbin_line::Conditions;
use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Network, Page, Server, Wire, Wired,
    client::{Event, STATS_OFTEN},
    machine, wait_until,
};

const PICTURE: [&str; 4] = ["--size", "320x240", STATS_OFTEN[0], STATS_OFTEN[1]];

fn call(more: &[&str]) -> Wired {
    let mut call = Wired::call(Conditions::default(), &[&PICTURE[..], more].concat());
    plays(&mut call.caller);
    plays(&mut call.waiting);
    call
}

/// Waits for a moving picture and sound.
#[track_caller]
fn plays(client: &mut Client) {
    waits_for(client, 10.0, |stats| stats.number("/audio/pitch_hz") > 100.0);
}

/// Waits for Chromium's ten frames a second and its beep, whose pitch may be in step with the statistics.
#[track_caller]
fn plays_chromium(client: &mut Client) {
    waits_for(client, 5.0, |stats| stats.number("/audio/level_db") > -40.0);
}

#[track_caller]
fn waits_for(client: &mut Client, fps: f64, hears: impl Fn(&Event) -> bool) {
    client.forget();
    client.wait_for_stats("a moving picture and sound", |stats| {
        stats.number("/video/fps") > fps && stats.number("/silence_ms") < 500.0 && hears(stats)
    });
}

#[test]
fn a_call_goes_on_after_a_new_address_of_either_side() {
    let _machine = machine::apart();
    let Wired { mut caller, mut waiting, mut wire, networks, server: _server } = call(&[]);
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
    let _machine = machine::apart();
    let Wired { mut caller, mut waiting, wire, networks: _networks, server: _server } = call(&[]);
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-lost");
    }
    // The caller offers first. Signalling is there, so the other side answers.
    for _attempt in 0..2 {
        caller.wait_for("offer-sent");
        caller.wait_for("answer-received");
    }
    wire.change_both(Conditions::default());
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-back");
        plays(client);
    }
    caller.hang_up();
}

#[test]
fn a_call_outlives_the_address_over_which_everything_went() {
    let _machine = machine::apart();
    // Without tokens, our own dead connection holds the uid until the server finds it dead.
    let server = Server::spawn_reachable(&["--keepalive-timeout", "600", "--pong-timeout", "1"]);
    let network = Network::start();
    let mut waiting = Client::start(&server, &[&["wait", "--id", "there"][..], &PICTURE].concat());
    waiting.wait_for("waiting");
    let call = [&["call", "there", "--id", "here"][..], &PICTURE].concat();
    let mut caller = Client::start_in(&network, &server, &call);
    plays(&mut caller);
    plays(&mut waiting);
    network.readdress();
    for client in [&mut caller, &mut waiting] {
        client.wait_for("path-lost");
        client.wait_for("path-back");
        plays(client);
    }
    caller.hang_up();
}

#[test]
fn a_peer_without_a_path_is_given_up_after_the_limit() {
    let _machine = machine::busy();
    let Wired { mut caller, mut waiting, wire, networks: _networks, server: _server } =
        call(&["--give-up-after", "3"]);
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    assert_eq!(caller.exit_code(), 9, "{}", caller.errors());
    assert!(waiting.wait_for("ended").text("/reason").contains("none for 3 s"));
    waiting.wait_for("waiting");
    waiting.hang_up();
}

#[test]
fn a_call_with_a_browser_goes_on_from_a_new_address_and_after_the_loss_of_line_and_server() {
    let _machine = machine::apart();
    let server = Server::spawn_reachable(&[]);
    let networks = [Network::start(), Network::start()];
    let mut wire = Wire::between(&networks[0], &networks[1], Conditions::default(), 1);
    let origin = format!("http://{}:{}", networks[1].host(), server.port());
    let browser = Browser::start_in(&networks[1], &origin, BrowserOptions::default());
    let page = browser.open(&format!("{origin}/?id=page&auto-answer=1"));
    page.wait_for_state("ready");
    let mut caller = Client::start_in(&networks[0], &server, &[&["call", "page"][..], &PICTURE].concat());
    caller.wait_for("first-video");
    plays_chromium(&mut caller);
    page.wait_for_peer("caller", "connected");
    wire.renumber(&networks[0], 0);
    for news in ["path-lost", "path-back", "first-video"] {
        caller.wait_for(news);
    }
    sees(&page);

    // The line and the server are away until the page's ICE gives up.
    wire.change_both(Conditions { loss: 1.0, ..Conditions::default() });
    networks.iter().for_each(Network::cut);
    let lost = "callbin.peers()[0]?.reason === 'lost'";
    page.wait_for("a lost path, and no end of the call", lost, DEADLINE);
    networks.iter().for_each(Network::restore);
    wire.change_both(Conditions::default());
    sees(&page);
    caller.hang_up();
}

#[track_caller]
fn sees(page: &Page) {
    page.wait_for_peer("caller", "connected");
    // A new connection counts from zero.
    let before = page.frames_decoded("caller");
    wait_until("pictures in the page", DEADLINE, || {
        (page.frames_decoded("caller") > before + 5).then_some(())
    });
}
