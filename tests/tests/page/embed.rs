//! The elements for other pages in Chromium and Firefox, in a page of another origin.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    thread,
};

use callbin_tests::{Browser, BrowserOptions, Client, DEADLINE, Engine, Server, WWW, machine};
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
fn chromium_views_and_calls_from_a_page_of_another_origin() {
    views_and_calls(Engine::Chromium);
}

#[test]
fn firefox_views_and_calls_from_a_page_of_another_origin() {
    views_and_calls(Engine::Firefox);
}

fn views_and_calls(engine: Engine) {
    let _machine = machine::shared();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    // The page in the binary: its modules are one, and that one comes with the elements.
    let server = Server::start(&[]);
    serve(listener, example(&server));
    let browser = Browser::start(BrowserOptions { engine, ..BrowserOptions::default() });
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

    // The element has what the page has: figures, menu and keys of each tile.
    page.eval(&format!("{VIEW}.shadowRoot.querySelector('.tile:not(.self) .small.more').focus()"));
    page.press("h");
    let figures =
        format!("{VIEW}.shadowRoot.querySelector('.tile-stats:not([hidden])')?.textContent.includes('fps')");
    page.wait_for("the figures", &figures, DEADLINE);
    page.press("+");
    page.press("ArrowRight");
    let moved =
        "VIEW.shadowRoot.querySelector('.tile:not(.self) video').style.transform".replace("VIEW", VIEW);
    let moved = page.eval(&moved);
    assert!(
        moved.as_str().is_some_and(|it| it.starts_with("translate(-") && it.contains("scale(1.25")),
        "{moved}"
    );
    page.press("f");
    page.wait_for("full screen", &format!("{VIEW}.shadowRoot.fullscreenElement?.matches('.tile')"), DEADLINE);
    page.press("f");
    page.wait_for("its end", "!document.fullscreenElement", DEADLINE);
    let place = page.eval(&format!(
        "(() => {{ const {{ width, height }} = {VIEW}.shadowRoot.querySelector('.tile:not(.self)').getBoundingClientRect(); \
         const own = {VIEW}.getBoundingClientRect(); return [width / own.width > 0.95, height / own.height > 0.8]; }})()"
    ));
    assert_eq!(place, json!([true, true]), "one picture fills the element");

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

/// An element that watches a robot shows its controls, and calls it again.
#[test]
fn an_element_operates_a_robot_and_calls_it_again() {
    let _machine = machine::shared();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let host = format!("http://{}", listener.local_addr().expect("an address"));
    let server = Server::start(&["--www", WWW]);
    let module = format!("<script type=\"module\" src=\"{}embed.js\"></script>", server.url());
    serve(
        listener,
        format!("<!doctype html>{module}<callbin-view watch=\"robot\" hud=\"1\" lang=\"de\"></callbin-view>"),
    );
    let folder = tempfile::tempdir().expect("there is room");
    let file = folder.path().join("robot.json");
    std::fs::write(&file, json!({ "controls": [{ "id": "light", "type": "button" }] }).to_string())
        .expect("there is room");
    let file = file.to_str().expect("a path is text");
    let robot = || {
        let args = [
            "wait",
            "--id",
            "robot",
            "--size",
            "160x120",
            "--data",
            "controls=exec:cat?text",
            "--controls",
            file,
        ];
        let mut client = Client::start(&server, &args);
        client.wait_for("waiting");
        client
    };
    let browser = Browser::start(BrowserOptions::default());
    let page = browser.open(&host);
    let absent = format!(
        "{VIEW}.shadowRoot?.querySelector('.alone:not([hidden])')?.textContent === '„robot“ ist nicht da. Neuer Versuch…'"
    );
    page.wait_for("the text", &absent, DEADLINE);
    for _ in 0..2 {
        let mut client = robot();
        let live =
            format!("{VIEW}.shadowRoot.querySelector('.panel fieldset:not(:disabled) [data-control=light]')");
        page.wait_for("its controls", &live, DEADLINE);
        page.eval(&format!("{VIEW}.shadowRoot.querySelector('[data-control=light]').click()"));
        assert_eq!(page.eval(&format!("[{VIEW}.state, ...{VIEW}.peers]")), json!(["in-call", "robot"]));
        client.process().kill();
        page.wait_for("its end", &format!("{VIEW}.peers.length === 0"), DEADLINE);
    }
    page.assert_no_console_errors();
}
