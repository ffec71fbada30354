//! Calls between the page in real Chromium and the GStreamer client, with proof at the far end: the page
//! looks at pixels and sound of the client's test sources, the client at those of Chromium's fake devices.

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Page, Server, client::Event, wait_until};
use tempfile::TempDir;

/// What the page calls the other side when it was called: the protocol doesn't say who calls.
const CALLER: &str = "caller";

struct Set {
    server: Server,
    browser: Browser,
}

impl Set {
    fn up() -> Self {
        Self::with(BrowserOptions::default(), Server::start(&[]))
    }

    fn with(options: BrowserOptions, server: Server) -> Self {
        Self { server, browser: Browser::start(options) }
    }

    #[track_caller]
    fn open(&self, query: &str) -> Page {
        self.browser.open(&format!("{}?{query}", self.server.url()))
    }

    /// A client that waits for calls as `gst`, and shows red.
    fn waiting_client(&self, args: &[&str]) -> Client {
        self.client_showing("red", args)
    }

    fn client_showing(&self, pattern: &str, args: &[&str]) -> Client {
        let args = [&["wait", "--id", "gst", "--video-pattern", pattern], args].concat();
        let mut client = Client::start(&self.server, &args);
        client.wait_for("waiting");
        client
    }

    /// A client that calls the page `web`, and shows red.
    fn calling_client(&self, args: &[&str]) -> Client {
        let args = [&["call", "web", "--id", "gst", "--video-pattern", "red"], args].concat();
        Client::start(&self.server, &args)
    }

    #[track_caller]
    fn waiting_page(&self) -> Page {
        let page = self.open("id=web");
        page.wait_for_state("ready");
        page
    }
}

/// Chromium's gain control makes of its short beep, over a second, what it likes; silence is -100 dB.
fn is_beep(stats: &Event) -> bool {
    stats.number("/audio/level_db") > -65.0 && stats.number("/audio/buffers") > 0.0
}

/// The client sees Chromium's fake camera, which is green with something moving, and hears its beep.
#[track_caller]
fn assert_client_gets_camera(client: &mut Client) {
    let green = |stats: &Event| {
        stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b)) && stats.number("/video/fps") > 10.0
    };
    client.wait_for_stats("a green picture", green);
    client.wait_for_stats("motion", |stats| stats.number("/video/motion") > 0.02);
    client.wait_for_stats("a beep", is_beep);
}

/// The page shows the client's red picture, in frames that keep coming, and hears its tone.
#[track_caller]
fn assert_page_gets_red(page: &Page, uid: &str) {
    let probe = page.video_probe(uid);
    assert!(probe.r > 200.0 && probe.g < 40.0 && probe.b < 40.0, "not red: {probe:?}");
    let before = page.frames_decoded(uid);
    wait_until("more frames", DEADLINE, || (page.frames_decoded(uid) > before + 20).then_some(()));
    page.wait_for_sound(uid, 0.01);
}

#[track_caller]
fn assert_call_works(page: &Page, uid: &str, client: &mut Client) {
    page.wait_for_peer(uid, "connected");
    assert_page_gets_red(page, uid);
    assert_client_gets_camera(client);
    page.assert_no_console_errors();
}

#[track_caller]
fn say(page: &Page, text: &str) {
    page.wait_for("the chat", "callbin.peers()[0]?.chat", DEADLINE);
    page.click("#show-chat");
    page.type_text("#chat-text", text);
    page.press("Enter");
}

#[track_caller]
fn assert_page_is_idle(page: &Page) {
    page.wait_for_state("ready");
    assert_eq!(page.eval("document.querySelectorAll('video[data-peer]').length"), 0);
    assert_eq!(page.eval("callbin.state().connections"), 0, "{}", page.describe());
}

#[test]
fn the_page_calls_and_calls_again() {
    let set = Set::up();
    let mut client = set.waiting_client(&[]);
    let page = set.open("id=web&call=gst");
    assert_call_works(&page, "gst", &mut client);
    page.click("#hang-up");
    assert_page_is_idle(&page);
    assert_eq!(client.wait_for("ended").text("/reason"), "peer-left");

    for _ in 0..2 {
        client.wait_for("waiting");
        page.type_text("#peer", "gst");
        page.click("#call");
        client.forget();
        assert_call_works(&page, "gst", &mut client);
        page.click("#hang-up");
        assert_page_is_idle(&page);
    }
}

#[test]
fn the_client_calls() {
    let set = Set::up();
    let page = set.waiting_page();
    let mut client = set.calling_client(&[]);
    assert_call_works(&page, CALLER, &mut client);
    client.hang_up();
    assert_page_is_idle(&page);
    let mut again = set.calling_client(&[]);
    assert_call_works(&page, CALLER, &mut again);
    page.click("#hang-up");
    assert_eq!(again.exit_code(), 12);
    assert_page_is_idle(&page);
}

#[test]
fn the_page_calls_and_the_client_offers() {
    let set = Set::up();
    let mut client = set.waiting_client(&[]);
    let page = set.open("id=web&call=gst&remote-offerer=1");
    client.wait_for("offer-sent");
    assert_call_works(&page, "gst", &mut client);
}

#[test]
fn the_client_calls_and_the_page_offers() {
    let set = Set::up();
    let page = set.waiting_page();
    let mut client = set.calling_client(&["--remote-offerer"]);
    client.wait_for("offer-received");
    assert_call_works(&page, CALLER, &mut client);
}

