//! Simulated nodes, store, network and clients, and what must be true of them. Each run is a function of its seed.
//!
//! `cargo test` runs 150 seeds. `CALLBIN_CLUSTER_SEEDS=N` runs that many from `CALLBIN_CLUSTER_SEED` (0) on; a
//! failure names the seed that shows it again.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use callbin_protocol::{PeerId, RoomId};

use super::{
    link::Body,
    node::{Ask, Node, Output, Shared, Ticket, Time, Wish},
    store::{Command, Event, Member, NodeId, Own, Reply, model::Store},
};
use crate::{dialect::Dialect, hub::ConnId};

const NODES: usize = 3;
const UIDS: usize = 5;
const ROOMS: usize = 2;
const LEASE: Duration = Duration::from_secs(3);

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, most: usize) -> usize {
        (self.next() % most as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn uid(number: usize) -> PeerId {
    PeerId::new(&format!("u{number}")).unwrap()
}

fn room(number: usize) -> RoomId {
    RoomId::new(&format!("r{number}")).unwrap()
}

#[derive(Debug, Clone, PartialEq)]
enum Doing {
    /// It is not registered yet.
    Greeting,
    Idle,
    Calling(PeerId),
    Talking(Partner),
    Joining(RoomId),
    Member(RoomId),
}

#[derive(Debug, Clone, PartialEq)]
enum Partner {
    Here(ConnId),
    There(Shared),
}

#[derive(Debug, Clone)]
struct Client {
    uid: PeerId,
    identity: Option<Arc<str>>,
    doing: Doing,
    ticket: Option<Ticket>,
    /// The numbers of the last items sent and received in its call.
    sent: u8,
    got: u8,
    /// The members of its room, by the notices that it got.
    view: BTreeSet<PeerId>,
}

/// A node's part of the simulation: its core, its clients, and its connection to the store.
struct Host {
    node: Node,
    clients: BTreeMap<ConnId, Client>,
    uids: BTreeMap<PeerId, ConnId>,
    /// The members elsewhere of the rooms with members here.
    far: BTreeMap<RoomId, BTreeMap<PeerId, NodeId>>,
    tickets: BTreeMap<Ticket, ConnId>,
    /// It registers without the store.
    is_local: bool,
    is_connected: bool,
    /// The number of its last connection.
    number: u64,
    is_paused: bool,
    is_dead: bool,
    /// The life that is subscribed.
    inbox_of: Option<NodeId>,
    wire: VecDeque<Command>,
    replies: VecDeque<Reply>,
    inbox: VecDeque<Event>,
    wants_reconnect: bool,
}

/// What was sent on a connection before that was lost, and arrives in spite of that.
struct Late {
    by: NodeId,
    number: u64,
    wire: VecDeque<Command>,
}

struct World {
    random: Random,
    now: Time,
    store: Store,
    hosts: Vec<Host>,
    /// Commands of lost connections that are still under way.
    late: Vec<Late>,
    connections: u64,
    was_flushed: bool,
    last: u64,
    /// The longest step of the time, in milliseconds.
    slow: usize,
    calls: u64,
    joins: u64,
    ended: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let hosts = (0..NODES)
            .map(|number| {
                let me = NodeId { name: format!("n{number}").into(), life: random.next() };
                Host::new(me, random.one_in(3))
            })
            .collect();
        let (store, slow) = (Store::default(), 1 + random.below(500));
        Self {
            random,
            now: LEASE,
            store,
            hosts,
            late: Vec::new(),
            connections: 0,
            was_flushed: false,
            last: 0,
            slow,
            calls: 0,
            joins: 0,
            ended: 0,
        }
    }

    fn step(&mut self) {
        let at = self.random.below(NODES);
        match self.random.below(400) {
            0 => self.hosts[at].is_paused = true,
            1..=6 => self.hosts[at].is_paused = false,
            7 => self.cut(at),
            8..=20 if !self.hosts[at].is_connected => self.connect(at),
            21 if self.random.one_in(3) => self.kill(at),
            22..=25 if self.hosts[at].is_dead => self.revive(at),
            26 if self.random.one_in(10) => {
                self.was_flushed = true;
                self.store.flush();
            }
            27 => self.store.is_full = self.random.one_in(3),
            28..=33 => self.now += Duration::from_millis(self.random.below(self.slow) as u64),
            34 if self.random.one_in(30) => self.now += LEASE,
            35..=38 if !self.late.is_empty() => self.run_late(),
            35..=55 => self.act(at),
            _ => self.progress(at),
        }
    }

    /// One step of the machinery.
    fn progress(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if host.is_dead {
            return;
        }
        if host.is_connected && self.random.one_in(3) && !host.wire.is_empty() {
            return self.run_command(at);
        }
        if host.is_paused {
            return;
        }
        if host.wants_reconnect {
            return self.connect(at);
        }
        let mut out = Vec::new();
        match self.random.below(4) {
            0 => host.node.tick(self.now, &mut out),
            1 if host.is_connected && host.wire.is_empty() && host.replies.is_empty() => {
                let most = 1 + self.random.below(5);
                host.wire.extend(host.node.take(self.now, most, 1000));
            }
            2 => {
                if let Some(reply) = host.replies.pop_front() {
                    host.node.replied(self.now, reply, &mut out);
                }
            }
            _ => {
                if let Some(event) = host.inbox.pop_front() {
                    host.node.heard(self.now, event, &mut out);
                }
            }
        }
        self.apply(at, out);
    }

    fn run_command(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let Some(command) = host.wire.pop_front() else { return };
        let by = host.inbox_of.clone().unwrap_or_else(|| host.node.id().clone());
        let number = host.number;
        let reply = self.run_for(&by, number, command);
        self.hosts[at].replies.push_back(reply);
    }

    /// One command of a connection that was lost.
    fn run_late(&mut self) {
        let at = self.random.below(self.late.len());
        let Late { by, number, wire } = &mut self.late[at];
        match wire.pop_front() {
            Some(command) => {
                let (by, number) = (by.clone(), *number);
                self.run_for(&by, number, command);
            }
            None => drop(self.late.swap_remove(at)),
        }
    }

    fn run_for(&mut self, by: &NodeId, number: u64, command: Command) -> Reply {
        let is_publish = matches!(command, Command::Publish { .. });
        let (mut reply, events) = self.store.run(by, number, command, LEASE, self.now);
        let mut receivers = 0;
        for (to, event) in events {
            if let Some(host) =
                self.hosts.iter_mut().find(|it| it.is_connected && it.inbox_of.as_ref() == Some(&to))
            {
                host.inbox.push_back(event);
                receivers += 1;
            }
        }
        if is_publish {
            reply = Reply::Receivers(receivers);
        }
        reply
    }

    fn cut(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        if !host.is_connected || host.is_paused {
            return;
        }
        self.lose(at);
        let mut out = Vec::new();
        let host = &mut self.hosts[at];
        host.node.disconnected(self.now, &mut out);
        self.apply(at, out);
    }

    fn connect(&mut self, at: usize) {
        if self.hosts[at].is_dead || self.hosts[at].is_paused {
            return;
        }
        if self.hosts[at].is_connected {
            self.cut(at);
        }
        let host = &mut self.hosts[at];
        host.wants_reconnect = false;
        self.connections += 1;
        host.number = self.connections;
        host.is_connected = true;
        host.inbox_of = Some(host.node.id().clone());
        let mut out = Vec::new();
        host.node.connected(self.now, &mut out);
        self.apply(at, out);
    }

    fn kill(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        host.is_dead = true;
        self.lose(at);
    }

    /// The connection is lost. What was sent may arrive nevertheless, at any time.
    fn lose(&mut self, at: usize) {
        let host = &mut self.hosts[at];
        let wire = std::mem::take(&mut host.wire);
        if let Some(by) = host.inbox_of.take().filter(|_| self.random.one_in(2)) {
            self.late.push(Late { by, number: host.number, wire });
        }
        host.is_connected = false;
        host.replies.clear();
        host.inbox.clear();
    }

    fn revive(&mut self, at: usize) {
        let me = NodeId { name: self.hosts[at].node.id().name.clone(), life: self.random.next() };
        self.hosts[at] = Host::new(me, self.random.one_in(3));
    }

    /// Something that a client does.
    fn act(&mut self, at: usize) {
        if self.hosts[at].is_dead || self.hosts[at].is_paused {
            return;
        }
        let host = &mut self.hosts[at];
        let conns: Vec<ConnId> = host.clients.keys().copied().collect();
        if conns.len() < 2 || self.random.one_in(8) {
            return self.open(at);
        }
        let conn = conns[self.random.below(conns.len())];
        let client = host.clients[&conn].clone();
        if self.random.one_in(12) {
            return self.close(at, conn);
        }
        match client.doing {
            Doing::Idle if !self.random.one_in(3) => {
                let to = uid(self.random.below(UIDS));
                if to == client.uid {
                    return;
                }
                if self.hosts[at].uids.contains_key(&to) {
                    return self.call_here(at, conn, &to);
                }
                let ask = Ask { from: client.uid, to: to.clone(), is_exclusive: true, body: Body::new() };
                self.wish(at, conn, Doing::Calling(to), Wish::Call(ask));
            }
            Doing::Idle => {
                let room = room(self.random.below(ROOMS));
                let own = Own { uid: client.uid, conn, dialect: Dialect::Text };
                let wish = Wish::Join { room: room.clone(), own, most: 4, bytes: 1000 };
                self.wish(at, conn, Doing::Joining(room), wish);
            }
            Doing::Talking(Partner::There(shared)) => {
                let host = &mut self.hosts[at];
                let number = client.sent.wrapping_add(1);
                if host.node.item(&shared, vec![number])
                    && let Some(client) = host.clients.get_mut(&conn)
                {
                    client.sent = number;
                }
            }
            Doing::Member(room) if self.random.one_in(2) => {
                let host = &mut self.hosts[at];
                host.leave(&room, conn);
                host.node.left(room, client.uid, conn);
            }
            _ => {}
        }
    }

    fn open(&mut self, at: usize) {
        self.last += 1;
        let conn = ConnId(self.last);
        let number = self.random.below(UIDS);
        let identity = match number {
            0 | 1 => Some("same".into()),
            2 => Some(format!("s{}", self.random.below(2)).into()),
            _ => None,
        };
        let uid = uid(number);
        let client = Client {
            uid: uid.clone(),
            identity: identity.clone(),
            doing: Doing::Greeting,
            ticket: None,
            sent: 0,
            got: 0,
            view: BTreeSet::new(),
        };
        self.hosts[at].clients.insert(conn, client);
        self.wish(at, conn, Doing::Greeting, Wish::Register { uid, conn, identity });
    }

    fn wish(&mut self, at: usize, conn: ConnId, doing: Doing, wish: Wish) {
        self.last += 1;
        let ticket = Ticket(self.last);
        let host = &mut self.hosts[at];
        if let Some(client) = host.clients.get_mut(&conn) {
            client.doing = doing;
            client.ticket = Some(ticket);
        }
        host.tickets.insert(ticket, conn);
        let mut out = Vec::new();
        host.node.wish(self.now, ticket, wish, &mut out);
        self.apply(at, out);
    }

    fn call_here(&mut self, at: usize, conn: ConnId, to: &PeerId) {
        let host = &mut self.hosts[at];
        let Some(callee) = host.uids.get(to).copied() else { return };
        let is_free = host.clients.get(&callee).is_some_and(|it| it.doing == Doing::Idle);
        if is_free && callee != conn {
            host.talk(conn, Partner::Here(callee));
            host.talk(callee, Partner::Here(conn));
        }
    }

    /// Closes a client's connection, as the hub does.
    fn close(&mut self, at: usize, conn: ConnId) {
        let host = &mut self.hosts[at];
        let Some(client) = host.clients.remove(&conn) else { return };
        if let Some(ticket) = client.ticket {
            host.tickets.remove(&ticket);
            host.node.withdraw(ticket);
        }
        if host.uids.get(&client.uid) == Some(&conn) {
            host.uids.remove(&client.uid);
            host.node.freed(client.uid.clone(), conn);
        }
        match client.doing {
            Doing::Member(room) => host.forget_member(&room, &client.uid),
            Doing::Talking(Partner::There(shared)) => host.node.end(&shared),
            Doing::Talking(Partner::Here(partner)) => self.close(at, partner),
            _ => {}
        }
    }

    fn apply(&mut self, at: usize, out: Vec<Output>) {
        for output in out {
            self.apply_one(at, output);
        }
    }

    #[allow(clippy::too_many_lines, reason = "one line for each output")]
    fn apply_one(&mut self, at: usize, output: Output) {
        // Peers that are members elsewhere are no longer here.
        let members = match &output {
            Output::Joined(_, member) => std::slice::from_ref(member),
            Output::Members(_, members, _) | Output::Enter(_, Some(members)) => members,
            _ => &[],
        };
        let replaced: Vec<ConnId> =
            members.iter().filter_map(|member| self.hosts[at].uids.get(&member.uid).copied()).collect();
        replaced.into_iter().for_each(|conn| self.close(at, conn));
        let host = &mut self.hosts[at];
        match output {
            Output::CarryOut(ticket) => self.carry_out(at, ticket),
            Output::Deny(ticket, _) | Output::Answer(ticket, _) | Output::Dismiss(ticket) => {
                let Some(conn) = host.tickets.remove(&ticket) else { return };
                let Some(client) = host.clients.get_mut(&conn) else { return };
                client.ticket = None;
                match client.doing {
                    Doing::Greeting => drop(host.clients.remove(&conn)),
                    Doing::Calling(_) | Doing::Joining(_) => client.doing = Doing::Idle,
                    // It was called meanwhile.
                    _ => {}
                }
            }
            Output::Reached(ticket, shared, _) => {
                let conn = host.tickets.remove(&ticket);
                match conn.filter(|conn| matches!(host.clients[conn].doing, Doing::Calling(_))) {
                    Some(conn) => {
                        self.calls += 1;
                        host.talk(conn, Partner::There(shared));
                    }
                    None => host.node.end(&shared),
                }
            }
            Output::Visit(shared, ask) => {
                let callee = host.uids.get(&ask.to).copied();
                match callee.filter(|conn| host.clients[conn].doing == Doing::Idle) {
                    Some(conn) => {
                        host.talk(conn, Partner::There(shared.clone()));
                        host.node.answer(&shared, true, Body::new());
                    }
                    None => host.node.answer(&shared, false, Body::new()),
                }
            }
            Output::Item(shared, body) => {
                let talks = Doing::Talking(Partner::There(shared));
                let Some(client) = host.clients.values_mut().find(|it| it.doing == talks) else { return };
                client.got = client.got.wrapping_add(1);
                assert_eq!(body, [client.got], "no message of a call is lost or comes twice");
            }
            Output::Ended(shared) => {
                self.ended += 1;
                let talks = Doing::Talking(Partner::There(shared));
                let conn = host.clients.iter().find(|(_, it)| it.doing == talks).map(|(conn, _)| *conn);
                // It may have ended here at the same time.
                if let Some(conn) = conn {
                    self.close(at, conn);
                }
            }
            Output::Replace(_, conn) => self.close(at, conn),
            Output::Enter(ticket, others) => {
                let Some(conn) = host.tickets.remove(&ticket) else { return };
                let Some(client) = host.clients.get(&conn).cloned() else { return };
                let Doing::Joining(room) = client.doing else {
                    panic!("it waits for this: {client:?}");
                };
                self.joins += 1;
                match others {
                    Some(others) => host.set_members(&room, others, true),
                    None => assert!(host.members(&room).next().is_some(), "a member knows those elsewhere"),
                }
                host.join(&room, conn);
            }
            Output::Joined(room, member) => host.add_member(&room, member),
            Output::Left(room, uid) => host.remove_member(&room, &uid),
            Output::Members(room, members, whole) => host.set_members(&room, members, whole),
            Output::Gone(node) => host.remove_members(|it| *it == node),
            Output::Alone => host.remove_members(|_| true),
            Output::Again(_)
            | Output::Probe(_)
            | Output::Kick(..)
            | Output::Close(_)
            | Output::Room(..)
            | Output::Entered
            | Output::Full(_)
            | Output::FarMedia(_)
            | Output::Watched(_)
            | Output::WantsDirectory(_)
            | Output::Directory(..)
            | Output::Listed(..)
            | Output::ForgetDirectories
            | Output::Renewed
            | Output::Usage(..)
            | Output::Sent(..)
            | Output::Trouble(_) => {}
            Output::Reconnect => host.wants_reconnect = true,
        }
    }

    fn carry_out(&mut self, at: usize, ticket: Ticket) {
        let host = &mut self.hosts[at];
        let Some(conn) = host.tickets.remove(&ticket) else { return };
        let client = host.clients.get_mut(&conn).expect("a ticket has a client");
        client.ticket = None;
        let client = client.clone();
        match client.doing {
            Doing::Greeting => {
                let holder = host.uids.get(&client.uid).copied();
                let is_same = holder.is_none_or(|holder| {
                    client.identity.is_some() && host.clients[&holder].identity == client.identity
                });
                if !is_same {
                    host.clients.remove(&conn);
                    return host.node.freed(client.uid, conn);
                }
                if let Some(holder) = holder {
                    self.close(at, holder);
                }
                let host = &mut self.hosts[at];
                host.uids.insert(client.uid.clone(), conn);
                host.node.registered(client.uid, conn, client.identity);
                host.set(conn, Doing::Idle);
            }
            Doing::Calling(to) => {
                host.set(conn, Doing::Idle);
                self.call_here(at, conn, &to);
            }
            Doing::Joining(room) => host.join(&room, conn),
            _ => {}
        }
    }

    /// No more faults: everything gets there, and leases run out.
    fn settle(&mut self) {
        self.store.is_full = false;
        while !self.late.is_empty() {
            self.run_late();
        }
        for at in 0..NODES {
            self.hosts[at].is_paused = false;
        }
        // One has to be there to bury the others.
        if self.hosts.iter().skip(1).all(|host| host.is_dead) {
            self.revive(1);
        }
        for round in 0..12 {
            self.now += LEASE / 6;
            for _ in 0..300 {
                for at in 0..NODES {
                    if !self.hosts[at].is_dead && !self.hosts[at].is_connected {
                        self.connect(at);
                    }
                    self.progress(at);
                }
            }
            for _ in 0..4000 {
                for at in 0..NODES {
                    self.progress(at);
                }
                let is_quiet = |it: &Host| {
                    it.is_dead
                        || (it.wire.is_empty()
                            && it.replies.is_empty()
                            && it.inbox.is_empty()
                            && it.node.is_done())
                };
                if self.hosts.iter().all(is_quiet) {
                    break;
                }
            }
            // The last ones die here: their entries have to be buried.
            if round == 0 && self.random.one_in(2) {
                self.kill(0);
            }
        }
    }

    /// At any time: of the nodes whose lease is valid, at most one has registered a uid. Exceptions are a uid that is being
    /// taken over, what was registered without the store, and an emptied store.
    fn check_places(&self) {
        if self.was_flushed {
            return;
        }
        let mut there: BTreeMap<&PeerId, &NodeId> = BTreeMap::new();
        let is_inside = |host: &&Host| {
            !host.is_dead && !host.is_local && host.node.is_inside(self.now) && host.node.has_compared()
        };
        for host in self.hosts.iter().filter(is_inside) {
            for (uid, conn) in &host.uids {
                if host.clients[conn].identity.is_none()
                    && let Some(other) = there.insert(uid, host.node.id())
                {
                    panic!("{uid} is at {other} and at {}", host.node.id());
                }
            }
        }
    }

    fn check(&self) {
        let living: Vec<&Host> = self.hosts.iter().filter(|host| !host.is_dead).collect();
        let mut there = BTreeMap::new();
        for host in &living {
            assert!(host.node.is_inside(self.now), "{:?} takes part", host.node.id());
            assert!(host.tickets.is_empty(), "nobody waits forever: {:?}", host.tickets);
            for (uid, conn) in &host.uids {
                let entry = (host.node.id().clone(), *conn);
                assert!(there.insert(uid.clone(), entry).is_none(), "{uid} is in one place");
            }
            self.check_calls(host, &living);
        }
        let stored: BTreeMap<_, _> =
            self.store.peers.iter().map(|(uid, it)| (uid.clone(), (it.node.clone(), it.conn))).collect();
        assert_eq!(stored, there, "the store knows who is where, and nobody else");
        assert!(self.store.graves.is_empty(), "the dead are buried");
        self.check_rooms(&living);
    }

    fn check_calls(&self, host: &Host, living: &[&Host]) {
        for (conn, client) in &host.clients {
            match &client.doing {
                Doing::Talking(Partner::Here(partner)) => {
                    let back = Doing::Talking(Partner::Here(*conn));
                    assert_eq!(host.clients[partner].doing, back, "a call is symmetric");
                }
                Doing::Talking(Partner::There(shared)) => {
                    let back =
                        Shared { node: host.node.id().clone(), is_ours: !shared.is_ours, no: shared.no };
                    let other =
                        living.iter().find(|it| *it.node.id() == shared.node).expect("the partner's node");
                    let back = Doing::Talking(Partner::There(back));
                    let mut theirs = other.clients.values().filter(|it| it.doing == back);
                    let it = theirs.next().expect("a call between nodes is symmetric");
                    assert!(theirs.next().is_none(), "a call has two sides: {shared:?}");
                    assert_eq!(it.got, client.sent, "the last message of a call arrives, too");
                }
                _ => {}
            }
        }
    }

    fn check_rooms(&self, living: &[&Host]) {
        let mut rooms: BTreeMap<RoomId, BTreeSet<PeerId>> = BTreeMap::new();
        for client in living.iter().flat_map(|host| host.clients.values()) {
            if let Doing::Member(room) = &client.doing {
                rooms.entry(room.clone()).or_default().insert(client.uid.clone());
            }
        }
        let stored: BTreeMap<_, BTreeSet<_>> = self
            .store
            .members()
            .map(|(id, it)| (id.clone(), it.into_iter().map(|it| it.0).collect()))
            .collect();
        assert_eq!(stored, rooms, "the store knows who is in which room");
        for client in living.iter().flat_map(|host| host.clients.values()) {
            if let Doing::Member(room) = &client.doing {
                let mut expected = rooms[room].clone();
                expected.remove(&client.uid);
                assert_eq!(client.view, expected, "{} knows the members of {room}", client.uid);
            }
        }
    }
}

impl Host {
    fn new(me: NodeId, is_local: bool) -> Self {
        Self {
            node: Node::new(me, LEASE, is_local),
            is_local,
            clients: BTreeMap::new(),
            uids: BTreeMap::new(),
            far: BTreeMap::new(),
            tickets: BTreeMap::new(),
            is_connected: false,
            number: 0,
            is_paused: false,
            is_dead: false,
            inbox_of: None,
            wire: VecDeque::new(),
            replies: VecDeque::new(),
            inbox: VecDeque::new(),
            wants_reconnect: false,
        }
    }

    fn set(&mut self, conn: ConnId, doing: Doing) {
        if let Some(client) = self.clients.get_mut(&conn) {
            client.doing = doing;
        }
    }

    fn talk(&mut self, conn: ConnId, partner: Partner) {
        if let Some(client) = self.clients.get_mut(&conn) {
            assert!(!matches!(client.doing, Doing::Talking(_)), "one call at a time");
            (client.doing, client.ticket, client.sent, client.got) = (Doing::Talking(partner), None, 0, 0);
        }
    }

    fn members(&mut self, room: &RoomId) -> impl Iterator<Item = &mut Client> {
        self.clients.values_mut().filter(move |it| it.doing == Doing::Member(room.clone()))
    }

    fn join(&mut self, room: &RoomId, conn: ConnId) {
        let uid = self.clients[&conn].uid.clone();
        let mut view: BTreeSet<PeerId> = self.members(room).map(|it| it.uid.clone()).collect();
        view.extend(self.far.entry(room.clone()).or_default().keys().cloned());
        self.members(room).for_each(|it| assert!(it.view.insert(uid.clone()), "{uid} joins once"));
        if let Some(client) = self.clients.get_mut(&conn) {
            (client.doing, client.view, client.ticket) = (Doing::Member(room.clone()), view, None);
        }
    }

    fn leave(&mut self, room: &RoomId, conn: ConnId) {
        self.set(conn, Doing::Idle);
        let uid = self.clients[&conn].uid.clone();
        self.forget_member(room, &uid);
    }

    fn forget_member(&mut self, room: &RoomId, uid: &PeerId) {
        self.members(room).for_each(|it| assert!(it.view.remove(uid), "{uid} leaves once"));
        if self.members(room).next().is_none() {
            self.far.remove(room);
        }
    }

    fn add_member(&mut self, room: &RoomId, member: Member) {
        let Some(far) = self.far.get_mut(room) else { return };
        // It may be known to be here still, and its connection was taken over.
        if far.insert(member.uid.clone(), member.node).is_none() {
            self.members(room).for_each(|it| it.view.extend([member.uid.clone()]));
        }
    }

    fn remove_member(&mut self, room: &RoomId, uid: &PeerId) {
        if self.far.get_mut(room).is_some_and(|far| far.remove(uid).is_some()) {
            self.members(room).for_each(|it| assert!(it.view.remove(uid), "{uid} leaves once"));
        }
    }

    fn set_members(&mut self, room: &RoomId, members: Vec<Member>, whole: bool) {
        let far = self.far.entry(room.clone()).or_default();
        let is_gone = |uid: &PeerId| whole && !members.iter().any(|member| member.uid == *uid);
        let gone: Vec<PeerId> = far.keys().filter(|uid| is_gone(uid)).cloned().collect();
        gone.iter().for_each(|uid| self.remove_member(room, uid));
        members.into_iter().for_each(|member| self.add_member(room, member));
        if self.members(room).next().is_none() && !whole {
            self.far.remove(room);
        }
    }

    fn remove_members(&mut self, is_meant: impl Fn(&NodeId) -> bool) {
        let rooms: Vec<RoomId> = self.far.keys().cloned().collect();
        for room in rooms {
            let far = &self.far[&room];
            let gone: Vec<PeerId> =
                far.iter().filter(|(_, node)| is_meant(node)).map(|(uid, _)| uid.clone()).collect();
            gone.iter().for_each(|uid| self.remove_member(&room, uid));
        }
    }
}

fn run(seed: u64) -> (u64, u64, u64) {
    let mut world = World::new(seed);
    let steps = 200 + world.random.below(6000);
    (0..NODES).for_each(|at| world.connect(at));
    for _ in 0..steps {
        world.step();
        world.check_places();
    }
    world.settle();
    world.check();
    (world.calls, world.joins, world.ended)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn whatever_fails_nobody_is_in_two_places_and_nothing_is_left() {
    let first = number("CALLBIN_CLUSTER_SEED").unwrap_or(0);
    let many = number("CALLBIN_CLUSTER_SEEDS").unwrap_or(150);
    let (mut calls, mut joins, mut ended) = (0, 0, 0);
    for seed in first..first + many {
        let result = std::panic::catch_unwind(|| run(seed));
        let Ok(counts) = result else { panic!("seed {seed}: CALLBIN_CLUSTER_SEED={seed} shows it again") };
        (calls, joins, ended) = (calls + counts.0, joins + counts.1, ended + counts.2);
    }
    assert!(many < 100 || (calls > many / 4 && joins > many && ended > 0), "{calls}, {joins}, {ended}");
}
