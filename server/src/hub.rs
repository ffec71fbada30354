//! Who is there, who talks with whom, which rooms exist. Requests in, notices and other effects out; no I/O, no clock, no
//! lock. It does not know how requests and notices are written: that is what the [dialects](crate::dialect) are for.
//!
//! A connection can have ids to be called by, calls, and a place in one room. The one of a
//! [single](Dialect::is_single) dialect only moves forward: it registers, then it has one call or one room until it is
//! closed. Closing a connection here removes it from every table at once, before its socket is closed: the uid is free
//! again, and a later failure leaves nothing behind.
//!
//! Notices to the members of a room are queued in the room, and news about peers in the directory. [`Hub::pass_on`]
//! delivers a few at a time, so the work of one event is bounded however many connections it concerns.

mod calls;
mod directory;
mod far;
mod far_directory;
mod feed;
mod guest;
mod node_rooms;
mod nodes;
mod notice;
mod request;
mod room;
mod rooms;
mod streams;
mod usage;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use async_tungstenite::tungstenite;
use callbin_protocol::{
    PeerId, RoomId,
    node::{Limits, Reason, Stats},
};

pub use self::{
    far::{Elsewhere, FarMember, FarMessage, NodeName, Plan},
    guest::guest,
    node_rooms::NodeRooms,
    nodes::NodeInfo,
    notice::{
        Call, Change, Ended, Found, Incoming, Joined, Listed, Message, Notice, Peers, Presence, Refusal,
        Refused,
    },
    request::{About, Card, Flow, Key, NodeRequest, Only, Payload, Request, Start, Use},
    streams::StreamInfo,
    usage::Share,
};
use crate::{
    access::{
        Ability, Grant,
        owner::{Owner, owners},
    },
    close::CloseReason,
    dialect::Dialect,
    node_room,
};
use directory::Directory;
use feed::Place;
use node_rooms::Links;
use room::{News, Room};
use streams::{EndedOffers, Flight, Stream};
use usage::Usage;

/// The bytes of a message to a whole room that count as one more notice for each member.
const NOTICE: usize = 1024;

/// The notices that a call to a stream counts as, and an offer to a media node, besides one for each KiB: the node makes a
/// connection or starts it again.
const STREAM_OFFER: usize = 100;

/// The number of a connection, from its WebSocket handshake to its end. Never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u64);

/// An event of a connection.
#[derive(Debug, Clone)]
pub enum Event {
    /// The connection is open.
    Opened {
        /// The permissions of its token.
        grant: Arc<Grant>,
        /// The address whose limits it shares: its own or its network's.
        address: IpAddr,
        /// The protocol that it speaks.
        dialect: Dialect,
    },
    /// Its first frame is of another dialect than its path.
    Speaks(Dialect),
    /// A request came.
    Asked {
        /// The request.
        request: Request,
        /// Its frame, if the connection is single. In the call of such a connection every frame is payload, whatever
        /// request it seems to be.
        frame: Option<tungstenite::Message>,
    },
    /// It represents a peer of another node, with this name: it may call without an id.
    StandsIn(PeerId),
    /// Another node is asked to carry out its request. Meanwhile a single connection is busy.
    Asks,
    /// That is answered.
    Settled,
    /// The callee's node has started its call. A stand-in represents the callee here.
    Reached(Box<Reached>),
    /// The join is ordered among those of all nodes.
    Enters {
        /// The room.
        room: RoomId,
        /// The members on other nodes. `None`: those that are known already.
        others: Option<Vec<FarMember>>,
        /// The frame of the request, if the connection is single.
        frame: Option<tungstenite::Message>,
    },
    /// The answer of another node.
    Hears(Notice),
    /// A request is not carried out: the webhook refused it for the reason, or did not answer.
    Denied {
        /// What was asked for.
        about: About,
        /// The call that was meant, if any.
        key: Key,
        /// Why.
        refusal: Refusal,
    },
    /// Its socket is closed, closing or broken.
    Closed,
}

/// A call that has started on the callee's node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The caller's name for the call.
    pub key: Key,
    /// The id of the caller.
    pub from: PeerId,
    /// The callee.
    pub to: PeerId,
    /// The connection that stands in for the callee.
    pub stand_in: ConnId,
    /// Whether the caller has to offer now.
    pub is_asked: bool,
    /// The card to register the id with when the callee ends the call.
    pub returns_as: Option<Box<Card>>,
}

