//! Calls by plain HTTP (`/offer`, `/answer`, `/ice`), with peers of the text protocol and with each other.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, TcpStream},
    process::Command,
};

use callbin_tests::{
    Client, DEADLINE, Server, Socket,
    http::{self, Response, connect_from, read_answer, write_head},
    keys::{Algorithm, Keys, now},
    process::{self, workspace},
    wait_until,
};
use serde_json::{Value, json};

fn sdp(setup: &str) -> String {
    format!(
        "v=0\r\na={setup}\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n"
    )
}

fn description(kind: &str) -> Value {
    json!({ "type": kind, "sdp": sdp(kind) })
}

/// What a text peer sends for it.
fn frame(kind: &str) -> String {
    json!({ "sdp": description(kind) }).to_string()
}

#[track_caller]
fn signal(peer: &mut Socket) -> Value {
    serde_json::from_str(&peer.receive_text()).expect("JSON")
}

/// A client that compares each answer with the OpenAPI document.
struct Rest<'a> {
    server: &'a Server,
    document: Value,
}

impl<'a> Rest<'a> {
    fn new(server: &'a Server) -> Self {
        Self { server, document: http::get(server, "/openapi.json", &[]).json() }
    }

    #[track_caller]
    fn send(&self, method: &str, path: &str, body: &Value) -> Response {
        let body = match body {
            Value::Null => String::new(),
            Value::String(text) => text.clone(),
            body => body.to_string(),
        };
        self.read(method, path, &mut http::start(self.server, method, path, &[], &body))
    }

    #[track_caller]
    fn get(&self, path: &str) -> Response {
        self.send("GET", path, &Value::Null)
    }

    /// Starts a `GET` that waits.
    fn poll(&self, path: &str) -> TcpStream {
        http::start(self.server, "GET", path, &[], "")
    }

    #[track_caller]
    fn read(&self, method: &str, path: &str, stream: &mut TcpStream) -> Response {
        let response = read_answer(stream);
        let path = path.split('?').next().unwrap_or_default();
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let parameter = if segments[0] == "offer" { "{id}" } else { "{call}" };
        let place =
            if segments.len() == 1 { path.to_owned() } else { format!("/{}/{parameter}", segments[0]) };
        if let Some(operation) = self.document["paths"][place].get(method.to_lowercase()) {
            let status = response.status.to_string();
            // Of paths that are too long for it, the document says nothing.
            let is_known = operation["responses"].get(&status).is_some() || segments.len() > 2;
            assert!(is_known, "{method} {path}: {status} is not in the document");
        }
        response
    }

    /// Calls a peer, and returns the id of the call.
    #[track_caller]
    fn call(&self, to: &str) -> String {
        let response = self.send("POST", &format!("/offer/{to}"), &description("offer"));
        assert_eq!(response.status, 201, "{response:?}");
        response.json()["call"].as_str().expect("an id").to_owned()
    }

    /// Waits until this id is registered.
    #[track_caller]
    fn register(&self, id: &str) {
        assert_eq!(self.get(&format!("/offer/{id}?wait=0")).status, 204);
    }
}

