//! Rooms whose media go through a node: frames of members and nodes around a hub.

use serde_json::{Value, json};

use super::{super::testing::Net, *};
use crate::{
    access::Grant,
    hub::{ConnId, Counts, NodeRooms},
};

fn net() -> Net {
    let mut net = Net::default();
    net.hub.set_node_rooms(NodeRooms::new(vec!["stage-*".into()]));
    net
}

/// A node, attached. It may have something to do at once.
fn attach(net: &mut Net, name: &str, streams: u32, viewers: u32) -> ConnId {
    let node = net.open_with(Dialect::Node, "", Grant { is_node: true, ..Grant::default() });
    let limits = json!({ "streams": streams, "viewers": viewers });
    net.say(node, json!({ "type": "hello", "version": 1, "name": name, "limits": limits }));
    node
}

fn join(net: &mut Net, uid: &str) -> ConnId {
    let conn = net.text(uid);
    net.say(conn, "ROOM stage-1");
    conn
}

/// A description of a connection.
fn sdp(kind: &str, certificate: &str) -> Value {
    json!({ "sdp": { "type": kind, "sdp": format!("v=0\r\na=fingerprint:sha-256 {certificate}\r\n") } })
}

fn say(net: &mut Net, from: ConnId, to: &str, message: &Value) {
    net.say(from, format!("ROOM_PEER_MSG {to} {message}"));
}

/// What the node got: the type, the stream's member or the kind of signal, and whether it offers.
fn at_node(net: &mut Net, node: ConnId) -> Vec<String> {
    let describe = |frame: &Value| {
        let text = |name: &str| frame[name].as_str().unwrap_or_default().to_owned();
        let stream = text("stream").split('/').nth(1).unwrap_or_default().to_owned();
        let what = match &*text("type") {
            "signal" => frame["sdp"]["type"].as_str().unwrap_or("candidate").into(),
            "end" => format!("end {}", text("reason")),
            other => format!("{other} {stream}"),
        };
        let asked = if frame["offers"] == true { " asked" } else { "" };
        format!("{}: {what}{asked}", text("session"))
    };
    let frames = net.json(node);
    frames.iter().filter(|frame| frame["type"] != "welcome").map(describe).collect()
}

fn signal(net: &mut Net, node: ConnId, session: &str, message: &Value) {
    net.say(node, json!({ "type": "signal", "session": session, "sdp": message["sdp"] }));
}

fn live(net: &mut Net, node: ConnId, session: &str) {
    net.say(
        node,
        json!({ "type": "live", "session": session, "tracks": [{ "kind": "video", "codec": "VP8" }] }),
    );
}

fn from(peer: &str, message: &Value) -> String {
    let text = message["sdp"]["sdp"].as_str().unwrap();
    format!(
        "ROOM_PEER_MSG {peer} {}",
        callbin_protocol::Signal::Sdp {
            kind: if message["sdp"]["type"] == "offer" {
                callbin_protocol::SdpType::Offer
            } else {
                callbin_protocol::SdpType::Answer
            },
            sdp: text.into(),
        }
    )
}

fn counts(net: &Net) -> (usize, usize) {
    let Counts { streams, viewers, .. } = net.hub.counts();
    net.hub.check();
    (streams, viewers)
}

