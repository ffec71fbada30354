//! A room of GStreamer clients and a browser page: each member receives each other one, and the remaining members
//! are not affected by departures.

use std::time::Duration;

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Page, Server, Socket,
    client::Event,
    flow::{Pair, assert_undisturbed},
    leak::assert_nothing_left,
    machine, wait_until,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Small videos: the test is about the room, on a machine with two cores.
const SMALL: [&str; 6] = ["--size", "320x240", "--fps", "10", "--view", "none"];

/// Uids, colours and tones of the clients.
const CLIENTS: [(&str, [u8; 3], f64); 3] =
    [("red", [255, 0, 0], 440.0), ("green", [0, 255, 0], 660.0), ("blue", [0, 0, 255], 880.0)];

fn join(server: &Server, (color, _, hz): (&str, [u8; 3], f64)) -> Client {
    let (pattern, hz) = (["--video-pattern", color], hz.to_string());
    let args = [&["room", "r", "--id", color, "--audio-freq", &hz], &pattern[..], &SMALL[..]].concat();
    let mut client = Client::start(server, &args);
    client.wait_for("joined");
    client
}

fn page(server: &Server, browser: &Browser, id: &str) -> Page {
    let page = browser.open(&format!("{}?room=r&id={id}&join=1", server.url()));
    page.wait_for_state("in-room");
    page
}

fn is_near([r, g, b]: [u8; 3], [x, y, z]: [u8; 3]) -> bool {
    r.abs_diff(x) < 40 && g.abs_diff(y) < 40 && b.abs_diff(z) < 40
}

/// A client receives another's colour and tone, under its uid.
#[track_caller]
fn assert_client_gets_client(client: &mut Client, (uid, color, hz): (&str, [u8; 3], f64)) {
    let wanted = |event: &Event| {
        event.name() == "stats"
            && event.peer() == Some(uid)
            && event.color().is_some_and(|seen| is_near(seen, color))
            && (event.number("/audio/pitch_hz") - hz).abs() < 20.0
    };
    client.wait_for_any(&format!("{uid} in its colour and tone"), DEADLINE, wanted);
}

/// A client receives Chromium's fake camera, green with something moving, and its beep.
#[track_caller]
fn assert_client_gets_page(client: &mut Client, uid: &str) {
    let about = |event: &Event| event.name() == "stats" && event.peer() == Some(uid);
    client.wait_for_any(&format!("{uid}'s camera"), DEADLINE, |event| {
        let green = event.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b));
        about(event) && green && event.number("/video/motion") > 0.02
    });
    client.wait_for_any(&format!("{uid}'s beep"), DEADLINE, |event| {
        about(event) && event.number("/audio/level_db") > -65.0 && event.number("/audio/buffers") > 0.0
    });
}

#[track_caller]
fn assert_page_gets_client(page: &Page, (uid, [r, g, b], _): (&str, [u8; 3], f64)) {
    page.wait_for_peer(uid, "connected");
    let probe = page.video_probe(uid);
    let near = |seen: f64, sent: u8| (seen - f64::from(sent)).abs() < 40.0;
    assert!(near(probe.r, r) && near(probe.g, g) && near(probe.b, b), "{uid}: {probe:?}");
    page.wait_for_sound(uid, 0.01);
}

/// Two members that stay still receive each other.
#[track_caller]
fn still_undisturbed(pair: Pair) {
    assert_undisturbed(pair, 10.0, Duration::from_secs(6), || {});
}

#[test]
fn everybody_sees_and_hears_everybody_and_who_stays_is_not_disturbed() {
    let _machine = machine::shared();
    let server = Server::start(&[]);
    let few = BrowserOptions { window: (640, 480), ..BrowserOptions::default() };
    let browser = Browser::start(few);
    let mut clients: Vec<Client> = CLIENTS.into_iter().map(|client| join(&server, client)).collect();
    // One page: the rooms of pages have their own tests, and a second one would leave two cores no time for the clients.
    let anna = page(&server, &browser, "anna");
    for (i, client) in clients.iter_mut().enumerate() {
        for (j, other) in CLIENTS.into_iter().enumerate() {
            if i != j {
                assert_client_gets_client(client, other);
            }
        }
        assert_client_gets_page(client, "anna");
    }
    CLIENTS.into_iter().for_each(|client| assert_page_gets_client(&anna, client));

    let [mut red, green, mut blue]: [Client; 3] = clients.try_into().expect("three clients");
    // One leaves in an orderly way,
    green.hang_up();
    red.wait_for_peer("green", "peer-left");
    still_undisturbed([(&mut red, "red"), (&mut blue, "blue")]);
    anna.wait_for("green to go", "!document.querySelector('video[data-peer=green]')", DEADLINE);
    // returns under the same uid,
    let mut green = join(&server, CLIENTS[1]);
    assert_client_gets_client(&mut red, CLIENTS[1]);
    assert_client_gets_client(&mut green, CLIENTS[2]);
    assert_page_gets_client(&anna, CLIENTS[1]);
    still_undisturbed([(&mut red, "red"), (&mut blue, "blue")]);
    // and one is killed.
    green.process().signal("KILL");
    red.wait_for_peer("green", "peer-left");
    still_undisturbed([(&mut red, "red"), (&mut blue, "blue")]);
    let before = anna.frames_decoded("red");
    wait_until("more of red in the page", DEADLINE, || {
        (anna.frames_decoded("red") > before + 30).then_some(())
    });
    anna.assert_no_console_errors();
    // The page leaves, too.
    drop(anna);
    red.wait_for_peer("anna", "peer-left");
    still_undisturbed([(&mut red, "red"), (&mut blue, "blue")]);
}

