//! A server with its page, and a browser to open it in: what most tests of the page begin with.

use crate::{Browser, BrowserOptions, Page, Server, wait::DEADLINE};

/// The page from the sources, so that its tests need no new server for each change.
pub const WWW: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../www");

/// What the page calls the other side when it was called: the protocol doesn't say who calls.
pub const CALLER: &str = "caller";

/// A running server and a running browser.
#[derive(Debug)]
pub struct Site {
    /// What serves the page, and connects those who call.
    pub server: Server,
    /// What the page is opened in.
    pub browser: Browser,
}

impl Site {
    /// Both as they are by default, with the page from the sources.
    pub fn up() -> Self {
        Self::with(BrowserOptions::default())
    }

    /// With another browser.
    pub fn with(options: BrowserOptions) -> Self {
        Self::at(Server::start(&["--www", WWW]), options)
    }

    /// With another server, too.
    pub fn at(server: Server, options: BrowserOptions) -> Self {
        Self { server, browser: Browser::start(options) }
    }

    /// Opens the page with this query.
    #[track_caller]
    pub fn open(&self, query: &str) -> Page {
        self.browser.open(&format!("{}?{query}", self.server.url()))
    }

    /// A page that is registered, and takes the call of whoever calls.
    #[track_caller]
    pub fn waiting(&self, id: &str) -> Page {
        let page = self.open(&format!("id={id}&auto-answer=1"));
        page.wait_for_state("ready");
        page
    }

    /// A page that is in the room `r`.
    #[track_caller]
    pub fn join(&self, id: &str) -> Page {
        let page = self.open(&format!("room=r&id={id}&join=1"));
        page.wait_for_state("in-room");
        page
    }
}

impl Page {
    /// Demands that the page shows a peer's fake camera, which is green with something moving.
    #[track_caller]
    pub fn assert_sees(&self, uid: &str) {
        let probe = self.video_probe(uid);
        assert!(probe.g > 60.0 && probe.g > 2.0 * probe.r.max(probe.b), "{uid}: {probe:?}");
        assert!(probe.motion > 0.02, "{uid} stands still: {probe:?}");
    }

    /// And that its fake microphone's beep is heard.
    #[track_caller]
    pub fn assert_sees_and_hears(&self, uid: &str) {
        self.assert_sees(uid);
        self.wait_for_sound(uid, 0.005);
    }

    /// Demands that the page is in no call, and has nothing left of one.
    #[track_caller]
    pub fn assert_idle(&self) {
        self.wait_for_state("ready");
        assert_eq!(self.eval("document.querySelectorAll('video[data-peer]').length"), 0);
        assert_eq!(self.eval("callbin.state().connections"), 0, "{}", self.describe());
    }

    /// Waits until the page shows exactly these, connected, and has no connection more.
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