/// What the sockets have to do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Queue a notice.
    Tell(ConnId, Notice),
    /// Queue a frame of a peer of the same dialect, unread.
    Forward(ConnId, tungstenite::Message),
    /// Close the socket. The connection is gone from the hub already.
    Close(ConnId, CloseReason),
    /// Forward everything that one of the two sends from now on to the other, unparsed.
    Pair(ConnId, ConnId),
    /// Ping the peer: it may be gone, and it is in the way of another one.
    Probe(ConnId),
    /// Only a line in the log.
    Note(ConnId, Note),
    /// For other nodes: a connection has given up an id.
    Freed(ConnId, PeerId),
    /// For other nodes: the hub has registered an id without a request, or a media node has a stream of this name.
    Took(ConnId, PeerId),
    /// For other nodes: whether media nodes are attached.
    HasMedia(bool),
    /// For other nodes: whether a connection watches who comes and goes.
    Watches(bool),
    /// For other nodes that watch: an id can be called from now on, or no longer.
    Listed(PeerId, Card, bool),
    /// Of other nodes, the members of this room are not known here.
    Lacks(RoomId),
    /// For other nodes: a connection has left its room.
    LeftRoom(ConnId, PeerId, RoomId),
    /// A message for members of a room on another node.
    Far(NodeName, Box<FarMessage>),
}

/// Log entries for an operator. Names only, never a payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A registration was accepted.
    Registered(PeerId),
    /// A registration was refused, and the connection is closed: the uid is taken, invalid or not allowed by the token.
    UidRefused(CloseReason),
    /// A call was accepted.
    Called {
        /// The caller.
        caller: PeerId,
        /// The callee.
        callee: PeerId,
        /// The dialects of caller and callee.
        dialects: (Dialect, Dialect),
    },
    /// A join was accepted.
    Joined {
        /// The new member.
        peer: PeerId,
        /// The room.
        room: RoomId,
        /// The number of members, including the new one.
        members: usize,
    },
    /// A request was refused.
    Refused(PeerId, &'static str),
    /// A registered peer is gone.
    Left(PeerId),
    /// A media node is attached.
    Attached {
        /// Its name.
        node: Arc<str>,
        /// Program and version.
        software: Arc<str>,
        /// What it can carry.
        limits: Limits,
    },
    /// A media node is gone.
    Detached {
        /// Its name.
        node: Arc<str>,
        /// The publishers that it had.
        streams: usize,
        /// The viewers that it had.
        viewers: usize,
    },
    /// A media node has ended the call of a publisher or a viewer.
    Ended {
        /// The stream.
        stream: PeerId,
        /// The client.
        client: PeerId,
        /// Why.
        reason: Reason,
        /// The node's explanation.
        detail: Arc<str>,
    },
    /// A stream's media arrive.
    Live {
        /// The stream.
        stream: PeerId,
    },
    /// A stream's media no longer arrive.
    Gone {
        /// The stream.
        stream: PeerId,
        /// Its viewers.
        viewers: usize,
    },
}

/// The hub's state of a connection.
#[derive(Debug)]
struct Connection {
    grant: Arc<Grant>,
    address: IpAddr,
    dialect: Dialect,
    /// The ids that it can be called by, in the order of their registration.
    uids: Vec<PeerId>,
    calls: BTreeMap<Key, Leg>,
    /// Its sessions in a room of a media node, of which it knows nothing.
    links: Links,
    seat: Option<Seat>,
    /// Its place among those that watch who can be called.
    watch: Option<Place>,
    /// The peer of another node that it represents.
    stands_for: Option<PeerId>,
    /// Another node is asked to carry out its request.
    asks: bool,
}

/// One side of a call.
#[derive(Debug, Clone)]
struct Leg {
    /// The id of this side.
    uid: PeerId,
    /// The other side: its connection, its name for the call, its id.
    partner: ConnId,
    partner_key: Key,
    peer: PeerId,
    is_caller: bool,
    /// The card to register the id with when the other side ends the call.
    returns_as: Option<Box<Card>>,
    /// What the caller does with a stream of a media node, which is the callee. `None`: the callee is a peer.
    media: Option<Use>,
    /// At the caller: what a media node has not answered.
    flight: Flight,
    /// It is the caller's link in a room of a media node, to this peer.
    link: Option<node_room::Peer>,
}

/// An attached media node.
#[derive(Debug, Default)]
struct Node {
    name: Arc<str>,
    limits: Limits,
    streams: usize,
    viewers: usize,
    is_draining: bool,
    /// The bytes of offers that it has not answered, with their candidates, also those of ended calls.
    unanswered: usize,
    ended_offers: EndedOffers,
    stats: Stats,
}

