//! The hub behind its lock, and everybody's outbox: where effects become queued frames.
//!
//! One lock orders everything that concerns more than one connection, so each peer gets its notices in
//! the order things happened. Nothing under it waits: an effect is a push to a bounded queue.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tracing::info;

use crate::{
    close::CloseReason,
    hub::{ConnId, Counts, Effect, Event, Hub, Note},
    outbox::Outbox,
};

/// All connections. See the module's description.
#[derive(Debug, Default)]
pub struct Switchboard {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    hub: Hub,
    connections: HashMap<ConnId, Line>,
    last_id: u64,
    shutting_down: bool,
    /// Kept between events for its memory.
    effects: Vec<Effect>,
}

#[derive(Debug)]
struct Line {
    outbox: Arc<Outbox>,
    address: SocketAddr,
}

impl Switchboard {
    /// Takes in a new connection.
    pub fn open(&self, outbox: Arc<Outbox>, address: SocketAddr) -> ConnId {
        let mut state = self.lock();
        state.last_id += 1;
        let conn = ConnId(state.last_id);
        if state.shutting_down {
            outbox.close(CloseReason::GoingAway);
        }
        state.connections.insert(conn, Line { outbox, address });
        state.handle(conn, Event::Opened);
        conn
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

    /// Closes everybody, and whoever still comes.
    pub fn shut_down(&self) {
        let mut state = self.lock();
        state.shutting_down = true;
        for line in state.connections.values() {
            line.outbox.close(CloseReason::GoingAway);
        }
    }

    /// How many connections, peers and rooms there are.
    pub fn counts(&self) -> Counts {
        self.lock().hub.counts()
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
        let mut effects = std::mem::take(&mut self.effects);
        self.hub.handle(conn, event, &mut effects);
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
            Effect::Pair(one, other) => {
                if let (Some(one), Some(other)) = (self.connections.get(&one), self.connections.get(&other)) {
                    Outbox::pair(&one.outbox, &other.outbox);
                }
            }
            Effect::Note(conn, note) => self.log(conn, &note),
        }
    }

    fn log(&self, ConnId(conn): ConnId, note: &Note) {
        let address = self.connections.get(&ConnId(conn)).map(|line| line.address);
        let address = address.map(tracing::field::display);
        let Counts { peers, rooms, .. } = self.hub.counts();
        // Ids in quotes and escaped: they are whatever a peer chose.
        match note {
            Note::Registered(uid) => info!(conn, address, ?uid, peers, "registered"),
            Note::UidRefused => info!(conn, address, "uid refused"),
            Note::Called { caller, callee } => info!(conn, address, ?caller, ?callee, "called"),
            Note::Joined { peer, room, members } => {
                info!(conn, address, uid = ?peer, ?room, members, rooms, "joined");
            }
            Note::Refused(uid, error) => info!(conn, address, ?uid, error, "refused"),
            Note::Left(uid) => info!(conn, address, ?uid, peers, "left"),
        }
    }
}
