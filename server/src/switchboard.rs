//! The hub behind its lock, and the outbox of every connection: effects become queued frames here.
//!
//! One lock orders everything that concerns more than one connection, so each peer gets its notices in the order of
//! events. Nothing blocks while it is held: an effect is a push to a bounded queue. Nothing takes long either: work for
//! many connections is done in small steps ([`Switchboard::run`]), and logs are written after the lock is released.

use std::{
    collections::{HashMap, VecDeque},
    future::poll_fn,
    mem,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::Poll,
    time::{Duration, Instant},
};

use callbin_protocol::{PeerId, RoomId, node::Limits};
use futures_util::task::AtomicWaker;
use serde_json::{Value, json};
use tracing::{Level, debug, enabled, info, warn};

use crate::{
    access::{
        Grant,
        account::Lines,
        owner::{Owner, network},
    },
    close::CloseReason,
    cluster::{Cluster, Input, store::STREAM},
    delivery::{
        budget::{Bounds, Budget},
        outbox::Outbox,
    },
    dialect::Dialect,
    hub::{
        Card, ConnId, Counts, Doing, Effect, Event, Hub, NodeInfo, NodeRooms, Note, Plan, Request, Rules,
        Share, StreamInfo, Wish,
    },
    operate::{
        logging::short,
        metrics::{Metrics, Snapshot},
    },
    runtime,
};

/// Notices delivered per step, before their receivers and all other tasks get their turn.
const NOTICES: usize = 256;

/// The shortest and the longest pause for other tasks after these steps. The runtime's timers count milliseconds, so the
/// pauses of short steps are added up.
const SHORTEST_REST: Duration = Duration::from_millis(1);
const LONGEST_REST: Duration = Duration::from_millis(5);

/// A message to one member that is not longer is no offer to a media node.
const SHORT: usize = 64;

/// Connections closed per step. Closing one costs as much as ten notices.
const CLOSES: usize = 8;

/// The most log lines about one event.
const LINES: usize = 32;

/// All connections. See the module's description.
#[derive(Debug)]
pub struct Switchboard {
    state: Mutex<State>,
    budget: Arc<Budget>,
    metrics: Arc<Metrics>,
    has_node_rooms: bool,
    /// The task of [`Switchboard::run`], while there is nothing to do.
    runner: AtomicWaker,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    connections: HashMap<ConnId, Line>,
    shutting_down: bool,
    /// Where changes that other nodes have to know go.
    cluster: Option<Arc<Cluster>>,
    /// Connections that are gone from the hub; their outboxes are still to be closed.
    closing: VecDeque<(ConnId, CloseReason)>,
    /// Log entries, written once the lock is released.
    remarks: Vec<Remark>,
    /// Kept between events to reuse its memory.
    effects: Vec<Effect>,
}

#[derive(Debug)]
struct Line {
    outbox: Arc<Outbox>,
    address: SocketAddr,
    lines: Lines,
    /// The ICE servers that the webhook added for this peer.
    ice_servers: Vec<Value>,
}

/// A log entry with the state at the time of the event.
#[derive(Debug)]
struct Remark {
    conn: ConnId,
    note: Note,
    line: Option<(SocketAddr, Lines)>,
    /// Its dialect, if it is not the text protocol.
    dialect: Option<&'static str>,
    counts: Counts,
}

impl Switchboard {
    /// A switchboard without connections.
    pub fn new(rules: Rules, node_rooms: NodeRooms, bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let has_node_rooms = !node_rooms.is_empty();
        let mut hub = Hub::new(rules);
        hub.set_node_rooms(node_rooms);
        let state = State {
            hub,
            connections: HashMap::new(),
            shutting_down: false,
            cluster: None,
            closing: VecDeque::new(),
            remarks: Vec::new(),
            effects: Vec::new(),
        };
        let budget = Arc::new(Budget::new(bounds));
        Self { state: Mutex::new(state), budget, metrics, has_node_rooms, runner: AtomicWaker::new() }
    }

    /// From now on, there are other nodes.
    pub fn share(&self, cluster: Arc<Cluster>) {
        let mut state = self.lock();
        state.hub.set_shared();
        state.cluster = Some(cluster);
    }

