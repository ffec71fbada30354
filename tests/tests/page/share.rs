//! Sharing with the page: a screen beside and instead of the camera, from Chromium to Firefox, and talking while muted.

use callbin_tests::{Browser, BrowserOptions, DEADLINE, Engine, Page, Site, machine};

/// Two members of the room `r`: Chromium with its fake camera, screen and microphone, and Firefox.
fn meeting() -> (Site, Browser, Page, Page) {
    let site = Site::with(BrowserOptions { full_quality: true, ..BrowserOptions::whole() });
    let firefox = Browser::start(BrowserOptions { engine: Engine::Firefox, ..BrowserOptions::default() });
    let anna = site.join("anna");
    let berta = firefox.open(&format!("{}?room=r&id=berta&join=1", site.server.url()));
    anna.wait_for_peer("berta", "connected");
    berta.wait_for_peer("anna", "connected");
    (site, firefox, anna, berta)
}

/// Waits until these pictures of anna's are live, and have these widths.
#[track_caller]
fn wait_for_pictures(berta: &Page, widths: &[u32]) {
    let js = format!(
        "callbin.peers()[0]?.videos.every(({{ picture }}) => picture === 'live') && \
         [...document.querySelectorAll('video[data-peer=anna]')].map((video) => video.videoWidth).join() === {:?}",
        widths.iter().map(u32::to_string).collect::<Vec<_>>().join(",")
    );
    berta.wait_for(&format!("pictures of {widths:?}"), &js, DEADLINE);
}

#[track_caller]
fn choose(page: &Page, name: &str, value: &str) {
    page.eval(&format!(
        "(() => {{ const select = document.querySelector('#quality-{name}'); select.value = {value:?}; \
         select.dispatchEvent(new Event('change')); }})()"
    ));
}

#[track_caller]
fn share(page: &Page, shares: bool) {
    page.click("#share");
    page.wait_for("the screen", &format!("callbin.state().screen === {shares}"), DEADLINE);
}

#[test]
fn a_screen_is_shared_beside_and_instead_of_the_camera_with_the_chosen_codec() {
    let _machine = machine::alone(); // two browsers encode
    let (_site, _firefox, anna, berta) = meeting();
    choose(&anna, "resolution", "360");
    wait_for_pictures(&berta, &[640]);
    share(&anna, true);
    wait_for_pictures(&berta, &[640, 800]);
    share(&anna, false);
    wait_for_pictures(&berta, &[640]);

    choose(&anna, "screenPlace", "instead");
    share(&anna, true);
    wait_for_pictures(&berta, &[800]);
    assert_eq!(anna.eval("document.querySelector('.tile.self').matches('.screen')"), true);
    choose(&anna, "codec", "VP9");
    berta.wait_for("the codec", "callbin.stats().anna.videoIn.codec === 'VP9'", DEADLINE);
    share(&anna, false);
    wait_for_pictures(&berta, &[640]);
    assert_eq!(anna.eval("callbin.state().connections"), 1);
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}

/// Notes when a page last heard Anna: from the energy of the sound that it has played, in which no beep is missed. A change as small
/// as a rounding error is not sound.
const LISTEN: &str = "(() => { let energy = 0, heard = performance.now(); \
    setInterval(() => { const now = callbin.stats().anna?.audioIn?.energy ?? 0; \
      if (now > energy + 1e-6) [energy, heard] = [now, performance.now()]; }, 100); \
    window.quiet = () => performance.now() - heard; })()";

/// Chromium's fake microphone beeps every half second, and its fake screen does, too.
#[test]
fn the_sound_of_a_screen_is_heard_while_the_microphone_is_muted() {
    let _machine = machine::shared();
    let site = Site::up();
    let (anna, berta) = (site.join("anna"), site.join("berta"));
    berta.wait_for_peer("anna", "connected");
    berta.eval(LISTEN);
    let hears =
        |what: &str, is_heard: &str| berta.wait_for(what, &format!("quiet() {is_heard}"), 2 * DEADLINE);
    hears("the microphone", "< 1000");
    anna.press("m");
    hears("silence", "> 4000");
    share(&anna, true);
    hears("the sound of the screen", "< 1000");
    share(&anna, false);
    hears("silence without the screen", "> 4000");
    assert_eq!(anna.eval("callbin.state().microphone"), false);
    for page in [&anna, &berta] {
        page.assert_no_console_errors();
    }
}

/// The microphone hears a tone all the time. Chromium's fake one only beeps.
const TONE: &str = "if (window.MediaDevices) { const real = MediaDevices.prototype.getUserMedia; \
    MediaDevices.prototype.getUserMedia = async function (wish) { \
      const stream = await real.call(this, wish); \
      const context = new AudioContext(); const out = context.createMediaStreamDestination(); \
      const tone = new OscillatorNode(context); tone.connect(out); tone.start(); \
      stream.getAudioTracks().forEach((track) => { stream.removeTrack(track); stream.addTrack(out.stream.getAudioTracks()[0]); }); \
      return stream; }; }";

#[test]
fn talking_while_muted_is_told_and_a_key_held_down_unmutes() {
    let _machine = machine::shared();
    let site = Site::up();
    let page = site.browser.open("about:blank");
    page.before_load(TONE);
    page.go(&format!("{}?room=r&id=anna", site.server.url()));
    page.wait_for("the microphone", "callbin.state().microphone", DEADLINE);
    page.click("#join");
    page.wait_for_state("in-room");
    page.press("m");
    page.wait_for("the mute", "!callbin.state().microphone", DEADLINE);
    let told = "document.querySelector('#notice-text').textContent.startsWith('You are talking')";
    page.wait_for("the notice", told, DEADLINE);
    let key = |kind: &str, target: &str| {
        page.eval(&format!(
            "{target}.dispatchEvent(new KeyboardEvent('{kind}', {{ code: 'Space', bubbles: true }}))"
        ));
        page.eval("callbin.state().microphone")
    };
    assert_eq!(key("keydown", "document.querySelector('#mic')"), false, "a button has the focus");
    assert_eq!(key("keydown", "document.body"), true);
    assert_eq!(key("keyup", "document.body"), false);
    page.assert_no_console_errors();
}
