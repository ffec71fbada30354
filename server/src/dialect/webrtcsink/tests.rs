//! Clients of this protocol with each other and with text clients, through the real hub.

use std::collections::HashSet;

use async_tungstenite::tungstenite::Message;
use callbin_protocol::MAX_ID_LEN;
use serde_json::{Value, json};

use super::*;
use crate::{
    access::{Ability, Grant},
    close::CloseReason,
    dialect::testing::{Net, SDP},
    hub::{ConnId, Counts, Event},
};

impl Net {
    /// Opens a connection. Returns it and the id in its welcome.
    fn sink(&mut self) -> (ConnId, String) {
        let conn = self.open(Dialect::Webrtcsink, "");
        let id = self.welcome(conn);
        (conn, id)
    }

    fn welcome(&mut self, conn: ConnId) -> String {
        let welcome = self.only(conn);
        assert_eq!(welcome["type"], "welcome");
        welcome["peerId"].as_str().expect("an id").into()
    }

    fn producer(&mut self) -> (ConnId, String) {
        let (conn, id) = self.sink();
        self.say(conn, status(&["producer"]));
        assert_eq!(self.json(conn), [] as [Value; 0], "only a listener gets an answer");
        (conn, id)
    }

    fn listener(&mut self) -> (ConnId, String) {
        let (conn, id) = self.sink();
        self.say(conn, status(&["listener"]));
        assert_eq!(self.json(conn), [changed(&id, &["listener"], Value::Null)]);
        (conn, id)
    }

    /// A consumer's session with a producer; returns its id.
    fn start(&mut self, consumer: ConnId, producer: ConnId, id: &str) -> [String; 2] {
        self.say(consumer, start_session(id));
        [consumer, producer].map(|conn| {
            let started = self.only(conn);
            started["sessionId"].as_str().expect("an id").into()
        })
    }
}

fn status(roles: &[&str]) -> Value {
    json!({ "type": "setPeerStatus", "roles": roles, "meta": null })
}

fn start_session(peer: &str) -> Value {
    json!({ "type": "startSession", "peerId": peer })
}

fn changed(peer: &str, roles: &[&str], meta: Value) -> Value {
    json!({ "type": "peerStatusChanged", "roles": roles, "meta": meta, "peerId": peer })
}

fn sdp(session: &str, kind: &str) -> Value {
    json!({ "type": "peer", "sessionId": session, "sdp": { "type": kind, "sdp": SDP } })
}

fn ice(session: &str, candidate: &str, index: u32) -> Value {
    let ice = json!({ "candidate": candidate, "sdpMLineIndex": index });
    json!({ "type": "peer", "sessionId": session, "ice": ice })
}

fn end(session: &str) -> Value {
    json!({ "type": "endSession", "sessionId": session })
}

fn error(details: &str) -> Value {
    json!({ "type": "error", "details": details })
}

fn list(producers: Value) -> Value {
    json!({ "type": "list", "producers": producers })
}

mod with_each_other {
    use super::*;

    #[test]
    fn a_welcome_comes_first_with_a_random_id() {
        let mut net = Net::default();
        let ids: HashSet<String> = (0..100).map(|_| net.sink().1).collect();
        assert_eq!(ids.len(), 100);
        for id in ids {
            let parts: Vec<usize> = id.split('-').map(str::len).collect();
            assert_eq!(parts, [8, 4, 4, 4, 12], "{id}");
            assert_eq!(id.as_bytes()[14], b'4', "{id}");
        }
    }

