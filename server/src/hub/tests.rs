//! Events in, effects out.

use std::collections::HashMap;

use async_tungstenite::tungstenite::{Bytes, Message};
use callbin_protocol::MAX_LIST_LEN;

use super::{invariants::said, *};
use crate::dialect::{Translator, text::Text};

const ALICE: ConnId = ConnId(1);
const BOB: ConnId = ConnId(2);
const CAROL: ConnId = ConnId(3);

/// What the hub does, with notices as the frames of the text protocol.
#[derive(Debug, Clone, PartialEq)]
enum Effect {
    Send(ConnId, Message),
    Close(ConnId, CloseReason),
    Pair(ConnId, ConnId),
    Note(ConnId, Note),
}

/// A hub and the translators of its connections.
#[derive(Default)]
struct Fixture {
    hub: Hub,
    translators: HashMap<ConnId, Text>,
    /// The connections that were to be pinged.
    probed: Vec<ConnId>,
}

impl Fixture {
    /// Alice, Bob and Carol, registered.
    fn three_idle() -> Self {
        let mut fixture = Self::default();
        for (conn, uid) in [(ALICE, "alice"), (BOB, "bob"), (CAROL, "carol")] {
            fixture.open(conn);
            assert_eq!(fixture.say(conn, &format!("HELLO {uid}")), [to(conn, "HELLO")]);
        }
        fixture
    }

    /// Alice has called Bob.
    fn in_session() -> Self {
        let mut fixture = Self::three_idle();
        assert_eq!(fixture.say(ALICE, "SESSION bob"), [to(ALICE, "SESSION_OK"), Effect::Pair(ALICE, BOB)]);
        fixture
    }

    /// Alice, then Bob, are in the room `r`; Carol is idle.
    fn in_room() -> Self {
        let mut fixture = Self::three_idle();
        assert_eq!(fixture.say(ALICE, "ROOM r"), [to(ALICE, "ROOM_OK ")]);
        assert_eq!(fixture.say(BOB, "ROOM r"), [to(BOB, "ROOM_OK alice"), to(ALICE, "ROOM_PEER_JOINED bob")]);
        fixture
    }

    fn open(&mut self, conn: ConnId) {
        assert_eq!(self.handle(conn, opened()), []);
    }

    fn say(&mut self, conn: ConnId, text: &str) -> Vec<Effect> {
        self.handle(conn, said(Message::text(text)))
    }

    fn say_binary(&mut self, conn: ConnId, bytes: &'static [u8]) -> Vec<Effect> {
        self.handle(conn, said(Message::binary(bytes)))
    }

    fn leave(&mut self, conn: ConnId) -> Vec<Effect> {
        self.handle(conn, Event::Closed)
    }

    /// The effects without notes.
    fn handle(&mut self, conn: ConnId, event: Event) -> Vec<Effect> {
        self.handle_with_notes(conn, event)
            .into_iter()
            .filter(|effect| !matches!(effect, Effect::Note(..)))
            .collect()
    }

    /// Notices are delivered at once.
    fn handle_with_notes(&mut self, conn: ConnId, event: Event) -> Vec<Effect> {
        let mut effects = self.handle_only(conn, event);
        let mut later = Vec::new();
        while self.hub.pass_on(100, &mut later) {}
        effects.extend(self.translate(later));
        effects
    }

    fn handle_only(&mut self, conn: ConnId, event: Event) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        self.translate(effects)
    }

    fn pass_on(&mut self, most: usize) -> Vec<Effect> {
        let mut effects = Vec::new();
        self.hub.pass_on(most, &mut effects);
        self.translate(effects)
    }

    fn translate(&mut self, effects: Vec<super::Effect>) -> Vec<Effect> {
        let mut seen = Vec::new();
        for effect in effects {
            match effect {
                super::Effect::Tell(conn, notice) => {
                    let mut frames = Vec::new();
                    self.translators.entry(conn).or_default().write(notice, &mut frames);
                    seen.extend(frames.into_iter().map(|frame| Effect::Send(conn, frame)));
                }
                super::Effect::Forward(conn, frame) => seen.push(Effect::Send(conn, frame)),
                super::Effect::Close(conn, reason) => seen.push(Effect::Close(conn, reason)),
                super::Effect::Probe(conn) => self.probed.push(conn),
                super::Effect::Pair(one, other) => seen.push(Effect::Pair(one, other)),
                super::Effect::Note(conn, note) => seen.push(Effect::Note(conn, note)),
                // For other nodes.
                _ => {}
            }
        }
        seen
    }

    /// What a request in this frame would cost.
    fn fan_out(&self, conn: ConnId, text: &str) -> usize {
        self.hub.fan_out(conn, &crate::dialect::text::request(&Message::text(text)))
    }

    /// Adds `count` members to the room `r` and delivers all notices.
    fn crowd(&mut self, count: u64) -> Vec<ConnId> {
        let conns: Vec<ConnId> = (100..100 + count).map(ConnId).collect();
        for conn in &conns {
            self.handle_only(*conn, opened());
            self.handle_only(*conn, said(Message::text(format!("HELLO p{}", conn.0))));
            self.handle_only(*conn, said(Message::text("ROOM r")));
        }
        while self.hub.pass_on(1000, &mut Vec::new()) {}
        conns
    }
}

/// Opened without restrictions.
fn opened() -> Event {
    opened_with(Grant::default(), 1)
}

fn opened_as(dialect: Dialect) -> Event {
    Event::Opened { grant: Arc::default(), address: [192, 0, 2, 1].into(), dialect }
}

fn opened_with(grant: Grant, host: u8) -> Event {
    Event::Opened { grant: Arc::new(grant), address: [192, 0, 2, host].into(), dialect: Dialect::Text }
}

fn denied(refusal: Refusal) -> Event {
    Event::Denied { about: About::Call, key: Key::default(), refusal }
}

fn to(conn: ConnId, text: &str) -> Effect {
    Effect::Send(conn, Message::text(text))
}

fn closed(conn: ConnId, reason: CloseReason) -> Effect {
    Effect::Close(conn, reason)
}

mod far;
mod meeting;
mod node_rooms;
mod streams;

mod greeting {
    use super::*;

    #[test]
    fn hello_is_answered() {
        let mut fixture = Fixture::default();
        fixture.open(ALICE);
        assert_eq!(fixture.say(ALICE, "HELLO alice"), [to(ALICE, "HELLO")]);
    }

    #[test]
    fn a_taken_or_malformed_uid_is_refused() {
        for text in ["HELLO alice", "HELLO", "HELLO ", "HELLO a b", "HELLO bob\n"] {
            let mut fixture = Fixture::default();
            fixture.open(ALICE);
            fixture.say(ALICE, "HELLO alice");
            fixture.open(BOB);
            assert_eq!(fixture.say(BOB, text), [closed(BOB, CloseReason::InvalidUid)], "{text:?}");
            assert_eq!(fixture.hub.counts().connections, 1);
        }
    }

