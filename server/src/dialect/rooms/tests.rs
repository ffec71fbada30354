//! Members of rooms, among themselves and with peers of the text protocol, around a real hub.

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use super::super::{
    Dialect::Rooms,
    testing::{Net, SDP},
};
use crate::{
    access::Grant,
    close::CloseReason,
    hub::{About, Event, Key, Refusal, Rules},
};

fn sdp(kind: &str, text: &str) -> Value {
    json!({"type": "sdp", "sdp": {"type": kind, "sdp": text}})
}

fn ice(text: &str, more: Value) -> Value {
    let mut candidate = json!({"candidate": text});
    candidate.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({"type": "ice_candidate", "candidate": candidate})
}

fn with(mut frame: Value, name: &str, value: &str) -> Value {
    frame.as_object_mut().unwrap().insert(name.into(), value.into());
    frame
}

fn code(error: &Value) -> &str {
    assert_eq!(error["type"], "error", "{error}");
    assert!(!error["message"].as_str().unwrap().is_empty());
    error["code"].as_str().unwrap()
}

#[test]
fn the_common_process_of_the_document() {
    let mut net = Net::default();
    let ann = net.open(Rooms, "r?username=ann");
    let bob = net.open(Rooms, "r?username=bob");
    assert!(net.heard(ann).is_empty() && net.heard(bob).is_empty(), "clients see nothing new");
    for (from, sender, to, frame) in [
        (bob, "bob", ann, sdp("offer", SDP)),
        (ann, "ann", bob, sdp("answer", SDP)),
        (ann, "ann", bob, ice("candidate:1", json!({"sdpMid": "audio", "sdpMLineIndex": 0}))),
        (bob, "bob", ann, ice("candidate:2", json!({"sdpMid": null, "usernameFragment": "x"}))),
        (bob, "bob", ann, json!({"type": "ice_candidate", "candidate": null, "extra": [1, {}]})),
    ] {
        net.say(from, &frame);
        assert_eq!(net.only(to), with(frame, "sender", sender));
        assert!(net.heard(from).is_empty());
    }
}

#[test]
fn a_message_is_for_all_others_or_for_one() {
    let mut net = Net::default();
    let [ann, bob, carol] =
        ["ann", "bob", "carol"].map(|name| net.open(Rooms, &format!("r?username={name}")));
    let elsewhere = net.open(Rooms, "s?username=dora");
    net.say(ann, with(sdp("offer", "x"), "sender", "carol"));
    assert_eq!(net.only(bob), with(sdp("offer", "x"), "sender", "ann"), "no member speaks for another");
    assert_eq!(net.heard(carol).len(), 1);
    let answer = with(sdp("answer", "y"), "to", "ann");
    net.say(bob, &answer);
    assert_eq!(net.only(ann), with(answer, "sender", "bob"));
    assert!(net.heard(carol).is_empty() && net.heard(elsewhere).is_empty());
    for to in ["ann", "dora", "nobody", "", "a b", &"x".repeat(5000)] {
        net.say(ann, with(sdp("offer", "x"), "to", to));
        assert_eq!(code(&net.only(ann)), "member_not_found", "{to}");
    }
    assert!(net.heard(elsewhere).is_empty());
}

#[test]
fn who_joins_and_leaves_is_said_to_those_who_ask() {
    let mut net = Net::default();
    let ann = net.open(Rooms, "r?notices=1&username=ann");
    assert_eq!(net.only(ann), json!({"type": "room", "you": "ann", "members": []}));
    let bob = net.open(Rooms, "r?username=bob");
    assert_eq!(net.only(ann), json!({"type": "joined", "sender": "bob"}));
    let carol = net.open(Rooms, "r?notices=1");
    let room = net.only(carol);
    assert!(room["you"].as_str().is_some_and(|name| name.starts_with("guest-3-")), "{room}");
    assert_eq!(room["members"], json!(["ann", "bob"]));
    net.leave(bob);
    assert_eq!(net.json(ann)[1], json!({"type": "left", "sender": "bob"}));
    assert_eq!(net.only(carol), json!({"type": "left", "sender": "bob"}));
    assert!(net.heard(bob).is_empty(), "it did not ask");
}

