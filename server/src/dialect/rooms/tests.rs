//! Members of rooms, among themselves and with peers of the text protocol, around a real hub.

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use super::super::{Dialect::Rooms, table::Table};
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

const SDP: &str = "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\n";

#[test]
fn the_common_process_of_the_document() {
    let mut table = Table::default();
    let ann = table.open(Rooms, "r?username=ann");
    let bob = table.open(Rooms, "r?username=bob");
    assert!(table.heard(ann).is_empty() && table.heard(bob).is_empty(), "clients see nothing new");
    for (from, sender, to, frame) in [
        (bob, "bob", ann, sdp("offer", SDP)),
        (ann, "ann", bob, sdp("answer", SDP)),
        (ann, "ann", bob, ice("candidate:1", json!({"sdpMid": "audio", "sdpMLineIndex": 0}))),
        (bob, "bob", ann, ice("candidate:2", json!({"sdpMid": null, "usernameFragment": "x"}))),
        (bob, "bob", ann, json!({"type": "ice_candidate", "candidate": null, "extra": [1, {}]})),
    ] {
        table.say(from, &frame.to_string());
        assert_eq!(table.only(to), with(frame, "sender", sender));
        assert!(table.heard(from).is_empty());
    }
}

#[test]
fn a_message_is_for_all_others_or_for_one() {
    let mut table = Table::default();
    let [ann, bob, carol] =
        ["ann", "bob", "carol"].map(|name| table.open(Rooms, &format!("r?username={name}")));
    let elsewhere = table.open(Rooms, "s?username=dora");
    table.say(ann, &with(sdp("offer", "x"), "sender", "carol").to_string());
    assert_eq!(table.only(bob), with(sdp("offer", "x"), "sender", "ann"), "no member speaks for another");
    assert_eq!(table.heard(carol).len(), 1);
    let answer = with(sdp("answer", "y"), "to", "ann");
    table.say(bob, &answer.to_string());
    assert_eq!(table.only(ann), with(answer, "sender", "bob"));
    assert!(table.heard(carol).is_empty() && table.heard(elsewhere).is_empty());
    for to in ["ann", "dora", "nobody", "", "a b", &"x".repeat(5000)] {
        table.say(ann, &with(sdp("offer", "x"), "to", to).to_string());
        assert_eq!(code(&table.only(ann)), "member_not_found", "{to}");
    }
    assert!(table.heard(elsewhere).is_empty());
}

#[test]
fn who_joins_and_leaves_is_said_to_those_who_ask() {
    let mut table = Table::default();
    let ann = table.open(Rooms, "r?notices=1&username=ann");
    assert_eq!(table.only(ann), json!({"type": "room", "you": "ann", "members": []}));
    let bob = table.open(Rooms, "r?username=bob");
    assert_eq!(table.only(ann), json!({"type": "joined", "sender": "bob"}));
    let carol = table.open(Rooms, "r?notices=1");
    assert_eq!(table.only(carol), json!({"type": "room", "you": "guest-3", "members": ["ann", "bob"]}));
    table.leave(bob);
    assert_eq!(table.json(ann)[1], json!({"type": "left", "sender": "bob"}));
    assert_eq!(table.only(carol), json!({"type": "left", "sender": "bob"}));
    assert!(table.heard(bob).is_empty(), "it did not ask");
}

#[test]
fn ids_come_from_the_query_or_the_token() {
    let mut table = Table::default();
    let grant = Grant { identity: Some("ann".into()), uid: Some("ann".into()), ..Grant::default() };
    let ann = table.open_with(Rooms, "r?notices=1", grant.clone());
    assert_eq!(table.only(ann)["you"], "ann");
    let again = table.open_with(Rooms, "r%20?notices=1", grant.clone());
    assert_eq!(code(&table.only(again)), "room_not_allowed", "white space");
    assert_eq!(table.closed(again), Some(CloseReason::NotJoined));
    let other = table.open_with(Rooms, "r?username=b%C3%B6b", grant);
    assert_eq!(code(&table.only(other)), "username_not_allowed");
    assert_eq!(table.closed(other), Some(CloseReason::UidNotAllowed));
    let umlaut = table.open(Rooms, "%C3%BC?username=b%C3%B6b&notices=1");
    assert_eq!(table.only(umlaut)["you"], "böb");
}

#[test]
fn a_wrong_username_or_room_is_an_error_and_a_close() {
    let rules = Rules { max_members: 1, max_uid: 100, ..Rules::default() };
    let mut table = Table::new(rules);
    let ann = table.open(Rooms, "r?username=ann");
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
        let conn = table.open(Rooms, target);
        assert_eq!(code(&table.only(conn)), expected, "{target}");
        assert_eq!(table.closed(conn), Some(reason), "{target}");
        table.say(conn, &sdp("offer", "x").to_string());
        assert!(table.heard(conn).is_empty(), "nothing follows the error");
    }
    assert!(table.heard(ann).is_empty() && table.closed(ann).is_none());
}

#[test]
fn the_webhooks_refusal_is_said() {
    for (about, refusal, expected, reason) in [
        (About::Register, Refusal::Other("no".into()), "refused", CloseReason::UidNotAllowed),
        (About::Join, Refusal::Other("no".into()), "refused", CloseReason::NotJoined),
        (About::Join, Refusal::Unavailable, "unavailable", CloseReason::Unavailable),
    ] {
        let mut table = Table::default();
        let conn = table.open(Rooms, "r");
        table.handle(conn, Event::Denied { about, key: Key::default(), refusal });
        assert_eq!(code(&table.only(conn)), expected);
        assert_eq!(table.closed(conn), Some(reason));
    }
}

