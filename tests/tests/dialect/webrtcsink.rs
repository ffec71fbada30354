//! The protocol of GStreamer's webrtcsink over real sockets: its clients with each other and with text clients.

use std::net::TcpStream;

use callbin_tests::{
    Server, Socket,
    hook::Hook,
    http,
    keys::{Algorithm, Keys},
};
use serde_json::{Value, json};

const SDP: &str = "v=0\r\nm=video 9 x 0\r\na=mid:v\r\n";

/// A client, welcomed.
struct Client {
    socket: Socket,
    id: String,
}

impl Client {
    #[track_caller]
    fn open(server: &Server) -> Self {
        Self::open_at(&format!("{}webrtcsink", server.ws_url()))
    }

    #[track_caller]
    fn open_at(url: &str) -> Self {
        let mut socket = Socket::connect_to(url);
        let welcome: Value = serde_json::from_str(&socket.receive_text()).expect("JSON");
        assert_eq!(welcome["type"], "welcome");
        Self { id: welcome["peerId"].as_str().expect("an id").into(), socket }
    }

    /// A client that has these roles. A listener waits until it is one.
    #[track_caller]
    fn with(server: &Server, roles: &[&str]) -> Self {
        let mut client = Self::open(server);
        client.status(roles, &Value::Null);
        match roles.contains(&"listener") {
            true => assert_eq!(client.receive(), changed(&client.id, roles, &Value::Null)),
            // Its own list comes after its registration.
            false => drop(client.list()),
        }
        client
    }

    #[track_caller]
    fn send(&mut self, message: &Value) {
        self.socket.send(&message.to_string());
    }

    #[track_caller]
    fn receive(&mut self) -> Value {
        serde_json::from_str(&self.socket.receive_text()).expect("JSON")
    }

    #[track_caller]
    fn expect(&mut self, message: &Value) {
        assert_eq!(self.receive(), *message);
    }

    #[track_caller]
    fn expect_error(&mut self, details: &str) {
        self.expect(&json!({ "type": "error", "details": details }));
    }

    #[track_caller]
    fn status(&mut self, roles: &[&str], meta: &Value) {
        self.send(&json!({ "type": "setPeerStatus", "roles": roles, "meta": meta, "peerId": self.id }));
    }

    /// The producers. Nothing else is queued for it.
    #[track_caller]
    fn list(&mut self) -> Vec<String> {
        self.send(&json!({ "type": "list" }));
        let list = self.receive();
        assert_eq!(list["type"], "list");
        let ids = list["producers"].as_array().expect("a list").iter();
        let mut ids: Vec<String> = ids.map(|peer| peer["id"].as_str().expect("an id").into()).collect();
        ids.sort();
        ids
    }

    /// Takes a frame about a new session, and returns its id.
    #[track_caller]
    fn session(&mut self, kind: &str, peer: &str, offer: &Value) -> String {
        let frame = self.receive();
        let session = frame["sessionId"].as_str().expect("a session").to_owned();
        let mut expected = json!({ "type": kind, "peerId": peer, "sessionId": session });
        if kind == "startSession" {
            expected["offer"] = offer.clone();
        }
        assert_eq!(frame, expected);
        session
    }

    #[track_caller]
    fn start(&mut self, peer: &str) -> String {
        self.send(&json!({ "type": "startSession", "peerId": peer }));
        self.session("sessionStarted", peer, &Value::Null)
    }
}

fn changed(peer: &str, roles: &[&str], meta: &Value) -> Value {
    json!({ "type": "peerStatusChanged", "roles": roles, "meta": meta, "peerId": peer })
}

fn sdp(session: &str, kind: &str) -> Value {
    json!({ "type": "peer", "sessionId": session, "sdp": { "type": kind, "sdp": SDP } })
}

fn ice(session: &str, candidate: &str) -> Value {
    json!({ "type": "peer", "sessionId": session, "ice": { "candidate": candidate, "sdpMLineIndex": 0 } })
}

fn end(session: &str) -> Value {
    json!({ "type": "endSession", "sessionId": session })
}

/// A text peer's description or candidate, as it is received.
#[track_caller]
fn signal(socket: &mut Socket) -> Value {
    serde_json::from_str(&socket.receive_text()).expect("JSON")
}

