//! The page as an operator's tool, in Chromium and Firefox: watching the cameras of a client.

use callbin_tests::{BrowserOptions, Client, DEADLINE, Engine, Page, Server, Site, WWW, machine};
use serde_json::{Value, json};

/// Counts what the page asks of the browser, and keeps its screen locks and what it downloads. The folder that the user chooses, where
/// the browser has that, is the one that it keeps for the page.
const WATCHED: &str = "window.asked = 0; window.saved = []; window.locks = []; \
    for (const name of window.MediaDevices ? ['getUserMedia', 'getDisplayMedia'] : []) { \
      const real = MediaDevices.prototype[name]; \
      MediaDevices.prototype[name] = function (...rest) { asked += 1; return real.apply(this, rest); }; } \
    HTMLAnchorElement.prototype.click = function () { saved.push({ name: this.download, href: this.href }); }; \
    if (window.WakeLock) { \
      const real = WakeLock.prototype.request; \
      WakeLock.prototype.request = async function (kind) { const lock = await real.call(this, kind); locks.push(lock); return lock; }; } \
    if (window.showDirectoryPicker) window.showDirectoryPicker = () => navigator.storage.getDirectory(); \
    delete window.showSaveFilePicker;";

/// Two cameras, of which one is red and one blue.
fn robot(site: &Site) -> Client {
    let cameras = ["--video", "front=test:red", "--video", "rear=test:blue"];
    let args = [&["wait", "--id", "robot", "--size", "160x120", "--fps", "10"], &cameras[..]].concat();
    let mut client = Client::start(&site.server, &args);
    client.wait_for("waiting");
    client
}

/// A page that watches the robot.
fn watching(engine: Engine) -> (Site, Page) {
    let server = Server::start(&["--www", WWW]);
    // The headless shell cannot keep a screen awake.
    let site = Site::at(server, BrowserOptions { engine, ..BrowserOptions::whole() });
    let page = site.browser.open("about:blank");
    page.before_load(WATCHED);
    page.hurry(12_000, 10); // until a hidden page saves data
    page.go(&format!("{}?watch=robot", site.server.url()));
    (site, page)
}

#[track_caller]
fn wait_for_cameras(page: &Page) {
    let both = "callbin.peers()[0]?.videos.filter(({ picture }) => picture === 'live').length === 2";
    page.wait_for("both cameras", both, DEADLINE);
}

const NO_VIDEOS: &str = "callbin.peers()[0].videos.every(({ picture }) => picture === 'none')";

/// Hides or shows the page: for its scripts, because a hidden one gets little time.
fn hide(page: &Page, hidden: bool) {
    page.eval(&format!(
        "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
         document.dispatchEvent(new Event('visibilitychange'))"
    ));
}

/// The mean colour of what the page saved as number `n`, at its middle.
fn saved_color(page: &Page, n: usize) -> String {
    let js = format!(
        "(async () => {{ const image = new Image(); image.src = saved[{n}].href; await image.decode(); \
         const context = new OffscreenCanvas(1, 1).getContext('2d'); \
         context.drawImage(image, image.width / 2, image.height / 2, 1, 1, 0, 0, 1, 1); \
         const [r, g, b] = context.getImageData(0, 0, 1, 1).data; \
         return `${{image.width}}x${{image.height}} ${{r > 200 ? 'red' : b > 200 ? 'blue' : [r, g, b]}}`; }})()"
    );
    page.eval(&js).as_str().unwrap_or_default().into()
}

/// Chooses an item of the menu under the call.
#[track_caller]
fn choose(page: &Page, text: &str) {
    page.click("#more");
    let item =
        format!("[...document.querySelectorAll('.menu button')].find((it) => it.textContent === {text:?})");
    page.wait_for(text, &item, DEADLINE);
    page.eval(&format!("{item}.click()"));
}

/// What the files of all cameras show: of the folder if the browser writes to the disk, else of the downloads from `first` on.
fn recorded(page: &Page, first: usize) -> Value {
    page.eval(&format!(
        "(async () => {{ const files = saved.slice({first}); const folder = await window.showDirectoryPicker?.(); \
         for await (const file of folder?.values() ?? []) files.push({{ name: file.name, href: URL.createObjectURL(await file.getFile()) }}); \
         const shown = files.map(async ({{ name, href }}) => {{ \
           const video = Object.assign(document.createElement('video'), {{ src: href, muted: true }}); await video.play(); \
           const context = new OffscreenCanvas(1, 1).getContext('2d'); context.drawImage(video, 0, 0, 1, 1); \
           const [r, , b] = context.getImageData(0, 0, 1, 1).data; \
           return `${{name.split('_')[0]}} ${{video.videoWidth}}x${{video.videoHeight}} ${{r > b ? 'red' : 'blue'}}`; }}); \
         return (await Promise.all(shown)).sort(); }})()"
    ))
}

