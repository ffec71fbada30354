//! One node of a cluster: what it asks the store for, what it shares with other nodes, and what happens when either is
//! gone. Pure: events in, commands and effects out; the time is an argument.
//!
//! - A uid is claimed in the store before the hub registers it, and a join is ordered by the store before the hub carries
//!   it out. A call is carried out by the callee's node, whose hub knows whether the callee is free.
//! - The node counts its lease from the moment it sent the renewal, the store from the moment it carried it out: the node's
//!   own lease always ends first. Then everything shared with other nodes is over, and the node starts over with a new life; what is local goes
//!   on.
//! - Commands may be repeated. After a lost connection, those without an answer are sent again, in their order.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use callbin_protocol::{PeerId, RoomId};

use super::{
    held::{Held, Holder, syncs},
    link::{Arrival, Batch, Body, Call, Links, Message},
    store::{self, Command, Event, Member, NodeId, Own, Reply},
};
use crate::hub::ConnId;

/// The time since the process started.
pub type Time = Duration;

/// How long an answer of another node may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a peer may take to arrive here before the node that it left has freed its uid.
const MOMENT: Duration = Duration::from_millis(50);

/// How long a list waits for those of other nodes.
const LIST_PATIENCE: Duration = Duration::from_secs(1);

/// How long another node's list is kept up to date after somebody has asked for it.
const LISTING: Duration = Duration::from_secs(60);

/// The lives that ended recently and are remembered.
const MOST_DEAD: usize = 64;

/// Renewals per lease.
const RENEWALS: u32 = 6;

/// The number of a waiting request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A request that another node may have to answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Ask {
    /// Who asks.
    pub from: PeerId,
    /// Who is asked.
    pub to: PeerId,
    /// The asking peer takes no call itself meanwhile.
    pub is_exclusive: bool,
    /// What is asked for.
    pub body: Body,
}

/// What a local connection wants.
#[derive(Debug, Clone, PartialEq)]
pub enum Wish {
    /// A uid.
    Register {
        /// The uid.
        uid: PeerId,
        /// The connection.
        conn: ConnId,
        /// The token's subject.
        identity: Option<Arc<str>>,
    },
    /// A uid, or a call with the peer that has it.
    Meet {
        /// The uid is `to`.
        ask: Ask,
        /// The connection.
        conn: ConnId,
        /// The token's subject.
        identity: Option<Arc<str>>,
    },
    /// An answer of a peer that is not on this node, or of the node that has the stream of this name.
    Call(Ask),
    /// The same, to publish a stream: if no node has it, one with media nodes takes it.
    Publish(Ask),
    /// A place in a room.
    Join {
        /// The room.
        room: RoomId,
        /// The peer.
        own: Own,
        /// The most members.
        most: usize,
        /// The most bytes of their names.
        bytes: usize,
    },
    /// Whether a uid is registered on another node.
    Find(PeerId),
    /// To know who can be called at all nodes.
    List,
}

/// A call with a peer of another node, as this node names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Shared {
    /// The other node.
    pub node: NodeId,
    /// The number given by the caller's node.
    pub no: u64,
    /// Whether the caller is ours.
    pub is_ours: bool,
}

impl Directories {
    fn is_wanted(&self) -> bool {
        self.is_watching || self.lists_until.is_some()
    }
}

impl Shared {
    fn call(&self) -> Call {
        Call { no: self.no, to_callee: self.is_ours }
    }
}

/// Why a wish is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// Another connection has the uid.
    Taken,
    /// The room has no place left.
    Full,
    /// The uid is there, but on another node.
    Elsewhere,
    /// The store or the other node does not answer, or the uid was taken over meanwhile.
    Unavailable,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Let the hub carry out the request.
    CarryOut(Ticket),
    /// Refuse the request.
    Deny(Ticket, Denial),
    /// Forget the request: its peer is called by the one that it calls.
    Dismiss(Ticket),
    /// The request is answered by another node.
    Answer(Ticket, Body),
    /// The call of the request has started on the callee's node.
    Reached(Ticket, Shared, Body),
    /// Let the hub carry out the join, in a room that has these members elsewhere, or those that it knows.
    Enter(Ticket, Option<Vec<Member>>),
    /// A peer of another node asks a peer here.
    Visit(Shared, Ask),
    /// Something came in a call.
    Item(Shared, Body),
    /// Something of this size was sent in a call.
    Sent(Shared, usize),
    /// A call is over for the other node.
    Ended(Shared),
    /// Close a connection: another one has its uid.
    Replace(PeerId, ConnId),
    /// Ping a peer.
    Probe(ConnId),
    /// An operator closes this connection.
    Kick(PeerId, ConnId),
    /// An operator closes the members of a room.
    Close(RoomId),
    /// A peer elsewhere joined.
    Joined(RoomId, Member),
    /// A peer elsewhere left.
    Left(RoomId, PeerId),
    /// The members elsewhere; if the flag is set, there are no others.
    Members(RoomId, Vec<Member>, bool),
    /// Something came for a room.
    Room(NodeId, RoomId, Body),
    /// All members on this node are gone.
    Gone(NodeId),
    /// All members on other nodes are gone.
    Alone,
    /// Messages of this node's members may be lost: they have left, and joined again.
    Again(NodeId),
    /// Connect to the store again: the node has a new life.
    Reconnect,
    /// The node takes part.
    Entered,
    /// Whether the store has no memory for anything new.
    Full(bool),
    /// Whether other nodes have media nodes.
    FarMedia(bool),
    /// Whether other nodes watch who can be called here.
    Watched(bool),
    /// This node wants to know who can be called here.
    WantsDirectory(NodeId),
    /// Who can be called at this node.
    Directory(NodeId, Body),
    /// One of them has come or gone.
    Listed(NodeId, Body),
    /// Nobody here wants to know any more who can be called at other nodes.
    ForgetDirectories,
    /// The lease is extended.
    Renewed,
    /// What owners use of this node.
    Usage(NodeId, Body),
    /// The store does not let this node enter: its name is taken or its secret differs.
    Trouble(Reply),
}

/// Whether the node takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Not connected.
    Away,
    /// Connected, and not entered: the time of the next attempt.
    Outside(Time),
    /// It has asked to enter.
    Entering,
    /// It takes part.
    Inside,
}

