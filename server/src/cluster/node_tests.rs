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
        let Host { node, out, .. } = &mut self.hosts[at];
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
            let (reply, events) = self.store.run(&by, command, LEASE, self.now);
            for (to, event) in events {
                let host = self.hosts.iter_mut().find(|host| *host.node.id() == to);
                host.expect("a node here").inbox.push_back(event);
            }
            let Host { node, out, .. } = &mut self.hosts[at];
            node.replied(self.now, reply, out);
        }
        is_busy
    }

    fn hear(&mut self, at: usize) {
        let Host { node, inbox, out } = &mut self.hosts[at];
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
    let Host { node, inbox, out } = &mut world.hosts[1];
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
    assert!(world.has(1, |it| *it == Output::Enter(Ticket(4), Vec::new())));
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
    assert!(world.has(0, |it| *it == Output::Enter(Ticket(4), vec![])), "{:?}", world.hosts[0].out);
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