#[test]
fn a_rest_client_calls_a_text_peer() {
    let server = Server::start(&[]);
    let rest = Rest::new(&server);
    let mut peer = Socket::register(&server, "cam");
    let response = rest.send("POST", "/offer", &json!({ "to": "cam", "type": "offer", "sdp": sdp("offer") }));
    assert_eq!((response.status, &response.json()["peer"]), (201, &json!("cam")));
    let call = response.json()["call"].as_str().expect("an id").to_owned();
    assert_eq!(call.strip_prefix("call.").map(str::len), Some(22), "128 bits");
    assert_eq!(response.exact("location"), format!("/answer/{call}"));
    assert_eq!(signal(&mut peer), json!({ "sdp": description("offer") }));

    assert_eq!(rest.get(&format!("/answer/{call}?wait=0")).status, 204);
    let path = format!("/answer/{call}");
    let mut waiting = rest.poll(&path);
    peer.send(&frame("answer"));
    let answer = rest.read("GET", &path, &mut waiting);
    assert_eq!(
        (answer.status, answer.json()),
        (200, json!({ "call": call, "type": "answer", "sdp": sdp("answer") }))
    );

    let ice = format!("/ice/{call}");
    let mine = json!({ "candidate": "candidate:1 1 udp 1 192.0.2.1 1 typ host", "sdpMid": "1" });
    for body in [mine.clone(), json!([mine]), json!({ "candidates": [mine] })] {
        assert_eq!(rest.send("POST", &ice, &body).status, 204);
        assert_eq!(signal(&mut peer)["ice"]["sdpMLineIndex"], 1);
    }
    let mut waiting = rest.poll(&ice);
    peer.send(&json!({ "ice": { "candidate": "candidate:9", "sdpMLineIndex": 1 } }).to_string());
    let first = rest.read("GET", &ice, &mut waiting).json();
    assert_eq!((&first["next"], &first["candidates"][0]["sdpMid"]), (&json!(1), &json!("1")));
    assert_eq!(rest.get(&format!("{ice}?after=1&wait=0")).status, 204);
    peer.send(&json!({ "ice": { "candidate": "", "sdpMLineIndex": 1 } }).to_string());
    let second = rest.get(&format!("{ice}?after=1")).json();
    assert_eq!((&second["next"], &second["candidates"][0]["candidate"]), (&json!(2), &json!("")));

    // The peer offers, too.
    let offers = format!("/offer/{call}");
    peer.send(&frame("offer"));
    let offer = rest.get(&offers).json();
    assert_eq!(
        (&offer["type"], &offer["from"], &offer["sdp"]),
        (&json!("offer"), &json!("cam"), &json!(sdp("offer")))
    );
    assert_eq!(rest.send("POST", &path, &description("answer")).status, 204);
    assert_eq!(signal(&mut peer), json!({ "sdp": description("answer") }));
    assert_eq!(rest.send("POST", &path, &description("answer")).status, 409, "once");
    // And this side offers again, and waits for the answer in the same request.
    let again = format!("{offers}?wait=10");
    let mut waiting = http::start(&server, "POST", &again, &[], &sdp("offer"));
    assert_eq!(signal(&mut peer), json!({ "sdp": description("offer") }));
    peer.send(&frame("answer"));
    assert_eq!(rest.read("POST", &again, &mut waiting).json()["sdp"], sdp("answer"));

    let mut waiting = rest.poll(&offers);
    assert_eq!(rest.send("DELETE", &offers, &Value::Null).status, 204);
    peer.expect_close(1000, "");
    assert_eq!(rest.read("GET", &offers, &mut waiting).status, 404);
    for (method, path) in [("DELETE", &offers), ("GET", &offers), ("GET", &path), ("GET", &ice)] {
        assert_eq!(rest.send(method, path, &Value::Null).status, 404, "{method} {path}");
    }
    assert_eq!(rest.send("POST", &path, &description("answer")).status, 404);
    assert_eq!(rest.send("POST", &ice, &json!([])).status, 404);
    assert_eq!(server.metric("callbin_sessions "), Some(0.0));
}