/// A wish on its way.
#[derive(Debug)]
struct Waiting {
    wish: Wish,
    /// The question to another node.
    asked: Option<Shared>,
    since: Time,
    /// Another node had the uid, and may be about to free it.
    is_second: bool,
}

/// Who can be called at which node: this node gets the list of another one, and what changes in it, while somebody here
/// wants to know.
#[derive(Debug, Default)]
struct Directories {
    /// A connection here watches.
    is_watching: bool,
    /// A connection here has asked for a list: until then.
    lists_until: Option<Time>,
    /// The nodes that were asked, and whether their lists have come.
    asked: BTreeMap<NodeId, bool>,
    /// The nodes that have asked.
    watchers: BTreeSet<NodeId>,
}

/// See the module's description.
#[derive(Debug)]
pub struct Node {
    me: NodeId,
    before: Option<NodeId>,
    lease: Duration,
    /// Without the store, wishes are granted as if there were no other nodes.
    is_local_without: bool,
    phase: Phase,
    /// The lease is valid until then.
    valid: Option<Time>,
    /// When the command under way that extends the lease was sent.
    renewed: Option<Time>,
    /// When the next renewal is due.
    renew: Time,
    /// Dead nodes are buried from then on: after an outage of the store, others need time to renew, too.
    bury: Time,
    /// Claims wait until then: after the store was emptied, other nodes have to claim what they had.
    claim: Time,
    /// When the members elsewhere are compared once more.
    sweep: Option<Time>,
    /// The other nodes are to be greeted: this one has entered, and the last messages of either side may be lost.
    is_check_due: bool,
    /// The last lives that ended: what still comes from them is old.
    dead: VecDeque<NodeId>,
    is_quitting: bool,
    /// The store has no memory for anything new.
    is_full: bool,
    /// Uids of this node that the store, or their rooms there, had no memory for.
    owed: BTreeSet<PeerId>,
    /// Media nodes are attached to this node.
    has_media: bool,
    /// The other nodes that have some.
    media: Vec<NodeId>,
    directories: Directories,
    held: Held,
    waiting: BTreeMap<Ticket, Waiting>,
    /// Wishes that wait for a time.
    later: Vec<(Time, Ticket)>,
    calls: BTreeSet<Shared>,
    last_call: u64,
    links: Links,
    queue: VecDeque<(Command, Option<Ticket>)>,
    under_way: VecDeque<(Command, Option<Ticket>)>,
    /// Other nodes with links that the last renewal did not name.
    missing: BTreeSet<NodeId>,
    /// The nodes with a lease, as of the last renewal, and those that messages have come from since.
    alive: Vec<NodeId>,
    lost_links: u64,
}

impl Node {
    /// A node outside of the cluster.
    pub fn new(me: NodeId, lease: Duration, is_local_without: bool) -> Self {
        Self {
            me,
            before: None,
            lease,
            is_local_without,
            phase: Phase::Away,
            valid: None,
            renewed: None,
            renew: Time::ZERO,
            bury: Time::ZERO,
            claim: Time::ZERO,
            sweep: None,
            is_check_due: false,
            dead: VecDeque::new(),
            is_quitting: false,
            is_full: false,
            owed: BTreeSet::new(),
            has_media: false,
            media: Vec::new(),
            directories: Directories::default(),
            held: Held::default(),
            waiting: BTreeMap::new(),
            later: Vec::new(),
            calls: BTreeSet::new(),
            last_call: 0,
            links: Links::default(),
            queue: VecDeque::new(),
            under_way: VecDeque::new(),
            missing: BTreeSet::new(),
            alive: Vec::new(),
            lost_links: 0,
        }
    }

    /// This life.
    pub fn id(&self) -> &NodeId {
        &self.me
    }

    /// The interval between two calls of [`Node::tick`].
    pub fn interval(&self) -> Duration {
        self.lease / RENEWALS
    }

    /// Whether it takes part.
    pub fn is_inside(&self, now: Time) -> bool {
        self.phase == Phase::Inside && self.valid.is_some_and(|until| now < until)
    }

    /// Whether the store has said who of this node has lost a uid meanwhile.
    #[cfg(test)]
    pub fn has_compared(&self) -> bool {
        let is_open = |(command, _): &(Command, _)| matches!(command, Command::Claim { again: true, .. });
        !self.queue.iter().chain(&self.under_way).any(is_open)
    }

    /// Whether the store has no memory for anything new.
    pub fn is_full(&self) -> bool {
        self.is_full
    }

    /// Media nodes have been attached, or there are none any more. The other nodes hear of it at once.
    pub fn set_media(&mut self, has_media: bool) {
        if std::mem::replace(&mut self.has_media, has_media) != has_media {
            self.renew = Time::ZERO;
        }
    }

    /// Bytes that wait for other nodes.
    pub fn queued(&self) -> usize {
        self.links.totals().0
    }

    /// The numbers of nodes with a lease, of links, and of links that lost messages so far.
    pub fn counts(&self) -> (usize, usize, u64) {
        (self.alive.len(), self.links.totals().1, self.lost_links)
    }

    /// The connection to the store is there, and the inbox is subscribed.
    pub fn connected(&mut self, now: Time, out: &mut Vec<Output>) {
        self.check(now, out);
        self.phase = Phase::Entering;
        self.bury = now + self.lease;
        self.queue.push_front((Command::Enter { before: self.before.clone() }, None));
    }

    /// The connection to the store is lost. What was not answered is sent again.
    pub fn disconnected(&mut self, now: Time, out: &mut Vec<Output>) {
        self.phase = Phase::Away;
        while let Some(command) = self.under_way.pop_back() {
            if !is_of_connection(&command.0) {
                self.queue.push_front(command);
            }
        }
        self.queue.retain(|(command, _)| !is_of_connection(command));
        self.renewed = None;
        self.check(now, out);
    }