    /// What other nodes have to do with a request, see [`Hub::plan`].
    pub fn plan(&self, conn: ConnId, request: &Request) -> Option<Plan> {
        // Without the lock: most requests are signals in a call, and have no plan.
        match request {
            Request::Register { .. }
            | Request::Meet { .. }
            | Request::Call { .. }
            | Request::Find { .. }
            | Request::Join(_)
            | Request::List(_)
            | Request::Send { to: Some(_), .. } => self.lock().hub.plan(conn, request),
            _ => None,
        }
    }

    /// Whether a request is a message to members of a room on other nodes.
    pub fn reaches_far(&self, conn: ConnId, request: &Request) -> bool {
        matches!(request, Request::Send { .. }) && self.lock().hub.reaches_far(conn, request)
    }

    /// The cost of a join that is done, see [`Hub::join_price`].
    pub fn join_price(&self, conn: ConnId) -> usize {
        self.lock().hub.join_price(conn)
    }

    /// The dialect of a connection.
    pub fn dialect(&self, conn: ConnId) -> Option<Dialect> {
        self.lock().hub.dialect(conn)
    }

    /// The main id of a connection.
    pub fn uid(&self, conn: ConnId) -> Option<PeerId> {
        self.lock().hub.uid(conn)
    }

    /// The name of a connection for its partners.
    pub fn name(&self, conn: ConnId) -> Option<PeerId> {
        self.lock().hub.name(conn)
    }

    /// Whether a stand-in's peer gets the id after its call, see [`Hub::take_return`].
    pub fn take_return(&self, conn: ConnId) -> bool {
        self.lock().hub.take_return(conn)
    }

    /// The most members of a room.
    pub fn max_members(&self) -> usize {
        self.lock().hub.max_members()
    }

    /// The connection that has registered a uid.
    pub fn holder(&self, uid: &PeerId) -> Option<ConnId> {
        self.lock().hub.holder(uid)
    }

    /// Whether a connection is in this room.
    pub fn is_in(&self, conn: ConnId, room: &RoomId) -> bool {
        self.lock().hub.is_in(conn, room)
    }

    /// Closes a connection whose uid another one has taken over, or ends its stream of this name, if it still has it.
    pub fn replace(&self, uid: &PeerId, conn: ConnId) {
        self.give_up(uid, conn, CloseReason::Replaced);
    }

    /// The same on an operator's request.
    pub fn disconnect_at(&self, uid: &PeerId, conn: ConnId) {
        self.give_up(uid, conn, CloseReason::ByOperator);
    }

    fn give_up(&self, uid: &PeerId, conn: ConnId, reason: CloseReason) {
        self.change(|state| {
            if state.hub.holder(uid) == Some(conn) {
                state.kick(&[conn], reason);
            } else if state.hub.is_stream_of(uid, conn) {
                state.run(|hub, effects| {
                    hub.end_stream(uid.as_str(), effects);
                });
            }
        });
    }

    /// What a peer of another server gets by this name is a stream of a media node, see [`Hub::has_stream`].
    pub fn has_stream(&self, name: &PeerId) -> bool {
        self.lock().hub.has_stream(name)
    }

    /// Pings a peer that may be gone.
    pub fn probe(&self, conn: ConnId) {
        self.change(|state| state.apply(Effect::Probe(conn)));
    }

    /// The peers that can be called here, see [`Hub::directory`].
    pub fn directory(&self) -> Vec<(PeerId, Card)> {
        self.lock().hub.directory()
    }

    /// What other nodes have to know of the owners here, see [`Hub::heavy_owners`].
    pub fn heavy_owners(&self) -> Vec<(Owner, Share)> {
        self.lock().hub.heavy_owners()
    }

    /// Changes what the hub knows of other nodes.
    pub fn far(&self, change: impl FnOnce(&mut Hub, &mut Vec<Effect>)) {
        self.change(|state| state.run(change));
    }

