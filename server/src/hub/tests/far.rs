//! Peers of other nodes: stand-ins in calls, and members of rooms.

use async_tungstenite::tungstenite::Message;
use callbin_protocol::{PeerId, RoomId};

use super::{
    super::{Event, FarMember, FarMessage, Key, Payload, Plan, Reached, Request, Start, invariants::said},
    ALICE, BOB, CAROL, ConnId, Effect, Fixture, opened, to,
};
use crate::{close::CloseReason, dialect::Dialect};

fn uid(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

fn room() -> RoomId {
    RoomId::new("r").unwrap()
}

fn member(name: &str) -> FarMember {
    FarMember { uid: uid(name), node: "other".into(), dialect: Dialect::Text }
}

impl Fixture {
    /// What follows from a change that another node causes.
    fn far(&mut self, change: impl FnOnce(&mut super::Hub, &mut Vec<super::super::Effect>)) -> Vec<Effect> {
        let mut effects = Vec::new();
        change(&mut self.hub, &mut effects);
        while self.hub.pass_on(100, &mut effects) {}
        self.hub.check();
        let seen = self.translate(effects);
        seen.into_iter().filter(|effect| !matches!(effect, Effect::Note(..))).collect()
    }

    /// What another node gets for its members.
    fn messages(&mut self, text: &str) -> Vec<FarMessage> {
        let mut effects = Vec::new();
        self.hub.handle(ALICE, said(Message::text(text)), &mut effects);
        let far = |effect| match effect {
            super::super::Effect::Far(node, message) => (&*node == "other").then_some(*message),
            _ => None,
        };
        effects.into_iter().filter_map(far).collect()
    }
}

#[test]
fn members_elsewhere_are_members_in_the_order_they_joined() {
    let mut hub = Fixture::in_room();
    let joined = hub.far(|hub, effects| hub.join_far(&room(), member("far"), effects));
    assert_eq!(joined, [to(ALICE, "ROOM_PEER_JOINED far"), to(BOB, "ROOM_PEER_JOINED far")]);
    let joined = hub.say(CAROL, "ROOM r");
    assert_eq!(joined.first(), Some(&to(CAROL, "ROOM_OK alice bob far")));
    assert_eq!(hub.say(ALICE, "ROOM_PEER_LIST"), [to(ALICE, "ROOM_PEER_LIST bob far carol")]);
    let again = hub.far(|hub, effects| hub.join_far(&room(), member("far"), effects));
    assert_eq!(again, [], "once");

    let sent = hub.messages("ROOM_PEER_MSG far hi");
    assert_eq!((sent[0].to.clone(), sent[0].payload.text()), (Some(uid("far")), "hi"));
    let back = FarMessage { from: uid("far"), to: Some(uid("bob")), ..sent[0].clone() };
    let heard = hub.far(|hub, effects| hub.hear_far(back.clone(), effects));
    assert_eq!(heard, [to(BOB, "ROOM_PEER_MSG far hi")]);

    let renewed = hub.far(|hub, effects| hub.renew_far(&"other".into(), effects));
    assert!(
        renewed.contains(&to(BOB, "ROOM_PEER_LEFT far"))
            && renewed.contains(&to(BOB, "ROOM_PEER_JOINED far"))
    );
    let left = hub.far(|hub, effects| hub.lose_far(None, effects));
    assert_eq!(left.len(), 3, "{left:?}");
    assert_eq!(hub.far(|hub, effects| hub.hear_far(back, effects)), [], "from one that has left");
}

#[test]
fn a_complete_list_says_who_is_gone_and_another_one_only_who_is_there() {
    let mut hub = Fixture::in_room();
    let set = |hub: &mut Fixture, names: &[&str], whole| {
        let members = names.iter().map(|name| member(name)).collect();
        let effects = hub.far(|hub, effects| hub.set_far_members(&room(), members, whole, effects));
        effects.into_iter().filter(|effect| matches!(effect, Effect::Send(ALICE, _))).collect::<Vec<_>>()
    };
    assert_eq!(set(&mut hub, &["x", "y"], true).len(), 2);
    assert_eq!(set(&mut hub, &["z"], false), [to(ALICE, "ROOM_PEER_JOINED z")]);
    let left = set(&mut hub, &["y"], true);
    assert_eq!(left, [to(ALICE, "ROOM_PEER_LEFT x"), to(ALICE, "ROOM_PEER_LEFT z")]);
}

#[test]
fn who_has_lost_its_uid_leaves_before_the_one_that_has_it_joins() {
    let mut hub = Fixture::in_room();
    let joined = hub.far(|hub, effects| hub.join_far(&room(), member("bob"), effects));
    assert_eq!(
        joined,
        [
            Effect::Close(BOB, CloseReason::Replaced),
            to(ALICE, "ROOM_PEER_LEFT bob"),
            to(ALICE, "ROOM_PEER_JOINED bob"),
        ]
    );
}

#[test]
fn a_stand_in_is_the_other_side_of_a_call() {
    let mut hub = Fixture::three_idle();
    hub.open(ConnId(9));
    hub.handle(ConnId(9), Event::Asks);
    assert_eq!(hub.handle(ALICE, Event::Asks), []);
    assert_eq!(hub.say(BOB, "SESSION alice"), [to(BOB, "ERROR peer 'alice' busy")], "it is calling");
    hub.handle(ConnId(9), Event::StandsIn(uid("far")));
    let (key, from, to_uid) = (Key::default(), uid("alice"), uid("far"));
    let reached = Reached { key, from, to: to_uid, stand_in: ConnId(9), is_asked: false, returns_as: None };
    let called = hub.handle(ALICE, Event::Reached(Box::new(reached.clone())));
    assert_eq!(called, [to(ALICE, "SESSION_OK"), Effect::Pair(ALICE, ConnId(9))]);
    assert_eq!(hub.leave(ConnId(9)), [Effect::Close(ALICE, CloseReason::PartnerLeft)]);
    // It is gone already.
    hub.open(ConnId(10));
    let late = Reached { stand_in: ConnId(10), ..reached };
    let closed = hub.handle(ALICE, Event::Reached(Box::new(late)));
    assert_eq!(closed, [Effect::Close(ConnId(10), CloseReason::PartnerLeft)]);
}

#[test]
fn a_stand_in_calls_without_an_id_and_is_told_what_it_is_refused() {
    let mut hub = Fixture::in_session();
    let far = ConnId(9);
    hub.open(far);
    hub.handle(far, Event::StandsIn(uid("far")));
    let call = |to: &str| {
        let request = Request::Call {
            key: Key::default(),
            to: uid(to),
            from: None,
            start: Start::AtOnce,
            media: None,
            only: None,
        };
        Event::Asked { request, frame: None }
    };
    assert_eq!(hub.handle(far, call("bob")), [to(far, "ERROR peer 'bob' busy")]);
    assert_eq!(hub.handle(far, call("carol")), [to(far, "SESSION_OK"), Effect::Pair(far, CAROL)]);
    assert_eq!(hub.leave(CAROL), [Effect::Close(far, CloseReason::PartnerLeft)]);
}

#[test]
fn other_nodes_take_part_only_in_what_they_may_know() {
    let mut hub = Fixture::in_session();
    let plan = |hub: &Fixture, conn, text: &str| {
        hub.hub.plan(conn, &crate::dialect::text::request(&Message::text(text)))
    };
    let ask = Plan::Ask { from: uid("carol"), to: uid("far"), is_exclusive: true };
    assert_eq!(plan(&hub, CAROL, "SESSION far"), Some(ask));
    assert_eq!(plan(&hub, CAROL, "SESSION bob"), None, "it is here");
    assert_eq!(plan(&hub, CAROL, "ROOM r"), Some(Plan::Join(room(), uid("carol"))));
    assert_eq!(plan(&hub, ALICE, "SESSION far"), None, "payload");
    hub.handle(ConnId(9), opened());
    assert_eq!(plan(&hub, ConnId(9), "HELLO new"), Some(Plan::Register(uid("new"))));
    assert_eq!(plan(&hub, ConnId(9), "SESSION far"), None, "it has to register first");
    let payload = Payload::text_from("x".into(), 0);
    let send = |to: &str| Request::Send { to: Some(uid(to)), hint: None, payload: payload.clone() };
    let mut hub = Fixture::in_room();
    assert_eq!(hub.hub.plan(ALICE, &send("bob")), None);
    assert_eq!(hub.hub.plan(ALICE, &send("nobody")), Some(Plan::Find(uid("nobody"))));
    hub.far(|hub, effects| hub.join_far(&room(), member("far"), effects));
    assert_eq!(hub.hub.plan(ALICE, &send("far")), None);
}