    /// The next commands to send, in this order. The last one may exceed the number of bytes.
    pub fn take(&mut self, now: Time, most: usize, mut most_bytes: usize) -> Vec<Command> {
        match self.phase {
            Phase::Away | Phase::Outside(_) => return Vec::new(),
            // Nothing else before it has entered.
            Phase::Entering if !self.under_way.is_empty() => return Vec::new(),
            Phase::Entering => {}
            Phase::Inside => self.flush(),
        }
        let most = if self.phase == Phase::Entering { 1 } else { most };
        let fits = |(command, _): &&(Command, Option<Ticket>)| {
            let is_open = most_bytes > 0;
            if let Command::Publish { batch, .. } = command {
                most_bytes = most_bytes.saturating_sub(batch.cost());
            }
            is_open
        };
        let count = self.queue.iter().take(most).take_while(fits).count();
        let waiting = &self.waiting;
        let commands = self.queue.drain(..count);
        let commands: Vec<_> = commands.map(|command| without_stale(command, waiting)).collect();
        if commands.iter().any(|(it, _)| is_of_connection(it)) {
            self.renewed = Some(now);
        }
        self.under_way.extend(commands.iter().cloned());
        commands.into_iter().map(|(command, _)| command).collect()
    }

    /// The answer to the oldest command without one.
    pub fn replied(&mut self, now: Time, reply: Reply, out: &mut Vec<Output>) {
        let Some((command, ticket)) = self.under_way.pop_front() else { return };
        if let Command::Publish { to, batch } = &command {
            self.links.answered(to, batch);
            out.extend(batch.messages.iter().filter_map(|message| sent(to, message)));
        }
        if reply == Reply::Fenced {
            return self.start_over(now, out);
        }
        // What the old life was answered does not matter any more.
        if !self.check(now, out) {
            return;
        }
        match command {
            _ if reply == Reply::NoMemory => self.refused_for_memory(now, &command, ticket, out),
            Command::Enter { .. } => self.entered(now, reply, out),
            _ if matches!(reply, Reply::Failed(_)) => {
                self.renewed.take_if(|_| matches!(command, Command::Renew { .. }));
                self.deny(ticket, Denial::Unavailable, out);
                out.push(Output::Trouble(reply));
            }
            Command::Renew { .. } => self.on_renewed(now, reply, out),
            Command::Bury(dead) if reply == Reply::More => {
                self.command(Command::Bury(dead), None);
            }
            Command::Claim { uid, conn, again: true, .. } => self.claimed_again(uid, conn, &reply, out),
            Command::Claim { uid, conn, identity, .. } => {
                self.claimed(now, ticket, (uid, conn, identity), reply, out);
            }
            Command::Find(_) => {
                if let Some(ticket) = ticket {
                    self.found(now, ticket, reply, out);
                }
            }
            Command::Join { .. } if reply == Reply::Full => self.deny(ticket, Denial::Full, out),
            // The store had no memory for the uid.
            Command::Join { own, .. } if reply == Reply::Nowhere && self.is_full => {
                self.settle(ticket, out);
                self.owe([own.uid]);
            }
            // The uid was just taken over.
            Command::Join { .. } if reply == Reply::Nowhere => self.deny(ticket, Denial::Unavailable, out),
            Command::Publish { to, .. } if reply == Reply::Receivers(0) => self.links.missed(&to),
            _ => {}
        }
    }

    /// Something came to the inbox.
    pub fn heard(&mut self, now: Time, event: Event, out: &mut Vec<Output>) {
        if !self.check(now, out) {
            return;
        }
        match event {
            Event::Joined(room, member) => out.push(Output::Joined(room, member)),
            Event::Left(room, uid) => out.push(Output::Left(room, uid)),
            Event::Members(room, members, whole) => out.push(Output::Members(room, members, whole)),
            Event::Entered(room, uid, conn, others) => self.on_entered(room, uid, conn, others, out),
            Event::TakenOver(uid, conn) => {
                if self.held.is_at(&uid, conn) {
                    self.held.remove(&uid);
                }
                out.push(Output::Replace(uid, conn));
            }
            Event::Probe(uid, conn) => {
                if self.held.is_at(&uid, conn) {
                    out.push(Output::Probe(conn));
                }
            }
            Event::Kick(uid, conn) => out.push(Output::Kick(uid, conn)),
            Event::Close(room) => out.push(Output::Close(room)),
            Event::Died(node) if node == self.me => self.start_over(now, out),
            Event::Died(node) => self.died(&node, out),
            Event::Batch(batch) => self.on_batch(batch, out),
        }
    }

    /// Before anything is sent: the process may have stood still.
    pub fn look(&mut self, now: Time, out: &mut Vec<Output>) {
        self.check(now, out);
    }

    /// Time passes.
    pub fn tick(&mut self, now: Time, out: &mut Vec<Output>) {
        self.check(now, out);
        match self.phase {
            Phase::Outside(at) if at <= now => {
                self.phase = Phase::Entering;
                self.queue.push_front((Command::Enter { before: self.before.clone() }, None));
            }
            Phase::Inside => self.tick_inside(now),
            _ => {}
        }
        self.answer_lists(Some(now), out);
        self.forget_directories(now, out);
        if !self.is_inside(now) && self.valid.is_none_or(|until| until <= now) {
            self.settle_without_store(out);
        }
        // The answer of another node, or the event that a join has happened.
        let is_told = |it: &Waiting| it.asked.is_some() || matches!(it.wish, Wish::Join { .. });
        let is_late = |it: &Waiting| is_told(it) && it.since + PATIENCE <= now;
        let late: Vec<Ticket> =
            self.waiting.iter().filter(|(_, it)| is_late(it)).map(|(ticket, _)| *ticket).collect();
        for ticket in late {
            // The store may have carried it out: then the others must not keep the member.
            if let Some(Wish::Join { room, own, .. }) = self.waiting.get(&ticket).map(|it| it.wish.clone()) {
                self.command(Command::Leave { room, uid: own.uid, conn: own.conn }, None);
            }
            self.withdraw(ticket);
            out.push(Output::Deny(ticket, Denial::Unavailable));
        }
    }

    fn renew_if_due(&mut self, now: Time) {
        if self.renew <= now && !self.is_renewing() && !self.is_quitting {
            self.renew = now + self.interval();
            self.queue.push_front((Command::Renew { has_media: self.has_media }, None));
        }
    }

    fn tick_inside(&mut self, now: Time) {
        self.renew_if_due(now);
        let mut beats = Vec::new();
        self.links.beats(&self.me, &mut beats);
        beats.into_iter().for_each(|(to, batch)| self.publish(to, batch));
        if self.sweep.is_some_and(|at| at <= now) {
            self.sweep = None;
            self.sync(true);
        }
        for (at, ticket) in std::mem::take(&mut self.later) {
            match at <= now {
                true => self.pursue(now, ticket),
                false => self.later.push((at, ticket)),
            }
        }
    }

