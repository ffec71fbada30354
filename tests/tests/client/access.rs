//! The client and a server with access control: tokens, ICE servers, and calls through a real TURN server.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Command,
    sync::mpsc,
    thread,
    time::Duration,
};

use callbin_tests::{
    Browser, BrowserOptions, Client, Coturn, DEADLINE, Server, Socket,
    client::Event,
    keys::{Algorithm, Keys},
    program, wait_until,
};
use serde_json::json;

/// A server that requires tokens and names a TURN server.
fn closed_server(keys: &Keys, coturn: &Coturn, ttl: &str) -> Server {
    let (key, url, secret) = (keys.public(), coturn.url(), coturn.secret_file());
    Server::start(&[
        "--token-key-file",
        &key,
        "--turn-url",
        &url,
        "--turn-secret-file",
        &secret,
        "--turn-ttl",
        ttl,
    ])
}

/// A client with a token in its environment.
fn client(server: &Server, token: &str, args: &[&str]) -> Client {
    let mut command = Command::new(program("callbin"));
    command.args(args).args(["--server", &server.ws_url(), "--events", "json", "--headless"]);
    Client::spawn(command.env("CALLBIN_TOKEN", token))
}

fn is_relayed(stats: &Event) -> bool {
    stats.text("/path/local") == "relay" && stats.text("/path/remote") == "relay"
}

/// Receives an offer that has no candidates, then the candidates, until none has come for a while: webrtcbin does not say
/// which one is the last.
fn candidates_of_offer(callee: &mut Socket) -> Vec<String> {
    let offer = callee.receive_text();
    assert!(offer.contains("offer") && !offer.contains("candidate:"), "{offer}");
    let mut candidates = vec![callee.receive_text()];
    callee.set_deadline(Duration::from_millis(500));
    candidates.extend(std::iter::from_fn(|| callee.try_receive_text()));
    candidates
}

fn shows(stats: &Event, wanted: [u8; 3]) -> bool {
    let near = |seen: [u8; 3]| seen.iter().zip(wanted).all(|(a, b)| a.abs_diff(b) < 24);
    stats.color().is_some_and(near) && stats.number("/audio/buffers") > 0.0
}

#[test]
fn two_clients_call_through_the_relay() {
    let (keys, coturn) = (Keys::new(Algorithm::Hs256), Coturn::start());
    let server = closed_server(&keys, &coturn, "600");
    let token = keys.token(json!({}));
    let relay = ["--ice-transport-policy", "relay"];
    let mut callee = client(
        &server,
        &token,
        &[&["wait", "--id", "callee", "--video-pattern", "blue"], &relay[..]].concat(),
    );
    callee.wait_for("waiting");
    let mut caller =
        client(&server, &token, &[&["call", "callee", "--video-pattern", "red"], &relay[..]].concat());
    callee.wait_for_stats("red through the relay", |s| is_relayed(s) && shows(s, [255, 0, 0]));
    caller.wait_for_stats("blue through the relay", |s| is_relayed(s) && shows(s, [0, 0, 255]));
    assert!(coturn.log().contains(":callee>"), "{}", coturn.log());
    caller.process().signal("INT");
    assert_eq!(caller.exit_code(), 0);
    callee.wait_for("ended");
    callee.wait_for("waiting");
    for client in [caller, callee] {
        assert_eq!(client.errors(), "", "a call through a relay ends without a word");
        assert!(!client.errors().contains(&token));
    }
}

#[test]
fn a_caller_that_is_only_to_be_relayed_tells_no_address_of_its_own() {
    let coturn = Coturn::start();
    let (url, secret) = (coturn.url(), coturn.secret_file());
    let server = Server::start(&["--turn-url", &url, "--turn-secret-file", &secret]);
    let mut callee = Socket::register(&server, "callee");
    let caller = Client::start(&server, &["call", "callee", "--ice-transport-policy", "relay"]);
    let candidates = candidates_of_offer(&mut callee);
    assert!(candidates.iter().all(|it| it.contains("typ relay raddr 0.0.0.0 rport 0")), "{candidates:?}");
    caller.hang_up();
}