fn text_sdp(kind: &str) -> Value {
    json!({ "sdp": { "type": kind, "sdp": SDP } })
}

fn text_ice(candidate: &str) -> Value {
    json!({ "ice": { "candidate": candidate, "sdpMid": "v", "sdpMLineIndex": 0 } })
}

#[test]
fn a_producer_serves_several_consumers() {
    let server = Server::start(&[]);
    let mut producer = Client::with(&server, &["producer"]);
    let mut consumers: Vec<Client> = (0..3).map(|_| Client::open(&server)).collect();
    let mut sessions = Vec::new();
    for consumer in &mut consumers {
        assert_eq!(consumer.list(), [producer.id.clone()]);
        let ours = consumer.start(&producer.id);
        let theirs = producer.session("startSession", &consumer.id, &Value::Null);
        sessions.push((ours, theirs));
    }
    for (consumer, (ours, theirs)) in consumers.iter_mut().zip(&sessions) {
        producer.send(&sdp(theirs, "offer"));
        producer.send(&ice(theirs, "candidate:1"));
        consumer.expect(&sdp(ours, "offer"));
        consumer.expect(&ice(ours, "candidate:1"));
        consumer.send(&sdp(ours, "answer"));
        consumer.send(&ice(ours, ""));
        consumer.send(&ice(ours, "candidate:2"));
        producer.expect(&sdp(theirs, "answer"));
        producer.expect(&ice(theirs, "candidate:2"));
    }
    let [mut first, second, mut third] = consumers.try_into().ok().expect("three");
    first.send(&end(&sessions[0].0));
    producer.expect(&end(&sessions[0].1));
    second.socket.cut();
    producer.expect(&end(&sessions[1].1));
    producer.send(&end(&sessions[2].1));
    third.expect(&end(&sessions[2].0));
    // Each ended once, and the producer can be called again.
    producer.send(&end(&sessions[2].1));
    first.start(&producer.id);
    producer.session("startSession", &first.id, &Value::Null);
    producer.socket.close();
    assert_eq!(first.receive()["type"], "endSession");
    assert_eq!(first.list(), [] as [&str; 0]);
}

#[test]
fn an_offer_comes_with_the_session_and_a_producer_calls_a_consumer() {
    let server = Server::start(&[]);
    let mut producer = Client::with(&server, &["producer"]);
    let mut consumer = Client::open(&server);
    consumer.send(&json!({ "type": "startSession", "peerId": producer.id, "offer": SDP }));
    let ours = consumer.session("sessionStarted", &producer.id, &Value::Null);
    let theirs = producer.session("startSession", &consumer.id, &json!(SDP));
    producer.send(&sdp(&theirs, "answer"));
    consumer.expect(&sdp(&ours, "answer"));

    let mut waits = Client::with(&server, &["consumer"]);
    producer.send(&json!({ "type": "listConsumers" }));
    let listed = json!([{ "id": waits.id, "meta": null }]);
    producer.expect(&json!({ "type": "listConsumers", "consumers": listed }));
    producer.send(&json!({ "type": "startSession", "peerId": waits.id }));
    let ours = producer.session("startSession", &waits.id, &Value::Null);
    let theirs = waits.session("sessionStarted", &producer.id, &Value::Null);
    producer.send(&sdp(&ours, "offer"));
    waits.expect(&sdp(&theirs, "offer"));
}

#[test]
fn listeners_hear_of_peers_of_all_protocols() {
    let server = Server::start(&[]);
    let mut listeners: Vec<Client> = (0..200).map(|_| Client::with(&server, &["listener"])).collect();
    let bob = Socket::register(&server, "bob");
    let mut producer = Client::open(&server);
    let meta = json!({ "uid": "door", "name": "Front door" });
    producer.status(&["producer"], &meta);
    for listener in &mut listeners {
        listener.expect(&changed("bob", &["producer"], &Value::Null));
        listener.expect(&changed("door", &["producer"], &meta));
    }
    bob.cut();
    for listener in &mut listeners {
        listener.expect(&changed("bob", &[], &Value::Null));
    }
    producer.status(&[], &meta);
    for listener in &mut listeners {
        listener.expect(&changed("door", &[], &meta));
        assert_eq!(listener.list(), [] as [&str; 0]);
    }
}