#[test]
fn ids_come_from_the_query_or_the_token() {
    let mut net = Net::default();
    let grant = Grant { identity: Some("ann".into()), uid: Some("ann".into()), ..Grant::default() };
    let ann = net.open_with(Rooms, "r?notices=1", grant.clone());
    assert_eq!(net.only(ann)["you"], "ann");
    let again = net.open_with(Rooms, "r%20?notices=1", grant.clone());
    assert_eq!(code(&net.only(again)), "room_not_allowed", "white space");
    assert_eq!(net.closed(again), Some(CloseReason::NotJoined));
    let other = net.open_with(Rooms, "r?username=b%C3%B6b", grant);
    assert_eq!(code(&net.only(other)), "username_not_allowed");
    assert_eq!(net.closed(other), Some(CloseReason::UidNotAllowed));
    let umlaut = net.open(Rooms, "%C3%BC?username=b%C3%B6b&notices=1");
    assert_eq!(net.only(umlaut)["you"], "böb");
}

#[test]
fn a_wrong_username_or_room_is_an_error_and_a_close() {
    let rules = Rules { max_members: 1, max_uid: 100, ..Rules::default() };
    let mut net = Net::new(rules);
    let ann = net.open(Rooms, "r?username=ann");
    let long = "x".repeat(101);
    for (target, expected, reason) in [
        ("r?username=ann", "username_taken", CloseReason::InvalidUid),
        ("r?username=", "username_invalid", CloseReason::InvalidUid),
        ("r?username=a%20b", "username_invalid", CloseReason::InvalidUid),
        (&format!("r?username={long}"), "username_invalid", CloseReason::InvalidUid),
        (&format!("r?username={}", long.repeat(20)), "username_invalid", CloseReason::InvalidUid),
        ("session?username=x", "room_not_allowed", CloseReason::NotJoined),
        ("r?username=bob", "room_full", CloseReason::NotJoined),
    ] {
        let conn = net.open(Rooms, target);
        assert_eq!(code(&net.only(conn)), expected, "{target}");
        assert_eq!(net.closed(conn), Some(reason), "{target}");
        net.say(conn, sdp("offer", "x"));
        assert!(net.heard(conn).is_empty(), "nothing follows the error");
    }
    assert!(net.heard(ann).is_empty() && net.closed(ann).is_none());
}

#[test]
fn the_webhooks_refusal_is_said() {
    for (about, refusal, expected, reason) in [
        (About::Register, Refusal::Other("no".into()), "refused", CloseReason::UidNotAllowed),
        (About::Join, Refusal::Other("no".into()), "refused", CloseReason::NotJoined),
        (About::Join, Refusal::Unavailable, "unavailable", CloseReason::Unavailable),
    ] {
        let mut net = Net::default();
        let conn = net.open(Rooms, "r");
        net.handle(conn, Event::Denied { about, key: Key::default(), refusal });
        assert_eq!(code(&net.only(conn)), expected);
        assert_eq!(net.closed(conn), Some(reason));
    }
}

#[test]
fn garbage_is_refused_and_disturbs_nobody() {
    let mut net = Net::default();
    let [ann, bob] = ["ann", "bob"].map(|name| net.open(Rooms, &format!("r?username={name}")));
    let deep = "[".repeat(10_000);
    for text in ["", "HELLO x", "{}", "{\"type\":\"chat\"}", "{\"type\":\"sdp\",\"sdp\":{}}", deep.as_str()] {
        net.say(ann, text);
        assert_eq!(code(&net.only(ann)), "invalid_message", "{text}");
    }
    net.send(ann, Message::binary(vec![1]));
    assert_eq!(code(&net.only(ann)), "invalid_message");
    assert_eq!(net.refusals(ann).len(), 7, "they are counted");
    assert!(net.heard(bob).is_empty() && net.closed(ann).is_none());
}