    #[test]
    fn anything_else_is_no_protocol() {
        for text in ["", "SESSION bob", "HELLOO alice", "hello alice", "ROOM r"] {
            let mut fixture = Fixture::default();
            fixture.open(ALICE);
            assert_eq!(fixture.say(ALICE, text), [closed(ALICE, CloseReason::InvalidProtocol)], "{text:?}");
        }
        let mut fixture = Fixture::default();
        fixture.open(ALICE);
        assert_eq!(fixture.say_binary(ALICE, b"HELLO alice"), [closed(ALICE, CloseReason::BinaryFrame)]);
    }

    #[test]
    fn a_refused_uid_stays_with_its_owner() {
        let mut fixture = Fixture::three_idle();
        let late = ConnId(4);
        fixture.open(late);
        fixture.say(late, "HELLO alice");
        fixture.leave(late);
        assert_eq!(fixture.say(BOB, "SESSION alice")[0], to(BOB, "SESSION_OK"));
    }

    #[test]
    fn a_refusal_after_the_close_is_ignored() {
        let mut fixture = Fixture::default();
        fixture.open(ALICE);
        fixture.leave(ALICE);
        assert_eq!(fixture.handle_with_notes(ALICE, denied(Refusal::Other("no".into()))), []);
    }

    #[test]
    fn frames_after_the_close_are_ignored() {
        let mut fixture = Fixture::default();
        fixture.open(ALICE);
        fixture.say(ALICE, "nonsense");
        assert_eq!(fixture.say(ALICE, "HELLO alice"), []);
        assert_eq!(fixture.leave(ALICE), []);
    }
}

mod idle {
    use super::*;

    #[test]
    fn what_means_nothing_is_ignored() {
        for text in [
            "",
            " ",
            "HELLO again",
            "SESSIONS bob",
            "ROOMMATE bob",
            "ROOM_PEER_LIST",
            "ROOM_PEER_MSG bob hi",
            "ROOM_PEER_MSG",
            "{\"sdp\":{}}",
            "ERROR",
        ] {
            assert_eq!(Fixture::three_idle().say(ALICE, text), [], "{text:?}");
        }
    }

    #[test]
    fn a_binary_frame_closes() {
        let mut fixture = Fixture::three_idle();
        assert_eq!(fixture.say_binary(ALICE, b""), [closed(ALICE, CloseReason::BinaryFrame)]);
    }

    #[test]
    fn a_uid_is_free_the_moment_its_socket_closes() {
        let mut fixture = Fixture::three_idle();
        assert_eq!(fixture.leave(ALICE), []);
        let again = ConnId(4);
        fixture.open(again);
        assert_eq!(fixture.say(again, "HELLO alice"), [to(again, "HELLO")]);
    }
}

mod session {
    use super::*;

    #[test]
    fn who_calls_is_told_before_anything_else_to_those_who_want_to_hear_it() {
        let mut fixture = Fixture::default();
        fixture.open(ALICE);
        fixture.open(BOB);
        fixture.translators.insert(BOB, Text::new(true));
        fixture.say(ALICE, "HELLO alice");
        fixture.say(BOB, "HELLO bob");
        assert_eq!(
            fixture.say(ALICE, "SESSION bob"),
            [to(ALICE, "SESSION_OK"), to(BOB, "CALLER alice"), Effect::Pair(ALICE, BOB)]
        );
    }

    #[test]
    fn the_callee_is_told_nothing() {
        let mut fixture = Fixture::three_idle();
        assert_eq!(fixture.say(ALICE, "SESSION bob"), [to(ALICE, "SESSION_OK"), Effect::Pair(ALICE, BOB)]);
    }

    #[test]
    fn everything_is_relayed_unread() {
        let mut fixture = Fixture::in_session();
        for text in ["", "OFFER_REQUEST", "{\"sdp\":{}}", "SESSION carol", "ROOM r", "HELLO x", "ERROR"] {
            assert_eq!(fixture.say(ALICE, text), [to(BOB, text)]);
            assert_eq!(fixture.say(BOB, text), [to(ALICE, text)]);
        }
        let binary = Message::binary(&b"\x00\xff"[..]);
        assert_eq!(fixture.say_binary(BOB, b"\x00\xff"), [Effect::Send(ALICE, binary)]);
    }

    #[test]
    fn who_is_not_there_is_not_found() {
        for (callee, quoted) in [("dave", "'dave'"), ("o'brien", "\"o'brien\""), ("", "''"), ("a b", "'a b'")]
        {
            let error = format!("ERROR peer {quoted} not found");
            assert_eq!(Fixture::three_idle().say(ALICE, &format!("SESSION {callee}")), [to(ALICE, &error)]);
        }
        assert_eq!(Fixture::three_idle().say(ALICE, "SESSION"), [to(ALICE, "ERROR peer '' not found")]);
    }

    #[test]
    fn who_talks_is_busy() {
        let mut fixture = Fixture::in_session();
        assert_eq!(fixture.say(CAROL, "SESSION bob"), [to(CAROL, "ERROR peer 'bob' busy")]);
        assert_eq!(fixture.say(CAROL, "SESSION alice"), [to(CAROL, "ERROR peer 'alice' busy")]);
        assert_eq!(fixture.probed, [ALICE, BOB, BOB, ALICE], "either may be gone");
        let mut fixture = Fixture::in_room();
        assert_eq!(fixture.say(CAROL, "SESSION bob"), [to(CAROL, "ERROR peer 'bob' busy")]);
        assert_eq!(fixture.probed, [BOB]);
    }

    #[test]
    fn who_has_the_uid_of_another_one_is_probed() {
        let mut fixture = Fixture::three_idle();
        let again = ConnId(9);
        fixture.open(again);
        assert_eq!(fixture.say(again, "HELLO bob"), [closed(again, CloseReason::InvalidUid)]);
        assert_eq!(fixture.probed, [BOB]);
    }

    #[test]
    fn nobody_calls_themselves() {
        let mut fixture = Fixture::three_idle();
        assert_eq!(fixture.say(ALICE, "SESSION alice"), [to(ALICE, "ERROR peer 'alice' busy")]);
        assert_eq!(fixture.probed, []);
        assert_eq!(fixture.say(BOB, "SESSION alice")[0], to(BOB, "SESSION_OK"));
    }

    #[test]
    fn a_refused_caller_may_try_again() {
        let mut fixture = Fixture::three_idle();
        fixture.say(ALICE, "SESSION dave");
        assert_eq!(fixture.say(ALICE, "SESSION bob")[0], to(ALICE, "SESSION_OK"));
    }

    #[test]
    fn either_end_ends_it() {
        let mut fixture = Fixture::in_session();
        assert_eq!(fixture.leave(ALICE), [closed(BOB, CloseReason::PartnerLeft)]);
        assert_eq!(fixture.leave(BOB), []);
        let mut fixture = Fixture::in_session();
        assert_eq!(fixture.leave(BOB), [closed(ALICE, CloseReason::PartnerLeft)]);
        assert_eq!(fixture.say(ALICE, "anybody there?"), []);
    }

