//! Single situations of nodes on the model of the store.

use std::{collections::VecDeque, time::Duration};

use callbin_protocol::{PeerId, RoomId};

use super::{
    link::{Batch, Body, MOST_WAITING, Message},
    node::{Ask, Denial, Node, Output, Shared, Ticket, Time, Wish},
    store::{Command, Event, NodeId, Own, Reply, model::Store},
};
use crate::{dialect::Dialect, hub::ConnId};

const LEASE: Duration = Duration::from_secs(30);

struct Host {
    node: Node,
    /// The number of its connection.
    number: u64,
    inbox: VecDeque<Event>,
    out: Vec<Output>,
}

/// Two nodes on one store.
struct World {
    store: Store,
    hosts: [Host; 2],
    now: Time,
}

fn uid(name: &str) -> PeerId {
    PeerId::new(name).unwrap()
}

fn register(name: &str, conn: u64) -> Wish {
    Wish::Register { uid: uid(name), conn: ConnId(conn), identity: Some("same".into()) }
}

fn join(name: &str, conn: u64) -> Wish {
    let own = Own { uid: uid(name), conn: ConnId(conn), dialect: Dialect::Text };
    Wish::Join { room: RoomId::new("r").unwrap(), own, most: 10, bytes: 1000 }
}

impl World {
    fn new() -> Self {
        let host = |name: &str| Host {
            node: Node::new(NodeId { name: name.into(), life: 1 }, LEASE, false),
            number: 0,
            inbox: VecDeque::new(),
            out: Vec::new(),
        };
        let mut world =
            Self { store: Store::default(), hosts: [host("one"), host("two")], now: Duration::from_secs(1) };
        (0..2).for_each(|at| world.connect(at));
        // The store was empty.
        (0..3).for_each(|_| world.tick());
        world.run();
        world
    }

    fn connect(&mut self, at: usize) {
        let Host { node, number, out, .. } = &mut self.hosts[at];
        *number += 1;
        node.connected(self.now, out);
        self.run();
    }

    fn wish(&mut self, at: usize, ticket: u64, wish: Wish) {
        let Host { node, out, .. } = &mut self.hosts[at];
        node.wish(self.now, Ticket(ticket), wish, out);
    }

    /// All commands are carried out. What they send waits in the inboxes.
    fn send(&mut self) {
        while (0..2).any(|at| self.send_of(at)) {}
    }

    fn send_of(&mut self, at: usize) -> bool {
        let commands = self.hosts[at].node.take(self.now, 100, 1 << 20);
        let is_busy = !commands.is_empty();
        for command in commands {
            let by = self.hosts[at].node.id().clone();
            let (reply, events) = self.store.run(&by, self.hosts[at].number, command, LEASE, self.now);
            for (to, event) in events {
                // Nobody hears what is sent to a node that is gone.
                let host = self.hosts.iter_mut().find(|host| *host.node.id() == to);
                host.into_iter().for_each(|host| host.inbox.push_back(event.clone()));
            }
            let Host { node, out, .. } = &mut self.hosts[at];
            node.replied(self.now, reply, out);
        }
        is_busy
    }

    fn hear(&mut self, at: usize) {
        let Host { node, inbox, out, .. } = &mut self.hosts[at];
        inbox.drain(..).for_each(|event| node.heard(self.now, event, out));
    }

    fn tick(&mut self) {
        self.now += LEASE / 6;
        for Host { node, out, .. } in &mut self.hosts {
            node.tick(self.now, out);
        }
    }

    /// Everything happens that can.
    fn run(&mut self) {
        for _ in 0..20 {
            self.send();
            (0..2).for_each(|at| self.hear(at));
        }
    }

    fn has(&self, at: usize, is_it: impl Fn(&Output) -> bool) -> bool {
        self.hosts[at].out.iter().any(is_it)
    }

    /// A call from a peer of the first node to one of the second.
    fn call(&mut self) -> Shared {
        self.wish(0, 1, register("a", 1));
        self.wish(1, 2, register("b", 2));
        self.run();
        let ask = Ask { from: uid("a"), to: uid("b"), is_exclusive: true, body: Body::new() };
        self.wish(0, 3, Wish::Call(ask));
        self.run();
        let visit = self.hosts[1].out.iter().find_map(|output| match output {
            Output::Visit(shared, _) => Some(shared.clone()),
            _ => None,
        });
        let shared = visit.expect("the callee is asked");
        self.hosts[1].node.answer(&shared, true, Body::new());
        self.run();
        Shared { node: self.hosts[1].node.id().clone(), is_ours: true, ..shared }
    }
}

