use callbin_protocol::{Candidate, PeerId};
use serde_json::{Value, json};

use super::{super::http::tests::OFFER, super::testing::Net, *};
use crate::{
    access::{Ability, Grant},
    dialect::http::Client,
    hub::{Card, ConnId, Counts, Effect, Event, Flow, Note, Rules, Start},
};

fn id(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

/// The node of a test, attached.
#[track_caller]
fn attach(net: &mut Net, name: &str, streams: u32, viewers: u32) -> ConnId {
    let node = net.open_with(Dialect::Node, "", Grant { is_node: true, ..Grant::default() });
    let limits = json!({ "streams": streams, "viewers": viewers });
    net.say(node, json!({ "type": "hello", "version": 1, "name": name, "limits": limits }));
    assert_eq!(net.only(node), json!({ "type": "welcome", "version": 1, "statsInterval": 5 }));
    node
}

fn publisher(net: &mut Net, stream: &str) -> ConnId {
    net.open_http(Client::caller(Dialect::Whip, id(stream), Some(OFFER.into())))
}

fn viewer(net: &mut Net, stream: &str) -> ConnId {
    net.open_http(Client::caller(Dialect::Whep, id(stream), Some(OFFER.into())))
}

fn answer(net: &mut Net, node: ConnId, session: &Value) {
    let sdp = json!({ "type": "answer", "sdp": OFFER });
    net.say(node, json!({ "type": "signal", "session": session, "sdp": sdp }));
}

fn go_live(net: &mut Net, node: ConnId, session: &Value) {
    let tracks = json!([{ "kind": "video", "codec": "VP8" }]);
    net.say(node, json!({ "type": "live", "session": session, "tracks": tracks }));
}

/// A publisher of a stream that is live, and its session.
#[track_caller]
fn published(net: &mut Net, node: ConnId, stream: &str) -> (ConnId, Value) {
    let conn = publisher(net, stream);
    let session = net.json(node)[0]["session"].clone();
    answer(net, node, &session);
    go_live(net, node, &session);
    (conn, session)
}

#[track_caller]
fn refusal(net: &mut Net, conn: ConnId) -> Refusal {
    net.http(conn).refusal().cloned().expect("it is refused")
}

fn counts(net: &Net) -> (usize, usize, usize) {
    let Counts { nodes, streams, viewers, .. } = net.hub.counts();
    net.hub.check();
    (nodes, streams, viewers)
}

#[test]
fn a_stream_is_published_and_played() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 1, 2);
    let publishes = publisher(&mut net, "studio");
    let [publish, offer] = <[Value; 2]>::try_from(net.json(node)).unwrap();
    let session = publish["session"].clone();
    assert_eq!(publish, json!({ "type": "publish", "session": session, "stream": "studio" }));
    let sdp = json!({ "type": "offer", "sdp": OFFER });
    assert_eq!(offer, json!({ "type": "signal", "session": session, "sdp": sdp }));
    answer(&mut net, node, &session);
    assert_eq!(net.http(publishes).leg().unwrap().answer(), Some(OFFER));
    assert!(net.http(publishes).leg().unwrap().is_gathered(), "the answer has all candidates");

    let early = viewer(&mut net, "studio");
    assert_eq!(refusal(&mut net, early), Refusal::PeerNotFound("studio".into()), "nothing arrives yet");
    go_live(&mut net, node, &session);
    let plays = viewer(&mut net, "studio");
    let [play, _] = <[Value; 2]>::try_from(net.json(node)).unwrap();
    let viewing = play["session"].clone();
    assert_eq!(play, json!({ "type": "play", "session": viewing, "stream": "studio", "offers": false }));
    answer(&mut net, node, &viewing);
    assert_eq!(net.http(plays).leg().unwrap().answer(), Some(OFFER));
    assert_eq!(counts(&net), (1, 1, 1));

    net.leave(publishes);
    assert_eq!(net.only(node), json!({ "type": "end", "session": session, "reason": "left" }));
    assert!(!net.http(plays).is_over(), "the publisher may come back");
    let late = viewer(&mut net, "studio");
    assert!(matches!(refusal(&mut net, late), Refusal::PeerNotFound(_)));
    net.say(node, json!({ "type": "end", "session": viewing, "reason": "gone" }));
    assert!(net.http(plays).is_over());
    assert_eq!((counts(&net), net.hub.streams().count()), ((1, 0, 0), 0));
    assert!(net.heard(node).is_empty() && net.closed(node).is_none());
}