impl Node {
    /// How many of its calls are of this kind.
    fn of(&mut self, media: Use) -> &mut usize {
        match media {
            Use::Publish => &mut self.streams,
            Use::Play => &mut self.viewers,
        }
    }
}

/// A connection's place in a room.
#[derive(Debug, Clone)]
struct Seat {
    room: RoomId,
    place: Place,
}

/// A registered id.
#[derive(Debug)]
struct Peer {
    conn: ConnId,
    card: Card,
    /// It was registered by a meeting, and may be met again by whichever of the two stays.
    meets: bool,
}

impl Connection {
    /// Its main id: the first one.
    fn uid(&self) -> Option<&PeerId> {
        self.uids.first()
    }

    /// Its name in logs and for its partners.
    fn name(&self, conn: ConnId) -> PeerId {
        let by_token = || PeerId::new(self.grant.identity.as_deref()?).ok();
        self.stands_for
            .clone()
            .or_else(|| self.uid().cloned())
            .or_else(by_token)
            .unwrap_or_else(|| guest(conn.0))
    }

    /// Whether a call keeps an id from being called. A caller of a single connection is busy itself; others can be called
    /// while they call.
    fn is_taken_by(&self, leg: &Leg, uid: &PeerId) -> bool {
        self.dialect.is_single() || (leg.uid == *uid && !leg.is_caller)
    }

    fn is_idle(&self) -> bool {
        self.calls.is_empty() && self.seat.is_none()
    }

    /// The accounts that its sessions and rooms count for.
    fn owners(&self) -> Vec<Owner> {
        owners(self.address).chain(self.grant.identity.clone().map(Owner::Identity)).collect()
    }

    /// The accounts that its sessions count for. Those of a peer of another node count there.
    fn session_owners(&self) -> Vec<Owner> {
        if self.stands_for.is_some() { Vec::new() } else { self.owners() }
    }
}

/// Limits of sessions, rooms, members and uids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Sessions started from one address, or by one identity.
    pub max_sessions: usize,
    /// Rooms created from one address, or by one identity.
    pub max_rooms: usize,
    /// Members per room.
    pub max_members: usize,
    /// Length of a uid in bytes.
    pub max_uid: usize,
    /// Streams published from one address, or by one identity.
    pub max_streams: usize,
    /// Streams played from one address, or by one identity.
    pub max_viewers: usize,
    /// Bits per second of a published stream. `None`: the node's own limit.
    pub max_bitrate: Option<u64>,
    /// Bytes of offers that one media node has not answered yet, with their candidates. Less than its queue takes, so that
    /// offers never close its connection.
    pub max_unanswered: usize,
}

impl Default for Rules {
    fn default() -> Self {
        let none = usize::MAX;
        Self {
            max_sessions: none,
            max_rooms: none,
            max_members: none,
            max_uid: none,
            max_streams: none,
            max_viewers: none,
            max_bitrate: None,
            max_unanswered: none,
        }
    }
}

/// All connections and rooms (see the module's description).
#[derive(Debug, Default)]
pub struct Hub {
    rules: Rules,
    connections: HashMap<ConnId, Connection>,
    uids: HashMap<PeerId, Peer>,
    rooms: HashMap<RoomId, Room>,
    streams: HashMap<PeerId, Stream>,
    nodes: BTreeMap<ConnId, Node>,
    /// Nodes that are gone, with calls that are still to be ended.
    lost: VecDeque<ConnId>,
    /// Nodes that are about to end, with links that are still to be moved.
    emptied: VecDeque<ConnId>,
    /// The rooms whose media go through a node.
    node_rooms: NodeRooms,
    /// Those that may be able to start sessions now, and those that try again when a session of any stream ends.
    unsettled: VecDeque<RoomId>,
    deferred: BTreeSet<RoomId>,
    /// What all nodes have counted.
    media: Stats,
    /// Rooms with undelivered notices, each of them once.
    news: News,
    /// News about peers, for the connections that watch.
    directory: Directory,
    usage: HashMap<Owner, Usage>,
    /// Those of them that other nodes have to know.
    heavy: HashSet<Owner>,
    /// What other nodes have said of their owners.
    far_usage: BTreeMap<NodeName, HashMap<Owner, Share>>,
    sessions: usize,
    /// There are other nodes: they have to know what changes.
    is_shared: bool,
    /// Media nodes are attached to other nodes.
    has_far_media: bool,
    /// Other nodes watch who comes and goes here.
    is_watched: bool,
    /// Who can be called at other nodes, while somebody here wants to know.
    far_directory: BTreeMap<NodeName, BTreeMap<PeerId, Card>>,
    /// The last number used for a call without a name.
    last_call: u64,
}

