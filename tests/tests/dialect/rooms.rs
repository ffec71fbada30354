//! JSON rooms over real sockets.

use callbin_tests::{
    Server, Socket,
    docs::the_pages_client_meets_callbin,
    hook::Hook,
    keys::{Algorithm, Keys},
    socket::Received,
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/protocols/rooms.md");

const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n";

/// Connects to a room; the target has a query.
#[track_caller]
fn open(server: &Server, target: &str) -> Socket {
    Socket::connect_to(&format!("{}ws/rooms/{target}", server.ws_url()))
}

/// A member that is in the room: it has got the list of members.
#[track_caller]
fn member(server: &Server, name: &str) -> Socket {
    let mut socket = open(server, &format!("r/?notices=1&username={name}"));
    let room = socket.receive_json();
    assert_eq!((&room["type"], &room["you"]), (&json!("room"), &json!(name)));
    socket
}

fn sdp(kind: &str) -> Value {
    json!({"type": "sdp", "sdp": {"type": kind, "sdp": SDP}})
}

fn from(mut frame: Value, sender: &str) -> Value {
    frame["sender"] = sender.into();
    frame
}

#[track_caller]
fn expect_error(socket: &mut Socket, code: &str) {
    let error = socket.receive_json();
    assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{error}");
    assert!(PAGE.contains(&format!("`{code}`")), "{code} is not on its page");
}

/// A peer of the text protocol in the room `r`, and the other members that the server named.
#[track_caller]
fn text_member(server: &Server, uid: &str) -> (Socket, String) {
    let mut socket = Socket::register(server, uid);
    socket.send("ROOM r");
    let answer = socket.receive_text();
    (socket, answer)
}

#[test]
fn members_negotiate_as_in_the_document() {
    let server = Server::start(&[]);
    let mut ann = member(&server, "ann");
    // A client of the document asks for nothing.
    let mut bob = open(&server, "r?username=bob");
    ann.expect_json(&json!({"type": "joined", "sender": "bob"}));
    let candidate = json!({"type": "ice_candidate", "candidate": {"candidate": "candidate:1", "sdpMid": "audio", "sdpMLineIndex": 0}});
    bob.send(&sdp("offer").to_string());
    ann.expect_json(&from(sdp("offer"), "bob"));
    ann.send(&sdp("answer").to_string());
    bob.expect_json(&from(sdp("answer"), "ann"));
    ann.send(&candidate.to_string());
    bob.expect_json(&from(candidate.clone(), "ann"));
    bob.send(&candidate.to_string());
    ann.expect_json(&from(candidate, "bob"));
    let mut carol = member(&server, "carol");
    ann.expect_json(&json!({"type": "joined", "sender": "carol"}));
    let mut addressed = sdp("offer");
    addressed["to"] = "ann".into();
    addressed["extra"] = json!([1, {"x": null}]);
    carol.send(&addressed.to_string());
    ann.expect_json(&from(addressed, "carol"));
    carol.send(&from(sdp("offer"), "bob").to_string());
    bob.expect_json(&from(sdp("offer"), "carol"));
    ann.expect_json(&from(sdp("offer"), "carol"));
    bob.cut();
    for socket in [&mut ann, &mut carol] {
        socket.expect_json(&json!({"type": "left", "sender": "bob"}));
    }
}

#[test]
fn peers_of_the_text_protocol_call_into_the_room() {
    let server = Server::start(&[]);
    let mut room = member(&server, "room");
    let (mut tina, answer) = text_member(&server, "tina");
    assert_eq!(answer, "ROOM_OK room");
    room.expect_json(&json!({"type": "joined", "sender": "tina"}));
    let (mut tom, answer) = text_member(&server, "tom");
    assert_eq!(answer, "ROOM_OK room tina");
    tina.expect("ROOM_PEER_JOINED tom");
    room.expect_json(&json!({"type": "joined", "sender": "tom"}));
    for (socket, uid) in [(&mut tina, "tina"), (&mut tom, "tom")] {
        socket.send(&format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "offer", "sdp": SDP}})));
        room.expect_json(&from(sdp("offer"), uid));
        socket.send(r#"ROOM_PEER_MSG room {"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#);
        let candidate = json!({"candidate": "candidate:1", "sdpMid": "v", "sdpMLineIndex": 1});
        room.expect_json(&json!({"type": "ice_candidate", "candidate": candidate, "sender": uid}));
    }
    for socket in [&mut tina, &mut tom] {
        room.send(&sdp("answer").to_string());
        room.send(r#"{"type":"ice_candidate","candidate":{"candidate":"candidate:2","sdpMid":"v"}}"#);
        socket.expect(&format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "answer", "sdp": SDP}})));
        let candidate = json!({"candidate": "candidate:2", "sdpMid": "v", "sdpMLineIndex": 1});
        socket.expect(&format!("ROOM_PEER_MSG room {}", json!({"ice": candidate})));
    }
    let mut caller = Socket::register(&server, "caller");
    caller.expect_nothing("SESSION room", "ERROR peer 'room' busy");
    room.close();
    for socket in [&mut tina, &mut tom] {
        socket.expect("ROOM_PEER_LEFT room");
    }
}

#[test]
fn a_member_calls_the_peers_of_the_text_protocol_in_its_room() {
    let server = Server::start(&[]);
    let (mut tina, _) = text_member(&server, "tina");
    let mut room = member(&server, "room");
    tina.expect("ROOM_PEER_JOINED room");
    room.send(r#"{"type":"offer_request","to":"tina"}"#);
    tina.expect("ROOM_PEER_MSG room OFFER_REQUEST");
    room.send(&sdp("offer").to_string());
    tina.expect(&format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "offer", "sdp": SDP}})));
    tina.send(&format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "answer", "sdp": "z"}})));
    room.expect_json(&json!({"type": "sdp", "sdp": {"type": "answer", "sdp": "z"}, "sender": "tina"}));
    tina.send("ROOM_PEER_MSG room hello");
    tina.cut();
    room.expect_json(&json!({"type": "left", "sender": "tina"}));
}