    /// Does the work for many connections in small steps. Never returns.
    pub async fn run(&self) {
        let mut owed = Duration::ZERO;
        loop {
            poll_fn(|cx| {
                self.runner.register(cx.waker());
                if self.lock().has_more() { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            let start = Instant::now();
            self.change(State::go_on);
            // Continue behind all tasks that are ready now, among them the receivers of these notices.
            runtime::yield_now().await;
            // Then pause as long as the steps took: such work takes at most half of the machine's time.
            owed += start.elapsed();
            if owed >= SHORTEST_REST {
                runtime::sleep(mem::take(&mut owed).min(LONGEST_REST)).await;
            }
        }
    }

    /// Adds a new connection and returns its outbox.
    pub fn open(
        &self,
        conn: ConnId,
        address: SocketAddr,
        grant: Arc<Grant>,
        dialect: Dialect,
        lines: Lines,
    ) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(self.budget.clone()));
        let line = Line { outbox: outbox.clone(), address, lines, ice_servers: Vec::new() };
        self.change(|state| {
            if state.shutting_down {
                line.outbox.close(CloseReason::GoingAway);
            }
            state.connections.insert(conn, line);
            let address = network(address.ip());
            state.handle(conn, Event::Opened { grant, address, dialect });
        });
        outbox
    }

    /// Gives the hub an event of a connection and applies the effects.
    pub fn handle(&self, conn: ConnId, event: Event) {
        self.change(|state| state.handle(conn, event));
    }

    /// Removes a connection: its uid is free afterwards.
    pub fn forget(&self, conn: ConnId) {
        self.change(|state| {
            state.handle(conn, Event::Closed);
            state.connections.remove(&conn);
        });
    }

    /// What a request would do, see [`Hub::wish`].
    pub fn wish(&self, conn: ConnId, request: &Request) -> Option<(Wish, Option<PeerId>)> {
        self.lock().hub.wish(conn, request)
    }

    /// The cost of a request beyond itself, see [`Hub::fan_out`].
    pub fn fan_out(&self, conn: ConnId, request: &Request) -> usize {
        // Fast path without the lock: only these requests may cost extra, and most messages in a room are for one member.
        let may_cost = match request {
            Request::Send { to: Some(_), payload, .. } => self.has_node_rooms && payload.len() > SHORT,
            Request::Join(_) | Request::Members | Request::Send { to: None, .. } | Request::List(_) => true,
            Request::Call { media, .. } => media.is_some(),
            Request::Meet { card, .. } => card.flow.media().is_some(),
            Request::Signal { payload, .. } => payload.is_offer(),
            _ => false,
        };
        if may_cost { self.lock().hub.fan_out(conn, request) } else { 0 }
    }

    /// Replaces the limits.
    pub fn set_limits(&self, rules: Rules, bounds: Bounds) {
        self.lock().hub.set_rules(rules);
        self.budget.set_bounds(bounds);
    }

    /// Stores ICE servers for a peer.
    pub fn add_ice_servers(&self, conn: ConnId, servers: Vec<Value>) {
        if let Some(line) = self.lock().connections.get_mut(&conn) {
            line.ice_servers = servers;
        }
    }

    /// The ICE servers stored for a peer, if the grant has the same identity.
    pub fn ice_servers_of(&self, uid: &PeerId, grant: &Grant) -> Vec<Value> {
        let state = self.lock();
        let Some((conn, owner)) = state.hub.find(uid.as_str()) else { return Vec::new() };
        // Without tokens there are no identities, and the uid alone decides.
        if owner.identity != grant.identity {
            return Vec::new();
        }
        state.connections.get(&conn).map(|line| line.ice_servers.clone()).unwrap_or_default()
    }

    /// The ICE servers stored for a connection.
    pub fn ice_servers_at(&self, conn: ConnId) -> Vec<Value> {
        self.lock().connections.get(&conn).map(|line| line.ice_servers.clone()).unwrap_or_default()
    }

    /// Closes at most `most` connections that are in no session and no room. Returns how many of these remain.
    pub fn close_idle(&self, most: usize) -> usize {
        self.change(|state| {
            let idle: Vec<ConnId> = state.hub.idle().collect();
            let (now, later) = idle.split_at(most.min(idle.len()));
            state.kick(now, CloseReason::GoingAway);
            later.len()
        })
    }

    /// Closes connections, sessions and rooms as a whole, until at least `least` are closed. Returns how many remain.
    pub fn close_some(&self, least: usize) -> usize {
        self.change(|state| {
            let mut closed = 0;
            while closed < least
                && let Some(company) = state.hub.company()
            {
                // Close all outboxes of a session first: otherwise one side would be closed with "partner left".
                for line in company.iter().take(CLOSES).filter_map(|conn| state.connections.get(conn)) {
                    line.outbox.close(CloseReason::GoingAway);
                }
                closed += company.len();
                state.kick(&company, CloseReason::GoingAway);
            }
            state.hub.counts().connections
        })
    }

    /// Closes all connections, also those still to come.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.shutting_down = true;
        for line in state.connections.values() {
            line.outbox.close(CloseReason::GoingAway);
        }
    }

