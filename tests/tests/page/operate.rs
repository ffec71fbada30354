//! Operating a client from the page, in Chromium and Firefox.

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Engine, Page, Site, machine, wait_until};
use serde_json::json;
use tempfile::TempDir;

/// A robot that writes all commands into a file.
fn robot(site: &Site, folder: &TempDir) -> Client {
    let controls = json!({ "controls": [
        { "id": "drive", "type": "joystick", "label": "Drive" },
        { "id": "light", "type": "button", "label": "Light" },
        { "id": "speed", "type": "slider", "max": 10, "step": 1 },
    ] });
    let file = folder.path().join("robot.json");
    std::fs::write(&file, controls.to_string()).expect("there is room");
    let log = folder.path().join("log");
    let channel = format!("controls=exec:cat >> {}?text&exclusive&hold=1s", log.display());
    let file = file.to_str().expect("a path is text");
    let args = [
        "room",
        "r",
        "--id",
        "robot",
        "--size",
        "160x120",
        "--fps",
        "10",
        "--data",
        &channel,
        "--controls",
        file,
    ];
    let mut client = Client::start(&site.server, &args);
    client.wait_for("joined");
    client
}

fn log(folder: &TempDir) -> String {
    std::fs::read_to_string(folder.path().join("log")).unwrap_or_default()
}

#[track_caller]
fn wait_for_log(folder: &TempDir, part: &str, times: usize) {
    wait_until(part, DEADLINE, || (log(folder).matches(part).count() >= times).then_some(()));
}

#[track_caller]
fn wait_for_hold(page: &Page, hold: &str) {
    let js = format!("callbin.peers().find(({{ uid }}) => uid === 'robot')?.controls === {hold:?}");
    page.wait_for(&format!("controls that are {hold}"), &js, DEADLINE);
}

/// Collects the changes of the hold in the page: a short one is not seen from outside.
fn record_holds(page: &Page) {
    page.eval(
        "window.holds = []; setInterval(() => { const hold = callbin.peers()[0]?.controls; \
         if (hold !== holds.at(-1)) holds.push(hold); }, 20)",
    );
}

fn arrow(page: &Page, kind: &str) {
    let js = format!(
        "document.querySelector('.joystick').dispatchEvent(new KeyboardEvent('{kind}', {{ key: 'ArrowUp', bubbles: true }}))"
    );
    page.eval(&js);
}

#[test]
fn a_robot_is_operated_by_one_of_two_pages_while_its_picture_is_live() {
    let _machine = machine::shared();
    let folder = tempfile::tempdir().expect("there is room");
    let site = Site::up();
    let firefox = Browser::start(BrowserOptions { engine: Engine::Firefox, ..BrowserOptions::default() });
    let mut client = robot(&site, &folder);
    let anna = site.open("room=r&id=anna&watch=1");
    let berta = firefox.open(&format!("{}?room=r&id=berta&watch=1", site.server.url()));
    for page in [&anna, &berta] {
        wait_for_hold(page, "live");
        assert_eq!(page.eval("document.querySelectorAll('#panel [data-control]').length"), 3);
    }

    // The joystick repeats what is held, and ends in its middle.
    arrow(&anna, "keydown");
    wait_for_log(&folder, r#"{"id":"drive","value":[0,1]}"#, 3);
    wait_for_hold(&berta, "held");
    assert_eq!(berta.text("#panel .hint"), "Held back: anna has the control.");
    arrow(&anna, "keyup");
    wait_for_log(&folder, r#"{"id":"drive","value":[0,0]}"#, 1);
    // Her messages stop, and the next one has the control, for a second.
    wait_for_hold(&berta, "live");
    record_holds(&anna);
    berta.click("[data-control=light]");
    wait_for_log(&folder, r#"{"id":"light","value":1}"#, 1);
    anna.wait_for("control of the other one, for a time", "holds.join() === 'live,held,live'", DEADLINE);

    // A picture that stands still holds everything back, and nothing is sent later.
    client.process().signal("STOP");
    wait_for_hold(&anna, "stale");
    assert_eq!(anna.eval("document.querySelector('#panel fieldset').disabled"), true);
    arrow(&anna, "keydown");
    anna.eval("document.querySelector('[data-control=light]').click()");
    let before = log(&folder);
    client.process().signal("CONT");
    wait_for_hold(&anna, "live");
    anna.eval("(() => { const range = document.querySelector('#panel input'); range.value = 7; range.dispatchEvent(new Event('input')); })()");
    wait_for_log(&folder, r#"{"id":"speed","value":7}"#, 1);
    assert_eq!(log(&folder), format!("{before}{{\"id\":\"speed\",\"value\":7}}\n"));
    anna.assert_no_console_errors();
    berta.assert_no_console_errors();
}