    #[test]
    fn both_uids_are_free_at_once() {
        let mut fixture = Fixture::in_session();
        fixture.leave(ALICE);
        for (conn, uid) in [(ConnId(4), "alice"), (ConnId(5), "bob")] {
            fixture.open(conn);
            assert_eq!(fixture.say(conn, &format!("HELLO {uid}")), [to(conn, "HELLO")]);
        }
        // The old connection's end does not affect the new one.
        assert_eq!(fixture.leave(BOB), []);
        assert_eq!(fixture.say(CAROL, "SESSION bob")[0], to(CAROL, "SESSION_OK"));
    }
}

mod room {
    use super::*;

    #[test]
    fn joining_names_who_is_there_in_the_order_they_came() {
        let mut fixture = Fixture::in_room();
        assert_eq!(
            fixture.say(CAROL, "ROOM r"),
            [
                to(CAROL, "ROOM_OK alice bob"),
                to(ALICE, "ROOM_PEER_JOINED carol"),
                to(BOB, "ROOM_PEER_JOINED carol")
            ]
        );
    }

    #[test]
    fn an_id_that_is_none_is_refused() {
        for (id, quoted) in [("", "''"), ("a b", "'a b'"), ("session", "'session'")] {
            let error = format!("ERROR invalid room id {quoted}");
            assert_eq!(Fixture::three_idle().say(ALICE, &format!("ROOM {id}")), [to(ALICE, &error)]);
        }
        assert_eq!(Fixture::three_idle().say(ALICE, "ROOM"), [to(ALICE, "ERROR invalid room id ''")]);
    }

    #[test]
    fn messages_go_to_one_member_verbatim() {
        let mut fixture = Fixture::in_room();
        for msg in ["{\"ice\":{}}", " two  spaces ", "ROOM_PEER_LIST", "ERROR"] {
            let sent = fixture.say(ALICE, &format!("ROOM_PEER_MSG bob {msg}"));
            assert_eq!(sent, [to(BOB, &format!("ROOM_PEER_MSG alice {msg}"))]);
        }
    }

    #[test]
    fn messages_to_others_are_refused() {
        let mut fixture = Fixture::in_room();
        for (text, error) in [
            ("ROOM_PEER_MSG dave hi", "peer 'dave' not found"),
            ("ROOM_PEER_MSG carol hi", "peer 'carol' is not in the room"),
            ("ROOM_PEER_MSG", "peer '' not found"),
            ("ROOM_PEER_MSG bob", "invalid msg, already in room"),
        ] {
            assert_eq!(fixture.say(ALICE, text), [to(ALICE, &format!("ERROR {error}"))], "{text}");
        }
        fixture.say(CAROL, "ROOM other");
        let error = "ERROR peer 'carol' is not in the room";
        assert_eq!(fixture.say(ALICE, "ROOM_PEER_MSG carol hi"), [to(ALICE, error)]);
    }

    #[test]
    fn the_list_has_everybody_but_oneself() {
        let mut fixture = Fixture::in_room();
        fixture.say(CAROL, "ROOM r");
        assert_eq!(fixture.say(BOB, "ROOM_PEER_LIST"), [to(BOB, "ROOM_PEER_LIST alice carol")]);
        let mut fixture = Fixture::three_idle();
        fixture.say(ALICE, "ROOM r");
        assert_eq!(fixture.say(ALICE, "ROOM_PEER_LIST"), [to(ALICE, "ROOM_PEER_LIST ")]);
    }

    #[test]
    fn nothing_else_is_said_in_a_room() {
        for text in ["", "HELLO x", "SESSION carol", "ROOM other", "ROOM_PEER_LISTS", "OFFER_REQUEST"] {
            let answer = to(ALICE, "ERROR invalid msg, already in room");
            assert_eq!(Fixture::in_room().say(ALICE, text), [answer], "{text:?}");
        }
        let mut fixture = Fixture::in_room();
        let effects = fixture.say_binary(ALICE, b"x");
        assert_eq!(effects, [closed(ALICE, CloseReason::BinaryFrame), to(BOB, "ROOM_PEER_LEFT alice")]);
    }

    #[test]
    fn leaving_is_told_and_an_empty_room_is_forgotten() {
        let mut fixture = Fixture::in_room();
        assert_eq!(fixture.leave(ALICE), [to(BOB, "ROOM_PEER_LEFT alice")]);
        assert_eq!(fixture.hub.counts().rooms, 1);
        assert_eq!(fixture.leave(BOB), []);
        assert_eq!(fixture.hub.counts(), Counts { connections: 1, peers: 1, ..Counts::default() });
    }

    #[test]
    fn who_comes_back_is_last() {
        let mut fixture = Fixture::in_room();
        fixture.leave(ALICE);
        let again = ConnId(4);
        fixture.open(again);
        fixture.say(again, "HELLO alice");
        fixture.say(CAROL, "ROOM r");
        assert_eq!(fixture.say(again, "ROOM r")[0], to(again, "ROOM_OK bob carol"));
    }

    #[test]
    fn a_thousand_members_gone_at_once_leave_nothing() {
        let mut hub = Hub::default();
        let mut effects = Vec::new();
        for i in 0..1000 {
            hub.handle(ConnId(i), opened(), &mut effects);
            hub.handle(ConnId(i), said(Message::text(format!("HELLO {i}"))), &mut effects);
            hub.handle(ConnId(i), said(Message::text("ROOM r")), &mut effects);
        }
        assert_eq!(hub.counts(), Counts { connections: 1000, peers: 1000, rooms: 1, ..Counts::default() });
        (0..1000).for_each(|i| hub.handle(ConnId(i), Event::Closed, &mut effects));
        assert_eq!(hub.counts(), Counts::default());
    }
}

/// Which notices the members of a room get, and when.
mod notices {
    use super::*;

    fn sends(effects: &[Effect]) -> usize {
        effects.iter().filter(|effect| matches!(effect, Effect::Send(..))).count()
    }

    #[test]
    fn one_who_joins_or_leaves_a_large_room_costs_a_frame_or_none() {
        let mut fixture = Fixture::three_idle();
        let crowd = fixture.crowd(500);
        assert_eq!(sends(&fixture.handle_only(ALICE, said(Message::text("ROOM r")))), 1, "its own answer");
        assert_eq!(sends(&fixture.handle_only(crowd[7], Event::Closed)), 0);
    }