#[test]
fn a_call_whose_last_message_was_lost_ends() {
    let mut world = World::new();
    let shared = world.call();
    assert!(world.has(0, |it| matches!(it, Output::Reached(_, it, _) if *it == shared)));
    assert!(world.hosts[0].node.item(&shared, vec![1]));
    world.send();
    world.tick();
    world.send();
    // Both the message and the number that follows it are lost with the connection.
    let Host { node, inbox, out, .. } = &mut world.hosts[1];
    inbox.clear();
    node.disconnected(world.now, out);
    world.connect(1);
    for _ in 0..3 {
        world.tick();
        world.run();
    }
    for at in 0..2 {
        assert!(world.has(at, |it| matches!(it, Output::Ended(_))), "node {at}");
    }
}

/// As when the store fails over, and one node is back before the other one.
#[test]
fn a_greeting_that_nobody_hears_ends_no_call() {
    let mut world = World::new();
    let shared = world.call();
    for Host { node, out, .. } in &mut world.hosts {
        node.disconnected(world.now, out);
    }
    let Host { node, number, out, .. } = &mut world.hosts[0];
    *number += 1;
    node.connected(world.now, out);
    while world.send_of(0) {}
    assert!(!world.hosts[1].inbox.is_empty(), "the greeting");
    world.hosts[1].inbox.clear();
    world.connect(1);
    for _ in 0..3 {
        world.tick();
        world.run();
    }
    assert!(world.hosts[0].node.item(&shared, vec![1]));
    world.run();
    assert!(world.has(1, |it| matches!(it, Output::Item(..))), "the call goes on");
    for at in 0..2 {
        assert!(!world.has(at, |it| matches!(it, Output::Ended(_))), "node {at}");
    }
}

#[test]
fn a_connection_that_is_gone_takes_nothing() {
    let mut world = World::new();
    world.wish(0, 1, register("a", 1));
    world.run();
    world.wish(0, 2, join("a", 1));
    world.hosts[0].node.withdraw(Ticket(2));
    world.wish(0, 3, register("b", 3));
    world.hosts[0].node.withdraw(Ticket(3));
    let commands = world.hosts[0].node.take(world.now, 100, 1 << 20);
    let is_harmless = |it: &Command| matches!(it, Command::Leave { .. } | Command::Release { .. });
    assert!(commands.len() == 2 && commands.iter().all(is_harmless), "{commands:?}");
}

#[test]
fn without_a_lease_nothing_waits_for_the_store() {
    let mut node = Node::new(NodeId { name: "one".into(), life: 1 }, LEASE, true);
    for conn in 0..1000 {
        node.freed(uid("a"), ConnId(conn));
        node.left(RoomId::new("r").unwrap(), uid("a"), ConnId(conn));
        node.took(uid("a"), ConnId(conn), None);
    }
    assert!(node.is_done());
}

#[test]
fn a_join_without_an_answer_is_refused() {
    let mut world = World::new();
    world.wish(0, 1, register("a", 1));
    world.run();
    world.wish(0, 2, join("a", 1));
    world.send();
    // The event is lost, or this version cannot read it.
    world.hosts[0].inbox.clear();
    world.tick();
    world.tick();
    assert!(world.has(0, |it| *it == Output::Deny(Ticket(2), Denial::Unavailable)));
    // Nobody meets it in the room.
    world.run();
    world.wish(1, 3, register("b", 2));
    world.run();
    world.wish(1, 4, join("b", 2));
    world.run();
    assert!(world.has(1, |it| *it == Output::Enter(Ticket(4), Some(vec![]))));
}

#[test]
fn what_still_comes_from_a_life_that_ended_is_dropped() {
    let mut world = World::new();
    let shared = world.call();
    let from = shared.node.clone();
    let Host { node, out, .. } = &mut world.hosts[0];
    node.heard(world.now, Event::Died(from.clone()), out);
    out.clear();
    let ask = Message::Ask { no: 7, from: uid("b"), to: uid("a"), is_exclusive: true, body: Body::new() };
    let batch = Batch { from, number: 1, messages: vec![ask] };
    node.heard(world.now, Event::Batch(batch), out);
    assert_eq!(*out, [], "nobody is called");
}

