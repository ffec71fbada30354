//! Users of `p2p` rooms, among themselves and with peers of other dialects, around a real hub.

use async_tungstenite::tungstenite::Message;
use serde_json::{Value, json};

use super::{
    super::{
        Dialect::{self, Rooms},
        testing::{Net, SDP},
    },
    OFFLINE,
};
use crate::{
    access::{Ability, Grant},
    close::CloseReason,
    hub::{About, ConnId, Event, Key, Refusal, Rules},
};

fn signal(s: &str, user: &str, more: Value) -> Value {
    let session = json!({
        "userId": user, "sessionId": format!("{user}-1"), "category": "stream", "host": "Web", "deviceId": "d",
    });
    let mut signal = json!({"s": s, "ch": "p2p", "ss": session, "rid": "r"});
    signal.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    signal
}

fn action(s: &str) -> String {
    if s == "ICE" { "iceCandidate".into() } else { s.to_lowercase() }
}

fn say(net: &mut Net, conn: ConnId, data: &Value) {
    let frame = json!({"action": action(data["s"].as_str().unwrap()), "data": data});
    net.say(conn, &frame);
}

/// Sends a signal, and expects that it is refused with this code. Returns the message.
#[track_caller]
fn refused(net: &mut Net, conn: ConnId, data: &Value, code: u32) -> String {
    say(net, conn, data);
    let error = net.only(conn);
    assert_eq!((&error["c"], &error["s"], &error["b"]["req"]), (&json!(code), &data["s"], data), "{error}");
    error["b"]["msg"].as_str().unwrap().to_owned()
}

fn open(net: &mut Net) -> ConnId {
    net.open(Dialect::Action, "")
}

/// A user in the room `r`.
#[track_caller]
fn join(net: &mut Net, user: &str) -> ConnId {
    let conn = open(net);
    say(net, conn, &signal("JOIN", user, json!({})));
    assert_eq!(net.only(conn)["c"], 200);
    conn
}

/// Two users in the room `r`.
fn pair(net: &mut Net) -> (ConnId, ConnId) {
    let (ann, bob) = (join(net, "ann"), join(net, "bob"));
    net.heard(ann);
    (ann, bob)
}

fn member(id: &str) -> Value {
    json!({"id": id, "sdp": "", "video": true, "audio": true, "username": id, "sessionId": id})
}

#[test]
fn a_join_is_acknowledged_and_announced() {
    let mut net = Net::default();
    let ann = open(&mut net);
    say(&mut net, ann, &signal("JOIN", "ann", json!({"op": {"roomCreating": true}})));
    let servers = json!({"is": ["stun:192.0.2.1:3478"], "iceServers": [{"urls": "stun:192.0.2.1:3478"}]});
    let body = |pps: Value| json!({"pps": pps, "rid": "r", "pt": "publisher", "icfg": servers});
    assert_eq!(net.only(ann), json!({"c": 200, "s": "JOIN", "b": body(json!([]))}));
    let bob = open(&mut net);
    say(&mut net, bob, &signal("JOIN", "bob", json!({})));
    assert_eq!(net.only(bob), json!({"c": 200, "s": "JOIN", "b": body(json!([member("ann")]))}));
    let changed = json!({"rid": "r", "joined": [member("bob")], "left": []});
    assert_eq!(net.only(ann), json!({"c": 200, "s": "PUBLISH_LIST_CHANGED", "b": changed}));
    say(&mut net, bob, &signal("LEAVE", "bob", json!({})));
    assert_eq!(net.only(bob), json!({"c": 200, "s": "LEAVE", "b": {"rid": "r"}}));
    let changed = json!({"rid": "r", "joined": [], "left": ["bob"]});
    assert_eq!(net.only(ann), json!({"c": 200, "s": "PUBLISH_LIST_CHANGED", "b": changed}));
    say(&mut net, bob, &signal("JOIN", "bobby", json!({})));
    assert_eq!(net.only(bob)["c"], 200, "it can join again, as someone else");
    let next = join(&mut net, "bob");
    assert_eq!(net.closed(next), None, "its first id is free");
}

