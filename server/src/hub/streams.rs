//! Streams of media nodes: who publishes them, how many play them, and which node has them.
//!
//! A client publishes or plays a stream by a call whose callee is the connection of a node. All nodes together have each
//! stream once, so a viewer gets to the node of its publisher. A stream is known while it has a publisher or viewers: after
//! its publisher's end it stays where its viewers are.

use std::{collections::BTreeMap, mem, sync::Arc};

use callbin_protocol::{
    PeerId,
    node::{Reason, Track},
};

use super::{
    Card, ConnId, Connection, Effect, Ended, Flow, Hub, Key, Leg, Note, Notice, Only, Payload, Refusal,
    Rules, Start, Use, node_rooms::MAX_LINKS,
};
use crate::{
    access::{Grant, owner::Owner},
    bridge,
    delivery::payload::Side,
    node_room,
};

/// The most bytes that a client may send to a node before the node sends a description: an offer, and some dozens of
/// candidates.
const MAX_SENT: usize = 128 * 1024;

/// A stream, known while it has a publisher or viewers.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) node: ConnId,
    publisher: Option<Publisher>,
    /// Its tracks, while media arrive.
    pub(super) tracks: Option<Arc<[Track]>>,
    pub(super) viewers: usize,
}

/// The publisher's side of its call.
#[derive(Debug, Clone)]
struct Publisher {
    conn: ConnId,
    key: Key,
}

/// What a client has sent to a node since the node's last description.
#[derive(Debug, Clone, Default)]
pub(super) struct Flight {
    bytes: usize,
    /// They contain an offer, which the node has not answered.
    is_pending: bool,
}

/// The bytes of unanswered offers, with their candidates, of calls that have ended: the offers may still be in the node's
/// queue. An answer or an end of the node shows that it has read one. A node may also ignore offers of ended calls, so they are
/// forgotten with its second statistics: it sends these only while it works.
#[derive(Debug, Default)]
pub(super) struct EndedOffers {
    recent: BTreeMap<Key, usize>,
    older: BTreeMap<Key, usize>,
}

/// A stream, for an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamInfo<'a> {
    /// Its name.
    pub stream: &'a PeerId,
    /// The name of its node.
    pub node: &'a str,
    /// The connection and the name of its publisher.
    pub publisher: Option<(ConnId, PeerId)>,
    /// Its tracks, while media arrive.
    pub tracks: Option<&'a [Track]>,
    /// The number of its viewers.
    pub viewers: usize,
}

/// Calls of clients to streams.
impl Hub {
    /// What a client gets that wants a stream: `Some` for a stream of a node, `None` for a peer. A peer that has the name
    /// comes first, and without nodes, here or at another server, there are only peers.
    pub(super) fn stream_wanted(
        &self,
        name: &PeerId,
        media: Option<Use>,
        only: Option<Only>,
    ) -> Result<Option<Use>, Refusal> {
        let has_nodes = !self.nodes.is_empty() || self.has_far_media;
        let is_stream = !self.uids.contains_key(name) && has_nodes;
        match (media.filter(|_| is_stream), only) {
            // The webhook was asked about something else. Meanwhile a peer or a node has come or gone.
            (Some(_), Some(Only::Peer | Only::Register)) | (None, Some(Only::Stream)) => {
                Err(Refusal::Unavailable)
            }
            (wanted, _) => Ok(wanted),
        }
    }

    /// Whether a connection may play a stream.
    pub(super) fn may_play(&self, conn: ConnId, name: &PeerId) -> bool {
        let connection = self.connections.get(&conn);
        connection.is_some_and(|it| self.permit_stream(&it.grant, name, Use::Play).is_ok())
    }

    /// Whether a stream has media.
    pub(super) fn is_live(&self, name: &PeerId) -> bool {
        self.streams.get(name).is_some_and(|stream| stream.tracks.is_some())
    }