#[test]
fn a_text_peer_calls_a_rest_client() {
    let server = Server::start(&[]);
    let rest = Rest::new(&server);
    rest.register("cam");
    let mut waiting = rest.poll("/offer/cam");
    let mut peer = Socket::register(&server, "alice");
    peer.expect_nothing("SESSION cam", "SESSION_OK");
    peer.send(&json!({ "ice": { "candidate": "candidate:1", "sdpMLineIndex": 0 } }).to_string());
    peer.send(&frame("offer"));
    let offer = rest.read("GET", "/offer/cam", &mut waiting).json();
    assert_eq!(
        (&offer["from"], &offer["type"], &offer["sdp"]),
        (&json!("alice"), &json!("offer"), &json!(sdp("offer")))
    );
    assert_eq!(rest.get("/offer/cam").json(), offer, "until it is answered");
    let call = offer["call"].as_str().expect("an id");
    assert_eq!(rest.get(&format!("/ice/{call}")).json()["candidates"][0]["candidate"], "candidate:1");
    let mut third = Socket::register(&server, "bob");
    third.send("SESSION cam");
    third.expect("ERROR peer 'cam' busy");
    assert_eq!(
        rest.send("POST", "/offer/cam", &description("offer")).status,
        409,
        "busy for HTTP clients, too"
    );
    assert_eq!(rest.send("POST", &format!("/answer/{call}"), &json!(sdp("answer"))).status, 204);
    assert_eq!(signal(&mut peer), json!({ "sdp": description("answer") }));
    assert_eq!(rest.get("/offer/cam?wait=0").status, 204);

    peer.close();
    let ended = format!("/ice/{call}?after=1");
    assert_eq!(rest.get(&ended).status, 404);
    // The registration stays: the next call comes, and asks for an offer.
    let mut waiting = rest.poll("/offer/cam");
    third.expect_nothing("SESSION cam", "SESSION_OK");
    third.send("OFFER_REQUEST");
    let asked = rest.read("GET", "/offer/cam", &mut waiting).json();
    assert_eq!((&asked["from"], &asked["type"]), (&json!("bob"), &json!("offer-request")));
    let call = asked["call"].as_str().expect("an id");
    assert_eq!(rest.send("POST", &format!("/offer/{call}"), &description("offer")).status, 201);
    assert_eq!(signal(&mut third), json!({ "sdp": description("offer") }));
    third.send(&frame("answer"));
    assert_eq!(rest.get(&format!("/answer/{call}")).json()["sdp"], sdp("answer"));
    // It hangs up, and is still registered.
    assert_eq!(rest.send("DELETE", &format!("/offer/{call}"), &Value::Null).status, 204);
    third.expect_close(1000, "");
    assert_eq!(server.metric("callbin_peers "), Some(1.0));
    assert_eq!(rest.send("DELETE", "/offer/cam", &Value::Null).status, 204);
    assert_eq!(rest.send("DELETE", "/offer/cam", &Value::Null).status, 404);
    assert_eq!(server.metric("callbin_peers "), Some(0.0));
}

#[test]
fn two_rest_clients_call_each_other() {
    let server = Server::start(&[]);
    let rest = Rest::new(&server);
    rest.register("cam");
    let mut caller = http::start(&server, "POST", "/offer/cam?wait=20", &[], &sdp("offer"));
    let offer = rest.get("/offer/cam").json();
    let theirs = offer["call"].as_str().expect("an id").to_owned();
    assert_eq!(rest.send("POST", &format!("/answer/{theirs}"), &description("answer")).status, 204);
    let answered = rest.read("POST", "/offer/cam", &mut caller).json();
    assert_eq!(answered["sdp"], sdp("answer"));
    let mine = answered["call"].as_str().expect("an id").to_owned();
    assert_ne!(mine, theirs, "each side has its own id");
    let fragment = "m=audio 9 x 0\r\na=mid:1\r\na=candidate:1 1 udp 1 192.0.2.1 1 typ host\r\n";
    assert_eq!(rest.send("POST", &format!("/ice/{theirs}"), &json!(fragment)).status, 204);
    let got = rest.get(&format!("/ice/{mine}")).json();
    assert_eq!(got["candidates"][0]["sdpMLineIndex"], 1, "{got}");
    let mut waiting = rest.poll(&format!("/ice/{theirs}"));
    assert_eq!(rest.send("DELETE", &format!("/offer/{mine}"), &Value::Null).status, 204);
    assert_eq!(rest.read("GET", "/ice/x", &mut waiting).status, 404);
    // A caller without an offer asks for one.
    let call =
        rest.send("POST", "/offer/cam", &Value::Null).json()["call"].as_str().expect("an id").to_owned();
    let asked = rest.get("/offer/cam").json();
    assert_eq!(asked["type"], "offer-request");
    let theirs = asked["call"].as_str().expect("an id");
    assert_eq!(rest.send("POST", &format!("/offer/{theirs}"), &description("offer")).status, 201);
    assert_eq!(rest.get(&format!("/offer/{call}")).json()["sdp"], sdp("offer"));
}