#[test]
fn a_text_newcomer_offers_and_gets_its_own_answer() {
    let mut net = Net::default();
    let room = net.open(Rooms, "r?username=room");
    let [tina, tom] = ["tina", "tom"].map(|uid| net.text(uid));
    for (conn, members) in [(tina, "room"), (tom, "room tina")] {
        net.say(conn, "ROOM r");
        assert_eq!(net.heard(conn), [format!("ROOM_OK {members}")]);
    }
    net.heard(tina);
    net.say(tina, r#"ROOM_PEER_MSG room {"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#);
    assert!(net.heard(room).is_empty(), "a candidate waits for its description");
    for (conn, uid) in [(tina, "tina"), (tom, "tom")] {
        let offer = json!({"sdp": {"type": "offer", "sdp": SDP}});
        net.say(conn, format!("ROOM_PEER_MSG room {offer}"));
        assert_eq!(net.json(room)[0], with(sdp("offer", SDP), "sender", uid));
    }
    net.say(tina, r#"ROOM_PEER_MSG room {"ice":{"candidate":"candidate:2","sdpMLineIndex":1}}"#);
    let candidate = ice("candidate:2", json!({"sdpMid": "v", "sdpMLineIndex": 1}));
    assert_eq!(net.only(room), with(candidate, "sender", "tina"));
    for (conn, other, number) in [(tina, tom, 1), (tom, tina, 2)] {
        net.say(room, sdp("answer", SDP));
        net.say(room, ice(&format!("candidate:{number}"), json!({"sdpMid": "v"})));
        let heard = net.heard(conn);
        let text: Vec<Value> = heard
            .iter()
            .map(|text| serde_json::from_str(text.strip_prefix("ROOM_PEER_MSG room ").unwrap()).unwrap())
            .collect();
        let candidate =
            json!({"candidate": format!("candidate:{number}"), "sdpMid": "v", "sdpMLineIndex": 1});
        assert_eq!(text, [json!({"sdp": {"type": "answer", "sdp": SDP}}), json!({"ice": candidate})]);
        assert!(net.heard(other).is_empty(), "the answer is not for the other one");
    }
    net.leave(room);
    assert_eq!(net.heard(tina), ["ROOM_PEER_LEFT room"]);
}

#[test]
fn a_rooms_newcomer_offers_to_everybody() {
    let mut net = Net::default();
    let [tina, tom] = ["tina", "tom"].map(|uid| net.text(uid));
    for conn in [tina, tom] {
        net.say(conn, "ROOM r");
    }
    let room = net.open(Rooms, "r?username=room&notices=1");
    assert_eq!(net.only(room)["members"], json!(["tina", "tom"]));
    for conn in [tina, tom] {
        assert_eq!(net.heard(conn).last().unwrap(), "ROOM_PEER_JOINED room");
    }
    net.say(room, sdp("offer", SDP));
    net.say(room, ice("candidate:1", json!({})));
    for (conn, uid) in [(tina, "tina"), (tom, "tom")] {
        let heard = net.heard(conn);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].starts_with("ROOM_PEER_MSG room {\"sdp\":"), "{heard:?}");
        assert!(
            heard[1].contains(r#""sdpMLineIndex":0"#) && heard[1].contains(r#""sdpMid":"a""#),
            "{heard:?}"
        );
        net.say(conn, format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "answer", "sdp": "z"}})));
        assert_eq!(net.only(room), with(sdp("answer", "z"), "sender", uid));
    }
    net.say(tina, "ROOM_PEER_MSG room how are you?");
    assert!(net.heard(room).is_empty(), "it has no such message");
    net.leave(tom);
    assert_eq!(net.only(room), json!({"type": "left", "sender": "tom"}));
}

#[test]
fn either_side_can_ask_the_other_to_offer() {
    let mut net = Net::default();
    let tina = net.text("tina");
    net.say(tina, "ROOM r");
    let room = net.open(Rooms, "r?username=room");
    net.heard(tina);
    net.say(room, r#"{"type":"offer_request","to":"tina"}"#);
    assert_eq!(net.heard(tina), ["ROOM_PEER_MSG room OFFER_REQUEST"]);
    net.say(tina, "ROOM_PEER_MSG room OFFER_REQUEST");
    assert_eq!(net.only(room), json!({"type": "offer_request", "sender": "tina"}));
}

#[test]
fn a_member_is_busy_for_callers() {
    let mut net = Net::default();
    net.open(Rooms, "r?username=room");
    let tina = net.text("tina");
    net.say(tina, "SESSION room");
    assert!(net.heard(tina)[0].contains("busy"));
}