    /// Starts a call to a stream: its callee is the stream's node.
    #[allow(clippy::too_many_arguments, reason = "the parts of one request")]
    pub(super) fn call_stream(
        &mut self,
        conn: ConnId,
        key: &Key,
        name: PeerId,
        media: Use,
        from: Option<PeerId>,
        start: Start,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let asked = bridge::asked(start, &card(media))?;
        let Some(connection) = self.connections.get(&conn) else { return Ok(()) };
        self.permit_stream(&connection.grant, &name, media)?;
        self.permit_call(connection)?;
        let owners = connection.owners();
        let from = match from {
            Some(from) => self.may_be(conn, connection, from)?,
            None => connection.name(conn),
        };
        let (key, node_key) = self.stream_keys(conn, key);
        if self.has_call(conn, &key) {
            return Err(Refusal::PeerBusy(name.to_string()));
        }
        let old = match media {
            Use::Publish => self.replaced(conn, &name)?,
            Use::Play => None,
        };
        let node = self.without(old.as_ref(), |hub| {
            let node = hub.node_for(&name, media)?;
            hub.permit_media(&owners, media).map(|()| node)
        })?;
        // Now nothing can fail any more.
        if let Some(old) = old {
            self.end_both(old.conn, &old.key, Refusal::Replaced, effects);
        }
        let leg = Leg {
            uid: from,
            partner: node,
            partner_key: node_key,
            peer: name,
            is_caller: true,
            returns_as: None,
            media: Some(media),
            flight: Flight::default(),
            link: None,
        };
        self.begin(conn, key, (leg, media), &owners, asked, effects);
        Ok(())
    }

    /// Starts a session of a member of a room of a media node.
    pub(super) fn open_link(
        &mut self,
        conn: ConnId,
        peer: &node_room::Peer,
        name: PeerId,
        is_asked: bool,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(connection) = self.connections.get(&conn) else { return Err(Refusal::NotInRoom) };
        if connection.links.legs.len() >= MAX_LINKS {
            return Err(Refusal::TooManySessions);
        }
        let (owners, from) = (connection.owners(), connection.name(conn));
        let media = match peer {
            node_room::Peer::Node => Use::Publish,
            node_room::Peer::Member(_) => Use::Play,
        };
        self.permit_media(&owners, media)?;
        let node = self.node_for(&name, media)?;
        let (_, key) = self.stream_keys(conn, &Key::default());
        let leg = Leg {
            uid: from,
            partner: node,
            partner_key: key.clone(),
            peer: name,
            is_caller: true,
            returns_as: None,
            media: Some(media),
            flight: Flight::default(),
            link: Some(peer.clone()),
        };
        self.begin(conn, key, (leg, media), &owners, is_asked.then_some(Side::Callee), effects);
        Ok(())
    }

    /// The node for another session with a stream.
    fn node_for(&self, name: &PeerId, media: Use) -> Result<ConnId, Refusal> {
        match media {
            Use::Publish => self.place(name),
            Use::Play => self.node_with(name),
        }
    }

    /// Begins a permitted session of a client with a node. `leg` is that of the client.
    fn begin(
        &mut self,
        conn: ConnId,
        key: Key,
        (leg, media): (Leg, Use),
        owners: &[Owner],
        asked: Option<Side>,
        effects: &mut Vec<Effect>,
    ) {
        self.enter_stream(&leg.peer, leg.partner, media, Publisher { conn, key: key.clone() }, effects);
        self.count(owners, |usage| *usage.of(media) += 1);
        let (node, node_key) = (leg.partner, leg.partner_key.clone());
        let theirs = Leg {
            uid: leg.peer.clone(),
            partner: conn,
            partner_key: key.clone(),
            peer: leg.uid.clone(),
            is_caller: false,
            ..leg.clone()
        };
        self.start((conn, key, leg), (node, node_key, theirs), asked, effects);
    }

    /// Whether the token allows it.
    fn permit_stream(&self, grant: &Grant, name: &PeerId, media: Use) -> Result<(), Refusal> {
        if name.as_str().len() > self.rules.max_uid {
            return Err(Refusal::UidInvalid);
        }
        if grant.permits(media, name) { Ok(()) } else { Err(Refusal::StreamNotAllowed) }
    }