/// Chromium sends transport-wide feedback only for packets that carry the extension under the agreed number:
/// as offerer its own one, as answerer ours.
#[test]
fn packets_carry_header_extensions_in_both_roles() {
    let set = Set::up();
    let page = set.waiting_page();
    for args in [&[][..], &["--remote-offerer"]] {
        let mut client = set.calling_client(args);
        client.wait_for_stats("feedback", |stats| {
            stats.number("/sent/feedback/packets_received") > 0.0
                && stats.number("/sent/feedback/bitrate_received") > 50_000.0
        });
        client.hang_up();
        assert_page_is_idle(&page);
    }
}

/// Has the page's next offers give VP8 and Opus numbers that are customary for others.
const SWAP_PAYLOAD_TYPES: &str = r"
    const swap = (sdp, a, b) => {
        const other = (number) => number === a ? b : number === b ? a : number;
        return sdp
            .replace(/^(a=(?:rtpmap|fmtp|rtcp-fb):)(\d+)/gm, (all, head, number) => head + other(number))
            .replace(/\bapt=(\d+)/g, (all, number) => 'apt=' + other(number))
            .replace(/^(m=(?:audio|video) \d+ \S+)(.*)$/gm, (all, head, list) => head + list.replace(/\d+/g, other));
    };
    const number = (sdp, codec) => sdp.match(new RegExp('^a=rtpmap:(\\d+) ' + codec + '/', 'mi'))[1];
    const create = RTCPeerConnection.prototype.createOffer;
    RTCPeerConnection.prototype.createOffer = async function (...args) {
        let { type, sdp } = await create.apply(this, args);
        sdp = swap(sdp, number(sdp, 'VP8'), number(sdp, 'VP9'));
        sdp = swap(sdp, number(sdp, 'opus'), number(sdp, 'telephone-event'));
        window.offered = [number(sdp, 'VP8'), number(sdp, 'opus')].join();
        return { type, sdp };
    };
    null";

#[test]
fn payload_types_are_those_of_the_offer() {
    let set = Set::up();
    let page = set.waiting_page();
    page.eval(SWAP_PAYLOAD_TYPES);
    let mut client = set.calling_client(&["--remote-offerer"]);
    assert_call_works(&page, CALLER, &mut client);
    assert_eq!(page.eval("window.offered"), "98,110");
}

#[test]
fn motion_is_seen_in_the_page() {
    let set = Set::up();
    let args = ["wait", "--id", "gst", "--video-pattern", "ball", "--size", "320x240"];
    Client::start(&set.server, &args).wait_for("waiting");
    let mut client =
        Client::start(&set.server, &["wait", "--id", "gst2", "--video-pattern", "ball", "--size", "320x240"]);
    client.wait_for("waiting");
    let page = set.open("id=web&call=gst2");
    let probe = page.video_probe("gst2");
    assert_eq!((probe.width, probe.height), (320, 240));
    assert!(probe.motion > 0.05, "stands still: {probe:?}");
}

#[test]
fn texts_go_both_ways() {
    let set = Set::up();
    let mut client = set.waiting_client(&["--send-text", "hello from GStreamer"]);
    let page = set.open("id=web&call=gst");
    let shown = "document.querySelector('#messages').textContent.includes('hello from GStreamer')";
    page.wait_for("the client's text", shown, DEADLINE);
    say(&page, "hello from Chromium");
    assert_eq!(client.wait_for("data").text("/text"), "hello from Chromium");
}

#[test]
fn a_killed_client_leaves_a_page_that_can_be_called_again() {
    let set = Set::up();
    let page = set.waiting_page();
    let mut client = set.calling_client(&[]);
    page.wait_for_peer(CALLER, "connected");
    client.process().signal("KILL");
    assert_page_is_idle(&page);
    let mut again = set.calling_client(&[]);
    assert_call_works(&page, CALLER, &mut again);
}

#[test]
fn a_killed_server_is_survived_by_both() {
    let mut set = Set::up();
    let mut client = set.waiting_client(&[]);
    let page = set.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    let port = set.server.port();
    set.server.process().signal("KILL");
    set.server.process().wait();
    client.wait_for("reconnecting");
    page.wait_for("the page to notice", "callbin.state().state === 'reconnecting'", DEADLINE);
    set.server = Server::start_on(port, &["--disable-ssl"]);
    client.wait_for("waiting");
    page.wait_for_state("ready");
    page.type_text("#peer", "gst");
    page.click("#call");
    client.forget();
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
    assert_client_gets_camera(&mut client);
}

#[test]
fn addresses_hidden_behind_mdns_names_are_no_obstacle() {
    let options = BrowserOptions { mdns: true, fake_devices: false, ..BrowserOptions::default() };
    let set = Set::with(options, Server::start(&[]));
    let _client = set.waiting_client(&[]);
    let page = set.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
}

#[test]
fn calls_work_through_tls() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().to_str().expect("the path is text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let options = BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::default() };
    let set = Set::with(options, server);
    let cert = dir.path().join("cert.pem");
    let mut client = set.waiting_client(&["--ca-file", cert.to_str().expect("the path is text")]);
    let page = set.open("id=web&call=gst");
    assert_call_works(&page, "gst", &mut client);
}

#[test]
fn a_browser_without_a_camera_watches_and_listens() {
    let options = BrowserOptions { fake_devices: false, ..BrowserOptions::default() };
    let set = Set::with(options, Server::start(&[]));
    let mut client = set.waiting_client(&[]);
    let page = set.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
    page.click("#hang-up");
    client.wait_for("ended");
    client.wait_for("waiting");
}

#[test]
fn a_client_without_media_talks_by_text() {
    let set = Set::up();
    let mut client = set.waiting_client(&["--no-audio", "--no-video"]);
    let page = set.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    say(&page, "anybody there?");
    assert_eq!(client.wait_for("data").text("/text"), "anybody there?");
    page.assert_no_console_errors();
}
