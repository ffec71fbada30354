//! The page in real Chromium: 1-1 calls between pages, and with peers that are odd in one way or other.

use std::process::Command;

use callbin_tests::{Browser, BrowserOptions, DEADLINE, Page, Server, Socket, wait_until};
use serde_json::Value;

/// The page from the sources, so that its tests need no new server for each change.
const WWW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../www");

/// What the page calls the other side when it was called: the protocol doesn't say who calls.
const CALLER: &str = "caller";

struct Set {
    server: Server,
    browser: Browser,
}

impl Set {
    fn up() -> Self {
        Self::with(BrowserOptions::default())
    }

    fn with(options: BrowserOptions) -> Self {
        Self { server: Server::start(&["--www", WWW]), browser: Browser::start(options) }
    }

    #[track_caller]
    fn open(&self, query: &str) -> Page {
        self.browser.open(&format!("{}?{query}", self.server.url()))
    }

    /// A page that is registered and waits.
    #[track_caller]
    fn waiting(&self, id: &str) -> Page {
        let page = self.open(&format!("id={id}"));
        page.wait_for_state("ready");
        page
    }
}

/// Chromium's fake camera is green and moves, its fake microphone beeps.
#[track_caller]
fn assert_sees_and_hears(page: &Page, uid: &str) {
    let probe = page.video_probe(uid);
    assert!(probe.g > 60.0 && probe.g > 2.0 * probe.r && probe.g > 2.0 * probe.b, "{uid}: {probe:?}");
    assert!(probe.motion > 0.05, "{uid} stands still: {probe:?}");
    page.wait_for_sound(uid, 0.005);
}

#[track_caller]
fn assert_idle(page: &Page) {
    page.wait_for_state("ready");
    assert_eq!(page.eval("document.querySelectorAll('video[data-peer]').length"), 0);
    assert_eq!(page.eval("callbin.state().connections"), 0, "{}", page.describe());
}

#[test]
fn a_browser_leaves_nothing_behind_and_the_console_is_heard() {
    let set = Set::up();
    let page = set.waiting("anna");
    page.assert_no_console_errors();
    page.eval("document.body.setAttribute('style', 'color: red')"); // against the content security policy
    page.eval("setTimeout(() => { throw new Error('heard'); })");
    let heard = || (page.console_errors().len() >= 2).then(|| page.console_errors().join(" "));
    let heard = wait_until("two errors", DEADLINE, heard);
    assert!(heard.contains("Content Security Policy") && heard.contains("heard"), "{heard}");

    let pid = set.browser.pid().to_string();
    let group = || Command::new("pgrep").args(["-g", &pid]).output().expect("pgrep runs").stdout;
    let profile = set.browser.profile().to_owned();
    assert!(profile.is_dir() && !group().is_empty());
    drop(set.browser);
    assert!(!profile.exists() && group().is_empty());
}

