use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use callbin_protocol::{Candidate, SdpType};
use proptest::prelude::*;

use super::*;
use crate::{
    agreement::Wishes,
    media::encode::codec::Formats,
    negotiation::{self, Negotiation, Phase},
    sdp::Direction,
};

const T0: Duration = Duration::ZERO;
const BOTH: Direction = Direction { sends: true, receives: true };
const WISHES: Wishes = Wishes { audio: BOTH, video: BOTH, cameras: 1, codecs: Formats::USUAL };

fn peer(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn offer() -> Signal {
    Signal::Sdp { kind: SdpType::Offer, sdp: "v=0".into() }
}

/// We join, and no connection of an earlier stay lives.
fn entered(peers: &[&str]) -> Input {
    Input::Entered { peers: peers.iter().copied().map(peer).collect(), alive: BTreeSet::new() }
}

fn open(name: &str, start: Start, polite: bool) -> Effect {
    Effect::Open { peer: peer(name), start, polite }
}

#[test]
fn the_new_member_offers_to_each() {
    let mut room = Room::new(16);
    assert_eq!(
        room.handle(T0, entered(&["a", "b"])),
        [open("a", Start::Offer, false), open("b", Start::Offer, false)]
    );
    assert_eq!(
        room.handle(T0, Input::Joined(peer("c"))),
        [Effect::Report(peer("c"), Report::Joined), open("c", Start::AwaitOffer, true)]
    );
    assert_eq!(room.handle(T0, Input::Said(peer("c"), offer())), [Effect::Deliver(peer("c"), offer())]);
}

#[test]
fn whoever_offered_offers_again_after_a_failure() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["older"]));
    room.handle(T0, Input::Joined(peer("younger")));
    let later = Effect::RetryLater(peer("older"));
    assert_eq!(room.handle(T0, Input::Broken(peer("older"))), [Effect::Close(peer("older")), later]);
    assert_eq!(room.handle(T0, Input::Retry(peer("older"))), [open("older", Start::Offer, false)]);
    assert_eq!(room.handle(T0, Input::Retry(peer("older"))), [], "it is under way");
    // The other side offers, so this one only waits.
    assert_eq!(room.handle(T0, Input::Broken(peer("younger"))), [Effect::Close(peer("younger"))]);
    assert_eq!(room.handle(T0, Input::Retry(peer("younger"))), []);
    room.handle(T0, Input::Broken(peer("older")));
    room.handle(T0, Input::Left(peer("older")));
    assert_eq!(room.handle(T0, Input::Retry(peer("older"))), [], "it is gone");
}

#[test]
fn an_unbearable_member_is_shunned_until_it_leaves() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["bad"]));
    assert_eq!(room.handle(T0, Input::Misbehaved(peer("bad"))), [Effect::Close(peer("bad"))]);
    assert_eq!(room.handle(T0, Input::Retry(peer("bad"))), []);
    assert_eq!(room.handle(T0, Input::Said(peer("bad"), offer())), []);
    room.handle(T0, Input::Left(peer("bad")));
    room.handle(T0, Input::Joined(peer("bad")));
    assert_eq!(room.handle(T0, Input::Said(peer("bad"), offer())), [Effect::Deliver(peer("bad"), offer())]);
}

/// Simulates a member that ends each negotiation and offers again until it is shunned; returns how many of its offers
/// were accepted.
fn restless(room: &mut Room, now: Duration) -> usize {
    let restless = Effect::Report(peer("bad"), Report::Restless);
    for number in 0..1000 {
        room.handle(now, Input::Declined(peer("bad")));
        let effects = room.handle(now, Input::Said(peer("bad"), offer()));
        if effects.contains(&restless) {
            assert_eq!(effects, [restless]);
            return number;
        }
        assert_eq!(effects.len(), 2, "{effects:?}");
    }
    panic!("it is never shunned");
}

