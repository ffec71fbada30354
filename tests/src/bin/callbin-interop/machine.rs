//! Describes the machine and versions of a run, for the docs.

use std::{path::Path, process::Command};

/// The machine and the versions, in one line.
pub fn describe(packages: &Path) -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    let system = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let system = system.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or("unknown");
    let lock = std::fs::read_to_string(packages.join("package-lock.json")).unwrap_or_default();
    let lock: serde_json::Value = serde_json::from_str(&lock).unwrap_or_default();
    let npm = |name: &str| {
        lock["packages"][format!("node_modules/{name}")]["version"].as_str().unwrap_or("?").to_owned()
    };
    let python = std::fs::read_to_string(packages.join("python/installed.txt")).unwrap_or_default();
    let aiortc = python.lines().find_map(|line| line.strip_prefix("aiortc==")).unwrap_or("?");
    format!(
        "{}; {}, {cores} cores; {}; {}; aiortc {aiortc}, libdatachannel (node-datachannel {}), werift {}, \
         Ant Media's webrtc_adaptor {}, whip-web-client {}, whip-whep {}, \
         gst-plugin-webrtc and gst-plugin-webrtchttp {}, gstwebrtc-api {}, {}, {}.",
        first_line("date", &["-u", "+%Y-%m-%d"]),
        model.map_or("unknown processor", |(_, name)| name),
        system.trim_matches('"'),
        first_line("gst-launch-1.0", &["--gst-version"]),
        npm("node-datachannel"),
        npm("werift"),
        npm("@antmedia/webrtc_adaptor"),
        npm("@eyevinn/whip-web-client"),
        npm("whip-whep"),
        crate::webrtcsink::version(),
        npm("gstwebrtc-api"),
        first_line("firefox-esr", &["--version"]),
        first_line("chromium", &["--version"]),
    )
}

fn first_line(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("?").trim().into()
}