/// The server names the relay only with `turns:`.
#[test]
fn two_clients_call_through_a_relay_with_tls() {
    let coturn = Coturn::start();
    let (url, secret, certificate) = (coturn.tls_url(), coturn.secret_file(), coturn.certificate());
    let server = Server::start(&["--turn-url", &url, "--turn-secret-file", &secret]);
    let relay = ["--ice-transport-policy", "relay", "--ca-file", &certificate, "--size", "160x120"];
    let mut callee = Client::start(
        &server,
        &[&["wait", "--id", "callee", "--video-pattern", "blue"], &relay[..]].concat(),
    );
    callee.wait_for("waiting");
    let mut caller =
        Client::start(&server, &[&["call", "callee", "--video-pattern", "red"], &relay[..]].concat());
    callee.wait_for_stats("red through the relay", |s| is_relayed(s) && shows(s, [255, 0, 0]));
    caller.wait_for_stats("blue through the relay", |s| is_relayed(s) && shows(s, [0, 0, 255]));
    assert!(coturn.log().contains("method=TLSv1"), "{}", coturn.log());
    caller.hang_up();
    // Without the certificate nothing is sent to it.
    let mut stranger = Client::start(&server, &["call", "callee", "--ice-transport-policy", "relay"]);
    assert_ne!(stranger.exit_code(), 0, "{}", stranger.errors());
    assert!(stranger.errors().contains("no TLS to the TURN server"), "{}", stranger.errors());
}

/// The two know only names of each other, which they look up themselves.
#[test]
fn two_clients_that_hide_their_addresses_call_each_other() {
    let server = Server::start(&[]);
    let hidden = ["--hide-addresses", "--no-ice-servers", "--size", "160x120"];
    let mut witness = Socket::register(&server, "witness");
    let shown = Client::start(&server, &[&["call", "witness"], &hidden[..]].concat());
    let candidates = candidates_of_offer(&mut witness);
    let hides = |it: &String| it.contains("typ host") && it.contains(".local") && !it.contains("127.0.0.1");
    assert!(candidates.iter().all(hides), "{candidates:?}");
    shown.hang_up();
    let mut callee = Client::start(
        &server,
        &[&["wait", "--id", "callee", "--video-pattern", "blue"], &hidden[..]].concat(),
    );
    callee.wait_for("waiting");
    let mut caller = Client::start(&server, &[&["call", "callee"], &hidden[..]].concat());
    let knows_path = |stats: &Event| shows(stats, [0, 0, 255]) && !stats.text("/path/remote").is_empty();
    let stats = caller.wait_for_stats("blue, and a path", knows_path);
    assert_eq!(stats.text("/path/remote"), "host", "{stats:?}");
    caller.hang_up();
}

#[test]
fn the_page_and_a_client_call_through_the_relay() {
    let (keys, coturn) = (Keys::new(Algorithm::EdDsa), Coturn::start());
    let server = closed_server(&keys, &coturn, "600");
    let token = keys.token(json!({}));
    let args = ["wait", "--id", "gst", "--video-pattern", "red", "--ice-transport-policy", "relay"];
    let mut callee = client(&server, &token, &args);
    callee.wait_for("waiting");
    let browser = Browser::start(BrowserOptions::default());
    let page = browser.open(&format!("{}?id=web&call=gst&relay=1&token={token}", server.url()));
    page.wait_for_peer("gst", "connected");
    let probe = page.video_probe("gst");
    assert!(probe.r > 200.0 && probe.g < 40.0 && probe.b < 40.0, "not red: {probe:?}");
    let green = |stats: &Event| stats.color().is_some_and(|[r, g, b]| g > 60 && g > 2 * r.max(b));
    callee.wait_for_stats("the camera through the relay", |stats| is_relayed(stats) && green(stats));
}

#[test]
fn credentials_are_fresh_when_the_call_begins() {
    let (keys, coturn) = (Keys::new(Algorithm::Hs256), Coturn::start());
    // The first credentials expire eight seconds after the start.
    let server = closed_server(&keys, &coturn, "8");
    let token = keys.token(json!({}));
    let relay = ["--ice-transport-policy", "relay", "--no-audio", "--size", "160x120"];
    let mut callee = client(&server, &token, &[&["wait", "--id", "callee"], &relay[..]].concat());
    let registered = callee.wait_for("waiting").ms();
    thread::sleep(std::time::Duration::from_secs(10));
    let mut caller =
        client(&server, &token, &[&["call", "callee", "--expect-video-frames", "10"], &relay[..]].concat());
    assert_eq!(caller.exit_code(), 0, "{}{}", caller.errors(), coturn.log());
    assert!(callee.wait_for("offer-received").ms() > registered + 9000);
}