    fn is_renewing(&self) -> bool {
        let is_renewal = |(command, _): &(Command, _)| matches!(command, Command::Renew { .. });
        self.renewed.is_some() || self.queue.iter().any(is_renewal)
    }

    /// A local connection wants something.
    pub fn wish(&mut self, now: Time, ticket: Ticket, wish: Wish, out: &mut Vec<Output>) {
        self.check(now, out);
        if let Wish::Register { uid, conn, identity } = &wish
            && let Some(held) = self.held.get(uid)
            && held.conn != *conn
            && (identity.is_none() || held.identity != *identity)
        {
            out.extend([Output::Probe(held.conn), Output::Deny(ticket, Denial::Taken)]);
            return;
        }
        self.waiting.insert(ticket, Waiting { wish, asked: None, since: now, is_second: false });
        if self.is_quitting || self.valid.is_none_or(|until| until <= now) {
            return self.settle_without_store(out);
        }
        self.pursue(now, ticket);
        self.answer_lists(None, out);
    }

    fn pursue(&mut self, now: Time, ticket: Ticket) {
        let Some(waiting) = self.waiting.get(&ticket) else { return };
        let command = match waiting.wish.clone() {
            Wish::Register { .. } | Wish::Meet { .. } if now < self.claim => {
                return self.later.push((self.claim, ticket));
            }
            Wish::Register { uid, conn, identity } => Command::Claim { uid, conn, identity, again: false },
            Wish::Meet { ask, conn, identity } => {
                Command::Claim { uid: ask.to, conn, identity, again: false }
            }
            Wish::List => return self.list(now),
            Wish::Call(ask) | Wish::Publish(ask) => Command::Find(ask.to),
            Wish::Find(uid) => Command::Find(uid),
            Wish::Join { room, own, most, bytes } => {
                let lists = !self.held.knows(&room);
                Command::Join { room, own, most, bytes, lists }
            }
        };
        self.command(command, Some(ticket));
    }

    /// The connection does not wait any more.
    pub fn withdraw(&mut self, ticket: Ticket) {
        if let Some(Waiting { asked: Some(shared), .. }) = self.waiting.remove(&ticket) {
            self.send(&shared.node.clone(), Message::End(shared.call()));
        }
    }

    /// A connection has given up a uid, or never had it.
    pub fn freed(&mut self, uid: PeerId, conn: ConnId) {
        if self.held.is_at(&uid, conn) {
            self.held.remove(&uid);
        }
        self.command(Command::Release { uid, conn }, None);
    }

    /// Whether a connection here watches who can be called.
    pub fn set_watches(&mut self, watches: bool, out: &mut Vec<Output>) {
        self.directories.is_watching = watches;
        match watches {
            true => self.ask_for_directories(),
            false => self.stop_watching(out),
        }
    }

    /// Who can be called here has changed.
    pub fn tell_watchers(&mut self, body: &Body) {
        for node in self.directories.watchers.clone() {
            self.send(&node, Message::Listed(body.clone()));
        }
    }

    /// Tells all other nodes what owners use of this one.
    pub fn tell_usage(&mut self, body: &Body) {
        for node in self.alive.clone() {
            if node != self.me {
                self.send(&node, Message::Usage(body.clone()));
            }
        }
    }

    /// Who can be called here.
    pub fn send_directory(&mut self, node: &NodeId, body: Body) {
        if self.directories.watchers.contains(node) {
            self.send(node, Message::Directory(body));
        }
    }

    /// Asks the nodes that were not asked yet, if somebody here wants to know.
    fn ask_for_directories(&mut self) {
        if !self.directories.is_wanted() {
            return;
        }
        for node in self.alive.clone() {
            if node != self.me && !self.directories.asked.contains_key(&node) {
                self.send(&node, Message::Watch(true));
                self.directories.asked.insert(node, false);
            }
        }
    }

    fn list(&mut self, now: Time) {
        self.directories.lists_until = Some(now + LISTING);
        self.ask_for_directories();
    }

    /// Lists wait until those of all nodes have come, or for a moment.
    fn answer_lists(&mut self, now: Option<Time>, out: &mut Vec<Output>) {
        let knows_all = !self.alive.is_empty();
        let is_complete = knows_all && self.directories.asked.values().all(|has_come| *has_come);
        let is_late = |it: &Waiting| now.is_some_and(|now| it.since + LIST_PATIENCE <= now);
        let is_list = |it: &Waiting| it.wish == Wish::List;
        let lists = self.waiting.iter().filter(|(_, it)| is_list(it) && (is_complete || is_late(it)));
        let lists: Vec<Ticket> = lists.map(|(ticket, _)| *ticket).collect();
        for ticket in lists {
            self.waiting.remove(&ticket);
            out.push(Output::CarryOut(ticket));
        }
    }

    fn forget_directories(&mut self, now: Time, out: &mut Vec<Output>) {
        if self.directories.lists_until.take_if(|until| *until <= now).is_some() {
            self.stop_watching(out);
        }
    }

    fn stop_watching(&mut self, out: &mut Vec<Output>) {
        if self.directories.is_wanted() {
            return;
        }
        for node in std::mem::take(&mut self.directories.asked).into_keys() {
            self.send(&node, Message::Watch(false));
        }
        out.push(Output::ForgetDirectories);
    }

    fn watched_by(&mut self, node: &NodeId, watches: bool, out: &mut Vec<Output>) {
        let watchers = &mut self.directories.watchers;
        let was_watched = !watchers.is_empty();
        match watches {
            true => drop(watchers.insert(node.clone())),
            false => drop(watchers.remove(node)),
        }
        let is_watched = !watchers.is_empty();
        if is_watched != was_watched {
            out.push(Output::Watched(is_watched));
        }
        if watches {
            out.push(Output::WantsDirectory(node.clone()));
        }
    }

    /// The hub has registered a uid for this connection.
    pub fn registered(&mut self, uid: PeerId, conn: ConnId, identity: Option<Arc<str>>) {
        if !self.held.is_at(&uid, conn) {
            self.held.insert(uid, Holder::new(conn, identity));
        }
    }

