//! What the page in real Chromium shows about its server, and how it works with a server behind a proxy, in a frame, or
//! one that disappears silently.

use callbin_tests::{
    BrowserOptions, CALLER, DEADLINE, Middlebox, Page, Server, Site, Socket, WWW,
    keys::{Algorithm, Keys},
    wait_until,
};
use serde_json::json;

#[track_caller]
fn expect_notice(page: &Page, text: &str) {
    let js = format!(
        "!document.querySelector('#notice').hidden && document.querySelector('#notice-text').textContent === {text:?}"
    );
    page.wait_for(text, &js, DEADLINE);
}

#[test]
fn the_address_chooses_the_language_of_everything() {
    let site = Site::with(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let page = site.open("lang=de&call=nobody");
    expect_notice(&page, "„nobody“ wurde nicht gefunden. Stimmt der Name, und ist die Gegenseite online?");
    assert_eq!(page.eval("document.documentElement.lang"), "de");
    for (selector, text) in
        [("#lobby-heading", "Anruf beginnen"), ("#status", "Bereit"), ("#decline", "Ablehnen")]
    {
        assert_eq!(page.text(selector), text);
    }
    assert_eq!(page.eval("document.querySelector('#lobby').ariaLabel"), "Lobby");
    assert_eq!(page.eval("document.querySelector('#grid').ariaLabel"), "Teilnehmer");
    page.assert_no_console_errors();
}

/// With TLS: browsers accept brotli only then.
#[test]
fn the_page_in_the_binary_works_and_weighs_at_most_60_kb_over_the_wire() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().to_str().expect("text");
    let server = Server::start_on(0, &["--self-signed", "--cert-path", path]);
    let options = BrowserOptions { accept_insecure_certs: true, ..BrowserOptions::default() };
    let site = Site::at(server, options);
    let anna = site.open("id=anna&auto-answer=1&lang=en");
    let berta = site.open("id=berta&lang=de");
    for page in [&anna, &berta] {
        page.wait_for_state("ready");
        let weight = weight(page);
        let language = page.eval("document.documentElement.lang");
        println!("{language}: {weight} bytes");
        assert!(weight > 10_000.0 && weight <= 60_000.0, "{language}: {weight} bytes");
    }
    berta.type_text("#peer", "anna");
    berta.click("#call");
    berta.wait_for_peer("anna", "connected");
    anna.assert_sees(CALLER);
    for page in [&anna, &berta] {
        page.assert_no_console_errors();
    }
}

/// The bytes of all that a page has loaded, as they were sent.
fn weight(page: &Page) -> f64 {
    let loaded =
        "performance.getEntriesByType('navigation').concat(performance.getEntriesByType('resource'))";
    let weight = page.eval(&format!("{loaded}.reduce((sum, entry) => sum + entry.encodedBodySize, 0)"));
    weight.as_f64().expect("a number")
}

#[test]
fn a_refused_token_is_told_and_a_good_one_gives_the_name() {
    let keys = Keys::new(Algorithm::Hs256);
    let server = Server::start(&["--www", WWW, "--token-key-file", &keys.public()]);
    let site = Site::at(server, BrowserOptions::default());
    for (query, words) in [
        (String::new(), "This server is for people with an access token. Ask for a link that has one."),
        (
            format!("token={}", keys.token(json!({ "exp": 1 }))),
            "Your access token has expired. Ask for a new link.",
        ),
        ("token=a.b.c".into(), "The server does not accept your access token. Ask for a new link."),
    ] {
        let page = site.open(&query);
        expect_notice(&page, words);
        assert_eq!(page.eval("callbin.state().state"), "refused");
    }
    let token = keys.token(json!({ "uid": "alice", "rooms": ["a"] }));
    let page = site.open(&format!("token={token}"));
    page.wait_for_state("ready");
    assert_eq!(
        (page.text("#own-id"), page.eval("document.querySelector('#name').value")),
        ("alice".into(), json!("alice"))
    );
    page.type_text("#room", "b");
    page.click("#join");
    expect_notice(&page, "The server does not let you into the room “b”.");
    page.type_text("#room", "a");
    page.click("#join");
    page.wait_for_state("in-room");
    assert_eq!(page.eval("document.querySelector('#notice').hidden"), true);
}

#[test]
fn a_server_that_drains_is_not_called_unreachable_and_one_that_is_back_is_told() {
    let mut site =
        Site::at(Server::start(&["--www", WWW, "--drain-timeout", "600"]), BrowserOptions::default());
    let port = site.server.port();
    let page = site.waiting("anna");
    let session = Socket::session(&site.server, "x");
    site.server.process().signal("TERM");
    expect_notice(&page, "The server is shutting down and takes no new calls. Trying again…");
    drop(session);
    site.server.process().wait();
    site.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    page.wait_for_state("ready");
    expect_notice(&page, "Connected to the server again.");
}