#[test]
fn a_text_peer_calls_a_producer() {
    let server = Server::start(&[]);
    let mut producer = Client::open(&server);
    producer.status(&["producer"], &json!({ "uid": "cam" }));
    producer.list();
    let mut alice = Socket::register(&server, "alice");
    alice.expect_nothing("SESSION cam", "SESSION_OK");
    alice.send(&text_ice("candidate:0").to_string());
    alice.send(&text_sdp("offer").to_string());
    let session = producer.session("startSession", "alice", &json!(SDP));
    producer.expect(&ice(&session, "candidate:0"));
    producer.send(&sdp(&session, "answer"));
    producer.send(&ice(&session, "candidate:1"));
    assert_eq!(signal(&mut alice), text_sdp("answer"));
    assert_eq!(signal(&mut alice), text_ice("candidate:1"));
    // A second one asks for the offer.
    let mut bob = Socket::register(&server, "bob");
    bob.expect_nothing("SESSION cam", "SESSION_OK");
    bob.send("OFFER_REQUEST");
    let other = producer.session("startSession", "bob", &Value::Null);
    producer.send(&sdp(&other, "offer"));
    assert_eq!(signal(&mut bob), text_sdp("offer"));
    bob.send(&text_sdp("answer").to_string());
    producer.expect(&sdp(&other, "answer"));
    // Each ends for itself.
    alice.cut();
    producer.expect(&end(&session));
    producer.send(&end(&other));
    bob.expect_close(1000, "");
}

#[test]
fn a_consumer_calls_a_text_peer_and_a_second_one_finds_it_busy() {
    let server = Server::start(&[]);
    let mut bob = Socket::register(&server, "bob");
    let (mut consumer, mut second) = (Client::open(&server), Client::open(&server));
    assert_eq!(consumer.list(), ["bob"]);
    let session = consumer.start("bob");
    bob.expect("OFFER_REQUEST");
    second.send(&json!({ "type": "startSession", "peerId": "bob" }));
    second.expect_error("peer \"bob\" is busy");
    bob.send(&text_ice("candidate:0").to_string());
    bob.send(&text_sdp("offer").to_string());
    consumer.expect(&sdp(&session, "offer"));
    consumer.expect(&ice(&session, "candidate:0"));
    consumer.send(&sdp(&session, "answer"));
    assert_eq!(signal(&mut bob), text_sdp("answer"));
    consumer.socket.cut();
    bob.expect_close(1000, "");

    let mut carol = Socket::register(&server, "carol");
    second.send(&json!({ "type": "startSession", "peerId": "carol", "offer": SDP }));
    let session = second.session("sessionStarted", "carol", &Value::Null);
    assert_eq!(signal(&mut carol), text_sdp("offer"));
    carol.send(&text_sdp("answer").to_string());
    second.expect(&sdp(&session, "answer"));
    carol.cut();
    second.expect(&end(&session));
}

#[test]
fn what_is_malformed_or_not_possible_gets_an_error() {
    let server = Server::start(&[]);
    let mut client = Client::open(&server);
    for text in ["", "HELLO x", "{}", r#"{"type":"newPeer"}"#, r#"{"type":"peer","sessionId":"x"}"#] {
        client.socket.send(text);
        let answer = client.receive();
        assert_eq!(answer["type"], "error", "{text}");
    }
    client.socket.send_binary(b"x");
    client.expect_error("a binary frame");
    client.send(&json!({ "type": "startSession", "peerId": "nobody" }));
    client.expect_error("peer \"nobody\" not found");
    client.status(&["producer", "consumer"], &Value::Null);
    client.expect_error("a peer is either a producer or a consumer");
    client.status(&["producer"], &json!({ "uid": "x".repeat(2000) }));
    client.expect_error("the id is empty, too long or has white space");
    // Longer than --max-uid-length.
    client.status(&["producer"], &json!({ "uid": "x".repeat(129) }));
    client.expect_error("the id is empty, too long or has white space");
    let _bob = Socket::register(&server, "bob");
    client.status(&["producer"], &json!({ "uid": "bob" }));
    client.expect_error("another peer has the id");
    client.send(&json!({ "type": "setProtocolVersion", "version": "1" }));
    client.send(&end("unknown"));
    client.send(&sdp("unknown", "offer"));
    client.status(&["producer"], &json!({ "uid": "bob2" }));
    assert_eq!(client.list(), ["bob"], "it goes on");
}

