//! Runs the load tool.

use std::process::Command;

use callbin_tests::{Server, program};
use serde_json::Value;

/// Runs a scenario with this server to its end, and returns its report. It does not fail for slowness, but prints the report.
#[track_caller]
pub fn load(server: &Server, arguments: &str) -> Value {
    let mut command = Command::new(program("callbin-load"));
    command.args(["--server", &server.ws_url(), "--json"]).args(arguments.split(' '));
    let output = command.output().expect("callbin-load runs");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    println!("{text}");
    serde_json::from_str(&text).expect("a report in JSON")
}

/// The same, and the report says what the server uses.
#[track_caller]
pub fn load_and_usage(server: &Server, arguments: &str) -> Value {
    load(server, &format!("--pid {} {arguments}", server.pid()))
}

/// A figure of a report.
#[track_caller]
pub fn figure(report: &Value, name: &str) -> f64 {
    report.get(name).and_then(Value::as_f64).unwrap_or_else(|| panic!("{name} in {report}"))
}
