//! Firefox over WebDriver BiDi (<https://www.w3.org/TR/webdriver-bidi/>).

use std::{collections::HashMap, path::Path, process::Command, sync::Arc};

use serde_json::{Map, Value, json};

use super::{
    BrowserOptions,
    link::{Link, Trouble},
    tab::Tab,
};

/// Preferences: no first-run pages, no requests of its own, devices without a prompt, and calls on this machine alone.
const PREFERENCES: &[(&str, &str)] = &[
    ("app.normandy.enabled", "false"),
    ("app.update.auto", "false"),
    ("browser.aboutwelcome.enabled", "false"),
    ("browser.shell.checkDefaultBrowser", "false"),
    ("browser.startup.homepage_override.mstone", "\"ignore\""),
    ("datareporting.policy.dataSubmissionEnabled", "false"),
    ("extensions.update.enabled", "false"),
    ("intl.accept_languages", "\"en\""),
    ("media.autoplay.blocking_policy", "0"),
    ("media.autoplay.default", "0"),
    ("media.getusermedia.insecure.enabled", "true"),
    ("media.gmp-manager.updateEnabled", "false"),
    ("media.navigator.permission.disabled", "true"),
    ("media.peerconnection.ice.loopback", "true"),
    ("media.peerconnection.ice.obfuscate_host_addresses", "false"),
    ("network.captive-portal-service.enabled", "false"),
    ("network.connectivity-service.enabled", "false"),
    // Networks of other tests come and go.
    ("network.manage-offline-status", "false"),
    ("services.settings.server", "\"data:,\""),
    ("toolkit.telemetry.enabled", "false"),
    ("toolkit.telemetry.server", "\"data:,\""),
];

/// Starts `$FIREFOX`, or else `firefox-esr` from the path.
pub(super) fn command(options: &BrowserOptions, profile: &Path) -> Command {
    let fake = ("media.navigator.streams.fake", if options.fake_devices { "true" } else { "false" });
    let preferences = PREFERENCES.iter().copied().chain([fake]);
    let lines = preferences.map(|(name, value)| format!("user_pref(\"{name}\", {value});\n"));
    std::fs::write(profile.join("user.js"), lines.collect::<String>()).expect("a file in the profile");
    let mut command = Command::new(std::env::var_os("FIREFOX").unwrap_or_else(|| "firefox-esr".into()));
    command.args(["--headless", "--no-remote", "--remote-debugging-port=0", "--profile"]).arg(profile);
    command
}

/// Firefox writes its address into its profile.
pub(super) fn address(profile: &Path) -> Option<String> {
    let text = std::fs::read_to_string(profile.join("WebDriverBiDiServer.json")).ok()?;
    let server: Value = serde_json::from_str(&text).ok()?;
    Some(format!("ws://{}:{}/session", server["ws_host"].as_str()?, server["ws_port"].as_u64()?))
}

/// Begins a session.
pub(super) fn begin(link: &Link) {
    link.call(None, "session.new", json!({ "capabilities": {} })).expect("a session begins");
    link.call(None, "session.subscribe", json!({ "events": ["log.entryAdded"] })).expect("events come");
}

/// The error that an event reports, if any.
pub(super) fn trouble(event: &Value) -> Option<Trouble> {
    let params = &event["params"];
    let is_error = event["method"] == "log.entryAdded" && params["level"] == "error";
    let page = params["source"]["context"].as_str().filter(|_| is_error)?;
    Some(Trouble { page: page.to_owned(), text: format!("{}: {}", params["type"], params["text"]) })
}

/// A window with a page.
#[derive(Debug)]
pub(super) struct Window {
    link: Arc<Link>,
    context: String,
}

impl Window {
    #[track_caller]
    pub(super) fn open(link: Arc<Link>) -> Self {
        let answer = link.call(None, "browsingContext.create", json!({ "type": "window" }));
        let context = answer.expect("a window opens")["context"].as_str().unwrap_or_default().to_owned();
        Self { link, context }
    }