#[test]
fn tokens_bind_ids_and_calls() {
    let keys = Keys::new(Algorithm::Hs256);
    let server = Server::start(&["--token-key-file", &keys.public()]);
    let url = |claims: &Value| format!("{}webrtcsink?token={}", server.ws_url(), keys.token(claims.clone()));
    assert_eq!(http::upgrade(&server, "/webrtcsink", &[]).status, 401);
    let mut cam = Client::open_at(&url(&json!({ "sub": "cam", "uid": "cam" })));
    assert_eq!(cam.id, "cam");
    cam.status(&["producer"], &json!({ "uid": "door" }));
    cam.expect_error("the token does not allow the id");
    cam.status(&["producer"], &Value::Null);
    assert_eq!(cam.list(), [] as [&str; 0]);
    let mut waits = Client::open_at(&url(&json!({ "sub": "waits", "allow": ["answer"] })));
    waits.status(&["listener"], &Value::Null);
    waits.expect(&changed("waits", &["listener"], &Value::Null));
    waits.send(&json!({ "type": "startSession", "peerId": "cam" }));
    waits.expect_error("peer \"cam\" not found");
    assert_eq!(waits.list(), [] as [&str; 0]);
    let mut viewer = Client::open_at(&url(&json!({ "sub": "viewer", "allow": ["call"] })));
    assert_eq!(viewer.list(), ["cam"]);
    viewer.start("cam");
    cam.session("startSession", "viewer", &Value::Null);
    // A new connection of the same subject takes the id over; the old one's sessions end.
    let mut again = Client::open_at(&url(&json!({ "sub": "cam" })));
    again.status(&["producer"], &Value::Null);
    cam.socket.expect_close(1008, "replaced by a new connection");
    assert_eq!(viewer.receive()["type"], "endSession");
    assert_eq!(again.list(), [] as [&str; 0]);
}

#[test]
fn the_webhook_and_the_limits_hold() {
    let hook = Hook::start(|asked, _| {
        let allowed = asked.body["uid"] != "evil" && asked.body["peer"] != "cam2";
        ("200 OK".into(), json!({ "allow": allowed, "reason": "not today" }).to_string())
    });
    let server = Server::start(&["--webhook-url", &hook.url(), "--max-sessions", "1"]);
    let mut cam = Client::open(&server);
    cam.status(&["producer", "listener"], &json!({ "uid": "evil" }));
    cam.expect_error("not today");
    cam.status(&["producer"], &json!({ "uid": "cam" }));
    cam.list();
    let mut other = Client::open(&server);
    other.status(&["producer"], &json!({ "uid": "cam2" }));
    other.list();
    let mut viewer = Client::open(&server);
    viewer.send(&json!({ "type": "startSession", "peerId": "cam2", "offer": SDP }));
    viewer.expect_error("not today");
    viewer.start("cam");
    viewer.send(&json!({ "type": "startSession", "peerId": "cam" }));
    viewer.expect_error("too many sessions");
}

#[test]
fn an_address_of_its_own_needs_no_path() {
    let server = Server::start(&["--listen", "webrtcsink=127.0.0.1:0,text=127.0.0.1:0"]);
    let url = server.ws_url_of("webrtcsink");
    let mut cam = Client::open_at(&url);
    cam.status(&["producer"], &json!({ "uid": "cam" }));
    cam.list();
    let elsewhere = Client::open_at(&format!("{url}any/path?id=x"));
    assert_eq!(elsewhere.id, "x");
    let mut text = Socket::connect_to(&format!("{}webrtcsink", server.ws_url_of("text"))).hello("alice");
    text.expect_nothing("SESSION cam", "SESSION_OK");
}

#[test]
fn what_is_switched_off_is_not_spoken() {
    let server = Server::start(&["--dialect", "webrtcsink=off", "--listen", "webrtcsink=127.0.0.1:0"]);
    let mut text = Socket::connect_to(&format!("{}webrtcsink", server.ws_url()));
    text.send("HELLO x");
    text.expect("HELLO");
    let url = server.ws_url_of("webrtcsink");
    let address = url.trim_start_matches("ws://").trim_end_matches('/');
    let stream = TcpStream::connect(address).expect("it listens");
    assert_eq!(http::upgrade_on(stream, "/", &[]).status, 404);
}