#[test]
fn what_the_store_cannot_carry_out_is_refused_once() {
    let mut world = World::new();
    world.wish(0, 1, register("a", 1));
    let Host { node, out, .. } = &mut world.hosts[0];
    assert_eq!(node.take(world.now, 100, 1 << 20).len(), 1);
    node.replied(world.now, Reply::Failed("WRONGTYPE".into()), out);
    assert!(out.contains(&Output::Deny(Ticket(1), Denial::Unavailable)), "{out:?}");
    node.disconnected(world.now, out);
    node.connected(world.now, out);
    let again = node.take(world.now, 100, 1 << 20);
    assert!(matches!(&again[..], [Command::Enter { .. }]), "{again:?}");
}

#[test]
fn members_of_a_dead_node_are_not_in_the_list() {
    let mut world = World::new();
    world.wish(0, 1, register("a", 1));
    world.wish(1, 2, register("b", 2));
    world.run();
    world.wish(1, 3, join("b", 2));
    world.run();
    world.hosts[1].node.quit();
    world.send();
    world.wish(0, 4, join("a", 1));
    world.run();
    assert!(world.has(0, |it| *it == Output::Enter(Ticket(4), Some(vec![]))), "{:?}", world.hosts[0].out);
}

#[test]
fn what_waits_for_a_node_is_bounded_and_sent_in_parts() {
    let mut world = World::new();
    let shared = world.call();
    let node = &mut world.hosts[0].node;
    // Redis does not answer, and other commands come between the messages.
    for _ in 0..300 {
        assert!(node.item(&shared, vec![0; 100_000]));
        node.freed(uid("x"), ConnId(9));
    }
    assert!(node.queued() <= MOST_WAITING, "{} bytes wait", node.queued());
    assert!(node.counts().2 > 0, "the others are lost");
    let bytes = |command: &Command| match command {
        Command::Publish { batch, .. } => batch.cost(),
        _ => 0,
    };
    let part: usize = node.take(world.now, 512, 1 << 20).iter().map(bytes).sum();
    assert!((1 << 20..2 << 20).contains(&part), "{part} bytes in one write");
}

#[test]
fn a_call_knows_what_the_store_has() {
    let mut world = World::new();
    let shared = world.call();
    assert!(world.hosts[0].node.item(&shared, vec![0; 500]));
    assert!(world.hosts[0].node.queued() > 500);
    world.send();
    assert!(world.has(0, |it| *it == Output::Sent(shared.clone(), 500)));
    assert_eq!(world.hosts[0].node.queued(), 0);
}

#[test]
fn a_node_without_peers_waits_for_those_that_had_some() {
    let mut world = World::new();
    world.wish(0, 1, register("a", 1));
    world.run();
    // Redis is restarted. The second node, which has nothing, is back first.
    world.store.flush();
    for at in [1, 0] {
        let Host { node, out, .. } = &mut world.hosts[at];
        node.disconnected(world.now, out);
    }
    world.connect(1);
    world.wish(1, 2, Wish::Register { uid: uid("a"), conn: ConnId(2), identity: None });
    world.run();
    world.connect(0);
    (0..3).for_each(|_| world.tick());
    world.run();
    assert!(!world.has(0, |it| matches!(it, Output::Replace(..))), "{:?}", world.hosts[0].out);
    (0..3).for_each(|_| world.tick());
    world.run();
    assert!(world.has(1, |it| *it == Output::Deny(Ticket(2), Denial::Taken)), "{:?}", world.hosts[1].out);
}

/// The claims that follow a renewal.
fn claims_after_renewal(world: &mut World) -> usize {
    world.tick();
    let mut claims = 0;
    for _ in 0..4 {
        let Host { node, number, out, .. } = &mut world.hosts[0];
        for command in node.take(world.now, 100, 1 << 20) {
            claims += usize::from(matches!(command, Command::Claim { .. }));
            let by = node.id().clone();
            let (reply, _) = world.store.run(&by, *number, command, LEASE, world.now);
            node.replied(world.now, reply, out);
        }
    }
    claims
}