#[test]
fn a_call_between_two_pages_goes_on_without_the_server_and_is_resumed() {
    let mut site = Site::up();
    let port = site.server.port();
    let anna = site.waiting("anna");
    let berta = site.open("id=berta&call=anna");
    berta.wait_for_peer("anna", "connected");
    anna.wait_for_peer(CALLER, "connected");
    let lose_server = |site: &mut Site| {
        site.server.process().kill();
        for page in [&anna, &berta] {
            expect_notice(page, "The server is gone. Your call goes on without it.");
            assert_eq!(page.text("#status"), "In a call, server gone");
        }
    };
    // Only the same connection still has this mark.
    let mark = "document.querySelector('video[data-peer]').srcObject.isMarked";
    for page in [&anna, &berta] {
        page.eval(&format!("{mark} = true"));
    }
    lose_server(&mut site);
    anna.assert_sees_and_hears(CALLER);
    berta.assert_sees_and_hears("anna");

    site.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    for page in [&anna, &berta] {
        expect_notice(page, "Connected to the server again.");
        assert_eq!((page.text("#status"), page.eval(mark)), ("In a call".into(), json!(true)));
    }
    anna.assert_sees_and_hears(CALLER);
    let mut other = Socket::register(&site.server, "other");
    other.send("SESSION anna");
    other.expect("ERROR peer 'anna' busy");

    lose_server(&mut site);
    berta.click("#hang-up");
    expect_notice(&anna, "“berta” ended the call.");
    expect_notice(&berta, "The server can't be reached. Trying again…");
    // The page that waits for calls can be called again.
    site.server = Server::start_on(port, &["--disable-ssl", "--www", WWW]);
    anna.assert_idle();
    berta.assert_idle();
    berta.click("#call");
    berta.wait_for_peer("anna", "connected");
}

/// The socket is not closed: only the missing heartbeats tell.
#[test]
fn a_connection_that_is_dead_without_a_word_is_noticed() {
    let server = Server::start(&["--www", WWW, "--keepalive-timeout", "0.5", "--pong-timeout", "1"]);
    let middlebox = Middlebox::start(server.address());
    let site = Site::at(server, BrowserOptions::default());
    let page = site.browser.open("about:blank");
    page.hurry(11_000, 4000); // announced: 1 s, plus 10 s of tolerance
    page.go(&format!("{}?id=anna", middlebox.url()));
    page.wait_for_state("ready");
    let registered = || site.server.log().matches("registered").count();
    let before = registered();
    middlebox.freeze();
    wait_until("the page to come back", DEADLINE, || (registered() > before).then_some(()));
    page.wait_for_state("ready");
    expect_notice(&page, "Connected to the server again.");
}

#[test]
fn behind_a_path_of_a_proxy_everything_is_found() {
    let server = Server::start(&["--stun-url", "stun:127.0.0.1:9"]);
    let middlebox = Middlebox::with_prefix(server.address(), "/calls/");
    let site = Site::at(server, BrowserOptions::default());
    let anna = site.browser.open(&format!("{}?id=anna&auto-answer=1", middlebox.url()));
    anna.wait_for_state("ready");
    let asked = "GET /calls/ice-servers?uid=anna ";
    wait_until("the question for ICE servers", DEADLINE, || middlebox.sent().contains(asked).then_some(()));
    let berta = site.browser.open(&format!("{}?id=berta&call=anna", middlebox.url()));
    berta.wait_for_peer("anna", "connected");
    anna.assert_sees(CALLER);
    assert!(!middlebox.sent().contains("GET /ice-servers"), "the first answer was good");
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn another_site_shows_the_page_in_a_frame_if_it_may() {
    let other = Server::start(&[]);
    let origin = other.url().trim_end_matches('/').to_owned();
    let allowed = Server::start(&["--www", WWW, "--frame-ancestors", &format!("self,{origin}")]);
    let site = Site::at(allowed, BrowserOptions::default());
    let page = site.browser.open(&format!("{}livez", other.url()));
    let show = |url: &str| {
        page.eval(&format!(
            "document.documentElement.append(Object.assign(document.createElement('iframe'), \
             {{ src: {url:?}, allow: 'camera; microphone' }})); null"
        ));
    };
    show(&format!("{}?id=framed", site.server.url()));
    site.server.wait_for_log("framed");
    let refused = || page.console_errors().iter().any(|error| error.contains("frame-ancestors"));
    assert!(!refused(), "{:?}", page.console_errors());
    show(&format!("{}?id=framed", other.url().replace("127.0.0.1", "localhost")));
    wait_until("the refusal", DEADLINE, || refused().then_some(()));
}