#[test]
fn a_member_that_begins_again_and_again_is_shunned() {
    let mut room = Room::new(16);
    room.handle(T0, Input::Joined(peer("bad")));
    assert_eq!(restless(&mut room, T0), 10);
    let later = Duration::from_secs(1000);
    assert_eq!(room.handle(later, Input::Said(peer("bad"), offer())), [], "until it leaves");
    room.handle(later, Input::Joined(peer("bad")));
    assert_eq!(restless(&mut room, later), 10);
}

#[test]
fn new_beginnings_within_a_connection_count_as_those_after_it() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["bad"]));
    for _ in 0..7 {
        assert_eq!(room.handle(T0, Input::Rebuilt(peer("bad"))), []);
    }
    assert_eq!(restless(&mut room, T0), 3);
    assert_eq!(room.handle(T0, Input::Rebuilt(peer("nobody"))), []);

    room.handle(T0, Input::Joined(peer("worse")));
    for _ in 0..10 {
        assert_eq!(room.handle(T0, Input::Rebuilt(peer("worse"))), []);
    }
    let ended = [Effect::Close(peer("worse")), Effect::Report(peer("worse"), Report::Restless)];
    assert_eq!(room.handle(T0, Input::Rebuilt(peer("worse"))), ended);
    assert_eq!(room.handle(T0, Input::Retry(peer("worse"))), []);
}

#[test]
fn who_is_shunned_stays_so_when_we_enter_again() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["bad", "good"]));
    room.handle(T0, Input::Misbehaved(peer("bad")));
    let again = room.handle(T0, entered(&["bad", "good"]));
    assert_eq!(again, [Effect::Close(peer("good")), open("good", Start::Offer, false)]);
    assert_eq!(room.handle(T0, Input::Said(peer("bad"), offer())), []);
    // A member that left meanwhile gets a fresh start.
    room.handle(T0, entered(&[]));
    assert_eq!(room.handle(T0, entered(&["bad"])), [open("bad", Start::Offer, false)]);
}

#[test]
fn a_member_that_left_can_come_back_at_once() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["a"]));
    assert_eq!(
        room.handle(T0, Input::Left(peer("a"))),
        [Effect::Close(peer("a")), Effect::Report(peer("a"), Report::Left)]
    );
    assert_eq!(
        room.handle(T0, Input::Joined(peer("a"))),
        [Effect::Report(peer("a"), Report::Joined), open("a", Start::AwaitOffer, true)]
    );
    // The same without the message that it left (late or lost):
    assert_eq!(
        room.handle(T0, Input::Joined(peer("a"))),
        [
            Effect::Close(peer("a")),
            Effect::Report(peer("a"), Report::Left),
            Effect::Report(peer("a"), Report::Joined),
            open("a", Start::AwaitOffer, true)
        ]
    );
}

#[test]
fn a_broken_connection_begins_anew_with_an_offer_only() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["a"]));
    let later = Effect::RetryLater(peer("a"));
    assert_eq!(room.handle(T0, Input::Broken(peer("a"))), [Effect::Close(peer("a")), later]);
    assert_eq!(room.handle(T0, Input::Said(peer("a"), Signal::Ice(Candidate::default()))), []);
    assert_eq!(
        room.handle(T0, Input::Said(peer("a"), offer())),
        [open("a", Start::BeCalled, false), Effect::Deliver(peer("a"), offer())]
    );
    assert_eq!(room.handle(T0, Input::Left(peer("nobody"))), []);
}

#[test]
fn more_than_the_limit_are_declined() {
    let mut room = Room::new(1);
    assert_eq!(
        room.handle(T0, entered(&["a", "b"])),
        [open("a", Start::Offer, false), Effect::Decline(peer("b")), Effect::Report(peer("b"), Report::Full)]
    );
    assert_eq!(
        room.handle(T0, Input::Said(peer("b"), offer())),
        [Effect::Decline(peer("b")), Effect::Report(peer("b"), Report::Full)]
    );
    room.handle(T0, Input::Left(peer("a")));
    assert_eq!(
        room.handle(T0, Input::Said(peer("b"), offer())),
        [open("b", Start::BeCalled, false), Effect::Deliver(peer("b"), offer())]
    );
}