    #[test]
    fn a_room_of_the_same_name_as_one_that_is_gone_has_one_turn() {
        let mut fixture = Fixture::three_idle();
        for round in 0..5 {
            let pair = [100 + 2 * round, 101 + 2 * round].map(ConnId);
            for conn in pair {
                fixture.handle_only(conn, opened());
                fixture.handle_only(conn, said(Message::text(format!("HELLO p{}", conn.0))));
                fixture.handle_only(conn, said(Message::text("ROOM r")));
            }
            assert_eq!(fixture.hub.news.iter().count(), 1);
            for conn in pair {
                fixture.handle_only(conn, Event::Closed);
            }
        }
    }

    #[test]
    fn only_so_many_are_passed_on_at_a_time_and_all_in_the_end() {
        let mut fixture = Fixture::three_idle();
        fixture.crowd(100);
        fixture.handle_only(ALICE, said(Message::text("ROOM r")));
        fixture.handle_only(BOB, said(Message::text("ROOM r")));
        let mut frames = Vec::new();
        while fixture.hub.has_news() {
            let some = fixture.pass_on(32);
            assert!(sends(&some) <= 32, "{some:?}");
            frames.extend(some);
        }
        // Alice gets the notice about Bob; no member gets one about itself.
        assert_eq!(frames.len(), 2 * 100 + 1);
        assert_eq!(fixture.pass_on(32), []);
    }

    #[test]
    fn whoever_gets_something_else_hears_first_what_happened_before() {
        let mut fixture = Fixture::in_room();
        assert_eq!(
            fixture.handle_only(CAROL, said(Message::text("ROOM r"))),
            [
                Effect::Note(
                    CAROL,
                    Note::Joined { peer: "carol".parse().unwrap(), room: "r".parse().unwrap(), members: 3 }
                ),
                to(CAROL, "ROOM_OK alice bob")
            ]
        );
        let sent = fixture.handle_only(CAROL, said(Message::text("ROOM_PEER_MSG bob hi")));
        assert_eq!(sent, [to(BOB, "ROOM_PEER_JOINED carol"), to(BOB, "ROOM_PEER_MSG carol hi")]);
        let list = fixture.handle_only(ALICE, said(Message::text("ROOM_PEER_LIST")));
        assert_eq!(list, [to(ALICE, "ROOM_PEER_JOINED carol"), to(ALICE, "ROOM_PEER_LIST bob carol")]);
        assert_eq!(fixture.pass_on(100), [], "nobody hears it twice");
    }

    #[test]
    fn two_thousand_who_go_together_are_not_told_of_each_other() {
        let mut fixture = Fixture::in_room();
        let crowd = fixture.crowd(2000);
        let mut effects = Vec::new();
        fixture.hub.kick_all(&crowd, CloseReason::ByOperator, &mut effects);
        let mut effects = fixture.translate(effects);
        assert_eq!(sends(&effects), 0);
        while fixture.hub.has_news() {
            effects.extend(fixture.pass_on(32));
        }
        let of =
            |conn| effects.iter().filter(move |effect| matches!(effect, Effect::Send(to, _) if *to == conn));
        assert_eq!((of(ALICE).count(), of(BOB).count()), (2000, 2000), "those who stay hear of each");
        assert_eq!(sends(&effects), 4000);
        assert_eq!(of(BOB).last(), Some(&to(BOB, "ROOM_PEER_LEFT p2099")));
    }

    #[test]
    fn what_waits_has_a_bound() {
        let mut fixture = Fixture::in_room();
        let mut heard = 0;
        for i in 0..3000 {
            let (conn, hello) = (ConnId(100 + i), format!("HELLO {i}"));
            fixture.handle_only(conn, opened());
            fixture.handle_only(conn, said(Message::text(hello)));
            heard += sends(&fixture.handle_only(conn, said(Message::text("ROOM r")))) - 1;
            heard += sends(&fixture.handle_only(conn, Event::Closed));
        }
        assert_eq!(heard, 2 * (6000 - 4096), "the oldest are passed on to both");
        assert_eq!(sends(&fixture.pass_on(usize::MAX)), 2 * 4096);
    }

    #[test]
    fn a_room_of_many_does_not_hold_up_another_one() {
        let mut fixture = Fixture::three_idle();
        fixture.crowd(500);
        fixture.handle_only(ALICE, said(Message::text("ROOM small")));
        fixture.handle_only(CAROL, said(Message::text("ROOM r")));
        fixture.handle_only(BOB, said(Message::text("ROOM small")));
        fixture.pass_on(32);
        assert!(fixture.pass_on(32).contains(&to(ALICE, "ROOM_PEER_JOINED bob")));
    }

    #[test]
    fn a_request_costs_what_others_get_of_it() {
        let mut fixture = Fixture::three_idle();
        fixture.crowd(50);
        fixture.hub.set_rules(Rules { max_members: 51, ..Rules::default() });
        let cost = |fixture: &Fixture, text| fixture.fan_out(ALICE, text);
        assert_eq!(cost(&fixture, "ROOM empty"), 0);
        assert_eq!(cost(&fixture, "ROOM r"), 100, "that it came, and that one of the two left");
        assert_eq!(cost(&fixture, "ROOM_PEER_LIST"), 0, "not in a room");
        fixture.say(ALICE, "ROOM r");
        assert_eq!(cost(&fixture, "ROOM r"), 0, "in a room already");
        assert_eq!(cost(&fixture, "ROOM_PEER_LIST"), 51);
        assert_eq!(cost(&fixture, "ROOM_PEER_MSG p100 hi"), 0);
        let send = |bytes: usize| {
            let signal = callbin_protocol::Signal::OfferRequest;
            let payload = Payload::new(Dialect::Rooms, "x".repeat(bytes).into(), signal);
            fixture.hub.fan_out(ALICE, &Request::Send { to: None, hint: None, payload })
        };
        assert_eq!((send(100), send(10 * 1024)), (51, 11 * 51), "each member gets a copy");
        assert_eq!(fixture.fan_out(BOB, "ROOM r"), 0, "a full room refuses");
        assert_eq!(fixture.fan_out(ConnId(9), "ROOM r"), 0);
    }
}

mod grants {
    use super::*;

    const GHOST: ConnId = ConnId(10);

    fn identity(name: &str) -> Grant {
        Grant { identity: Some(name.into()), ..Grant::default() }
    }

    fn open_with(fixture: &mut Fixture, conn: ConnId, grant: Grant) {
        assert_eq!(fixture.handle(conn, opened_with(grant, 1)), []);
    }

    /// Alice, Bob and Carol, and a fourth with a grant of its own, registered as `dave`.
    fn with_dave(grant: Grant) -> (Fixture, ConnId) {
        let mut fixture = Fixture::three_idle();
        let dave = ConnId(4);
        open_with(&mut fixture, dave, grant);
        assert_eq!(fixture.say(dave, "HELLO dave"), [to(dave, "HELLO")]);
        (fixture, dave)
    }

    #[test]
    fn a_uid_that_is_not_granted_is_refused_whether_taken_or_not() {
        for uid in ["alice", "nobody"] {
            let mut fixture = Fixture::three_idle();
            let grant = Grant { uid: Some("cam-*".into()), ..Grant::default() };
            open_with(&mut fixture, GHOST, grant);
            let effects = fixture.say(GHOST, &format!("HELLO {uid}"));
            assert_eq!(effects, [closed(GHOST, CloseReason::UidNotAllowed)]);
        }
    }