    #[test]
    fn the_producer_offers() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (consumer, own) = net.sink();
        net.say(consumer, start_session(&id));
        let started = net.only(consumer);
        let ours = started["sessionId"].as_str().unwrap().to_owned();
        assert_eq!(started, json!({ "type": "sessionStarted", "peerId": id, "sessionId": ours }));
        let start = net.only(producer);
        let theirs = start["sessionId"].as_str().unwrap().to_owned();
        assert_eq!(
            start,
            json!({ "type": "startSession", "peerId": own, "sessionId": theirs, "offer": null })
        );
        for (from, to, here, there, message) in [
            (producer, consumer, &theirs, &ours, sdp as fn(&str, &str) -> Value),
            (consumer, producer, &ours, &theirs, sdp),
        ] {
            let kind = if from == producer { "offer" } else { "answer" };
            net.say(from, message(here, kind));
            assert_eq!(net.json(to), [message(there, kind)]);
            net.say(from, ice(here, "candidate:1", 1));
            assert_eq!(net.json(to), [ice(there, "candidate:1", 1)]);
        }
        net.say(consumer, end(&ours));
        assert_eq!(net.json(producer), [end(&theirs)]);
        assert_eq!(net.json(consumer), [] as [Value; 0]);
        assert_eq!(net.hub.counts(), Counts { connections: 2, peers: 1, ..Counts::default() });
    }

    #[test]
    fn a_consumer_may_offer_at_once() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (consumer, own) = net.sink();
        net.say(consumer, json!({ "type": "startSession", "peerId": id, "offer": SDP }));
        let started = net.only(consumer);
        assert_eq!(started["type"], "sessionStarted");
        let start = net.only(producer);
        let theirs = start["sessionId"].as_str().unwrap();
        assert_eq!(
            start,
            json!({ "type": "startSession", "peerId": own, "sessionId": theirs, "offer": SDP })
        );
        net.say(producer, sdp(theirs, "answer"));
        let ours = started["sessionId"].as_str().unwrap();
        assert_eq!(net.json(consumer), [sdp(ours, "answer")]);
    }

    #[test]
    fn a_producer_serves_several_consumers_and_each_session_ends_for_itself() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let consumers: Vec<(ConnId, [String; 2])> = (0..3)
            .map(|_| {
                let (consumer, _) = net.sink();
                (consumer, net.start(consumer, producer, &id))
            })
            .collect();
        let sessions: HashSet<&String> = consumers.iter().map(|(_, [_, theirs])| theirs).collect();
        assert_eq!(sessions.len(), 3);
        for (consumer, [ours, theirs]) in &consumers {
            net.say(producer, sdp(theirs, "offer"));
            assert_eq!(net.json(*consumer), [sdp(ours, "offer")]);
        }
        let [first, second, third] = consumers.try_into().unwrap();
        net.say(producer, end(&first.1[1]));
        assert_eq!(net.json(first.0), [end(&first.1[0])]);
        net.leave(second.0);
        assert_eq!(net.json(producer), [end(&second.1[1])]);
        assert_eq!(net.json(third.0), [] as [Value; 0]);
        net.leave(producer);
        assert_eq!(net.json(third.0), [end(&third.1[0])]);
        net.leave(third.0);
        net.leave(first.0);
        assert_eq!(net.hub.counts(), Counts::default());
    }

    #[test]
    fn one_that_consumes_several_producers_has_a_session_with_each() {
        let mut net = Net::default();
        let ((one, first), (two, second)) = (net.producer(), net.producer());
        let (consumer, _) = net.sink();
        let [ours, _] = net.start(consumer, one, &first);
        let [other, theirs] = net.start(consumer, two, &second);
        assert_ne!(ours, other);
        net.say(two, sdp(&theirs, "offer"));
        assert_eq!(net.json(consumer), [sdp(&other, "offer")]);
    }

    #[test]
    fn a_producer_calls_a_waiting_consumer_and_offers() {
        let mut net = Net::default();
        let (consumer, id) = net.sink();
        net.say(consumer, status(&["consumer"]));
        let (producer, own) = net.producer();
        net.say(producer, start_session(&id));
        let start = net.only(producer);
        let ours = start["sessionId"].as_str().unwrap();
        assert_eq!(start, json!({ "type": "startSession", "peerId": id, "sessionId": ours, "offer": null }));
        let started = net.only(consumer);
        let theirs = started["sessionId"].as_str().unwrap();
        assert_eq!(started, json!({ "type": "sessionStarted", "peerId": own, "sessionId": theirs }));
        net.say(producer, sdp(ours, "offer"));
        assert_eq!(net.json(consumer), [sdp(theirs, "offer")]);
    }

    #[test]
    fn two_that_only_receive_cannot_meet() {
        let mut net = Net::default();
        let (consumer, id) = net.sink();
        net.say(consumer, status(&["consumer"]));
        let (other, _) = net.sink();
        net.say(other, start_session(&id));
        assert_eq!(net.json(other), [error("the peer only receives, and only a producer can call it")]);
        assert_eq!(net.hub.counts().sessions, 0);
    }

    #[test]
    fn a_consumer_does_not_offer_in_a_session() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (consumer, _) = net.sink();
        let [ours, _] = net.start(consumer, producer, &id);
        net.say(consumer, sdp(&ours, "offer"));
        assert_eq!(net.json(consumer), [error("only the producer of a session offers in it")]);
        assert_eq!(net.json(producer), [] as [Value; 0]);
    }

    #[test]
    fn who_stops_producing_ends_its_sessions_and_cannot_be_called() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (consumer, _) = net.sink();
        let [ours, _] = net.start(consumer, producer, &id);
        net.say(producer, status(&[]));
        assert_eq!(net.json(consumer), [end(&ours)]);
        net.say(consumer, start_session(&id));
        assert_eq!(net.json(consumer), [error(&format!("peer {id:?} not found"))]);
        net.say(producer, status(&["producer"]));
        net.start(consumer, producer, &id);
    }

    #[test]
    fn messages_of_unknown_sessions_are_ignored() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (consumer, _) = net.sink();
        let [ours, theirs] = net.start(consumer, producer, &id);
        net.say(consumer, end(&ours));
        net.json(producer);
        for message in [end(&theirs), sdp(&theirs, "offer"), ice(&theirs, "c", 0), end("other"), end("")] {
            net.say(producer, message);
        }
        // The session of another pair.
        let (other, _) = net.sink();
        let [_, theirs] = net.start(consumer, producer, &id);
        for message in [end(&theirs), sdp(&theirs, "answer")] {
            net.say(other, message);
        }
        assert_eq!(net.json(other), [] as [Value; 0]);
        assert_eq!(net.json(producer), [] as [Value; 0]);
        assert_eq!(net.json(consumer), [] as [Value; 0]);
        assert_eq!(net.hub.counts().sessions, 1);
    }
}

