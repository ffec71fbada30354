//! Rooms through a real media node with clients that know nothing of it: `callbin room` and the page in Chromium.

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Page, Server, client::Event, machine, process::signal,
};

/// Uids, colours and tones of the members.
type Member = (&'static str, [u8; 3], u32);
const RED: Member = ("red", [255, 0, 0], 440);
const GREEN: Member = ("green", [0, 255, 0], 660);
const BLUE: Member = ("blue", [0, 0, 255], 880);

/// Keeps the page's connections.
const WATCH: &str = "window.made = []; \
    window.RTCPeerConnection = class extends RTCPeerConnection { \
      constructor(...rest) { super(...rest); made.push(this); } };";

/// Of all connections one sends a picture, with the bit rate of a 1-1 call.
const WHOLE: &str = "(() => { const sends = made.filter((pc) => pc.connectionState === 'connected') \
      .flatMap((pc) => pc.getTransceivers()).filter((it) => it.receiver.track.kind === 'video' && it.currentDirection.startsWith('send')); \
    return sends.length === 1 && sends[0].sender.getParameters().encodings[0].maxBitrate === 2000000; })()";

fn server() -> Server {
    let server = Server::start(&["--media", "--media-arg=--listen=[::]:0", "--node-rooms", "stage-*"]);
    server.wait_for_log("media node attached");
    server
}

fn join(server: &Server, (name, _, hz): Member) -> Client {
    let hz = hz.to_string();
    let args = ["room", "stage-1", "--id", name, "--video-pattern", name, "--audio-freq", &hz];
    let mut client = Client::start(server, &[&args[..], &["--size", "160x120"]].concat());
    client.wait_for("joined");
    client
}

fn open(browser: &Browser, server: &Server, query: &str) -> Page {
    let page = browser.open("about:blank");
    page.before_load(WATCH);
    page.go(&format!("{}?{query}", server.url()));
    page.wait_for_state("in-room");
    page
}

/// Waits until `client` receives the picture and the sound of `other`.
#[track_caller]
fn expect(client: &mut Client, (name, color, hz): Member) {
    client.wait_for_stats(&format!("{name}'s colour and tone"), |stats| {
        let near = |seen: [u8; 3]| seen.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 24);
        stats.peer() == Some(name)
            && stats.color().is_some_and(near)
            && stats.number("/video/fps") > 5.0
            && (stats.number("/audio/pitch_hz") - f64::from(hz)).abs() < 15.0
    });
}

/// Waits until `client` receives the page's fake camera and its beep.
#[track_caller]
fn expect_page(client: &mut Client) {
    client.wait_for_stats("the page's camera", |stats| {
        let is_green =
            stats.color().is_some_and(|[r, g, b]| g > 60 && u16::from(g) > 2 * u16::from(r.max(b)));
        stats.peer() == Some("page") && is_green && stats.number("/video/fps") > 1.0
    });
    client.wait_for_stats("the page's beep", |stats| {
        stats.peer() == Some("page") && stats.number("/audio/level_db") > -40.0
    });
}

#[track_caller]
fn sees(page: &Page, (name, color, _): Member) {
    page.wait_for_peer(name, "connected");
    let probe = page.video_probe(name);
    let near =
        [probe.r, probe.g, probe.b].iter().zip(color).all(|(seen, it)| (seen - f64::from(it)).abs() < 60.0);
    assert!(near, "{name}: {probe:?}");
    page.wait_for_sound(name, 0.02);
}

fn is_of<'a>(name: &'a str) -> impl Fn(&Event) -> bool + 'a {
    move |stats| stats.peer() == Some(name)
}

/// Fails unless a client sends to the node only.
#[track_caller]
fn assert_sends_once(client: &mut Client, others: &[&str]) {
    let to_node = |stats: &Event| is_of("0")(stats) && stats.number("/sent/video_frames") > 30.0;
    client.wait_for_stats("frames to the node", to_node);
    for other in others {
        client.forget();
        let stats = client.wait_for_stats(&format!("statistics of {other}"), is_of(other));
        for counter in ["/sent/video_frames", "/sent/audio_frames"] {
            assert_eq!(stats.number(counter), 0.0, "{counter} to {other}: {:?}", stats.json());
        }
    }
}