    /// The hub registered a uid by itself: after a call, the peer that stays has the id under which the two met.
    pub fn took(&mut self, uid: PeerId, conn: ConnId, identity: Option<Arc<str>>) {
        self.held.insert(uid.clone(), Holder::new(conn, identity.clone()));
        self.command(Command::Claim { uid, conn, identity, again: true }, None);
    }

    /// A connection has left a room, or never was in it.
    pub fn left(&mut self, room: RoomId, uid: PeerId, conn: ConnId) {
        if self.held.is_at(&uid, conn) {
            self.held.leave(&uid);
        }
        self.command(Command::Leave { room, uid, conn }, None);
    }

    /// The request of a peer of another node is answered, or its call has started if `is_call`.
    pub fn answer(&mut self, shared: &Shared, is_call: bool, body: Body) {
        if !self.calls.contains(shared) {
            return;
        }
        let message = if is_call {
            Message::Called(shared.no, body)
        } else {
            self.calls.remove(shared);
            Message::Answered(shared.no, body)
        };
        self.send(&shared.node.clone(), message);
    }

    /// Sends something in a call. False: the call is over.
    pub fn item(&mut self, shared: &Shared, body: Body) -> bool {
        let is_there = self.calls.contains(shared);
        if is_there {
            self.send(&shared.node.clone(), Message::Item(shared.call(), body));
        }
        is_there
    }

    /// A call is over here.
    pub fn end(&mut self, shared: &Shared) {
        if self.calls.remove(shared) {
            self.send(&shared.node.clone(), Message::End(shared.call()));
        }
    }

    /// Sends something to the members of a room on another node.
    pub fn to_room(&mut self, node: &NodeId, room: RoomId, body: Body) {
        self.send(node, Message::Room(room, body));
    }

    /// The node leaves for good. Its connections are closed before or after.
    pub fn quit(&mut self) {
        if self.phase == Phase::Inside {
            self.is_quitting = true;
            self.command(Command::Quit, None);
        }
    }

    /// Whether all commands are answered.
    pub fn is_done(&self) -> bool {
        self.queue.is_empty() && self.under_way.is_empty() && self.links.totals().0 == 0
    }

    fn send(&mut self, to: &NodeId, message: Message) {
        if !self.links.push(to, message) {
            // Too much waits. The other side notices by the number that is left out.
            self.links.lose(to);
            self.lost_links += 1;
        }
    }

    /// Queues a command behind what was sent before. Without a lease the store has nothing of this life to change: on
    /// entering, everything is written.
    fn command(&mut self, command: Command, ticket: Option<Ticket>) {
        if self.valid.is_none() && ticket.is_none() {
            return;
        }
        self.flush();
        self.queue.push_back((command, ticket));
    }

    fn flush(&mut self) {
        let mut batches = Vec::new();
        self.links.take(&self.me, &mut batches);
        batches.into_iter().for_each(|(to, batch)| self.publish(to, batch));
    }

    fn publish(&mut self, to: NodeId, batch: Batch) {
        self.queue.push_back((Command::Publish { to, batch }, None));
    }

    /// If the lease has run out, other nodes may act on it: nothing may be shared with them any more. False if it has.
    fn check(&mut self, now: Time, out: &mut Vec<Output>) -> bool {
        let is_over = self.valid.is_some_and(|until| until <= now);
        if is_over {
            self.start_over(now, out);
        }
        !is_over
    }

    fn start_over(&mut self, now: Time, out: &mut Vec<Output>) {
        out.extend(std::mem::take(&mut self.calls).into_iter().map(Output::Ended));
        out.push(Output::Alone);
        self.set_far_media(Vec::new(), out);
        self.directories.asked.clear();
        if !std::mem::take(&mut self.directories.watchers).is_empty() {
            out.push(Output::Watched(false));
        }
        self.alive.clear();
        self.links.clear();
        self.queue.clear();
        self.under_way.clear();
        self.renewed = None;
        self.valid = None;
        self.sweep = None;
        self.owed.clear();
        self.phase = Phase::Away;
        // Entries of the old life are nobody's from now on.
        self.before = Some(self.me.clone());
        self.me.life = next_life(self.me.life, now);
        self.later.clear();
        // Requests sent to another node may or may not have arrived.
        let asked: Vec<Ticket> =
            self.waiting.iter().filter(|(_, it)| it.asked.is_some()).map(|(ticket, _)| *ticket).collect();
        for ticket in asked {
            self.waiting.remove(&ticket);
            out.push(Output::Deny(ticket, Denial::Unavailable));
        }
        self.settle_without_store(out);
        out.push(Output::Reconnect);
    }

    /// Decides about the waiting wishes without the store.
    fn settle_without_store(&mut self, out: &mut Vec<Output>) {
        let tickets: Vec<Ticket> = self.waiting.keys().copied().collect();
        tickets.into_iter().for_each(|ticket| self.settle(Some(ticket), out));
    }

    /// Decides about one of them.
    fn settle(&mut self, ticket: Option<Ticket>, out: &mut Vec<Output>) {
        let Some(ticket) = ticket else { return };
        let Some(Waiting { wish, .. }) = self.waiting.remove(&ticket) else { return };
        // A list has those that are known.
        if !self.is_local_without && wish != Wish::List {
            return out.push(Output::Deny(ticket, Denial::Unavailable));
        }
        match wish {
            Wish::Register { uid, conn, identity } => {
                // Another one here has it: the hub decides.
                self.held.insert_if_free(uid, Holder::new(conn, identity));
            }
            Wish::Meet { ask, conn, identity } => {
                self.held.insert_if_free(ask.to, Holder::new(conn, identity));
            }
            Wish::Join { room, own, .. } => {
                self.held.enter(&own.uid, room, own.dialect, false);
            }
            Wish::Call(_) | Wish::Publish(_) | Wish::Find(_) | Wish::List => {}
        }
        out.push(Output::CarryOut(ticket));
    }