#[test]
fn a_store_that_is_full_now_and_then_gets_only_what_it_lacks() {
    for is_local in [false, true] {
        let mut world = World::new();
        world.hosts[0].node = Node::new(NodeId { name: "local".into(), life: 1 }, LEASE, is_local);
        world.connect(0);
        for number in 1..=20 {
            world.wish(0, number, register(&format!("p{number}"), number));
        }
        world.run();
        world.store.is_full = true;
        assert_eq!(claims_after_renewal(&mut world), 0);
        assert!(world.hosts[0].node.is_full());
        world.wish(0, 30, register("late", 30));
        world.run();
        world.store.is_full = false;
        assert_eq!(claims_after_renewal(&mut world), usize::from(is_local), "those that it refused");
        assert_eq!(claims_after_renewal(&mut world), 0);
        assert_eq!(world.store.peers.contains_key(&uid("late")), is_local);
    }
}

#[test]
fn a_node_that_has_just_entered_is_in_the_lists_of_the_others_at_once() {
    let mut world = World::new();
    world.wish(0, 1, Wish::List);
    world.run();
    world.hosts[1].node = Node::new(NodeId { name: "new".into(), life: 1 }, LEASE, false);
    // The node before it was asked, too.
    world.hosts[1].out.clear();
    world.connect(1);
    assert!(world.has(1, |it| *it == Output::WantsDirectory(world.hosts[0].node.id().clone())));
}

#[test]
fn a_stream_without_a_node_goes_to_one_with_media_nodes() {
    let mut world = World::new();
    world.hosts[1].node.set_media(true);
    (0..3).for_each(|_| {
        world.tick();
        world.run();
    });
    assert!(world.has(0, |it| *it == Output::FarMedia(true)));
    let ask = |to: &str| Ask { from: uid("me"), to: uid(to), is_exclusive: false, body: Body::new() };
    world.wish(0, 1, Wish::Publish(ask("cam")));
    world.run();
    let visits = |world: &World, name: &str| {
        let is_it = |it: &&Output| matches!(it, Output::Visit(_, ask) if ask.to == uid(name));
        world.hosts[1].out.iter().filter(is_it).count()
    };
    assert_eq!(visits(&world, "cam"), 1);
    // The node has it now: viewers are asked there, and it is nobody's name.
    world.hosts[1].node.took(uid("cam"), ConnId(9), Some(super::store::STREAM.into()));
    world.run();
    world.wish(0, 2, Wish::Call(ask("cam")));
    world.wish(0, 3, register("cam", 3));
    world.run();
    (0..2).for_each(|_| {
        world.tick();
        world.run();
    });
    assert_eq!(visits(&world, "cam"), 2);
    assert!(world.has(0, |it| *it == Output::Deny(Ticket(3), Denial::Taken)));
    // Those with a media node of their own use that.
    world.hosts[0].node.set_media(true);
    world.wish(0, 4, Wish::Publish(ask("mic")));
    world.run();
    assert_eq!(visits(&world, "mic"), 0);
    assert!(world.has(0, |it| *it == Output::CarryOut(Ticket(4))));
}

#[test]
fn a_list_waits_for_those_of_the_other_nodes() {
    let mut world = World::new();
    (0..3).for_each(|_| {
        world.tick();
        world.run();
    });
    world.wish(0, 1, Wish::List);
    world.run();
    assert!(!world.has(0, |it| *it == Output::CarryOut(Ticket(1))));
    let one = world.hosts[0].node.id().clone();
    assert!(world.has(1, |it| *it == Output::WantsDirectory(one.clone())));
    assert!(world.has(1, |it| *it == Output::Watched(true)));
    world.hosts[1].node.send_directory(&one, vec![1]);
    world.hosts[1].node.tell_watchers(&vec![2]);
    world.run();
    let two = world.hosts[1].node.id().clone();
    let out = &world.hosts[0].out;
    let place = |wanted: &Output| out.iter().position(|it| it == wanted).expect("it happens");
    assert!(place(&Output::Directory(two.clone(), vec![1])) < place(&Output::CarryOut(Ticket(1))));
    place(&Output::Listed(two, vec![2]));
    // After a while without another one, nobody wants to know.
    world.now += Duration::from_secs(20);
    for _ in 0..12 {
        world.tick();
        world.run();
    }
    assert!(world.has(0, |it| *it == Output::ForgetDirectories));
    assert!(world.has(1, |it| *it == Output::Watched(false)));
}