mod with_text_peers {
    use super::*;

    fn offer() -> String {
        json!({ "sdp": { "type": "offer", "sdp": SDP } }).to_string()
    }

    fn answer() -> String {
        json!({ "sdp": { "type": "answer", "sdp": SDP } }).to_string()
    }

    fn text_ice(candidate: &str, mid: Option<&str>, index: Option<u32>) -> String {
        json!({ "ice": { "candidate": candidate, "sdpMid": mid, "sdpMLineIndex": index } }).to_string()
    }

    #[test]
    fn a_text_caller_offers_and_the_producer_gets_the_offer_with_the_session() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let alice = net.text("alice");
        net.say(alice, format!("SESSION {id}"));
        assert_eq!(net.heard(alice), ["SESSION_OK"]);
        assert_eq!(net.json(producer), [] as [Value; 0], "the start waits for the offer");
        net.say(alice, text_ice("early", Some("v"), None));
        assert_eq!(net.json(producer), [] as [Value; 0]);
        net.say(alice, offer());
        let [start, early] = net.json(producer).try_into().unwrap();
        let session = start["sessionId"].as_str().unwrap();
        assert_eq!(
            start,
            json!({ "type": "startSession", "peerId": "alice", "sessionId": session, "offer": SDP })
        );
        assert_eq!(early, ice(session, "early", 1), "only the index goes");
        net.say(alice, text_ice("", Some("v"), Some(1)));
        assert_eq!(net.json(producer), [] as [Value; 0], "no end of candidates");
        net.say(producer, ice(session, "candidate:2", 1));
        net.say(producer, sdp(session, "answer"));
        let [answered, candidate] = net.heard(alice).try_into().unwrap();
        assert_eq!(answered, answer());
        assert_eq!(candidate, text_ice("candidate:2", Some("v"), Some(1)), "the mid is filled in");
        net.say(producer, end(session));
        assert_eq!((net.heard(alice), net.closed(alice)), (vec![], Some(CloseReason::PartnerLeft)));
    }

    #[test]
    fn a_text_caller_may_ask_for_the_offer() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let alice = net.text("alice");
        net.say(alice, format!("SESSION {id}"));
        net.say(alice, "OFFER_REQUEST");
        let start = net.only(producer);
        let session = start["sessionId"].as_str().unwrap();
        assert_eq!(
            start,
            json!({ "type": "startSession", "peerId": "alice", "sessionId": session, "offer": null })
        );
        net.say(producer, sdp(session, "offer"));
        assert_eq!(net.heard(alice), ["SESSION_OK".to_owned(), offer()]);
        net.say(alice, answer());
        assert_eq!(net.json(producer), [sdp(session, "answer")]);
        net.say(alice, offer());
        assert_eq!(net.json(producer), [sdp(session, "offer")], "a later offer is a message");
        net.leave(alice);
        assert_eq!(net.json(producer), [end(session)]);
    }

    #[test]
    fn several_text_callers_are_served_at_once() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let (alice, bob) = (net.text("alice"), net.text("bob"));
        for (caller, uid) in [(alice, "alice"), (bob, "bob")] {
            net.say(caller, format!("SESSION {id}"));
            net.say(caller, offer());
            let start = net.only(producer);
            assert_eq!(start["peerId"], uid);
            net.say(producer, sdp(start["sessionId"].as_str().unwrap(), "answer"));
            assert_eq!(net.heard(caller), ["SESSION_OK".to_owned(), answer()]);
        }
    }

    #[test]
    fn a_consumer_without_an_offer_asks_the_text_peer_for_one() {
        let mut net = Net::default();
        let bob = net.text("bob");
        let (consumer, _) = net.sink();
        net.say(consumer, start_session("bob"));
        let started = net.only(consumer);
        let session = started["sessionId"].as_str().unwrap();
        assert_eq!(started, json!({ "type": "sessionStarted", "peerId": "bob", "sessionId": session }));
        assert_eq!(net.heard(bob), ["OFFER_REQUEST"]);
        net.say(bob, offer());
        assert_eq!(net.json(consumer), [sdp(session, "offer")]);
        net.say(consumer, sdp(session, "answer"));
        assert_eq!(net.heard(bob), [answer()]);
        net.say(consumer, end(session));
        assert_eq!((net.heard(bob), net.closed(bob)), (vec![], Some(CloseReason::PartnerLeft)));
    }

    #[test]
    fn a_consumer_with_an_offer_is_answered() {
        let mut net = Net::default();
        let bob = net.text("bob");
        let (consumer, _) = net.sink();
        net.say(consumer, json!({ "type": "startSession", "peerId": "bob", "offer": SDP }));
        let session = net.json(consumer)[0]["sessionId"].as_str().unwrap().to_owned();
        assert_eq!(net.heard(bob), [offer()]);
        net.say(bob, answer());
        assert_eq!(net.json(consumer), [sdp(&session, "answer")]);
        net.leave(bob);
        assert_eq!(net.json(consumer), [end(&session)]);
    }

    #[test]
    fn a_second_consumer_of_a_text_peer_is_refused() {
        let mut net = Net::default();
        let bob = net.text("bob");
        let ((first, _), (second, _)) = (net.sink(), net.sink());
        net.say(first, start_session("bob"));
        net.say(second, start_session("bob"));
        assert_eq!(net.json(second), [error("peer \"bob\" is busy")]);
        net.say(second, json!({ "type": "startSession", "peerId": "bob", "offer": SDP }));
        assert_eq!(net.json(second), [error("peer \"bob\" is busy")], "one error for both requests");
        assert_eq!(net.heard(bob), ["OFFER_REQUEST"]);
    }

    #[test]
    fn a_text_caller_sends_to_a_waiting_consumer() {
        let mut net = Net::default();
        let (consumer, id) = net.sink();
        net.say(consumer, status(&["consumer"]));
        let alice = net.text("alice");
        net.say(alice, format!("SESSION {id}"));
        let started = net.only(consumer);
        let session = started["sessionId"].as_str().unwrap();
        assert_eq!(started, json!({ "type": "sessionStarted", "peerId": "alice", "sessionId": session }));
        net.say(alice, offer());
        assert_eq!(net.json(consumer), [sdp(session, "offer")]);
    }
}