#[test]
fn entering_again_begins_anew_with_all_whose_connection_is_dead() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["a", "b"]));
    assert_eq!(
        room.handle(T0, entered(&["b"])),
        [
            Effect::Close(peer("a")),
            Effect::Report(peer("a"), Report::Left),
            Effect::Close(peer("b")),
            open("b", Start::Offer, false)
        ]
    );
}

#[test]
fn entering_again_keeps_connections_that_live_until_there_are_new_ones() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["a"]));
    room.handle(T0, Input::Joined(peer("b")));
    room.handle(T0, Input::Joined(peer("c")));
    let alive = ["a", "b", "c"].map(peer).into();
    let again = Input::Entered { peers: vec![peer("b")], alive };
    assert_eq!(room.handle(T0, again), [Effect::Renew { peer: peer("b"), polite: false }]);
    assert_eq!(room.away().cloned().collect::<Vec<_>>(), [peer("a"), peer("c")]);
    // One comes back, the other one does not.
    let awaits = Effect::Renew { peer: peer("a"), polite: true };
    assert_eq!(room.handle(T0, Input::Joined(peer("a"))), [awaits]);
    assert_eq!(room.handle(T0, Input::Said(peer("a"), offer())), [Effect::Deliver(peer("a"), offer())]);
    let left = [Effect::Close(peer("c")), Effect::Report(peer("c"), Report::Left)];
    assert_eq!(room.handle(T0, Input::Gone(peer("c"))), left);
    assert_eq!(room.handle(T0, Input::Gone(peer("a"))), [], "it is here");
    // After a failure the older member offers again, as usual.
    assert_eq!(room.handle(T0, Input::Broken(peer("a"))), [Effect::Close(peer("a"))]);
    let later = Effect::RetryLater(peer("b"));
    assert_eq!(room.handle(T0, Input::Broken(peer("b"))), [Effect::Close(peer("b")), later]);
}

#[test]
fn a_member_whose_connection_ends_while_it_is_away_has_left() {
    let mut room = Room::new(16);
    room.handle(T0, entered(&["a"]));
    room.handle(T0, Input::Entered { peers: vec![], alive: [peer("a")].into() });
    let left = [Effect::Close(peer("a")), Effect::Report(peer("a"), Report::Left)];
    assert_eq!(room.handle(T0, Input::Broken(peer("a"))), left);
}

/// A room of simulated clients: the real state machines, a server that keeps the order of each socket, and slow
/// webrtcbins.
struct World {
    clients: BTreeMap<PeerId, Client>,
    /// In the order they joined.
    members: Vec<PeerId>,
    generation: u32,
    /// Who closed a connection, and to whom.
    closed: Vec<(PeerId, PeerId)>,
}

struct Client {
    room: Room,
    pairs: BTreeMap<PeerId, Pair>,
    /// Messages from the server that are not read yet.
    inbox: VecDeque<Input>,
    /// Events of the webrtcbins that are not handled yet. The number is the webrtcbin's generation: events of a
    /// replaced one are ignored.
    done: VecDeque<(PeerId, u32, negotiation::Input)>,
}

struct Pair {
    negotiation: Negotiation,
    generation: u32,
    /// The ICE ufrags of the two descriptions, once they are set.
    local: Option<String>,
    remote: Option<String>,
}

/// A session description. Each webrtcbin (each `ufrag`) has its own certificate.
fn description(kind: SdpType, ufrag: &str) -> String {
    let generation = ufrag.trim_start_matches("ufrag").parse::<u64>().unwrap();
    let certificate: Vec<String> =
        generation.to_be_bytes().repeat(4).iter().map(|it| format!("{it:02X}")).collect();
    let setup = if kind == SdpType::Offer { "actpass" } else { "active" };
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
         a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:{setup}\r\na=rtpmap:111 opus/48000/2\r\n",
        certificate.join(":")
    )
}