#[test]
fn a_peer_of_this_name_comes_first() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let peer = net.text("studio");
    publisher(&mut net, "studio");
    assert_eq!((net.heard(peer).len(), net.heard(node).len()), (1, 0), "the peer has the offer");
    published(&mut net, node, "other");
    let late = net.open(Dialect::Text, "");
    net.say(late, "HELLO other");
    assert_eq!(net.closed(late), Some(CloseReason::InvalidUid), "streams and peers share their names");
}

#[test]
fn without_a_node_there_are_peers_only() {
    let mut net = Net::default();
    let whip = publisher(&mut net, "studio");
    assert_eq!(refusal(&mut net, whip), Refusal::PeerNotFound("studio".into()));
}

#[test]
fn streams_are_placed_by_load_and_viewers_follow() {
    let mut net = Net::default();
    let (small, large) = (attach(&mut net, "small", 2, 9), attach(&mut net, "large", 4, 9));
    for stream in ["a", "b", "c"] {
        publisher(&mut net, stream);
    }
    let streams_of = |net: &mut Net, node| -> Vec<String> {
        let frames = net.json(node);
        let publish = frames.iter().filter(|frame| frame["type"] == "publish");
        publish.map(|frame| frame["stream"].as_str().unwrap().into()).collect()
    };
    assert_eq!(streams_of(&mut net, small), ["a"]);
    assert_eq!(streams_of(&mut net, large), ["b", "c"]);
    net.say(large, json!({ "type": "drain" }));
    publisher(&mut net, "d");
    assert_eq!(streams_of(&mut net, small), ["d"]);
    let none = publisher(&mut net, "e");
    assert_eq!(refusal(&mut net, none), Refusal::NoCapacity, "one is full, the other one drains");
}

#[test]
fn a_publisher_that_comes_back_finds_its_viewers_or_no_place() {
    let mut net = Net::default();
    let (full, _other) = (attach(&mut net, "full", 1, 9), attach(&mut net, "other", 1, 9));
    let (first, _) = published(&mut net, full, "s");
    let plays = viewer(&mut net, "s");
    net.leave(first);
    net.heard(full);
    let again = publisher(&mut net, "s");
    assert_eq!(net.json(full)[0]["type"], "publish", "at the node of its viewers");
    net.leave(again);
    for stream in ["t", "u"] {
        publisher(&mut net, stream);
    }
    let late = publisher(&mut net, "s");
    assert_eq!(refusal(&mut net, late), Refusal::NoCapacity, "its viewers are at a node that is full");
    assert!(!net.http(plays).is_over());
    net.hub.check();
}

#[test]
fn a_node_gets_no_more_viewers_than_it_carries() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 1, 1);
    published(&mut net, node, "s");
    let first = viewer(&mut net, "s");
    let second = viewer(&mut net, "s");
    assert!(!net.http(first).is_over());
    assert_eq!(refusal(&mut net, second), Refusal::NoCapacity);
    net.leave(first);
    let third = viewer(&mut net, "s");
    assert!(!net.http(third).is_over());
}

#[test]
fn streams_and_viewers_of_an_owner_are_limited() {
    let mut net = Net::new(Rules { max_streams: 1, max_viewers: 1, ..Rules::default() });
    let node = attach(&mut net, "n", 9, 9);
    published(&mut net, node, "s");
    let other = publisher(&mut net, "t");
    assert_eq!(refusal(&mut net, other), Refusal::TooManyStreams);
    viewer(&mut net, "s");
    let second = viewer(&mut net, "s");
    assert_eq!(refusal(&mut net, second), Refusal::TooManyViewers);
    net.host = 7;
    let elsewhere = viewer(&mut net, "s");
    assert!(!net.http(elsewhere).is_over(), "another address");
    assert_eq!(counts(&net), (1, 1, 2));
}

#[test]
fn a_stream_has_one_publisher_until_its_owner_comes_again() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let alice = || Grant { identity: Some("alice".into()), ..Grant::default() };
    let publish = |net: &mut Net, grant| {
        let conn = net.open_with(Dialect::Antmedia, "", grant);
        net.say(conn, json!({ "command": "publish", "streamId": "s" }));
        conn
    };
    let first = publish(&mut net, alice());
    assert_eq!(net.only(first)["command"], "start");
    let old = net.only(node)["session"].clone();
    let stranger = publish(&mut net, Grant::default());
    assert_eq!(net.only(stranger)["definition"], "streamIdInUse");
    let second = publish(&mut net, alice());
    assert_eq!(net.only(second)["command"], "start");
    assert_eq!(net.only(first)["definition"], "publish_finished");
    let [end, new] = <[Value; 2]>::try_from(net.json(node)).unwrap();
    assert_eq!(end, json!({ "type": "end", "session": old, "reason": "closed" }));
    assert_eq!(new["type"], "publish");
    assert_ne!(new["session"], old);
    assert_eq!(counts(&net), (1, 1, 0));
}

