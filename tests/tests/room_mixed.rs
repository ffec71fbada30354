//! One room of GStreamer clients and browser pages: everybody sees and hears everybody, and who stays does
//! not notice how the others go.

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Page, Server, client::Event, wait_until};

/// Small pictures: what is tested is the room, on a machine with two cores.
const SMALL: [&str; 6] = ["--size", "320x240", "--fps", "15", "--view", "none"];

/// Who sends which colour and tone.
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

/// A client gets another's colour and tone, under its uid.
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

/// A client gets Chromium's fake camera, green with something moving, and its beep.
#[track_caller]
fn assert_client_gets_page(client: &mut Client, uid: &str) {
    let about = |event: &Event| event.name() == "stats" && event.peer() == Some(uid);
    client.wait_for_any(&format!("{uid}'s camera"), DEADLINE, |event| {
        let green = event.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b));
        about(event) && green && event.number("/video/motion") > 0.02
    });
    client.wait_for_any(&format!("{uid}'s beep"), DEADLINE, |event| {
        about(event) && event.number("/audio/level_db") > -50.0
    });
}

#[track_caller]
fn assert_page_gets_client(page: &Page, (uid, [r, g, b], _): (&str, [u8; 3], f64)) {
    page.wait_for_peer(uid, "connected");
    let probe = page.video_probe(uid);
    let near = |seen: f64, sent: u8| (seen - f64::from(sent)).abs() < 40.0;
    assert!(near(probe.r, r) && near(probe.g, g) && near(probe.b, b), "{uid}: {probe:?}");
    assert!(page.audio_level(uid) > 0.01, "{uid} is silent");
}

#[track_caller]
fn assert_page_gets_page(page: &Page, uid: &str) {
    page.wait_for_peer(uid, "connected");
    let probe = page.video_probe(uid);
    assert!(probe.g > 60.0 && probe.g > 2.0 * probe.r && probe.motion > 0.02, "{uid}: {probe:?}");
    assert!(page.audio_level(uid) > 0.005, "{uid} is silent");
}

/// Frames of a peer that a client decodes over some seconds, per second.
#[track_caller]
fn frame_rate(client: &mut Client, uid: &str, seconds: f64) -> f64 {
    let first = client.fresh_stats(uid);
    let until = first.ms() as f64 + seconds * 1000.0;
    let last = client.wait_for_any("later stats", DEADLINE, |event| {
        event.name() == "stats" && event.peer() == Some(uid) && event.ms() as f64 >= until
    });
    let frames = last.number("/video/frames") - first.number("/video/frames");
    frames * 1000.0 / (last.ms() - first.ms()) as f64
}

/// Who stays keeps at least nine tenths of the frames.
#[track_caller]
fn assert_undisturbed(client: &mut Client, uid: &str) {
    let rate = frame_rate(client, uid, 4.0);
    assert!(rate >= 0.9 * 15.0, "only {rate:.1} frames a second of {uid}");
}

#[test]
fn everybody_sees_and_hears_everybody_and_who_stays_is_not_disturbed() {
    let server = Server::start(&[]);
    let browser = Browser::start(BrowserOptions { window: (640, 480), ..BrowserOptions::default() });
    let mut clients: Vec<Client> = CLIENTS.into_iter().map(|client| join(&server, client)).collect();
    let pages = ["anna", "berta"].map(|id| page(&server, &browser, id));
    for (i, client) in clients.iter_mut().enumerate() {
        for (j, other) in CLIENTS.into_iter().enumerate() {
            if i != j {
                assert_client_gets_client(client, other);
            }
        }
        assert_client_gets_page(client, "anna");
        assert_client_gets_page(client, "berta");
    }
    for (page, other) in [(&pages[0], "berta"), (&pages[1], "anna")] {
        CLIENTS.into_iter().for_each(|client| assert_page_gets_client(page, client));
        assert_page_gets_page(page, other);
    }

    let [mut red, green, mut blue]: [Client; 3] = clients.try_into().expect("three clients");
    // One leaves by closing,
    green.hang_up();
    red.wait_for_peer("green", "peer-left");
    assert_undisturbed(&mut red, "blue");
    for page in &pages {
        page.wait_for("green to go", "!document.querySelector('video[data-peer=green]')", DEADLINE);
    }
    // comes back under the same uid,
    let mut green = join(&server, CLIENTS[1]);
    assert_client_gets_client(&mut red, CLIENTS[1]);
    assert_client_gets_client(&mut green, CLIENTS[2]);
    assert_page_gets_client(&pages[0], CLIENTS[1]);
    assert_undisturbed(&mut blue, "red");
    // and one is killed.
    green.process().signal("KILL");
    red.wait_for_peer("green", "peer-left");
    assert_undisturbed(&mut red, "blue");
    assert_undisturbed(&mut blue, "red");
    // A page goes, too.
    let [anna, berta] = pages;
    drop(anna);
    red.wait_for_peer("anna", "peer-left");
    berta.wait_for("anna to go", "!document.querySelector('video[data-peer=anna]')", DEADLINE);
    assert_undisturbed(&mut red, "blue");
    let before = berta.frames_decoded("red");
    wait_until("more of red in the page", DEADLINE, || {
        (berta.frames_decoded("red") > before + 30).then_some(())
    });
    berta.assert_no_console_errors();
}
