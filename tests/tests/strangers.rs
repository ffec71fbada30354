//! No description from a foreign peer ends a client. For a long run: `target/debug/callbin-strangers 1 10000`.

use callbin_tests::{program, strangers};

#[test]
fn no_description_ends_the_process() {
    let outcome = strangers::survive(&program("callbin-strangers"), 1, 150);
    assert!(outcome.deaths.is_empty(), "{:#?}", outcome.deaths);
    // The grammar generates acceptable and unacceptable descriptions.
    assert!(outcome.answered > 50 && outcome.refused > 20, "{outcome:?}");
}