const HOST: &str = "candidate:1 1 UDP 100 10.0.0.1 9 typ host";

impl World {
    fn new() -> Self {
        Self { clients: BTreeMap::new(), members: Vec::new(), generation: 0, closed: Vec::new() }
    }

    fn join(&mut self, who: &PeerId) {
        if self.members.contains(who) {
            return;
        }
        let client = Client {
            room: Room::new(16),
            pairs: BTreeMap::new(),
            inbox: VecDeque::from([Input::Entered { peers: self.members.clone(), alive: BTreeSet::new() }]),
            done: VecDeque::new(),
        };
        self.clients.insert(who.clone(), client);
        self.notify(&Input::Joined(who.clone()));
        self.members.push(who.clone());
    }

    fn leave(&mut self, who: &PeerId) {
        if self.clients.remove(who).is_some() {
            self.members.retain(|member| member != who);
            self.notify(&Input::Left(who.clone()));
        }
    }

    /// The server is gone, and what it had not delivered.
    fn lose_server(&mut self) {
        self.members.clear();
        self.clients.values_mut().for_each(|client| client.inbox.clear());
    }

    /// A client is back at the server.
    fn enter_again(&mut self, who: &PeerId) {
        let Some(client) = self.clients.get_mut(who).filter(|_| !self.members.contains(who)) else { return };
        let lives = |pair: &Pair| pair.negotiation.phase() == Phase::Connected;
        let alive = client.pairs.iter().filter(|(_, pair)| lives(pair)).map(|(peer, _)| peer.clone());
        let input = Input::Entered { peers: self.members.clone(), alive: alive.collect() };
        client.inbox.push_back(input);
        self.notify(&Input::Joined(who.clone()));
        self.members.push(who.clone());
    }

    /// All pairs are connected, and heal if their path is lost.
    fn connect(&mut self) {
        for client in self.clients.values_mut() {
            for pair in client.pairs.values_mut() {
                pair.negotiation.handle(T0, negotiation::Input::Connected);
                pair.negotiation.heal();
            }
        }
    }

    fn notify(&mut self, input: &Input) {
        for member in &self.members {
            self.clients.get_mut(member).unwrap().inbox.push_back(input.clone());
        }
    }

    /// One client handles its next input; returns whether there was one. `from_server` selects the queue to look at
    /// first.
    fn step(&mut self, who: &PeerId, from_server: bool) -> bool {
        let Some(client) = self.clients.get_mut(who) else { return false };
        let message = |client: &mut Client| client.inbox.pop_front();
        if let Some(input) = from_server.then(|| message(client)).flatten() {
            self.room_input(who, input);
            return true;
        }
        if let Some((peer, generation, input)) = client.done.pop_front() {
            if client.pairs.get(&peer).is_some_and(|pair| pair.generation == generation) {
                self.pair_input(who, &peer, input);
            }
            return true;
        }
        let Some(input) = message(client) else { return false };
        self.room_input(who, input);
        true
    }

    fn room_input(&mut self, who: &PeerId, input: Input) {
        let effects = self.clients.get_mut(who).unwrap().room.handle(T0, input);
        for effect in effects {
            match effect {
                Effect::Open { peer, start, polite } => {
                    self.generation += 1;
                    let negotiation = Negotiation::new(polite, Duration::from_secs(10), WISHES);
                    let pair = Pair { negotiation, generation: self.generation, local: None, remote: None };
                    self.clients.get_mut(who).unwrap().pairs.insert(peer.clone(), pair);
                    self.pair_input(who, &peer, negotiation::Input::Start(start));
                }
                Effect::Deliver(peer, signal) => {
                    self.pair_input(who, &peer, negotiation::Input::Signal(signal));
                }
                Effect::Renew { peer, polite } => {
                    let pair = self.clients.get_mut(who).unwrap().pairs.get_mut(&peer);
                    pair.unwrap().negotiation.set_polite(polite);
                    if !polite {
                        self.pair_input(who, &peer, negotiation::Input::Heal);
                    }
                }
                Effect::Close(peer) => {
                    self.clients.get_mut(who).unwrap().pairs.remove(&peer);
                    self.closed.push((who.clone(), peer));
                }
                Effect::Decline(_) | Effect::RetryLater(_) => panic!("nobody is full, and nothing breaks"),
                Effect::Report(..) => {}
            }
        }
    }