/// Random joins and leaves; at the end client, server and page have the same resources as before.
#[test]
fn eighty_comings_and_goings_leave_nothing_behind() {
    const ROUNDS: usize = 80;
    const WARM_UP: usize = 40;
    let _machine = machine::shared();
    let mut server = Server::start(&[]);
    // Without a camera: the cost of decoding it in a client depends on the page's current resolution.
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let page = page(&server, &browser, "page");
    let mut client = join(&server, CLIENTS[0]);
    page.wait_for_peer("red", "connected");
    let mut random = StdRng::seed_from_u64(7);
    let mut number = 0;
    let mut come_and_go = |rounds| {
        let mut visitors: Vec<Visitor> = Vec::new();
        for _ in 0..rounds {
            if visitors.len() > 2 || (!visitors.is_empty() && random.random_bool(0.4)) {
                visitors.swap_remove(random.random_range(0..visitors.len()));
            } else {
                number += 1;
                visitors.push(Visitor::come(&server, number, &mut random));
            }
        }
        drop(visitors);
        usage(&mut client, &mut server, &page)
    };
    // The first rounds load plugins, fill pools, and fragment memory.
    let before = come_and_go(WARM_UP);
    assert_nothing_left(before, || come_and_go(ROUNDS));
    // The remaining members still receive each other.
    assert_page_gets_client(&page, CLIENTS[0]);
}

/// A visitor that joins and later leaves.
enum Visitor {
    /// A client, killed when dropped.
    Client { _client: Client },
    /// A bare socket that joins, sends something, and is cut when dropped.
    Socket { _socket: Socket },
}

impl Visitor {
    fn come(server: &Server, round: usize, random: &mut StdRng) -> Self {
        let uid = format!("visitor-{round}");
        if random.random_bool(0.7) {
            let mut socket = Socket::register(server, &uid);
            socket.send("ROOM r");
            socket.receive_text();
            socket.send("ROOM_PEER_MSG red {\"sdp\": {\"type\": \"offer\", \"sdp\": \"garbage\"}}");
            return Self::Socket { _socket: socket };
        }
        let mut client = Client::start(server, &[&["room", "r", "--id", &uid], &SMALL[..]].concat());
        // Some wait for video, some leave before.
        let until = ["joined", "offer-sent", "ice-connected", "peer-first-video"];
        client.wait_for(until[random.random_range(0..until.len())]);
        Self::Client { _client: client }
    }
}

/// Threads, descriptors and memory, when no other member is left and everything is idle.
fn usage(client: &mut Client, server: &mut Server, page: &Page) -> Vec<(&'static str, f64)> {
    let alone = "callbin.state().connections === 1 && callbin.peers().length === 1";
    page.wait_for("the page to be alone with red", alone, DEADLINE);
    let mut steady = 0;
    let mut last = 0;
    wait_until("steady threads of the client", DEADLINE, || {
        let threads = client.process().threads();
        steady = if threads == last { steady + 1 } else { 0 };
        last = threads;
        (steady > 200).then_some(())
    });
    let mut figures =
        vec![("connections of the page", page.eval("callbin.state().connections").as_f64().unwrap_or(99.0))];
    for (names, process) in [(CLIENT_USES, client.process()), (SERVER_USES, server.process())] {
        let values = [process.threads() as f64, process.descriptors() as f64, process.memory() as f64];
        figures.extend(names.into_iter().zip(values));
    }
    figures
}

const CLIENT_USES: [&str; 3] = ["threads of the client", "descriptors of the client", "memory of the client"];
const SERVER_USES: [&str; 3] = ["threads of the server", "descriptors of the server", "memory of the server"];