    #[test]
    fn the_same_identity_takes_its_uid_over_from_its_ghost() {
        let mut fixture = Fixture::default();
        open_with(&mut fixture, GHOST, identity("erin"));
        fixture.say(GHOST, "HELLO erin");
        open_with(&mut fixture, ALICE, identity("erin"));
        let effects = fixture.say(ALICE, "HELLO erin");
        assert_eq!(effects, [closed(GHOST, CloseReason::Replaced), to(ALICE, "HELLO")]);
        assert_eq!(fixture.leave(GHOST), []);
        assert_eq!(fixture.hub.counts().peers, 1);
    }

    #[test]
    fn a_ghost_in_a_call_leaves_it() {
        let mut fixture = Fixture::three_idle();
        open_with(&mut fixture, GHOST, identity("erin"));
        fixture.say(GHOST, "HELLO erin");
        fixture.say(GHOST, "SESSION bob");
        let again = ConnId(11);
        open_with(&mut fixture, again, identity("erin"));
        let effects = fixture.say(again, "HELLO erin");
        let expected =
            [closed(GHOST, CloseReason::Replaced), closed(BOB, CloseReason::PartnerLeft), to(again, "HELLO")];
        assert_eq!(effects, expected);
    }

    #[test]
    fn nobody_else_takes_a_uid_over() {
        for grant in [identity("mallory"), Grant::default()] {
            let mut fixture = Fixture::default();
            open_with(&mut fixture, GHOST, identity("erin"));
            fixture.say(GHOST, "HELLO erin");
            open_with(&mut fixture, ALICE, grant);
            assert_eq!(fixture.say(ALICE, "HELLO erin"), [closed(ALICE, CloseReason::InvalidUid)]);
        }
    }

    #[test]
    fn who_may_not_call_finds_nobody() {
        let grant = Grant { allow: Some(vec![Ability::Answer]), ..Grant::default() };
        let (mut fixture, dave) = with_dave(grant);
        assert_eq!(fixture.say(dave, "SESSION alice"), [to(dave, "ERROR peer 'alice' not found")]);
        assert_eq!(fixture.say(ALICE, "SESSION dave")[0], to(ALICE, "SESSION_OK"));
    }

    #[test]
    fn who_may_not_be_called_is_not_found() {
        let grant = Grant { allow: Some(vec![Ability::Call]), ..Grant::default() };
        let (mut fixture, dave) = with_dave(grant);
        assert_eq!(fixture.say(ALICE, "SESSION dave"), [to(ALICE, "ERROR peer 'dave' not found")]);
        assert_eq!(fixture.say(dave, "SESSION alice")[0], to(dave, "SESSION_OK"));
        assert_eq!(fixture.say(CAROL, "SESSION dave"), [to(CAROL, "ERROR peer 'dave' not found")]);
    }

    #[test]
    fn a_room_that_is_not_granted_looks_the_same_whether_it_exists_or_not() {
        let grant = Grant { rooms: Some(vec!["team-*".into()]), ..Grant::default() };
        let (mut fixture, dave) = with_dave(grant);
        fixture.say(ALICE, "ROOM secret");
        for room in ["secret", "other"] {
            let error = format!("ERROR invalid room id '{room}'");
            assert_eq!(fixture.say(dave, &format!("ROOM {room}")), [to(dave, &error)]);
        }
        assert_eq!(fixture.say(dave, "ROOM team-a"), [to(dave, "ROOM_OK ")]);
    }

    #[test]
    fn what_is_refused_elsewhere_is_refused_here() {
        let mut fixture = Fixture::three_idle();
        let effects = fixture.handle(ALICE, denied(Refusal::Other("not before noon".into())));
        assert_eq!(effects, [to(ALICE, "ERROR not before noon")]);
        fixture.open(GHOST);
        let effects = fixture.handle(GHOST, denied(Refusal::Other("no".into())));
        assert_eq!(effects, [to(GHOST, "ERROR no"), closed(GHOST, CloseReason::UidNotAllowed)]);
    }

    #[test]
    fn who_gets_no_answer_may_ask_again() {
        let mut fixture = Fixture::three_idle();
        assert_eq!(fixture.handle(ALICE, denied(Refusal::Unavailable)), [to(ALICE, "ERROR not available")]);
        assert_eq!(fixture.say(ALICE, "SESSION bob"), [to(ALICE, "SESSION_OK"), Effect::Pair(ALICE, BOB)]);
        fixture.open(GHOST);
        assert_eq!(
            fixture.handle(GHOST, denied(Refusal::Unavailable)),
            [closed(GHOST, CloseReason::Unavailable)]
        );
        assert_eq!(fixture.handle(GHOST, denied(Refusal::Unavailable)), [], "closed already");
    }
}

mod limits {
    use super::*;

    fn fixture(rules: Rules) -> Fixture {
        let mut fixture = Fixture::three_idle();
        fixture.hub.set_rules(rules);
        fixture
    }

    #[test]
    fn sessions_are_counted_for_the_caller_and_given_back() {
        let mut fixture = fixture(Rules { max_sessions: 1, ..Rules::default() });
        let (dave, elsewhere) = (ConnId(4), ConnId(5));
        fixture.open(dave);
        fixture.say(dave, "HELLO dave");
        fixture.handle(elsewhere, opened_with(Grant::default(), 2));
        fixture.say(elsewhere, "HELLO erin");

        assert_eq!(fixture.say(ALICE, "SESSION bob")[0], to(ALICE, "SESSION_OK"));
        assert_eq!(fixture.say(CAROL, "SESSION dave"), [to(CAROL, "ERROR too many sessions")]);
        assert_eq!(fixture.say(elsewhere, "SESSION dave")[0], to(elsewhere, "SESSION_OK"));
        // The session also ends when the callee leaves.
        fixture.leave(BOB);
        fixture.leave(dave);
        fixture.open(BOB);
        fixture.say(BOB, "HELLO bob");
        assert_eq!(fixture.say(CAROL, "SESSION bob")[0], to(CAROL, "SESSION_OK"));
    }

    #[test]
    fn rooms_are_counted_until_they_are_empty() {
        let mut fixture = fixture(Rules { max_rooms: 1, ..Rules::default() });
        assert_eq!(fixture.say(ALICE, "ROOM one"), [to(ALICE, "ROOM_OK ")]);
        assert_eq!(fixture.say(BOB, "ROOM two"), [to(BOB, "ERROR too many rooms")]);
        assert_eq!(fixture.say(BOB, "ROOM one")[0], to(BOB, "ROOM_OK alice"));
        fixture.leave(ALICE);
        assert_eq!(fixture.say(CAROL, "ROOM two"), [to(CAROL, "ERROR too many rooms")]);
        fixture.leave(BOB);
        assert_eq!(fixture.say(CAROL, "ROOM two"), [to(CAROL, "ROOM_OK ")]);
    }

