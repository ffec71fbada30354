//! Chromium, driven over its DevTools protocol: one process, any number of pages, no leftovers.
//!
//! The protocol (JSON over a WebSocket) is used directly because the few commands needed are stable, while typed
//! bindings break with each new browser, and because pages are independent of one another: there is no "current
//! window". Each page has its own window, so that none is throttled in the background.

mod bare;
mod devtools;
mod page;

use std::{
    fs::DirBuilder,
    net::TcpStream,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use serde_json::json;
use tempfile::TempDir;

use crate::{
    Network,
    process::Process,
    wait::{DEADLINE, wait_until},
};

pub use bare::Bare;
use devtools::DevTools;
pub use page::{Page, VideoProbe};

/// How to start a browser.
#[derive(Debug, Clone, Copy)]
pub struct BrowserOptions {
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
}

impl Default for BrowserOptions {
    fn default() -> Self {
        Self {
            mdns: false,
            fake_devices: true,
            block_devices: false,
            accept_insecure_certs: false,
            autoplay: true,
            window: (1280, 800),
            fps: 10,
        }
    }
}

/// A running browser. When dropped it is killed with all its children, and its profile is removed.
#[derive(Debug)]
pub struct Browser {
    devtools: Arc<DevTools>,
    options: BrowserOptions,
    process: Process,
    /// Dropped last, when no process writes into it any more.
    profile: TempDir,
}

impl Browser {
    /// Starts `$CHROMIUM`, or else `chromium` from the path, and waits until DevTools answers.
    pub fn start(options: BrowserOptions) -> Self {
        Self::launch(options, None)
    }

    /// Starts it in another network, where pages of this origin may use camera and microphone without TLS.
    pub fn start_in(network: &Network, origin: &str, options: BrowserOptions) -> Self {
        Self::launch(options, Some((network, origin)))
    }

    fn launch(options: BrowserOptions, network: Option<(&Network, &str)>) -> Self {
        let profile = tempfile::Builder::new().prefix("callbin-chromium-").tempdir().expect("there is room");
        let process = Process::spawn(&mut command(&options, profile.path(), network));
        let address = wait_until("Chromium's DevTools", DEADLINE, || devtools_address(profile.path()));
        let authority = address.split('/').nth(2).expect("a WebSocket address has one");
        let stream = match network {
            Some((network, _)) => network.connect(authority),
            None => TcpStream::connect(authority),
        };
        let devtools = Arc::new(DevTools::over(stream.expect("Chromium listens"), &address));
        let browser = Self { devtools, options, process, profile };
        if options.block_devices {
            browser.forbid_devices();
        }
        browser
    }

    /// Opens a page in a window of its own and waits until it has loaded.
    #[track_caller]
    pub fn open(&self, url: &str) -> Page {
        Page::open(self.devtools.clone(), url, self.options.window)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The folder of its profile.
    pub fn profile(&self) -> &Path {
        self.profile.path()
    }

    fn forbid_devices(&self) {
        for name in ["camera", "microphone"] {
            let params = json!({ "permission": { "name": name }, "setting": "denied" });
            self.devtools.call(None, "Browser.setPermission", params).expect("a permission can be denied");
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser leads a process group that contains all its children.
        let group = format!("-{}", self.process.pid());
        let kill = |signal: &str| {
            let status = Command::new("kill").args([signal, "--", &group]).stderr(Stdio::null()).status();
            status.is_ok_and(|status| status.success())
        };
        kill("-KILL");
        let _ = self.process.child().wait();
        for _ in 0..3000 {
            // The profile can be removed for good only when no process writes into it.
            if !kill("-0") && std::fs::remove_dir_all(self.profile.path()).is_ok() {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

fn command(options: &BrowserOptions, profile: &Path, network: Option<(&Network, &str)>) -> Command {
    let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| "chromium".into());
    let mut command = match network {
        Some((network, _)) => network.command(program.into()),
        None => Command::new(program),
    };
    if let Some((_, origin)) = network {
        command.arg(format!("--unsafely-treat-insecure-origin-as-secure={origin}"));
    }
    let (width, height) = options.window;
    command
        .args(["--headless=new", "--no-sandbox", "--no-first-run", "--no-default-browser-check"])
        .args(["--disable-quic", "--disable-background-networking", "--disable-component-update"])
        .args(["--disable-sync", "--disable-extensions", "--disable-breakpad", "--disable-gpu"])
        .args(["--disable-background-timer-throttling", "--disable-renderer-backgrounding"])
        .args(["--disable-backgrounding-occluded-windows", "--disable-dev-shm-usage"])
        .args(["--remote-debugging-port=0", "--remote-allow-origins=*", "--password-store=basic"])
        .arg(format!("--window-size={width},{height}"))
        .arg(format!("--user-data-dir={}", profile.display()));
    if options.fake_devices {
        // The second device is a depth camera, whose pictures cannot be sent.
        command.arg(format!("--use-fake-device-for-media-stream=device-count=3,fps={}", options.fps));
    }
    if options.fake_devices && !options.block_devices {
        command.arg("--use-fake-ui-for-media-stream");
    }
    if options.autoplay {
        command.arg("--autoplay-policy=no-user-gesture-required");
    }
    if !options.mdns {
        command.arg("--disable-features=WebRtcHideLocalIpsWithMdns");
    }
    if options.accept_insecure_certs {
        command.arg("--ignore-certificate-errors");
    }
    // Tests quote the page's texts in English.
    command.env("LANGUAGE", "en");
    // All its leftovers are in the profile: lock files, sockets, those of PulseAudio.
    command.arg("about:blank").env("HOME", profile).process_group(0);
    for name in ["TMPDIR", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"] {
        let folder = profile.join(name);
        DirBuilder::new().mode(0o700).create(&folder).expect("a folder in the profile");
        command.env(name, folder);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Chromium writes its port and path into its profile.
fn devtools_address(profile: &Path) -> Option<String> {
    let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
    let (port, path) = text.split_once('\n')?;
    (!path.is_empty()).then(|| format!("ws://127.0.0.1:{port}{}", path.trim()))
}
