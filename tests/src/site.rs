//! A server with its page, and a browser: the setup of most tests of the page.

use crate::{Browser, BrowserOptions, Page, Server, wait::DEADLINE};

/// The page's sources, so that its tests do not need a new server after each change.
pub const WWW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../www");

/// The page's name for a peer that called it: the protocol does not say who calls.
pub const CALLER: &str = "caller";

/// A running server and a running browser.
#[derive(Debug)]
pub struct Site {
    /// Serves the page and connects peers.
    pub server: Server,
    /// Opens the page.
    pub browser: Browser,
}

impl Site {
    /// Starts both with defaults, and the page's sources.
    pub fn up() -> Self {
        Self::with(BrowserOptions::default())
    }

    /// Starts a browser with other options.
    pub fn with(options: BrowserOptions) -> Self {
        Self::at(Server::start(&["--www", WWW]), options)
    }

    /// Starts a browser with other options for this server.
    pub fn at(server: Server, options: BrowserOptions) -> Self {
        Self { server, browser: Browser::start(options) }
    }

    /// Opens the page with this query.
    #[track_caller]
    pub fn open(&self, query: &str) -> Page {
        self.browser.open(&format!("{}?{query}", self.server.url()))
    }

    /// Opens a page that is registered and answers any call.
    #[track_caller]
    pub fn waiting(&self, id: &str) -> Page {
        let page = self.open(&format!("id={id}&auto-answer=1"));
        page.wait_for_state("ready");
        page
    }

    /// Opens a page that has joined the room `r`.
    #[track_caller]
    pub fn join(&self, id: &str) -> Page {
        let page = self.open(&format!("room=r&id={id}&join=1"));
        page.wait_for_state("in-room");
        page
    }
}

impl Page {
    /// Fails unless the page shows a peer's fake camera, which is green with something moving.
    #[track_caller]
    pub fn assert_sees(&self, uid: &str) {
        let probe = self.video_probe(uid);
        assert!(probe.g > 60.0 && probe.g > 2.0 * probe.r.max(probe.b), "{uid}: {probe:?}");
        assert!(probe.motion > 0.02, "{uid} stands still: {probe:?}");
    }

    /// Also fails unless the beep of the peer's fake microphone is heard.
    #[track_caller]
    pub fn assert_sees_and_hears(&self, uid: &str) {
        self.assert_sees(uid);
        self.wait_for_sound(uid, 0.005);
    }

    /// Waits until the page is in no call; fails if it has anything left of one.
    #[track_caller]
    pub fn assert_idle(&self) {
        self.wait_for_state("ready");
        assert_eq!(self.eval("document.querySelectorAll('video[data-peer]').length"), 0);
        assert_eq!(self.eval("callbin.state().connections"), 0, "{}", self.describe());
    }

    /// Waits until the page shows exactly these peers, connected, and has no other connection.
    #[track_caller]
    pub fn wait_for_exactly(&self, uids: &[&str]) {
        let uids = serde_json::json!(uids);
        let js = format!(
            "(() => {{ const want = {uids}.sort().join(); \
             const connected = callbin.peers().filter((p) => p.state === 'connected').map((p) => p.uid); \
             const shown = [...document.querySelectorAll('video[data-peer]')].map((v) => v.dataset.peer); \
             return connected.sort().join() === want && shown.sort().join() === want \
               && callbin.state().connections === {uids}.length; }})()"
        );
        self.wait_for(&format!("exactly {uids}"), &js, DEADLINE);
    }
}