/// Reads server-sent events.
struct Events(BufReader<TcpStream>);

impl Events {
    fn open(server: &Server, path: &str, headers: &[(&str, &str)]) -> Self {
        let mut stream = connect_from(Ipv4Addr::LOCALHOST.into(), server.address());
        write_head(&mut stream, "GET", path, &[&[("Accept", "text/event-stream")], headers].concat());
        Self(BufReader::new(stream))
    }

    /// The next event of this name, its id, and its data.
    #[track_caller]
    fn next(&mut self, wanted: &str) -> (Option<String>, Value) {
        let (mut name, mut id) = (String::new(), None);
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("text") > 0, "the stream ends before {wanted}");
            match line.trim_end().split_once(": ") {
                Some(("event", value)) => (name, id) = (value.to_owned(), None),
                Some(("id", value)) => id = Some(value.to_owned()),
                Some(("data", value)) => {
                    assert_eq!(name, wanted);
                    return (id, serde_json::from_str(value).expect("JSON"));
                }
                _ => {}
            }
        }
    }
}

#[test]
fn events_come_as_they_happen() {
    let server = Server::start(&[]);
    let rest = Rest::new(&server);
    let mut offers = Events::open(&server, "/offer/cam", &[]);
    wait_until("the registration", DEADLINE, || (server.metric("callbin_peers ")? == 1.0).then_some(()));
    let mut peer = Socket::register(&server, "alice");
    peer.expect_nothing("SESSION cam", "SESSION_OK");
    peer.send("OFFER_REQUEST");
    let call = offers.next("offer-request").1["call"].as_str().expect("an id").to_owned();
    peer.send(&frame("offer"));
    assert_eq!(offers.next("offer").1["sdp"], sdp("offer"));
    let mut events = Events::open(&server, &format!("/ice/{call}"), &[]);
    assert_eq!(events.next("offer").1["sdp"], sdp("offer"));
    assert_eq!(rest.send("POST", &format!("/answer/{call}"), &description("answer")).status, 204);
    for number in 1..=2 {
        peer.send(
            &json!({ "ice": { "candidate": format!("candidate:{number}"), "sdpMLineIndex": 0 } }).to_string(),
        );
        let (id, data) = events.next("candidate");
        assert_eq!(
            (id, &data["candidate"]),
            (Some(number.to_string()), &json!(format!("candidate:{number}")))
        );
    }
    let mut later = Events::open(&server, &format!("/ice/{call}"), &[("Last-Event-ID", "1")]);
    assert_eq!(later.next("candidate").0.as_deref(), Some("2"));
    peer.close();
    events.next("end");
    later.next("end");
    // The offers go on with the next call.
    let mut peer = Socket::register(&server, "bob");
    peer.expect_nothing("SESSION cam", "SESSION_OK");
    peer.send(&frame("offer"));
    assert_eq!(offers.next("offer").1["from"], "bob");
}

#[test]
fn what_is_abandoned_expires() {
    let server = Server::start(&["--keepalive-timeout", "1"]);
    let rest = Rest::new(&server);
    rest.register("cam");
    wait_until("the end of the registration", DEADLINE, || {
        (server.metric("callbin_peers ")? == 0.0).then_some(())
    });
    // A call that is not answered, and whose caller does not ask for the answer.
    let mut peer = Socket::register(&server, "alice");
    let call = rest.call("alice");
    signal(&mut peer);
    peer.expect_close(1000, "");
    assert_eq!(rest.get(&format!("/answer/{call}")).status, 404);
    // A caller that is gone before its response.
    let mut peer = Socket::register(&server, "alice");
    let request = http::start(&server, "POST", "/offer/alice?wait=30", &[], &sdp("offer"));
    signal(&mut peer);
    drop(request);
    peer.expect_close(1000, "");
    wait_until("nothing is left", DEADLINE, || (server.metric("callbin_connections ")? == 0.0).then_some(()));
    assert!(server.metric("callbin_closes_total{reason=\"no request in time\"}") >= Some(2.0));
}