#[test]
fn pages_call_each_other_in_both_directions_again_and_again() {
    let set = Set::up();
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna");
    berta.wait_for_peer("anna", "connected");
    anna.wait_for_peer(CALLER, "connected");
    assert_eq!((berta.text("#own-id"), berta.text("#status")), ("berta".into(), "In a call".into()));
    assert_sees_and_hears(&berta, "anna");
    assert_sees_and_hears(&anna, CALLER);

    berta.click("#hang-up");
    assert_idle(&anna);
    assert_idle(&berta);

    for _ in 0..3 {
        anna.type_text("#peer", "berta");
        anna.click("#call");
        anna.wait_for_peer("berta", "connected");
        berta.wait_for_peer(CALLER, "connected");
        berta.click("#hang-up");
        assert_idle(&anna);
        assert_idle(&berta);
    }
    anna.type_text("#peer", "berta");
    anna.press("Enter");
    anna.wait_for_peer("berta", "connected");
    assert_sees_and_hears(&anna, "berta");
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn the_other_side_can_be_asked_to_offer() {
    let set = Set::up();
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna&remote-offerer=1");
    berta.wait_for_peer("anna", "connected");
    assert_sees_and_hears(&berta, "anna");
    assert_sees_and_hears(&anna, CALLER);
}

#[test]
fn the_offer_request_is_sent_and_honoured_as_the_stock_page_does() {
    let set = Set::up();
    let mut callee = Socket::register(&set.server, "callee");
    let _asking = set.open("id=asking&call=callee&remote-offerer=1");
    callee.expect("OFFER_REQUEST");

    let asked = set.waiting("asked");
    let mut caller = Socket::register(&set.server, "caller-1");
    caller.send("SESSION asked");
    caller.expect("SESSION_OK");
    caller.send("OFFER_REQUEST");
    assert_eq!(json(&caller.receive_text())["sdp"]["type"], "offer");
    asked.wait_for_state("in-call");
}

#[test]
fn the_offer_comes_before_its_candidates_and_names_media_and_channel() {
    let set = Set::up();
    let mut callee = Socket::register(&set.server, "callee");
    let page = set.open("id=page&call=callee");
    let offer = json(&callee.receive_text());
    assert_eq!(offer["sdp"]["type"], "offer");
    let sdp = offer["sdp"]["sdp"].as_str().expect("the SDP is text");
    let media: Vec<_> = sdp.lines().filter_map(|line| line.strip_prefix("m=")?.split(' ').next()).collect();
    assert_eq!(media.len(), 3, "{media:?}");
    for kind in ["audio", "video", "application"] {
        assert!(media.contains(&kind), "{media:?}");
    }
    loop {
        let message = json(&callee.receive_text());
        let ice = &message["ice"];
        assert!(ice["sdpMLineIndex"].is_u64(), "{message}");
        assert!(ice["sdpMid"].is_string(), "{message}");
        if ice["candidate"] == "" {
            break;
        }
    }
    page.assert_no_console_errors();
}

#[test]
fn the_chat_goes_both_ways_whoever_made_the_channel() {
    let set = Set::up();
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna");
    for page in [&anna, &berta] {
        page.wait_for("the chat", "callbin.peers()[0]?.chat", DEADLINE);
        page.click("#show-chat");
    }
    for (from, to, text) in [(&anna, &berta, "hello <b>there</b>"), (&berta, &anna, "grüß dich 👋")] {
        from.type_text("#chat-text", text);
        from.press("Enter");
        let shown = format!("document.querySelector('#messages').textContent.includes({text:?})");
        to.wait_for("the message", &shown, DEADLINE);
        from.wait_for("one's own message", &shown, DEADLINE);
    }
    assert_eq!(berta.eval("document.querySelectorAll('#messages li b').length"), 2, "markup is text");
    anna.press("Escape");
    anna.wait_for("the chat to close", "document.querySelector('#chat').hidden", DEADLINE);
}

#[test]
fn a_taken_name_is_told_and_another_one_works() {
    let set = Set::up();
    let _first = Socket::register(&set.server, "anna");
    let page = set.open("id=anna");
    page.wait_for_state("refused");
    assert_eq!(page.text("#notice-text"), "The name “anna” is taken. Choose another one.");
    page.type_text("#name", "berta");
    page.press("Enter");
    page.wait_for_state("ready");
    assert_eq!(page.text("#own-id"), "berta");
    let mut probe = Socket::register(&set.server, "probe");
    probe.send("SESSION berta");
    probe.expect("SESSION_OK");
}

#[test]
fn a_peer_that_is_not_there_or_busy_is_told_and_can_be_called_again() {
    let set = Set::up();
    let page = set.open("id=page&call=nobody");
    page.wait_for("the notice", "!document.querySelector('#notice').hidden", DEADLINE);
    assert!(
        page.text("#notice-text").starts_with("“nobody” was not found."),
        "{}",
        page.text("#notice-text")
    );
    page.wait_for_state("ready");

    let mut one = Socket::register(&set.server, "one");
    let two = Socket::register(&set.server, "two");
    one.send("SESSION two");
    one.expect("SESSION_OK");
    page.type_text("#peer", "one");
    page.click("#call");
    page.wait_for(
        "the notice",
        "document.querySelector('#notice-text').textContent.includes('busy')",
        DEADLINE,
    );
    page.wait_for_state("ready");

    drop(two);
    one.close();
    let mut one = Socket::register(&set.server, "one");
    page.click("#call");
    assert_eq!(json(&one.receive_text())["sdp"]["type"], "offer");
    page.assert_no_console_errors();
}

#[test]
fn a_server_that_dies_and_comes_back_finds_the_page_again() {
    let mut set = Set::up();
    let port = set.server.port();
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna");
    berta.wait_for_peer("anna", "connected");
    set.server.process().signal("KILL");
    set.server.process().wait();
    for page in [&anna, &berta] {
        page.wait_for_state("reconnecting");
        assert_eq!(page.text("#status"), "Reconnecting…");
        page.wait_for("the call's end", "callbin.state().connections === 0", DEADLINE);
    }
    set.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    for page in [&anna, &berta] {
        assert_idle(page);
    }
    anna.type_text("#peer", "berta");
    anna.click("#call");
    anna.wait_for_peer("berta", "connected");
    assert_sees_and_hears(&anna, "berta");
}

#[test]
fn a_page_that_is_loaded_again_gets_its_name_back() {
    let set = Set::up();
    let page = set.waiting("anna");
    for _ in 0..3 {
        page.go(&format!("{}?id=anna", set.server.url()));
        page.wait_for_state("ready");
    }
    page.assert_no_console_errors();
}

#[test]
fn a_browser_without_devices_calls_and_sees() {
    let set = Set::up();
    let bare = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let anna = set.waiting("anna");
    let page = bare.open(&format!("{}?id=bare&call=anna", set.server.url()));
    page.wait_for_peer("anna", "connected");
    assert_sees_and_hears(&page, "anna");
    assert_eq!(page.eval("callbin.state().camera || callbin.state().microphone"), false);
    assert_eq!(anna.eval("callbin.stats().caller.videoIn?.framesDecoded ?? 0"), 0);
    page.click("#hang-up");
    assert_idle(&page);
    assert_eq!(page.text("#preview-empty"), "No camera found. The call works without.");

    anna.wait_for_state("ready");
    anna.type_text("#peer", "bare");
    anna.click("#call");
    page.wait_for_peer(CALLER, "connected");
    assert_sees_and_hears(&page, CALLER);
    page.assert_no_console_errors();
}

#[test]
fn forbidden_devices_are_told_and_the_call_works_without() {
    let set = Set::up();
    let blocked = Browser::start(BrowserOptions { block_devices: true, ..BrowserOptions::default() });
    let anna = set.waiting("anna");
    let page = blocked.open(&format!("{}?id=blocked", set.server.url()));
    page.wait_for(
        "the words",
        "/^Camera blocked/.test(document.querySelector('#preview-empty').textContent)",
        DEADLINE,
    );
    page.wait_for_state("ready");
    anna.type_text("#peer", "blocked");
    anna.click("#call");
    page.wait_for_peer(CALLER, "connected");
    assert_sees_and_hears(&page, CALLER);
}

#[test]
fn two_pages_without_any_media_chat_over_mdns_candidates() {
    let set = Set::with(BrowserOptions { mdns: true, fake_devices: false, ..BrowserOptions::default() });
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna");
    for page in [&anna, &berta] {
        page.wait_for("the chat", "callbin.peers()[0]?.chat", DEADLINE);
    }
}

#[test]
fn a_peer_with_data_only_is_called_calls_and_is_clumsy() {
    let set = Set::up();
    // Called by it: candidates come before the offer, without a mid, and nonsense comes with them.
    let page = set.waiting("page");
    let data = set.browser.open(&format!("{}health", set.server.url()));
    data.eval(&format!("window.peer = ({DATA_PEER})({:?}, 'data', 'page')", set.server.ws_url()));
    data.wait_for("the channel", "peer.channel?.readyState === 'open'", DEADLINE);
    page.wait_for_peer(CALLER, "connected");
    data.eval("peer.socket.send('what?'); peer.socket.send('{}'); peer.socket.send('HELLO page'); peer.channel.send('hi')");
    page.wait_for("its message", "document.querySelector('#messages').textContent.includes('hi')", DEADLINE);
    assert_eq!(page.text("#status"), "In a call");
    assert_eq!(page.eval("document.querySelectorAll('video[data-peer]').length"), 1);
    data.eval("peer.socket.close(); peer.connection.close()");
    assert_idle(&page);

    // Called by the page: it refuses the media and takes the channel.
    data.eval(&format!("window.peer = ({DATA_PEER})({:?}, 'data', null)", set.server.ws_url()));
    data.wait_for("its registration", "peer.registered", DEADLINE);
    page.type_text("#peer", "data");
    page.click("#call");
    page.wait_for_peer("data", "connected");
    page.wait_for("the chat", "callbin.peers()[0].chat", DEADLINE);
    page.assert_no_console_errors();
}

/// A peer in plain JavaScript with a data channel and no media. It sends all candidates before the description.
const DATA_PEER: &str = r#"(url, id, callee) => {
  const connection = new RTCPeerConnection();
  const peer = { connection, socket: new WebSocket(url), channel: null, registered: false };
  const gathered = new Promise((done) => {
    connection.onicecandidate = ({ candidate }) => candidate ? candidates.push(candidate) : done();
  });
  const candidates = [];
  connection.ondatachannel = ({ channel }) => { peer.channel = channel; };
  const say = async (description) => {
    await connection.setLocalDescription(description);
    await gathered;
    for (const { candidate, sdpMLineIndex } of candidates) {
      peer.socket.send(JSON.stringify({ ice: { candidate, sdpMLineIndex } }));
    }
    peer.socket.send(JSON.stringify({ sdp: { type: description.type, sdp: description.sdp } }));
  };
  peer.socket.onopen = () => peer.socket.send(`HELLO ${id}`);
  peer.socket.onmessage = async ({ data }) => {
    if (data === "HELLO") {
      peer.registered = true;
      if (callee) peer.socket.send(`SESSION ${callee}`);
    } else if (data === "SESSION_OK") {
      peer.channel = connection.createDataChannel("chat");
      await say(await connection.createOffer());
    } else if (data.startsWith("{")) {
      const { sdp, ice } = JSON.parse(data);
      if (ice) await connection.addIceCandidate(ice).catch(() => {});
      if (!sdp) return;
      await connection.setRemoteDescription(sdp);
      for (const transceiver of connection.getTransceivers()) transceiver.direction = "inactive";
      if (sdp.type === "offer") await say(await connection.createAnswer());
    }
  };
  return peer;
}"#;