#[test]
fn peers_get_the_bare_signal_as_it_was() {
    let mut net = Net::default();
    let (ann, bob) = pair(&mut net);
    let object = json!({"userId": "ann", "sessionId": "ann-1"});
    for (from, to, data) in [
        (bob, ann, signal("OFFER", "bob", json!({"to": "ann", "sdp": SDP, "op": {"restarting": false}}))),
        (bob, ann, signal("OFFER", "bob", json!({"sdp": SDP}))),
        (ann, bob, signal("ANSWER", "ann", json!({"to": "bob", "sdp": SDP}))),
        (ann, bob, signal("ICE", "ann", json!({"sdp": "candidate:1"}))),
        (bob, ann, signal("ICE", "bob", json!({"to": object, "sdp": "candidate:2", "extra": [null]}))),
        (bob, ann, signal("ICE", "bob", json!({"to": "ann", "sdp": ""}))),
    ] {
        let text =
            format!("{{ \"action\" : \"{}\",\"data\": {data:#} }}", action(data["s"].as_str().unwrap()));
        net.say(from, &text);
        assert_eq!(net.heard(to), [format!("{data:#}")]);
        assert!(net.heard(from).is_empty(), "no acknowledgement in p2p");
    }
}

#[test]
fn each_error_quotes_the_signal() {
    let mut net = Net::default();
    let (ann, bob) = pair(&mut net);
    let sdp = json!({"to": "bob", "sdp": "x"});
    for s in ["OFFER", "ANSWER", "ICE"] {
        let with = |name: &str, value: Value| {
            let mut data = signal(s, "ann", sdp.clone());
            data[name] = value;
            data
        };
        refused(&mut net, ann, &with("ss", json!({})), 2001);
        refused(&mut net, ann, &with("ch", json!("x2x")), 2001);
        refused(&mut net, ann, &with("sdp", json!({})), 2001);
        refused(&mut net, ann, &with("sdp", Value::Null), 2001);
        refused(&mut net, ann, &with("to", json!("ann")), 2001);
        refused(&mut net, ann, &with("to", json!(1)), 2001);
        refused(&mut net, ann, &signal(s, "bob", sdp.clone()), 2001);
        refused(&mut net, ann, &with("ch", json!("m2m")), 2002);
        refused(&mut net, ann, &with("ch", json!("a2m")), 2002);
        refused(&mut net, ann, &with("rid", json!("s")), 4001);
        for nobody in [json!("carol"), json!({"userId": "carol"}), json!("a b"), json!("x".repeat(5000))] {
            refused(&mut net, ann, &with("to", nobody), 4003);
        }
        let stranger = open(&mut net);
        refused(&mut net, stranger, &signal(s, "ann", sdp.clone()), 4001);
    }
    for ch in ["m2m", "a2m", "p2p"] {
        let to = json!({"userId": "bob", "sessionId": "bob-1"});
        refused(&mut net, ann, &signal("WATCH", "ann", json!({"ch": ch, "to": to})), 2002);
    }
    refused(&mut net, ann, &signal("KICK", "ann", json!({"to": "bob"})), 4051);
    assert!(net.heard(bob).is_empty());
    assert!(net.refusals(ann).contains(&"unsupported channel"), "they are counted");
}

#[test]
fn whom_a_signal_without_an_address_is_for() {
    let mut net = Net::default();
    let ann = join(&mut net, "ann");
    let offer = signal("OFFER", "ann", json!({"sdp": "x"}));
    refused(&mut net, ann, &offer, 4003);
    let bob = join(&mut net, "bob");
    net.heard(ann);
    say(&mut net, ann, &offer);
    assert_eq!(net.only(bob), offer);
    let carol = join(&mut net, "carol");
    net.heard(ann);
    refused(&mut net, ann, &offer, 2001);
    net.leave(carol);
    net.heard(bob);
    net.heard(ann);
    say(&mut net, ann, &offer);
    assert_eq!(net.only(bob), offer);
}