mod directory {
    use super::*;

    #[test]
    fn the_list_has_those_of_all_dialects_that_can_send_and_not_oneself() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let bob = net.text("bob");
        let (consumer, waits) = net.sink();
        net.say(consumer, status(&["consumer"]));
        net.say(producer, json!({ "type": "list" }));
        assert_eq!(net.json(producer), [list(json!([{ "id": "bob", "meta": null }]))]);
        net.say(consumer, json!({ "type": "list" }));
        let listed = net.only(consumer);
        let ids: HashSet<&str> =
            listed["producers"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!(ids, HashSet::from(["bob", id.as_str()]));
        net.say(producer, json!({ "type": "listConsumers" }));
        let consumers = json!([{ "id": waits, "meta": null }]);
        assert_eq!(net.json(producer), [json!({ "type": "listConsumers", "consumers": consumers })]);
        assert_eq!(net.heard(bob), [] as [&str; 0]);
    }

    #[test]
    fn those_that_are_free_come_first() {
        let mut net = Net::default();
        for uid in 0..10 {
            net.text(&format!("busy-{uid}"));
            let (consumer, _) = net.sink();
            net.say(consumer, start_session(&format!("busy-{uid}")));
        }
        net.text("free");
        let (asker, _) = net.sink();
        net.say(asker, json!({ "type": "list" }));
        let listed = net.only(asker);
        assert_eq!(listed["producers"][0]["id"], "free");
        assert_eq!(listed["producers"].as_array().unwrap().len(), 11);
    }

