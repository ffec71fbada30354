//! The hub behind its lock, and everybody's outbox: where effects become queued frames.
//!
//! One lock orders everything that concerns more than one connection, so each peer gets its notices in
//! the order things happened. Nothing under it waits: an effect is a push to a bounded queue.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use callbin_protocol::PeerId;
use serde_json::{Value, json};
use tracing::info;

use crate::{
    access::Grant,
    budget::{Bounds, Budget},
    close::CloseReason,
    hub::{ConnId, Counts, Doing, Effect, Event, Hub, Note, Rules, Wish},
    metrics::{Metrics, Snapshot},
    outbox::Outbox,
    owner::network,
};

/// All connections. See the module's description.
#[derive(Debug)]
pub struct Switchboard {
    state: Mutex<State>,
    budget: Arc<Budget>,
}

#[derive(Debug)]
struct State {
    hub: Hub,
    connections: HashMap<ConnId, Line>,
    metrics: Arc<Metrics>,
    shutting_down: bool,
    /// Kept between events for its memory.
    effects: Vec<Effect>,
}

#[derive(Debug)]
struct Line {
    outbox: Arc<Outbox>,
    address: SocketAddr,
    /// What the webhook added for this peer.
    ice_servers: Vec<Value>,
}

impl Switchboard {
    /// One with nobody there.
    pub fn new(rules: Rules, bounds: Bounds, metrics: Arc<Metrics>) -> Self {
        let state = State {
            hub: Hub::new(rules),
            connections: HashMap::new(),
            metrics,
            shutting_down: false,
            effects: Vec::new(),
        };
        Self { state: Mutex::new(state), budget: Arc::new(Budget::new(bounds)) }
    }

    /// Takes in a new connection, and gives it its outbox.
    pub fn open(&self, conn: ConnId, address: SocketAddr, grant: Arc<Grant>) -> Arc<Outbox> {
        let outbox = Arc::new(Outbox::new(self.budget.clone()));
        let mut state = self.lock();
        if state.shutting_down {
            outbox.close(CloseReason::GoingAway);
        }
        let line = Line { outbox: outbox.clone(), address, ice_servers: Vec::new() };
        state.connections.insert(conn, line);
        state.handle(conn, Event::Opened { grant, address: network(address.ip()) });
        outbox
    }

    /// Hands the hub what happened to a connection, and queues what follows.
    pub fn handle(&self, conn: ConnId, event: Event) {
        self.lock().handle(conn, event);
    }

    /// Forgets a connection: from now on its uid is free.
    pub fn forget(&self, conn: ConnId) {
        let mut state = self.lock();
        state.handle(conn, Event::Closed);
        state.connections.remove(&conn);
    }

    /// What a frame asks for, see [`Hub::wish`].
    pub fn wish(&self, conn: ConnId, text: &str) -> Option<(Wish, Option<PeerId>)> {
        self.lock().hub.wish(conn, text)
    }

    /// Other limits from now on.
    pub fn set_limits(&self, rules: Rules, bounds: Bounds) {
        self.lock().hub.set_rules(rules);
        self.budget.set_bounds(bounds);
    }

    /// Keeps ICE servers for a peer.
    pub fn add_ice_servers(&self, conn: ConnId, servers: Vec<Value>) {
        if let Some(line) = self.lock().connections.get_mut(&conn) {
            line.ice_servers = servers;
        }
    }

    /// The ICE servers kept for a peer, for somebody of the same identity.
    pub fn ice_servers_of(&self, uid: &PeerId, grant: &Grant) -> Vec<Value> {
        let state = self.lock();
        let Some((conn, owner)) = state.hub.find(uid.as_str()) else { return Vec::new() };
        // Without tokens nobody can show who they are, and a uid is all there is.
        if owner.identity != grant.identity {
            return Vec::new();
        }
        state.connections.get(&conn).map(|line| line.ice_servers.clone()).unwrap_or_default()
    }

    /// Closes those who talk to nobody, at most so many. Returns how many there still are.
    pub fn close_idle(&self, most: usize) -> usize {
        let mut state = self.lock();
        let idle: Vec<ConnId> = state.hub.idle().collect();
        for conn in idle.iter().take(most) {
            state.kick(*conn, CloseReason::GoingAway);
        }
        idle.len().saturating_sub(most)
    }

    /// Closes some of those who are there, sessions and rooms as a whole, until that is `least` connections.
    /// Returns how many there still are.
    pub fn close_some(&self, least: usize) -> usize {
        let mut state = self.lock();
        let mut closed = 0;
        while closed < least
            && let Some(company) = state.hub.company()
        {
            // All of them first: nobody is to hear that the others leave.
            for line in company.iter().filter_map(|conn| state.connections.get(conn)) {
                line.outbox.close(CloseReason::GoingAway);
            }
            closed += company.len();
            for conn in company {
                state.kick(conn, CloseReason::GoingAway);
            }
        }
        state.hub.counts().connections
    }