#[test]
fn garbage_is_refused_and_disturbs_nobody() {
    let mut table = Table::default();
    let [ann, bob] = ["ann", "bob"].map(|name| table.open(Rooms, &format!("r?username={name}")));
    let deep = "[".repeat(10_000);
    for text in ["", "HELLO x", "{}", "{\"type\":\"chat\"}", "{\"type\":\"sdp\",\"sdp\":{}}", deep.as_str()] {
        table.say(ann, text);
        assert_eq!(code(&table.only(ann)), "invalid_message", "{text}");
    }
    table.send(ann, Message::binary(vec![1]));
    assert_eq!(code(&table.only(ann)), "invalid_message");
    assert_eq!(table.refusals(ann).len(), 7, "they are counted");
    assert!(table.heard(bob).is_empty() && table.closed(ann).is_none());
}

#[test]
fn a_text_newcomer_offers_and_gets_its_own_answer() {
    let mut table = Table::default();
    let room = table.open(Rooms, "r?username=room");
    let [tina, tom] = ["tina", "tom"].map(|uid| table.text(uid));
    for (conn, members) in [(tina, "room"), (tom, "room tina")] {
        table.say(conn, "ROOM r");
        assert_eq!(table.heard(conn), [format!("ROOM_OK {members}")]);
    }
    table.heard(tina);
    table.say(tina, r#"ROOM_PEER_MSG room {"ice":{"candidate":"candidate:1","sdpMLineIndex":1}}"#);
    assert!(table.heard(room).is_empty(), "a candidate waits for its description");
    for (conn, uid) in [(tina, "tina"), (tom, "tom")] {
        let offer = json!({"sdp": {"type": "offer", "sdp": SDP}});
        table.say(conn, &format!("ROOM_PEER_MSG room {offer}"));
        assert_eq!(table.json(room)[0], with(sdp("offer", SDP), "sender", uid));
    }
    table.say(tina, r#"ROOM_PEER_MSG room {"ice":{"candidate":"candidate:2","sdpMLineIndex":1}}"#);
    let candidate = ice("candidate:2", json!({"sdpMid": "v", "sdpMLineIndex": 1}));
    assert_eq!(table.only(room), with(candidate, "sender", "tina"));
    for (conn, other, number) in [(tina, tom, 1), (tom, tina, 2)] {
        table.say(room, &sdp("answer", SDP).to_string());
        table.say(room, &ice(&format!("candidate:{number}"), json!({"sdpMid": "v"})).to_string());
        let heard = table.heard(conn);
        let text: Vec<Value> = heard
            .iter()
            .map(|text| serde_json::from_str(text.strip_prefix("ROOM_PEER_MSG room ").unwrap()).unwrap())
            .collect();
        let candidate =
            json!({"candidate": format!("candidate:{number}"), "sdpMid": "v", "sdpMLineIndex": 1});
        assert_eq!(text, [json!({"sdp": {"type": "answer", "sdp": SDP}}), json!({"ice": candidate})]);
        assert!(table.heard(other).is_empty(), "the answer is not for the other one");
    }
    table.leave(room);
    assert_eq!(table.heard(tina), ["ROOM_PEER_LEFT room"]);
}

#[test]
fn a_rooms_newcomer_offers_to_everybody() {
    let mut table = Table::default();
    let [tina, tom] = ["tina", "tom"].map(|uid| table.text(uid));
    for conn in [tina, tom] {
        table.say(conn, "ROOM r");
    }
    let room = table.open(Rooms, "r?username=room&notices=1");
    assert_eq!(table.only(room)["members"], json!(["tina", "tom"]));
    for conn in [tina, tom] {
        assert_eq!(table.heard(conn).last().unwrap(), "ROOM_PEER_JOINED room");
    }
    table.say(room, &sdp("offer", SDP).to_string());
    table.say(room, &ice("candidate:1", json!({})).to_string());
    for (conn, uid) in [(tina, "tina"), (tom, "tom")] {
        let heard = table.heard(conn);
        assert_eq!(heard.len(), 2, "{heard:?}");
        assert!(heard[0].starts_with("ROOM_PEER_MSG room {\"sdp\":"), "{heard:?}");
        assert!(
            heard[1].contains(r#""sdpMLineIndex":0"#) && heard[1].contains(r#""sdpMid":"a""#),
            "{heard:?}"
        );
        table.say(conn, &format!("ROOM_PEER_MSG room {}", json!({"sdp": {"type": "answer", "sdp": "z"}})));
        assert_eq!(table.only(room), with(sdp("answer", "z"), "sender", uid));
    }
    table.say(tina, "ROOM_PEER_MSG room how are you?");
    assert!(table.heard(room).is_empty(), "it has no such message");
    table.leave(tom);
    assert_eq!(table.only(room), json!({"type": "left", "sender": "tom"}));
}

#[test]
fn either_side_can_ask_the_other_to_offer() {
    let mut table = Table::default();
    let tina = table.text("tina");
    table.say(tina, "ROOM r");
    let room = table.open(Rooms, "r?username=room");
    table.heard(tina);
    table.say(room, r#"{"type":"offer_request","to":"tina"}"#);
    assert_eq!(table.heard(tina), ["ROOM_PEER_MSG room OFFER_REQUEST"]);
    table.say(tina, "ROOM_PEER_MSG room OFFER_REQUEST");
    assert_eq!(table.only(room), json!({"type": "offer_request", "sender": "tina"}));
}

#[test]
fn a_member_is_busy_for_callers() {
    let mut table = Table::default();
    table.open(Rooms, "r?username=room");
    let tina = table.text("tina");
    table.say(tina, "SESSION room");
    assert!(table.heard(tina)[0].contains("busy"));
}