    /// Closes a peer on an operator's request. Returns how many connections were closed.
    pub fn disconnect(&self, uid: &str) -> usize {
        self.change(|state| {
            let found: Vec<ConnId> = state.hub.find(uid).map(|(conn, _)| conn).into_iter().collect();
            state.kick(&found, CloseReason::ByOperator)
        })
    }

    /// Closes the members of a room on an operator's request. Returns how many were closed.
    pub fn close_room(&self, room: &str) -> usize {
        self.change(|state| {
            let members = state.hub.members(room);
            state.kick(&members, CloseReason::ByOperator)
        })
    }

    /// Ends the calls of a stream's publisher and viewers on an operator's request. Returns how many were ended.
    pub fn end_stream(&self, stream: &str) -> usize {
        self.change(|state| {
            let mut ended = 0;
            state.run(|hub, effects| ended = hub.end_stream(stream, effects));
            ended
        })
    }

    /// The registered peers, as JSON for an operator.
    pub fn peers(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(conn, uid, doing): (ConnId, &PeerId, Doing<'_>)| {
            let address = state.connections.get(&conn).map(|line| line.address.to_string());
            let (session, room) = match doing {
                Doing::Nothing => (None, None),
                Doing::Session { with } => (Some(with.as_str()), None),
                Doing::Room(room) => (None, Some(room.as_str())),
            };
            json!({ "uid": uid.as_str(), "connection": conn.0, "address": address, "session": session, "room": room })
        };
        state.hub.peers().map(describe).collect()
    }

    /// The sessions, as JSON for an operator.
    pub fn sessions(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(caller, callee): (&PeerId, &PeerId)| json!({ "caller": caller.as_str(), "callee": callee.as_str() });
        state.hub.sessions().map(describe).collect()
    }

    /// The rooms, as JSON for an operator.
    pub fn rooms(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(room, members): (&RoomId, Vec<PeerId>)| {
            let members: Vec<&str> = members.iter().map(PeerId::as_str).collect();
            json!({ "room": room.as_str(), "members": members })
        };
        state.hub.rooms().map(describe).collect()
    }