    /// A command about this window.
    fn try_call(&self, method: &str, mut params: Value) -> Result<Value, String> {
        params["context"] = self.context.as_str().into();
        self.link.call(None, method, params)
    }

    #[track_caller]
    fn call(&self, method: &str, params: Value) -> Value {
        self.try_call(method, params).unwrap_or_else(|error| panic!("{error}"))
    }

    #[track_caller]
    fn keys(&self, keys: impl Iterator<Item = String>) {
        let press = |key: String| {
            [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })]
        };
        let actions = keys.flat_map(press).collect::<Vec<_>>();
        self.call(
            "input.performActions",
            json!({ "actions": [{ "type": "key", "id": "keys", "actions": actions }] }),
        );
    }
}

impl Tab for Window {
    fn eval(&self, js: &str) -> Result<Value, String> {
        let params = json!({ "expression": js, "awaitPromise": true, "target": { "context": self.context } });
        let answer = self.link.call(None, "script.evaluate", params)?;
        match answer.get("exceptionDetails") {
            Some(details) => Err(details["text"].to_string()),
            None => Ok(Values::default().plain(&answer["result"])),
        }
    }

    fn navigate(&self, url: &str) {
        self.call("browsingContext.navigate", json!({ "url": url, "wait": "none" }));
    }

    fn before_load(&self, js: &str) {
        let params =
            json!({ "functionDeclaration": format!("() => {{ {js} }}"), "contexts": [self.context] });
        self.link.call(None, "script.addPreloadScript", params).unwrap_or_else(|error| panic!("{error}"));
    }

    fn mouse(&self, x: f64, y: f64, presses: bool) {
        let mut actions = vec![json!({ "type": "pointerMove", "x": x.round(), "y": y.round() })];
        if presses {
            actions.extend(["pointerDown", "pointerUp"].map(|kind| json!({ "type": kind, "button": 0 })));
        }
        self.call(
            "input.performActions",
            json!({ "actions": [{ "type": "pointer", "id": "mouse", "actions": actions }] }),
        );
    }

    fn insert(&self, text: &str) {
        self.keys(text.chars().map(String::from));
    }

    fn press(&self, key: &str) {
        let value = match key {
            "Enter" => "\u{e007}",
            "Tab" => "\u{e004}",
            "Escape" => "\u{e00c}",
            "ArrowRight" => "\u{e014}",
            other => other,
        };
        self.keys(std::iter::once(value.to_owned()));
    }

    fn resize(&self, width: u32, height: u32) {
        self.call("browsingContext.setViewport", json!({ "viewport": { "width": width, "height": height } }));
    }

    fn set_color_scheme(&self, _: &str) {
        panic!("WebDriver BiDi has no colour schemes");
    }

    fn screenshot(&self) -> String {
        self.call("browsingContext.captureScreenshot", json!({}))["data"].as_str().unwrap_or_default().into()
    }

    fn troubles(&self) -> Vec<String> {
        self.link.troubles(&self.context)
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        let _ = self.try_call("browsingContext.close", json!({}));
    }
}

/// Remote values as JSON. An object that occurs twice has its value at the first place only.
#[derive(Debug, Default)]
struct Values(HashMap<String, Value>);

impl Values {
    fn plain(&mut self, remote: &Value) -> Value {
        let id = remote["internalId"].as_str();
        let Some(value) = remote.get("value") else {
            return id.and_then(|id| self.0.get(id).cloned()).unwrap_or_default();
        };
        let plain = match remote["type"].as_str() {
            Some("array") => value.as_array().into_iter().flatten().map(|item| self.plain(item)).collect(),
            Some("object") => Value::Object(self.members(value)),
            // Numbers that JSON lacks are texts.
            Some("number") if value.is_string() => Value::Null,
            _ => value.clone(),
        };
        if let Some(id) = id {
            self.0.insert(id.to_owned(), plain.clone());
        }
        plain
    }

    fn members(&mut self, pairs: &Value) -> Map<String, Value> {
        let pair = |pair: &Value| Some((pair[0].as_str()?.to_owned(), self.plain(&pair[1])));
        pairs.as_array().into_iter().flatten().filter_map(pair).collect()
    }
}