fn watches(engine: Engine) {
    let _machine = machine::shared();
    let (site, page) = watching(engine);
    page.wait_for(
        "the text",
        "document.querySelector('#alone').textContent.includes('“robot” is not there')",
        DEADLINE,
    );
    let mut client = robot(&site);
    wait_for_cameras(&page);
    let names =
        "[...document.querySelectorAll('.tile:not(.self) .name')].map((node) => node.textContent).join()";
    assert_eq!(page.eval(names), "robot · front,robot · rear");
    assert_eq!(page.eval("asked"), 0);
    let hidden = "[...document.querySelectorAll('#mic, #camera, .tile.self')].every((node) => !node.checkVisibility())";
    assert_eq!(page.eval(hidden), true);

    // The second camera is enlarged, turned and saved.
    page.press("2");
    assert_eq!(page.eval("callbin.state().enlarged"), "robot 2");
    page.press("r");
    page.press("s");
    page.wait_for("the picture", "saved.length === 1", DEADLINE);
    assert_eq!(saved_color(&page, 0), "120x160 blue");
    assert!(
        page.eval("/^robot-rear_[-_\\d]{19}\\.png$/.test(saved[0].name)") == true,
        "{}",
        page.eval("saved")
    );
    page.press("Escape");
    assert_eq!(page.eval("callbin.state().enlarged"), Value::Null);

    for (key, element) in [("f", "fullscreenElement"), ("p", "pictureInPictureElement")] {
        for is_on in [true, false] {
            page.press(key);
            page.wait_for(element, &format!("(document.{element} !== null) === {is_on}"), DEADLINE);
        }
    }

    // A recording of the first one plays.
    page.press("1");
    page.press("c");
    page.wait_for("the recording", "!document.querySelector('.tile.main .recording').hidden", DEADLINE);
    let frames = page.frames_decoded("robot");
    page.wait_for("some frames", &format!("callbin.peers()[0].framesDecoded > {frames} + 10"), DEADLINE);
    page.press("c");
    page.wait_for("the file", "saved.length === 2", DEADLINE);
    let plays = "(async () => { const video = document.createElement('video'); video.src = saved[1].href; video.muted = true; \
         await video.play(); return `${video.videoWidth}x${video.videoHeight}`; })()";
    assert_eq!(page.eval(plays), "160x120");

    // So do recordings of all.
    choose(&page, "Record all");
    page.wait_for("both", "document.querySelectorAll('.recording:not([hidden])').length === 2", DEADLINE);
    let frames = page.frames_decoded("robot");
    page.wait_for("some frames", &format!("callbin.peers()[0].framesDecoded > {frames} + 10"), DEADLINE);
    choose(&page, "Stop all recordings");
    page.wait_for(
        "both files",
        "document.querySelectorAll('.recording:not([hidden])').length === 0",
        DEADLINE,
    );
    assert_eq!(recorded(&page, 2), json!(["robot-front 160x120 red", "robot-rear 160x120 blue"]));

    // A hidden page receives no videos.
    hide(&page, true);
    page.wait_for("no videos", NO_VIDEOS, DEADLINE);
    assert_eq!(page.eval("callbin.state().enlarged"), "robot", "its tile stays");
    hide(&page, false);
    wait_for_cameras(&page);

    // It is called again when it is back.
    client.process().kill();
    page.wait_for("its end", "callbin.peers().length === 0", DEADLINE);
    assert_eq!(page.text("#title"), "robot");
    let _client = robot(&site);
    wait_for_cameras(&page);
    page.wait_for("the lock of the screen", "locks.some(({ released }) => !released)", DEADLINE);
    page.click("#hang-up");
    page.wait_for("its end", "locks.every(({ released }) => released)", DEADLINE);
    page.assert_idle();
    page.assert_no_console_errors();
}

#[test]
fn chromium_watches_the_cameras_of_a_client() {
    watches(Engine::Chromium);
}

#[test]
fn firefox_watches_the_cameras_of_a_client() {
    watches(Engine::Firefox);
}

#[test]
fn a_hidden_page_saves_data_in_a_call_with_a_page() {
    let _machine = machine::shared();
    let site = Site::up();
    let hurried = |query: &str| {
        let page = site.browser.open("about:blank");
        page.hurry(12_000, 10); // until a hidden page saves data
        page.go(&format!("{}?{query}", site.server.url()));
        page
    };
    let anna = hurried("id=anna&auto-answer=1");
    anna.wait_for_state("ready");
    let berta = hurried("id=berta&call=anna");
    let live = "callbin.peers()[0]?.picture === 'live'";
    for page in [&anna, &berta] {
        page.wait_for("a picture", live, DEADLINE);
    }
    for (page, other) in [(&anna, &berta), (&berta, &anna)] {
        hide(page, true);
        page.wait_for("no videos", NO_VIDEOS, DEADLINE);
        assert_eq!(other.eval(live), true, "the other one still gets its picture");
        hide(page, false);
        page.wait_for("the picture again", live, DEADLINE);
        page.assert_no_console_errors();
    }
}
