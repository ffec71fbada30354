//! `action`/`data` envelopes over real sockets.

use std::time::{Duration, Instant};

use callbin_tests::{
    Server, Socket,
    docs::the_pages_client_meets_callbin,
    hook::Hook,
    keys::{Algorithm, Keys},
};
use serde_json::{Value, json};

const PAGE: &str = include_str!("../../../docs/protocols/action.md");

const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n";

#[track_caller]
fn open(server: &Server) -> Socket {
    Socket::connect_to(&format!("{}signals", server.ws_url()))
}

fn signal(s: &str, user: &str, more: Value) -> Value {
    let session = json!({
        "userId": user, "sessionId": format!("{user}-1"), "category": "stream", "host": "Web", "deviceId": "d",
    });
    let mut signal = json!({"s": s, "ch": "p2p", "ss": session, "rid": "r"});
    signal.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    signal
}

fn envelope(data: &Value) -> String {
    let action = match data["s"].as_str().expect("a verb") {
        "ICE" => "iceCandidate".into(),
        verb => verb.to_lowercase(),
    };
    json!({"action": action, "data": data}).to_string()
}

/// Sends a signal, and expects that it is refused with this code.
#[track_caller]
fn expect_error(socket: &mut Socket, data: &Value, code: u32) {
    socket.send(&envelope(data));
    let error = socket.receive_json();
    assert_eq!((&error["c"], &error["s"], &error["b"]["req"]), (&json!(code), &data["s"], data), "{error}");
    assert!(error["b"]["msg"].as_str().is_some_and(|message| !message.is_empty()));
    assert!(PAGE.contains(&format!("| {code} |")), "{code} is not on its page");
}

/// A user in the room `r`.
#[track_caller]
fn join(server: &Server, user: &str) -> Socket {
    let mut socket = open(server);
    socket.send(&envelope(&signal("JOIN", user, json!({}))));
    let ack = socket.receive_json();
    assert_eq!((&ack["c"], &ack["s"], &ack["b"]["rid"]), (&json!(200), &json!("JOIN"), &json!("r")), "{ack}");
    socket
}

fn changed(joined: &[&str], left: &[&str]) -> Value {
    let member =
        |id| json!({"id": id, "sdp": "", "video": true, "audio": true, "username": id, "sessionId": id});
    let joined: Vec<Value> = joined.iter().map(member).collect();
    json!({"c": 200, "s": "PUBLISH_LIST_CHANGED", "b": {"rid": "r", "joined": joined, "left": left}})
}

#[test]
fn a_call_between_two_users() {
    let server = Server::start(&["--stun-url", "stun:192.0.2.1:3478"]);
    let mut ann = open(&server);
    ann.send(&envelope(&signal("JOIN", "ann", json!({"op": {"roomCreating": true}}))));
    let ack = ann.receive_json();
    assert_eq!((&ack["b"]["pps"], &ack["b"]["pt"]), (&json!([]), &json!("publisher")));
    assert_eq!(ack["b"]["icfg"]["is"], json!(["stun:192.0.2.1:3478"]));
    let mut bob = open(&server);
    bob.send(&envelope(&signal("JOIN", "bob", json!({}))));
    let ack = bob.receive_json();
    assert_eq!(ack["b"]["pps"], changed(&["ann"], &[])["b"]["joined"]);
    ann.expect_json(&changed(&["bob"], &[]));
    let offer = signal("OFFER", "bob", json!({"to": "ann", "sdp": SDP}));
    bob.send(&envelope(&offer));
    ann.expect(&offer.to_string());
    let to = json!({"userId": "bob", "sessionId": "bob-1"});
    let answer = signal("ANSWER", "ann", json!({"to": to, "sdp": SDP}));
    ann.send(&envelope(&answer));
    bob.expect(&answer.to_string());
    let candidate = signal("ICE", "ann", json!({"sdp": "candidate:1"}));
    ann.send(&envelope(&candidate));
    bob.expect(&candidate.to_string());
    ann.send(&envelope(&json!({"s": "HEARTBEAT", "bid": 7, "send_ack": true})));
    ann.expect_json(&json!({"c": 200, "s": "HEARTBEAT", "b": {"bid": 7}}));
    ann.send(&envelope(&signal("LEAVE", "ann", json!({}))));
    ann.expect_json(&json!({"c": 200, "s": "LEAVE", "b": {"rid": "r"}}));
    bob.expect_json(&changed(&[], &["ann"]));
    expect_error(&mut bob, &signal("ANSWER", "bob", json!({"to": "ann", "sdp": "x"})), 4024);
    let mut ann = join(&server, "ann");
    bob.expect_json(&changed(&["ann"], &[]));
    bob.cut();
    ann.expect_json(&changed(&[], &["bob"]));
}