    fn pair_input(&mut self, who: &PeerId, peer: &PeerId, input: negotiation::Input) {
        let client = self.clients.get_mut(who).unwrap();
        let Some(pair) = client.pairs.get_mut(peer) else { return };
        for effect in pair.negotiation.handle(Duration::ZERO, input) {
            let ufrag = format!("ufrag{}", pair.generation);
            let mut done = |generation, input| client.done.push_back((peer.clone(), generation, input));
            match effect {
                negotiation::Effect::CreateOffer => {
                    let sdp = description(SdpType::Offer, &ufrag);
                    done(pair.generation, negotiation::Input::Created(SdpType::Offer, sdp));
                }
                negotiation::Effect::CreateAnswer => {
                    let sdp = description(SdpType::Answer, &ufrag);
                    done(pair.generation, negotiation::Input::Created(SdpType::Answer, sdp));
                }
                negotiation::Effect::ApplyOffer(remote) | negotiation::Effect::ApplyAnswer(remote) => {
                    let ufrag = remote.text.split("a=ice-ufrag:").nth(1).and_then(|rest| rest.lines().next());
                    pair.remote = ufrag.map(String::from);
                    done(pair.generation, negotiation::Input::RemoteSet);
                }
                negotiation::Effect::SetLocal(..) => {
                    done(pair.generation, negotiation::Input::LocalSet);
                    pair.local = Some(ufrag);
                    done(pair.generation, negotiation::Input::LocalCandidate(0, HOST.into()));
                }
                negotiation::Effect::Send(signal) => {
                    let is_answer = matches!(signal, Signal::Sdp { kind: SdpType::Answer, .. });
                    let are_here = [who, peer].iter().all(|it| self.members.contains(it));
                    if let Some(other) = self.clients.get_mut(peer).filter(|_| are_here) {
                        other.inbox.push_back(Input::Said(who.clone(), signal));
                    }
                    return self.rest_of_send(who, peer, is_answer);
                }
                negotiation::Effect::Rebuild { .. } | negotiation::Effect::Heal => {
                    self.generation += 1;
                    (pair.generation, pair.local, pair.remote) = (self.generation, None, None);
                }
                negotiation::Effect::RestartIce(..) => panic!("nobody restarts ICE"),
                negotiation::Effect::Unbundle => panic!("everybody bundles"),
                negotiation::Effect::AddCandidate(..)
                | negotiation::Effect::Flow(_)
                | negotiation::Effect::Resolve(..)
                | negotiation::Effect::PathLost
                | negotiation::Effect::NoPath
                | negotiation::Effect::Report(_) => {}
                negotiation::Effect::Fail(failure) => panic!("{who} with {peer}: {failure:?}"),
            }
        }
    }

    /// Sets a description after it was sent. (A separate function, because the borrow of the other client must end.)
    fn rest_of_send(&mut self, who: &PeerId, peer: &PeerId, is_answer: bool) {
        let client = self.clients.get_mut(who).unwrap();
        let Some(pair) = client.pairs.get_mut(peer) else { return };
        let ufrag = format!("ufrag{}", pair.generation);
        if pair.local.is_none() {
            pair.local = Some(ufrag);
            let candidate = negotiation::Input::LocalCandidate(0, HOST.into());
            client.done.push_back((peer.clone(), pair.generation, candidate));
        }
        if is_answer {
            client.done.push_back((peer.clone(), pair.generation, negotiation::Input::LocalSet));
        }
    }