#[test]
fn without_a_token_or_with_a_bad_one_there_is_no_way_in() {
    let keys = Keys::new(Algorithm::Hs256);
    let key = keys.public();
    let server = Server::start(&["--token-key-file", &key]);
    let expired = keys.token(json!({ "exp": 1 }));
    let stranger = Keys::new(Algorithm::Hs256).token(json!({}));
    for (args, words) in [
        (vec!["call", "x"], "wants a token"),
        (vec!["call", "x", "--token", &expired], "refuses the token"),
        (vec!["wait", "--token", &stranger], "refuses the token"),
        (vec!["room", "r", "--token", &stranger], "refuses the token"),
    ] {
        let mut client = Client::start(&server, &args);
        assert_eq!(client.exit_code(), 13, "{args:?}: {}", client.errors());
        assert!(client.errors().contains(words), "{args:?}: {}", client.errors());
        assert_eq!(client.errors().lines().count(), 1, "{}", client.errors());
        assert!(!client.errors().contains(&stranger) && !client.errors().contains(&expired));
    }
    let alice = keys.token(json!({ "uid": "alice" }));
    let mut bob = Client::start(&server, &["wait", "--id", "bob", "--token", &alice]);
    assert_eq!(bob.exit_code(), 5, "{}", bob.errors());
    assert!(bob.errors().contains("token"), "{}", bob.errors());
    let elsewhere = keys.token(json!({ "rooms": ["elsewhere"] }));
    let mut member = Client::start(&server, &["room", "lobby", "--token", &elsewhere]);
    assert_eq!(member.exit_code(), 13, "{}", member.errors());
    assert!(member.errors().contains("the token does not let us into the room"), "{}", member.errors());
    let mut missing = Client::start(&server, &["wait", "--token-file", "/nonexistent"]);
    assert_eq!(missing.exit_code(), 2, "{}", missing.errors());
}

#[test]
fn a_token_in_a_file_is_renewed_where_one_in_a_flag_ends() {
    let keys = Keys::new(Algorithm::Hs256);
    let key = keys.public();
    let server = Server::start(&["--token-key-file", &key, "--token-leeway", "0"]);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("token");
    let short = || keys.token(json!({ "exp": callbin_tests::keys::now() + 10 }));
    fs::write(&file, short()).expect("the folder is ours");
    let mut renewed =
        Client::start(&server, &["wait", "--id", "a", "--token-file", file.to_str().expect("text")]);
    renewed.wait_for("waiting");
    fs::write(&file, keys.token(json!({}))).expect("the folder is ours");
    let mut given = Client::start(&server, &["wait", "--id", "b", "--token", &short()]);
    given.wait_for("waiting");
    assert_eq!(given.exit_code(), 13, "{}", given.errors());
    assert!(given.errors().contains("token expired"), "{}", given.errors());
    renewed.wait_for("reconnecting");
    renewed.wait_for("waiting");
    renewed.hang_up();
}

/// A server that relays nothing, but accepts any WebSocket; this is its HTTP handler.
fn other_server(answer: &'static str) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let url = format!("ws://{}", listener.local_addr().expect("bound"));
    let (tell, asked) = mpsc::channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, tell) = (stream.expect("a connection"), tell.clone());
            thread::spawn(move || other_connection(stream, answer, &tell));
        }
    });
    (url, asked)
}

fn other_connection(mut stream: TcpStream, answer: &str, asked: &mpsc::Sender<String>) {
    let mut head = [0; 1024];
    let request = wait_until("a request", DEADLINE, || {
        let read = stream.peek(&mut head).expect("a request");
        let text = String::from_utf8_lossy(head.get(..read).unwrap_or_default()).into_owned();
        (read == 0 || text.contains("\r\n\r\n")).then_some(text)
    });
    if request.contains("Upgrade") {
        let mut socket = tungstenite::accept(stream).expect("a WebSocket");
        for (said, answer) in [("HELLO ", "HELLO"), ("SESSION x", "SESSION_OK")] {
            assert!(socket.read().expect("a frame").to_text().expect("text").starts_with(said));
            socket.send(answer.into()).expect("it reads");
        }
        while socket.read().is_ok() {}
    } else if !request.is_empty() {
        let _ = stream.read(&mut [0; 1024]);
        stream.write_all(answer.as_bytes()).expect("it reads");
        asked.send(request).expect("the test wants to know");
    }
}

#[test]
fn a_server_that_knows_no_ice_servers_is_fine() {
    for (answer, words) in [
        ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", ""),
        ("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", ""),
        ("", ""),
        ("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "HTTP 500"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK", "not what was expected"),
    ] {
        let (url, asked) = other_server(answer);
        let mut command = Command::new(program("callbin"));
        command.args(["call", "x", "--id", "ä", "--token", "t0ken"]);
        let mut client = Client::spawn(command.args(["--server", &url, "--events", "json", "--headless"]));
        // It does not make an offer before it knows the ICE servers.
        client.wait_for("offer-sent");
        let asked = asked.recv_timeout(DEADLINE).expect("a question").to_lowercase();
        assert!(asked.starts_with("get /ice-servers?uid=%c3%a4 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("authorization: bearer t0ken\r\n"), "{asked}");
        client.process().signal("INT");
        assert_eq!(client.exit_code(), 0);
        let (errors, wanted) = (client.errors(), usize::from(!words.is_empty()));
        assert!(errors.contains(words) && errors.lines().count() == wanted, "{answer}: {errors}");
        assert!(!client.errors().contains("t0ken"), "{}", client.errors());
    }
}
