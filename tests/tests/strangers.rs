//! No description and no flood of a foreign peer ends a client. For long runs: `target/debug/callbin-strangers 1 10000`
//! and `target/debug/callbin-test-teardown 10000`.

use std::process::Command;

use callbin_tests::{program, strangers};

#[test]
fn no_description_ends_the_process() {
    let outcome = strangers::survive(&program("callbin-strangers"), 1, 150);
    assert!(outcome.deaths.is_empty(), "{:#?}", outcome.deaths);
    // The grammar generates acceptable and unacceptable descriptions.
    assert!(outcome.answered > 50 && outcome.refused > 20, "{outcome:?}");
}

/// The packets of a flood still arrive while its peer is ended.
#[test]
fn no_flood_ends_the_process_while_it_is_ended() {
    let mut command = Command::new(program("callbin-test-teardown"));
    let output = command.arg("15").env("G_DEBUG", "fatal-criticals").output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"survived\n", "{}: {errors}", output.status);
}
