//! Calls between the page in real Chromium and the GStreamer client, checked at the receiver: the page measures
//! pixels and sound of the client's test sources, and the client those of Chromium's fake devices.

use callbin_tests::{
    BrowserOptions, CALLER, Client, DEADLINE, Engine, Page, Server, Site, client::Event, machine, wait_until,
};
use tempfile::TempDir;

/// The page as embedded in the server.
fn up() -> Site {
    with(BrowserOptions::default())
}

fn with(options: BrowserOptions) -> Site {
    Site::at(Server::start(&[]), options)
}

/// A client that waits for calls as `gst`, and sends red.
fn waiting_client(site: &Site, args: &[&str]) -> Client {
    let args = [&["wait", "--id", "gst", "--video-pattern", "red"], args].concat();
    let mut client = Client::start(&site.server, &args);
    client.wait_for("waiting");
    client
}

/// A client that calls the page `web`, and sends red.
fn calling_client(site: &Site, args: &[&str]) -> Client {
    let args = [&["call", "web", "--id", "gst", "--video-pattern", "red"], args].concat();
    Client::start(&site.server, &args)
}

/// Chromium's gain control changes the level of its short beep unpredictably; silence is -100 dB.
fn is_beep(stats: &Event) -> bool {
    stats.number("/audio/level_db") > -65.0 && stats.number("/audio/buffers") > 0.0
}

/// The client receives Chromium's fake camera, which is green with something moving, and its beep.
#[track_caller]
fn assert_client_gets_camera(client: &mut Client) {
    let green = |stats: &Event| {
        stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b)) && stats.number("/video/fps") > 5.0
    };
    client.wait_for_stats("a green picture", green);
    client.wait_for_stats("motion", |stats| stats.number("/video/motion") > 0.02);
    client.wait_for_stats("a beep", is_beep);
}

/// The page plays the client's red video with new frames, and its tone.
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

#[test]
fn the_page_calls_and_calls_again() {
    let site = up();
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst");
    assert_call_works(&page, "gst", &mut client);
    page.click("#hang-up");
    page.assert_idle();
    assert_eq!(client.wait_for("ended").text("/reason"), "peer-left");

    for _ in 0..2 {
        client.wait_for("waiting");
        page.type_text("#peer", "gst");
        page.click("#call");
        client.forget();
        assert_call_works(&page, "gst", &mut client);
        page.click("#hang-up");
        page.assert_idle();
    }
}

#[track_caller]
fn assert_ages_are_known(page: &Page, uid: &str, client: &mut Client) {
    page.wait_for_peer(uid, "connected");
    // The camera of Chromium has one clock with the client.
    let known = |stats: &Event| {
        (0.1..500.0).contains(&stats.number("/video/glass_age_ms/p50"))
            && stats.number("/video/clock/ahead_ms").abs() < 20.0
            && stats.json().pointer("/video/capture_time").is_some_and(|it| it == "abs-capture-time")
    };
    client.wait_for_stats("the age of the camera's picture", known);
    let age = format!("callbin.stats()[{uid:?}]?.videoIn?.ageMs");
    page.wait_for("the age of the client's picture", &format!("{age} > 0 && {age} < 500"), DEADLINE);
}

#[test]
fn each_side_knows_how_old_the_picture_is_and_the_page_marks_an_old_one() {
    let site = up();
    let mut waiting = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst&auto-answer=1");
    assert_ages_are_known(&page, "gst", &mut waiting);
    page.click("#hang-up");
    page.assert_idle();
    waiting.hang_up();
    let mut calling = calling_client(&site, &[]);
    assert_ages_are_known(&page, CALLER, &mut calling);

    calling.process().signal("STOP");
    let mark =
        "/^No new picture for [1-9] s$/.test(document.querySelector('.stale:not([hidden])')?.textContent)";
    page.wait_for("the mark", mark, DEADLINE);
    assert_eq!(page.text(".tile.is-stale [role=status]"), "No new picture of gst");
    let filter = page.eval("getComputedStyle(document.querySelector('video[data-peer]')).filter");
    assert!(filter.as_str().is_some_and(|filter| filter.contains("grayscale")), "{filter}");
    calling.process().signal("CONT");
    page.wait_for("a new picture", "!document.querySelector('.tile.is-stale')", DEADLINE);
    assert_eq!(page.text("video[data-peer] ~ [role=status]"), "");
    calling.hang_up();
}