    /// The store has no memory for what a command adds. What is there already goes on.
    fn refused_for_memory(
        &mut self,
        now: Time,
        command: &Command,
        ticket: Option<Ticket>,
        out: &mut Vec<Output>,
    ) {
        self.set_full(true, out);
        if matches!(command, Command::Enter { .. }) {
            self.renewed = None;
            self.phase = Phase::Outside(now + self.interval());
        }
        self.settle(ticket, out);
        match command {
            Command::Claim { uid, .. } => self.owe([uid.clone()]),
            Command::Join { own, .. } => self.owe([own.uid.clone()]),
            Command::Sync { own, .. } => self.owe(own.iter().map(|own| own.uid.clone())),
            _ => {}
        }
    }

    /// Remembers what the store lacks. A Redis that is about full is so again and again: only this is written then.
    fn owe(&mut self, uids: impl IntoIterator<Item = PeerId>) {
        let held = &self.held;
        self.owed.extend(uids.into_iter().filter(|uid| held.get(uid).is_some()));
    }

    /// Writes what the store had no memory for.
    fn write_owed(&mut self) {
        let owed = std::mem::take(&mut self.owed);
        let held: Vec<_> =
            owed.into_iter().filter_map(|uid| Some((uid.clone(), self.held.get(&uid)?.clone()))).collect();
        for (uid, Holder { conn, identity, .. }) in held.clone() {
            self.command(Command::Claim { uid, conn, identity, again: true }, None);
        }
        for sync in syncs(held.iter().map(|(uid, held)| (uid, held)), false) {
            self.command(sync, None);
        }
    }

    fn set_full(&mut self, is_full: bool, out: &mut Vec<Output>) {
        if self.is_full != is_full {
            self.is_full = is_full;
            out.push(Output::Full(is_full));
        }
    }

    fn deny(&mut self, ticket: Option<Ticket>, denial: Denial, out: &mut Vec<Output>) {
        if let Some(ticket) = ticket.filter(|ticket| self.waiting.remove(ticket).is_some()) {
            out.push(Output::Deny(ticket, denial));
        }
    }

    fn entered(&mut self, now: Time, reply: Reply, out: &mut Vec<Output>) {
        let sent = self.renewed.take();
        if !matches!(reply, Reply::Done | Reply::Empty) {
            self.phase = Phase::Outside(now + self.interval());
            out.push(Output::Trouble(reply));
            return;
        }
        self.phase = Phase::Inside;
        self.is_check_due = true;
        self.valid = Some(sent.unwrap_or(now) + self.lease);
        self.renew = now;
        // First, the other nodes claim what they had.
        if reply == Reply::Empty {
            self.claim = now + store::again(self.lease);
        }
        self.set_full(false, out);
        self.owed.clear();
        // What happened meanwhile was missed.
        for (command, _) in &mut self.queue {
            if let Command::Join { lists, .. } = command {
                *lists = true;
            }
        }
        self.compare(now);
        // The other nodes are to know of this one at once.
        self.renew_if_due(now);
        out.push(Output::Entered);
    }

    /// What happened meanwhile was missed, and the store may not have what this node has.
    fn compare(&mut self, now: Time) {
        self.sync(false);
        self.join_again();
        for (uid, Holder { conn, identity, .. }) in self.held.iter() {
            let (uid, conn, identity) = (uid.clone(), *conn, identity.clone());
            self.queue.push_front((Command::Claim { uid, conn, identity, again: true }, None));
        }
        self.sweep = Some(now + self.lease);
    }

    /// The command may have been answered, and the event that tells its result be lost.
    fn join_again(&mut self) {
        let is_queued = |ticket: &Ticket| self.queue.iter().any(|(_, it)| *it == Some(*ticket));
        let joins = self.waiting.iter().filter_map(|(ticket, it)| match &it.wish {
            Wish::Join { room, own, most, bytes } if !is_queued(ticket) => {
                let (room, own) = (room.clone(), own.clone());
                Some((Command::Join { room, own, most: *most, bytes: *bytes, lists: true }, Some(*ticket)))
            }
            _ => None,
        });
        let joins: Vec<_> = joins.collect();
        self.queue.extend(joins);
    }

    /// Compares the rooms with the store's.
    fn sync(&mut self, whole: bool) {
        for sync in syncs(self.held.iter(), whole) {
            self.command(sync, None);
        }
    }

    fn on_renewed(&mut self, now: Time, reply: Reply, out: &mut Vec<Output>) {
        let sent = self.renewed.take();
        let Reply::Nodes { alive, dead, media, is_full } = reply else { return };
        self.valid = Some(sent.unwrap_or(now) + self.lease);
        self.set_far_media(media, out);
        // The store was emptied, and they have entered again.
        self.dead.retain(|node| !alive.contains(node));
        if std::mem::take(&mut self.is_check_due) {
            let me = self.me.clone();
            alive.iter().filter(|node| **node != me).for_each(|node| self.links.check(node));
        }
        if !is_full {
            self.write_owed();
        }
        self.set_full(is_full, out);
        // Others may have buried them while we were not connected.
        let known: BTreeSet<&NodeId> = alive.iter().chain(&dead).collect();
        let missing: BTreeSet<NodeId> =
            self.links.nodes().filter(|node| !known.contains(node)).cloned().collect();
        // One that has just entered may be missing once.
        let gone: Vec<NodeId> = missing.intersection(&self.missing).cloned().collect();
        self.missing = missing;
        gone.iter().for_each(|node| self.died(node, out));
        self.alive = alive;
        self.ask_for_directories();
        out.push(Output::Renewed);
        if self.bury <= now {
            for node in dead {
                let is_me = node == self.me;
                let bury = Command::Bury(node);
                if !is_me && !self.queue.iter().chain(&self.under_way).any(|(command, _)| *command == bury) {
                    self.command(bury, None);
                }
            }
        }
    }