    #[test]
    fn listeners_of_one_address_are_bounded() {
        let mut net = Net::default();
        let listeners: Vec<ConnId> = (0..256).map(|_| net.listener().0).collect();
        let (conn, id) = net.sink();
        net.say(conn, status(&["listener"]));
        let error = json!({ "type": "error", "details": "too many listeners from here" });
        assert_eq!(net.json(conn), [changed(&id, &["listener"], Value::Null), error]);
        net.leave(listeners[0]);
        net.say(listeners[1], status(&[]));
        for _ in 0..2 {
            let (listener, _) = net.listener();
            net.text(&format!("text{}", listener.0));
            net.pass_on(usize::MAX);
            assert_eq!(net.json(listener).len(), 1, "it hears of the text peer");
        }
        assert_eq!(net.json(conn), [] as [Value; 0], "it listens to nothing");
        net.say(conn, status(&["listener"]));
        assert_eq!(net.json(conn).len(), 2, "it may try again");
    }

    #[test]
    fn listeners_hear_who_comes_changes_and_goes() {
        let mut net = Net::default();
        let (listener, _) = net.listener();
        let bob = net.text("bob");
        assert_eq!(net.json(listener), [changed("bob", &["producer"], Value::Null)]);
        net.leave(bob);
        assert_eq!(net.json(listener), [changed("bob", &[], Value::Null)]);
        let (producer, id) = net.producer();
        assert_eq!(net.json(listener), [changed(&id, &["producer"], Value::Null)]);
        let meta = json!({ "name": "door" });
        net.say(producer, json!({ "type": "setPeerStatus", "roles": ["producer"], "meta": meta }));
        assert_eq!(net.json(listener), [changed(&id, &["producer"], meta.clone())]);
        net.say(producer, json!({ "type": "setPeerStatus", "roles": ["producer"], "meta": meta }));
        assert_eq!(net.json(listener), [] as [Value; 0], "nothing has changed");
        net.say(producer, json!({ "type": "setPeerStatus", "roles": ["consumer"], "meta": meta }));
        assert_eq!(net.json(listener), [changed(&id, &["consumer"], meta.clone())]);
        net.leave(producer);
        assert_eq!(net.json(listener), [changed(&id, &[], meta)]);
        net.say(listener, status(&[]));
        net.text("carol");
        assert_eq!(net.json(listener), [] as [Value; 0], "it no longer listens");
    }

    #[test]
    fn a_producer_that_listens_gets_its_own_status_under_the_id_that_it_knows() {
        let mut net = Net::default();
        let (conn, id) = net.listener();
        let meta = json!({ "uid": "page" });
        let both = json!({ "type": "setPeerStatus", "roles": ["listener", "producer"], "meta": meta });
        net.say(conn, both);
        assert_eq!(net.json(conn), [changed(&id, &["producer", "listener"], meta.clone())]);
        let (other, _) = net.sink();
        net.say(other, json!({ "type": "list" }));
        assert_eq!(net.json(other), [list(json!([{ "id": "page", "meta": meta }]))]);
    }