#[test]
fn who_has_left_is_known_to_an_answer() {
    let mut net = Net::default();
    let (ann, bob) = pair(&mut net);
    net.leave(bob);
    net.heard(ann);
    let more = json!({"to": "bob", "sdp": "x"});
    refused(&mut net, ann, &signal("ANSWER", "ann", more.clone()), 4024);
    refused(&mut net, ann, &signal("ANSWER", "ann", json!({"sdp": "x"})), 4024);
    refused(&mut net, ann, &signal("ICE", "ann", more.clone()), 4003);
    refused(&mut net, ann, &signal("ANSWER", "ann", json!({"to": "carol", "sdp": "x"})), 4003);
    say(&mut net, ann, &signal("LEAVE", "ann", json!({})));
    net.heard(ann);
    refused(&mut net, ann, &signal("ANSWER", "ann", more.clone()), 4024);
    refused(&mut net, ann, &signal("OFFER", "ann", more), 4001);
    refused(&mut net, ann, &signal("LEAVE", "ann", json!({})), 4001);
}

#[test]
fn a_join_can_be_refused_and_tried_again() {
    let mut net = Net::new(Rules { max_members: 1, ..Rules::default() });
    let ann = join(&mut net, "ann");
    let bob = open(&mut net);
    for (user, rid, code) in [
        ("ann", "s", 2001),
        ("", "s", 2001),
        ("a b", "s", 2001),
        (&"x".repeat(5000), "s", 2001),
        ("bob", "", 2001),
        ("bob", "session", 2001),
        ("bob", "r", 500),
    ] {
        let mut data = signal("JOIN", user, json!({}));
        data["rid"] = rid.into();
        refused(&mut net, bob, &data, code);
    }
    for ch in ["m2m", "a2m"] {
        refused(&mut net, bob, &signal("JOIN", "bob", json!({"ch": ch})), 2002);
    }
    assert!(net.heard(ann).is_empty());
    say(&mut net, bob, &signal("JOIN", "bob", json!({"rid": "s"})));
    assert_eq!(net.only(bob)["c"], 200);
    refused(&mut net, bob, &signal("JOIN", "bob", json!({"rid": "s"})), 2001);
    let carol = net.text("carol");
    net.say(carol, "SESSION bob");
    assert!(net.heard(carol)[0].contains("busy"));
}

#[test]
fn a_refused_user_gives_its_id_back() {
    let mut net = Net::new(Rules { max_members: 1, ..Rules::default() });
    join(&mut net, "ann");
    let bob = open(&mut net);
    refused(&mut net, bob, &signal("JOIN", "bob", json!({})), 500);
    net.text("bob");
}

#[test]
fn the_token_and_the_webhook_have_their_say() {
    let mut net = Net::default();
    let grant = Grant {
        identity: Some("ann".into()),
        uid: Some("ann".into()),
        rooms: Some(vec!["r".into()]),
        allow: Some(vec![Ability::Answer]),
        ..Grant::default()
    };
    let ann = net.open_with(Dialect::Action, "", grant);
    refused(&mut net, ann, &signal("JOIN", "bob", json!({})), 4051);
    refused(&mut net, ann, &signal("JOIN", "ann", json!({"rid": "s"})), 4051);
    say(&mut net, ann, &signal("JOIN", "ann", json!({})));
    assert_eq!(net.only(ann)["b"]["pt"], "viewer");
    let bob = join(&mut net, "bob");
    net.heard(ann);
    refused(&mut net, ann, &signal("OFFER", "ann", json!({"sdp": "x"})), 4051);
    say(&mut net, ann, &signal("ANSWER", "ann", json!({"sdp": "x"})));
    assert_eq!(net.only(bob)["s"], "ANSWER", "a viewer may answer");
    for (refusal, code) in [(Refusal::Other("no".into()), 4051), (Refusal::Unavailable, 500)] {
        let carol = open(&mut net);
        let data = signal("JOIN", "carol", json!({}));
        let frame = Message::text(json!({"action": "join", "data": data}).to_string());
        // Its steps wait for the webhook.
        net.translator(carol).read(frame, &mut Vec::new());
        net.handle(carol, Event::Denied { about: About::Register, key: Key::default(), refusal });
        let error = net.only(carol);
        assert_eq!((&error["c"], &error["b"]["req"]), (&json!(code), &data));
    }
}

