//! One page: its text, pictures, sound and errors, and input as from a user.

use std::{path::Path, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::tab::Tab;
use crate::wait::DEADLINE;

/// An open page. Dropping it closes it, as a user would.
#[derive(Debug)]
pub struct Page(Box<dyn Tab>);

/// Measurements of a remote video, from two frames some time apart.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub struct VideoProbe {
    /// Mean red, 0 to 255.
    pub r: f64,
    /// Mean green.
    pub g: f64,
    /// Mean blue.
    pub b: f64,
    /// Mean difference of a pixel between the two frames, 0 to 255: 0 is a still picture.
    pub motion: f64,
    /// The width of the video itself.
    pub width: u32,
    /// The height of the video itself.
    pub height: u32,
    /// Frames shown since the video began.
    pub frames: u64,
}

impl Page {
    #[track_caller]
    pub(super) fn open(tab: Box<dyn Tab>, url: &str, (width, height): (u32, u32)) -> Self {
        let page = Self(tab);
        page.resize(width, height);
        page.go(url);
        page
    }

    /// Goes to another address and waits until it has loaded. callbin's own page then still waits for its texts.
    #[track_caller]
    pub fn go(&self, url: &str) {
        self.eval("window.callbinTestLeft = true");
        self.0.navigate(url);
        let loaded = "!window.callbinTestLeft && document.readyState === 'complete' \
            && (!document.querySelector('script[src$=\"start.js\"]') || window.callbin || window.callbinTest)";
        self.wait_for(&format!("{url} to load"), loaded, DEADLINE);
    }

    /// Runs a script in each document that this page loads from now on, before the document's own scripts.
    #[track_caller]
    pub fn before_load(&self, js: &str) {
        self.0.before_load(js);
    }

    /// From the next load on, a timer of `from` milliseconds fires after `to` milliseconds instead.
    #[track_caller]
    pub fn hurry(&self, from: u32, to: u32) {
        self.before_load(&format!(
            "{{ const wait = setTimeout; \
             window.setTimeout = (act, ms, ...rest) => wait(act, ms === {from} ? {to} : ms, ...rest); }}"
        ));
    }

    /// The value of an expression; a promise is awaited. An exception fails the test.
    #[track_caller]
    pub fn eval(&self, js: &str) -> Value {
        self.try_eval(js).unwrap_or_else(|error| panic!("{js}: {error}"))
    }

    /// Like `eval`, but returns an exception as an error.
    pub fn try_eval(&self, js: &str) -> Result<Value, String> {
        self.0.eval(js)
    }