    #[test]
    fn tokens_decide_who_sees_whom() {
        let mut net = Net::default();
        let only = |ability| Grant { allow: Some(vec![ability]), ..Grant::default() };
        let deaf = net.open_with(Dialect::Webrtcsink, "", only(Ability::Answer));
        let id = net.welcome(deaf);
        net.say(deaf, status(&["listener"]));
        assert_eq!(net.json(deaf), [changed(&id, &["listener"], Value::Null)], "only about itself");
        let shy = net.open_with(Dialect::Text, "", only(Ability::Call));
        net.say(shy, "HELLO shy");
        let (listener, _) = net.listener();
        net.text("bob");
        assert_eq!(net.json(deaf), [] as [Value; 0]);
        assert_eq!(net.json(listener), [changed("bob", &["producer"], Value::Null)]);
        for (asker, expected) in [(deaf, json!([])), (listener, json!([{ "id": "bob", "meta": null }]))] {
            net.say(asker, json!({ "type": "list" }));
            assert_eq!(net.json(asker), [list(expected)]);
        }
        net.say(deaf, start_session("bob"));
        assert_eq!(net.json(deaf), [error("peer \"bob\" not found")], "as if it did not exist");
        net.say(listener, start_session("shy"));
        assert_eq!(net.json(listener), [error("peer \"shy\" not found")]);
    }

    /// One event costs the same with one listener and with a thousand, and all of them hear of it in bounded steps.
    #[test]
    fn news_cost_the_same_with_a_thousand_listeners() {
        let mut net = Net::default();
        let mut listeners = Vec::new();
        for host in 0..4 {
            net.host = host;
            listeners.extend((0..250).map(|_| net.listener().0));
        }
        net.holds_news = true;
        let conn = ConnId(0);
        let mut effects = Vec::new();
        let address = [192, 0, 2, 1].into();
        let grant = std::sync::Arc::new(Grant::default());
        net.hub.handle(conn, Event::Opened { grant, address, dialect: Dialect::Text }, &mut effects);
        let request = Request::Register { uid: "bob".parse().unwrap(), card: Card::default() };
        assert_eq!(net.hub.fan_out(conn, &request), 0, "who registers has not chosen the listeners");
        net.hub.handle(conn, Event::Asked { request, frame: None }, &mut effects);
        assert!(effects.len() <= 2, "{effects:?}");
        let mut steps = 0;
        while net.hub.has_news() {
            net.pass_on(256);
            steps += 1;
        }
        assert!(steps > 20, "{steps}");
        for listener in listeners {
            assert_eq!(net.json(listener), [changed("bob", &["producer"], Value::Null)]);
        }
    }

    #[test]
    fn who_misses_news_gets_a_new_list() {
        let mut net = Net::default();
        let (listener, _) = net.listener();
        let (other, _) = net.listener();
        net.holds_news = true;
        let mut peers = Vec::new();
        for uid in 0..5000 {
            peers.push(net.text(&uid.to_string()));
        }
        for peer in &peers[1..] {
            net.leave(*peer);
        }
        while net.hub.has_news() {
            net.pass_on(256);
        }
        for listener in [listener, other] {
            assert_eq!(net.json(listener), [list(json!([{ "id": "0", "meta": null }]))]);
        }
        net.leave(peers[0]);
        net.pass_on(256);
        assert_eq!(net.json(listener), [changed("0", &[], Value::Null)]);
    }

    #[test]
    fn no_list_is_longer_than_a_client_reads() {
        let mut net = Net::default();
        for number in 0..1100 {
            net.text(&format!("{number:01000}"));
        }
        let (asker, _) = net.sink();
        net.say(asker, json!({ "type": "list" }));
        let [text] = net.heard(asker).try_into().unwrap();
        assert!((900_000..=callbin_protocol::MAX_LIST_LEN).contains(&text.len()), "{}", text.len());
    }
}

mod ids {
    use super::*;