/// Numbers of connections, peers, sessions and rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Open WebSockets.
    pub connections: usize,
    /// Registered uids.
    pub peers: usize,
    /// Sessions.
    pub sessions: usize,
    /// Rooms with at least one member.
    pub rooms: usize,
    /// Attached media nodes.
    pub nodes: usize,
    /// Published streams.
    pub streams: usize,
    /// Viewers of streams.
    pub viewers: usize,
}

/// The state of a registered peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing<'a> {
    /// Idle: it can be called.
    Nothing,
    /// In a session.
    Session {
        /// Its partner.
        with: &'a PeerId,
    },
    /// In a room.
    Room(&'a RoomId),
}

/// What a request would do if it were carried out now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wish {
    /// Register.
    Register(PeerId),
    /// Start a session.
    Call(PeerId),
    /// Join a room.
    Join(RoomId),
    /// Publish or play a stream of a media node.
    Stream(Use, PeerId),
}

impl Hub {
    /// A hub with limits.
    pub fn new(rules: Rules) -> Self {
        Self { rules, ..Self::default() }
    }

    /// Replaces the limits. Existing sessions, rooms and members stay.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Handles an event of a connection and appends the resulting effects to `effects`.
    pub fn handle(&mut self, conn: ConnId, event: Event, effects: &mut Vec<Effect>) {
        match event {
            Event::Opened { grant, address, dialect } => {
                let (uids, calls) = (Vec::new(), BTreeMap::new());
                let connection = Connection {
                    grant,
                    address,
                    dialect,
                    uids,
                    calls,
                    links: Links::default(),
                    seat: None,
                    watch: None,
                    stands_for: None,
                    asks: false,
                };
                self.connections.insert(conn, connection);
            }
            Event::Speaks(dialect) => {
                self.change(conn, |connection| connection.dialect = dialect);
            }
            Event::StandsIn(peer) => self.change(conn, |connection| connection.stands_for = Some(peer)),
            Event::Asks => self.change(conn, |connection| connection.asks = true),
            Event::Settled => self.change(conn, |connection| connection.asks = false),
            Event::Reached(reached) => self.reach(conn, *reached, effects),
            Event::Enters { room, others, frame } => self.enter_room(conn, room, others, frame, effects),
            Event::Hears(notice) => {
                if self.connections.contains_key(&conn) {
                    self.tell(conn, notice, effects);
                }
            }
            Event::Asked { request, frame } => self.handle_request(conn, request, frame, effects),
            Event::Denied { about, key, refusal } => {
                self.refuse(conn, Refused { about, key, refusal, payload: None }, effects);
            }
            Event::Closed => self.remove(conn, effects),
        }
    }

    fn change(&mut self, conn: ConnId, change: impl FnOnce(&mut Connection)) {
        if let Some(connection) = self.connections.get_mut(&conn) {
            change(connection);
        }
    }

    /// How many connections, peers, sessions and rooms there are.
    pub fn counts(&self) -> Counts {
        Counts {
            connections: self.connections.len(),
            peers: self.uids.len(),
            sessions: self.sessions,
            rooms: self.rooms.len(),
            nodes: self.nodes.len(),
            streams: self.nodes.values().map(|node| node.streams).sum(),
            viewers: self.nodes.values().map(|node| node.viewers).sum(),
        }
    }

    /// The dialect of a connection.
    pub fn dialect(&self, conn: ConnId) -> Option<Dialect> {
        self.connections.get(&conn).map(|connection| connection.dialect)
    }

    /// The number of connections of each dialect.
    pub fn dialects(&self) -> [(Dialect, usize); Dialect::ALL.len()] {
        let mut counts = Dialect::ALL.map(|dialect| (dialect, 0));
        for connection in self.connections.values() {
            if let Some((_, count)) = counts.iter_mut().find(|(dialect, _)| *dialect == connection.dialect) {
                *count += 1;
            }
        }
        counts
    }

