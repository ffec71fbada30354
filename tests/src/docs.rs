//! Parts of the pages in `docs/`.

use std::fs;

use tempfile::TempDir;

use crate::{Browser, BrowserOptions, Client, DEADLINE, Server, machine};

/// The first code block of a page in this language.
#[track_caller]
pub fn code(page: &str, language: &str) -> String {
    let start = format!("```{language}\n");
    let code = page.split(&start).nth(1).and_then(|rest| rest.split("```").next());
    code.unwrap_or_else(|| panic!("no {language}")).to_owned()
}

/// Runs the client that a protocol's page has (a block of HTML, and one of JavaScript) in a browser, with `callbin` in its
/// room: each of them joins second once.
#[track_caller]
pub fn the_pages_client_meets_callbin(page: &str) {
    let _machine = machine::shared();
    let folder = TempDir::new().expect("a folder");
    for (name, language) in [("index.html", "html"), ("call.js", "js")] {
        fs::write(folder.path().join(name), code(page, language)).expect("the folder is ours");
    }
    let server = Server::start(&["--www", folder.path().to_str().expect("text")]);
    let browser = Browser::start(BrowserOptions::default());
    let join = |room: &str| {
        let mut client = Client::start(&server, &["room", room, "--id", &format!("in-{room}")]);
        client.wait_for("joined");
        client
    };
    let open = |room: &str| browser.open(&format!("{}?room={room}", server.url()));
    let _first = join("r");
    let second = open("r");
    let first = open("s");
    first.wait_for("the room", "document.querySelector('#state').textContent.startsWith('in')", DEADLINE);
    let _second = join("s");
    for tab in [second, first] {
        tab.wait_for("pictures", "document.querySelector('video').currentTime > 0.5", DEADLINE);
        assert_eq!(tab.text("#state"), "connected");
        assert_eq!(tab.eval("document.querySelector('video').srcObject.getTracks().length"), 2);
        tab.assert_no_console_errors();
    }
}
