//! Chromium, driven over its DevTools protocol, and Firefox, driven over WebDriver BiDi: one process, any number of pages,
//! no leftovers.
//!
//! The protocols (JSON over a WebSocket) are used directly because the few commands needed are stable, while typed
//! bindings break with each new browser, and because pages are independent of one another: there is no "current
//! window". Each page has its own window, so that none is throttled in the background.

mod bare;
mod chromium;
mod firefox;
mod link;
mod page;
mod tab;

use std::{
    fs::DirBuilder,
    net::TcpStream,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use tempfile::TempDir;

use crate::{
    Network, machine,
    process::{Process, runs_any_of},
    wait::{DEADLINE, wait_until},
};

pub use bare::Bare;
use link::Link;
pub use page::{Page, VideoProbe};
use tab::Tab;

/// Which browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    /// Chromium. `$CHROMIUM` names another program for all tests.
    Chromium,
    /// Firefox. `$FIREFOX` names another program. It has fake devices, no other network, and takes no insecure certificates.
    Firefox,
}

/// How to start a browser.
#[derive(Debug, Clone, Copy)]
pub struct BrowserOptions {
    /// Which one.
    pub engine: Engine,
    /// Start Chromium with its own interface, as users have it, for tests of devices that are refused, and of a screen that is
    /// shared or kept awake. Otherwise its headless shell is started: the same engine, for two thirds of the CPU time.
    pub whole: bool,
    /// Hide local addresses behind mDNS names, as browsers do for pages without camera or microphone access. A page
    /// with access shows its addresses in any case.
    pub mdns: bool,
    /// Fake cameras with a moving picture and a fake microphone with a beep, which any page may use without a prompt.
    /// Without this there are no devices.
    pub fake_devices: bool,
    /// Camera and microphone exist, but the user has denied access.
    pub block_devices: bool,
    /// Accept any certificate.
    pub accept_insecure_certs: bool,
    /// Let a page play sound before the first click.
    pub autoplay: bool,
    /// Width and height of each window's content.
    pub window: (u32, u32),
    /// Frames per second of the fake cameras. A low rate leaves more CPU time to other programs.
    pub fps: u32,
    /// Leave callbin's page its defaults: a picture of 720 lines, and processed sound. Otherwise it sends 360 lines and the
    /// sound as it is, for which two pages in a call need a third less CPU time.
    pub full_quality: bool,
}

impl Default for BrowserOptions {
    fn default() -> Self {
        Self {
            engine: Engine::Chromium,
            whole: false,
            mdns: false,
            fake_devices: true,
            block_devices: false,
            accept_insecure_certs: false,
            autoplay: true,
            window: (960, 600),
            fps: 10,
            full_quality: false,
        }
    }
}

impl BrowserOptions {
    /// The defaults, with the browser as users have it.
    pub fn whole() -> Self {
        Self { whole: true, ..Self::default() }
    }
}

/// The page's own setting, unless a test has chosen another one before. A document without an origin has no storage.
const LOW_QUALITY: &str = r#"try {
    localStorage["callbin.quality"] ??= '{ "resolution": "360", "echo": false, "noise": false, "gain": false }';
} catch {}"#;

/// A running browser. When dropped it is killed with all its children, and its profile is removed.
#[derive(Debug)]
pub struct Browser {
    link: Arc<Link>,
    options: BrowserOptions,
    process: Process,
    /// Dropped last, when no process writes into it any more.
    profile: TempDir,
}

impl Browser {
    /// Starts it, and waits until it can be driven.
    pub fn start(options: BrowserOptions) -> Self {
        Self::launch(options, None)
    }

    /// Starts it in another network, where pages of this origin may use camera and microphone without TLS.
    pub fn start_in(network: &Network, origin: &str, options: BrowserOptions) -> Self {
        Self::launch(options, Some((network, origin)))
    }

    fn launch(options: BrowserOptions, network: Option<(&Network, &str)>) -> Self {
        machine::join(machine::Started::Browser);
        let profile = tempfile::Builder::new().prefix("callbin-browser-").tempdir().expect("there is room");
        let mut command = match options.engine {
            Engine::Chromium => chromium::command(&options, profile.path(), network),
            Engine::Firefox => firefox::command(&options, profile.path()),
        };
        keep_in(&mut command, profile.path());
        let process = Process::spawn(&mut command);
        let find = match options.engine {
            Engine::Chromium => chromium::address,
            Engine::Firefox => firefox::address,
        };
        let address = wait_until("the browser to listen", DEADLINE, || find(profile.path()));
        let authority = address.split('/').nth(2).expect("a WebSocket address has one");
        let stream = match network {
            Some((network, _)) => network.connect(authority),
            None => TcpStream::connect(authority),
        };
        let trouble = match options.engine {
            Engine::Chromium => chromium::trouble,
            Engine::Firefox => firefox::trouble,
        };
        let link = Arc::new(Link::over(stream.expect("the browser listens"), &address, trouble));
        match options.engine {
            Engine::Chromium if options.block_devices => chromium::forbid_devices(&link),
            Engine::Chromium => {}
            Engine::Firefox => firefox::begin(&link),
        }
        Self { link, options, process, profile }
    }

    /// Opens a page in a window of its own and waits until it has loaded.
    #[track_caller]
    pub fn open(&self, url: &str) -> Page {
        let tab: Box<dyn Tab> = match self.options.engine {
            Engine::Chromium => Box::new(chromium::Window::open(self.link.clone(), self.options.window)),
            Engine::Firefox => Box::new(firefox::Window::open(self.link.clone())),
        };
        if !self.options.full_quality {
            tab.before_load(LOW_QUALITY);
        }
        Page::open(tab, url, self.options.window)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The folder of its profile.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser leads a process group that contains all its children.
        let group = self.process.pid();
        let kill =
            Command::new("kill").args(["-KILL", "--", &format!("-{group}")]).stderr(Stdio::null()).status();
        let _ = kill.and_then(|_| self.process.child().wait());
        for _ in 0..3000 {
            // The profile can be removed for good only when no process writes into it.
            if !runs_any_of(group) && std::fs::remove_dir_all(self.profile.path()).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// All leftovers of the browser are in its profile: lock files, sockets, those of PulseAudio.
fn keep_in(command: &mut Command, profile: &Path) {
    // Tests quote the page's texts in English.
    command.env("HOME", profile).env("LANGUAGE", "en").process_group(0);
    for name in ["TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        let folder = profile.join(name);
        DirBuilder::new().mode(0o700).create(&folder).expect("a folder in the profile");
        command.env(name, folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
}