#[test]
fn who_sends_heartbeats_has_to_go_on() {
    let mut net = Net::default();
    let (ann, bob) = pair(&mut net);
    assert_eq!(net.translator(bob).silence(), None, "a client without heartbeats stays");
    let beat = |more: Value| {
        let mut data = json!({"s": "HEARTBEAT", "bid": "7"});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        data
    };
    say(&mut net, bob, &beat(json!({})));
    assert!(net.heard(bob).is_empty(), "it wants no acknowledgement");
    say(&mut net, bob, &beat(json!({"send_ack": true, "rid": "r"})));
    assert_eq!(net.only(bob), json!({"c": 200, "s": "HEARTBEAT", "b": {"bid": "7"}}));
    assert_eq!(net.translator(bob).silence(), Some(OFFLINE));
    refused(&mut net, bob, &beat(json!({"rid": "s"})), 4001);
    net.lapse(bob);
    assert_eq!(net.only(bob)["c"], 4024);
    assert_eq!(net.only(ann)["b"]["left"], json!(["bob"]));
    assert_eq!(net.translator(bob).silence(), None);
    refused(&mut net, bob, &beat(json!({})), 4024);
    say(&mut net, bob, &signal("JOIN", "bob", json!({})));
    assert_eq!(net.only(bob)["c"], 200, "it comes back");
    assert_eq!(net.translator(bob).silence(), None);
}

#[test]
fn garbage_is_refused_and_disturbs_nobody() {
    let mut net = Net::default();
    let (ann, bob) = pair(&mut net);
    let deep = "[".repeat(10_000);
    for text in ["", "HELLO x", "[]", "{\"action\":\"offer\"}", "{\"action\":\"dance\",\"data\":{}}", &deep] {
        net.say(ann, text);
        assert_eq!(net.only(ann)["c"], 2001, "{text}");
    }
    net.send(ann, Message::binary(vec![1]));
    assert_eq!(net.only(ann)["c"], 2001);
    let long =
        json!({"action": "offer", "data": signal("OFFER", "ann", json!({"sdp": "x".repeat(128 << 10)}))});
    net.say(ann, &long);
    assert_eq!(net.closed(ann), Some(CloseReason::TooBig));
    assert_eq!(net.only(bob)["b"]["left"], json!(["ann"]));
}

/// A member of a room, in any dialect, with its signals in the form of the text protocol.
struct Peer {
    dialect: Dialect,
    name: String,
    conn: ConnId,
}

impl Peer {
    /// Joins the room `r`. Returns the members that the server named, if it did.
    fn join(net: &mut Net, dialect: Dialect, name: &str) -> Self {
        let conn = match dialect {
            Dialect::Text => {
                let conn = net.text(name);
                net.say(conn, "ROOM r");
                assert!(net.heard(conn)[0].starts_with("ROOM_OK"));
                conn
            }
            Dialect::Rooms => net.open(Rooms, &format!("r?username={name}")),
            _ => join(net, name),
        };
        Self { dialect, name: name.into(), conn }
    }

    fn send(&self, net: &mut Net, to: Option<&Self>, message: &Value) {
        let to_name = to.map(|to| to.name.clone());
        let sdp = message.get("sdp");
        match self.dialect {
            Dialect::Text => net.say(self.conn, format!("ROOM_PEER_MSG {} {message}", to_name.unwrap())),
            Dialect::Rooms => {
                let mut frame = match sdp {
                    Some(sdp) => json!({"type": "sdp", "sdp": sdp}),
                    None => json!({"type": "ice_candidate", "candidate": message["ice"]}),
                };
                if let Some(to) = to_name {
                    frame["to"] = to.into();
                }
                net.say(self.conn, &frame);
            }
            _ => {
                let (s, sdp) = match sdp {
                    Some(sdp) => (sdp["type"].as_str().unwrap().to_uppercase(), &sdp["sdp"]),
                    None => ("ICE".into(), &message["ice"]["candidate"]),
                };
                let mut data = signal(&s, &self.name, json!({"sdp": sdp}));
                if let Some(to) = to_name {
                    data["to"] = to.into();
                }
                say(net, self.conn, &data);
            }
        }
    }

