//! The hub's invariants after each event, for tests and fuzzing.

use std::collections::{HashMap, HashSet};

use async_tungstenite::tungstenite::Message;

use super::{ConnId, Counts, Effect, Event, Hub, Notice, Room};
use crate::dialect::text;

#[allow(clippy::indexing_slicing, reason = "a missing entry is what this looks for")]
impl Hub {
    /// Panics if the tables contradict each other.
    pub(crate) fn check(&self) {
        let hub = self;
        let mut in_rooms = 0;
        let mut callers = 0;
        let mut registered = 0;
        let mut counted = hub.rooms.values().map(|room| room.owners.len()).sum::<usize>();
        for (conn, connection) in &hub.connections {
            for (key, leg) in connection.calls.iter().chain(&connection.links.legs) {
                callers += usize::from(leg.is_caller && leg.media.is_none());
                let owners = match leg.media {
                    Some(_) => connection.owners(),
                    None => connection.session_owners(),
                };
                counted += if leg.is_caller { owners.len() } else { 0 };
                let partner = &hub.connections[&leg.partner];
                let of_room = partner.links.legs.get(&leg.partner_key);
                let theirs = of_room.unwrap_or_else(|| &partner.calls[&leg.partner_key]);
                let back = (theirs.partner, &theirs.partner_key) == (*conn, key);
                assert!(back && leg.partner != *conn, "a call is symmetric");
                assert!(theirs.is_caller != leg.is_caller, "one of the two called");
                assert_eq!((&theirs.uid, &theirs.peer), (&leg.peer, &leg.uid), "both know both ids");
                assert_eq!(
                    (&theirs.media, &theirs.link),
                    (&leg.media, &leg.link),
                    "both know what it is about"
                );
            }
            if let Some(seat) = &connection.seat {
                in_rooms += 1;
                assert!(!connection.uids.is_empty(), "a member has an id");
                let may_call = !connection.dialect.is_single();
                assert!(may_call || connection.calls.is_empty(), "a member has no call");
                let is_member = hub.rooms[&seat.room].members().any(|member| member == *conn);
                assert!(is_member, "a member is in its room");
            }
            if connection.dialect.is_single() {
                assert!(connection.uids.len() <= 1 && connection.calls.len() <= 1, "one id and one call");
            }
            counted += if connection.watch.is_some() { connection.owners().len() } else { 0 };
            for uid in &connection.uids {
                registered += 1;
                assert_eq!(hub.uids[uid].conn, *conn, "a uid leads to its connection");
            }
        }
        assert_eq!(hub.uids.len(), registered, "a uid is in one place");
        assert!(hub.rooms.values().all(|room| !room.is_empty()), "an empty room is forgotten");
        let members: Vec<_> = hub.rooms.values().flat_map(Room::members).collect();
        assert_eq!(members.len(), in_rooms, "a connection is in one room");
        assert_eq!(members.iter().collect::<HashSet<_>>().len(), in_rooms, "and there once");
        assert_eq!(hub.sessions, callers, "sessions are counted");
        let all = hub.usage.values().map(|it| it.sessions + it.rooms + it.watchers + it.streams + it.viewers);
        let usage: usize = all.sum();
        assert_eq!(usage, counted, "each thing is counted once for each of its owners");
        self.check_streams();
        let watching = hub.connections.iter().filter(|(_, connection)| connection.watch.is_some());
        let watching: HashSet<_> = watching.map(|(conn, _)| *conn).collect();
        assert_eq!(hub.directory.followers().collect::<HashSet<_>>(), watching, "who watches gets news");
        let news: Vec<_> = hub.news.iter().collect();
        let with_news = hub.rooms.iter().filter(|(_, room)| room.has_news());
        assert!(with_news.into_iter().all(|(id, _)| news.contains(&id)), "no notice is forgotten");
        assert_eq!(news.iter().collect::<HashSet<_>>().len(), news.len(), "a room has one turn");
    }
}

/// The event of a text peer's frame.
pub(crate) fn said(frame: Message) -> Event {
    Event::Asked { request: text::request(&frame), frame: Some(frame) }
}

/// Simultaneous connections.
pub(crate) const SLOTS: usize = 6;

#[derive(Debug, Clone, PartialEq)]
enum Heard {
    Notice(Notice),
    Frame(Message),
}

/// A hub together with what its connections receive. An id is opened once and never reused, as in the switchboard.
#[derive(Debug, Default)]
pub(crate) struct Model {
    hub: Hub,
    /// Gets the same events but delivers notices at once.
    eager: Hub,
    /// What each connection got from `hub` and from `eager`.
    heard: HashMap<ConnId, [Vec<Heard>; 2]>,
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
        // A single dialect has no other requests than those of its frames.
        let is_single = self.hub.connections.get(&conn).is_some_and(|it| it.dialect.is_single());
        if is_single && matches!(event, Event::Asked { frame: None, .. }) {
            return;
        }
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
            let (conn, item) = match effect {
                // A list has no order.
                Effect::Tell(conn, Notice::Peers(mut list)) => {
                    list.peers.sort_by(|one, other| one.uid.cmp(&other.uid));
                    (conn, Heard::Notice(Notice::Peers(list)))
                }
                Effect::Tell(conn, notice) => (conn, Heard::Notice(notice)),
                Effect::Forward(conn, frame) => (conn, Heard::Frame(frame)),
                _ => continue,
            };
            if let Some(heard) = self.heard.entry(conn).or_default().get_mut(which) {
                heard.push(item);
            }
        }
    }

    fn look_at(&mut self, effects: Vec<Effect>, before: &HashSet<ConnId>) {
        self.hub.check();
        self.hear(0, effects.clone());
        for effect in effects {
            match effect {
                Effect::Tell(conn, _) | Effect::Forward(conn, _) => {
                    assert!((1..=self.opened).contains(&conn.0), "only who was opened gets frames");
                    assert!(!before.contains(&conn), "who is gone gets nothing");
                }
                Effect::Close(conn, _) => assert!(self.gone.insert(conn), "closed once"),
                Effect::Pair(one, other) => assert_ne!(one, other, "nobody calls itself"),
                Effect::Probe(..)
                | Effect::Note(..)
                | Effect::Freed(..)
                | Effect::Took(..)
                | Effect::HasMedia(_)
                | Effect::Lacks(_)
                | Effect::Watches(_)
                | Effect::Listed(..)
                | Effect::LeftRoom(..)
                | Effect::Far(..) => {}
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
            // Between news about peers and about a room there is no order.
            let without = |skipped: fn(&Heard) -> bool, all: &[Heard]| -> Vec<Heard> {
                all.iter().filter(|heard| !skipped(heard)).cloned().collect()
            };
            let presence: fn(&Heard) -> bool = |heard| matches!(heard, Heard::Notice(Notice::Presence(_)));
            let change: fn(&Heard) -> bool = |heard| matches!(heard, Heard::Notice(Notice::Change(_)));
            let is_same = [presence, change].iter().all(|it| without(*it, heard) == without(*it, at_once));
            assert!(is_gone || is_same, "{conn:?} heard {heard:?} instead of {at_once:?}");
        }
        for conn in 1..=self.opened {
            self.hub.handle(ConnId(conn), Event::Closed, &mut Vec::new());
        }
        assert_eq!(self.hub.counts(), Counts::default(), "nothing is left after everybody closed");
        assert!(self.hub.usage.is_empty(), "nor counted");
    }
}