#[test]
fn an_id_belongs_to_one_client() {
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let server = Server::start(&["--token-key-file", &file]);
    let bearer = |claims: Value| format!("Bearer {}", keys.token(claims));
    let (alice, bob) = (bearer(json!({ "sub": "alice", "uid": "cam*" })), bearer(json!({ "sub": "bob" })));
    let get =
        |path: &str, token: &str| http::send(&server, "GET", path, &[("Authorization", token)], "").status;
    assert_eq!(http::send(&server, "GET", "/offer/cam", &[], "").status, 401);
    assert_eq!(get("/offer/cam?wait=0", &alice), 204);
    assert_eq!(get("/offer/cam?wait=0", &alice), 204, "again");
    assert_eq!(get("/offer/other?wait=0", &alice), 403, "the token does not allow it");
    assert_eq!(get("/offer/cam?wait=0", &bob), 409, "it is taken");
    let mut socket =
        Socket::connect_to(&format!("{}?token={}", server.ws_url(), keys.token(json!({ "sub": "bob" }))));
    socket.send("HELLO cam");
    socket.expect_close(1002, "invalid peer uid");
    let call = http::send(&server, "POST", "/offer/cam", &[("Authorization", &bob)], &sdp("offer"));
    let (mine, theirs) = (
        call.json()["call"].clone(),
        http::send(&server, "GET", "/offer/cam", &[("Authorization", &alice)], ""),
    );
    let (mine, theirs) = (mine.as_str().expect("an id").to_owned(), theirs.json()["call"].clone());
    assert_ne!(theirs.as_str(), Some(&mine[..]), "each side has its own id");
    assert_eq!(
        theirs,
        http::send(&server, "GET", "/offer/cam", &[("Authorization", &alice)], "").json()["call"]
    );
    assert_eq!(get(&format!("/answer/{mine}?wait=0"), &alice), 404, "the call of another subject");
    assert_eq!(get(&format!("/answer/{mine}?wait=0"), &bob), 204);
}

#[test]
fn a_request_with_a_later_token_keeps_a_registration() {
    let keys = Keys::new(Algorithm::Hs256);
    let file = keys.public();
    let server = Server::start(&["--token-key-file", &file, "--token-leeway", "0"]);
    let bearer = |claims: Value| format!("Bearer {}", keys.token(claims));
    let get = |path: &str, token: &str| {
        let response = http::send(&server, "GET", path, &[("Authorization", token)], "");
        assert_eq!(response.status, 204, "{response:?}");
    };
    let first = bearer(json!({ "sub": "alice", "exp": now() + 4 }));
    let later = bearer(json!({ "sub": "alice", "exp": now() + 600 }));
    get("/offer/cam?wait=0", &first);
    get("/offer/cam?wait=0", &later);
    get("/offer/door?wait=0", &first);
    wait_until("the end of the other registration", DEADLINE, || {
        (server.metric("callbin_closes_total{reason=\"token expired\"}")? == 1.0).then_some(())
    });
    // The server may count its peers a moment later than what it closes.
    wait_until("one peer", DEADLINE, || (server.metric("callbin_peers ")? == 1.0).then_some(()));
    get("/offer/cam?wait=0", &later);
    assert_eq!(server.metric("callbin_registrations_total"), Some(2.0), "it was there all the time");
}

