//! An incoming call to the page in real Chromium: it rings, and nothing is sent to the caller before it is accepted.

use callbin_tests::{CALLER, DEADLINE, Page, Site, Socket};
use serde_json::json;

/// A registered page that rings on a call.
#[track_caller]
fn ringing_page(site: &Site, id: &str) -> Page {
    let page = site.open(&format!("id={id}"));
    page.wait_for_state("ready");
    page.wait_for("the camera", "callbin.state().camera", DEADLINE);
    page
}

/// An offer that any browser would answer.
#[track_caller]
fn offer(site: &Site) -> String {
    let page = site.browser.open(&format!("{}livez", site.server.url()));
    let sdp = page.eval(
        "(async () => { const pc = new RTCPeerConnection(); pc.addTransceiver('audio'); \
         const { sdp } = await pc.createOffer(); pc.close(); return sdp; })()",
    );
    json!({ "sdp": { "type": "offer", "sdp": sdp } }).to_string()
}

#[track_caller]
fn call(site: &Site, from: &str, to: &str) -> Socket {
    let mut caller = Socket::register(&site.server, from);
    caller.send(&format!("SESSION {to}"));
    caller.expect("SESSION_OK");
    caller
}

#[test]
fn a_strangers_call_gets_nothing_before_it_is_accepted() {
    let site = Site::up();
    let offer = offer(&site);
    let page = ringing_page(&site, "anna");
    for dismiss in ["click", "Escape"] {
        let mut caller = call(&site, "berta", "anna");
        caller.send(&offer);
        page.wait_for_state("ringing");
        assert_eq!(page.text("#ring-heading"), "berta is calling you");
        assert_eq!(page.eval("document.title"), "☎ berta is calling you – callbin");
        assert_eq!(
            (page.text("#status"), page.eval("callbin.state().peer")),
            ("Incoming call".into(), json!(null))
        );
        // A key meant for something else does not accept the call.
        page.press("Enter");
        assert_eq!(page.eval("callbin.state().state"), "ringing");
        assert_eq!(page.eval("callbin.state().connections"), 0);
        if dismiss == "click" {
            page.resize(320, 568);
            let clipped = "[...document.querySelectorAll('#ring, #ring button')] \
                 .filter((it) => it.scrollWidth > it.clientWidth || it.scrollHeight > it.clientHeight).map(({ id }) => id).join()";
            assert_eq!(page.eval(clipped), "", "all of it fits a phone");
            page.click("#decline");
        } else {
            page.press("Escape");
        }
        // The first thing that the caller receives.
        caller.expect_close(1000, "");
        page.assert_idle();
        assert_eq!(page.eval("document.querySelector('#ring').open"), false);
        assert_eq!(page.eval("document.title"), "callbin");
    }
    page.assert_no_console_errors();
}

#[test]
fn a_call_is_accepted_with_or_without_the_camera() {
    let site = Site::up();
    let anna = ringing_page(&site, "anna");
    let berta = site.open("id=berta&call=anna");
    anna.wait_for_state("ringing");
    assert_eq!(berta.text("#status"), "Calling…");
    anna.click("#accept-without-camera");
    berta.wait_for_peer("anna", "connected");
    assert_eq!((anna.text("#title"), anna.text("#status")), ("berta".into(), "In a call".into()));
    anna.assert_sees_and_hears(CALLER);
    berta.wait_for_sound("anna", 0.005);
    assert_eq!(anna.eval("callbin.state().camera"), false);
    assert_eq!(berta.frames_decoded("anna"), 0);
    berta.click("#hang-up");
    anna.assert_idle();

    berta.wait_for_state("ready");
    berta.click("#call");
    anna.wait_for_state("ringing");
    anna.click("#accept");
    berta.wait_for_peer("anna", "connected");
    berta.assert_sees_and_hears("anna");

    // A decline is reported to the caller.
    berta.click("#hang-up");
    anna.assert_idle();
    berta.wait_for_state("ready");
    berta.click("#call");
    anna.wait_for_state("ringing");
    anna.click("#decline");
    let told = "document.querySelector('#notice-text').textContent === '“anna” did not take the call.'";
    berta.wait_for("the words", told, DEADLINE);
    berta.assert_idle();
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

#[test]
fn a_call_that_nobody_takes_ends() {
    let site = Site::up();
    let page = site.open("");
    page.hurry(30_000, 500);
    page.go(&format!("{}?id=anna", site.server.url()));
    page.wait_for_state("ready");
    // It rings until its time is over, and the caller gets no message before the close.
    let mut caller = call(&site, "berta", "anna");
    caller.expect_close(1000, "");
    page.assert_idle();
    assert_eq!(page.text("#notice-text"), "You missed a call from “berta”.");
}
