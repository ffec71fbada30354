//! Checks the pages in `docs/` against the programs. `deploy.rs` checks the page of metrics.

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use callbin::stats::{Feedback, Path, PeerStats};
use callbin_tests::{
    Browser, BrowserOptions, Client, DEADLINE, Server,
    docs::code,
    process::{program, workspace},
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The pages, by name, except the one that a program generates.
fn pages() -> Vec<(String, String)> {
    let folder = fs::read_dir(workspace().join("docs")).expect("a folder");
    let mut pages: Vec<PathBuf> = folder.map(|entry| entry.expect("readable").path()).collect();
    pages.retain(|path| path.extension().is_some_and(|it| it == "md") && !path.ends_with("interop.md"));
    let name = |path: &PathBuf| path.file_name().expect("a name").to_string_lossy().into_owned();
    pages.iter().map(|path| (name(path), fs::read_to_string(path).expect("text"))).collect()
}

fn page(wanted: &str) -> String {
    let found = pages().into_iter().find(|(name, _)| name == wanted);
    found.unwrap_or_else(|| panic!("no docs/{wanted}")).1
}

#[test]
fn the_index_names_each_page_and_the_readme_the_index() {
    let index = page("README.md");
    for (name, _) in pages().iter().filter(|(name, _)| name != "README.md") {
        assert!(index.contains(&format!("]({name})")), "{name} is not in docs/README.md");
    }
    let readme = fs::read_to_string(workspace().join("README.md")).expect("text");
    assert!(readme.contains("docs/README.md"));
}

/// `FirstVideo` becomes `first-video`.
fn kebab(name: &str) -> String {
    let parts =
        name.chars().map(|c| if c.is_uppercase() { format!("-{}", c.to_lowercase()) } else { c.to_string() });
    parts.collect::<String>().trim_start_matches('-').to_owned()
}

#[test]
fn each_event_of_the_client_is_on_its_page() {
    let source = fs::read_to_string(workspace().join("client/src/events.rs")).expect("text");
    let variants = source.split("pub enum Event {").nth(1).and_then(|rest| rest.split("\n}").next());
    let lines = variants.expect("the events").lines().filter_map(|line| line.strip_prefix("    "));
    let names: Vec<String> = lines
        .filter(|line| line.starts_with(char::is_uppercase))
        .filter_map(|line| line.split(|c: char| !c.is_alphanumeric()).next().map(kebab))
        .collect();
    assert!(names.len() > 20 && names.contains(&"first-video".to_owned()), "{names:?}");
    let page = page("events.md");
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).collect::<Vec<_>>().join("\n");
    for name in names {
        assert!(rows.contains(&format!("`{name}`")), "{name} is not in docs/events.md");
    }
}

/// The paths of all values in an object.
fn members(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value.as_object() {
        Some(object) => {
            for (name, value) in object {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                members(value, &path, found);
            }
        }
        None => drop(found.insert(path.to_owned())),
    }
}

#[test]
fn each_member_of_stats_is_on_its_page() {
    let mut stats = PeerStats {
        path: Some(Path { local: "host".into(), remote: "host".into() }),
        ..PeerStats::default()
    };
    stats.sent.feedback = Some(Feedback::default());
    (stats.sent.video_codec, stats.sent.audio_codec) = (Some("vp8"), Some("opus"));
    let mut found = BTreeSet::new();
    members(&json!(stats), "", &mut found);
    assert!(found.contains("sent.feedback.bitrate_sent"), "{found:?}");
    let page = page("events.md");
    for path in found {
        let last = path.rsplit('.').next().unwrap_or_default();
        let is_named =
            [&path[..], last, &format!("….{last}")].iter().any(|it| page.contains(&format!("`{it}`")));
        assert!(is_named, "{path} is not in docs/events.md");
    }
}

/// Every word that begins with two dashes.
fn flags(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
    words
        .filter(|word| word.len() > 3 && word.starts_with("--") && !word.starts_with("---"))
        .map(String::from)
        .collect()
}

#[test]
fn flags_in_the_pages_are_those_of_the_programs() {
    let helps = [
        ("callbin-server", &["--help"][..]),
        ("callbin-server", &["token", "--help"]),
        ("callbin-server", &["admin", "--help"]),
        ("callbin-server", &["admin", "peers", "--help"]),
        ("callbin", &["--help"]),
        ("callbin", &["call", "--help"]),
        ("callbin", &["wait", "--help"]),
        ("callbin", &["room", "--help"]),
        ("callbin", &["devices", "--help"]),
        ("callbin", &["record", "--help"]),
        ("callbin", &["publish", "--help"]),
        ("callbin-media", &["--help"]),
        ("callbin-load", &["--help"]),
        ("callbin-load", &["idle", "--help"]),
    ];
    let mut known: BTreeSet<String> = ["--ulimit"].map(String::from).into();
    for (name, args) in helps {
        let output = Command::new(program(name)).args(args).output().expect("it runs");
        known.extend(flags(&String::from_utf8_lossy(&output.stdout)));
    }
    for (name, text) in pages() {
        let unknown: Vec<String> = flags(&text).difference(&known).cloned().collect();
        assert!(unknown.is_empty(), "docs/{name}: no program has {unknown:?}");
    }
}

#[test]
fn the_client_of_one_page_makes_a_call() {
    let (text, folder) = (page("client.md"), TempDir::new().expect("a folder"));
    let lines = code(&text, "js");
    assert!(lines.lines().filter(|line| !line.is_empty()).count() <= 31, "30 lines, says the page");
    fs::write(folder.path().join("index.html"), code(&text, "html")).expect("the folder is ours");
    fs::write(folder.path().join("call.js"), lines).expect("the folder is ours");
    let server = Server::start(&["--www", folder.path().to_str().expect("text")]);
    let mut studio = Client::start(&server, &["wait", "--id", "studio"]);
    studio.wait_for("waiting");
    let browser = Browser::start(BrowserOptions::default());
    let mine = browser.open(&format!("{}?call=studio", server.url()));
    mine.wait_for("pictures", "document.querySelector('video').currentTime > 0.5", DEADLINE);
    assert_eq!(mine.text("#state"), "connected");
    assert_eq!(mine.eval("document.querySelector('video').srcObject.getTracks().length"), 2);
    mine.assert_no_console_errors();
}
