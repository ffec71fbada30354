//! The page in real Chromium: 1-1 calls between pages, and with unusual peers.

use std::process::Command;

use callbin_tests::{
    Browser, BrowserOptions, CALLER, DEADLINE, Middlebox, Page, Server, Site, Socket, WWW,
    hook::Hook,
    keys::{Algorithm, Keys},
    wait_until,
};
use serde_json::{Value, json};

#[test]
fn a_browser_leaves_nothing_behind_and_the_console_is_heard() {
    let site = Site::up();
    let page = site.waiting("anna");
    page.assert_no_console_errors();
    page.eval("document.body.setAttribute('style', 'color: red')"); // against the content security policy
    page.eval("setTimeout(() => { throw new Error('heard'); })");
    let heard = || (page.console_errors().len() >= 2).then(|| page.console_errors().join(" "));
    let heard = wait_until("two errors", DEADLINE, heard);
    assert!(heard.contains("Content Security Policy") && heard.contains("heard"), "{heard}");

    let pid = site.browser.pid().to_string();
    // Not those that are dead and that init has not looked for yet.
    let group =
        || Command::new("pgrep").args(["-r", "D,I,R,S,T,t", "-g", &pid]).output().expect("pgrep runs").stdout;
    let profile = site.browser.profile().to_owned();
    assert!(profile.is_dir() && !group().is_empty());
    drop(site.browser);
    assert!(!profile.exists() && group().is_empty());
}

#[test]
fn a_token_is_in_no_url_once_the_page_has_it() {
    let keys = Keys::new(Algorithm::Hs256);
    let server = Server::start(&["--www", WWW, "--token-key-file", &keys.public()]);
    let middlebox = Middlebox::start(server.address());
    let site = Site::at(server, BrowserOptions::default());
    let token = keys.token(json!({ "uid": "anna" }));
    let page = site.browser.open(&format!("{}?id=anna&token={token}", middlebox.url()));
    page.wait_for_state("ready");
    assert_eq!(page.eval("location.search"), "?id=anna");
    // The page's own request has the token of the link; later requests do not.
    let lines = || {
        middlebox.sent().lines().filter(|line| line.starts_with("GET ")).map(String::from).collect::<Vec<_>>()
    };
    wait_until("the question for ICE servers", DEADLINE, || {
        lines().iter().any(|line| line.contains("/ice-servers")).then_some(())
    });
    let with_token: Vec<_> = lines().into_iter().filter(|line| line.contains(&token)).collect();
    assert_eq!(with_token, [format!("GET /?id=anna&token={token} HTTP/1.1")]);
    assert!(
        middlebox.sent().to_lowercase().contains(&format!("protocol: callbin, token.{token}").to_lowercase())
    );
    // A reload takes the token from the history, and registers again.
    let before = site.server.log().matches("registered").count();
    page.eval("location.reload()");
    wait_until("the page to register again", DEADLINE, || {
        (site.server.log().matches("registered").count() > before).then_some(())
    });
    page.wait_for_state("ready");
    assert_eq!(page.eval("location.search"), "?id=anna");
    page.assert_no_console_errors();
}

