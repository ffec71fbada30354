//! Connections with several ids and calls: meeting, retiring, finding.

use async_tungstenite::tungstenite::Message;
use proptest::prelude::*;

use super::{
    super::{
        ConnId, Effect, Ended, Event, Found, Hub, Key, Notice, Refusal,
        invariants::{Model, SLOTS, said},
    },
    ALICE, BOB, CAROL, opened_with,
};
use crate::{
    access::{Ability, Grant},
    dialect::Dialect,
    hub::{Card, Flow, Only, PeerId, Request, Start},
};

fn uid(text: &str) -> PeerId {
    PeerId::new(text).unwrap()
}

fn open(hub: &mut Hub, conn: ConnId, grant: Grant) {
    let Event::Opened { grant, address, .. } = opened_with(grant, 1) else { panic!("not opened") };
    hub.handle(conn, Event::Opened { grant, address, dialect: Dialect::Antmedia }, &mut Vec::new());
}

fn hub() -> Hub {
    let mut hub = Hub::default();
    [ALICE, BOB, CAROL].into_iter().for_each(|conn| open(&mut hub, conn, Grant::default()));
    hub
}

/// The notices that follow.
fn ask(hub: &mut Hub, conn: ConnId, request: Request) -> Vec<(ConnId, Notice)> {
    let mut effects = Vec::new();
    hub.handle(conn, Event::Asked { request, frame: None }, &mut effects);
    let notice = |effect| match effect {
        Effect::Tell(conn, notice) => Some((conn, notice)),
        _ => None,
    };
    effects.into_iter().filter_map(notice).collect()
}

fn meet(flow: Flow) -> Request {
    let card = Card { flow, ..Card::default() };
    let start = if flow == Flow::Awaits { Start::Never } else { Start::WhenAsked };
    Request::Meet { key: Key::from("s"), uid: uid("s"), card, start, only: None }
}

fn retire() -> Request {
    Request::Retire { uid: uid("s"), key: Key::from("s") }
}

fn called(notices: &[(ConnId, Notice)]) -> usize {
    notices.iter().filter(|(_, notice)| matches!(notice, Notice::Called(_))).count()
}

fn refusal(notices: &[(ConnId, Notice)]) -> &Refusal {
    match notices {
        [(_, Notice::Refused(refused))] => &refused.refusal,
        other => panic!("{other:?}"),
    }
}

fn ended(stays: bool, peer: &str) -> Notice {
    Notice::Ended(Box::new(Ended { key: Key::from("s"), peer: uid(peer), stays, reason: None }))
}

#[test]
fn two_senders_do_not_meet() {
    let mut hub = hub();
    ask(&mut hub, ALICE, meet(Flow::Sends));
    assert_eq!(refusal(&ask(&mut hub, BOB, meet(Flow::Sends))), &Refusal::UidTaken);
    assert_eq!(called(&ask(&mut hub, CAROL, meet(Flow::Both))), 2, "others do");
}

#[test]
fn a_sender_takes_its_own_place_again() {
    let mut hub = Hub::default();
    let grant = || Grant { identity: Some("erin".into()), ..Grant::default() };
    open(&mut hub, ALICE, grant());
    open(&mut hub, BOB, grant());
    ask(&mut hub, ALICE, meet(Flow::Sends));
    assert_eq!(ask(&mut hub, BOB, meet(Flow::Sends)), [(BOB, Notice::Registered(uid("s")))]);
    assert_eq!(hub.find("s").map(|(conn, _)| conn), Some(BOB));
    assert_eq!(refusal(&ask(&mut hub, BOB, meet(Flow::Sends))), &Refusal::UidTaken, "once");
    let other = Grant { uid: Some("t".into()), ..Grant::default() };
    open(&mut hub, CAROL, other);
    assert_eq!(refusal(&ask(&mut hub, CAROL, meet(Flow::Sends))), &Refusal::UidNotAllowed, "taken or not");
}

#[test]
fn a_sender_does_not_take_over_the_id_of_its_callee() {
    for (flow, stays) in [(Flow::Sends, false), (Flow::Both, true)] {
        let mut hub = hub();
        ask(&mut hub, ALICE, meet(Flow::Both));
        ask(&mut hub, BOB, meet(flow));
        assert_eq!(ask(&mut hub, ALICE, retire()), [(BOB, ended(stays, "s"))]);
        assert_eq!(hub.find("s").is_some(), stays);
    }
}

#[test]
fn a_caller_can_be_called_meanwhile() {
    let mut hub = hub();
    ask(&mut hub, ALICE, meet(Flow::Sends));
    ask(&mut hub, BOB, Request::Register { uid: uid("other"), card: Card::default() });
    let call = |to, start| Request::Call {
        key: Key::from(to),
        to: uid(to),
        from: None,
        start,
        media: None,
        only: None,
    };
    assert_eq!(called(&ask(&mut hub, ALICE, call("other", Start::Never))), 2, "as s");
    assert_eq!(called(&ask(&mut hub, CAROL, call("s", Start::AtOnce))), 2);
    assert_eq!(refusal(&ask(&mut hub, BOB, call("s", Start::AtOnce))), &Refusal::PeerBusy("s".into()));
}

