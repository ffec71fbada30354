//! Rooms in real Chromium: pages that come, go and come back.

use callbin_tests::{Browser, BrowserOptions, DEADLINE, Page, Server, Socket};

const WWW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../www");

struct Set {
    server: Server,
    browser: Browser,
}

impl Set {
    fn up() -> Self {
        let browser = Browser::start(BrowserOptions::default());
        Self { server: Server::start(&["--www", WWW]), browser }
    }

    #[track_caller]
    fn open(&self, query: &str) -> Page {
        self.browser.open(&format!("{}?{query}", self.server.url()))
    }

    #[track_caller]
    fn join(&self, id: &str) -> Page {
        self.open(&format!("room=r&id={id}&join=1"))
    }
}

/// Waits until the page shows exactly these, connected, and has no connection more.
#[track_caller]
fn assert_meets(page: &Page, uids: &[&str]) {
    let uids = serde_json::json!(uids);
    let js = format!(
        "(() => {{ const want = {uids}.sort().join(); \
         const connected = callbin.peers().filter((p) => p.state === 'connected').map((p) => p.uid); \
         const shown = [...document.querySelectorAll('video[data-peer]')].map((v) => v.dataset.peer); \
         return connected.sort().join() === want && shown.sort().join() === want \
           && callbin.state().connections === {uids}.length; }})()"
    );
    page.wait_for(&format!("exactly {uids}"), &js, DEADLINE);
}

#[track_caller]
fn assert_sees(page: &Page, uid: &str) {
    let probe = page.video_probe(uid);
    assert!(probe.g > 60.0 && probe.g > 2.0 * probe.r && probe.motion > 0.02, "{uid}: {probe:?}");
}

#[test]
fn three_pages_meet_leave_and_come_back() {
    let set = Set::up();
    let anna = set.join("anna");
    anna.wait_for_state("in-room");
    assert_eq!(anna.text("#status"), "In the room");
    let berta = set.join("berta");
    assert_meets(&berta, &["anna"]);
    let clara = set.join("clara");
    assert_meets(&anna, &["berta", "clara"]);
    assert_meets(&berta, &["anna", "clara"]);
    assert_meets(&clara, &["anna", "berta"]);
    for (page, others) in
        [(&anna, ["berta", "clara"]), (&berta, ["anna", "clara"]), (&clara, ["anna", "berta"])]
    {
        for uid in others {
            assert_sees(page, uid);
        }
    }
    anna.wait_for_sound("clara", 0.005);

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
        assert_meets(&anna, &["clara"]);
        berta.wait_for_state("ready");
        assert_eq!(berta.eval("callbin.state().connections"), 0);
        berta.type_text("#room", "r");
        berta.click("#join");
        assert_meets(&anna, &["berta", "clara"]);
        assert_meets(&berta, &["anna", "clara"]);
    }
    drop(clara); // its window is closed
    assert_meets(&anna, &["berta"]);
    assert_sees(&anna, "berta");
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn the_lobby_asks_for_name_and_room_and_joins() {
    let set = Set::up();
    let page = set.open("room=studio");
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
    let set = Set::up();
    let _first = Socket::register(&set.server, "anna");
    let page = set.join("anna");
    page.wait_for_state("refused");
    assert_eq!(page.eval("document.querySelector('#lobby').hidden"), false);
    page.type_text("#name", "berta");
    page.click("#join");
    page.wait_for_state("in-room");
}

#[test]
fn the_room_meets_again_after_the_server_died() {
    let mut set = Set::up();
    let port = set.server.port();
    let anna = set.join("anna");
    anna.wait_for_state("in-room");
    let berta = set.join("berta");
    assert_meets(&anna, &["berta"]);
    set.server.process().signal("KILL");
    set.server.process().wait();
    for page in [&anna, &berta] {
        page.wait_for_state("reconnecting");
    }
    // Media goes from peer to peer: it needs no server.
    let before = anna.frames_decoded("berta");
    anna.wait_for("more frames", &format!("callbin.peers()[0].framesDecoded > {before} + 10"), DEADLINE);

    // Who joins again is met anew; until then the old connection is kept.
    for page in [&anna, &berta] {
        page.eval("document.querySelector('video[data-peer]').dataset.old = true");
    }
    set.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    for (page, other) in [(&anna, "berta"), (&berta, "anna")] {
        page.wait_for_state("in-room");
        page.wait_for("a new connection", "!document.querySelector('video[data-old]')", DEADLINE);
        assert_meets(page, &[other]);
        assert_sees(page, other);
    }
}

#[test]
fn a_member_that_answers_garbage_costs_only_its_own_tile() {
    let set = Set::up();
    let anna = set.join("anna");
    anna.wait_for_state("in-room");
    let mut bad = Socket::register(&set.server, "bad");
    bad.send("ROOM r");
    bad.expect("ROOM_OK anna");
    bad.send(r#"ROOM_PEER_MSG anna {"sdp":{"type":"offer","sdp":"garbage"}}"#);
    for _ in 0..1000 {
        bad.send(r#"ROOM_PEER_MSG anna {"ice":{"candidate":"garbage","sdpMLineIndex":0}}"#);
    }
    anna.wait_for_peer("bad", "failed");
    assert!(anna.text(".veil p").starts_with("Failed: negotiation failed"), "{}", anna.text(".veil p"));

    let berta = set.join("berta");
    berta.wait_for_peer("anna", "connected");
    assert_sees(&anna, "berta");
    assert_sees(&berta, "anna");
    anna.click(".veil .retry");
    let offer = bad.receive_text();
    assert!(offer.starts_with("ROOM_PEER_JOINED berta") || offer.contains("\"offer\""), "{offer}");
    drop(bad);
    assert_meets(&anna, &["berta"]);
}

#[test]
fn four_participants_share_the_camera_at_360_lines() {
    let set = Set::up();
    let pages: Vec<Page> = ["p1", "p2", "p3", "p4"].iter().map(|id| set.join(id)).collect();
    let first = pages.first().expect("there are four");
    assert_meets(first, &["p2", "p3", "p4"]);
    first.wait_for(
        "640×360 or less sent to each, and pictures of all",
        "Object.values(callbin.stats()).length === 3 && Object.values(callbin.stats()).every((s) => \
         s.videoOut?.height > 0 && s.videoOut.height <= 360 && s.videoIn?.fps > 0)",
        DEADLINE,
    );
}