    /// Closes everybody, and whoever still comes.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.shutting_down = true;
        for line in state.connections.values() {
            line.outbox.close(CloseReason::GoingAway);
        }
    }

    /// Closes a peer for an operator. Returns how many were closed.
    pub fn disconnect(&self, uid: &str) -> usize {
        let mut state = self.lock();
        let found = state.hub.find(uid).map(|(conn, _)| conn);
        found.map_or(0, |conn| state.kick(conn, CloseReason::ByOperator))
    }

    /// Closes the members of a room for an operator. Returns how many were closed.
    pub fn close_room(&self, room: &str) -> usize {
        let mut state = self.lock();
        let members = state.hub.members(room).to_vec();
        members.into_iter().map(|conn| state.kick(conn, CloseReason::ByOperator)).sum()
    }

    /// Everybody who is registered, for an operator.
    pub fn peers(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(conn, uid, doing): (ConnId, &PeerId, Doing<'_>)| {
            let address = state.connections.get(&conn).map(|line| line.address.to_string());
            let (session, room) = match doing {
                Doing::Nothing => (None, None),
                Doing::Session { with, .. } => (Some(with.as_str()), None),
                Doing::Room(room) => (None, Some(room.as_str())),
            };
            json!({ "uid": uid.as_str(), "connection": conn.0, "address": address, "session": session, "room": room })
        };
        state.hub.peers().map(describe).collect()
    }

    /// The sessions, for an operator.
    pub fn sessions(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(_, uid, doing): (ConnId, &PeerId, Doing<'_>)| match doing {
            Doing::Session { with, is_caller: true } => {
                Some(json!({ "caller": uid.as_str(), "callee": with.as_str() }))
            }
            _ => None,
        };
        state.hub.peers().filter_map(describe).collect()
    }

    /// The rooms, for an operator.
    pub fn rooms(&self) -> Vec<Value> {
        let state = self.lock();
        let describe = |(room, members): (&callbin_protocol::RoomId, Vec<PeerId>)| {
            let members: Vec<&str> = members.iter().map(PeerId::as_str).collect();
            json!({ "room": room.as_str(), "members": members })
        };
        state.hub.rooms().map(describe).collect()
    }

    /// How many connections, peers, sessions and rooms there are.
    pub fn counts(&self) -> Counts {
        self.lock().hub.counts()
    }

    /// What can be counted at any time.
    pub fn snapshot(&self) -> Snapshot {
        let state = self.lock();
        let queues = state.connections.values().map(|line| line.outbox.queued_bytes());
        let (queued_bytes, longest_queue) =
            queues.fold((0, 0), |(sum, longest), bytes| (sum + bytes, longest.max(bytes)));
        let (drawn, Bounds { all, .. }) = (self.budget.drawn(), self.budget.bounds());
        Snapshot {
            counts: state.hub.counts(),
            queued_bytes,
            longest_queue,
            queue_budget: all,
            queue_budget_used: drawn,
        }
    }

    /// Sockets not yet gone, those the hub has forgotten included.
    pub fn open_sockets(&self) -> usize {
        self.lock().connections.len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The hub has no code that panics; if it did, closing everybody would be the worse answer.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn handle(&mut self, conn: ConnId, event: Event) {
        self.run(|hub, effects| hub.handle(conn, event, effects));
    }

    fn kick(&mut self, conn: ConnId, reason: CloseReason) -> usize {
        let before = self.hub.counts().connections;
        self.run(|hub, effects| hub.kick(conn, reason, effects));
        before - self.hub.counts().connections
    }

    fn run(&mut self, change: impl FnOnce(&mut Hub, &mut Vec<Effect>)) {
        let mut effects = std::mem::take(&mut self.effects);
        change(&mut self.hub, &mut effects);
        for effect in effects.drain(..) {
            self.apply(effect);
        }
        self.effects = effects;
    }

    fn apply(&self, effect: Effect) {
        match effect {
            Effect::Send(conn, frame) => {
                if let Some(line) = self.connections.get(&conn) {
                    line.outbox.push(frame);
                }
            }
            Effect::Close(conn, reason) => {
                if let Some(line) = self.connections.get(&conn) {
                    line.outbox.close(reason);
                }
            }
            Effect::Pair(caller, callee) => {
                if let (Some(caller), Some(callee)) =
                    (self.connections.get(&caller), self.connections.get(&callee))
                {
                    Outbox::pair(&caller.outbox, &callee.outbox);
                }
            }
            Effect::Note(conn, note) => {
                self.count(&note);
                self.log(conn, &note);
            }
        }
    }

    fn count(&self, note: &Note) {
        match note {
            Note::Registered(_) => drop(self.metrics.registrations.inc()),
            Note::Called { .. } => drop(self.metrics.calls.inc()),
            Note::Joined { .. } => drop(self.metrics.joins.inc()),
            Note::UidRefused(reason) => self.metrics.count_refusal(reason),
            Note::Refused(_, reason) => self.metrics.count_refusal(reason),
            Note::Left(_) => {}
        }
    }

    fn log(&self, ConnId(conn): ConnId, note: &Note) {
        let address = self.connections.get(&ConnId(conn)).map(|line| line.address);
        let address = address.map(tracing::field::display);
        let Counts { peers, rooms, .. } = self.hub.counts();
        // Ids in quotes and escaped: they are whatever a peer chose.
        match note {
            Note::Registered(uid) => info!(conn, address, ?uid, peers, "registered"),
            Note::UidRefused(reason) => info!(conn, address, %reason, "uid refused"),
            Note::Called { caller, callee } => info!(conn, address, ?caller, ?callee, "called"),
            Note::Joined { peer, room, members } => {
                info!(conn, address, uid = ?peer, ?room, members, rooms, "joined");
            }
            Note::Refused(uid, error) => info!(conn, address, ?uid, error, "refused"),
            Note::Left(uid) => info!(conn, address, ?uid, peers, "left"),
        }
    }
}