    fn claimed(
        &mut self,
        now: Time,
        ticket: Option<Ticket>,
        (uid, conn, identity): (PeerId, ConnId, Option<Arc<str>>),
        reply: Reply,
        out: &mut Vec<Output>,
    ) {
        let waiting = ticket.and_then(|ticket| Some((ticket, self.waiting.get(&ticket)?)));
        match (waiting, reply) {
            // Another one here got it while the store had no memory.
            (Some((ticket, _)), Reply::Done) if self.is_held_by_other(&uid, conn, identity.as_ref()) => {
                self.command(Command::Release { uid, conn }, None);
                self.deny(Some(ticket), Denial::Taken, out);
            }
            (Some((ticket, _)), Reply::Done) => {
                self.waiting.remove(&ticket);
                self.held.insert(uid, Holder::new(conn, identity));
                out.push(Output::CarryOut(ticket));
            }
            // It closed meanwhile. If it has taken the uid over from another one here, that is closed, too.
            (None, Reply::Done) => {
                if let Some(held) = self.held.remove(&uid) {
                    out.push(Output::Replace(uid.clone(), held.conn));
                }
                self.command(Command::Release { uid, conn }, None);
            }
            (Some((ticket, Waiting { wish: Wish::Meet { .. }, .. })), Reply::Taken(node)) => {
                self.ask(now, ticket, node, out);
            }
            // Its peer may have left, and come here: then it is free in a moment.
            (Some((ticket, Waiting { is_second: false, .. })), Reply::Taken(node)) if node != self.me => {
                if let Some(waiting) = self.waiting.get_mut(&ticket) {
                    waiting.is_second = true;
                }
                self.later.push((now + MOMENT, ticket));
            }
            (Some((ticket, _)), _) => self.deny(Some(ticket), Denial::Taken, out),
            (None, _) => {}
        }
    }

    fn is_held_by_other(&self, uid: &PeerId, conn: ConnId, identity: Option<&Arc<str>>) -> bool {
        let is_other =
            |held: &Holder| held.conn != conn && (identity.is_none() || held.identity.as_ref() != identity);
        self.held.get(uid).is_some_and(is_other)
    }

    fn claimed_again(&mut self, uid: PeerId, conn: ConnId, reply: &Reply, out: &mut Vec<Output>) {
        if self.held.is_at(&uid, conn) && matches!(reply, Reply::Taken(_)) {
            self.held.remove(&uid);
            out.push(Output::Replace(uid, conn));
        }
    }

    fn found(&mut self, now: Time, ticket: Ticket, reply: Reply, out: &mut Vec<Output>) {
        match (self.waiting.get(&ticket).map(|it| &it.wish), reply) {
            (None, _) => {}
            (Some(Wish::Find(_)), Reply::At(node)) if node != self.me => {
                self.deny(Some(ticket), Denial::Elsewhere, out);
            }
            (Some(Wish::Call(_) | Wish::Publish(_)), Reply::At(node)) if node != self.me => {
                self.ask(now, ticket, node, out);
            }
            (Some(Wish::Publish(_)), Reply::Nowhere) if let Some(node) = self.far_media(ticket) => {
                self.ask(now, ticket, node, out);
            }
            _ => {
                self.waiting.remove(&ticket);
                out.push(Output::CarryOut(ticket));
            }
        }
    }

    /// The node for a stream that no node has. All of them in turn, if none is here.
    fn far_media(&self, ticket: Ticket) -> Option<NodeId> {
        let turn = usize::try_from(ticket.0).unwrap_or_default().checked_rem(self.media.len())?;
        self.media.get(turn).filter(|_| !self.has_media).cloned()
    }

    fn set_far_media(&mut self, mut media: Vec<NodeId>, out: &mut Vec<Output>) {
        media.retain(|node| *node != self.me);
        if self.media.is_empty() != media.is_empty() {
            out.push(Output::FarMedia(!media.is_empty()));
        }
        self.media = media;
    }

    fn ask(&mut self, now: Time, ticket: Ticket, node: NodeId, out: &mut Vec<Output>) {
        if node == self.me {
            self.waiting.remove(&ticket);
            return out.push(Output::CarryOut(ticket));
        }
        let Some(waiting) = self.waiting.get_mut(&ticket) else { return };
        let (Wish::Call(ask) | Wish::Publish(ask) | Wish::Meet { ask, .. }) = &waiting.wish else { return };
        self.last_call += 1;
        let no = self.last_call;
        waiting.asked = Some(Shared { node: node.clone(), no, is_ours: true });
        waiting.since = now;
        let Ask { from, to, is_exclusive, body } = ask.clone();
        self.send(&node, Message::Ask { no, from, to, is_exclusive, body });
    }

    fn on_entered(
        &mut self,
        room: RoomId,
        uid: PeerId,
        conn: ConnId,
        others: Option<Vec<Member>>,
        out: &mut Vec<Output>,
    ) {
        let is_known = others.is_some() || self.held.knows(&room);
        let is_it =
            |wish: &Wish| matches!(wish, Wish::Join { room: id, own, .. } if *id == room && own.conn == conn);
        let ticket = self.waiting.iter().find(|(_, it)| is_it(&it.wish)).map(|(ticket, _)| *ticket);
        let holder = self.held.get(&uid).filter(|holder| holder.conn == conn);
        match (ticket, holder) {
            // The member that knew the others has left meanwhile.
            (Some(ticket), Some(_)) if !is_known => self.join_with_list(ticket),
            (Some(ticket), Some(_)) => {
                if let Some(Waiting { wish: Wish::Join { own, .. }, .. }) = self.waiting.remove(&ticket) {
                    self.held.enter(&uid, room, own.dialect, true);
                }
                out.push(Output::Enter(ticket, others));
            }
            // The command was repeated, and this is the second answer.
            (None, Some(holder)) if holder.is_in(&room) => {}
            _ => self.command(Command::Leave { room, uid, conn }, None),
        }
    }

    fn join_with_list(&mut self, ticket: Ticket) {
        if let Some(Wish::Join { room, own, most, bytes }) =
            self.waiting.get(&ticket).map(|it| it.wish.clone())
        {
            self.command(Command::Join { room, own, most, bytes, lists: true }, Some(ticket));
        }
    }

    /// The hub has members of a room, and does not know those elsewhere.
    pub fn list_members(&mut self, room: &RoomId) {
        for sync in syncs(self.held.iter().filter(|(_, holder)| holder.is_in(room)), true) {
            self.command(sync, None);
        }
    }

    fn on_batch(&mut self, batch: Batch, out: &mut Vec<Output>) {
        let node = batch.from.clone();
        if self.dead.contains(&node) {
            return;
        }
        match self.links.arrived(&batch) {
            Arrival::Again => return,
            Arrival::Next | Arrival::Unnumbered => {}
            Arrival::Gap => {
                self.lost_links += 1;
                self.break_off(&node, out);
                self.send(&node, Message::Lost);
                out.push(Output::Again(node.clone()));
            }
        }
        self.met(&node);
        for message in batch.messages {
            self.on_message(&node, message, out);
        }
    }