    #[test]
    fn a_client_may_wish_for_an_id() {
        let mut net = Net::default();
        let wishes = net.open_with(Dialect::Webrtcsink, "?id=cam%2D1", Grant::default());
        assert_eq!(net.welcome(wishes), "cam-1");
        net.say(wishes, status(&["producer"]));
        let (named, _) = net.sink();
        net.say(named, json!({ "type": "setPeerStatus", "roles": ["producer"], "meta": { "uid": "cam-2" } }));
        for id in ["cam-1", "cam-2"] {
            let caller = net.text(&format!("caller-of-{id}"));
            net.say(caller, format!("SESSION {id}"));
            assert_eq!(net.heard(caller), ["SESSION_OK"]);
        }
    }

    #[test]
    fn a_wish_is_no_name_until_it_is_registered() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let claims = net.open_with(Dialect::Webrtcsink, "?id=alice", Grant::default());
        net.welcome(claims);
        net.say(claims, start_session(&id));
        let start = net.only(producer);
        assert_eq!(start["peerId"], guest(claims.0).as_str());
    }

    #[test]
    fn ids_are_bound_by_tokens_and_the_subject_is_the_default() {
        let mut net = Net::default();
        let grant = Grant { identity: Some("cam".into()), uid: Some("cam".into()), ..Grant::default() };
        let conn = net.open_with(Dialect::Webrtcsink, "", grant.clone());
        assert_eq!(net.welcome(conn), "cam");
        net.say(conn, status(&["producer", "listener"]));
        assert_eq!(net.json(conn), [changed("cam", &["producer", "listener"], Value::Null)]);
        let thief = net.open_with(Dialect::Webrtcsink, "?id=door", grant);
        net.welcome(thief);
        net.say(thief, status(&["producer"]));
        assert_eq!(net.json(thief), [error("the token does not allow the id")]);
        net.say(thief, status(&["listener"]));
        assert_eq!(net.json(thief), [changed("door", &["listener"], Value::Null)], "it may go on");
    }

    #[test]
    fn a_taken_id_is_refused_and_another_one_may_follow() {
        let mut net = Net::default();
        net.text("bob");
        let (conn, id) = net.sink();
        let named =
            |uid: &str| json!({ "type": "setPeerStatus", "roles": ["producer"], "meta": { "uid": uid } });
        net.say(conn, named("bob"));
        assert_eq!(net.json(conn), [error("another peer has the id")]);
        net.say(conn, named("bobby"));
        net.say(conn, status(&["producer"]));
        assert_eq!(net.json(conn), [] as [Value; 0]);
        assert_eq!(net.hub.counts().peers, 2);
        let (asker, _) = net.sink();
        net.say(asker, start_session(&id));
        assert_eq!(net.json(asker)[0]["type"], "sessionStarted");
    }

    #[test]
    fn what_is_no_id_is_refused() {
        let long = "x".repeat(MAX_ID_LEN + 1);
        for wish in ["id=", "id=a%20b", &format!("id={long}")] {
            let mut net = Net::default();
            let conn = net.open_with(Dialect::Webrtcsink, &format!("?{wish}"), Grant::default());
            assert_eq!(net.welcome(conn).len(), 36);
            net.say(conn, status(&["producer"]));
            assert_eq!(net.json(conn), [error("the id is empty, too long or has white space")], "{wish}");
        }
        let mut net = Net::default();
        let (conn, _) = net.sink();
        for uid in ["", "a b", long.as_str()] {
            net.say(conn, json!({ "type": "setPeerStatus", "roles": ["producer"], "meta": { "uid": uid } }));
            assert_eq!(net.json(conn), [error("the id is empty, too long or has white space")]);
            net.say(conn, start_session(uid));
            let quoted = uid.get(..MAX_ID_LEN).unwrap_or(uid);
            assert_eq!(net.json(conn), [error(&format!("peer {quoted:?} not found"))]);
        }
    }
}

mod malformed {
    use super::*;

    #[test]
    fn what_is_malformed_gets_an_error_and_the_connection_stays() {
        let mut net = Net::default();
        let (conn, _) = net.sink();
        for text in ["", "x", "{}", "{\"type\":\"newPeer\"}", "{\"type\":\"peer\",\"sessionId\":\"s\"}"] {
            net.say(conn, text);
            let answer = net.only(conn);
            assert_eq!(answer["type"], "error", "{text}");
            let details = answer["details"].as_str().unwrap();
            assert!(details.starts_with("malformed message: "), "{details}");
        }
        net.send(conn, Message::binary(&b"x"[..]));
        assert_eq!(net.json(conn), [error("a binary frame")]);
        net.say(conn, json!({ "type": "setProtocolVersion", "version": 2 }));
        assert_eq!(net.json(conn), [] as [Value; 0]);
        net.say(conn, json!({ "type": "list" }));
        assert_eq!(net.json(conn), [list(json!([]))]);
    }