/// The old publisher goes on if the new one is refused, and its place counts for the new one.
#[test]
fn a_takeover_ends_the_old_session_only_if_it_succeeds() {
    let mut net = Net::new(Rules { max_streams: 1, ..Rules::default() });
    attach(&mut net, "n", 2, 9);
    let publish = |net: &mut Net, identity: &str, stream: &str| {
        let grant = Grant { identity: Some(identity.into()), ..Grant::default() };
        let conn = net.open_with(Dialect::Antmedia, "", grant);
        net.say(conn, json!({ "command": "publish", "streamId": stream }));
        conn
    };
    let first = publish(&mut net, "alice", "s");
    assert_eq!(net.only(first)["command"], "start");
    net.host = 7;
    let other = publish(&mut net, "bob", "t");
    assert_eq!(net.only(other)["command"], "start");
    let refused = publish(&mut net, "alice", "s");
    assert_eq!(net.only(refused)["command"], "error", "bob uses the one stream of this address");
    assert!(net.heard(first).is_empty());
    assert_eq!(counts(&net), (1, 2, 0));
    net.host = 8;
    let second = publish(&mut net, "alice", "s");
    assert_eq!(net.only(second)["command"], "start", "the node is full of the old one and bob's");
    assert_eq!(net.only(first)["definition"], "publish_finished");
    assert_eq!(counts(&net), (1, 2, 0));
}

#[test]
fn tokens_say_who_publishes_and_plays_what() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let mut publish = |grant: Grant, stream: &str| {
        let conn = net.open_with(Dialect::Antmedia, "", grant);
        net.say(conn, json!({ "command": "publish", "streamId": stream }));
        let reply = net.only(conn);
        reply["definition"].as_str().or(reply["command"].as_str()).unwrap().to_owned()
    };
    let uid = |pattern: &str| Grant { uid: Some(pattern.into()), ..Grant::default() };
    let streams = |pattern: &str| Grant { streams: Some(vec![pattern.into()]), ..uid("me") };
    let able = |ability| Grant { allow: Some(vec![ability]), ..Grant::default() };
    assert_eq!(publish(uid("me"), "a"), "unauthorized_access");
    assert_eq!(publish(uid("a*"), "a"), "start");
    assert_eq!(publish(streams("b*"), "b1"), "start");
    assert_eq!(publish(streams("b*"), "me"), "unauthorized_access");
    assert_eq!(publish(able(Ability::Play), "c"), "unauthorized_access");
    assert_eq!(publish(able(Ability::Publish), "c"), "start");
    let session = net.json(node)[0]["session"].clone();
    go_live(&mut net, node, &session);
    let mut play = |grant: Grant| {
        let conn = net.open_with(Dialect::Antmedia, "", grant);
        net.say(conn, json!({ "command": "play", "streamId": "a" }));
        net.json(conn).first().map(|reply| reply["definition"].as_str().unwrap().to_owned())
    };
    assert_eq!(play(uid("me")), None, "the node is asked for its offer");
    assert_eq!(play(able(Ability::Play)), None);
    assert_eq!(play(able(Ability::Publish)).as_deref(), Some("unauthorized_access"));
    assert_eq!(play(streams("b*")).as_deref(), Some("unauthorized_access"));
}

#[test]
fn calls_of_a_lost_node_end_with_a_reason_in_small_steps() {
    let mut net = Net::default();
    net.holds_news = true;
    let (first, second) = (attach(&mut net, "one", 9, 99), attach(&mut net, "two", 1, 99));
    let (publishes, _) = published(&mut net, first, "s");
    let viewers: Vec<ConnId> = (0..20).map(|_| viewer(&mut net, "s")).collect();
    net.leave(first);
    net.leave(first);
    assert_eq!(counts(&net), (1, 0, 0));
    let again = publisher(&mut net, "s");
    assert_eq!(net.json(second)[0]["type"], "publish", "at once, at another node");
    net.pass_on(10);
    net.hub.check();
    let over = |net: &mut Net| viewers.iter().filter(|conn| net.http(**conn).is_over()).count();
    assert!((1..10).contains(&over(&mut net)));
    (0..10).for_each(|_| net.pass_on(10));
    assert_eq!((over(&mut net), net.hub.has_news()), (20, false));
    assert_eq!(refusal(&mut net, publishes), Refusal::NodeLost);
    assert!(!net.http(again).is_over());
    net.leave(again);
    net.leave(second);
    (0..10).for_each(|_| net.pass_on(10));
    assert_eq!(counts(&net), (0, 0, 0));
}