#[test]
fn malformed_requests_have_their_codes() {
    let server = Server::start(&["--hello-timeout", "1"]);
    let rest = Rest::new(&server);
    let mut peer = Socket::register(&server, "cam");
    let call = rest.call("cam");
    signal(&mut peer);
    let (offer, answer, ice) = (format!("/offer/{call}"), format!("/answer/{call}"), format!("/ice/{call}"));
    for (path, body) in [
        ("/offer", json!({})),
        ("/offer", json!("hello")),
        ("/offer", json!({ "to": "cam", "type": "answer" })),
        ("/offer", json!({ "to": "a b" })),
        ("/offer", json!({ "to": "cam", "sdp": "hello" })),
        ("/offer/a%20b", description("offer")),
        ("/offer/%ff", description("offer")),
        (&offer, Value::Null),
        (&answer, Value::Null),
        (&answer, json!("[]")),
        (&answer, description("offer")),
        (&ice, json!("hello")),
        (&ice, json!([1])),
        (&ice, json!({ "candidate": 1 })),
        (&ice, json!(vec![json!({ "candidate": "x" }); 300])),
    ] {
        let response = rest.send("POST", path, &body);
        assert_eq!(response.status, 400, "{path} {body}: {response:?}");
        assert!(response.json()["error"].is_string(), "{response:?}");
    }
    assert_eq!(rest.get("/offer/a%20b").status, 400);
    assert_eq!(rest.get(&format!("/offer/{}", "x".repeat(300))).status, 400);
    assert_eq!(rest.send("POST", "/offer/nobody", &description("offer")).status, 404);
    assert_eq!(rest.send("POST", "/offer", &json!({ "to": "nobody", "sdp": sdp("offer") })).status, 404);
    let busy = rest.send("POST", "/offer/cam", &description("offer"));
    assert_eq!((busy.status, busy.header("retry-after")), (409, Some("5")));
    assert_eq!(rest.send("POST", "/offer", &json!({ "to": "cam", "sdp": sdp("offer") })).status, 409);
    assert_eq!(rest.get("/offer/cam").status, 409, "a WebSocket has the id");
    let long = json!("x".repeat(70_000));
    let bodies = [&offer[..], &answer, &ice, "/offer"];
    let mut slow = bodies.map(|path| {
        assert_eq!(rest.send("POST", path, &long).status, 413, "{path}");
        let mut slow = connect_from(Ipv4Addr::LOCALHOST.into(), server.address());
        write_head(&mut slow, "POST", path, &[("Content-Length", "1000")]);
        slow.write_all(b"{").expect("it is open");
        (path, slow)
    });
    for (path, slow) in &mut slow {
        assert_eq!(rest.read("POST", path, slow).status, 408, "{path}");
    }
    for (method, path) in
        [("PUT", "/offer/cam"), ("GET", "/offer"), ("DELETE", &answer), ("HEAD", &ice), ("PATCH", &ice)]
    {
        let response = rest.send(method, path, &Value::Null);
        assert_eq!(response.status, 405, "{method} {path}");
        assert!(response.header("allow").is_some());
    }
    for path in ["/answer", "/ice/x/y", "/ice/"] {
        assert_eq!(rest.get(path).status, 404, "{path}");
    }
    // The call goes on.
    peer.send(&frame("answer"));
    assert_eq!(rest.get(&answer).status, 200);
}

#[test]
fn pages_may_use_it() {
    let server = Server::start(&["--allowed-origin", "https://example.org"]);
    let origin = ("Origin", "https://example.org");
    let preflight = http::send(&server, "OPTIONS", "/offer/cam", &[origin], "");
    assert_eq!(preflight.header("access-control-allow-methods"), Some("get, post, delete, options"));
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://example.org"));
    let foreign = http::send(&server, "GET", "/offer/cam", &[("Origin", "https://evil.example")], "");
    assert_eq!((foreign.status, foreign.header("access-control-allow-origin")), (403, None));
}

#[test]
fn the_clients_limits_hold() {
    let server = Server::start(&["--max-registration-rate", "1", "--max-owner-connections", "12"]);
    let statuses: Vec<u16> = (0..20)
        .map(|number| http::send(&server, "GET", &format!("/offer/id{number}?wait=0"), &[], "").status)
        .collect();
    assert!(statuses.contains(&204) && statuses.contains(&429), "{statuses:?}");
    assert!(server.metric("callbin_peers ") <= Some(11.0));
    let server = Server::start(&["--max-request-rate", "1"]);
    let statuses: Vec<u16> =
        (0..30).map(|_| http::send(&server, "GET", "/answer/x", &[], "").status).collect();
    assert!(statuses.contains(&404) && statuses.contains(&429), "{statuses:?}");
}