#[test]
fn camera_and_microphone_can_go_and_come_back_within_a_call() {
    let set = Set::up();
    let anna = set.waiting("anna");
    let berta = set.open("id=berta&call=anna");
    assert_sees_and_hears(&anna, CALLER);

    let avatar = "document.querySelector('video[data-peer=caller]').nextElementSibling";
    berta.click("#camera");
    anna.wait_for("no picture", &format!("!{avatar}.hidden"), DEADLINE);
    berta.click("#camera");
    anna.wait_for("a picture", &format!("{avatar}.hidden"), DEADLINE);

    berta.click("#mic");
    anna.wait_for(
        "silence",
        "callbin.stats().caller.audioIn.level < 0.001 && callbin.peers()[0].audioLevel < 0.001",
        DEADLINE,
    );
    assert!(anna.audio_level(CALLER) < 0.005);
    berta.click("#mic");
    assert_sees_and_hears(&anna, CALLER);

    // Taken away: the browser ends the track. Another one is opened in its place.
    berta.eval(
        "(() => { const [track] = document.querySelector('#self-view').srcObject.getVideoTracks(); \
         window.lost = track.id; track.stop(); track.dispatchEvent(new Event('ended')); })()",
    );
    berta.wait_for(
        "another track",
        "(document.querySelector('#self-view').srcObject.getVideoTracks()[0]?.id ?? lost) !== lost",
        DEADLINE,
    );
    assert_sees_and_hears(&anna, CALLER);

    // None at all, then one again.
    for (choice, has_camera) in [("none", false), ("", true)] {
        let choose = format!(
            "(() => {{ const s = document.querySelector('#settings-camera'); \
             s.value = {choice:?} || s.options[0].value; s.dispatchEvent(new Event('change')); }})()"
        );
        berta.eval(&choose);
        berta.wait_for("the choice", &format!("callbin.state().camera === {has_camera}"), DEADLINE);
    }
    anna.wait_for("a picture", &format!("{avatar}.hidden"), DEADLINE);
    assert_eq!(anna.eval("callbin.peers()[0].state"), "connected");
    berta.assert_no_console_errors();
}

