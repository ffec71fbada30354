//! What members and the node say, and what becomes of it.

use callbin_protocol::Candidate;
use proptest::prelude::*;

use super::*;

/// No effect.
const NOTHING: [&str; 0] = [];

/// A room, and the sessions that it has started.
#[derive(Default)]
struct Room {
    room: NodeRoom,
    /// The sessions, and whether their node offers.
    sessions: BTreeMap<(String, String), bool>,
    /// Who is there for whom, since it joined.
    hidden: Vec<(String, String)>,
}

fn id(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn peer(name: &str) -> Peer {
    if name == "node" { Peer::Node } else { Peer::Member(id(name)) }
}

fn name(peer: &Peer) -> String {
    match peer {
        Peer::Node => "node".into(),
        Peer::Member(uid) => uid.to_string(),
    }
}

fn description(kind: SdpType, certificate: &str) -> Signal {
    Signal::Sdp { kind, sdp: format!("v=0\r\na=fingerprint:sha-256 {certificate}\r\n") }
}

fn offer(certificate: &str) -> Signal {
    description(SdpType::Offer, certificate)
}

fn answer(certificate: &str) -> Signal {
    description(SdpType::Answer, certificate)
}

fn ice(text: &str) -> Signal {
    Signal::Ice(Candidate { candidate: text.into(), ..Candidate::default() })
}

impl Room {
    /// These members are there, and a node. The first ones have come first.
    fn of(names: &[&str]) -> Self {
        let mut room = Self::default();
        room.room.set_has_node(true);
        names.iter().for_each(|name| room.room.joined(&id(name)));
        room
    }

    /// The members publish and are live.
    fn live(names: &[&str]) -> Self {
        let mut room = Self::of(names);
        for name in names {
            assert_eq!(
                room.say(name, "node", offer(name)),
                [format!("{name} publishes"), format!("{name}>node: offer")]
            );
            room.signal(name, "node", answer("N"));
        }
        for name in names {
            room.is_live(name);
        }
        room
    }

    /// Carries out effects, and says what they were.
    fn look(&mut self, act: impl FnOnce(&mut NodeRoom, &mut Vec<Effect>)) -> Vec<String> {
        let mut effects = Vec::new();
        act(&mut self.room, &mut effects);
        self.check();
        effects.iter().map(|effect| self.carry_out(effect)).collect()
    }

    fn carry_out(&mut self, effect: &Effect) -> String {
        let pair = |member: &PeerId, peer: &Peer| (member.to_string(), name(peer));
        let word = |signal: &Signal| match signal {
            Signal::Sdp { kind: SdpType::Offer, .. } => "offer".to_owned(),
            Signal::Sdp { kind: SdpType::Answer, .. } => "answer".to_owned(),
            Signal::Ice(candidate) => candidate.candidate.clone(),
            Signal::OfferRequest => "request".to_owned(),
        };
        match effect {
            Effect::Start { member, peer, is_asked, shows } => {
                let pair = pair(member, peer);
                assert_eq!(*shows, self.hidden.contains(&pair), "{pair:?} is shown if it is hidden");
                self.hidden.retain(|hidden| *hidden != pair);
                assert_eq!(self.sessions.insert(pair, *is_asked), None, "one session for each pair");
                let what = match peer {
                    Peer::Node => "publishes".into(),
                    Peer::Member(other) => format!("plays {other}"),
                };
                let asked = if *is_asked { ", asked" } else { "" };
                let shown = if *shows { ", shown" } else { "" };
                format!("{member} {what}{asked}{shown}")
            }
            Effect::Send { member, peer, signal } => {
                assert!(self.sessions.contains_key(&pair(member, peer)), "there is a session");
                format!("{member}>{}: {}", name(peer), word(signal))
            }
            Effect::Deliver { member, peer, signal } => format!("{}>{member}: {}", name(peer), word(signal)),
            Effect::End { member, peer } => {
                assert!(self.sessions.remove(&pair(member, peer)).is_some(), "there is a session");
                format!("{member}>{} ends", name(peer))
            }
            Effect::Show { member, peer } => {
                let pair = pair(member, peer);
                assert!(self.hidden.contains(&pair), "nobody comes twice");
                self.hidden.retain(|hidden| *hidden != pair);
                format!("{member} with {}", name(peer))
            }
            Effect::Hide { member, peer } => {
                assert!(!self.hidden.contains(&pair(member, peer)), "nobody leaves twice");
                self.hidden.push(pair(member, peer));
                format!("{member} without {}", name(peer))
            }
        }
    }

    fn check(&self) {
        for member in self.room.members.values() {
            let links = std::iter::once(&member.node).chain(member.others.values());
            assert_eq!(member.held, links.map(Link::held).sum::<usize>(), "what is kept is counted");
            assert!(member.held <= MAX_HELD);
            assert!(
                member.others.keys().all(|other| self.room.has(other)),
                "nothing is kept of who has left"
            );
        }
    }

    fn say(&mut self, from: &str, to: &str, signal: Signal) -> Vec<String> {
        self.look(|room, effects| room.said(&id(from), &peer(to), signal, effects))
    }

    fn signal(&mut self, member: &str, of: &str, signal: Signal) -> Vec<String> {
        self.look(|room, effects| room.signalled(&id(member), &peer(of), signal, effects))
    }

    fn is_live(&mut self, name: &str) -> Vec<String> {
        self.look(|room, effects| room.live(&id(name), effects))
    }

    fn leave(&mut self, name: &str) -> Vec<String> {
        let done = self.look(|room, effects| room.left(&id(name), effects));
        assert!(!self.hidden.iter().any(|(_, peer)| peer == name), "the others are told that it leaves");
        self.hidden.retain(|(member, _)| member != name);
        done
    }

    fn end(&mut self, member: &str, of: &str, why: Why) -> Vec<String> {
        self.sessions.remove(&(member.into(), of.into()));
        self.look(|room, effects| room.ended(&id(member), &peer(of), why, effects))
    }

    fn refuse(&mut self, member: &str, of: &str, shows: bool) -> Vec<String> {
        self.sessions.remove(&(member.into(), of.into()));
        if shows {
            self.hidden.push((member.into(), of.into()));
        }
        self.look(|room, effects| room.refused(&id(member), &peer(of), shows, effects))
    }

    fn has_node(&mut self, has_node: bool) -> Vec<String> {
        self.room.set_has_node(has_node);
        self.look(|room, effects| {
            if has_node {
                room.look_again(effects)
            }
        })
    }
}

#[test]
fn a_newcomer_offers_and_the_node_offers_in_its_name() {
    let mut room = Room::live(&["old"]);
    room.room.joined(&id("new"));
    assert_eq!(room.say("new", "node", offer("1")), ["new publishes", "new>node: offer"]);
    assert_eq!(room.say("new", "node", ice("c1")), ["new>node: c1"]);
    assert_eq!(room.signal("new", "node", answer("N")), ["node>new: answer"]);
    assert_eq!(room.say("new", "old", offer("2")), ["new plays old", "new>old: offer"]);
    assert_eq!(room.signal("new", "old", answer("N")), ["old>new: answer"]);
    assert_eq!(room.is_live("new"), ["old plays new, asked"]);
    assert_eq!(room.signal("old", "new", offer("N")), ["new>old: offer"]);
    assert_eq!(room.say("old", "new", answer("3")), ["old>new: answer"]);
    assert_eq!(room.say("old", "new", ice("c2")), ["old>new: c2"]);
    assert_eq!(room.is_live("new"), NOTHING, "all have it");
}

#[test]
fn an_offer_to_a_stream_that_is_not_live_waits() {
    let mut room = Room::of(&["a", "b"]);
    room.say("b", "node", offer("b"));
    assert_eq!(room.say("b", "a", offer("1")), NOTHING);
    assert_eq!(room.say("b", "a", ice("c1")), NOTHING);
    assert_eq!(room.say("b", "a", offer("2")), NOTHING, "it has tried again");
    assert_eq!(room.say("b", "a", ice("c2")), NOTHING);
    room.say("a", "node", offer("a"));
    assert_eq!(room.is_live("a"), ["b plays a", "b>a: offer", "b>a: c2"]);
    assert_eq!(room.signal("b", "a", answer("N")), ["a>b: answer"]);
}

#[test]
fn a_later_offer_of_a_connection_stays_in_its_session_and_another_one_gets_another() {
    let mut room = Room::live(&["a", "b"]);
    assert_eq!(room.say("a", "node", offer("a")), ["a>node: offer"]);
    assert_eq!(room.say("a", "node", offer("a2")), ["a>node ends", "a publishes", "a>node: offer"]);
    assert_eq!(room.say("b", "a", offer("1")), NOTHING, "it is not live any more");
    assert_eq!(room.is_live("a"), ["b plays a", "b>a: offer"]);
    assert_eq!(room.say("b", "a", offer("2")), ["b>a ends", "b plays a", "b>a: offer"]);
}

#[test]
fn of_two_offers_that_cross_that_of_the_node_stands() {
    let mut room = Room::live(&["a", "b"]);
    assert!(room.sessions[&("a".into(), "b".into())], "the node offers");
    assert_eq!(room.say("a", "b", offer("1")), NOTHING);
    assert_eq!(room.say("a", "b", ice("c1")), NOTHING, "of that offer");
    assert_eq!(room.say("a", "b", answer("2")), ["a>b: answer"]);
    assert_eq!(room.say("a", "b", answer("2")), NOTHING, "once");
    assert_eq!(room.say("a", "b", offer("3")), ["a>b ends", "a plays b", "a>b: offer"]);
    assert_eq!(room.say("a", "b", answer("4")), NOTHING, "nobody asked for it");
}

#[test]
fn a_member_that_leaves_ends_its_sessions_and_those_that_play_it() {
    let mut room = Room::live(&["a", "b", "c"]);
    assert_eq!(room.leave("b"), ["b>c ends", "a>b ends", "b>node ends"]);
    assert_eq!(room.is_live("b"), NOTHING);
    assert_eq!(room.signal("a", "b", ice("c")), NOTHING);
}

#[test]
fn after_the_loss_of_the_node_all_meet_anew() {
    let mut room = Room::live(&["a", "b"]);
    room.say("a", "b", answer("1"));
    room.room.set_has_node(false);
    assert_eq!(room.end("a", "node", Why::Lost), ["a without node"]);
    assert_eq!(room.end("b", "node", Why::Lost), ["b without node"]);
    assert_eq!(room.end("a", "b", Why::Lost), ["a without b"]);
    assert_eq!(room.has_node(true), ["a publishes, asked, shown", "b publishes, asked, shown"]);
    assert_eq!(room.signal("a", "node", offer("N")), ["node>a: offer"]);
    assert_eq!(room.say("a", "node", answer("2")), ["a>node: answer"]);
    assert_eq!(room.is_live("b"), ["a plays b, asked, shown"]);
}

#[test]
fn without_a_node_offers_wait_for_one() {
    let mut room = Room::of(&["a"]);
    room.has_node(false);
    assert_eq!(room.say("a", "node", offer("1")), NOTHING);
    assert_eq!(room.has_node(true), ["a publishes", "a>node: offer"]);
}

#[test]
fn a_session_that_fails_is_started_again_a_few_times() {
    let mut room = Room::live(&["a", "b"]);
    for _ in 1..MAX_FAILURES {
        assert_eq!(room.end("a", "b", Why::Failed), ["a without b", "a plays b, asked, shown"]);
    }
    room.room.connected(&id("a"), &peer("b"));
    for _ in 1..MAX_FAILURES {
        assert_eq!(room.end("a", "b", Why::Failed), ["a without b", "a plays b, asked, shown"]);
    }
    assert_eq!(room.end("a", "b", Why::Failed), ["a without b"]);
    assert_eq!(room.end("a", "node", Why::Left), NOTHING, "it offers again if it goes on");
}

#[test]
fn what_is_refused_disappears_and_comes_back_when_it_can() {
    let mut room = Room::of(&["a", "b"]);
    room.say("b", "node", offer("b"));
    assert_eq!(room.is_live("b"), ["a plays b, asked"]);
    assert_eq!(room.refuse("a", "b", false), ["a without b"]);
    assert_eq!(room.has_node(true), ["a plays b, asked, shown"]);
    assert_eq!(room.refuse("a", "b", true), NOTHING, "it was not told that it is there");
    assert_eq!(room.end("a", "b", Why::Gone), NOTHING);
    assert_eq!(room.is_live("b"), ["a plays b, asked, shown"]);
    assert_eq!(
        room.end("a", "b", Why::Gone),
        ["a without b", "a plays b, asked, shown"],
        "with other tracks"
    );
    assert_eq!(room.end("a", "b", Why::Refused), ["a without b"]);
}

#[test]
fn one_that_only_receives_is_not_waited_for() {
    let mut room = Room::live(&["a"]);
    room.room.joined(&id("viewer"));
    room.say("viewer", "node", offer("1"));
    assert_eq!(room.say("viewer", "a", offer("2")), ["viewer plays a", "viewer>a: offer"]);
    assert_eq!(room.end("viewer", "node", Why::Unacceptable), ["viewer without node", "a without viewer"]);
    room.room.joined(&id("late"));
    assert_eq!(room.say("late", "viewer", offer("3")), ["late without viewer"]);
    assert_eq!(room.has_node(true), NOTHING, "it has nothing to publish");
    assert_eq!(room.leave("late"), NOTHING);
    assert_eq!(room.say("viewer", "node", offer("4")), NOTHING, "it is late");
    assert_eq!(room.leave("viewer"), ["viewer>a ends", "a with viewer"]);
}

#[test]
fn a_member_can_ask_for_an_offer_and_decline() {
    let mut room = Room::live(&["a", "b"]);
    assert_eq!(room.say("b", "a", Signal::OfferRequest), ["b plays a, asked"]);
    assert_eq!(room.say("b", "a", Signal::OfferRequest), NOTHING);
    assert_eq!(room.look(|room, effects| room.declined(&id("b"), &peer("a"), effects)), ["b>a ends"]);
    assert_eq!(room.is_live("a"), NOTHING);
}

#[test]
fn what_waits_is_bounded() {
    let mut room = Room::of(&["a", "b"]);
    let long = "x".repeat(MAX_HELD / 2);
    assert_eq!(room.say("b", "a", offer(&long)), NOTHING);
    assert_eq!(room.say("b", "node", Signal::OfferRequest), ["b publishes, asked"]);
    for number in 0..10_000 {
        room.say("b", "a", ice(&number.to_string().repeat(100)));
    }
    assert_eq!(room.say("b", "a", offer(&"y".repeat(MAX_HELD))), ["b without a"]);
    assert_eq!(room.room.members[&id("b")].held, 0);
    assert_eq!(room.say("b", "b", offer("1")), NOTHING, "it is none of the others");
    assert_eq!(room.say("b", "c", offer("1")), NOTHING, "nobody has this name");
}

/// Otherwise, GStreamer's examples send nothing to any peer.
#[test]
fn a_client_without_header_extensions_sees_peers_that_receive() {
    let lines = |kind, direction: &str, more: &str| Signal::Sdp {
        kind,
        sdp: format!("v=0\r\na={direction}\r\n{more}"),
    };
    let extension = "a=extmap:1 urn:ietf:params:rtp-hdrext:sdes:mid\r\n";
    let seen = |room: &mut Room, more: &str, peer: &Peer, direction: &str| {
        let mut effects = Vec::new();
        room.room.said(&id("b"), peer, lines(SdpType::Offer, "sendrecv", more), &mut effects);
        effects.clear();
        room.room.signalled(&id("b"), peer, lines(SdpType::Answer, direction, ""), &mut effects);
        match effects.pop() {
            Some(Effect::Deliver { signal: Signal::Sdp { sdp, .. }, .. }) => sdp.contains("a=sendrecv"),
            other => panic!("{other:?}"),
        }
    };
    let mut room = Room::live(&["a", "b"]);
    assert!(seen(&mut room, "", &peer("a"), "sendonly"));
    assert!(!seen(&mut room, "", &Peer::Node, "recvonly"));
    assert!(!seen(&mut room, extension, &peer("a"), "sendonly"));

    room.say("a", "node", lines(SdpType::Offer, "sendrecv", ""));
    let mut effects = Vec::new();
    room.room.said(&id("a"), &peer("b"), lines(SdpType::Answer, "sendrecv", ""), &mut effects);
    let Some(Effect::Send { signal: Signal::Sdp { sdp, .. }, .. }) = effects.pop() else {
        panic!("it is sent")
    };
    assert!(sdp.contains("a=recvonly"), "the node wants none of it: {sdp}");
}

const NAMES: [&str; 4] = ["a", "b", "c", "node"];

proptest! {
    /// In any order of events, sessions are started and ended once, and signals are sent to sessions that exist.
    #[test]
    fn any_order_of_events_keeps_the_sessions_consistent(
        acts in prop::collection::vec((0..3_usize, 0..4_usize, 0..14_u8), 0..200)
    ) {
        let mut room = Room::default();
        for (member, other, act) in acts {
            let (member, other) = (NAMES[member], NAMES[other]);
            let is_there = room.room.has(&id(member));
            let has_session = room.sessions.contains_key(&(member.to_owned(), other.to_owned()));
            match act {
                0 | 1 if !is_there => room.room.joined(&id(member)),
                0 => drop(room.leave(member)),
                1..=3 => drop(room.say(member, other, offer(&format!("{member}{act}")))),
                4 => drop(room.say(member, other, answer("1"))),
                5 => drop(room.say(member, other, ice("c"))),
                6 => drop(room.say(member, other, Signal::OfferRequest)),
                7 if room.sessions.contains_key(&(member.to_owned(), "node".to_owned())) => drop(room.is_live(member)),
                8 => room.room.silent(&id(member)),
                9 | 10 if has_session => {
                    let why = [Why::Left, Why::Failed, Why::Lost, Why::Gone, Why::Unacceptable, Why::Refused];
                    drop(room.end(member, other, why[usize::from(act) % why.len()]));
                }
                11 if has_session => drop(room.end(member, other, Why::Failed)),
                12 => drop(room.has_node(true)),
                13 => drop(room.has_node(false)),
                _ => {}
            }
        }
        for name in &NAMES[..3] {
            room.leave(name);
        }
        prop_assert!(room.sessions.is_empty(), "{:?}", room.sessions);
        prop_assert!(room.room.members.is_empty());
    }
}