#[test]
fn wrong_names_and_garbage_are_errors() {
    let server = Server::start(&["--max-room-members", "2"]);
    let mut ann = member(&server, "ann");
    let long = "x".repeat(2000);
    for (target, code, close, reason) in [
        ("r?username=ann", "username_taken", 1002, "invalid peer uid"),
        ("r?username=", "username_invalid", 1002, "invalid peer uid"),
        (&format!("r?username={long}"), "username_invalid", 1002, "invalid peer uid"),
        ("session", "room_not_allowed", 1008, "not in the room"),
        (&long, "room_not_allowed", 1008, "not in the room"),
    ] {
        let mut socket = open(&server, target);
        expect_error(&mut socket, code);
        socket.expect_close(close, reason);
    }
    let bob = member(&server, "bob");
    ann.expect_json(&json!({"type": "joined", "sender": "bob"}));
    let mut carol = open(&server, "r");
    expect_error(&mut carol, "room_full");
    carol.expect_close(1008, "not in the room");
    for text in ["", "HELLO ann", "[]", "{\"type\":\"chat\"}", "{\"type\":\"sdp\",\"sdp\":1}"] {
        ann.send(text);
        expect_error(&mut ann, "invalid_message");
    }
    ann.send_binary(b"{}");
    expect_error(&mut ann, "invalid_message");
    ann.send(r#"{"type":"sdp","sdp":{"type":"offer","sdp":""},"to":"carol"}"#);
    expect_error(&mut ann, "member_not_found");
    assert_eq!(server.metric("callbin_refusals_total{reason=\"invalid_message\"}"), Some(6.0));
    assert_eq!(server.metric("callbin_refusals_total{reason=\"peer not found\"}"), Some(1.0));
    assert_eq!(server.metric("callbin_rooms"), Some(1.0));
    ann.send(&"x".repeat(2 << 20));
    ann.expect_close(1009, "message too big");
    bob.close();
}

#[test]
fn a_member_need_not_say_anything() {
    let server = Server::start(&["--hello-timeout", "0.3"]);
    let mut ann = open(&server, "r?username=ann");
    Socket::connect(&server).expect_close(1002, "no HELLO in time");
    let mut bob = member(&server, "bob");
    bob.send(&sdp("offer").to_string());
    ann.expect_json(&from(sdp("offer"), "bob"));
}

#[test]
fn tokens_name_and_bound_the_member() {
    let keys = Keys::new(Algorithm::Hs256);
    let server = Server::start(&["--token-key-file", &keys.public()]);
    let token = keys.token(json!({"sub": "ann", "uid": "ann", "rooms": ["r"]}));
    let mut ann = open(&server, &format!("r?notices=1&token={token}"));
    ann.expect_json(&json!({"type": "room", "you": "ann", "members": []}));
    let mut other = open(&server, &format!("r?username=bob&token={token}"));
    expect_error(&mut other, "username_not_allowed");
    other.expect_close(1008, "uid not allowed");
    let mut again = open(&server, &format!("s?notices=1&token={token}"));
    ann.expect_close(1008, "replaced by a new connection");
    expect_error(&mut again, "room_not_allowed");
    again.expect_close(1008, "not in the room");
}

#[test]
fn the_webhook_is_asked_about_both_steps() {
    let hook = Hook::start(|asked, _| {
        let is_allowed = asked.body["event"] == "register" && asked.body["uid"] != "eve";
        ("200 OK".into(), json!({"allow": is_allowed, "reason": "members only"}).to_string())
    });
    let server = Server::start(&["--webhook-url", &hook.url()]);
    for (name, events) in [("ann", &["register", "join"][..]), ("eve", &["register"])] {
        let before = hook.asked().len();
        let mut socket = open(&server, &format!("r?username={name}"));
        let error = socket.receive_json();
        assert_eq!((&error["code"], &error["message"]), (&json!("refused"), &json!("members only")));
        assert!(matches!(socket.receive(), Received::Closed(Some((1008, _)))));
        let asked: Vec<Value> = hook.asked().split_off(before).into_iter().map(|asked| asked.body).collect();
        let named: Vec<(&Value, &Value)> = asked.iter().map(|body| (&body["event"], &body["uid"])).collect();
        let expected: Vec<(Value, Value)> = events.iter().map(|event| (json!(event), json!(name))).collect();
        assert_eq!(named, expected.iter().map(|(event, uid)| (event, uid)).collect::<Vec<_>>());
    }
}

#[test]
fn the_path_can_be_changed_and_switched_off() {
    let server = Server::start(&["--dialect", "rooms=/rtc"]);
    let mut ann = Socket::connect_to(&format!("{}rtc/r?notices=1", server.ws_url()));
    assert_eq!(ann.receive_json()["type"], "room");
    let server = Server::start(&["--dialect", "rooms=off"]);
    let _text = open(&server, "r").hello("x");
}

#[test]
fn a_server_that_ends_says_so() {
    let mut server = Server::start(&[]);
    let mut ann = member(&server, "ann");
    server.process().signal("TERM");
    ann.expect_close(1001, "server is shutting down");
}

/// The client on the protocol's page, in a browser, with `callbin` in its room: each of them joins second once.
#[test]
fn the_client_of_the_page_sees_a_peer_of_the_text_protocol() {
    the_pages_client_meets_callbin(PAGE);
}