/// Anna and Berta publish, are live, and play each other. Returns their connections, that of the node, and the last session.
fn two(net: &mut Net) -> (ConnId, ConnId, ConnId) {
    let node = attach(net, "n", 9, 9);
    let anna = join(net, "anna");
    assert_eq!(net.heard(anna), ["ROOM_OK 0"]);
    say(net, anna, "0", &sdp("offer", "A1"));
    assert_eq!(at_node(net, node), ["call-2: publish anna", "call-2: offer"]);
    signal(net, node, "call-2", &sdp("answer", "N"));
    assert_eq!(net.heard(anna), [from("0", &sdp("answer", "N"))]);
    live(net, node, "call-2");
    let berta = join(net, "berta");
    assert_eq!(net.heard(berta), ["ROOM_OK 0 anna"]);
    assert_eq!(net.heard(anna), ["ROOM_PEER_JOINED berta"]);
    say(net, berta, "0", &sdp("offer", "B1"));
    say(net, berta, "anna", &sdp("offer", "B2"));
    let expected = ["call-4: publish berta", "call-4: offer", "call-5: play anna", "call-5: offer"];
    assert_eq!(at_node(net, node), expected);
    signal(net, node, "call-5", &sdp("answer", "N"));
    assert_eq!(net.heard(berta), [from("anna", &sdp("answer", "N"))]);
    live(net, node, "call-4");
    assert_eq!(at_node(net, node), ["call-6: play berta asked"]);
    signal(net, node, "call-6", &sdp("offer", "N"));
    assert_eq!(net.heard(anna), [from("berta", &sdp("offer", "N"))]);
    say(net, anna, "berta", &sdp("answer", "A2"));
    assert_eq!(at_node(net, node), ["call-6: answer"]);
    assert_eq!(counts(net), (2, 2));
    (anna, berta, node)
}

#[test]
fn each_member_publishes_once_and_plays_the_others() {
    let mut net = net();
    let (anna, berta, node) = two(&mut net);
    say(&mut net, berta, "anna", &json!({ "ice": { "candidate": "c", "sdpMLineIndex": 0 } }));
    assert_eq!(at_node(&mut net, node), ["call-5: candidate"]);
    net.say(berta, "ROOM_PEER_LIST");
    assert_eq!(net.heard(berta), ["ROOM_PEER_LIST 0 anna"]);

    net.leave(anna);
    assert_eq!(net.heard(berta), ["ROOM_PEER_LEFT anna"]);
    assert_eq!(at_node(&mut net, node), ["call-6: end left", "call-5: end left", "call-2: end left"]);
    assert_eq!(counts(&net), (1, 0));
    let anna = join(&mut net, "anna");
    assert_eq!(net.heard(anna), ["ROOM_OK 0 berta"]);
    assert_eq!(net.heard(berta), ["ROOM_PEER_JOINED anna"]);
    net.leave(anna);
    net.leave(berta);
    assert_eq!((counts(&net), net.hub.streams().count()), ((0, 0), 0));
}

#[test]
fn what_is_no_signal_passes_between_members() {
    let mut net = net();
    let (anna, berta, node) = two(&mut net);
    net.say(anna, "ROOM_PEER_MSG berta hello");
    assert_eq!(net.heard(berta), ["ROOM_PEER_MSG anna hello"]);
    net.say(anna, "ROOM_PEER_MSG 0 hello");
    net.say(anna, "ROOM_PEER_MSG clara {}");
    assert_eq!(net.heard(anna), ["ERROR peer 'clara' not found"]);
    net.say(anna, "ROOM_PEER_MSG berta ERROR I am full");
    assert_eq!(at_node(&mut net, node), ["call-6: end left"], "it does not want this picture");
    assert!(net.heard(berta).is_empty());
    assert_eq!(counts(&net), (2, 1));
}

#[test]
fn after_the_loss_of_the_node_all_members_meet_at_the_next_one() {
    let mut net = net();
    let (anna, berta, node) = two(&mut net);
    net.leave(node);
    let left = |one: &str, two: &str| [format!("ROOM_PEER_LEFT {one}"), format!("ROOM_PEER_LEFT {two}")];
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts
    };
    assert_eq!(sorted(net.heard(anna)), left("0", "berta"));
    assert_eq!(sorted(net.heard(berta)), left("0", "anna"));
    let clara = join(&mut net, "clara");
    say(&mut net, clara, "0", &sdp("offer", "C1"));
    say(&mut net, clara, "anna", &sdp("offer", "C2"));
    net.heard(anna);
    net.heard(berta);

    let next = attach(&mut net, "m", 9, 9);
    let frames = at_node(&mut net, next);
    let publishes: Vec<&str> =
        frames.iter().filter_map(|frame| frame.split_once(": ")).map(|it| it.1).collect();
    assert_eq!(publishes, ["publish anna asked", "publish berta asked", "publish clara", "offer"]);
    assert_eq!(net.heard(anna), ["ROOM_PEER_JOINED 0"]);
    let session = frames[0].split(':').next().unwrap().to_owned();
    signal(&mut net, next, &session, &sdp("offer", "N"));
    assert_eq!(net.heard(anna), [from("0", &sdp("offer", "N"))]);
    say(&mut net, anna, "0", &sdp("answer", "A3"));
    assert_eq!(at_node(&mut net, next), [format!("{session}: answer")]);
    live(&mut net, next, &session);
    let plays = at_node(&mut net, next);
    assert!(plays[0].ends_with(": play anna asked") && plays[1].ends_with(": play anna"), "{plays:?}");
    assert!(plays[2].ends_with(": offer"), "{plays:?}");
    assert_eq!(net.heard(berta), ["ROOM_PEER_JOINED 0", "ROOM_PEER_JOINED anna"]);
    assert_eq!(counts(&net), (3, 2));
}