    /// What a request would do if it were carried out now, if the webhook may refuse it, and the uid of its sender, if it
    /// has one.
    pub fn wish(&self, conn: ConnId, request: &Request) -> Option<(Wish, Option<PeerId>)> {
        let connection = self.connections.get(&conn)?;
        if connection.dialect.is_single() {
            let is_new = connection.uids.is_empty();
            if !connection.is_idle() || is_new != matches!(request, Request::Register { .. }) {
                return None;
            }
        }
        let name = || Some(connection.name(conn));
        match request {
            Request::Register { uid, .. } => Some((Wish::Register(uid.clone()), None)),
            Request::Call { to, from, media, .. } => {
                let wish = self.wish_for(to, *media).unwrap_or_else(|| Wish::Call(to.clone()));
                Some((wish, from.clone().or_else(name)))
            }
            Request::Meet { uid, card, .. } if let Some(wish) = self.wish_for(uid, card.flow.media()) => {
                Some((wish, name()))
            }
            Request::Meet { uid, card, .. } if card.flow == Flow::Awaits || self.uids.contains_key(uid) => {
                Some((Wish::Call(uid.clone()), name()))
            }
            // The answer says who is registered, as that to a call does.
            Request::Find { uid, .. } => Some((Wish::Call(uid.clone()), name())),
            Request::Meet { uid, .. } => Some((Wish::Register(uid.clone()), None)),
            // Without an id it cannot join: it may just have been refused one.
            Request::Join(room) if !connection.uids.is_empty() => Some((Wish::Join(room.clone()), name())),
            _ => None,
        }
    }

    fn wish_for(&self, name: &PeerId, media: Option<Use>) -> Option<Wish> {
        let media = self.stream_wanted(name, media, None).ok()??;
        Some(Wish::Stream(media, name.clone()))
    }

    /// The cost of a request beyond itself if it were carried out now: the notices it causes, the names in its answer, and
    /// the work of a media node.
    ///
    /// Of two members, the one that joined later pays for both notices between them: its joining and the first leaving.
    /// So leaving is free, also when a whole network leaves. News for
    /// watchers cost nobody: they are delivered as time allows, and dropped if there are too many.
    pub fn fan_out(&self, conn: ConnId, request: &Request) -> usize {
        let Some(connection) = self.connections.get(&conn) else { return 0 };
        let members = |room| self.rooms.get(room).map_or(0, Room::len);
        match (request, &connection.seat) {
            (Request::Join(id), None) if connection.is_idle() && connection.grant.allows_room(id) => {
                let members = members(id);
                if members < self.rules.max_members { 2 * members } else { 0 }
            }
            (Request::Members, Some(seat)) => members(&seat.room),
            (Request::Send { to: Some(_), payload, .. }, Some(_)) if self.offers_to_node(conn, payload) => {
                STREAM_OFFER + payload.len() / NOTICE
            }
            // Each member gets a copy.
            (Request::Send { to: None, payload, .. }, Some(seat)) => {
                members(&seat.room) * (1 + payload.len() / NOTICE)
            }
            (Request::Call { to: name, media, .. }, _) if self.wish_for(name, *media).is_some() => {
                STREAM_OFFER
            }
            (Request::Meet { uid, card, .. }, _) if self.wish_for(uid, card.flow.media()).is_some() => {
                STREAM_OFFER
            }
            (Request::Signal { key, payload }, _) if payload.is_offer() && self.is_to_node(conn, key) => {
                STREAM_OFFER + payload.len() / NOTICE
            }
            // Each id is looked up, and so are its calls.
            (Request::List(_), _) => {
                self.uids.len()
                    + 2 * self.sessions
                    + self.far_directory.values().map(BTreeMap::len).sum::<usize>()
            }
            _ => 0,
        }
    }

    fn is_to_node(&self, conn: ConnId, key: &Key) -> bool {
        self.leg(conn, key).is_some_and(|leg| leg.is_caller && leg.media.is_some())
    }

    /// Delivers news to watchers and notices to members of rooms, and ends calls of lost nodes, at a cost of about `most`.
    /// True if more are queued.
    pub fn pass_on(&mut self, mut most: usize, effects: &mut Vec<Effect>) -> bool {
        let mut part = if self.lost.is_empty() { 0 } else { most.div_ceil(2) };
        most -= part;
        self.end_lost(&mut part, effects);
        most += part;
        self.settle_rooms(&mut most, effects);
        // Half for each, if both have some.
        let kept = if self.news.is_empty() { 0 } else { most.div_ceil(2) };
        most -= kept;
        self.pass_on_directory(&mut most, effects);
        most += kept;
        while most > 0
            && let Some(id) = self.news.pop()
        {
            // Looking up a room that is gone costs one.
            let Some(room) = self.rooms.get_mut(&id) else {
                most -= 1;
                continue;
            };
            if room.pass_on(&mut most, effects) {
                self.news.push(id);
            }
        }
        self.has_news()
    }