/// Alice waits to receive what comes to s.
fn receiver() -> Hub {
    let mut hub = hub();
    let registered = Notice::Registered(uid("s"));
    assert_eq!(ask(&mut hub, ALICE, meet(Flow::Awaits)), [(ALICE, registered)]);
    hub
}

#[test]
fn one_that_only_receives_waits_for_one_call() {
    let call = Request::Call {
        key: Key::from("s"),
        to: uid("s"),
        from: None,
        start: Start::AtOnce,
        media: None,
        only: None,
    };
    for request in [call, meet(Flow::Both), meet(Flow::Sends)] {
        let mut hub = receiver();
        assert_eq!(called(&ask(&mut hub, BOB, request)), 2);
        assert_eq!(refusal(&ask(&mut hub, CAROL, meet(Flow::Awaits))), &Refusal::PeerBusy("s".into()));
        let ends = ask(&mut hub, BOB, Request::End(Key::from("s")));
        assert!(matches!(&ends[..], [(ALICE, Notice::Ended(ended))] if !ended.stays), "{ends:?}");
        assert_eq!(hub.counts().peers, 0);
    }
}

#[test]
fn nobody_finds_one_that_only_receives_or_asks_it_for_an_offer() {
    let mut hub = receiver();
    let none = Refusal::PeerNotFound("s".into());
    let find = Request::Find { key: Key::from("q"), uid: uid("s") };
    assert_eq!(refusal(&ask(&mut hub, BOB, find.clone())), &none);
    let call = Request::Call {
        key: Key::from("s"),
        to: uid("s"),
        from: None,
        start: Start::Never,
        media: None,
        only: None,
    };
    assert_eq!(refusal(&ask(&mut hub, BOB, call)), &none);
    assert_eq!(refusal(&ask(&mut hub, BOB, meet(Flow::Awaits))), &Refusal::UidTaken);
    ask(&mut hub, BOB, meet(Flow::Sends));
    assert_eq!(ask(&mut hub, CAROL, find).len(), 1, "there is a sender now");
}

#[test]
fn one_that_only_receives_yields_the_id() {
    let register = || Request::Register { uid: uid("s"), card: Card::default() };
    let mut hub = receiver();
    ask(&mut hub, BOB, register());
    assert_eq!(hub.find("s").map(|(conn, _)| conn), Some(BOB));
    assert_eq!(called(&ask(&mut hub, ALICE, meet(Flow::Awaits))), 2);
    // Also during a call, which goes on.
    let mut hub = receiver();
    ask(&mut hub, BOB, meet(Flow::Sends));
    ask(&mut hub, CAROL, register());
    assert_eq!((hub.find("s").map(|(conn, _)| conn), hub.counts().sessions), (Some(CAROL), 1));
    let ends = ask(&mut hub, ALICE, retire());
    assert!(matches!(&ends[..], [(BOB, Notice::Ended(ended))] if !ended.stays), "{ends:?}");
    assert_eq!(hub.find("s").map(|(conn, _)| conn), Some(CAROL));
}

#[test]
fn a_sender_gets_the_id_of_one_that_only_receives() {
    let mut hub = receiver();
    ask(&mut hub, BOB, meet(Flow::Sends));
    let ends = ask(&mut hub, ALICE, retire());
    assert!(matches!(&ends[..], [(BOB, Notice::Ended(ended))] if ended.stays), "{ends:?}");
    assert_eq!(called(&ask(&mut hub, ALICE, meet(Flow::Awaits))), 2);
}

#[test]
fn to_retire_ends_the_call_and_frees_the_id() {
    let mut hub = hub();
    ask(&mut hub, ALICE, meet(Flow::Sends));
    ask(&mut hub, BOB, meet(Flow::Both));
    assert_eq!(ask(&mut hub, ALICE, retire()), [(BOB, ended(true, "s"))]);
    assert_eq!(ask(&mut hub, BOB, retire()), []);
    assert_eq!(hub.counts().peers, 0);
}

#[test]
fn to_retire_twice_is_no_fault() {
    let mut hub = hub();
    assert_eq!(ask(&mut hub, ALICE, retire()), []);
    ask(&mut hub, ALICE, meet(Flow::Sends));
    assert_eq!(ask(&mut hub, BOB, retire()), [], "the id is of another connection");
    assert_eq!(hub.counts().peers, 1);
}