#[test]
fn a_node_that_is_about_to_end_hands_the_room_to_another_one() {
    let mut net = net();
    let (anna, berta, node) = two(&mut net);
    net.say(node, json!({ "type": "drain" }));
    assert_eq!(counts(&net), (2, 2), "there is no other one yet");
    let next = attach(&mut net, "m", 9, 9);
    assert_eq!(at_node(&mut net, node).len(), 4, "all have ended");
    let publishes: Vec<String> = at_node(&mut net, next);
    assert_eq!(publishes.len(), 2, "{publishes:?}");
    assert!(
        publishes.iter().all(|frame| frame.contains("publish") && frame.ends_with("asked")),
        "{publishes:?}"
    );
    for member in [anna, berta] {
        assert!(net.heard(member).contains(&"ROOM_PEER_JOINED 0".to_owned()));
    }
    assert_eq!(counts(&net), (2, 0));
}

#[test]
fn a_room_that_no_node_can_carry_is_refused() {
    let mut net = net();
    attach(&mut net, "n", 1, 9);
    let anna = join(&mut net, "anna");
    say(&mut net, anna, "0", &sdp("offer", "A"));
    net.heard(anna);
    let berta = join(&mut net, "berta");
    assert_eq!(net.heard(berta), ["ERROR no media node has capacity"]);
    net.say(berta, "ROOM other");
    assert_eq!(net.heard(berta), ["ROOM_OK "], "a room of another name is as ever");
    assert_eq!(net.hub.counts().rooms, 2);
    let node = net.open(Dialect::Text, "");
    net.say(node, "HELLO 0");
    assert_eq!(net.closed(node), Some(CloseReason::InvalidUid), "the name is taken");
}

#[test]
fn members_of_other_dialects_take_part_if_they_address_their_signals() {
    let mut net = net();
    let node = attach(&mut net, "n", 9, 9);
    let page = net.open(Dialect::Rooms, "stage-1?username=page&notices=1");
    assert_eq!(net.only(page)["members"], json!(["0"]));
    let mut offer = sdp("offer", "P1");
    offer["type"] = "sdp".into();
    net.say(page, &offer);
    assert_eq!(net.only(page)["code"], "refused");
    offer["to"] = "0".into();
    net.say(page, &offer);
    let frames = at_node(&mut net, node);
    assert_eq!(frames.len(), 2, "{frames:?}");
    let session = frames[0].split(':').next().unwrap().to_owned();
    signal(&mut net, node, &session, &sdp("answer", "N"));
    assert_eq!(net.only(page)["sender"], "0");
    live(&mut net, node, &session);

    let action = net.open(Dialect::Action, "");
    let session = json!({ "userId": "guest", "sessionId": "guest-1", "category": "stream", "host": "Web", "deviceId": "d" });
    let join = json!({ "s": "JOIN", "ch": "p2p", "ss": session, "rid": "stage-1" });
    net.say(action, json!({ "action": "join", "data": join }));
    let joined = net.only(action).to_string();
    assert!(joined.contains(r#""id":"0""#) && joined.contains(r#""id":"page""#), "{joined}");
    assert_eq!(net.only(page)["type"], "joined");
    net.hub.check();
}