    /// Waits until an expression is true. An exception counts as false.
    #[track_caller]
    pub fn wait_for(&self, what: &str, js_condition: &str, deadline: Duration) {
        let condition = format!("Boolean({js_condition})");
        let met = || self.try_eval(&condition).is_ok_and(|value| value == true).then_some(());
        let start = std::time::Instant::now();
        while met().is_none() {
            assert!(
                start.elapsed() < deadline,
                "waited {deadline:?} in vain for: {what}\n{}",
                self.describe()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The state of the page, for failure messages.
    pub fn describe(&self) -> String {
        let js = "JSON.stringify({ address: location.href, status: document.querySelector('#status')?.textContent, \
            notice: document.querySelector('#notice:not([hidden])')?.textContent.trim(), state: window.callbin?.state(), \
            peers: window.callbin?.peers(), stats: window.callbin?.stats() })";
        let state = self.try_eval(js).unwrap_or_else(Value::String);
        format!("the page: {}\nits console: {:?}", state.as_str().unwrap_or_default(), self.console_errors())
    }

    /// The text of the first element that matches.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({})?.textContent ?? null", quote(selector)));
        text.as_str().unwrap_or_else(|| panic!("the page has no {selector}")).trim().into()
    }

    /// Clicks the middle of the first element that matches, like a mouse: an element that covers it gets the click.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        self.mouse(selector, true);
    }

    /// Moves the mouse over the first element that matches.
    #[track_caller]
    pub fn hover(&self, selector: &str) {
        self.mouse(selector, false);
    }

    #[track_caller]
    fn mouse(&self, selector: &str, presses: bool) {
        let js = format!(
            "(() => {{ const e = document.querySelector({}); e.scrollIntoView({{ block: 'nearest' }}); \
             const r = e.getBoundingClientRect(); \
             return r.width ? {{ x: r.x + r.width / 2, y: r.y + r.height / 2 }} : null; }})()",
            quote(selector)
        );
        let place = self.eval(&js);
        assert!(place.is_object(), "{selector} can't be seen\n{}", self.describe());
        self.0.mouse(
            place["x"].as_f64().unwrap_or_default(),
            place["y"].as_f64().unwrap_or_default(),
            presses,
        );
    }

    /// Types into the first element that matches, replacing its text.
    #[track_caller]
    pub fn type_text(&self, selector: &str, text: &str) {
        self.eval(&format!("document.querySelector({}).focus()", quote(selector)));
        self.eval(&format!("document.querySelector({}).select()", quote(selector)));
        self.0.insert(text);
    }

    /// Presses a key such as `Enter`, `Tab`, `Escape`, `p` or `1`.
    #[track_caller]
    pub fn press(&self, key: &str) {
        self.0.press(key);
    }

    /// Measures the video of a peer, once it has a picture.
    #[track_caller]
    pub fn video_probe(&self, uid: &str) -> VideoProbe {
        let selector = format!("video[data-peer={}]", quote(uid));
        let ready = format!(
            "(() => {{ const v = document.querySelector({}); return v && v.readyState >= 2 && v.videoWidth; }})()",
            quote(&selector)
        );
        self.wait_for(&format!("a picture of {uid}"), &ready, DEADLINE);
        let probe = self.eval(&format!("({})({})", include_str!("video_probe.js"), quote(&selector)));
        serde_json::from_value(probe).expect("the probe is as its script makes it")
    }

    /// The loudest moment of a peer within 1.5 s, as RMS from 0 to 1, measured behind the decoder.
    #[track_caller]
    pub fn audio_level(&self, uid: &str) -> f64 {
        self.loudest_moment(uid, Duration::from_millis(1500), 1.0)
    }

    /// Waits until a peer is louder than `level`, measured as in [`Page::audio_level`]. (Chromium's fake microphone is
    /// silent between its beeps, and a decoder before the first packets.)
    #[track_caller]
    pub fn wait_for_sound(&self, uid: &str, level: f64) {
        let loudest = self.loudest_moment(uid, DEADLINE / 2, level);
        assert!(loudest >= level, "{uid} is silent: {loudest}\n{}", self.describe());
    }

    #[track_caller]
    fn loudest_moment(&self, uid: &str, within: Duration, enough: f64) -> f64 {
        let selector = format!("video[data-peer={}]", quote(uid));
        let listen = include_str!("audio_level.js");
        let js = format!("({listen})({}, {}, {enough})", quote(&selector), within.as_millis());
        self.eval(&js).as_f64().unwrap_or_else(|| panic!("no sound of {uid}\n{}", self.describe()))
    }

    /// Decoded frames of a peer's video so far; the page counts them once per second.
    #[track_caller]
    pub fn frames_decoded(&self, uid: &str) -> u64 {
        let js = format!("callbin.peers().find(({{ uid }}) => uid === {})?.framesDecoded ?? 0", quote(uid));
        self.eval(&js).as_u64().unwrap_or_default()
    }

    /// Waits for the page's state: `ready`, `in-call`, `in-room`, …
    #[track_caller]
    pub fn wait_for_state(&self, state: &str) {
        self.wait_for(
            &format!("the state {state}"),
            &format!("callbin.state().state === {}", quote(state)),
            DEADLINE,
        );
    }

    /// Waits until a peer's connection is `connected`, `failed`, …
    #[track_caller]
    pub fn wait_for_peer(&self, uid: &str, state: &str) {
        let js =
            format!("callbin.peers().some((p) => p.uid === {} && p.state === {})", quote(uid), quote(state));
        self.wait_for(&format!("{uid} to be {state}"), &js, DEADLINE);
    }

    /// Errors and exceptions on the console so far, including violations of the content security policy.
    pub fn console_errors(&self) -> Vec<String> {
        self.0.troubles()
    }

    /// Fails if there were errors on the console.
    #[track_caller]
    pub fn assert_no_console_errors(&self) {
        assert_eq!(self.console_errors(), Vec::<String>::new(), "{}", self.describe());
    }

    /// Sets the size of the window's content.
    #[track_caller]
    pub fn resize(&self, width: u32, height: u32) {
        self.0.resize(width, height);
    }

    /// Sets the preferred colour scheme: `dark` or `light`.
    #[track_caller]
    pub fn set_color_scheme(&self, scheme: &str) {
        self.0.set_color_scheme(scheme);
    }

    /// Writes a screenshot of the page as PNG.
    #[track_caller]
    pub fn screenshot(&self, path: &Path) {
        let png =
            data_encoding::BASE64.decode(self.0.screenshot().as_bytes()).expect("a browser writes base64");
        std::fs::write(path, png).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// A string as a JavaScript literal. JSON is valid for that, and for strings in our CSS selectors.
fn quote(text: &str) -> String {
    json!(text).to_string()
}
