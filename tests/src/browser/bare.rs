//! A bare peer in a browser: an RTCPeerConnection without our page, to do what other pages do.

use crate::{Browser, Page, Server};

/// A page whose object `bare` speaks the text protocol and negotiates as its test tells it; see `bare.js`.
#[derive(Debug)]
pub struct Bare(Page);

impl Bare {
    /// Opens one and registers it as `id`.
    #[track_caller]
    pub fn open(browser: &Browser, server: &Server, id: &str) -> Self {
        // A page of the server without scripts.
        let page = browser.open(&format!("{}livez", server.url()));
        page.eval("document.body ?? document.documentElement.append(document.createElement('body')); null");
        page.eval(include_str!("bare.js"));
        page.eval(&format!("bare.open({:?}, {id:?})", server.ws_url()));
        Self(page)
    }

    /// Evaluates an expression; a promise is awaited, and an exception fails the test.
    #[track_caller]
    pub fn eval(&self, js: &str) -> serde_json::Value {
        self.0.eval(js)
    }

    /// Runs statements, which can use `bare`, `pc` and `await`.
    #[track_caller]
    pub fn run(&self, js: &str) {
        self.0.eval(&format!("(async () => {{ const {{ pc }} = bare; {js}; return null; }})()"));
    }

    /// Waits until video and audio arrive from the other side.
    #[track_caller]
    pub fn assert_plays(&self) {
        self.eval("bare.plays()");
    }

    /// The longest time in milliseconds without a new frame, since `bare.mark()`.
    #[track_caller]
    pub fn gap(&self) -> f64 {
        self.eval("bare.gap()").as_f64().expect("a gap is a number")
    }

    /// The longest time in milliseconds without sound, since `bare.mark()`.
    #[track_caller]
    pub fn sound_gap(&self) -> f64 {
        self.eval("bare.soundGap()").as_f64().expect("a gap is a number")
    }
}
