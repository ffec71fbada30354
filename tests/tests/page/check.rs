//! The page's connection test in Chromium and Firefox, with a real TURN server.

use callbin_tests::{BrowserOptions, Coturn, DEADLINE, Engine, Page, Server, Site, WWW};
use serde_json::{Value, json};

/// Starts the test, and waits for its end. Returns the marks and texts of its steps by their ids, and the key of its result.
#[track_caller]
fn run(page: &Page) -> (Value, Value) {
    // Its style sheet moves the button.
    let shown = "window.callbinTest && document.querySelector('link[href$=\"check.css\"]').sheet";
    page.wait_for("the test", shown, DEADLINE);
    page.click("#check-start");
    page.wait_for("the end of the test", "callbinTest.result().mark !== 'running'", DEADLINE);
    let steps =
        page.eval("Object.fromEntries(callbinTest.steps().map(({ id, mark, key }) => [id, [mark, key]]))");
    (steps, page.eval("callbinTest.result().key"))
}

#[test]
fn chromium_finds_what_works_and_what_does_not() {
    finds_what_works_and_what_does_not(Engine::Chromium);
}

#[test]
fn firefox_finds_what_works_and_what_does_not() {
    finds_what_works_and_what_does_not(Engine::Firefox);
}

fn finds_what_works_and_what_does_not(engine: Engine) {
    let coturn = Coturn::start();
    let (udp, tls, secret) = (coturn.url(), coturn.tls_url(), coturn.secret_file());
    let tcp = format!("{udp}?transport=tcp");
    let stun = udp.replace("turn:", "stun:");
    let turn = ["--turn-url", &udp, "--turn-url", &tcp, "--turn-url", &tls, "--turn-secret-file", &secret];
    let server = Server::start(&[&["--www", WWW, "--stun-url", &stun][..], &turn].concat());
    let site = Site::at(server, BrowserOptions { engine, ..BrowserOptions::default() });
    let page = site.open("test=1&id=tester");
    page.wait_for("the test", "window.callbinTest", DEADLINE);
    assert_eq!(page.eval("callbinTest.result()"), Value::Null, "no result before the first step");
    let (steps, result) = run(&page);
    // Headless Firefox has no audio output.
    let microphone = match engine {
        Engine::Chromium => ["good", "check.microphone.good"],
        Engine::Firefox => ["warning", "check.microphone.unmeasured"],
    };
    let expected = json!({
        "camera": ["good", "check.camera.good"],
        "microphone": microphone,
        "signalling": ["good", "check.signalling.good"],
        "ice": ["good", "check.ice.good"],
        "stun-0": ["good", steps["stun-0"][1]],
        "turn-1": ["good", "check.turn.good"],
        "turn-2": ["good", "check.turn.good"],
        // A browser does not trust the certificate of this server.
        "turn-3": ["bad", "check.turn.silent"],
        "loop": ["good", "check.loop.good"],
        "bandwidth": ["good", "check.bandwidth.good"],
    });
    assert_eq!((steps, result), (expected, json!("check.summary.partly")), "{}", page.text("#check-steps"));

    page.click("#check-copy");
    let report = page.eval("document.querySelector('#check-report').value");
    let report = report.as_str().expect("a text");
    assert!(report.contains("- TURN server 127.0.0.1") && report.contains("+ Camera: It gives"), "{report}");
    for secret in ["username", "credential", "tester", "test=1"] {
        assert!(!report.contains(secret), "{secret}: {report}");
    }
    page.assert_no_console_errors();
}

#[test]
fn the_test_page_says_what_is_missing() {
    let options = BrowserOptions { block_devices: true, ..BrowserOptions::default() };
    let site = Site::with(options);
    let page = site.open("test=1");
    let (steps, result) = run(&page);
    let expected = json!({
        "camera": ["bad", "device.video.blocked"],
        "microphone": ["bad", "device.audio.blocked"],
        "signalling": ["good", "check.signalling.good"],
        "ice": ["warning", "check.ice.none"],
    });
    assert_eq!((steps, result), (expected, json!("check.summary.partly")));

    // A call that fails for the same reason says the same.
    let far = site.waiting("far");
    let near = site.browser.open("about:blank");
    near.hurry(20_000, 2000); // without a path
    near.go(&format!("{}?id=near&relay=1&call=far", site.server.url()));
    near.wait_for_peer("far", "failed");
    let (told, why) = (near.text(".veil p"), page.text("[data-step=ice] p"));
    assert_eq!(told, format!("No network path to the other side was found. {why}"));
    drop((far, near));
    drop(site.server);
    let (steps, result) = run(&page);
    assert_eq!(steps["signalling"], json!(["bad", "why.server-unreachable"]));
    assert_eq!(result, "check.summary.no-server");
    assert_eq!(page.text("[data-step=signalling] p"), "The server can't be reached.");
}