#[test]
fn a_client_that_floods_the_node_loses_its_call() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let (publishes, session) = published(&mut net, node, "s");
    let flood = |net: &mut Net, conn| {
        let candidate = callbin_protocol::Candidate { candidate: "x".repeat(1000), ..Default::default() };
        let requests = net.http(conn).trickle(vec![candidate; 200]);
        requests.into_iter().for_each(|request| net.ask(conn, request));
    };
    net.heard(node);
    flood(&mut net, publishes);
    let frames = net.json(node);
    assert!((100..135).contains(&frames.len()), "{}", frames.len());
    assert_eq!(frames.last().unwrap(), &json!({ "type": "end", "session": session, "reason": "limit" }));
    assert!(net.http(publishes).is_over() && net.closed(node).is_none());
    assert_eq!(counts(&net), (1, 0, 0));
}

#[test]
fn offers_that_wait_for_the_node_are_bounded() {
    let mut net = Net::new(Rules { max_unanswered: 2 << 20, ..Rules::default() });
    let node = attach(&mut net, "n", 999, 999);
    let offers = (0..30).filter(|number| offer_much(&mut net, &format!("s{number}")).is_some()).count();
    assert_eq!(offers, 20, "2 MiB");
    let sessions: Vec<Value> = net.json(node).into_iter().filter(|it| it["type"] == "publish").collect();
    sessions.iter().for_each(|publish| answer(&mut net, node, &publish["session"]));
    let more = publisher(&mut net, "more");
    assert!(!net.http(more).is_over(), "those are answered");
    net.hub.check();
}

/// A publisher with an offer of 100 kB. None: it is refused.
fn offer_much(net: &mut Net, stream: &str) -> Option<ConnId> {
    let offer = OFFER.to_owned() + &"a=x\r\n".repeat(20_000);
    let conn = net.open_http(Client::caller(Dialect::Whip, id(stream), Some(offer)));
    (!net.http(conn).is_over()).then_some(conn)
}

/// They are in the node's queue, also if the client has ended its call.
#[test]
fn offers_of_ended_calls_wait_for_the_node_too() {
    let mut net = Net::new(Rules { max_unanswered: 2 << 20, ..Rules::default() });
    let node = attach(&mut net, "n", 999, 999);
    let offers = |net: &mut Net| {
        let mut count = 0;
        while let Some(conn) = offer_much(net, "s") {
            net.leave(conn);
            net.hub.check();
            count += 1;
            assert!(count < 100, "they fill the node's queue");
        }
        count
    };
    assert_eq!((offers(&mut net), offers(&mut net)), (20, 0), "refused ones do not count");
    let frames = net.json(node);
    let mut sessions = frames.iter().filter(|it| it["type"] == "publish").map(|it| &it["session"]);
    let (one, other) = (sessions.next().unwrap(), sessions.next().unwrap());
    answer(&mut net, node, one);
    answer(&mut net, node, one);
    net.say(node, json!({ "type": "end", "session": other, "reason": "unacceptable" }));
    assert_eq!(offers(&mut net), 2, "it has read these");
    net.say(node, json!({ "type": "stats" }));
    assert_eq!(offers(&mut net), 0);
    net.say(node, json!({ "type": "stats" }));
    assert_eq!(offers(&mut net), 20, "it works, and ignores offers of ended calls");
    net.json(node);
}