#[test]
fn the_client_calls() {
    let site = up();
    let page = site.waiting("web");
    let mut client = calling_client(&site, &[]);
    assert_call_works(&page, CALLER, &mut client);
    client.hang_up();
    page.assert_idle();
    let mut again = calling_client(&site, &[]);
    assert_call_works(&page, CALLER, &mut again);
    page.click("#hang-up");
    assert_eq!(again.exit_code(), 12);
    page.assert_idle();
}

#[test]
fn the_client_rings_and_is_accepted_or_not() {
    let site = up();
    let page = site.open("id=web");
    page.wait_for_state("ready");
    for flags in [&[][..], &["--remote-offerer"]] {
        let mut client = calling_client(&site, flags);
        page.wait_for_state("ringing");
        assert_eq!(page.text("#ring-heading"), "gst is calling you");
        page.click("#accept");
        assert_call_works(&page, CALLER, &mut client);
        client.hang_up();
        page.assert_idle();
    }
    let mut client = calling_client(&site, &[]);
    page.wait_for_state("ringing");
    page.click("#decline");
    assert_eq!(client.exit_code(), 12);
    page.assert_idle();
}

#[test]
fn the_page_calls_and_the_client_offers() {
    let site = up();
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst&remote-offerer=1");
    client.wait_for("offer-sent");
    assert_call_works(&page, "gst", &mut client);
}

#[test]
fn the_client_calls_and_the_page_offers() {
    let site = up();
    let page = site.waiting("web");
    let mut client = calling_client(&site, &["--remote-offerer"]);
    client.wait_for("offer-received");
    assert_call_works(&page, CALLER, &mut client);
}

/// Chromium sends transport-wide feedback only for packets with the extension under the negotiated id:
/// as offerer its own id, as answerer ours.
#[test]
fn packets_carry_header_extensions_in_both_roles() {
    let site = up();
    let page = site.waiting("web");
    for args in [&[][..], &["--remote-offerer"]] {
        let mut client = calling_client(&site, args);
        client.wait_for_stats("feedback", |stats| {
            stats.number("/sent/feedback/packets_received") > 0.0
                && stats.number("/sent/feedback/bitrate_received") > 10_000.0
        });
        client.hang_up();
        page.assert_idle();
    }
}

/// Makes the page's next offers use payload types for VP8 and Opus that usually belong to other codecs.
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
    let site = up();
    let page = site.waiting("web");
    page.eval(SWAP_PAYLOAD_TYPES);
    let mut client = calling_client(&site, &["--remote-offerer"]);
    assert_call_works(&page, CALLER, &mut client);
    assert_eq!(page.eval("window.offered"), "98,110");
}

#[test]
fn motion_is_seen_in_the_page() {
    let site = up();
    let args = ["wait", "--id", "gst", "--video-pattern", "ball", "--size", "320x240"];
    Client::start(&site.server, &args).wait_for("waiting");
    let mut client = Client::start(
        &site.server,
        &["wait", "--id", "gst2", "--video-pattern", "ball", "--size", "320x240"],
    );
    client.wait_for("waiting");
    let page = site.open("id=web&call=gst2");
    let probe = page.video_probe("gst2");
    assert_eq!((probe.width, probe.height), (320, 240));
    assert!(probe.motion > 0.05, "stands still: {probe:?}");
}

#[test]
fn texts_go_both_ways() {
    let site = up();
    let mut client = waiting_client(&site, &["--send-text", "hello from GStreamer"]);
    let page = site.open("id=web&call=gst");
    let shown = "document.querySelector('#messages').textContent.includes('hello from GStreamer')";
    page.wait_for("the client's text", shown, DEADLINE);
    say(&page, "hello from Chromium");
    assert_eq!(client.wait_for("data").text("/text"), "hello from Chromium");
}

#[test]
fn a_killed_client_leaves_a_page_that_can_be_called_again() {
    let site = up();
    let page = site.waiting("web");
    let mut client = calling_client(&site, &[]);
    page.wait_for_peer(CALLER, "connected");
    client.process().signal("KILL");
    page.assert_idle();
    let mut again = calling_client(&site, &[]);
    assert_call_works(&page, CALLER, &mut again);
}