    /// Whether notices are queued.
    pub fn has_news(&self) -> bool {
        let has_work = !self.lost.is_empty() || !self.emptied.is_empty() || !self.unsettled.is_empty();
        !self.news.is_empty() || self.directory.has_news() || has_work
    }

    /// The registered peers and the state of each.
    pub fn peers(&self) -> impl Iterator<Item = (ConnId, &PeerId, Doing<'_>)> {
        self.uids.iter().filter_map(|(uid, peer)| {
            let connection = self.connections.get(&peer.conn)?;
            let call = connection.calls.values().find(|leg| leg.uid == *uid);
            let doing = match (call, &connection.seat) {
                (Some(leg), _) => Doing::Session { with: &leg.peer },
                (None, Some(seat)) => Doing::Room(&seat.room),
                (None, None) => Doing::Nothing,
            };
            Some((peer.conn, uid, doing))
        })
    }

    /// The caller and the callee of each session.
    pub fn sessions(&self) -> impl Iterator<Item = (&PeerId, &PeerId)> {
        let legs = self.connections.values().flat_map(|connection| connection.calls.values());
        legs.filter(|leg| leg.is_caller && leg.media.is_none()).map(|leg| (&leg.uid, &leg.peer))
    }

    /// The rooms and their members, in the order in which the members joined.
    pub fn rooms(&self) -> impl Iterator<Item = (&RoomId, Vec<PeerId>)> {
        self.rooms.iter().map(|(id, room)| (id, self.names(room.list(None))))
    }

    /// The connections of a room.
    pub fn members(&self, room: &str) -> Vec<ConnId> {
        self.rooms.get(room).map(|room| room.members().collect()).unwrap_or_default()
    }

    /// The connection with this uid, and its grant.
    pub fn find(&self, uid: &str) -> Option<(ConnId, &Arc<Grant>)> {
        let conn = self.uids.get(uid)?.conn;
        Some((conn, &self.connections.get(&conn)?.grant))
    }

    /// Connections that are neither in a session nor in a room.
    pub fn idle(&self) -> impl Iterator<Item = ConnId> {
        self.connections.iter().filter(|(_, connection)| connection.is_idle()).map(|(conn, _)| *conn)
    }

    /// Any connection together with its session partners or the other members of its room. A media node comes last and
    /// alone: its clients are closed one by one before it.
    pub fn company(&self) -> Option<Vec<ConnId>> {
        let is_node = |conn: &ConnId| self.nodes.contains_key(conn) || self.lost.contains(conn);
        let (conn, connection) = match self.connections.iter().find(|(conn, _)| !is_node(conn)) {
            Some(found) => found,
            None => return self.connections.keys().next().map(|conn| vec![*conn]),
        };
        if let Some(seat) = &connection.seat {
            return Some(self.members(seat.room.as_str()));
        }
        let partners = connection.calls.values().filter(|leg| leg.media.is_none()).map(|leg| leg.partner);
        Some(std::iter::once(*conn).chain(partners).collect())
    }

    /// Closes a connection for a reason outside the protocol.
    pub fn kick(&mut self, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
        if self.connections.contains_key(&conn) {
            self.close(conn, reason, effects);
        }
    }

    /// Closes many connections at once. None of them gets a notice about another one.
    pub fn kick_all(&mut self, conns: &[ConnId], reason: CloseReason, effects: &mut Vec<Effect>) {
        conns.iter().for_each(|conn| self.kick(*conn, reason, effects));
    }

    fn handle_request(
        &mut self,
        conn: ConnId,
        request: Request,
        frame: Option<tungstenite::Message>,
        effects: &mut Vec<Effect>,
    ) {
        // The hub has just closed the connection; the frame was already under way.
        let Some(connection) = self.connections.get(&conn).filter(|_| !self.lost.contains(&conn)) else {
            return;
        };
        if connection.dialect.is_single() {
            if connection.calls.first_key_value().is_some() {
                return self.relay_frame(conn, frame, effects);
            }
            if let Some(misplaced) = misplaced(connection, &request) {
                return self.handle_misplaced(conn, misplaced, effects);
            }
        }
        self.carry_out(conn, request, effects);
    }