#[test]
fn each_error_of_the_document() {
    let server = Server::start(&[]);
    let mut ann = join(&server, "ann");
    let mut bob = join(&server, "bob");
    ann.expect_json(&changed(&["bob"], &[]));
    let to_bob = json!({"to": "bob", "sdp": "x"});
    for s in ["OFFER", "ANSWER", "ICE"] {
        expect_error(&mut ann, &signal(s, "ann", json!({"to": "bob"})), 2001);
        expect_error(&mut ann, &signal(s, "bob", to_bob.clone()), 2001);
        expect_error(&mut ann, &signal(s, "ann", json!({"ch": "m2m", "sdp": "x"})), 2002);
        expect_error(&mut ann, &signal(s, "ann", json!({"rid": "s", "sdp": "x"})), 4001);
        expect_error(&mut ann, &signal(s, "ann", json!({"to": "carol", "sdp": "x"})), 4003);
        expect_error(&mut ann, &signal(s, "ann", json!({"to": "x".repeat(2000), "sdp": "x"})), 4003);
    }
    for ch in ["m2m", "a2m"] {
        expect_error(&mut ann, &signal("WATCH", "ann", json!({"ch": ch, "to": {"userId": "bob"}})), 2002);
    }
    expect_error(&mut ann, &signal("WATCH", "ann", json!({"ch": "m2m", "ss": {}})), 2001);
    expect_error(&mut ann, &signal("KICK", "ann", json!({"to": "bob"})), 4051);
    let mut carol = open(&server);
    expect_error(&mut carol, &signal("ICE", "carol", to_bob), 4001);
    for user in ["", "ann", &"x".repeat(2000)] {
        expect_error(&mut carol, &signal("JOIN", user, json!({})), 2001);
    }
    for text in ["", "HELLO", "{\"action\":\"dance\",\"data\":{}}"] {
        carol.send(text);
        assert_eq!(carol.receive_json()["c"], 2001);
    }
    carol.send_binary(b"{}");
    assert_eq!(carol.receive_json()["c"], 2001);
    assert_eq!(server.metric("callbin_refusals_total{reason=\"unsupported channel\"}"), Some(5.0));
    bob.send(&envelope(&signal("LEAVE", "bob", json!({}))));
    bob.expect_json(&json!({"c": 200, "s": "LEAVE", "b": {"rid": "r"}}));
}

/// A client that has sent a heartbeat has to go on: after ten seconds without a frame it has left.
#[test]
fn a_client_that_stops_its_heartbeats_has_left() {
    let server = Server::start(&[]);
    let mut ann = join(&server, "ann");
    let mut bob = join(&server, "bob");
    ann.expect_json(&changed(&["bob"], &[]));
    let beat = |more: Value| {
        let mut data = json!({"s": "HEARTBEAT", "rid": "r"});
        data.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
        data
    };
    bob.send(&envelope(&beat(json!({}))));
    let start = Instant::now();
    ann.expect_json(&changed(&[], &["bob"]));
    assert!(start.elapsed() > Duration::from_secs(8), "{:?}", start.elapsed());
    let gone = bob.receive_json();
    assert_eq!(
        (&gone["c"], &gone["s"], &gone["b"]["req"]),
        (&json!(4024), &json!("HEARTBEAT"), &Value::Null)
    );
    expect_error(&mut bob, &beat(json!({"bid": 7})), 4024);
    bob.send(&envelope(&signal("JOIN", "bob", json!({}))));
    assert_eq!(bob.receive_json()["c"], 200);
    ann.expect_json(&changed(&["bob"], &[]));
}