#[test]
fn a_camera_that_comes_late_is_negotiated() {
    let set = Set::up();
    let anna = set.open("id=anna&camera=none&microphone=none");
    anna.wait_for_state("ready");
    let berta = set.open("id=berta&call=anna");
    berta.wait_for_peer("anna", "connected");
    assert_eq!(berta.frames_decoded("anna"), 0);
    for device in ["camera", "microphone"] {
        let choose = format!(
            "(() => {{ const s = document.querySelector('#settings-{device}'); \
             s.value = s.options[0].value; s.dispatchEvent(new Event('change')); }})()"
        );
        anna.eval(&choose);
        anna.wait_for("the device", &format!("callbin.state().{device}"), DEADLINE);
    }
    assert_sees_and_hears(&berta, "anna");
}

#[test]
fn garbage_for_an_answer_fails_the_peer_and_a_retry_offers_anew() {
    let set = Set::up();
    let mut callee = Socket::register(&set.server, "callee");
    let page = set.open("id=page&call=callee");
    assert_eq!(json(&callee.receive_text())["sdp"]["type"], "offer");
    callee.send(r#"{"sdp":{"type":"answer","sdp":"garbage"}}"#);
    page.wait_for_peer("callee", "failed");
    assert_eq!(page.eval("callbin.state().connections"), 0);
    page.click(".veil .retry");
    loop {
        let message = json(&callee.receive_text());
        if message["sdp"]["type"] == "offer" {
            break;
        }
    }
    page.wait_for_peer("callee", "connecting");
}

#[test]
fn a_peer_that_never_answers_fails_in_time() {
    let set = Set::up();
    let _silent = Socket::register(&set.server, "silent");
    let page = set.open("id=page&call=silent");
    page.wait_for("the failure", "callbin.peers()[0]?.state === 'failed'", 2 * DEADLINE);
    assert_eq!(page.text(".veil p"), "Failed: no answer");
    assert_eq!(page.text("#status"), "Call failed");
    page.click("#hang-up");
    assert_idle(&page);
}

#[test]
fn the_server_names_the_ice_servers() {
    let server = Server::start(&["--www", WWW, "--stun-url", "stun:127.0.0.1:9"]);
    let set = Set { server, browser: Browser::start(BrowserOptions::default()) };
    let _callee = Socket::register(&set.server, "callee");
    let page = set.waiting("page");
    page.eval(
        "window.RTCPeerConnection = class extends RTCPeerConnection { \
         constructor(configuration) { super(configuration); window.given = this.getConfiguration(); } }; true",
    );
    page.type_text("#peer", "callee");
    page.click("#call");
    page.wait_for("a connection", "window.given", DEADLINE);
    assert_eq!(page.eval("given.iceServers.map((server) => server.urls).flat().join()"), "stun:127.0.0.1:9");
    page.assert_no_console_errors();
}

#[test]
fn sound_that_is_blocked_is_one_click_away() {
    let set = Set::up();
    let strict =
        Browser::start(BrowserOptions { fake_devices: false, autoplay: false, ..BrowserOptions::default() });
    let page = strict.open(&format!("{}?id=strict", set.server.url()));
    page.wait_for_state("ready");
    let _anna = set.open("id=anna&call=strict");
    page.wait_for_peer(CALLER, "connected");
    page.wait_for("the button", "!document.querySelector('#hear').hidden", DEADLINE);
    assert_eq!(page.eval("document.querySelector('video[data-peer]').muted"), true);
    page.click("#hear");
    page.wait_for("sound", "!document.querySelector('video[data-peer]').muted", DEADLINE);
    assert_sees_and_hears(&page, CALLER);
}

#[test]
fn the_page_calls_through_tls_and_through_another_server() {
    let certificates = tempfile::tempdir().expect("there is room");
    let path = certificates.path().to_str().expect("a path is text");
    let secure = Server::start_on(0, &["--self-signed", "--cert-path", path, "--www", WWW]);
    assert!(secure.url().starts_with("https:"));
    let browser = Browser::start(BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::default() });
    let anna = browser.open(&format!("{}?id=anna", secure.url()));
    anna.wait_for_state("ready");
    let other = Server::start(&["--www", WWW]);
    let berta = browser.open(&format!("{}?id=berta&call=anna&server={}", other.url(), secure.ws_url()));
    berta.wait_for_peer("anna", "connected");
    assert_sees_and_hears(&berta, "anna");
    assert_sees_and_hears(&anna, CALLER);
    anna.assert_no_console_errors();
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