    fn permit_media(&self, owners: &[Owner], media: Use) -> Result<(), Refusal> {
        let Rules { max_streams, max_viewers, .. } = self.rules;
        match media {
            Use::Publish if self.is_any_at(owners, max_streams, |usage| usage.streams) => {
                Err(Refusal::TooManyStreams)
            }
            Use::Play if self.is_any_at(owners, max_viewers, |usage| usage.viewers) => {
                Err(Refusal::TooManyViewers)
            }
            _ => Ok(()),
        }
    }

    /// The node for a new publisher: the one where its viewers are, or else the one with the lowest load.
    fn place(&self, name: &PeerId) -> Result<ConnId, Refusal> {
        if let Some(stream) = self.streams.get(name).filter(|stream| stream.viewers > 0) {
            let is_full = self.nodes.get(&stream.node).is_none_or(|node| node.is_full(Use::Publish));
            return if is_full { Err(Refusal::NoCapacity) } else { Ok(stream.node) };
        }
        let free = self.nodes.iter().filter(|(_, node)| !node.is_draining && !node.is_full(Use::Publish));
        let best = free.min_by(|(_, one), (_, other)| one.load().total_cmp(&other.load()));
        best.map(|(conn, _)| *conn).ok_or(Refusal::NoCapacity)
    }

    /// The publisher that a new one replaces. A new publisher takes over its own stream: the old connection may be lost
    /// without a sign. Any other one has to wait.
    fn replaced(&self, conn: ConnId, name: &PeerId) -> Result<Option<Publisher>, Refusal> {
        let Some(old) = self.streams.get(name).and_then(|stream| stream.publisher.clone()) else {
            return Ok(None);
        };
        let grant = |conn: ConnId| self.connections.get(&conn).map(|connection| &connection.grant);
        let is_same = grant(conn).zip(grant(old.conn)).is_some_and(|(new, old)| new.is_same_identity(old));
        if is_same { Ok(Some(old)) } else { Err(Refusal::PeerBusy(name.to_string())) }
    }

    /// Looks at the hub as if a publisher had gone: its place is free for the next one.
    fn without<T>(&mut self, publisher: Option<&Publisher>, look: impl FnOnce(&Self) -> T) -> T {
        let Some(Publisher { conn, key }) = publisher else { return look(self) };
        let (owners, node) = (self.owners(*conn), self.leg(*conn, key).map(|leg| leg.partner));
        let take = |hub: &mut Self, change: fn(&mut usize)| {
            hub.count(&owners, |usage| change(&mut usage.streams));
            if let Some(node) = node.and_then(|node| hub.nodes.get_mut(&node)) {
                change(&mut node.streams);
            }
        };
        take(self, |streams| *streams -= 1);
        let seen = look(self);
        take(self, |streams| *streams += 1);
        seen
    }

    /// The node of a stream that has media.
    fn node_with(&self, name: &PeerId) -> Result<ConnId, Refusal> {
        let stream = self.streams.get(name).filter(|stream| stream.tracks.is_some());
        let stream = stream.ok_or_else(|| Refusal::PeerNotFound(name.to_string()))?;
        match self.nodes.get(&stream.node) {
            Some(node) if !node.is_full(Use::Play) && !node.is_draining => Ok(stream.node),
            _ => Err(Refusal::NoCapacity),
        }
    }

    fn enter_stream(
        &mut self,
        name: &PeerId,
        node: ConnId,
        media: Use,
        publisher: Publisher,
        effects: &mut Vec<Effect>,
    ) {
        if !self.streams.contains_key(name) {
            self.share(Effect::Took(node, name.clone()), effects);
        }
        let stream = self.streams.entry(name.clone()).or_insert_with(|| Stream {
            node,
            publisher: None,
            tracks: None,
            viewers: 0,
        });
        match media {
            Use::Publish => stream.publisher = Some(publisher),
            Use::Play => stream.viewers += 1,
        }
        if let Some(node) = self.nodes.get_mut(&node) {
            *node.of(media) += 1;
        }
    }