/// A connection for each of them is what a node has the most work with.
#[test]
fn calls_to_streams_and_offers_to_nodes_have_a_price() {
    let mut net = Net::default();
    let call = |media| Request::Call {
        key: Key::default(),
        to: id("s"),
        from: None,
        start: Start::AtOnce,
        media,
        only: None,
    };
    let meet = |flow| {
        let card = Card { flow, ..Card::default() };
        Request::Meet { key: Key::default(), uid: id("s"), card, start: Start::AtOnce, only: None }
    };
    let viewer = net.open(Dialect::Antmedia, "");
    assert_eq!(net.hub.fan_out(viewer, &call(Some(Use::Play))), 0, "there is no node");
    let node = attach(&mut net, "n", 9, 9);
    for request in [call(Some(Use::Play)), call(Some(Use::Publish)), meet(Flow::Sends), meet(Flow::Awaits)] {
        assert_eq!(net.hub.fan_out(viewer, &request), 100, "{request:?}");
    }
    for request in [call(None), meet(Flow::Both)] {
        assert_eq!(net.hub.fan_out(viewer, &request), 0, "{request:?}");
    }
    let (publishes, session) = published(&mut net, node, "s");
    let restart = net.http(publishes).restart("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k", &[]).unwrap();
    assert_eq!(net.hub.fan_out(publishes, &restart), 100);
    let Request::Signal { payload, .. } = restart else { panic!("{restart:?}") };
    let key = Key::from(session.as_str().unwrap());
    assert_eq!(net.hub.fan_out(node, &Request::Signal { key, payload }), 0, "the node's own offer");
    let peer = net.text("peer");
    assert_eq!(net.hub.fan_out(peer, &call(Some(Use::Play))), 100);
}

#[test]
fn the_line_about_the_nodes_end_of_a_call_is_charged_to_its_client() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let (publishes, session) = published(&mut net, node, "s");
    let key = Key::from(session.as_str().unwrap());
    let end = NodeRequest::End { key, reason: Reason::Limit, detail: "".into() };
    let mut effects = Vec::new();
    net.hub.handle(node, Event::Asked { request: Request::Node(end), frame: None }, &mut effects);
    let notes = effects.iter().filter_map(|effect| match effect {
        Effect::Note(conn, Note::Ended { .. }) => Some(*conn),
        _ => None,
    });
    assert_eq!(notes.collect::<Vec<_>>(), [publishes]);
}

#[test]
fn ice_restarts_by_another_offer() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let (publishes, session) = published(&mut net, node, "s");
    net.heard(node);
    let candidates: Vec<Candidate> = (1..=256)
        .map(|number| Candidate {
            candidate: format!("candidate:{number} 1 udp 1 10.0.0.1 9 typ host"),
            ..Default::default()
        })
        .collect();
    let request = net.http(publishes).restart("ysXw", "vw5LmwG4y/e6dPP/zAP9Gp5k", &candidates).unwrap();
    net.ask(publishes, request);
    let offer = net.only(node)["sdp"]["sdp"].as_str().unwrap().to_owned();
    assert!(offer.contains("a=ice-ufrag:ysXw\r\n") && !offer.contains("EsAw"), "{offer}");
    assert_eq!(offer.matches("a=candidate:").count(), 256, "the candidates are in the offer");
    assert_eq!(net.http(publishes).leg().unwrap().answer(), None, "the old one does not count");
    assert_eq!(net.http(publishes).etag(), "\"ice-ysXw\"");
    answer(&mut net, node, &session);
    assert_eq!(net.http(publishes).leg().unwrap().answer(), Some(OFFER));
    let mut client = Client::caller(Dialect::Whip, id("x"), Some(OFFER.into()));
    assert_eq!(client.restart("a", "b", &[]), None, "without a call");
    client.take(super::super::http::tests::called("call", true, false));
    assert_eq!(client.restart("a", "b", &[]), None, "with a peer");
}

#[test]
fn ant_media_clients_play_the_nodes_offer() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let player = net.open(Dialect::Antmedia, "");
    net.say(player, json!({ "command": "play", "streamId": "s" }));
    let reply = net.only(player);
    assert_eq!((&reply["definition"], &reply["error_code"]), (&json!("no_stream_exist"), &json!("404")));
    assert_eq!(net.hub.counts().peers, 0, "it does not wait under the name");
    published(&mut net, node, "s");
    net.heard(node);
    // The stock client repeats both.
    for _ in 0..2 {
        net.say(player, json!({ "command": "stop", "streamId": "s" }));
        net.say(player, json!({ "command": "play", "streamId": "s" }));
    }
    net.say(player, json!({ "command": "getStreamInfo", "streamId": "s" }));
    let heard: Vec<Value> = net.json(player).iter().map(|it| it["command"].clone()).collect();
    assert_eq!(heard, ["notification", "streamInformation"]);
    let frames = net.json(node);
    let types: Vec<&Value> = frames.iter().map(|frame| &frame["type"]).collect();
    assert_eq!(types, ["play", "end", "play"]);
    assert_eq!(frames[2]["offers"], true);
    let session = frames[2]["session"].clone();
    let sdp = json!({ "type": "offer", "sdp": OFFER });
    net.say(node, json!({ "type": "signal", "session": session, "sdp": sdp }));
    let offer = net.only(player);
    assert_eq!((&offer["command"], &offer["type"]), (&json!("takeConfiguration"), &json!("offer")));
    net.say(
        player,
        json!({ "command": "takeConfiguration", "streamId": "s", "type": "answer", "sdp": OFFER }),
    );
    assert_eq!(net.only(player)["definition"], "play_started");
    assert_eq!(net.only(node)["sdp"]["type"], "answer");
    net.say(node, json!({ "type": "end", "session": session, "reason": "gone" }));
    assert_eq!(net.only(player)["definition"], "play_finished");
    assert_eq!(counts(&net), (1, 1, 0));
}