#[test]
fn only_those_who_may_call_a_peer_find_it() {
    let find = || Request::Find { key: Key::from("q"), uid: uid("s") };
    let found = Notice::Found(Box::new(Found { key: Key::from("q"), uid: uid("s") }));
    let mut hub = hub();
    assert_eq!(refusal(&ask(&mut hub, BOB, find())), &Refusal::PeerNotFound("s".into()));
    ask(&mut hub, ALICE, meet(Flow::Sends));
    assert_eq!(ask(&mut hub, BOB, find()), [(BOB, found.clone())]);
    assert_eq!(ask(&mut hub, ALICE, find()), [(ALICE, found.clone())], "its own");
    ask(&mut hub, BOB, meet(Flow::Both));
    assert_eq!(ask(&mut hub, CAROL, find()), [(CAROL, found)], "also a busy one");
    let mute = ConnId(9);
    open(&mut hub, mute, Grant { allow: Some(vec![Ability::Answer]), ..Grant::default() });
    assert_eq!(refusal(&ask(&mut hub, mute, find())), &Refusal::PeerNotFound("s".into()));
}

#[test]
fn the_id_of_a_peer_that_registered_it_for_itself_is_not_taken_over() {
    let mut hub = hub();
    ask(&mut hub, ALICE, Request::Register { uid: uid("s"), card: Card::default() });
    assert_eq!(called(&ask(&mut hub, BOB, meet(Flow::Both))), 2);
    let mut effects = Vec::new();
    hub.handle(ALICE, Event::Closed, &mut effects);
    assert!(effects.contains(&Effect::Tell(BOB, ended(false, "s"))), "{effects:?}");
    assert!(hub.find("s").is_none(), "its owner can register again");
}

#[test]
fn a_meeting_is_only_what_was_allowed() {
    let meet_only = |only| {
        let (key, card) = (Key::from("s"), Card::default());
        Request::Meet { key, uid: uid("s"), card, start: Start::WhenAsked, only: Some(only) }
    };
    let mut hub = hub();
    assert_eq!(refusal(&ask(&mut hub, BOB, meet_only(Only::Peer))), &Refusal::PeerNotFound("s".into()));
    ask(&mut hub, ALICE, meet_only(Only::Register));
    assert_eq!(refusal(&ask(&mut hub, BOB, meet_only(Only::Register))), &Refusal::UidTaken);
    assert_eq!(called(&ask(&mut hub, BOB, meet_only(Only::Peer))), 2);
}

#[test]
fn nobody_calls_an_id_that_is_for_a_room() {
    let mut hub = hub();
    let card = Card { flow: Flow::None, ..Card::default() };
    ask(&mut hub, ALICE, Request::Register { uid: uid("s"), card });
    let call = Request::Call {
        key: Key::from("k"),
        to: uid("s"),
        from: None,
        start: Start::AtOnce,
        media: None,
        only: None,
    };
    assert_eq!(refusal(&ask(&mut hub, BOB, call)), &Refusal::PeerBusy("s".into()));
    let joined = ask(&mut hub, ALICE, Request::Join("r".parse().unwrap()));
    assert!(matches!(joined.as_slice(), [(ALICE, Notice::Joined(_))]), "{joined:?}");
}

fn request() -> impl Strategy<Value = Request> {
    let name = || prop::sample::select(vec!["a", "b", "c"]);
    let flow = prop::sample::select(vec![Flow::Both, Flow::Sends, Flow::Receives, Flow::Awaits]);
    let card = (any::<bool>(), any::<bool>(), flow).prop_map(|(is_shared, leads, flow)| Card {
        is_shared,
        leads,
        flow,
        meta: None,
    });
    let start = prop::sample::select(vec![Start::AtOnce, Start::WhenAsked, Start::Never]);
    (0..8u8, name(), name(), card, start).prop_map(|(what, key, id, card, start)| {
        let (key, uid) = (Key::from(key), uid(id));
        match what {
            0 => Request::Register { uid, card },
            1 => Request::Unregister(uid),
            2 => Request::Call { key, to: uid, from: None, start, media: None, only: None },
            3 => Request::End(key),
            4 => Request::Find { key, uid },
            5 => Request::Retire { key, uid },
            _ => Request::Meet { key, uid, card, start, only: None },
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_order_of_requests_keeps_the_tables_consistent(
        events in prop::collection::vec((0..SLOTS, prop::option::weighted(0.9, request())), 0..120)
    ) {
        let mut model = Model::default();
        for slot in 0..SLOTS {
            let Event::Opened { grant, address, .. } = opened_with(Grant::default(), 1) else { continue };
            let dialect = if slot == 0 { Dialect::Text } else { Dialect::Antmedia };
            model.step(slot, Event::Opened { grant, address, dialect });
        }
        for (slot, request) in events {
            model.step(slot, match request {
                None => Event::Closed,
                Some(Request::Register { uid, .. }) if slot == 0 => said(Message::text(format!("HELLO {uid}"))),
                Some(Request::Call { to, .. }) if slot == 0 => said(Message::text(format!("SESSION {to}"))),
                Some(_) if slot == 0 => said(Message::text("{}")),
                Some(request) => Event::Asked { request, frame: None },
            });
        }
        model.finish();
    }
}
