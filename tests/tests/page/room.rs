//! Rooms in real Chromium: pages that join, leave and return.

use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Engine, Page, Server, Site, Socket, WWW, machine,
};
use serde_json::Value;

/// What clips a picture at round corners: that would be work for each frame.
const ROUND_CLIP: &str = "(() => { \
    for (let node = document.querySelector('.tile video'); node; node = node.parentElement) { \
      const { overflow, borderRadius } = getComputedStyle(node); \
      if (overflow !== 'visible' && borderRadius !== '0px') return node.className; \
    } \
    return null; })()";

#[test]
fn three_pages_meet_leave_and_come_back() {
    let _machine = machine::shared();
    let site = Site::up();
    let anna = site.join("anna");
    anna.wait_for_state("in-room");
    assert_eq!(anna.text("#status"), "In the room");
    let berta = site.join("berta");
    berta.wait_for_exactly(&["anna"]);
    let clara = site.join("clara");
    anna.wait_for_exactly(&["berta", "clara"]);
    berta.wait_for_exactly(&["anna", "clara"]);
    clara.wait_for_exactly(&["anna", "berta"]);
    for (page, others) in
        [(&anna, ["berta", "clara"]), (&berta, ["anna", "clara"]), (&clara, ["anna", "berta"])]
    {
        for uid in others {
            page.assert_sees(uid);
        }
    }
    anna.wait_for_sound("clara", 0.005);
    anna.wait_for("the mark of who speaks", "document.querySelector('.tile.speaking:not(.self)')", DEADLINE);
    assert_eq!(anna.eval(ROUND_CLIP), Value::Null);

    clara.wait_for("the chat", "callbin.peers().every((p) => p.chat)", DEADLINE);
    clara.click("#show-chat");
    clara.type_text("#chat-text", "hello all");
    clara.click("#chat-send");
    for page in [&anna, &berta] {
        page.wait_for(
            "the message",
            "document.querySelector('#messages').textContent.includes('hello all')",
            DEADLINE,
        );
    }

    for _ in 0..3 {
        berta.click("#hang-up");
        anna.wait_for_exactly(&["clara"]);
        berta.wait_for_state("ready");
        assert_eq!(berta.eval("callbin.state().connections"), 0);
        berta.type_text("#room", "r");
        berta.click("#join");
        anna.wait_for_exactly(&["berta", "clara"]);
        berta.wait_for_exactly(&["anna", "clara"]);
    }
    drop(clara); // its window is closed
    anna.wait_for_exactly(&["berta"]);
    anna.assert_sees("berta");
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn chromium_and_firefox_meet_in_a_room() {
    let _machine = machine::alone(); // two browsers encode
    let site = Site::up();
    let firefox = Browser::start(BrowserOptions { engine: Engine::Firefox, ..BrowserOptions::default() });
    let join = |id: &str| firefox.open(&format!("{}?room=r&id={id}&join=1", site.server.url()));
    // Each of them offers once.
    let (anna, berta) = (site.join("anna"), join("berta"));
    anna.wait_for_exactly(&["berta"]);
    let clara = site.join("clara");
    anna.wait_for_exactly(&["berta", "clara"]);
    for (page, other) in [(&berta, "anna"), (&berta, "clara"), (&anna, "clara")] {
        page.assert_sees(other);
    }
    berta.wait_for("sound", "callbin.stats().anna?.audioIn?.kbps > 5", DEADLINE);
    for page in [&anna, &clara] {
        let before = page.frames_decoded("berta");
        page.wait_for(
            "pictures of Firefox",
            &format!("callbin.peers().find(({{ uid }}) => uid === 'berta').framesDecoded > {before} + 20"),
            DEADLINE,
        );
        page.wait_for_sound("berta", 0.005);
    }
    for (from, to, text) in [(&anna, &berta, "from Chromium"), (&berta, &anna, "from Firefox")] {
        from.wait_for("the chat", "callbin.peers().every(({ chat }) => chat)", DEADLINE);
        from.click("#show-chat");
        from.type_text("#chat-text", text);
        from.press("Enter");
        let shown = format!("document.querySelector('#messages').textContent.includes({text:?})");
        to.wait_for("the message", &shown, DEADLINE);
    }
    // Firefox leaves and comes back.
    berta.press("Escape");
    berta.click("#hang-up");
    anna.wait_for_exactly(&["clara"]);
    berta.wait_for_state("ready");
    berta.type_text("#room", "r");
    berta.click("#join");
    berta.wait_for_exactly(&["anna", "clara"]);
    berta.assert_sees("anna");
    for page in [&anna, &berta, &clara] {
        page.assert_no_console_errors();
    }
}

#[test]
fn the_lobby_asks_for_name_and_room_and_joins() {
    let _machine = machine::shared();
    let site = Site::up();
    let page = site.open("room=studio");
    assert_eq!(page.text("#lobby-heading"), "Join studio");
    assert_eq!(page.eval("callbin.state().state"), "offline");
    page.type_text("#name", "Jane Doe");
    page.click("#join");
    page.wait_for_state("in-room");
    assert_eq!((page.text("#own-id"), page.text("#title")), ("Jane-Doe".into(), "studio".into()));
    assert_eq!(page.eval("callbin.state().room"), "studio");
    page.assert_no_console_errors();
}

#[test]
fn a_room_that_cannot_be_and_a_name_that_is_taken_lead_back_to_the_lobby() {
    let _machine = machine::shared();
    let site = Site::up();
    let _first = Socket::register(&site.server, "anna");
    let page = site.open("room=r&id=anna&join=1");
    page.wait_for_state("refused");
    assert_eq!(page.eval("document.querySelector('#lobby').hidden"), false);
    page.type_text("#name", "berta");
    page.click("#join");
    page.wait_for_state("in-room");
}

#[test]
fn the_room_meets_again_after_the_server_died() {
    let _machine = machine::shared();
    let mut site = Site::up();
    let port = site.server.port();
    let anna = site.join("anna");
    anna.wait_for_state("in-room");
    let berta = site.join("berta");
    anna.wait_for_exactly(&["berta"]);
    site.server.process().kill();
    for page in [&anna, &berta] {
        page.wait_for_state("reconnecting");
    }
    // Media flow between peers, without the server.
    let before = anna.frames_decoded("berta");
    anna.wait_for("more frames", &format!("callbin.peers()[0].framesDecoded > {before} + 10"), DEADLINE);

    // A page that rejoins gets a new connection; until then the old one is kept.
    for page in [&anna, &berta] {
        page.eval("document.querySelector('video[data-peer]').dataset.old = true");
    }
    site.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    for (page, other) in [(&anna, "berta"), (&berta, "anna")] {
        page.wait_for_state("in-room");
        page.wait_for("a new connection", "!document.querySelector('video[data-old]')", DEADLINE);
        page.wait_for_exactly(&[other]);
        page.assert_sees(other);
    }
}

#[test]
fn a_member_that_answers_garbage_costs_only_its_own_tile() {
    let _machine = machine::shared();
    let site = Site::up();
    let anna = join_watched(&site, "anna");
    let mut bad = Socket::register(&site.server, "bad");
    bad.send("ROOM r");
    bad.expect("ROOM_OK anna");
    bad.send(r#"ROOM_PEER_MSG anna {"sdp":{"type":"offer","sdp":"garbage"}}"#);
    for _ in 0..1000 {
        bad.send(r#"ROOM_PEER_MSG anna {"ice":{"candidate":"garbage","sdpMLineIndex":0}}"#);
    }
    anna.wait_for_peer("bad", "failed");
    assert_eq!(anna.text(".veil p"), "The two sides could not agree on how to send sound and pictures.");

    let berta = site.join("berta");
    berta.wait_for_peer("anna", "connected");
    anna.assert_sees("berta");
    berta.assert_sees("anna");
    let whole = "(() => { const [connection] = made.filter((c) => c.connectionState === 'connected'); \
         const sender = connection.getSenders().find((s) => s.track?.kind === 'video'); \
         return sender.getParameters().encodings[0].maxBitrate === 2000000; })()";
    anna.wait_for("a whole share, as who failed needs none", whole, DEADLINE);
    anna.click(".veil .retry");
    anna.wait_for("half a share", &whole.replace("2000000", "600000"), DEADLINE);
    let offer = bad.receive_text();
    assert!(offer.starts_with("ROOM_PEER_JOINED berta") || offer.contains("\"offer\""), "{offer}");
    drop(bad);
    anna.wait_for_exactly(&["berta"]);
}

#[test]
fn on_a_narrow_phone_every_control_can_be_pressed_beside_the_chat() {
    let _machine = machine::shared();
    let site = Site::with(BrowserOptions { window: (320, 568), ..BrowserOptions::default() });
    let page = site.join("anna");
    page.click("#show-chat");
    page.wait_for("the chat", "document.querySelector('#chat').checkVisibility()", DEADLINE);
    let covered = "[...document.querySelectorAll('#controls button')].filter((button) => button.checkVisibility()).filter((button) => { \
         const { left, right, top, bottom } = button.getBoundingClientRect(); \
         return [[left + 4, top + bottom], [right - 4, top + bottom], [(left + right) / 2, 2 * top + 8]] \
           .some(([x, y]) => !button.contains(document.elementFromPoint(x, y / 2))); \
         }).map(({ id }) => id).join()";
    assert_eq!(page.eval(covered), "");
    page.click("#more"); // has the others
    assert_eq!(page.eval("document.querySelectorAll('#menu button').length"), 4);
    page.press("Escape");
    page.wait_for("the menu to close", "!document.querySelector('#menu').checkVisibility()", DEADLINE);
    page.type_text("#chat-text", "hello");
    page.click("#chat-send");
    page.wait_for("the answer", "!document.querySelector('#notice').hidden", DEADLINE);
    page.click("#hang-up");
    page.wait_for_state("ready");
}

/// The luminance difference between the text and background colours of an element under the pointer, 0 to 1.
const CONTRAST: &str = "(selector) => { const { color, backgroundColor } = getComputedStyle(document.querySelector(selector)); \
     const context = Object.assign(document.createElement('canvas'), { width: 1, height: 1 }).getContext('2d'); \
     const luminance = (style) => { context.fillStyle = style; context.fillRect(0, 0, 1, 1); \
       const [r, g, b] = context.getImageData(0, 0, 1, 1).data; return (0.21 * r + 0.72 * g + 0.07 * b) / 255; }; \
     return Math.abs(luminance(color) - luminance(backgroundColor)); }";

#[test]
fn what_the_pointer_is_on_can_be_seen_and_figures_fit_the_smallest_tile() {
    let _machine = machine::shared();
    let site = Site::up();
    let page = site.open("room=r&id=anna");
    page.wait_for("the camera", "callbin.state().camera && callbin.state().microphone", DEADLINE);
    let is_readable = |selector: &str| {
        page.hover(selector);
        let contrast = format!("({CONTRAST})({selector:?}) > 0.4");
        page.wait_for(&format!("{selector} to be seen"), &contrast, DEADLINE);
    };
    let buttons =
        |prefix: &str, last: &str| [format!("#{prefix}mic"), format!("#{prefix}camera"), last.to_owned()];
    for (begin, prefix, last) in [(None, "preview-", "#preview-mic"), (Some("#join"), "", "#hang-up")] {
        if let Some(button) = begin {
            page.click(button);
            page.wait_for_state("in-room");
        }
        for scheme in ["light", "dark"] {
            page.set_color_scheme(scheme);
            for button in buttons(prefix, last) {
                is_readable(&button);
            }
            for button in [format!("#{prefix}mic"), format!("#{prefix}camera")] {
                page.click(&button); // now off
                page.wait_for(
                    "it to be off",
                    &format!("document.querySelector({button:?}).matches('.off')"),
                    DEADLINE,
                );
                is_readable(&button);
                page.click(&button);
                page.wait_for(
                    "it to be on",
                    &format!("!document.querySelector({button:?}).matches('.off')"),
                    DEADLINE,
                );
            }
        }
    }
    let clipped = "(() => { const tile = document.querySelector('.tile.self'); tile.style.width = '150px'; \
         const stats = tile.querySelector('.tile-stats'); stats.hidden = false; \
         for (const [tag, text] of [['dt', 'in'], ['dd', '1280×720 30 fps 2000 kbit/s VP8']]) \
           stats.append(Object.assign(document.createElement(tag), { textContent: text })); \
         return stats.scrollWidth - stats.clientWidth; })()";
    assert_eq!(page.eval(clipped), 0);
}

/// Makes a page record each new connection in `made`.
const KEEP_CONNECTIONS: &str = "window.made = []; window.RTCPeerConnection = class extends RTCPeerConnection { \
     constructor(configuration) { super(configuration); made.push(this); } }; true";

/// Joins from the lobby, and records the page's connections.
#[track_caller]
fn join_watched(site: &Site, id: &str) -> Page {
    let page = site.open(&format!("room=r&id={id}"));
    page.eval(KEEP_CONNECTIONS);
    page.wait_for("the camera", "callbin.state().camera", DEADLINE);
    page.click("#join");
    page.wait_for_state("in-room");
    page
}

/// Waits until the camera goes to this many peers with the parameters of www/bitrate.js: those set on the senders, and
/// those in `getStats()`, unless two cores are too few for that.
#[track_caller]
fn wait_for_shares(page: &Page, peers: usize, height: u32, bitrate: u32) {
    let js = format!(
        "(async () => {{ let good = 0; \
         const lacks_cpu = (out) => out.frameHeight < {height} && out.qualityLimitationReason === 'cpu'; \
         for (const connection of made.filter((c) => c.connectionState === 'connected')) {{ \
           const sender = connection.getSenders().find((s) => s.track?.kind === 'video'); \
           const [encoding] = sender.getParameters().encodings; \
           const scaled = sender.track.getSettings().height / encoding.scaleResolutionDownBy; \
           const out = [...(await sender.getStats()).values()].find((s) => s.type === 'outbound-rtp'); \
           if (encoding.maxBitrate === {bitrate} && encoding.maxFramerate === 30 && Math.round(scaled) === {height} \
             && (out.frameHeight === {height} || lacks_cpu(out)) && out.targetBitrate <= {bitrate} && out.framesPerSecond > 0) good += 1; \
         }} return good === {peers} && callbin.state().connections === {peers}; }})()"
    );
    let until = std::time::Instant::now() + DEADLINE;
    while page.eval(&js) != true {
        assert!(std::time::Instant::now() < until, "not {peers} × {height} lines\n{}", page.describe());
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
}

#[test]
fn four_participants_share_the_camera_as_promised() {
    let _machine = machine::alone();
    let site = Site::with(BrowserOptions { full_quality: true, ..BrowserOptions::default() });
    let first = join_watched(&site, "p1");
    let second = site.join("p2");
    wait_for_shares(&first, 1, 720, 2_000_000);
    let args = |id| ["room", "r", "--id", id, "--video-pattern", id, "--size", "640x360"];
    let mut clients = [Client::start(&site.server, &args("red")), Client::start(&site.server, &args("blue"))];
    first.wait_for_exactly(&["p2", "red", "blue"]);
    second.wait_for_exactly(&["p1", "red", "blue"]);
    wait_for_shares(&first, 3, 360, 600_000);
    first.wait_for(
        "pictures of all",
        "Object.values(callbin.stats()).every((s) => s.videoIn?.fps > 0)",
        DEADLINE,
    );
    second.assert_sees("p1");
    for client in &mut clients {
        client.wait_for_stats("640×360 of the first", |stats| {
            stats.peer() == Some("p1") && stats.number("/video/height") == 360.0
        });
    }
    for client in clients {
        client.hang_up();
    }
    wait_for_shares(&first, 1, 720, 2_000_000);
    first.assert_no_console_errors();
}

#[test]
fn a_page_and_a_client_that_both_try_again_settle_on_one_connection() {
    // The page, not the server, has to notice that the client is gone.
    let server = Server::start(&["--www", WWW, "--pong-timeout", "120"]);
    let site = Site::at(server, BrowserOptions::default());
    let page = join_watched(&site, "page");
    let mut red = Client::start(&site.server, &["room", "r", "--id", "red", "--video-pattern", "red"]);
    page.wait_for_exactly(&["red"]);
    red.process().signal("STOP");
    page.wait_for("the failure", "callbin.peers()[0]?.state === 'failed'", 2 * DEADLINE);
    let before = page.eval("made.length").as_u64().unwrap_or_default();
    page.click(".veil .retry");
    red.process().signal("CONT");
    red.forget();
    red.wait_for_peer("page", "peer-connected");
    page.wait_for_exactly(&["red"]);
    let probe = page.video_probe("red");
    assert!(probe.r > 200.0 && probe.g < 40.0, "{probe:?}");
    // Settled: during ten seconds of video no peer restarts.
    let made = page.eval("made.length").as_u64().unwrap_or_default();
    let frames = page.frames_decoded("red");
    page.wait_for(
        "ten seconds of pictures",
        &format!("callbin.peers()[0].framesDecoded > {frames} + 150"),
        DEADLINE,
    );
    assert_eq!(page.eval("made.length").as_u64(), Some(made));
    assert!(made - before <= 6, "{before} connections, then {made}");
    red.hang_up();
}