/// The process id of the node that the server has started last.
fn node(server: &Server) -> u32 {
    let log = server.log();
    let line = log.lines().rev().find_map(|line| line.split_once("media node started pid="));
    line.and_then(|(_, pid)| pid.trim().parse().ok()).expect("a node was started")
}

#[test]
fn members_that_send_once_see_and_hear_each_other() {
    let _machine = machine::shared();
    let server = server();
    let mut red = join(&server, RED);
    let mut green = join(&server, GREEN);
    let mut blue = join(&server, BLUE);
    let browser = Browser::start(BrowserOptions::default());
    let page = open(&browser, &server, "room=stage-1&id=page&join=1");
    for (client, others) in [(&mut red, [GREEN, BLUE]), (&mut green, [RED, BLUE]), (&mut blue, [RED, GREEN])]
    {
        for other in others {
            expect(client, other);
        }
        expect_page(client);
    }
    for member in [RED, GREEN, BLUE] {
        sees(&page, member);
    }
    assert_sends_once(&mut red, &["green", "blue", "page"]);
    assert_sends_once(&mut blue, &["red", "green", "page"]);
    let sending = page.eval(
        "Promise.all(made.filter((pc) => pc.connectionState === 'connected').map(async (pc) => \
           [...(await pc.getStats()).values()].filter((it) => it.type === 'outbound-rtp' && it.packetsSent > 0).length)) \
         .then((counts) => counts.sort().join())",
    );
    assert_eq!(sending, "0,0,0,2", "picture and sound, to the node");
    page.wait_for("the picture in full quality", WHOLE, DEADLINE);
    assert_eq!(page.eval("document.querySelectorAll('.tile:not(.self)').length"), 3, "none for the node");
    page.click("#show-chat");
    page.type_text("#chat-text", "hi");
    page.press("Enter");
    let told = "document.querySelector('#notice-text').textContent.includes('passes no texts on')";
    page.wait_for("the words about texts", told, DEADLINE);
    page.assert_no_console_errors();

    // One leaves and comes back under its uid.
    blue.hang_up();
    for client in [&mut red, &mut green] {
        client.wait_for_peer("blue", "peer-left");
        client.forget();
    }
    page.wait_for("blue to be gone", "!callbin.peers().some((peer) => peer.uid === 'blue')", DEADLINE);
    let mut blue = join(&server, BLUE);
    expect(&mut red, BLUE);
    expect(&mut green, BLUE);
    expect(&mut blue, RED);
    sees(&page, BLUE);

    // The node is killed.
    let lost = node(&server);
    signal(lost, "KILL");
    for client in [&mut red, &mut green, &mut blue] {
        client.wait_for_peer("0", "peer-left");
        client.forget();
    }
    for (client, others) in [(&mut red, [GREEN, BLUE]), (&mut green, [RED, BLUE]), (&mut blue, [RED, GREEN])]
    {
        for other in others {
            expect(client, other);
        }
        expect_page(client);
    }
    assert_ne!(node(&server), lost);
    for member in [RED, GREEN, BLUE] {
        sees(&page, member);
    }
    assert_sends_once(&mut red, &["green", "blue", "page"]);
}

#[test]
fn a_page_that_is_alone_with_the_node_says_so() {
    let _machine = machine::shared();
    let server = server();
    let browser = Browser::start(BrowserOptions::default());
    let page = open(&browser, &server, "room=stage-1&id=page&join=1");
    page.wait_for_peer("0", "connected");
    assert_eq!(page.text("#alone"), "Nobody else is here yet. Send somebody the invite link.");
    assert_eq!(page.eval("document.querySelectorAll('.tile:not(.self)').length"), 0);
    assert_eq!(page.text("#news"), "");
    page.assert_no_console_errors();
}

/// One that only receives has nothing for the node, and gets the others.
#[test]
fn one_that_only_receives_gets_the_others() {
    let _machine = machine::shared();
    let server = server();
    let mut red = join(&server, RED);
    let mut watcher = Client::start(&server, &["room", "stage-1", "--id", "watcher", "--receive-only"]);
    watcher.wait_for("joined");
    watcher.wait_for_peer("0", "peer-left");
    red.wait_for_peer("watcher", "peer-left");
    expect(&mut watcher, RED);
    let mut green = join(&server, GREEN);
    expect(&mut watcher, GREEN);
    expect(&mut red, GREEN);
    expect(&mut green, RED);
}