#[test]
fn a_full_room_is_an_error_of_the_server() {
    let server = Server::start(&["--max-room-members", "1"]);
    let _ann = join(&server, "ann");
    let mut bob = open(&server);
    expect_error(&mut bob, &signal("JOIN", "bob", json!({})), 500);
    expect_error(&mut bob, &signal("OFFER", "bob", json!({"sdp": "x"})), 4001);
}

#[test]
fn frames_and_messages_are_bounded() {
    let server = Server::start(&[]);
    let mut ann = join(&server, "ann");
    let mut bob = join(&server, "bob");
    ann.expect_json(&changed(&["bob"], &[]));
    let empty = envelope(&signal("OFFER", "bob", json!({"sdp": ""}))).len();
    let message = |size: usize| signal("OFFER", "bob", json!({"sdp": "x".repeat(size - empty)}));
    for size in [32 << 10, 128 << 10] {
        bob.send_in_frames(&envelope(&message(size)), 32 << 10);
        ann.expect(&message(size).to_string());
    }
    bob.send_in_frames(&envelope(&message((128 << 10) + 1)), 32 << 10);
    bob.expect_close(1009, "message too big");
    ann.expect_json(&changed(&[], &["bob"]));
    ann.send(&"x".repeat((32 << 10) + 1));
    ann.expect_close(1009, "message too big");
}

#[test]
fn a_first_frame_selects_the_dialect_on_any_path() {
    let server = Server::start(&[]);
    let mut ann = Socket::connect(&server);
    ann.send(&envelope(&signal("JOIN", "ann", json!({}))));
    assert_eq!(ann.receive_json()["c"], 200);
    ann.send(&"x".repeat((128 << 10) + 1));
    ann.expect_close(1009, "message too big");
}

#[test]
fn tokens_and_the_webhook_bound_a_user() {
    let keys = Keys::new(Algorithm::Hs256);
    let hook = Hook::start(|asked, _| {
        let is_allowed = asked.body["room"] != "secret";
        ("200 OK".into(), json!({"allow": is_allowed, "reason": "members only"}).to_string())
    });
    let server = Server::start(&["--token-key-file", &keys.public(), "--webhook-url", &hook.url()]);
    let token =
        keys.token(json!({"sub": "ann", "uid": "ann", "rooms": ["r", "secret"], "allow": ["answer"]}));
    let mut ann = Socket::connect_to(&format!("{}signals?token={token}", server.ws_url()));
    expect_error(&mut ann, &signal("JOIN", "bob", json!({})), 4051);
    expect_error(&mut ann, &signal("JOIN", "ann", json!({"rid": "s"})), 4051);
    expect_error(&mut ann, &signal("JOIN", "ann", json!({"rid": "secret"})), 4051);
    ann.send(&envelope(&signal("JOIN", "ann", json!({}))));
    assert_eq!(ann.receive_json()["b"]["pt"], "viewer");
    expect_error(&mut ann, &signal("OFFER", "ann", json!({"sdp": "x"})), 4051);
    let asked: Vec<Value> = hook.asked().iter().map(|asked| asked.body["event"].clone()).collect();
    assert_eq!(asked, ["register", "register", "join", "register", "join"]);
}