    /// A call to a stream has ended. If its node is gone, so is the stream, and another one may have the name.
    pub(super) fn leave_stream(&mut self, caller: &Leg, effects: &mut Vec<Effect>) {
        let Some(media) = caller.media else { return };
        let Some(node) = self.nodes.get_mut(&caller.partner) else { return };
        *node.of(media) -= 1;
        if caller.flight.is_pending {
            node.ended_offers.recent.insert(caller.partner_key.clone(), caller.flight.bytes);
        }
        self.place_is_free();
        let Some(stream) = self.streams.get_mut(&caller.peer) else { return };
        match media {
            Use::Play => stream.viewers -= 1,
            Use::Publish => {
                stream.publisher = None;
                if stream.tracks.take().is_some() {
                    effects.push(Effect::Note(caller.partner, note(&caller.peer, false, stream.viewers)));
                }
            }
        }
        if stream.publisher.is_none() && stream.viewers == 0 {
            self.streams.remove(&caller.peer);
            self.share(Effect::Freed(caller.partner, caller.peer.clone()), effects);
        }
    }

    /// What a peer of another server asks for that has or wants the stream of this name: here is the stream, or no peer.
    pub fn has_stream(&self, name: &PeerId) -> bool {
        !self.uids.contains_key(name) && !self.nodes.is_empty()
    }

    /// Whether this node has a stream.
    pub fn is_stream_of(&self, name: &PeerId, node: ConnId) -> bool {
        self.streams.get(name).is_some_and(|stream| stream.node == node)
    }

    /// A signal between a client and a node. A client that floods the node loses its call.
    pub(super) fn signal_media(
        &mut self,
        conn: ConnId,
        key: &Key,
        payload: &Payload,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let Some(leg) = self.leg(conn, key) else { return Err(Refusal::NoSuchCall) };
        let (client, node, flight) = match leg.is_caller {
            true => ((conn, key.clone()), leg.partner, leg.flight.sent(payload)),
            false if payload.is_description() => {
                ((leg.partner, leg.partner_key.clone()), conn, Flight::default())
            }
            false => return Ok(()),
        };
        let Some(leg) =
            self.connections.get_mut(&client.0).and_then(|client_of| client_of.leg_mut(&client.1))
        else {
            return Err(Refusal::NoSuchCall);
        };
        let Some(node) = self.nodes.get_mut(&node) else { return Err(Refusal::NoSuchCall) };
        let (before, after) = (leg.flight.unanswered(), flight.unanswered());
        let unanswered = node.unanswered + after - before;
        let refusal = match () {
            () if flight.bytes > MAX_SENT => Refusal::Node(Reason::Limit),
            () if after > before && unanswered > self.rules.max_unanswered => Refusal::NoCapacity,
            () => {
                (leg.flight, node.unanswered) = (flight, unanswered);
                return Ok(());
            }
        };
        self.end_both(client.0, &client.1, refusal, effects);
        Err(Refusal::NoSuchCall)
    }

    /// The node has read the offers of a call that has ended.
    pub(super) fn settle(&mut self, node: ConnId, key: &Key) {
        if let Some(node) = self.nodes.get_mut(&node) {
            node.unanswered -= node.ended_offers.take(key);
        }
    }

    /// Ends a client's call to a stream, and notifies both sides.
    fn end_both(&mut self, client: ConnId, key: &Key, reason: Refusal, effects: &mut Vec<Effect>) {
        let Some(leg) = self.leg(client, key) else { return };
        let (peer, link) = (leg.peer.clone(), leg.link.clone());
        let _ = self.end(client, key, Some(reason.clone()), effects);
        if let Some(peer) = link {
            return self.link_ended(client, &peer, Some(&reason), effects);
        }
        let ended = Ended { key: key.clone(), peer, stays: false, reason: Some(reason) };
        self.tell(client, Notice::Ended(Box::new(ended)), effects);
    }

    /// Ends the calls of a stream's publisher and viewers. Returns how many.
    pub fn end_stream(&mut self, name: &str, effects: &mut Vec<Effect>) -> usize {
        let Some(node) = self.streams.get(name).map(|stream| stream.node) else { return 0 };
        let legs = self.connections.get(&node).into_iter().flat_map(|connection| connection.calls.values());
        let of_stream = legs.filter(|leg| leg.uid.as_str() == name);
        let clients: Vec<(ConnId, Key)> =
            of_stream.map(|leg| (leg.partner, leg.partner_key.clone())).collect();
        for (client, key) in &clients {
            self.end_both(*client, key, Refusal::Node(Reason::Closed), effects);
        }
        clients.len()
    }
}