    /// A frame of a single connection in its call.
    fn relay_frame(&mut self, conn: ConnId, frame: Option<tungstenite::Message>, effects: &mut Vec<Effect>) {
        let call = self.connections.get(&conn).and_then(|connection| connection.calls.first_key_value());
        if let (Some((key, leg)), Some(frame)) = (call, frame) {
            let (key, partner) = (key.clone(), leg.partner);
            self.relay(conn, &key, partner, frame, effects);
        }
    }

    fn carry_out(&mut self, conn: ConnId, request: Request, effects: &mut Vec<Effect>) {
        let (about, key) = request.about();
        let mut undelivered = None;
        let result = match request {
            Request::Register { uid, card } => self.register(conn, uid, card, effects),
            Request::Unregister(uid) => self.unregister(conn, &uid, effects),
            Request::Retire { uid, key } => {
                // The id goes first: after the call, it must not be registered again.
                let _ = self.unregister(conn, &uid, effects);
                let _ = self.end(conn, &key, None, effects);
                Ok(())
            }
            Request::Find { key, uid } => self.find_peer(conn, key, uid, effects),
            Request::Call { key, to, from, start, media, only } => match self.stream_wanted(&to, media, only)
            {
                Ok(Some(media)) => self.call_stream(conn, &key, to, media, from, start, effects),
                Ok(None) => self.call(conn, &key, to, from, start, None, effects),
                Err(refusal) => Err(refusal),
            },
            Request::Node(request) => self.node_request(conn, request, effects),
            Request::Meet { key, uid, card, start, only } => {
                self.meet(conn, &key, (uid, card), start, only, effects)
            }
            Request::Signal { key, payload } => self.signal(conn, &key, payload, effects),
            Request::End(key) => self.end(conn, &key, None, effects),
            Request::Join(room) => self.join(conn, room, Elsewhere::Unordered, effects),
            Request::Leave => self.leave(conn, effects),
            Request::Send { to, payload, .. } if let Some(room) = self.node_room_of(conn) => {
                let result = self.say_in_node_room(conn, &room, to, payload.clone(), effects);
                undelivered = result.is_err().then_some(payload);
                result
            }
            Request::Send { to: Some(to), payload, .. } => match self.addressee(conn, &to) {
                Ok(addressee) => {
                    self.send_to(addressee, to, payload, effects);
                    Ok(())
                }
                Err(refusal) => {
                    undelivered = Some(payload);
                    Err(refusal)
                }
            },
            Request::Send { to: None, hint, payload } => {
                let result = self.send_to_all(conn, hint.as_ref(), &payload, effects);
                undelivered = result.is_err().then_some(payload);
                result
            }
            Request::Members => self.list_members(conn, effects),
            Request::Describe { uid, card } => self.describe(conn, uid, card, effects),
            Request::List(media) => self.list(conn, media, effects),
            Request::Watch => self.watch(conn, effects),
            Request::Unwatch => {
                self.unwatch(conn, effects);
                Ok(())
            }
            Request::Reject { refusal, .. } => Err(refusal),
            Request::Unknown => Ok(()),
            Request::Close(reason) => {
                self.close(conn, reason, effects);
                Ok(())
            }
        };
        if let Err(refusal) = result {
            if let Refusal::PeerBusy(uid) = &refusal {
                self.probe(conn, uid, effects);
            }
            self.refuse(conn, Refused { about, key, refusal, payload: undelivered }, effects);
        }
    }

    /// A single connection asked for something that is not possible in its state.
    fn handle_misplaced(&mut self, conn: ConnId, misplaced: Misplaced, effects: &mut Vec<Effect>) {
        match misplaced {
            Misplaced::Close(reason) => self.close(conn, reason, effects),
            Misplaced::Refuse(refusal) => {
                let refused = Refused { about: About::Send, key: Key::default(), refusal, payload: None };
                self.refuse(conn, refused, effects);
            }
            Misplaced::Ignore => {}
        }
    }

    /// Queues a notice. A watcher or a member of a room first gets its undelivered ones.
    fn tell(&mut self, conn: ConnId, notice: Notice, effects: &mut Vec<Effect>) {
        if let Some(Connection { seat, watch, .. }) = self.connections.get(&conn) {
            if let Some(place) = watch {
                self.directory.catch_up(*place, effects);
            }
            if let Some(Seat { room, place }) = seat
                && let Some(room) = self.rooms.get_mut(room)
            {
                room.catch_up(*place, effects);
            }
        }
        effects.push(Effect::Tell(conn, notice));
    }