    #[test]
    fn a_full_room_says_so() {
        let mut fixture = fixture(Rules { max_members: 2, ..Rules::default() });
        fixture.say(ALICE, "ROOM r");
        fixture.say(BOB, "ROOM r");
        assert_eq!(fixture.say(CAROL, "ROOM r"), [to(CAROL, "ERROR room 'r' is full")]);
        fixture.leave(ALICE);
        assert_eq!(fixture.say(CAROL, "ROOM r")[0], to(CAROL, "ROOM_OK bob"));
    }

    #[test]
    fn a_long_uid_is_none() {
        let mut fixture = fixture(Rules { max_uid: 10, ..Rules::default() });
        let (long, short) = (ConnId(4), ConnId(5));
        fixture.open(long);
        fixture.open(short);
        assert_eq!(fixture.say(long, "HELLO 01234567890"), [closed(long, CloseReason::InvalidUid)]);
        assert_eq!(fixture.say(short, "HELLO 0123456789"), [to(short, "HELLO")]);
    }

    #[test]
    fn no_list_is_longer_than_a_client_reads() {
        let mut fixture = Fixture::default();
        let mut longest = 0;
        for i in 0..1100 {
            let conn = ConnId(i);
            fixture.handle_only(conn, opened());
            fixture.handle_only(conn, said(Message::text(format!("HELLO {i:01024}"))));
            let answer = fixture.handle_only(conn, said(Message::text("ROOM r")));
            let Some(Effect::Send(_, Message::Text(text))) = answer.last() else { panic!("no answer") };
            longest = longest.max(text.len());
            if text.as_str() == "ERROR room 'r' is full" {
                let list = fixture.handle_only(ConnId(0), said(Message::text("ROOM_PEER_LIST")));
                let Some(Effect::Send(_, Message::Text(text))) = list.last() else { panic!("no list") };
                longest = longest.max(text.len());
                assert!((MAX_LIST_LEN - 2 * 1025..=MAX_LIST_LEN).contains(&longest), "{longest}");
                fixture.leave(ConnId(1));
                let again = fixture.handle_only(conn, said(Message::text("ROOM r")));
                assert!(!again.contains(&to(conn, "ERROR room 'r' is full")), "there is a place again");
                return;
            }
        }
        panic!("a room of 1100 with a list of {longest} bytes");
    }

    #[test]
    fn what_is_no_id_is_not_quoted_at_any_length() {
        let mut fixture = Fixture::in_room();
        for (conn, verb) in [(CAROL, "SESSION"), (CAROL, "ROOM"), (ALICE, "ROOM_PEER_MSG")] {
            let effects = fixture.say(conn, &format!("{verb} {}", "ü".repeat(100_000)));
            let [Effect::Send(_, error)] = effects.as_slice() else { panic!("{effects:?}") };
            assert!(error.len() < 1100, "{verb}: {}", error.len());
        }
    }
}

/// Connections of a dialect that may have several ids and calls.
mod several {
    use super::{super::Effect, *};

    /// The notices that each connection gets, without notes.
    fn ask(hub: &mut Hub, conn: ConnId, request: Request) -> Vec<Effect> {
        let mut effects = Vec::new();
        hub.handle(conn, Event::Asked { request, frame: None }, &mut effects);
        effects.retain(|effect| !matches!(effect, Effect::Note(..)));
        effects
    }

    fn peer(uid: &str) -> PeerId {
        PeerId::new(uid).unwrap()
    }

    fn call(to: &str, key: &str, start: Start) -> Request {
        Request::Call { key: key.into(), to: peer(to), from: None, start, media: None, only: None }
    }

    fn meet(uid: &str, leads: bool) -> Request {
        let card = Card { leads, ..Card::default() };
        Request::Meet { key: uid.into(), uid: peer(uid), card, start: Start::WhenAsked, only: None }
    }

    fn open(hub: &mut Hub, dialects: &[(ConnId, Dialect)]) {
        for (conn, dialect) in dialects {
            hub.handle(*conn, opened_as(*dialect), &mut Vec::new());
        }
    }

    fn called(effect: &Effect) -> &Call {
        let Effect::Tell(_, Notice::Called(call)) = effect else { panic!("{effect:?}") };
        call
    }

    #[test]
    fn of_two_that_meet_the_first_offers_and_whoever_stays_can_be_met_again() {
        let mut hub = Hub::default();
        open(&mut hub, &[(ALICE, Dialect::Antmedia), (BOB, Dialect::Antmedia), (CAROL, Dialect::Antmedia)]);
        let registered = Effect::Tell(ALICE, Notice::Registered(peer("s")));
        assert_eq!(ask(&mut hub, ALICE, meet("s", true)), [registered]);
        let effects = ask(&mut hub, BOB, meet("s", true));
        let [caller, callee] = effects.as_slice() else { panic!("{effects:?}") };
        assert_eq!((called(caller).key.as_str(), called(caller).is_asked), ("s", false));
        assert_eq!((called(callee).key.as_str(), called(callee).is_asked), ("s", true));
        let busy = Refused {
            about: About::Call,
            key: "s".into(),
            refusal: Refusal::PeerBusy("s".into()),
            payload: None,
        };
        let effects = ask(&mut hub, CAROL, meet("s", true));
        let refused = Effect::Tell(CAROL, Notice::Refused(Box::new(busy)));
        assert_eq!(effects, [Effect::Probe(BOB), Effect::Probe(ALICE), refused]);
        // The first leaves: the second takes its place.
        assert_eq!(ask(&mut hub, ALICE, Request::Unregister(peer("s"))), []);
        let ended = Ended { key: "s".into(), peer: peer("s"), stays: true, reason: None };
        let effects = ask(&mut hub, ALICE, Request::End("s".into()));
        assert_eq!(effects, [Effect::Tell(BOB, Notice::Ended(Box::new(ended)))]);
        let effects = ask(&mut hub, CAROL, meet("s", true));
        assert!(called(&effects[1]).is_asked && !called(&effects[1]).is_caller);
    }

