//! The accessibility of the page in real Chromium: axe-core finds nothing, it fits small and enlarged screens, and it works with the
//! keyboard alone and with a screen reader.

use std::{fs, process::Command};

use callbin_tests::{CALLER, DEADLINE, Page, Site};
use serde_json::json;

/// axe-core, which scripts/page-tools.sh installs.
fn axe() -> String {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/page-tools.sh");
    let output = Command::new(script).output().expect("the script runs");
    assert!(output.status.success(), "{output:?}");
    let folder = String::from_utf8(output.stdout).expect("a path is text");
    fs::read_to_string(format!("{}/axe-core/axe.min.js", folder.trim())).expect("axe-core is installed")
}

/// Looks at a view on a desk, on a phone, and on a desk at 200 %, in both colour schemes.
#[track_caller]
fn is_accessible(page: &Page, axe: &str, view: &str) {
    if page.eval("window.axe === undefined") == true {
        page.eval(axe);
    }
    for (scheme, (width, height)) in [
        ("light", (1280, 800)),
        ("dark", (1280, 800)),
        ("dark", (390, 844)),
        ("light", (390, 844)),
        ("dark", (640, 400)),
    ] {
        page.resize(width, height);
        page.set_color_scheme(scheme);
        // Colours fade for a moment.
        let still = "Promise.all(document.getAnimations().filter((it) => it.effect.getTiming().iterations !== Infinity) \
             .map((it) => it.finished.catch(() => {}))).then(() => innerWidth)";
        page.wait_for("the size", &format!("innerWidth === {width}"), DEADLINE);
        page.eval(still);
        let found = page.eval(
            "axe.run(document, { resultTypes: ['violations'] }).then(({ violations }) => \
             violations.map(({ id, nodes }) => [id, nodes.map(({ html }) => html)]))",
        );
        assert_eq!(found, json!([]), "{view}, {scheme}, {width}");
        let fits = page.eval("document.documentElement.scrollWidth <= innerWidth");
        assert_eq!(fits, true, "{view} at {width} scrolls sideways");
    }
    page.resize(1280, 800);
}

#[test]
fn axe_finds_nothing_in_any_view() {
    let (site, axe) = (Site::up(), axe());
    let page = site.open("test=1");
    // Its style sheet moves the button.
    let shown = "window.callbinTest && document.querySelector('link[href$=\"check.css\"]').sheet";
    page.wait_for("the test", shown, DEADLINE);
    page.click("#check-start");
    page.wait_for("its end", "callbinTest.result().mark !== 'running'", DEADLINE);
    page.click("#check-copy");
    is_accessible(&page, &axe, "test");
    drop(page);

    // The call rings and waits as long as axe needs.
    let patient = |query: &str| {
        let page = site.browser.open("about:blank");
        page.hurry(30_000, 600_000);
        page.hurry(45_000, 600_000);
        page.go(&format!("{}?{query}", site.server.url()));
        page
    };
    let anna = patient("id=anna");
    anna.wait_for_state("ready");
    is_accessible(&anna, &axe, "lobby");
    let berta = patient("id=berta&call=anna");
    anna.wait_for_state("ringing");
    is_accessible(&anna, &axe, "ring");
    anna.click("#accept");
    anna.wait_for_peer(CALLER, "connected");
    is_accessible(&anna, &axe, "call");
    anna.click("#show-settings");
    is_accessible(&anna, &axe, "settings");
    anna.press("Escape");
    anna.click("#show-chat");
    is_accessible(&anna, &axe, "chat");
    anna.press("Escape");
    berta.click("#hang-up");
    anna.wait_for_state("ready");
    drop(berta);

    let (room, other) = (site.join("carla"), site.join("dora"));
    room.wait_for_peer("dora", "connected");
    room.click("#show-stats");
    is_accessible(&room, &axe, "room");
    drop(other);
}

/// Presses Tab until the element has the focus.
#[track_caller]
fn tab_to(page: &Page, selector: &str) {
    for _ in 0..60 {
        if page.eval(&format!("document.activeElement?.matches({selector:?})")) == true {
            return;
        }
        page.press("Tab");
    }
    panic!("Tab does not reach {selector}: {}", page.describe());
}

#[test]
fn the_keyboard_does_everything_and_a_screen_reader_hears_of_others() {
    let site = Site::up();
    let anna = site.open("id=anna");
    anna.wait_for_state("ready");
    tab_to(&anna, "#room");
    anna.type_text("#room", "r");
    anna.press("Enter");
    anna.wait_for_state("in-room");
    let news = |text: &str| {
        anna.wait_for(text, &format!("document.querySelector('#news').textContent === {text:?}"), DEADLINE)
    };
    let berta = site.join("berta");
    news("berta has joined");
    anna.wait_for_peer("berta", "connected");
    berta.wait_for_peer("anna", "connected");
    tab_to(&anna, "#show-chat");
    anna.press("Enter");
    anna.wait_for("the focus", "document.activeElement.id === 'chat-text'", DEADLINE);
    anna.wait_for("the channel", "callbin.peers()[0].chat", DEADLINE);
    anna.type_text("#chat-text", "hi");
    anna.press("Enter");
    anna.press("Escape");
    anna.wait_for("the focus back", "document.activeElement.id === 'show-chat'", DEADLINE);
    berta.wait_for("the text", "document.querySelector('#news').textContent === 'anna writes: hi'", DEADLINE);
    drop(berta);
    news("berta has left");
    tab_to(&anna, "#hang-up");
    anna.press("Enter");
    anna.wait_for_state("ready");
    anna.wait_for("the focus in the lobby", "document.activeElement.id === 'lobby-heading'", DEADLINE);
}
