//! A bare peer in a browser: an RTCPeerConnection without our page, for what other people's pages do.

use crate::{Browser, Page, Server};

/// A page whose `bare` speaks the text protocol and negotiates as its test says; `bare.js` has what it can do.
#[derive(Debug)]
pub struct Bare(Page);

impl Bare {
    /// Opens one and registers it as `id`.
    #[track_caller]
    pub fn open(browser: &Browser, server: &Server, id: &str) -> Self {
        // A page of the server's that loads nothing.
        let page = browser.open(&format!("{}livez", server.url()));
        page.eval("document.body ?? document.documentElement.append(document.createElement('body')); null");
        page.eval(include_str!("bare.js"));
        page.eval(&format!("bare.open({:?}, {id:?})", server.ws_url()));
        Self(page)
    }

    /// Evaluates; a promise is waited for, and an exception fails the test.
    #[track_caller]
    pub fn eval(&self, js: &str) -> serde_json::Value {
        self.0.eval(js)
    }

    /// Runs these statements, in which `bare`, `pc` and `await` are known.
    #[track_caller]
    pub fn run(&self, js: &str) {
        self.0.eval(&format!("(async () => {{ const {{ pc }} = bare; {js}; return null; }})()"));
    }

    /// Waits until pictures and sound come from the other side.
    #[track_caller]
    pub fn assert_plays(&self) {
        self.eval("bare.plays()");
    }

    /// The longest time in milliseconds without a new frame, since `bare.mark()`.
    #[track_caller]
    pub fn gap(&self) -> f64 {
        self.eval("bare.gap()").as_f64().expect("a gap is a number")
    }
}