    #[test]
    fn a_shared_id_has_several_calls_and_each_ends_alone() {
        let mut hub = Hub::default();
        open(
            &mut hub,
            &[(ALICE, Dialect::Webrtcsink), (BOB, Dialect::Webrtcsink), (CAROL, Dialect::Antmedia)],
        );
        let card = Card { is_shared: true, leads: true, ..Card::default() };
        ask(&mut hub, ALICE, Request::Register { uid: peer("cam"), card });
        let one = ask(&mut hub, BOB, call("cam", "", Start::Never));
        let two = ask(&mut hub, CAROL, call("cam", "v", Start::Never));
        let keys: Vec<&Key> = one.iter().chain(&two).map(|effect| &called(effect).key).collect();
        assert_eq!(keys[0], keys[1], "neither side has a name of its own");
        assert_eq!(keys[2].as_str(), "v");
        assert_ne!(keys[1], keys[3]);
        let (first, second) = (keys[1].clone(), keys[3].clone());
        assert_eq!(hub.counts().sessions, 2);
        let effects = ask(&mut hub, ALICE, Request::End(second));
        assert!(
            matches!(&effects[..], [Effect::Tell(CAROL, Notice::Ended(ended))] if ended.key.as_str() == "v")
        );
        let payload = Payload::new(Dialect::Webrtcsink, "{}".into(), callbin_protocol::Signal::OfferRequest);
        let effects = ask(&mut hub, BOB, Request::Signal { key: first, payload });
        assert!(matches!(&effects[..], [Effect::Tell(ALICE, Notice::Signal(_))]));
    }

    #[test]
    fn a_text_peer_ends_with_its_call() {
        let mut hub = Hub::default();
        open(&mut hub, &[(ALICE, Dialect::Antmedia), (BOB, Dialect::Text)]);
        hub.handle(BOB, said(Message::text("HELLO bob")), &mut Vec::new());
        let effects = ask(&mut hub, ALICE, call("bob", "bob", Start::Never));
        assert!(called(&effects[1]).is_asked, "a caller that never offers");
        let effects = ask(&mut hub, ALICE, Request::End("bob".into()));
        assert_eq!(effects, [Effect::Close(BOB, CloseReason::PartnerLeft)]);
        let unknown =
            Refused { about: About::Signal, key: "bob".into(), refusal: Refusal::NoSuchCall, payload: None };
        let effects = ask(&mut hub, ALICE, Request::End("bob".into()));
        assert_eq!(effects, [Effect::Tell(ALICE, Notice::Refused(Box::new(unknown)))]);
    }

    #[test]
    fn nobody_calls_under_the_name_of_another() {
        let mut hub = Hub::default();
        open(&mut hub, &[(ALICE, Dialect::Antmedia), (BOB, Dialect::Text)]);
        hub.handle(BOB, said(Message::text("HELLO bob")), &mut Vec::new());
        let request = Request::Call {
            key: "k".into(),
            to: peer("bob"),
            from: Some(peer("bob")),
            start: Start::AtOnce,
            media: None,
            only: None,
        };
        let effects = ask(&mut hub, ALICE, request);
        let taken =
            Refused { about: About::Call, key: "k".into(), refusal: Refusal::UidTaken, payload: None };
        assert_eq!(effects, [Effect::Tell(ALICE, Notice::Refused(Box::new(taken)))]);
    }
}

mod notes {
    use super::*;

    fn notes(effects: Vec<Effect>) -> Vec<Note> {
        let note = |effect| match effect {
            Effect::Note(_, note) => Some(note),
            _ => None,
        };
        effects.into_iter().filter_map(note).collect()
    }

    fn peer(uid: &str) -> PeerId {
        PeerId::new(uid).unwrap()
    }

    #[test]
    fn tell_an_operator_what_happens() {
        let mut fixture = Fixture::three_idle();
        let mut say = |conn, text: &str| notes(fixture.handle_with_notes(conn, said(Message::text(text))));
        assert_eq!(
            say(ALICE, "SESSION bob"),
            [Note::Called {
                caller: peer("alice"),
                callee: peer("bob"),
                dialects: (Dialect::Text, Dialect::Text)
            }]
        );
        assert_eq!(say(CAROL, "SESSION secret-name"), [Note::Refused(peer("carol"), "peer not found")]);
        let room = RoomId::new("r").unwrap();
        assert_eq!(say(CAROL, "ROOM r"), [Note::Joined { peer: peer("carol"), room, members: 1 }]);
        let left = notes(fixture.handle_with_notes(ALICE, Event::Closed));
        assert_eq!(left, [Note::Left(peer("alice")), Note::Left(peer("bob"))]);
    }
}

/// Random sequences of events; the invariants are checked after each.
mod properties {
    use proptest::prelude::*;

    use super::{
        super::invariants::{Model, SLOTS},
        *,
    };

    /// Requests of a dialect with several ids and calls per connection.
    fn neutral() -> impl Strategy<Value = Event> {
        let id = prop::sample::select(vec!["a", "b", "c"]).prop_map(|id| PeerId::new(id).unwrap());
        let key = prop::sample::select(vec!["", "a", "k", "call-1"]).prop_map(Key::from);
        let card = prop::sample::select(vec![
            Card::default(),
            Card { leads: true, ..Card::default() },
            Card { is_shared: true, ..Card::default() },
            Card { flow: Flow::Receives, ..Card::default() },
            Card { flow: Flow::Awaits, ..Card::default() },
        ]);
        let flow = prop::sample::select(vec![Flow::Sends, Flow::Receives]);
        let start =
            prop::sample::select(vec![Start::AtOnce, Start::WhenAsked, Start::IfNeeded, Start::Never]);
        let parts = (0..16u8, id.clone(), prop::option::of(id), key, card, start, flow);
        let request = parts.prop_map(|(what, uid, other, key, card, start, flow)| match what {
            0 | 1 => Request::Register { uid, card },
            2 => Request::Unregister(uid),
            3 | 4 => Request::Call { key, to: uid, from: other, start, media: None, only: None },
            5 | 6 => Request::Meet { key, uid, card, start, only: None },
            7 => Request::Signal { key, payload: payload() },
            8 => Request::End(key),
            9 => Request::Join(RoomId::new("r").unwrap()),
            10 => Request::Leave,
            11 => Request::Describe { uid, card },
            12 => Request::Watch,
            13 => Request::Unwatch,
            14 => Request::List(flow),
            _ => Request::Send { to: None, hint: other, payload: payload() },
        });
        request.prop_map(|request| Event::Asked { request, frame: None })
    }

    fn payload() -> Payload {
        Payload::new(Dialect::Antmedia, "{}".into(), callbin_protocol::Signal::OfferRequest)
    }

    fn event() -> impl Strategy<Value = (usize, Event)> {
        let uid = prop::sample::select(vec!["a", "b", "c", "d", "", "x y"]);
        let text =
            (0..9u8, uid, prop::sample::select(vec!["r", "s", "session"])).prop_map(|(verb, uid, room)| {
                match verb {
                    0..=2 => format!("HELLO {uid}"),
                    3 => format!("SESSION {uid}"),
                    4 | 5 => format!("ROOM {room}"),
                    6 => format!("ROOM_PEER_MSG {uid} hi"),
                    7 => "ROOM_PEER_LIST".into(),
                    _ => "{}".into(),
                }
            });
        let event = prop_oneof![
            3 => Just(opened()),
            3 => Just(opened_as(Dialect::Antmedia)),
            12 => neutral(),
            12 => text.prop_map(|text| said(Message::text(text))),
            1 => Just(said(Message::binary(Bytes::from_static(b"x")))),
            2 => Just(Event::Closed),
        ];
        (0..SLOTS, event)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn any_order_of_events_keeps_the_tables_consistent_and_each_peer_hears_all_in_order(
            events in prop::collection::vec((event(), 0..4_usize), 0..120)
        ) {
            let mut model = Model::default();
            for ((slot, event), passed_on) in events {
                model.step(slot, event);
                model.pass_on(passed_on);
            }
            model.finish();
        }
    }
}