    /// What it got: senders and messages.
    fn heard(&self, net: &mut Net) -> Vec<(String, Value)> {
        let heard = net.heard(self.conn);
        let parse = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        heard
            .iter()
            .map(|text| match self.dialect {
                Dialect::Text => {
                    let rest = text.strip_prefix("ROOM_PEER_MSG ").unwrap_or_else(|| panic!("{text}"));
                    let (from, message) = rest.split_once(' ').unwrap();
                    (from.into(), parse(message))
                }
                Dialect::Rooms => {
                    let frame = parse(text);
                    let message = match frame["type"].as_str().unwrap() {
                        "sdp" => json!({"sdp": frame["sdp"]}),
                        _ => json!({"ice": frame["candidate"]}),
                    };
                    (frame["sender"].as_str().unwrap().into(), message)
                }
                _ => {
                    let data = parse(text);
                    let message = match data["s"].as_str().unwrap() {
                        "ICE" => json!({"ice": {"candidate": data["sdp"]}}),
                        s => json!({"sdp": {"type": s.to_lowercase(), "sdp": data["sdp"]}}),
                    };
                    (data["ss"]["userId"].as_str().unwrap().into(), message)
                }
            })
            .collect()
    }
}

/// The candidate as this receiver sees that of this sender.
fn seen(from: &Peer, to: &Peer, candidate: &str) -> Value {
    match (from.dialect, to.dialect) {
        (_, Dialect::Action) => json!({"ice": {"candidate": candidate}}),
        (Dialect::Action, _) => json!({"ice": {"candidate": candidate, "sdpMid": "a", "sdpMLineIndex": 0}}),
        (one, other) if one == other => json!({"ice": {"candidate": candidate, "sdpMid": "v"}}),
        _ => json!({"ice": {"candidate": candidate, "sdpMid": "v", "sdpMLineIndex": 1}}),
    }
}

#[test]
fn every_pair_of_dialects_negotiates_in_one_room() {
    let dialects = [Dialect::Text, Dialect::Rooms, Dialect::Action];
    for (one, other) in dialects.into_iter().flat_map(|one| dialects.map(|other| (one, other))) {
        for is_addressed in [true, false] {
            let mut net = Net::default();
            let first = Peer::join(&mut net, one, "first");
            let second = Peer::join(&mut net, other, "second");
            net.heard(first.conn);
            let negotiation = [
                (&second, &first, json!({"sdp": {"type": "offer", "sdp": SDP}})),
                (&second, &first, json!({"ice": {"candidate": "candidate:1", "sdpMid": "v"}})),
                (&first, &second, json!({"sdp": {"type": "answer", "sdp": SDP}})),
                (&first, &second, json!({"ice": {"candidate": "candidate:2", "sdpMid": "v"}})),
            ];
            for (from, to, message) in negotiation {
                let is_addressed = is_addressed || from.dialect == Dialect::Text;
                from.send(&mut net, is_addressed.then_some(to), &message);
                let expected = match message["ice"]["candidate"].as_str() {
                    Some(candidate) => seen(from, to, candidate),
                    None => message,
                };
                assert_eq!(to.heard(&mut net), [(from.name.clone(), expected)], "{one:?} and {other:?}");
                assert_eq!(from.heard(&mut net), [], "{one:?} and {other:?}");
            }
            net.leave(second.conn);
            let left: &[String] = match one {
                Dialect::Text => &["ROOM_PEER_LEFT second".into()],
                Dialect::Rooms => &[],
                _ => &[json!({"c": 200, "s": "PUBLISH_LIST_CHANGED", "b": {"rid": "r", "joined": [], "left": ["second"]}}).to_string()],
            };
            assert_eq!(net.heard(first.conn), left);
        }
    }
}

#[test]
fn what_the_protocol_cannot_say_is_left_out() {
    let mut net = Net::default();
    let ann = join(&mut net, "ann");
    let tina = Peer::join(&mut net, Dialect::Text, "tina");
    net.heard(ann);
    net.say(tina.conn, "ROOM_PEER_MSG ann OFFER_REQUEST");
    tina.send(
        &mut net,
        Some(&Peer { dialect: Dialect::Action, name: "ann".into(), conn: ann }),
        &json!({"sdp": {"type": "offer", "sdp": SDP}}),
    );
    net.say(tina.conn, r#"ROOM_PEER_MSG ann {"ice":{"candidate":""}}"#);
    let offer = net.only(ann);
    let session = json!({"userId": "tina", "sessionId": "tina", "category": "stream", "host": "Web", "deviceId": "tina"});
    assert_eq!(offer, json!({"s": "OFFER", "ch": "p2p", "ss": session, "rid": "r", "to": "ann", "sdp": SDP}));
}
