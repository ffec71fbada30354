//! The hub's invariants after each event, for tests and fuzzing.

use std::collections::{HashMap, HashSet};

use async_tungstenite::tungstenite::Message;

use super::{ConnId, Counts, Effect, Event, Hub, Room, Stage};

#[allow(clippy::indexing_slicing, reason = "a missing entry is what this looks for")]
impl Hub {
    /// Panics if the tables contradict each other.
    fn check(&self) {
        let hub = self;
        let mut in_rooms = 0;
        let mut callers = 0;
        let mut counted = hub.rooms.values().map(|room| room.owners.len()).sum::<usize>();
        for (conn, connection) in &hub.connections {
            match &connection.stage {
                Stage::Greeting => {}
                Stage::InSession { partner, is_caller, .. } => {
                    callers += usize::from(*is_caller);
                    counted += if *is_caller { connection.owners().len() } else { 0 };
                    let theirs = &hub.connections[partner].stage;
                    let back = matches!(theirs, Stage::InSession { partner, is_caller: other, .. } if partner == conn && other != is_caller);
                    assert!(back && partner != conn, "a session is symmetric");
                }
                Stage::InRoom { room, .. } => {
                    in_rooms += 1;
                    assert!(
                        hub.rooms[room].members().any(|member| member == *conn),
                        "a member is in its room"
                    );
                }
                Stage::Idle { .. } => {}
            }
            if let Some(uid) = connection.uid() {
                assert_eq!(hub.uids.get(uid), Some(conn), "a uid leads to its connection");
            }
        }
        let registered = hub.connections.values().filter(|connection| connection.uid().is_some()).count();
        assert_eq!(hub.uids.len(), registered, "a uid is in one place");
        assert!(hub.rooms.values().all(|room| !room.is_empty()), "an empty room is forgotten");
        let members: Vec<_> = hub.rooms.values().flat_map(Room::members).collect();
        assert_eq!(members.len(), in_rooms, "a connection is in one room");
        assert_eq!(members.iter().collect::<HashSet<_>>().len(), in_rooms, "and there once");
        assert_eq!(hub.sessions, callers, "sessions are counted");
        let usage: usize = hub.usage.values().map(|usage| usage.sessions + usage.rooms).sum();
        assert_eq!(usage, counted, "sessions and rooms are counted once for each of their owners");
        let news: Vec<_> = hub.news.iter().collect();
        let with_news = hub.rooms.iter().filter(|(_, room)| room.has_news());
        assert!(with_news.into_iter().all(|(id, _)| news.contains(&id)), "no notice is forgotten");
        assert_eq!(news.iter().collect::<HashSet<_>>().len(), news.len(), "a room has one turn");
    }
}

/// Simultaneous connections.
pub(crate) const SLOTS: usize = 6;

/// A hub together with what its connections receive. An id is opened once and never reused, as in the switchboard.
#[derive(Debug, Default)]
pub(crate) struct Model {
    hub: Hub,
    /// Gets the same events but delivers notices at once.
    eager: Hub,
    /// The frames that each connection got from `hub` and from `eager`.
    heard: HashMap<ConnId, [Vec<Message>; 2]>,
    current: [Option<ConnId>; SLOTS],
    opened: u64,
    gone: HashSet<ConnId>,
}

impl Model {
    /// Applies an event to one of the connections. Panics if the hub violates an invariant.
    pub(crate) fn step(&mut self, slot: usize, event: Event) {
        let Some(current) = self.current.get_mut(slot % SLOTS) else { return };
        if matches!(event, Event::Opened { .. }) {
            if current.is_some_and(|conn| !self.gone.contains(&conn)) {
                return;
            }
            self.opened += 1;
            *current = Some(ConnId(self.opened));
        }
        // Events of connections that never existed must do no harm either.
        let conn = current.unwrap_or(ConnId(0));
        if matches!(event, Event::Closed) {
            self.gone.insert(conn);
        }
        let before = self.gone.clone();
        let mut effects = Vec::new();
        self.eager.handle(conn, event.clone(), &mut effects);
        while self.eager.pass_on(usize::MAX, &mut effects) {}
        self.hear(1, effects);
        let mut effects = Vec::new();
        self.hub.handle(conn, event, &mut effects);
        self.look_at(effects, &before);
    }

    /// Delivers some notices.
    pub(crate) fn pass_on(&mut self, most: usize) {
        let mut effects = Vec::new();
        self.hub.pass_on(most, &mut effects);
        assert!(effects.len() <= most, "no more than that");
        self.look_at(effects, &self.gone.clone());
    }

    fn hear(&mut self, which: usize, effects: Vec<Effect>) {
        for effect in effects {
            if let Effect::Send(conn, frame) = effect
                && let Some(heard) = self.heard.entry(conn).or_default().get_mut(which)
            {
                heard.push(frame);
            }
        }
    }

    fn look_at(&mut self, effects: Vec<Effect>, before: &HashSet<ConnId>) {
        self.hub.check();
        self.hear(0, effects.clone());
        for effect in effects {
            match effect {
                Effect::Send(conn, _) => {
                    assert!((1..=self.opened).contains(&conn.0), "only who was opened gets frames");
                    assert!(!before.contains(&conn), "who is gone gets nothing");
                }
                Effect::Close(conn, _) => assert!(self.gone.insert(conn), "closed once"),
                Effect::Pair(one, other) => assert_ne!(one, other, "nobody calls itself"),
                Effect::Note(..) => {}
            }
        }
    }

    /// Closes all connections. Panics if something is left.
    pub(crate) fn finish(mut self) {
        while self.hub.has_news() {
            self.pass_on(3);
        }
        for (conn, [heard, at_once]) in &self.heard {
            let is_gone = self.gone.contains(conn);
            assert!(is_gone || heard == at_once, "{conn:?} heard {heard:?} instead of {at_once:?}");
        }
        for conn in 1..=self.opened {
            self.hub.handle(ConnId(conn), Event::Closed, &mut Vec::new());
        }
        assert_eq!(self.hub.counts(), Counts::default(), "nothing is left after everybody closed");
        assert!(self.hub.usage.is_empty(), "nor counted");
    }
}