mod other_dialects {
    use callbin_protocol::Signal;
    use proptest::prelude::*;

    use super::{
        super::invariants::{Model, SLOTS},
        *,
    };

    fn open(hub: &mut Hub, conn: ConnId) {
        let (grant, address) = (Arc::default(), [192, 0, 2, 1].into());
        hub.handle(conn, Event::Opened { grant, address, dialect: Dialect::Rooms }, &mut Vec::new());
    }

    fn ask(hub: &mut Hub, conn: ConnId, request: Request) -> Vec<super::super::Effect> {
        let mut effects = Vec::new();
        hub.handle(conn, Event::Asked { request, frame: None }, &mut effects);
        effects
    }

    #[test]
    fn a_message_that_is_not_delivered_comes_back() {
        let mut hub = Hub::default();
        open(&mut hub, ALICE);
        let payload = Payload::new(Dialect::Rooms, "{}".into(), Signal::OfferRequest);
        for to in [None, PeerId::new("bob").ok()] {
            let request = Request::Send { to, hint: None, payload: payload.clone() };
            let effects = ask(&mut hub, ALICE, request);
            let refused = effects.iter().find_map(|effect| match effect {
                super::super::Effect::Tell(ALICE, Notice::Refused(refused)) => Some(refused),
                _ => None,
            });
            let refused = refused.unwrap();
            assert_eq!((&refused.refusal, &refused.payload), (&Refusal::NotInRoom, &Some(payload.clone())));
            assert_eq!(Notice::Refused(refused.clone()).len(), payload.len(), "it counts in the queue");
        }
    }

    #[test]
    fn the_webhook_is_not_asked_about_a_join_without_an_id() {
        let mut hub = Hub::default();
        open(&mut hub, ALICE);
        let join = Request::Join(RoomId::new("r").unwrap());
        assert_eq!(hub.wish(ALICE, &join), None);
        ask(&mut hub, ALICE, Request::Register { uid: PeerId::new("alice").unwrap(), card: Card::default() });
        assert!(matches!(hub.wish(ALICE, &join), Some((Wish::Join(_), Some(_)))));
    }

    fn register(uid: &str) -> Request {
        Request::Register { uid: PeerId::new(uid).unwrap(), card: Card::default() }
    }

    fn call(to: &str, from: &str) -> Request {
        let (to, from) = (PeerId::new(to).unwrap(), PeerId::new(from).ok());
        Request::Call { key: Key::default(), to, from, start: Start::AtOnce, media: None, only: None }
    }

    /// The refusal among the effects.
    fn refusal(effects: &[super::super::Effect]) -> Option<&Refusal> {
        effects.iter().find_map(|effect| match effect {
            super::super::Effect::Tell(_, Notice::Refused(refused)) => Some(&refused.refusal),
            _ => None,
        })
    }

    #[test]
    fn a_member_of_a_room_cannot_call() {
        let mut hub = Hub::default();
        [ALICE, BOB].into_iter().for_each(|conn| open(&mut hub, conn));
        ask(&mut hub, ALICE, register("alice"));
        ask(&mut hub, BOB, register("bob"));
        ask(&mut hub, ALICE, Request::Join(RoomId::new("r").unwrap()));
        assert_eq!(refusal(&ask(&mut hub, ALICE, call("bob", "alice"))), Some(&Refusal::AlreadyInRoom));
    }

    fn uid() -> impl Strategy<Value = PeerId> {
        prop::sample::select(vec!["a", "b", "c", "d"]).prop_map(|text| PeerId::new(text).unwrap())
    }

    fn key() -> impl Strategy<Value = Key> {
        prop::sample::select(vec!["", "a", "b", "call-1"]).prop_map(Key::from)
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop::sample::select(vec![Dialect::Rooms, Dialect::Action])
            .prop_map(|dialect| Payload::new(dialect, "{}".into(), Signal::OfferRequest))
    }

    fn start() -> impl Strategy<Value = Start> {
        prop::sample::select(vec![Start::AtOnce, Start::WhenAsked, Start::Never])
    }

    fn card() -> impl Strategy<Value = Card> {
        any::<(bool, bool)>().prop_map(|(is_shared, leads)| Card { is_shared, leads, ..Card::default() })
    }

    fn request() -> impl Strategy<Value = Request> {
        let room = prop::sample::select(vec!["r", "s"]).prop_map(|text| RoomId::new(text).unwrap());
        prop_oneof![
            3 => (uid(), card()).prop_map(|(uid, card)| Request::Register { uid, card }),
            1 => uid().prop_map(Request::Unregister),
            2 => (key(), uid(), prop::option::of(uid()), start())
                .prop_map(|(key, to, from, start)| Request::Call { key, to, from, start, media: None, only: None }),
            2 => (key(), uid(), card(), start())
                .prop_map(|(key, uid, card, start)| Request::Meet { key, uid, card, start, only: None }),
            1 => (key(), payload()).prop_map(|(key, payload)| Request::Signal { key, payload }),
            1 => key().prop_map(Request::End),
            3 => room.prop_map(Request::Join),
            1 => Just(Request::Leave),
            2 => (prop::option::of(uid()), prop::option::of(uid()), payload())
                .prop_map(|(to, hint, payload)| Request::Send { to, hint, payload }),
            1 => Just(Request::Members),
            1 => Just(Request::Close(CloseReason::NotJoined)),
        ]
    }

    fn event() -> impl Strategy<Value = Event> {
        let dialect = prop::sample::select(vec![Dialect::Text, Dialect::Rooms, Dialect::Antmedia]);
        let text = prop::sample::select(vec![
            "HELLO a",
            "HELLO b",
            "SESSION a",
            "ROOM r",
            "ROOM_PEER_MSG a {}",
            "x",
        ]);
        prop_oneof![
            2 => dialect.prop_map(|dialect| Event::Opened {
                grant: Arc::default(),
                address: [192, 0, 2, 1].into(),
                dialect,
            }),
            6 => request().prop_map(|request| Event::Asked { request, frame: None }),
            2 => text.prop_map(|text| said(Message::text(text))),
            1 => Just(Event::Closed),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn any_requests_in_any_order_keep_the_tables_consistent(
            events in prop::collection::vec((0..SLOTS, event(), 0..4_usize), 0..120)
        ) {
            let mut model = Model::default();
            for (slot, event, passed_on) in events {
                model.step(slot, event);
                model.pass_on(passed_on);
            }
            model.finish();
        }
    }
}