    #[test]
    fn a_status_that_makes_no_sense_is_refused() {
        let mut net = Net::default();
        let (conn, _) = net.sink();
        net.say(conn, status(&["producer", "consumer"]));
        assert_eq!(net.json(conn), [error("a peer is either a producer or a consumer")]);
        let meta = "x".repeat(MAX_META);
        for role in ["producer", "listener"] {
            net.say(conn, json!({ "type": "setPeerStatus", "roles": [role], "meta": meta }));
            assert_eq!(net.json(conn), [error("meta is longer than 4096 bytes")], "{role}");
        }
        assert_eq!(net.hub.counts().peers, 0);
    }

    #[test]
    fn sessions_of_one_producer_are_bounded() {
        let mut net = Net::default();
        let (producer, id) = net.producer();
        let started = (0..300).filter(|_| {
            let (consumer, _) = net.sink();
            net.say(consumer, start_session(&id));
            net.json(consumer)[0]["type"] == "sessionStarted"
        });
        assert_eq!(started.count(), 64, "of one address");
        net.leave(producer);
    }
}

/// docs/protocols/webrtcsink.md is what clients are written from.
mod the_page {
    use callbin_protocol::webrtcsink::{ClientMessage, ServerMessage};

    use super::*;

    const PAGE: &str = include_str!("../../../../docs/protocols/webrtcsink.md");

    /// The frames in the tables of a section, complete.
    fn frames(section: &str) -> Vec<String> {
        let text = PAGE.split(&format!("### {section}\n")).nth(1).expect("the section");
        let text = text.split("\n#").next().expect("a part");
        let frames = text.lines().filter_map(|line| line.strip_prefix("| `{")?.split('`').next());
        let complete = |frame: &str| {
            let all = [("[…]", "[]"), (",…]", "]"), (",…}", "}"), (":…", ":null")];
            all.iter().fold(format!("{{{frame}"), |text, (short, long)| text.replace(short, long))
        };
        frames.map(complete).collect()
    }

    #[test]
    fn has_frames_that_are_read_and_written_so() {
        let read = frames("From the client");
        assert_eq!(read.len(), 8);
        for frame in read {
            let message = ClientMessage::parse(&frame).unwrap_or_else(|error| panic!("{frame}: {error}"));
            let kind = serde_json::from_str::<Value>(&frame).unwrap()["type"].clone();
            assert_eq!(serde_json::to_value(&message).unwrap()["type"], kind);
        }
        let written = frames("From the server");
        assert_eq!(written.len(), 9);
        for frame in written.iter().filter(|frame| **frame != "{\"type\":\"peer\"}") {
            let message = ServerMessage::parse(frame).unwrap_or_else(|error| panic!("{frame}: {error}"));
            let expected: Value = serde_json::from_str(frame).unwrap();
            assert_eq!(serde_json::to_value(&message).unwrap(), expected);
        }
    }

    #[test]
    fn has_every_error() {
        let id = || "ID".to_owned();
        for refusal in [
            Refusal::PeerNotFound(id()),
            Refusal::PeerBusy(id()),
            Refusal::UidInvalid,
            Refusal::UidTaken,
            Refusal::UidNotAllowed,
            Refusal::TooManyIds,
            Refusal::TooManySessions,
            Refusal::NobodyOffers,
            Refusal::Unavailable,
        ] {
            let text = details(refusal);
            assert!(PAGE.contains(&format!("| `{text}` |")), "{text}");
        }
        for text in [
            "malformed message: …",
            "a binary frame",
            "a peer is either a producer or a consumer",
            "only the producer of a session offers in it",
            &format!("meta is longer than {MAX_META} bytes"),
        ] {
            assert!(PAGE.contains(&format!("| `{text}` |")), "{text}");
        }
    }
}