#[test]
fn a_call_is_resumed_and_goes_on_without_the_server_until_either_side_hangs_up() {
    let mut site = up();
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    let port = site.server.port();
    let lose_server = |site: &mut Site, client: &mut Client| {
        site.server.process().kill();
        client.wait_for("signalling-lost");
        page.wait_for("the page to notice", ALONE, DEADLINE);
        client.forget();
    };
    lose_server(&mut site, &mut client);
    site.server = Server::start_on(port, &["--disable-ssl"]);
    let names = ["signalling-back", "dtls-connected"];
    let back = client.wait_for_any("signalling-back", DEADLINE, |event| names.contains(&event.name()));
    assert_eq!(back.name(), "signalling-back", "media are not touched");
    page.wait_for(
        "the page to be back",
        "document.querySelector('#status').textContent === 'In a call'",
        DEADLINE,
    );
    lose_server(&mut site, &mut client);
    assert_page_gets_red(&page, "gst");
    assert_client_gets_camera(&mut client);
    page.click("#hang-up");
    client.wait_for("ended");
    client.wait_for("reconnecting");
    page.wait_for("the page to hang up", "callbin.state().state === 'reconnecting'", DEADLINE);

    site.server = Server::start_on(port, &["--disable-ssl"]);
    client.wait_for("waiting");
    page.wait_for_state("ready");
    page.type_text("#peer", "gst");
    page.click("#call");
    page.wait_for_peer("gst", "connected");
    site.server.process().signal("KILL");
    client.wait_for("signalling-lost");
    page.wait_for("the page to notice", ALONE, DEADLINE);
    client.process().signal("INT");
    let over = "document.querySelector('#notice-text').textContent === '“gst” ended the call.'";
    page.wait_for("the client's goodbye", over, DEADLINE);
    assert_eq!(page.eval("callbin.state().connections"), 0);
}

/// The page is in a call, and says that the server is gone.
const ALONE: &str = "document.querySelector('#status').textContent === 'In a call, server gone' \
    && document.querySelector('#notice-text').textContent === 'The server is gone. Your call goes on without it.'";

#[test]
fn addresses_hidden_behind_mdns_names_are_no_obstacle() {
    let options = BrowserOptions { mdns: true, fake_devices: false, ..BrowserOptions::default() };
    let site = with(options);
    let _client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
}