    /// A message has come from a node that may have entered since the last renewal.
    fn met(&mut self, node: &NodeId) {
        if !self.alive.contains(node) {
            self.alive.push(node.clone());
            self.ask_for_directories();
        }
    }

    fn on_message(&mut self, node: &NodeId, message: Message, out: &mut Vec<Output>) {
        let ours = |no| Shared { node: node.clone(), no, is_ours: true };
        match message {
            Message::Ask { no, from, to, is_exclusive, body } => {
                let shared = Shared { node: node.clone(), no, is_ours: false };
                self.on_ask(shared, Ask { from, to, is_exclusive, body }, out);
            }
            Message::Called(no, body) => match self.asker(&ours(no)) {
                Some(ticket) => {
                    self.waiting.remove(&ticket);
                    self.calls.insert(ours(no));
                    out.push(Output::Reached(ticket, ours(no), body));
                }
                None => self.send(node, Message::End(ours(no).call())),
            },
            Message::Answered(no, body) => {
                if let Some(ticket) = self.asker(&ours(no)) {
                    self.waiting.remove(&ticket);
                    out.push(Output::Answer(ticket, body));
                }
            }
            Message::Item(call, body) => {
                let shared = Shared { node: node.clone(), no: call.no, is_ours: !call.to_callee };
                if self.calls.contains(&shared) {
                    out.push(Output::Item(shared, body));
                } else {
                    self.send(node, Message::End(shared.call()));
                }
            }
            Message::End(call) => {
                let shared = Shared { node: node.clone(), no: call.no, is_ours: !call.to_callee };
                if self.calls.remove(&shared) {
                    out.push(Output::Ended(shared));
                } else if let Some(ticket) = self.asker(&shared) {
                    self.deny(Some(ticket), Denial::Unavailable, out);
                }
            }
            Message::Room(room, body) => out.push(Output::Room(node.clone(), room, body)),
            Message::Usage(body) => out.push(Output::Usage(node.clone(), body)),
            Message::Watch(watches) => self.watched_by(node, watches, out),
            Message::Directory(body) => {
                if let Some(has_come) = self.directories.asked.get_mut(node) {
                    *has_come = true;
                    out.push(Output::Directory(node.clone(), body));
                    self.answer_lists(None, out);
                }
            }
            Message::Listed(body) => {
                if self.directories.asked.contains_key(node) {
                    out.push(Output::Listed(node.clone(), body));
                }
            }
            Message::Lost => {
                self.lost_links += 1;
                self.break_off(node, out);
                out.push(Output::Again(node.clone()));
            }
            Message::Check => self.links.missed(node),
        }
    }

    fn asker(&self, shared: &Shared) -> Option<Ticket> {
        self.waiting.iter().find(|(_, it)| it.asked.as_ref() == Some(shared)).map(|(ticket, _)| *ticket)
    }

    /// Two peers may call each other at the same time. Then the call of the one with the smaller uid counts.
    fn on_ask(&mut self, shared: Shared, ask: Ask, out: &mut Vec<Output>) {
        let is_back = |wish: &Wish| matches!(wish, Wish::Call(it) if it.is_exclusive && it.from == ask.to && it.to == ask.from);
        let crossing = self.waiting.iter().find(|(_, it)| is_back(&it.wish)).map(|(ticket, _)| *ticket);
        if let Some(ticket) = crossing.filter(|_| ask.is_exclusive) {
            if ask.to < ask.from {
                // Ours counts. The other node comes to the same conclusion.
                return;
            }
            self.withdraw(ticket);
            out.push(Output::Dismiss(ticket));
        }
        self.calls.insert(shared.clone());
        out.push(Output::Visit(shared, ask));
    }

    /// Ends all calls with a node, for both.
    fn break_off(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        // News may be lost: it is asked again.
        self.directories.asked.remove(node);
        let calls: Vec<Shared> = self.calls.iter().filter(|it| it.node == *node).cloned().collect();
        for shared in calls {
            self.end(&shared);
            out.push(Output::Ended(shared));
        }
        let is_there = |it: &Waiting| it.asked.as_ref().is_some_and(|it| it.node == *node);
        let asked: Vec<Ticket> =
            self.waiting.iter().filter(|(_, it)| is_there(it)).map(|(ticket, _)| *ticket).collect();
        for ticket in asked {
            self.withdraw(ticket);
            out.push(Output::Deny(ticket, Denial::Unavailable));
        }
    }

    fn died(&mut self, node: &NodeId, out: &mut Vec<Output>) {
        self.break_off(node, out);
        self.watched_by(node, false, out);
        self.links.remove(node);
        if !self.dead.contains(node) {
            self.dead.push_back(node.clone());
            self.dead.drain(..self.dead.len().saturating_sub(MOST_DEAD));
        }
        out.push(Output::Gone(node.clone()));
    }
}

/// A command that is about the connection to the store: on another one, it is not repeated.
fn is_of_connection(command: &Command) -> bool {
    matches!(command, Command::Enter { .. } | Command::Renew { .. })
}

/// What a call gets to know of its message that the store has.
fn sent(to: &NodeId, message: &Message) -> Option<Output> {
    let Message::Item(call, body) = message else { return None };
    let shared = Shared { node: to.clone(), no: call.no, is_ours: call.to_callee };
    Some(Output::Sent(shared, body.len()))
}

/// A command whose connection is gone must not take anything from where its peer may be now. It may have been sent
/// before, on a connection that was lost.
fn without_stale(
    (command, ticket): (Command, Option<Ticket>),
    waiting: &BTreeMap<Ticket, Waiting>,
) -> (Command, Option<Ticket>) {
    let is_stale = ticket.is_some_and(|ticket| !waiting.contains_key(&ticket));
    match command {
        Command::Claim { uid, conn, .. } if is_stale => (Command::Release { uid, conn }, None),
        Command::Join { room, own: Own { uid, conn, .. }, .. } if is_stale => {
            (Command::Leave { room, uid, conn }, None)
        }
        command => (command, ticket),
    }
}

/// A number that no other life has, as far as chance allows (SplitMix64).
fn next_life(life: u64, now: Time) -> u64 {
    let mut z = life.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_add(now.subsec_nanos().into());
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