    /// Refuses a request. A single connection whose registration is refused is closed.
    fn refuse(&mut self, conn: ConnId, mut refused: Refused, effects: &mut Vec<Effect>) {
        // The connection closed before the webhook answered.
        let Some(connection) = self.connections.get(&conn) else { return };
        // It was called while another node had its request. In a call, that was payload.
        if connection.dialect.is_single() && !connection.calls.is_empty() {
            return;
        }
        if connection.dialect.is_single() && connection.stands_for.is_none() {
            if connection.uids.is_empty() {
                return self.refuse_registration(conn, refused.refusal, effects);
            }
            refused.payload = None;
        }
        effects.push(Effect::Note(conn, Note::Refused(connection.name(conn), refused.refusal.kind())));
        self.tell(conn, Notice::Refused(Box::new(refused)), effects);
    }

    fn refuse_registration(&mut self, conn: ConnId, refusal: Refusal, effects: &mut Vec<Effect>) {
        let reason = refusal.close_reason();
        // The reason goes in a frame: it may not fit into a close frame.
        if matches!(refusal, Refusal::Other(_)) {
            let refused = Refused { about: About::Register, key: Key::default(), refusal, payload: None };
            self.tell(conn, Notice::Refused(Box::new(refused)), effects);
        }
        effects.push(Effect::Note(conn, Note::UidRefused(reason)));
        self.close(conn, reason, effects);
    }

    fn names(&self, members: Vec<room::Listed>) -> Vec<PeerId> {
        let name = |member| match member {
            room::Listed::Here(conn) => self.connections.get(&conn)?.uid().cloned(),
            room::Listed::Far(uid) => Some(uid),
        };
        members.into_iter().filter_map(name).collect()
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason, effects: &mut Vec<Effect>) {
        effects.push(Effect::Close(conn, reason));
        self.remove(conn, effects);
    }

    /// Removes a connection and notifies its partners and its room.
    fn remove(&mut self, conn: ConnId, effects: &mut Vec<Effect>) {
        if self.lose_node(conn, effects) {
            return;
        }
        let Some(connection) = self.connections.get_mut(&conn) else { return };
        let uids = std::mem::take(&mut connection.uids);
        let keys: Vec<Key> = connection.calls.keys().cloned().collect();
        let seat = connection.seat.take();
        self.forget_watcher(conn, effects);
        for uid in &uids {
            if let Some(peer) = self.uids.remove(uid) {
                self.announce(conn, uid, &peer.card, false, effects);
            }
            self.share(Effect::Freed(conn, uid.clone()), effects);
            effects.push(Effect::Note(conn, Note::Left(uid.clone())));
        }
        for key in keys {
            let _ = self.end(conn, &key, None, effects);
        }
        if let (Some(seat), Some(uid)) = (seat, uids.first()) {
            self.leave_room(&seat, uid, effects);
        }
        self.connections.remove(&conn);
    }
}

/// What happens with a request of a single connection that is not possible in its state.
#[derive(Debug)]
enum Misplaced {
    Close(CloseReason),
    Refuse(Refusal),
    /// Clients end their call at any error, so a merely unexpected message gets no answer.
    Ignore,
}

/// Whether a request of a single connection without a call is misplaced: it has to register first, then it may call or
/// join, and in a room it may only send and list.
fn misplaced(connection: &Connection, request: &Request) -> Option<Misplaced> {
    let about = match request {
        Request::Close(_) => return None,
        Request::Reject { about, .. } => Some(*about),
        Request::Register { .. } => Some(About::Register),
        Request::Call { .. } => Some(About::Call),
        Request::Join(_) => Some(About::Join),
        Request::Send { .. } | Request::Members => Some(About::Send),
        _ => None,
    };
    if connection.stands_for.is_some() {
        return None;
    }
    if connection.uids.is_empty() {
        let is_greeting = about == Some(About::Register);
        return (!is_greeting).then_some(Misplaced::Close(CloseReason::InvalidProtocol));
    }
    match (&connection.seat, about) {
        (None, Some(About::Call | About::Join)) | (Some(_), Some(About::Send)) => None,
        (None, _) => Some(Misplaced::Ignore),
        (Some(_), _) => Some(Misplaced::Refuse(Refusal::AlreadyInRoom)),
    }
}

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod invariants;
#[cfg(test)]
mod tests;