#[test]
fn calls_work_through_tls() {
    let dir = TempDir::new().expect("a folder");
    let path = dir.path().to_str().expect("the path is text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let options = BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::default() };
    let site = Site::at(server, options);
    let cert = dir.path().join("cert.pem");
    let mut client = waiting_client(&site, &["--ca-file", cert.to_str().expect("the path is text")]);
    let page = site.open("id=web&call=gst");
    assert_call_works(&page, "gst", &mut client);
}

#[test]
fn a_browser_without_a_camera_watches_and_listens() {
    let options = BrowserOptions { fake_devices: false, ..BrowserOptions::default() };
    let site = with(options);
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
    page.click("#hang-up");
    client.wait_for("ended");
    client.wait_for("waiting");
}

#[test]
fn a_client_without_media_talks_by_text() {
    let site = up();
    let mut client = waiting_client(&site, &["--no-audio", "--no-video"]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    say(&page, "anybody there?");
    assert_eq!(client.wait_for("data").text("/text"), "anybody there?");
    page.assert_no_console_errors();
}

#[test]
fn a_camera_switched_on_within_a_call_arrives() {
    let site = up();
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst&camera=none&microphone=none");
    page.wait_for_peer("gst", "connected");
    assert_page_gets_red(&page, "gst");
    for device in ["camera", "microphone"] {
        page.eval(&format!(
            "(() => {{ const s = document.querySelector('#settings-{device}'); \
             s.value = ''; s.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
        ));
    }
    assert_client_gets_camera(&mut client);
    assert_page_gets_red(&page, "gst");
    page.assert_no_console_errors();
}

/// Headless Firefox has no audio output, behind which sound could be measured.
#[track_caller]
fn assert_firefox_gets_red(page: &Page, uid: &str) {
    let probe = page.video_probe(uid);
    assert!(probe.r > 200.0 && probe.g < 40.0 && probe.b < 40.0, "not red: {probe:?}");
    let before = page.frames_decoded(uid);
    wait_until("more frames", DEADLINE, || (page.frames_decoded(uid) > before + 20).then_some(()));
    page.wait_for("sound", &format!("callbin.stats()[{uid:?}]?.audioIn?.kbps > 10"), DEADLINE);
}

/// The client receives Firefox's fake devices: a picture whose colour changes, and a tone.
#[track_caller]
fn assert_client_gets_firefox(client: &mut Client) {
    client.wait_for_stats("a picture", |stats| stats.number("/video/fps") > 5.0);
    let first = client.wait_for_stats("a colour", |stats| stats.color().is_some()).color();
    client.wait_for_stats("another colour", |stats| stats.color().is_some() && stats.color() != first);
    client.wait_for_stats("a tone", is_beep);
}

#[track_caller]
fn choose(page: &Page, device: &str, value: &str) {
    page.eval(&format!(
        "(() => {{ const s = document.querySelector('#settings-{device}'); \
         s.value = {value:?}; s.dispatchEvent(new Event('change', {{ bubbles: true }})); }})()"
    ));
}

#[test]
fn firefox_calls_is_called_talks_and_changes_devices() {
    let _machine = machine::shared();
    let site = with(BrowserOptions { engine: Engine::Firefox, ..BrowserOptions::default() });
    let mut client = waiting_client(&site, &["--send-text", "hello from GStreamer"]);
    let page = site.open("id=web&call=gst");
    page.wait_for_peer("gst", "connected");
    assert_firefox_gets_red(&page, "gst");
    assert_client_gets_firefox(&mut client);
    let shown = "document.querySelector('#messages').textContent.includes('hello from GStreamer')";
    page.wait_for("the client's text", shown, DEADLINE);
    say(&page, "hello from Firefox");
    assert_eq!(client.wait_for("data").text("/text"), "hello from Firefox");

    // The devices change during the call.
    for device in ["camera", "microphone"] {
        choose(&page, device, "none");
    }
    client.wait_for_stats("no picture", |stats| stats.number("/video/fps") == 0.0);
    for device in ["camera", "microphone"] {
        choose(&page, device, "");
    }
    client.forget();
    assert_client_gets_firefox(&mut client);
    page.press("Escape"); // the chat
    page.click("#hang-up");
    page.assert_idle();
    assert_eq!(client.wait_for("ended").text("/reason"), "peer-left");
    client.hang_up();

    for flags in [&[][..], &["--remote-offerer"]] {
        let mut client = calling_client(&site, flags);
        page.wait_for_state("ringing");
        page.click("#accept");
        page.wait_for_peer(CALLER, "connected");
        assert_firefox_gets_red(&page, CALLER);
        assert_client_gets_firefox(&mut client);
        client.hang_up();
        page.assert_idle();
    }
    page.assert_no_console_errors();
}

/// Another camera is chosen, the microphone is taken away, and comes back.
#[test]
fn devices_that_change_within_a_call_are_followed() {
    let _machine = machine::shared();
    // In a smaller picture of the other camera less than can be measured moves.
    let site = with(BrowserOptions { full_quality: true, ..BrowserOptions::default() });
    let mut client = waiting_client(&site, &[]);
    let page = site.open("id=web&call=gst");
    assert_call_works(&page, "gst", &mut client);
    let cameras = "[...document.querySelectorAll('#settings-camera option')].map(({ value }) => value).filter((it) => it !== 'none')";
    page.wait_for("more than one camera", &format!("{cameras}.length > 1"), DEADLINE);
    let other = page.eval(&format!(
        "{cameras}.findLast((it) => it !== document.querySelector('#settings-camera').value)"
    ));
    let other = other.as_str().expect("a device").to_owned();
    choose(&page, "camera", &other);
    page.wait_for(
        "the other camera",
        &format!("document.querySelector('#preview').srcObject?.getVideoTracks()[0]?.getSettings().deviceId === {other:?}"),
        DEADLINE,
    );
    client.forget();
    assert_client_gets_camera(&mut client);

    // As when a microphone is unplugged: its track ends.
    page.eval(
        "document.querySelector('#preview').srcObject.getAudioTracks()[0].dispatchEvent(new Event('ended'))",
    );
    page.wait_for("another microphone", "callbin.state().microphone", DEADLINE);
    client.forget();
    client.wait_for_stats("a beep", is_beep);
    page.assert_no_console_errors();
}