    /// The streams of media nodes, as JSON for an operator.
    pub fn streams(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |stream: StreamInfo<'_>| {
            let publisher = stream.publisher.as_ref();
            let line = publisher.and_then(|(conn, _)| state.connections.get(conn));
            json!({
                "stream": stream.stream.as_str(),
                "node": stream.node,
                "publisher": publisher.map(|(_, uid)| uid.as_str()),
                "connection": publisher.map(|(conn, _)| conn.0),
                "address": line.map(|line| line.address.to_string()),
                "live": stream.tracks.is_some(),
                "tracks": stream.tracks.unwrap_or_default(),
                "viewers": stream.viewers,
            })
        };
        state.hub.streams().map(describe).collect()
    }

    /// The attached media nodes, as JSON for an operator.
    pub fn nodes(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |node: NodeInfo<'_>| {
            let address = state.connections.get(&node.conn).map(|line| line.address.to_string());
            json!({
                "node": node.name,
                "connection": node.conn.0,
                "address": address,
                "streams": node.streams,
                "viewers": node.viewers,
                "limits": node.limits,
                "draining": node.is_draining,
                "stats": node.stats,
            })
        };
        state.hub.nodes().map(describe).collect()
    }

    /// How many connections, peers, sessions and rooms there are.
    pub fn counts(&self) -> Counts {
        self.lock().hub.counts()
    }

    /// The current values for the metrics.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let queues = state.connections.values().map(|line| line.outbox.queued_bytes());
        let (queued_bytes, longest_queue) =
            queues.fold((0, 0), |(sum, longest), bytes| (sum + bytes, longest.max(bytes)));
        let (drawn, Bounds { all, .. }) = (self.budget.drawn(), self.budget.bounds());
        Snapshot {
            counts: state.hub.counts(),
            media: state.hub.media(),
            dialects: state.hub.dialects(),
            queued_bytes,
            longest_queue,
            queue_budget: all,
            queue_budget_used: drawn,
        }
    }

    /// Connections whose socket is not closed yet, including those that the hub has removed.
    pub fn open_sockets(&self) -> usize {
        self.lock().connections.len()
    }

    /// Runs a change under the lock; afterwards wakes the runner and writes the log entries.
    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.lock();
        let result = change(&mut state);
        let remarks = mem::take(&mut state.remarks);
        let has_more = state.has_more();
        drop(state);
        if has_more {
            self.runner.wake();
        }
        remarks.iter().for_each(|remark| self.count(&remark.note));
        log(&remarks);
        result
    }

    fn count(&self, note: &Note) {
        match note {
            Note::Registered(_) => drop(self.metrics.registrations.inc()),
            Note::Called { dialects, .. } => self.metrics.count_call(dialects.0, dialects.1),
            Note::Joined { .. } => drop(self.metrics.joins.inc()),
            Note::UidRefused(reason) => self.metrics.count_refusal(reason),
            Note::Refused(_, reason) => self.metrics.count_refusal(reason),
            Note::Left(_)
            | Note::Attached { .. }
            | Note::Detached { .. }
            | Note::Ended { .. }
            | Note::Live { .. }
            | Note::Gone { .. } => {}
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The hub has no code that panics. If it did, closing all connections would be worse than going on.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn handle(&mut self, conn: ConnId, event: Event) {
        self.run(|hub, effects| hub.handle(conn, event, effects));
    }

    fn kick(&mut self, conns: &[ConnId], reason: CloseReason) -> usize {
        let before = self.hub.counts().connections;
        self.run(|hub, effects| hub.kick_all(conns, reason, effects));
        before - self.hub.counts().connections
    }

    /// Does one step of the queued work.
    fn go_on(&mut self) {
        for _ in 0..CLOSES {
            let Some((conn, reason)) = self.closing.pop_front() else { break };
            self.close(conn, reason);
        }
        self.run(|hub, effects| {
            hub.pass_on(NOTICES, effects);
        });
    }

    fn has_more(&self) -> bool {
        self.hub.has_news() || !self.closing.is_empty()
    }

    fn run(&mut self, change: impl FnOnce(&mut Hub, &mut Vec<Effect>)) {
        let mut effects = mem::take(&mut self.effects);
        change(&mut self.hub, &mut effects);
        let mut closes = 0;
        for effect in effects.drain(..) {
            if let Effect::Close(conn, reason) = effect {
                closes += 1;
                // These are gone from the hub already; their outboxes can be closed later.
                if closes > CLOSES {
                    self.closing.push_back((conn, reason));
                    continue;
                }
            }
            self.apply(effect);
        }
        self.effects = effects;
    }

    fn apply(&mut self, effect: Effect) {
        match effect {
            Effect::Tell(conn, notice) => {
                if let Some(line) = self.connections.get(&conn) {
                    line.outbox.push(notice);
                }
            }
            Effect::Forward(conn, frame) => {
                if let Some(line) = self.connections.get(&conn) {
                    line.outbox.push(frame);
                }
            }
            Effect::Close(conn, reason) => self.close(conn, reason),
            Effect::Pair(caller, callee) => {
                if let (Some(caller), Some(callee)) =
                    (self.connections.get(&caller), self.connections.get(&callee))
                {
                    Outbox::pair(&caller.outbox, &callee.outbox);
                }
            }
            Effect::Probe(conn) => {
                if let Some(line) = self.connections.get(&conn) {
                    line.outbox.probe();
                }
            }
            Effect::Freed(conn, uid) => self.tell_others(|| Input::Freed(uid, conn)),
            Effect::Took(conn, uid) => {
                let identity = match self.hub.is_stream_of(&uid, conn) {
                    true => Some(STREAM.into()),
                    false => self.hub.find(uid.as_str()).and_then(|(_, grant)| grant.identity.clone()),
                };
                self.tell_others(|| Input::Took(uid, conn, identity));
            }
            Effect::HasMedia(has_media) => self.tell_others(|| Input::Media(has_media)),
            Effect::Watches(watches) => self.tell_others(|| Input::Watches(watches)),
            Effect::Listed(uid, card, is_there) => {
                self.tell_others(|| Input::Listed(uid, Box::new(card), is_there));
            }
            Effect::Lacks(room) => self.tell_others(|| Input::Lacks(room)),
            Effect::LeftRoom(conn, uid, room) => self.tell_others(|| Input::Left(room, uid, conn)),
            Effect::Far(node, message) => self.tell_others(|| Input::Far(node, message)),
            Effect::Note(conn, note) => {
                let line = self.connections.get(&conn).map(|line| (line.address, line.lines.clone()));
                let dialect = self.hub.dialect(conn).filter(|dialect| *dialect != Dialect::Text);
                let dialect = dialect.map(Dialect::name);
                self.remarks.push(Remark { conn, note, line, dialect, counts: self.hub.counts() });
            }
        }
    }

    fn tell_others(&self, input: impl FnOnce() -> Input) {
        if let Some(cluster) = &self.cluster {
            cluster.push(input());
        }
    }

    fn close(&self, conn: ConnId, reason: CloseReason) {
        if let Some(line) = self.connections.get(&conn) {
            line.outbox.close(reason);
        }
    }
}

/// Writes one line per entry. If there are too many, the last line gives the number of those left out.
fn log(remarks: &[Remark]) {
    let few = if remarks.len() > LINES { LINES - 1 } else { remarks.len() };
    let (some, others) = remarks.split_at_checked(few).unwrap_or((remarks, &[]));
    some.iter().for_each(Remark::log);
    if let Some(first) = others.first()
        && first.admit()
    {
        info!(more = others.len(), "lines about the same event left out");
    }
}

impl Remark {
    /// Whether the log rate of its address admits another line.
    fn admit(&self) -> bool {
        self.line.as_ref().is_none_or(|(address, lines)| lines.admit(*address))
    }

    /// Ids are quoted and escaped: a peer can choose anything.
    fn log(&self) {
        let is_refusal = matches!(self.note, Note::Refused(..));
        let is_wanted = if is_refusal { enabled!(Level::DEBUG) } else { enabled!(Level::INFO) };
        if !is_wanted || !self.admit() {
            return;
        }
        let (conn, dialect) = (self.conn.0, self.dialect);
        let address = self.line.as_ref().map(|(address, _)| tracing::field::display(address));
        let Counts { peers, rooms, .. } = self.counts;
        match &self.note {
            Note::Registered(uid) => info!(conn, address, uid = %short(uid), dialect, peers, "registered"),
            Note::UidRefused(reason) => info!(conn, address, %reason, "uid refused"),
            Note::Called { caller, callee, .. } => {
                info!(conn, address, caller = %short(caller), callee = %short(callee), dialect, "called");
            }
            Note::Joined { peer, room, members } => {
                info!(conn, address, uid = %short(peer), room = %short(room), members, rooms, "joined");
            }
            Note::Refused(uid, error) => debug!(conn, address, uid = %short(uid), error, "refused"),
            Note::Left(uid) => info!(conn, address, uid = %short(uid), peers, "left"),
            Note::Attached { node, software, limits: Limits { streams, viewers } } => {
                let (node, software) = (short(node), short(software));
                info!(conn, address, %node, %software, streams, viewers, "media node attached");
            }
            Note::Detached { node, streams: 0, viewers: 0 } => {
                info!(conn, address, node = %short(node), "media node gone");
            }
            Note::Detached { node, streams, viewers } => {
                warn!(conn, address, node = %short(node), streams, viewers, "media node gone");
            }
            Note::Ended { stream, client, reason, detail } => {
                let (stream, client, reason) = (short(stream), short(client), reason.as_str());
                info!(conn, address, %stream, %client, reason, %detail, "ended by the media node");
            }
            Note::Live { stream } => info!(conn, stream = %short(stream), "stream is live"),
            Note::Gone { stream, viewers } => {
                info!(conn, stream = %short(stream), viewers, "stream is gone");
            }
        }
    }
}