#[test]
fn a_draining_server_registers_nobody() {
    let mut server = Server::start(&["--drain-timeout", "30"]);
    let rest = Rest::new(&server);
    let (one, mut other) = Socket::session(&server, "stays");
    rest.register("cam");
    let mut waiting = rest.poll("/offer/cam");
    process::signal(server.pid(), "TERM");
    let response = rest.read("GET", "/offer/cam", &mut waiting);
    assert_eq!((response.status, response.header("retry-after")), (503, Some("5")), "{response:?}");
    assert_eq!(rest.get("/offer/cam").status, 503);
    assert_eq!(rest.send("POST", "/offer/stays-callee", &description("offer")).status, 503);
    assert_eq!(rest.send("POST", "/offer", &json!({ "to": "x" })).status, 503);
    other.send("still there");
    drop((one, other));
    server.process().wait_for(DEADLINE);
}

#[test]
fn the_document_describes_the_implementation() {
    let server = Server::start(&[]);
    let rest = Rest::new(&server);
    let response = rest.get("/openapi.json");
    assert_eq!(response.header("content-type"), Some("application/json"));
    let document = response.json();
    assert_eq!(document["openapi"], "3.1.0");
    let mut peer = Socket::register(&server, "cam");
    let call = rest.call("cam");
    signal(&mut peer);
    // Every operation of the document exists: none answers 405.
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let place = path.replace("{call}", &call).replace("{id}", "cam");
            let query = if operation["parameters"].to_string().contains("wait") { "?wait=0" } else { "" };
            let method = method.to_uppercase();
            let response = rest.send(&method, &format!("{place}{query}"), &Value::Null);
            let known = operation["responses"].as_object().expect("responses");
            assert!(known.contains_key(&response.status.to_string()), "{method} {place}: {response:?}");
            assert_ne!(response.status, 405, "{method} {place}");
        }
    }
    let moved = Server::start(&["--dialect", "rest=/api"]);
    let document = http::get(&moved, "/api/openapi.json", &[]).json();
    assert_eq!(document["servers"][0]["url"], "/api");
    assert_eq!(http::get(&moved, "/openapi.json", &[]).status, 404);
}

/// The shell script of the documentation, exactly as it is printed there.
#[test]
fn the_script_of_the_documentation_makes_a_call() {
    let page = fs::read_to_string(workspace().join("docs/protocols/rest.md")).expect("text");
    let script = page.split("```sh\n#!/bin/sh\n").nth(1).and_then(|rest| rest.split("```").next());
    let script = format!("#!/bin/sh\n{}", script.expect("a script"));
    let server = Server::start(&[]);
    let mut studio = Client::start(&server, &["wait", "--id", "studio"]);
    studio.wait_for("waiting");
    let folder = tempfile::TempDir::new().expect("a folder");
    let path = folder.path().join("call.sh");
    fs::write(&path, script).expect("the folder is ours");
    fs::write(folder.path().join("offer.sdp"), OFFER).expect("the folder is ours");
    let mut command = Command::new("sh");
    command.arg(&path).args([server.url().trim_end_matches('/'), "studio", "offer.sdp"]);
    let output = output_of(command.current_dir(folder.path()));
    assert!(output.contains("v=0") && output.contains("m=video"), "{output}");
    assert!(output.contains("candidate:"), "{output}");
    studio.wait_for("ended");
}

fn output_of(command: &mut Command) -> String {
    let output = command.output().expect("sh exists");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A browser's offer that sends video.
const OFFER: &str = "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n\
    a=msid-semantic: WMS\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=ice-options:trickle\r\n\
    a=fingerprint:sha-256 DA:7B:57:DC:28:CE:04:4F:31:79:85:C4:31:67:EB:27:58:29:ED:77:2A:0D:24:AE:ED:AD:30:BC:BD:F1:9C:02\r\n\
    a=setup:actpass\r\na=mid:0\r\na=sendrecv\r\na=rtcp-mux\r\na=rtpmap:96 VP8/90000\r\na=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\n";
