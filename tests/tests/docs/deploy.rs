//! The files that operators copy must use the server's names.

use std::{collections::BTreeSet, fs, process::Command};

use callbin_tests::{
    Authority, Redis, Server, Socket, http,
    process::{program, workspace},
};
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(workspace().join("deploy").join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every `callbin_…` in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c| !word(c)).filter(|word| word.starts_with("callbin_"));
    words.map(String::from).collect()
}

/// The names of the series of a server with some traffic, without labels.
fn series() -> (BTreeSet<String>, String) {
    let folder = tempfile::TempDir::new().expect("a folder");
    let home = folder.path().to_str().expect("text");
    // With TLS there is a certificate, with Redis a cluster.
    let redis = Redis::start(&[]);
    let url = redis.url();
    let flags = ["--self-signed", "--cert-path", home, "--admin-addr", "127.0.0.1:0", "--redis", &url];
    let server = Server::start_on(0, &flags);
    let (mut caller, _callee) = (Socket::register(&server, "a"), Socket::register(&server, "b"));
    caller.expect_nothing("SESSION x", "ERROR peer 'x' not found");
    caller.send("SESSION b");
    caller.expect("SESSION_OK");
    let mut odd = Socket::connect(&server);
    odd.send("odd");
    odd.expect_close(1002, "invalid protocol");
    let metrics = http::request(server.admin_address(), "GET", "/metrics", &[]).body;
    let found = metrics
        .lines()
        .filter(|line| !line.starts_with('#'))
        .flat_map(|line| line.split(['{', ' ']).next().map(String::from));
    (found.collect(), metrics)
}

#[test]
fn dashboard_and_alerts_name_metrics_that_exist() {
    let (series, metrics) = series();
    let (dashboard, alerts) = (read("grafana/callbin-server.json"), read("prometheus/alerts.yml"));
    let named: BTreeSet<String> = names(&dashboard).into_iter().chain(names(&alerts)).collect();
    assert!(named.len() > 15, "{named:?}");
    let unknown: Vec<_> = named.difference(&series).collect();
    assert!(unknown.is_empty(), "{unknown:?} not in {metrics}");
    // All metrics are on the dashboard.
    let base = |name: &String| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = names(&dashboard).iter().map(base).collect();
    let missing: Vec<_> = series.iter().map(base).filter(|name| !shown.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?} not on the dashboard");
}

/// Compares `docs/metrics.md` with the metrics, in both directions.
#[test]
fn the_page_of_metrics_has_each_of_them() {
    let (series, _) = series();
    let page = fs::read_to_string(workspace().join("docs/metrics.md")).expect("the page is there");
    let base = |name: &String| {
        ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
    };
    let (there, told): (BTreeSet<_>, BTreeSet<_>) =
        (series.iter().map(base).collect(), names(&page).iter().map(base).collect());
    assert_eq!(there, told, "left: of the server, right: of docs/metrics.md");
}

#[test]
fn the_dashboard_is_one() {
    let dashboard: Value = serde_json::from_str(&read("grafana/callbin-server.json")).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels");
    assert!(panels.iter().all(|panel| panel["targets"][0]["expr"].is_string()), "{panels:?}");
}

#[test]
fn reasons_in_the_alerts_are_the_servers() {
    let source = ["access/account.rs", "close.rs"].map(|file| {
        fs::read_to_string(workspace().join("server/src").join(file)).expect("the source is there")
    });
    for reason in ["the server is full", "reads too slowly"] {
        assert!(read("prometheus/alerts.yml").contains(&format!("reason=\"{reason}\"")), "{reason}");
        assert!(source.iter().any(|source| source.contains(&format!("#[error(\"{reason}\")]"))), "{reason}");
    }
}

/// The installed package must not listen on the network until the operator configures it.
#[test]
fn the_package_listens_on_this_machine_only() {
    let text = read("server.toml");
    assert!(text.lines().any(|line| line == "addr = \"127.0.0.1\""), "{text}");
    assert!(read("debian/postinst").contains("listens on this machine only"));
}

#[test]
fn the_package_has_the_version_of_the_program() {
    let first = read("debian/changelog").lines().next().map(String::from).expect("a line");
    let version = env!("CARGO_PKG_VERSION");
    assert!(first.starts_with(&format!("callbin-server ({version}-")), "{first}");
}

/// The image builds what Cargo.lock says, and its health check is a command of the server.
#[test]
fn the_image_is_locked_and_has_a_health_check() {
    let text = read("Dockerfile");
    let builds: Vec<_> = text.lines().filter(|line| line.contains("cargo build")).collect();
    assert!(!builds.is_empty() && builds.iter().all(|line| line.contains("--locked")), "{builds:?}");
    let check = text.lines().find(|line| line.starts_with("HEALTHCHECK")).expect("a health check");
    let (_, command) = check.split_once("CMD ").expect("a command");
    let words: Vec<String> = serde_json::from_str(command).expect("JSON");
    assert_eq!(words.first().map(String::as_str), Some("/usr/bin/callbin-server"));
    let mut health = Command::new(program("callbin-server"));
    health.args(words.iter().skip(1)).env("CALLBIN_ADMIN_ADDR", "127.0.0.1:1");
    let output = health.output().expect("it runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("127.0.0.1:1"), "it asks the address in the environment: {errors}");
}

#[test]
fn what_was_built_can_be_installed() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let bin = program("callbin-server").parent().expect("a folder").to_owned();
    let mut make = Command::new("make");
    make.current_dir(workspace()).args(["install", "PREFIX=/usr"]);
    make.arg(format!("BIN={}", bin.display())).arg(format!("DESTDIR={}", folder.path().display()));
    let output = make.output().expect("make is there");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for file in ["bin/callbin-server", "bin/callbin", "bin/callbin-load", "share/man/man1/callbin-server.1"] {
        assert!(folder.path().join("usr").join(file).is_file(), "{file}");
    }
}

#[test]
fn the_packaged_configuration_is_accepted_with_and_without_its_comments() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let home = folder.path().to_str().expect("text");
    let secret = folder.path().join("secret");
    fs::write(&secret, "0123456789012345678901234567890123456789").expect("the folder is ours");
    let authority = Authority::create();
    let text = read("server.toml").replace("/var/lib/callbin", home);
    let text = text.replace("/etc/callbin/redis-ca.pem", &authority.file("ca.pem"));
    let text = ["admin-secret", "token-secret", "turn-secret", "redis-password", "cluster-secret"]
        .iter()
        .fold(text, |text, name| {
            text.replace(&format!("/etc/callbin/{name}"), secret.to_str().expect("text"))
        });
    let all: String = text
        .lines()
        .map(|line| {
            line.strip_prefix('#')
                .filter(|rest| rest.contains(" = ") && !rest.starts_with(' '))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(text, all);
    for text in [text, all] {
        let file = folder.path().join("server.toml");
        fs::write(&file, &text).expect("the folder is ours");
        let mut command = Command::new(program("callbin-server"));
        let output = command.arg("--check-config").arg("--config").arg(file).output().expect("it runs");
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    }
}