/// A user, a member of a JSON room, and a peer of the text protocol.
#[test]
fn three_protocols_in_one_room() {
    let server = Server::start(&[]);
    let mut text = Socket::register(&server, "text");
    text.expect_nothing("ROOM r", "ROOM_OK ");
    let mut room = Socket::connect_to(&format!("{}ws/rooms/r/?username=room&notices=1", server.ws_url()));
    room.expect_json(&json!({"type": "room", "you": "room", "members": ["text"]}));
    text.expect("ROOM_PEER_JOINED room");
    let mut user = open(&server);
    user.send(&envelope(&signal("JOIN", "user", json!({}))));
    assert_eq!(user.receive_json()["b"]["pps"], changed(&["text", "room"], &[])["b"]["joined"]);
    text.expect("ROOM_PEER_JOINED user");
    room.expect_json(&json!({"type": "joined", "sender": "user"}));

    // The newcomer offers to each of the others.
    for to in ["text", "room"] {
        user.send(&envelope(&signal("OFFER", "user", json!({"to": to, "sdp": SDP}))));
        user.send(&envelope(&signal("ICE", "user", json!({"to": to, "sdp": "candidate:1"}))));
    }
    let candidate = json!({"candidate": "candidate:1", "sdpMid": "a", "sdpMLineIndex": 0});
    text.expect(&format!("ROOM_PEER_MSG user {}", json!({"sdp": {"type": "offer", "sdp": SDP}})));
    text.expect(&format!("ROOM_PEER_MSG user {}", json!({"ice": candidate})));
    room.expect_json(&json!({"type": "sdp", "sdp": {"type": "offer", "sdp": SDP}, "sender": "user"}));
    room.expect_json(&json!({"type": "ice_candidate", "candidate": candidate, "sender": "user"}));

    // Each answers in its own way; the member of the JSON room addresses nobody.
    text.send(&format!("ROOM_PEER_MSG user {}", json!({"sdp": {"type": "answer", "sdp": "by text"}})));
    text.send(r#"ROOM_PEER_MSG user {"ice":{"candidate":"candidate:2","sdpMLineIndex":0}}"#);
    let bare = |s: &str, from: &str, sdp: &str| {
        let session =
            json!({"userId": from, "sessionId": from, "category": "stream", "host": "Web", "deviceId": from});
        json!({"s": s, "ch": "p2p", "ss": session, "rid": "r", "to": "user", "sdp": sdp})
    };
    user.expect_json(&bare("ANSWER", "text", "by text"));
    user.expect_json(&bare("ICE", "text", "candidate:2"));
    room.send(&json!({"type": "sdp", "sdp": {"type": "answer", "sdp": "by room"}}).to_string());
    room.send(r#"{"type":"ice_candidate","candidate":{"candidate":"candidate:3","sdpMid":"0"}}"#);
    user.expect_json(&bare("ANSWER", "room", "by room"));
    user.expect_json(&bare("ICE", "room", "candidate:3"));

    // A late text peer offers to the user, and gets its answer.
    let mut late = Socket::register(&server, "late");
    late.expect_nothing("ROOM r", "ROOM_OK text room user");
    user.expect_json(&changed(&["late"], &[]));
    late.send(&format!("ROOM_PEER_MSG user {}", json!({"sdp": {"type": "offer", "sdp": SDP}})));
    user.expect_json(&bare("OFFER", "late", SDP));
    user.send(&envelope(&signal("ANSWER", "user", json!({"to": "late", "sdp": "by user"}))));
    late.expect(&format!("ROOM_PEER_MSG user {}", json!({"sdp": {"type": "answer", "sdp": "by user"}})));
    expect_error(&mut user, &signal("ICE", "user", json!({"sdp": "candidate:4"})), 2001);
    let mut caller = Socket::register(&server, "caller");
    caller.expect_nothing("SESSION user", "ERROR peer 'user' busy");

    // Nothing was for anyone else, and everyone sees who leaves.
    text.expect("ROOM_PEER_JOINED late");
    room.expect_json(&json!({"type": "joined", "sender": "late"}));
    user.cut();
    text.expect("ROOM_PEER_LEFT user");
    late.expect("ROOM_PEER_LEFT user");
    room.expect_json(&json!({"type": "left", "sender": "user"}));
}

/// The client on the protocol's page, in a browser, with `callbin` in its room: each of them joins second once.
#[test]
fn the_client_of_the_page_sees_a_peer_of_the_text_protocol() {
    the_pages_client_meets_callbin(PAGE);
}
