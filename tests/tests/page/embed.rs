//! The elements for other pages in real Chromium, in a page of another origin.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use callbin_tests::{Browser, BrowserOptions, DEADLINE, Server, WWW};
use serde_json::json;

const VIEW: &str = "document.querySelector('callbin-view')";
const CALL: &str = "document.querySelector('callbin-call')";

/// docs/examples/embedding.html, with this server.
fn example(server: &Server) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/examples/embedding.html");
    let text = fs::read_to_string(path).expect("the example");
    // A script that runs before the module has loaded.
    let early = "<script>document.querySelector('callbin-view').token = 'early'</script></body>";
    text.replace("https://calls.example.org/", server.url()).replace("</body>", early)
}

/// Answers every request with this page, as long as the test runs.
fn serve(listener: TcpListener, page: String) {
    thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // A browser also opens connections on which it sends nothing.
            let page = page.clone();
            thread::spawn(move || {
                let lines = BufReader::new(&stream).lines();
                if lines.map_while(Result::ok).any(|line| line.is_empty()) {
                    let length = page.len();
                    let _ = write!(
                        stream,
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}"
                    );
                }
            });
        }
    });
}

#[test]
fn the_elements_view_and_call_from_a_page_of_another_origin() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    // The page in the binary: its modules are one, and that one comes with the elements.
    let server = Server::start(&[]);
    serve(listener, example(&server));
    let browser = Browser::start(BrowserOptions::default());
    let gate = browser.open(&format!("{}?id=gate&auto-answer=1", server.url()));
    gate.wait_for_state("ready");
    let page = browser.open(&format!("{host}/?token=its-own&x=1"));
    let probe = "(() => { const video = VIEW.shadowRoot.querySelector('video'); return video && video.videoWidth > 0 \
         && video.currentTime > 0; })()"
        .replace("VIEW", VIEW);
    page.wait_for("a picture of the gate", &probe, DEADLINE);
    assert_eq!(page.eval(&format!("{VIEW}.state + {VIEW}.peers")), "in-callgate");
    assert_eq!(page.eval(&format!("{VIEW}.media.slots.video.track")), serde_json::Value::Null);
    let address = page.eval("[location.search, history.state]");
    assert_eq!(address, json!(["?token=its-own&x=1", null]), "the page keeps its address");
    let token = page.eval(&format!("[{VIEW}.calls.token, Object.hasOwn({VIEW}, 'token')]"));
    assert_eq!(token, json!(["early", false]));
    let same = format!(
        "(async () => {{ const {{ calls }} = {VIEW}; {VIEW}.setAttribute('call', 'gate'); {VIEW}.token = 'early'; \
         await new Promise((done) => setTimeout(done)); return {VIEW}.calls === calls; }})()"
    );
    assert_eq!(page.eval(&same), true, "a value that stays the same begins no new connection");

    page.wait_for("the other element", &format!("{CALL}.state === 'ready'"), DEADLINE);
    gate.click("#hang-up");
    gate.wait_for_state("ready");
    gate.type_text("#peer", "visitor");
    gate.click("#call");
    page.wait_for("the call", &format!("!{CALL}.buttons.accept.hidden"), DEADLINE);
    page.eval(&format!("{CALL}.buttons.accept.click()"));
    gate.wait_for_peer("visitor", "connected");
    page.wait_for(
        "the connection, under the caller's name",
        &format!("{CALL}.peers.join() === 'gate'"),
        DEADLINE,
    );
    let log = page.text("#log");
    assert!(log.contains(r#"callbin-call incoming {"caller":"gate"}"#), "{log}");
    page.eval(&format!("{CALL}.remove()"));
    gate.wait_for_state("ready");

    page.assert_no_console_errors();
}

#[test]
fn other_pages_get_no_elements() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let server = Server::start(&["--www", WWW, "--allowed-origin", "https://example.org"]);
    serve(listener, example(&server));
    let browser = Browser::start(BrowserOptions { fake_devices: false, ..BrowserOptions::default() });
    let page = browser.open(&host);
    assert_eq!(page.eval("customElements.get('callbin-view') === undefined"), true);
    assert!(page.console_errors().iter().any(|error| error.contains("CORS")), "{:?}", page.console_errors());
}
