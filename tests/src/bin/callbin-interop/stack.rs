//! The other stacks, and how to start a peer of each.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use callbin_tests::{Browser, BrowserOptions, Engine, Page, Server, Socket, process::workspace};

use crate::link::Link;

/// How long a browser may take to start.
const START: Duration = Duration::from_secs(60);

/// Which side calls, and which offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The peer calls and offers.
    CallsOffers,
    /// The peer calls and asks for the offer.
    CallsAnswers,
    /// `callbin` calls and offers.
    CalledAnswers,
    /// `callbin` calls and asks for the offer.
    CalledOffers,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 4] =
        [Self::CallsOffers, Self::CallsAnswers, Self::CalledAnswers, Self::CalledOffers];

    /// Whether the peer calls `callbin`.
    pub fn peer_calls(self) -> bool {
        matches!(self, Self::CallsOffers | Self::CallsAnswers)
    }

    /// Whether the peer makes the first offer.
    pub fn peer_offers(self) -> bool {
        matches!(self, Self::CallsOffers | Self::CalledOffers)
    }

    /// The name in the table.
    pub fn name(self) -> &'static str {
        match self {
            Self::CallsOffers => "calls, offers",
            Self::CallsAnswers => "calls, answers",
            Self::CalledAnswers => "called, answers",
            Self::CalledOffers => "called, offers",
        }
    }
}

/// Which stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// aiortc, in Python.
    Aiortc,
    /// libdatachannel, in Node.js.
    Libdatachannel,
    /// werift, in TypeScript.
    Werift,
    /// Firefox.
    Firefox,
    /// Chromium.
    Chromium,
}

impl Kind {
    /// All stacks.
    pub const ALL: [Self; 5] =
        [Self::Aiortc, Self::Libdatachannel, Self::Werift, Self::Firefox, Self::Chromium];

    /// The name in the table, in uids and in file names.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aiortc => "aiortc",
            Self::Libdatachannel => "libdatachannel",
            Self::Werift => "werift",
            Self::Firefox => "Firefox",
            Self::Chromium => "Chromium",
        }
    }
}

/// A stack, and its browser, which keeps running between calls.
pub struct Stack {
    kind: Kind,
    packages: PathBuf,
    calls: usize,
    browser: Option<Running>,
}

/// A running browser. Its page goes from call to call by itself.
struct Running {
    _page: Page,
    _browser: Browser,
}

impl Stack {
    /// A stack without a running peer. `packages` is where scripts/interop.sh has installed the packages.
    pub fn new(kind: Kind, packages: &Path) -> Self {
        Self { kind, packages: packages.into(), calls: 0, browser: None }
    }

    /// The name in the table, in uids and in file names.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Whether it supports ICE restart.
    pub fn restarts_ice(&self) -> bool {
        !matches!(self.kind, Kind::Aiortc | Kind::Libdatachannel)
    }

    /// Starts a peer; returns its uid and connection.
    pub fn start(&mut self, server: &Server) -> Result<(String, Link), String> {
        self.calls += 1;
        let uid = format!("{}-{}", self.name(), self.calls);
        let folder = workspace().join("tests/interop");
        let link = match self.kind {
            Kind::Aiortc => {
                let mut command = Command::new(self.packages.join("python/bin/python"));
                command.arg(folder.join("aiortc_peer.py"));
                Link::program(command.args([&server.ws_url(), &uid]))
            }
            Kind::Libdatachannel => self.node(&folder.join("node-datachannel.mjs"), server, &uid),
            Kind::Werift => self.node(&folder.join("werift.mjs"), server, &uid),
            Kind::Firefox | Kind::Chromium => self.page(server, &uid)?,
        };
        Ok((uid, link))
    }

    fn node(&self, script: &Path, server: &Server, uid: &str) -> Link {
        let mut command = Command::new("node");
        command.env("CALLBIN_INTEROP", &self.packages).arg(script).args([&server.ws_url(), uid]);
        Link::program(&mut command)
    }

    /// Waits until the browser's page calls us under this name. The first call starts the browser.
    fn page(&mut self, server: &Server, uid: &str) -> Result<Link, String> {
        let mut socket = Socket::register(server, &format!("{uid}-runner"));
        if self.browser.is_none() {
            let url = format!("{}?stack={}&number={}", server.url(), self.name(), self.calls);
            // In Firefox the page's tone is that of the fake microphone.
            self.browser = Some(match self.kind {
                Kind::Firefox => Running::start(Engine::Firefox, true, &url),
                _ => Running::start(Engine::Chromium, false, &url),
            });
        }
        socket.set_deadline(START);
        socket.try_receive_text().ok_or_else(|| format!("{} shows no page", self.name()))?;
        Ok(Link::Page(Box::new(socket)))
    }
}

impl Running {
    fn start(engine: Engine, fake_devices: bool, url: &str) -> Self {
        let browser = Browser::start(BrowserOptions { engine, fake_devices, ..BrowserOptions::whole() });
        Self { _page: browser.open(url), _browser: browser }
    }
}
