//! The page publishes a stream to a media node and plays one, in Chromium and Firefox.

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Engine, Page, Server, machine, process::signal,
};

/// Counts what the page asks of the browser.
const ASKED: &str = "window.asked = 0; \
    for (const name of window.MediaDevices ? ['getUserMedia', 'getDisplayMedia'] : []) { \
      const real = MediaDevices.prototype[name]; \
      MediaDevices.prototype[name] = function (...rest) { asked += 1; return real.apply(this, rest); }; }";

fn open(browser: &Browser, server: &Server, query: &str) -> Page {
    let page = browser.open("about:blank");
    page.before_load(ASKED);
    page.go(&format!("{}?{query}", server.url()));
    page
}

fn play(server: &Server, stream: &str) -> Client {
    Client::start(server, &["play", &format!("{}whep/{stream}", server.url()), "--expect-video-frames", "20"])
}

/// The process id of the node that the server has started last.
fn node(server: &Server) -> u32 {
    let log = server.log();
    let line = log.lines().rev().find_map(|line| line.split_once("media node started pid="));
    line.and_then(|(_, pid)| pid.trim().parse().ok()).expect("a node was started")
}

#[track_caller]
fn wait_for_frames(page: &Page, uid: &str) {
    let before = page.frames_decoded(uid);
    page.wait_for("frames", &format!("callbin.peers()[0]?.framesDecoded > {before} + 10"), DEADLINE);
}

fn publishes_and_plays(engine: Engine) {
    let _machine = machine::shared();
    let server = Server::with_media();
    let browser = Browser::start(BrowserOptions { engine, fake_devices: true, ..BrowserOptions::default() });

    // A link alone sends nothing.
    let camera = open(&browser, &server, "publish=cam");
    camera.wait_for_state("ready");
    assert_eq!(camera.text("#lobby-heading"), "Publish a stream");
    let early = open(&browser, &server, "play=cam");
    early.wait_for(
        "the absence",
        "document.querySelector('#alone').textContent.includes('not there')",
        DEADLINE,
    );

    camera.click("#call");
    camera.wait_for("the stream", "document.querySelector('#status').textContent === 'On the air'", DEADLINE);
    assert_eq!(play(&server, "cam").exit_code(), 0);
    // Who was early gets it now, without devices of its own.
    early.wait_for_peer("cam", "connected");
    wait_for_frames(&early, "cam");
    assert_eq!(early.text("#status"), "Playing");
    assert_eq!(early.eval("asked"), 0);

    // A second publisher is refused, and says why.
    let second = open(&browser, &server, "publish=cam&join=1");
    second.wait_for(
        "the refusal",
        "document.querySelector('#notice-text').textContent.includes('another publisher')",
        DEADLINE,
    );
    second.click("#hang-up");
    second.wait_for("the lobby", "document.body.dataset.view === 'lobby'", DEADLINE);

    // Both come back by themselves when the node is lost.
    camera.eval(
        "window.lost = false; \
         setInterval(() => { lost ||= document.querySelector('#status').textContent !== 'On the air'; }, 20); null",
    );
    signal(node(&server), "KILL");
    early.wait_for("the loss", "callbin.peers()[0]?.state !== 'connected'", DEADLINE);
    camera.wait_for("the loss", "lost", DEADLINE);
    camera.wait_for("the stream", "document.querySelector('#status').textContent === 'On the air'", DEADLINE);
    early.wait_for_peer("cam", "connected");
    wait_for_frames(&early, "cam");

    // Hanging up ends the sessions at the server at once.
    camera.click("#hang-up");
    server.wait_for_log("stream is gone");
    early.click("#hang-up");
    for page in [&camera, &early] {
        page.wait_for("no connection", "callbin.state().connections === 0", DEADLINE);
    }
}

#[test]
fn chromium_publishes_and_plays() {
    publishes_and_plays(Engine::Chromium);
}

#[test]
fn firefox_publishes_and_plays() {
    publishes_and_plays(Engine::Firefox);
}