/// What operators see.
impl Hub {
    /// All streams.
    pub fn streams(&self) -> impl Iterator<Item = StreamInfo<'_>> {
        self.streams.iter().filter_map(|(name, stream)| {
            let publisher = stream.publisher.as_ref().and_then(|publisher| {
                Some((publisher.conn, self.leg(publisher.conn, &publisher.key)?.uid.clone()))
            });
            Some(StreamInfo {
                stream: name,
                node: &self.nodes.get(&stream.node)?.name,
                publisher,
                tracks: stream.tracks.as_deref(),
                viewers: stream.viewers,
            })
        })
    }
}

#[cfg(any(test, feature = "fuzzing"))]
#[allow(clippy::indexing_slicing, reason = "a missing entry is what this looks for")]
impl Hub {
    /// Panics if the tables of nodes and streams contradict the calls.
    pub(super) fn check_streams(&self) {
        for (conn, node) in &self.nodes {
            let calls = &self.connections[conn].calls;
            let of = |media| calls.values().filter(move |leg| leg.media == Some(media));
            assert_eq!((node.streams, node.viewers), (of(Use::Publish).count(), of(Use::Play).count()));
            let unanswered = calls
                .values()
                .filter_map(|leg| Some(self.leg(leg.partner, &leg.partner_key)?.flight.unanswered()));
            let EndedOffers { recent, older } = &node.ended_offers;
            let ended: usize = recent.values().chain(older.values()).sum();
            assert_eq!(node.unanswered, unanswered.sum::<usize>() + ended, "what is answered does not count");
            for leg in calls.values() {
                let stream = &self.streams[&leg.uid];
                assert_eq!(stream.node, *conn, "a stream is at one node");
                let is_publisher = stream.publisher.as_ref().is_some_and(|it| it.conn == leg.partner);
                assert!(leg.media != Some(Use::Publish) || is_publisher, "a stream has one publisher");
            }
        }
        for (name, stream) in &self.streams {
            let calls = &self.connections[&stream.node].calls;
            let viewers = calls.values().filter(|leg| leg.uid == *name && leg.media == Some(Use::Play));
            assert_eq!(stream.viewers, viewers.count(), "viewers are counted");
            assert!(stream.publisher.is_some() || stream.viewers > 0, "an unused stream is forgotten");
            assert!(stream.tracks.is_none() || stream.publisher.is_some(), "media have a publisher");
            assert!(!self.uids.contains_key(name), "a name is a peer's or a stream's");
        }
    }
}

impl Connection {
    fn leg_mut(&mut self, key: &Key) -> Option<&mut Leg> {
        self.calls.get_mut(key).or_else(|| self.links.legs.get_mut(key))
    }
}

impl Flight {
    fn sent(&self, payload: &Payload) -> Self {
        Self {
            bytes: self.bytes.saturating_add(payload.len()),
            is_pending: self.is_pending || payload.is_offer(),
        }
    }

    fn unanswered(&self) -> usize {
        if self.is_pending { self.bytes } else { 0 }
    }
}

impl EndedOffers {
    fn take(&mut self, key: &Key) -> usize {
        self.recent.remove(key).or_else(|| self.older.remove(key)).unwrap_or_default()
    }

    /// Forgets those that are here for the second time. Returns their bytes.
    pub(super) fn grow_older(&mut self) -> usize {
        mem::replace(&mut self.older, mem::take(&mut self.recent)).values().sum()
    }
}

/// What a node does about offers: it answers a publisher, and can offer to a viewer.
fn card(media: Use) -> Card {
    let flow = match media {
        Use::Publish => Flow::Receives,
        Use::Play => Flow::Sends,
    };
    Card { flow, leads: true, is_shared: true, meta: None }
}

pub(super) fn note(stream: &PeerId, is_live: bool, viewers: usize) -> Note {
    let stream = stream.clone();
    if is_live { Note::Live { stream } } else { Note::Gone { stream, viewers } }
}