#[test]
fn the_bit_rate_of_a_publisher_is_bounded() {
    let mut net = Net::new(Rules { max_bitrate: Some(8_000_000), ..Rules::default() });
    let node = attach(&mut net, "n", 9, 9);
    publisher(&mut net, "s");
    let [publish, _] = <[Value; 2]>::try_from(net.json(node)).unwrap();
    assert_eq!(publish["maxBitrate"], 8_000_000);
    go_live(&mut net, node, &publish["session"]);
    viewer(&mut net, "s");
    assert_eq!(net.json(node)[0]["maxBitrate"], Value::Null);
}

#[test]
fn an_operator_ends_a_stream() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let (publishes, _) = published(&mut net, node, "s");
    let plays = viewer(&mut net, "s");
    let mut effects = Vec::new();
    assert_eq!(net.hub.end_stream("s", &mut effects), 2);
    assert_eq!(net.hub.end_stream("s", &mut effects), 0);
    net.apply_all(effects);
    assert_eq!(refusal(&mut net, publishes), Refusal::Node(Reason::Closed));
    assert!(net.http(plays).is_over());
    assert_eq!(counts(&net), (1, 0, 0));
}

#[test]
fn totals_never_decrease() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    for packets in [10, 25, 5] {
        net.say(node, json!({ "type": "stats", "packetsIn": packets, "viewers": 3 }));
    }
    assert_eq!(net.hub.media().packets_in, 25 + 5, "it has begun again");
    let info = net.hub.nodes().next().unwrap();
    assert_eq!((info.name, info.stats.viewers), ("n", 3));
    net.leave(node);
    assert_eq!(net.hub.media().packets_in, 30);
}

#[test]
fn a_silent_node_is_lost() {
    let mut net = Net::default();
    let node = attach(&mut net, "n", 9, 9);
    let silence = net.translator(node).silence().expect("it has to send statistics");
    assert!(silence > Duration::from_secs(3 * u64::from(STATS_INTERVAL)));
    published(&mut net, node, "s");
    net.lapse(node);
    assert_eq!(net.closed(node), Some(CloseReason::NoStatistics));
    assert_eq!(counts(&net), (0, 0, 0));
}

#[test]
fn what_is_not_possible_closes_the_connection() {
    let node = Grant { is_node: true, ..Grant::default() };
    let hello = r#"{"type":"hello","version":1,"name":"n","limits":{"streams":1,"viewers":1}}"#;
    let later = r#"{"type":"hello","version":2,"name":"n","limits":{"streams":1,"viewers":1}}"#;
    for (grant, frames) in [
        (node.clone(), vec!["{}"]),
        (node.clone(), vec![later]),
        (node.clone(), vec![r#"{"type":"drain"}"#]),
        (node.clone(), vec![hello, hello]),
        (node.clone(), vec![hello, "hello"]),
        (Grant::default(), vec![hello]),
    ] {
        let mut net = Net::default();
        let conn = net.open_with(Dialect::Node, "", grant);
        frames.iter().for_each(|frame| net.say(conn, frame));
        assert_eq!(net.closed(conn), Some(CloseReason::InvalidProtocol), "{frames:?}");
        net.hub.check();
    }
    let mut net = Net::default();
    let conn = net.open_with(Dialect::Node, "", node);
    net.say(conn, hello);
    for frame in [
        r#"{"type":"live","session":"x","tracks":[]}"#,
        r#"{"type":"gone","session":"x"}"#,
        r#"{"type":"end","session":"x","reason":"left"}"#,
        r#"{"type":"signal","session":"x","ice":null}"#,
        r#"{"type":"connected","session":"x"}"#,
    ] {
        net.say(conn, frame);
        assert_eq!(net.closed(conn), None, "the session may just have ended: {frame}");
    }
}