    /// Runs until no client has an input left.
    fn settle(&mut self) {
        for _ in 0..100_000 {
            let all: Vec<PeerId> = self.clients.keys().cloned().collect();
            let busy = all.iter().filter(|who| self.step(who, true)).count();
            if busy == 0 {
                return;
            }
        }
        panic!("they never stop talking");
    }

    /// Checks that both members of each pair have set each other's descriptions, of the same two webrtcbins.
    fn all_connected(&self) -> Result<(), String> {
        for (who, client) in &self.clients {
            let others: BTreeSet<&PeerId> = self.clients.keys().filter(|other| *other != who).collect();
            let pairs: BTreeSet<&PeerId> = client.pairs.keys().collect();
            if others != pairs {
                return Err(format!("{who} speaks with {pairs:?} instead of {others:?}"));
            }
            for (peer, pair) in &client.pairs {
                let other = self.clients[peer].pairs.get(who).unwrap();
                let agreed = pair.local == other.remote && pair.remote == other.local;
                let is_set = [Phase::Connecting, Phase::Connected].contains(&pair.negotiation.phase());
                if !agreed || pair.local.is_none() || !is_set {
                    return Err(format!("{who} and {peer} do not agree"));
                }
            }
        }
        Ok(())
    }
}

const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Act {
    Join(usize),
    Leave(usize),
    Step(usize, bool),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        2 => (0..NAMES.len()).prop_map(Act::Join),
        1 => (0..NAMES.len()).prop_map(Act::Leave),
        12 => (0..NAMES.len(), any::<bool>()).prop_map(|(who, server)| Act::Step(who, server)),
    ]
}

proptest! {
    /// For any interleaving of joins, leaves, messages and slow webrtcbins, the members that stay end up connected with
    /// each other.
    #[test]
    fn everyone_who_stays_is_connected(acts in proptest::collection::vec(act(), 0..200)) {
        let mut world = World::new();
        for act in acts {
            match act {
                Act::Join(who) => world.join(&peer(NAMES[who])),
                Act::Leave(who) => world.leave(&peer(NAMES[who])),
                Act::Step(who, server) => { world.step(&peer(NAMES[who]), server); }
            }
        }
        world.settle();
        prop_assert_eq!(world.all_connected(), Ok(()));
    }

    /// After the loss of the server, those that come back end up with a new connection to each other, and no connection of
    /// theirs was closed before.
    #[test]
    fn everyone_who_comes_back_is_connected_anew(
        some in 2..=NAMES.len(),
        acts in proptest::collection::vec(act(), 0..100),
    ) {
        let mut world = World::new();
        NAMES[..some].iter().for_each(|who| world.join(&peer(who)));
        world.settle();
        world.connect();
        let before = world.generation;
        world.lose_server();
        for act in acts {
            match act {
                Act::Join(who) => world.enter_again(&peer(NAMES[who])),
                Act::Leave(_) => {}
                Act::Step(who, server) => { world.step(&peer(NAMES[who]), server); }
            }
        }
        world.settle();
        let is_back = |who: &PeerId| world.members.contains(who);
        let closed = world.closed.iter().find(|(one, other)| is_back(one) && is_back(other));
        prop_assert_eq!(closed, None);
        let gone: Vec<PeerId> = world.clients.keys().filter(|who| !is_back(who)).cloned().collect();
        for who in &gone {
            world.clients.remove(who);
            for other in world.members.clone() {
                world.room_input(&other, Input::Gone(who.clone()));
            }
        }
        world.settle();
        prop_assert_eq!(world.all_connected(), Ok(()));
        let all = world.clients.values().flat_map(|client| client.pairs.values());
        prop_assert!(all.into_iter().all(|pair| pair.generation > before), "an old connection is left");
    }
}
