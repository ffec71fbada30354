//! Chromium over its DevTools protocol.

use std::{path::Path, process::Command, sync::Arc};

use serde_json::{Value, json};

use super::{
    BrowserOptions,
    link::{Link, Trouble},
    tab::Tab,
};
use crate::Network;

/// Parts of Chromium's own interface that are web pages. Chromium 156 loads them with each window, even without a display:
/// 1.3 s of CPU time per window.
const UNUSED_FEATURES: [&str; 4] =
    ["PreloadTopChromeWebUI", "WebUIOmniboxAimPopup", "WebUIOmniboxFullPopup", "WebUIOmniboxPopup"];

/// A window with a page.
#[derive(Debug)]
pub(super) struct Window {
    link: Arc<Link>,
    target: String,
    session: String,
}

impl Window {
    #[track_caller]
    pub(super) fn open(link: Arc<Link>, (width, height): (u32, u32)) -> Self {
        let params = json!({ "url": "about:blank", "newWindow": true, "width": width, "height": height });
        let target =
            text(&link.call(None, "Target.createTarget", params).expect("a window opens"), "targetId");
        let params = json!({ "targetId": target, "flatten": true });
        let session = link.call(None, "Target.attachToTarget", params).expect("a page can be driven");
        let window = Self { link, target, session: text(&session, "sessionId") };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            window.call(domain, json!({}));
        }
        window.call("Emulation.setFocusEmulationEnabled", json!({ "enabled": true }));
        window
    }

    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        self.link.call(Some(&self.session), method, params).unwrap_or_else(|error| panic!("{error}"))
    }
}

impl Tab for Window {
    fn eval(&self, js: &str) -> Result<Value, String> {
        let params =
            json!({ "expression": js, "awaitPromise": true, "returnByValue": true, "userGesture": false });
        let answer = self.link.call(Some(&self.session), "Runtime.evaluate", params)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(format!("{} {}", details["text"], details["exception"]["description"])),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    fn navigate(&self, url: &str) {
        let answer = self.call("Page.navigate", json!({ "url": url }));
        assert!(answer["errorText"].is_null(), "{url} does not load: {}", answer["errorText"]);
    }

    fn before_load(&self, js: &str) {
        self.call("Page.addScriptToEvaluateOnNewDocument", json!({ "source": js }));
    }

    fn mouse(&self, x: f64, y: f64, presses: bool) {
        let kinds: &[&str] = if presses { &["mousePressed", "mouseReleased"] } else { &["mouseMoved"] };
        let button = if presses { "left" } else { "none" };
        for kind in kinds {
            let params = json!({ "type": kind, "x": x, "y": y, "button": button, "clickCount": 1 });
            self.call("Input.dispatchMouseEvent", params);
        }
    }

    fn insert(&self, text: &str) {
        self.call("Input.insertText", json!({ "text": text }));
    }

    fn press(&self, key: &str) {
        let (code, text) = match key {
            "Enter" => (13, "\r"),
            "Tab" => (9, ""),
            "Escape" => (27, ""),
            "ArrowRight" => (39, ""),
            _ => (u32::from(key.to_uppercase().bytes().next().unwrap_or_default()), key),
        };
        let name = match key.as_bytes() {
            [digit] if digit.is_ascii_digit() => format!("Digit{key}"),
            [letter] if letter.is_ascii_alphabetic() => format!("Key{}", key.to_uppercase()),
            _ => key.to_owned(),
        };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            let params = json!({ "type": kind, "key": key, "code": name, "windowsVirtualKeyCode": code, "text": text });
            self.call("Input.dispatchKeyEvent", params);
        }
    }

    fn resize(&self, width: u32, height: u32) {
        let params = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.call("Emulation.setDeviceMetricsOverride", params);
    }

    fn set_color_scheme(&self, scheme: &str) {
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        self.call("Emulation.setEmulatedMedia", json!({ "features": features }));
    }

    fn screenshot(&self) -> String {
        text(&self.call("Page.captureScreenshot", json!({ "format": "png" })), "data")
    }

    fn troubles(&self) -> Vec<String> {
        self.link.troubles(&self.session)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.link.call(None, "Target.closeTarget", json!({ "targetId": self.target }));
    }
}

/// From now on the user denies access to camera and microphone.
pub(super) fn forbid_devices(link: &Link) {
    for name in ["camera", "microphone"] {
        let params = json!({ "permission": { "name": name }, "setting": "denied" });
        link.call(None, "Browser.setPermission", params).expect("a permission can be denied");
    }
}

/// Starts `$CHROMIUM`, or else Chromium or its headless shell from the path.
pub(super) fn command(
    options: &BrowserOptions,
    profile: &Path,
    network: Option<(&Network, &str)>,
) -> Command {
    // Tests with refused devices, and with an origin that is to be secure without TLS, fail in the shell.
    let whole = options.whole || options.block_devices || network.is_some();
    let usual = if whole { "chromium" } else { "chromium-headless-shell" };
    let program = std::env::var_os("CHROMIUM").unwrap_or_else(|| usual.into());
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
    let mut without = UNUSED_FEATURES.to_vec();
    if !options.mdns {
        without.push("WebRtcHideLocalIpsWithMdns");
    }
    command.arg(format!("--disable-features={}", without.join(",")));
    if options.accept_insecure_certs {
        command.arg("--ignore-certificate-errors");
    }
    command.arg("about:blank");
    command
}

/// Chromium writes its port and path into its profile.
pub(super) fn address(profile: &Path) -> Option<String> {
    let text = std::fs::read_to_string(profile.join("DevToolsActivePort")).ok()?;
    let (port, path) = text.split_once('\n')?;
    (!path.is_empty()).then(|| format!("ws://127.0.0.1:{port}{}", path.trim()))
}

/// The error that an event reports, if any.
pub(super) fn trouble(event: &Value) -> Option<Trouble> {
    let session = event["sessionId"].as_str()?.to_owned();
    let text = text_of(event)?;
    Some(Trouble { page: session, text })
}

fn text_of(event: &Value) -> Option<String> {
    let params = &event["params"];
    match event["method"].as_str()? {
        "Runtime.consoleAPICalled" if matches!(params["type"].as_str(), Some("error" | "assert")) => {
            Some(format!("console.{}: {}", params["type"], params["args"]))
        }
        "Runtime.exceptionThrown" => {
            let details = &params["exceptionDetails"];
            Some(format!("exception: {} {}", details["text"], details["exception"]["description"]))
        }
        "Log.entryAdded" if params["entry"]["level"] == "error" => {
            let entry = &params["entry"];
            Some(format!("{}: {} {}", entry["source"], entry["text"], entry["url"]))
        }
        "Inspector.targetCrashed" => Some("the page crashed".into()),
        _ => None,
    }
}

fn text(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().into()
}
