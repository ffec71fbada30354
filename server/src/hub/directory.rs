//! Who can be called: lists, and news for the connections that watch.
//!
//! A connection sees the peers that it may call, so one that may not call sees none. News go through a [`Feed`]: a peer
//! that comes or goes costs the same with any number of watchers. If they come faster than they can be delivered, the
//! oldest are dropped, and a watcher that missed some gets a new list.

use std::sync::Arc;

use callbin_protocol::{MAX_LIST_LEN, PeerId};

use super::{
    Ability, Card, ConnId, Connection, Effect, Flow, Hub, Listed, Notice, Peer, Peers, Presence, Refusal,
    feed::{Feed, Item},
};
use crate::dialect::webrtcsink;

/// What a peer counts in a list beyond its id and its description, in bytes, and what a list counts beyond its peers.
const ENTRY: usize = 32;

/// The most watchers of one owner: each of them gets all news.
const MAX_WATCHERS: usize = 256;

impl Item for Presence {
    fn notice(this: &Arc<Self>) -> Notice {
        Notice::Presence(this.clone())
    }
}

impl Hub {
    /// Queues the news that an id can be called from now on, or no longer. Costs nothing without watchers.
    pub(super) fn announce(
        &mut self,
        conn: ConnId,
        uid: &PeerId,
        card: &Card,
        is_there: bool,
        effects: &mut Vec<Effect>,
    ) {
        let is_watched = self.is_watched || !self.directory.is_empty();
        if !is_watched || !is_news(card) || !self.may(conn, Ability::Answer) {
            return;
        }
        if self.is_watched {
            effects.push(Effect::Listed(uid.clone(), card.clone(), is_there));
        }
        self.tell_watchers(uid, card, is_there);
    }

    /// The news for the watchers of this node.
    pub(super) fn tell_watchers(&mut self, uid: &PeerId, card: &Card, is_there: bool) {
        if self.directory.is_empty() {
            return;
        }
        let text = webrtcsink::presence(uid, card, is_there);
        self.directory.push(Presence { uid: uid.clone(), flow: card.flow, is_there, text });
        if self.directory.is_too_long() {
            self.directory.drop_oldest();
        }
    }

    pub(super) fn watch(&mut self, conn: ConnId, effects: &mut Vec<Effect>) -> Result<(), Refusal> {
        let is_watching = |connection: &Connection| connection.watch.is_some();
        if self.connections.get(&conn).is_none_or(is_watching) || !self.may(conn, Ability::Call) {
            return Ok(());
        }
        let owners = self.owners(conn);
        if self.is_any_at(&owners, MAX_WATCHERS, |usage| usage.watchers) {
            return Err(Refusal::TooManyWatchers);
        }
        self.count(&owners, |usage| usage.watchers += 1);
        let place = self.directory.add(conn);
        if self.directory.len() == 1 {
            self.share(Effect::Watches(true), effects);
        }
        if let Some(connection) = self.connections.get_mut(&conn) {
            connection.watch = Some(place);
        }
        Ok(())
    }

    /// What has happened so far is delivered.
    pub(super) fn unwatch(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        if let Some(place) = self.connections.get(&conn).and_then(|connection| connection.watch) {
            self.directory.catch_up(place, effects);
        }
        self.forget_watcher(conn, effects);
    }

    pub(super) fn forget_watcher(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        let place = self.connections.get_mut(&conn).and_then(|connection| connection.watch.take());
        if let Some(place) = place {
            self.directory.remove(place);
            let owners = self.owners(conn);
            self.count(&owners, |usage| usage.watchers -= 1);
            if self.directory.is_empty() {
                self.share(Effect::Watches(false), effects);
            }
        }
    }

    /// Answers with the peers that it may call, those that are free first. A list that would be longer than clients
    /// have to read ends early.
    pub(super) fn list(
        &mut self,
        conn: ConnId,
        flow: Flow,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let (mut free, mut others, mut len) = (Vec::new(), Vec::new(), ENTRY);
        if self.may(conn, Ability::Call) {
            for (uid, peer) in &self.uids {
                if peer.conn == conn || !is_listed(&peer.card, flow) || !self.may(peer.conn, Ability::Answer)
                {
                    continue;
                }
                let listed = Listed { uid: uid.clone(), meta: peer.card.meta.clone() };
                len += listed.len() + ENTRY;
                if len > MAX_LIST_LEN {
                    break;
                }
                if self.is_free(uid, peer) { &mut free } else { &mut others }.push(listed);
            }
            for (uid, card) in self.far_directory.values().flatten() {
                if !is_listed(card, flow) || self.uids.contains_key(uid) {
                    continue;
                }
                let listed = Listed { uid: uid.clone(), meta: card.meta.clone() };
                len += listed.len() + ENTRY;
                if len > MAX_LIST_LEN {
                    break;
                }
                others.push(listed);
            }
        }
        free.append(&mut others);
        self.tell(conn, Notice::Peers(Box::new(Peers { flow, peers: free })), effects);
        Ok(())
    }

    /// Changes how an own id may be called.
    pub(super) fn describe(
        &mut self,
        conn: ConnId,
        uid: PeerId,
        card: Card,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(peer) = self.uids.get_mut(&uid).filter(|peer| peer.conn == conn) else {
            return Err(Refusal::PeerNotFound(uid.to_string()));
        };
        peer.card = card.clone();
        self.announce(conn, &uid, &card, true, effects);
        self.tell(conn, Notice::Registered(uid), effects);
        Ok(())
    }

    /// Delivers news to watchers, at a cost of about `most`, and one list to a watcher that missed some.
    pub(super) fn pass_on_directory(&mut self, most: &mut usize, effects: &mut Vec<Effect>) {
        self.directory.pass_on(most, effects);
        if *most > 0
            && let Some(conn) = self.directory.pop_late()
        {
            let _ = self.list(conn, Flow::Sends, effects);
            *most = most.saturating_sub(self.uids.len());
        }
    }

    /// Whether a peer can be called now.
    pub(super) fn is_free(&self, uid: &PeerId, peer: &Peer) -> bool {
        self.connections.get(&peer.conn).is_some_and(|connection| {
            let takes_more = peer.card.is_shared && !connection.dialect.is_single();
            let is_taken = || connection.calls.values().any(|leg| connection.is_taken_by(leg, uid));
            let is_calling = connection.asks && connection.dialect.is_single();
            let is_there = connection.seat.is_none() && peer.card.flow != Flow::None && !is_calling;
            is_there && (takes_more || !is_taken())
        })
    }
}

/// Whether it is news that a peer comes or goes.
pub(super) fn is_news(card: &Card) -> bool {
    !matches!(card.flow, Flow::Awaits | Flow::None)
}

/// Whether a peer is in the list of those that can send, or of those that only receive.
fn is_listed(card: &Card, flow: Flow) -> bool {
    match card.flow {
        Flow::Both | Flow::Sends => flow == Flow::Sends,
        Flow::Receives => flow == Flow::Receives,
        Flow::Awaits | Flow::None => false,
    }
}

/// The news for the watchers.
pub(super) type Directory = Feed<Presence>;