#[test]
fn pages_call_each_other_in_both_directions_again_and_again() {
    let site = Site::up();
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna&auto-answer=1");
    berta.wait_for_peer("anna", "connected");
    anna.wait_for_peer(CALLER, "connected");
    assert_eq!((berta.text("#own-id"), berta.text("#status")), ("berta".into(), "In a call".into()));
    berta.assert_sees_and_hears("anna");
    anna.assert_sees_and_hears(CALLER);

    berta.click("#hang-up");
    anna.assert_idle();
    berta.assert_idle();

    for _ in 0..3 {
        anna.type_text("#peer", "berta");
        anna.click("#call");
        anna.wait_for_peer("berta", "connected");
        berta.wait_for_peer(CALLER, "connected");
        berta.click("#hang-up");
        anna.assert_idle();
        berta.assert_idle();
    }
    anna.type_text("#peer", "berta");
    anna.press("Enter");
    anna.wait_for_peer("berta", "connected");
    anna.assert_sees_and_hears("berta");
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn the_other_side_can_be_asked_to_offer() {
    let site = Site::up();
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna&remote-offerer=1");
    berta.wait_for_peer("anna", "connected");
    berta.assert_sees_and_hears("anna");
    anna.assert_sees_and_hears(CALLER);
}

#[test]
fn the_offer_request_is_sent_and_honoured_as_the_stock_page_does() {
    let site = Site::up();
    let mut callee = Socket::register(&site.server, "callee");
    let _asking = site.open("id=asking&call=callee&remote-offerer=1");
    callee.expect("OFFER_REQUEST");

    let asked = site.waiting("asked");
    let mut caller = Socket::register(&site.server, "caller-1");
    caller.send("SESSION asked");
    caller.expect("SESSION_OK");
    caller.send("OFFER_REQUEST");
    assert_eq!(json(&caller.receive_text())["sdp"]["type"], "offer");
    asked.wait_for_state("in-call");
}

#[test]
fn the_offer_comes_before_its_candidates_and_names_media_and_channel() {
    let site = Site::up();
    let mut callee = Socket::register(&site.server, "callee");
    let page = site.open("id=page&call=callee");
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
    let site = Site::up();
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna");
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

    // Unseen messages are counted until the call ends.
    let unread = |count: &str| {
        let js = format!("document.querySelector('#show-chat').getAttribute('aria-label') === 'Chat{count}'");
        anna.wait_for("the number of unread messages", &js, DEADLINE);
    };
    berta.type_text("#chat-text", "still there?");
    berta.press("Enter");
    unread(", 1 new");
    berta.click("#hang-up");
    anna.assert_idle();
    unread("");
}

#[test]
fn a_taken_name_is_told_and_another_one_works() {
    let site = Site::up();
    let _first = Socket::register(&site.server, "anna");
    let page = site.open("id=anna");
    page.wait_for_state("refused");
    assert_eq!(page.text("#notice-text"), "The name “anna” is taken. Choose another one.");
    page.type_text("#name", "berta");
    page.press("Enter");
    page.wait_for_state("ready");
    assert_eq!(page.text("#own-id"), "berta");
    let mut probe = Socket::register(&site.server, "probe");
    probe.send("SESSION berta");
    probe.expect("SESSION_OK");
}

#[test]
fn the_webhooks_reason_for_a_refusal_is_told() {
    let hook = Hook::start(|_, _| ("200 OK".into(), r#"{"allow":false,"reason":"only until noon"}"#.into()));
    let server = Server::start(&["--www", WWW, "--webhook-url", &hook.url()]);
    let site = Site::at(server, BrowserOptions::default());
    let page = site.open("id=anna");
    page.wait_for_state("refused");
    assert_eq!(page.text("#notice-text"), "The server refused this page: only until noon.");
}

#[test]
fn a_peer_that_is_not_there_or_busy_is_told_and_can_be_called_again() {
    let site = Site::up();
    let page = site.open("id=page&call=nobody");
    page.wait_for("the notice", "!document.querySelector('#notice').hidden", DEADLINE);
    assert!(
        page.text("#notice-text").starts_with("“nobody” was not found."),
        "{}",
        page.text("#notice-text")
    );
    page.wait_for_state("ready");

    let mut one = Socket::register(&site.server, "one");
    let two = Socket::register(&site.server, "two");
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
    let mut one = Socket::register(&site.server, "one");
    page.click("#call");
    assert_eq!(json(&one.receive_text())["sdp"]["type"], "offer");
    page.assert_no_console_errors();
}

#[test]
fn who_calls_and_says_nothing_does_not_keep_the_page_from_calling() {
    let site = Site::up();
    let page = site.open("");
    page.hurry(20_000, 4000); // the deadline of a call that was taken
    page.go(&format!("{}?id=page&auto-answer=1", site.server.url()));
    page.wait_for_state("ready");
    let mut callee = Socket::register(&site.server, "callee");
    let mut silent = Socket::register(&site.server, "silent");
    silent.send("SESSION page");
    silent.expect("SESSION_OK");
    page.wait_for_state("in-call");
    page.wait_for_state("ready");
    page.type_text("#peer", "callee");
    page.click("#call");
    assert_eq!(json(&callee.receive_text())["sdp"]["type"], "offer");
    page.wait_for_state("in-call");
    page.assert_no_console_errors();
}

#[test]
fn a_server_that_dies_and_comes_back_finds_the_page_again() {
    let mut site = Site::up();
    let port = site.server.port();
    let anna = site.waiting("anna");
    let berta = site.waiting("berta");
    site.server.process().kill();
    for page in [&anna, &berta] {
        page.wait_for_state("reconnecting");
        assert_eq!(page.text("#status"), "Reconnecting…");
    }
    site.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    for page in [&anna, &berta] {
        page.assert_idle();
    }
    anna.type_text("#peer", "berta");
    anna.click("#call");
    anna.wait_for_peer("berta", "connected");
    anna.assert_sees_and_hears("berta");
}

#[test]
fn a_page_that_is_loaded_again_gets_its_name_back() {
    let site = Site::up();
    let page = site.waiting("anna");
    for _ in 0..3 {
        page.go(&format!("{}?id=anna", site.server.url()));
        page.wait_for_state("ready");
    }
    page.assert_no_console_errors();
}

#[test]
fn a_browser_without_devices_calls_and_sees() {
    let site = Site::up();
    let bare = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let anna = site.waiting("anna");
    let page = bare.open(&format!("{}?id=bare&call=anna&auto-answer=1", site.server.url()));
    page.wait_for_peer("anna", "connected");
    page.assert_sees_and_hears("anna");
    assert_eq!(page.eval("callbin.state().camera || callbin.state().microphone"), false);
    assert_eq!(anna.eval("callbin.stats().caller?.videoIn?.framesDecoded ?? 0"), 0);
    page.click("#hang-up");
    page.assert_idle();
    assert_eq!(page.text("#preview-empty"), "No camera found. The call works without.");

    anna.wait_for_state("ready");
    anna.type_text("#peer", "bare");
    anna.click("#call");
    page.wait_for_peer(CALLER, "connected");
    page.assert_sees_and_hears(CALLER);
    page.assert_no_console_errors();
}

#[test]
fn forbidden_devices_are_told_and_the_call_works_without() {
    let site = Site::up();
    let blocked = Browser::start(BrowserOptions { block_devices: true, ..BrowserOptions::default() });
    let anna = site.waiting("anna");
    let page = blocked.open(&format!("{}?id=blocked&auto-answer=1", site.server.url()));
    page.wait_for(
        "the words",
        "/^Camera blocked/.test(document.querySelector('#preview-empty').textContent)",
        DEADLINE,
    );
    page.wait_for_state("ready");
    anna.type_text("#peer", "blocked");
    anna.click("#call");
    page.wait_for_peer(CALLER, "connected");
    page.assert_sees_and_hears(CALLER);
}

#[test]
fn two_pages_without_any_media_chat_over_mdns_candidates() {
    let site = Site::with(BrowserOptions { mdns: true, fake_devices: false, ..BrowserOptions::default() });
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna");
    for page in [&anna, &berta] {
        page.wait_for("the chat", "callbin.peers()[0]?.chat", DEADLINE);
    }
}

#[test]
fn a_peer_with_data_only_is_called_calls_and_is_clumsy() {
    let site = Site::up();
    // The peer calls: candidates come before the offer and without a mid, with nonsense in between.
    let page = site.waiting("page");
    let data = site.browser.open(&format!("{}health", site.server.url()));
    data.eval(&format!("window.peer = ({DATA_PEER})({:?}, 'data', 'page')", site.server.ws_url()));
    data.wait_for("the channel", "peer.channel?.readyState === 'open'", DEADLINE);
    page.wait_for_peer(CALLER, "connected");
    data.eval("peer.socket.send('what?'); peer.socket.send('{}'); peer.socket.send('HELLO page'); peer.channel.send('hi')");
    page.wait_for("its message", "document.querySelector('#messages').textContent.includes('hi')", DEADLINE);
    assert_eq!(page.text("#status"), "In a call");
    assert_eq!(page.eval("document.querySelectorAll('video[data-peer]').length"), 1);
    data.eval("peer.socket.close(); peer.connection.close()");
    page.assert_idle();

    // The page calls: the peer rejects the media and accepts the channel.
    data.eval(&format!("window.peer = ({DATA_PEER})({:?}, 'data', null)", site.server.ws_url()));
    data.wait_for("its registration", "peer.registered", DEADLINE);
    page.type_text("#peer", "data");
    page.click("#call");
    page.wait_for_peer("data", "connected");
    page.wait_for("the chat", "callbin.peers()[0].chat", DEADLINE);
    page.assert_no_console_errors();
}

/// A peer in plain JavaScript with a data channel and no media. It sends all its candidates before its description.
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
    let site = Site::up();
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna");
    anna.assert_sees_and_hears(CALLER);

    let avatar = "document.querySelector('video[data-peer=caller]').nextElementSibling";
    berta.click("#camera");
    anna.wait_for("no picture", &format!("!{avatar}.hidden"), DEADLINE);
    assert_eq!(anna.eval("callbin.peers()[0].picture"), "paused");
    berta.click("#camera");
    anna.wait_for("a picture", &format!("{avatar}.hidden"), DEADLINE);

    berta.click("#mic");
    // The maximum of more than a second, which would include a beep.
    wait_until("silence", DEADLINE, || (anna.audio_level(CALLER) < 0.005).then_some(()));
    berta.click("#mic");
    anna.assert_sees_and_hears(CALLER);

    // Unplugged: the browser ends the track. Another device is opened.
    berta.eval(
        "(() => { const [track] = document.querySelector('#self-view').srcObject.getVideoTracks(); \
         window.lost = track.id; track.stop(); track.dispatchEvent(new Event('ended')); })()",
    );
    berta.wait_for(
        "another track",
        "(document.querySelector('#self-view').srcObject.getVideoTracks()[0]?.id ?? lost) !== lost",
        DEADLINE,
    );
    anna.assert_sees_and_hears(CALLER);

    // No device, then one again.
    for (choice, has_camera) in [("none", false), ("", true)] {
        let choose = format!(
            "(() => {{ const s = document.querySelector('#settings-camera'); \
             s.value = {choice:?} || s.options[0].value; s.dispatchEvent(new Event('change')); }})()"
        );
        berta.eval(&choose);
        berta.wait_for("the choice", &format!("callbin.state().camera === {has_camera}"), DEADLINE);
    }
    anna.wait_for("a picture", &format!("{avatar}.hidden"), DEADLINE);
    anna.wait_for_peer(CALLER, "connected");
    berta.assert_no_console_errors();
}

#[test]
fn another_camera_can_be_chosen_within_a_call() {
    // In a smaller picture less than can be measured moves.
    let site = Site::with(BrowserOptions { full_quality: true, ..BrowserOptions::default() });
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna");
    anna.assert_sees_and_hears(CALLER);
    let device = "document.querySelector('#self-view').srcObject.getVideoTracks()[0].getSettings().deviceId";
    let first = berta.eval(device);
    berta.eval(
        "(() => { const s = document.querySelector('#settings-camera'); \
         s.value = s.options[2].value; s.dispatchEvent(new Event('change')); })()",
    );
    berta.wait_for("the other camera", &format!("{device} && {device} !== {first}"), DEADLINE);
    let frames = anna.frames_decoded(CALLER);
    anna.wait_for("its pictures", &format!("callbin.peers()[0].framesDecoded > {frames} + 20"), DEADLINE);
    anna.assert_sees_and_hears(CALLER);
    assert_eq!(anna.eval("callbin.state().connections"), 1);
    anna.wait_for_peer(CALLER, "connected");
    berta.assert_no_console_errors();
}

#[test]
fn a_camera_that_comes_late_is_negotiated() {
    let site = Site::up();
    let anna = site.open("id=anna&camera=none&microphone=none&auto-answer=1");
    anna.wait_for_state("ready");
    let berta = site.open("id=berta&call=anna");
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
    berta.assert_sees_and_hears("anna");
}

#[test]
fn garbage_for_an_answer_fails_the_peer_and_a_retry_offers_anew() {
    let site = Site::up();
    let mut callee = Socket::register(&site.server, "callee");
    let page = site.open("id=page&call=callee");
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
    let site = Site::up();
    let _silent = Socket::register(&site.server, "silent");
    let page = site.open("");
    page.hurry(45_000, 1500);
    page.go(&format!("{}?id=page&call=silent", site.server.url()));
    page.wait_for_state("in-call");
    assert_eq!(page.text("#status"), "Calling…");
    page.wait_for("the failure", "callbin.peers()[0]?.state === 'failed'", DEADLINE);
    assert_eq!(page.text(".veil p"), "No answer.");
    assert_eq!((page.text("#status"), lamp(&page)), ("Call failed".into(), "bad".into()));
    page.click("#hang-up");
    page.assert_idle();
}

#[test]
fn the_server_names_the_ice_servers() {
    // The browser would reject all servers because of some of these.
    let odd = json!([{ "urls": "turn:127.0.0.1:9" }, { "urls": ["http://127.0.0.1", "stun:"] }, { "urls": ["stun:127.0.0.1:9"] }]);
    let answer = json!({ "allow": true, "ice_servers": odd }).to_string();
    let hook = Hook::start(move |_, _| ("200 OK".into(), answer.clone()));
    let server = Server::start(&["--www", WWW, "--webhook-url", &hook.url()]);
    let site = Site::at(server, BrowserOptions::default());
    let _callee = Socket::register(&site.server, "callee");
    let page = site.waiting("page");
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
    let site = Site::up();
    let strict =
        Browser::start(BrowserOptions { fake_devices: false, autoplay: false, ..BrowserOptions::default() });
    let page = strict.open(&format!("{}?id=strict&auto-answer=1", site.server.url()));
    page.wait_for_state("ready");
    let anna = site.open("id=anna&call=strict");
    let asks = |whether: bool| {
        let js = format!("document.querySelector('#hear').hidden !== {whether}");
        page.wait_for("the button", &js, DEADLINE);
    };
    asks(true);
    anna.click("#hang-up");
    asks(false); // no peer can hear
    anna.wait_for_state("ready");
    anna.click("#call");
    page.wait_for_peer(CALLER, "connected");
    asks(true);
    page.wait_for("the news to go", "document.querySelector('#notice').hidden", DEADLINE);
    assert_eq!(page.eval("document.querySelector('video[data-peer]').muted"), true);
    page.click("#hear");
    page.wait_for("sound", "!document.querySelector('video[data-peer]').muted", DEADLINE);
    page.assert_sees_and_hears(CALLER);
}

#[test]
fn a_link_that_cannot_be_copied_stays_to_be_copied_by_hand() {
    let site = Site::up();
    let page = site.waiting("anna");
    page.eval("navigator.clipboard.writeText = () => Promise.reject(new Error('refused'))");
    page.click("#copy-call-link");
    page.wait_for("the notice", "!document.querySelector('#notice').hidden", DEADLINE);
    let link = format!("{}?call=anna", site.server.url());
    assert!(page.text("#notice-text").ends_with(&link), "{}", page.text("#notice-text"));
    std::thread::sleep(std::time::Duration::from_secs(7)); // notices of good news disappear after six seconds
    assert_eq!(page.eval("document.querySelector('#notice').hidden"), false);
}

#[test]
fn the_page_calls_through_tls_and_through_another_server() {
    let certificates = tempfile::tempdir().expect("there is room");
    let path = certificates.path().to_str().expect("a path is text");
    let secure = Server::start_on(0, &["--self-signed", "--cert-path", path, "--www", WWW]);
    assert!(secure.url().starts_with("https:"));
    let browser = Browser::start(BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::default() });
    let anna = browser.open(&format!("{}?id=anna&auto-answer=1", secure.url()));
    anna.wait_for_state("ready");
    let other = Server::start(&["--www", WWW]);
    let at_secure = format!("server={}", secure.ws_url());
    let host = secure.url().trim_start_matches("https://").trim_end_matches('/').to_owned();
    let waits_for_a_click = |query: &str| {
        let page = browser.open(&format!("{}?{query}&{at_secure}", other.url()));
        page.wait_for("the devices", "callbin.state().camera && callbin.state().microphone", DEADLINE);
        assert_eq!(page.eval("callbin.state().state"), "offline", "a link alone starts nothing there");
        assert_eq!(page.eval("document.querySelector('#foreign').checkVisibility()"), true);
        assert_eq!(page.text("#foreign-host"), host);
        page
    };
    let clara = waits_for_a_click("id=clara&room=r&join=1");
    clara.click("#join");
    clara.wait_for_state("in-room");
    drop(clara);
    let clara = waits_for_a_click("id=clara");
    clara.click("#connect");
    clara.wait_for_state("ready");
    assert_eq!(clara.eval("document.querySelector('#connect').hidden"), true);

    let berta = waits_for_a_click("id=berta&call=anna");
    assert_eq!(berta.eval("document.querySelector('#peer').value"), "anna");
    berta.click("#call");
    berta.wait_for_peer("anna", "connected");
    berta.assert_sees_and_hears("anna");
    anna.assert_sees_and_hears(CALLER);
    anna.assert_no_console_errors();
}

#[track_caller]
fn lamp(page: &Page) -> String {
    page.eval("document.querySelector('#lamp').dataset.lamp").as_str().unwrap_or_default().into()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}
