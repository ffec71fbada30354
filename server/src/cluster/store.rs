//! What Redis stores and what its script does, as a pure model: the reference for `script.lua`, and the store of the
//! simulation. A test runs the same commands against both.
//!
//! A node has a lease. All its entries are valid as long as the lease is, so renewing them is one command, however many
//! there are. A node that starts over, because its lease has run out, does so as a new *life* with a new number: entries of
//! an earlier life are invalid, and any node may remove them.

use std::{fmt, sync::Arc, time::Duration};

use callbin_protocol::{PeerId, RoomId};

use super::link::Batch;
use crate::{dialect::Dialect, hub::ConnId};

/// One life of a node: its name, and a number that no other life has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    /// `--node-name`.
    pub name: Arc<str>,
    /// The number of the life.
    pub life: u64,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.name, self.life)
    }
}

impl NodeId {
    /// Parses what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (name, life) = text.split_once('/')?;
        Some(Self { name: name.into(), life: u64::from_str_radix(life, 16).ok()? })
    }
}

/// A member of a room, connected to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its uid.
    pub uid: PeerId,
    /// Its node.
    pub node: NodeId,
    /// What it speaks.
    pub dialect: Dialect,
}

/// A registered uid, for a node that enters its room again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// The uid.
    pub uid: PeerId,
    /// Its connection.
    pub conn: ConnId,
    /// What it speaks.
    pub dialect: Dialect,
}

/// The identity of what is no peer, but a stream of a media node: nothing takes it over.
pub const STREAM: &str = "\0stream";

/// A command of a node. Each may be repeated when its answer was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Takes part from now on. `before` is the node's last life, which this one replaces.
    Enter {
        /// The last life.
        before: Option<NodeId>,
    },
    /// Extends the lease.
    Renew {
        /// Whether media nodes are attached to this node.
        has_media: bool,
    },
    /// Removes some entries of a life whose lease has run out.
    Bury(NodeId),
    /// Registers a uid.
    Claim {
        /// The uid.
        uid: PeerId,
        /// Its connection.
        conn: ConnId,
        /// The token's subject: it may take the uid over from another connection with the same one.
        identity: Option<Arc<str>>,
        /// It was registered already, in an earlier life or before the store was emptied: it takes nothing over.
        again: bool,
    },
    /// Frees a uid, and its place in a room.
    Release {
        /// The uid.
        uid: PeerId,
        /// Its connection.
        conn: ConnId,
    },
    /// Where is this uid?
    Find(PeerId),
    /// Joins a room.
    Join {
        /// The room.
        room: RoomId,
        /// The new member.
        own: Own,
        /// The most members.
        most: usize,
        /// The most bytes of their names in a list.
        bytes: usize,
        /// Whether the node needs the members elsewhere: it has no member that knows them.
        lists: bool,
    },
    /// Leaves a room.
    Leave {
        /// The room.
        room: RoomId,
        /// The member.
        uid: PeerId,
        /// Its connection.
        conn: ConnId,
    },
    /// Puts members of the node into their room again, and asks for those of the others.
    Sync {
        /// The room.
        room: RoomId,
        /// The node's members.
        own: Vec<Own>,
        /// Whether members that the answer does not name are gone.
        whole: bool,
    },
    /// Leaves for good: the lease ends now.
    Quit,
    /// Sends to another node's inbox.
    Publish {
        /// The other node.
        to: NodeId,
        /// What is sent.
        batch: Batch,
    },
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// Done, or there was nothing to do.
    Done,
    /// Entered. The store was empty a moment ago: other nodes may have to claim what they had.
    Empty,
    /// The lease is not this life's: it may not change anything.
    Fenced,
    /// Another process has the node's name.
    NameTaken,
    /// Another node has another `--cluster-secret-file`.
    WrongSecret,
    /// Another connection has the uid.
    Taken(NodeId),
    /// The uid is there.
    At(NodeId),
    /// The uid is nowhere.
    Nowhere,
    /// The room has no place left.
    Full,
    /// The store has no memory for what the command adds. Nothing has changed.
    NoMemory,
    /// The store could not carry it out: what it has under this name is not ours.
    Failed(Arc<str>),
    /// More is left to bury.
    More,
    /// The lease is extended. The nodes that are there, and those that can be buried.
    Nodes {
        /// With a lease.
        alive: Vec<NodeId>,
        /// Without.
        dead: Vec<NodeId>,
        /// Those with a lease that have media nodes.
        media: Vec<NodeId>,
        /// The store has no memory for anything new.
        is_full: bool,
    },
    /// How many got what was published.
    Receivers(u64),
}

/// What arrives in a node's inbox.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A peer of another node joined a room.
    Joined(RoomId, Member),
    /// An own peer joined a room that has these members on other nodes, in the order of their joining. `None`: as this node
    /// knows them.
    Entered(RoomId, PeerId, ConnId, Option<Vec<Member>>),
    /// A peer of another node left a room.
    Left(RoomId, PeerId),
    /// The answer to [`Command::Sync`].
    Members(RoomId, Vec<Member>, bool),
    /// A uid was taken over from this connection.
    TakenOver(PeerId, ConnId),
    /// Another connection asks for this connection's uid: ping its peer.
    Probe(PeerId, ConnId),
    /// A life is over.
    Died(NodeId),
    /// An operator closes this connection.
    Kick(PeerId, ConnId),
    /// An operator closes the members of a room.
    Close(RoomId),
    /// Messages of another node.
    Batch(Batch),
}

/// How long nodes have to claim again what they had before the store was emptied.
pub fn again(lease: Duration) -> Duration {
    (lease / 2).min(Duration::from_secs(5))
}

/// Entries removed by one [`Command::Bury`].
pub const BURY: usize = 128;

/// Bytes of a uid in a list: with the space before it.
pub fn name_len(uid: &PeerId) -> usize {
    uid.as_str().len() + 1
}

#[cfg(test)]
pub mod model {
    //! The script's semantics.
    #![allow(missing_docs, reason = "for tests only")]

    use std::collections::{BTreeMap, BTreeSet, HashMap};

    use super::*;

    /// A registered uid.
    #[derive(Debug, Clone)]
    pub struct Entry {
        pub node: NodeId,
        pub conn: ConnId,
        pub identity: Option<Arc<str>>,
        pub room: Option<RoomId>,
    }

    #[derive(Debug, Default)]
    struct Room {
        last: u64,
        members: BTreeMap<u64, (Own, NodeId)>,
    }

    /// All keys.
    #[derive(Debug, Default)]
    pub struct Store {
        nodes: BTreeMap<Arc<str>, NodeId>,
        /// The life, the number of its connection, and until when.
        leases: HashMap<Arc<str>, (u64, u64, Duration)>,
        pub peers: BTreeMap<PeerId, Entry>,
        rooms: BTreeMap<RoomId, Room>,
        pub graves: BTreeSet<NodeId>,
        media: BTreeSet<NodeId>,
        /// There is no memory for anything new.
        pub is_full: bool,
        /// Until when the digest is there, and until when the store counts as empty.
        check: Option<Duration>,
        empty: Option<Duration>,
    }

    impl Store {
        pub fn is_alive(&self, node: &NodeId, now: Duration) -> bool {
            self.leases.get(&node.name).is_some_and(|(life, _, until)| *life == node.life && *until > now)
        }

        fn is_current(&self, node: &NodeId, connection: u64, now: Duration) -> bool {
            let is_last = self.leases.get(&node.name).is_some_and(|(_, last, _)| *last == connection);
            is_last && self.is_alive(node, now)
        }

        pub fn members(&self) -> impl Iterator<Item = (&RoomId, Vec<(PeerId, NodeId)>)> {
            self.rooms.iter().map(|(id, room)| {
                (id, room.members.values().map(|(own, node)| (own.uid.clone(), node.clone())).collect())
            })
        }

        /// Runs a command, and returns the answer and what goes to which inbox.
        pub fn run(
            &mut self,
            by: &NodeId,
            connection: u64,
            command: Command,
            lease: Duration,
            now: Duration,
        ) -> (Reply, Vec<(NodeId, Event)>) {
            let mut out = Vec::new();
            let is_current = self.is_current(by, connection, now);
            let needs_lease = matches!(
                command,
                Command::Renew { .. }
                    | Command::Claim { .. }
                    | Command::Join { .. }
                    | Command::Sync { .. }
                    | Command::Bury(_)
            );
            if needs_lease && !is_current {
                return (Reply::Fenced, out);
            }
            let reply = match command {
                Command::Enter { before } => self.enter(by, connection, before, lease, now, &mut out),
                Command::Renew { has_media } => self.renew(by, (has_media, connection), lease, now),
                Command::Bury(dead) => self.bury(&dead, now, &mut out),
                Command::Claim { uid, conn, identity, again } => {
                    self.claim(by, uid, conn, identity, again, now, &mut out)
                }
                Command::Release { uid, conn } => {
                    if is_current && self.is_at(by, &uid, conn) {
                        self.forget(&uid, &mut out);
                    }
                    Reply::Done
                }
                Command::Find(uid) => match self.peers.get(&uid) {
                    Some(entry) if self.is_alive(&entry.node, now) => Reply::At(entry.node.clone()),
                    _ => Reply::Nowhere,
                },
                Command::Join { room, own, most, bytes, lists } => {
                    self.join(by, room, own, (most, bytes, lists), now, &mut out)
                }
                Command::Leave { room, uid, conn } => {
                    if is_current && self.is_at(by, &uid, conn) {
                        self.leave(&room, &uid, &mut out);
                    }
                    Reply::Done
                }
                Command::Sync { room, own, whole } => self.sync(by, room, own, whole, now, &mut out),
                Command::Quit => {
                    if is_current {
                        self.leases.remove(&by.name);
                    }
                    Reply::Done
                }
                Command::Publish { to, batch } => {
                    out.push((to, Event::Batch(batch)));
                    Reply::Receivers(1)
                }
            };
            (reply, out)
        }

        fn is_at(&self, by: &NodeId, uid: &PeerId, conn: ConnId) -> bool {
            self.peers.get(uid).is_some_and(|entry| entry.node == *by && entry.conn == conn)
        }

        fn enter(
            &mut self,
            by: &NodeId,
            connection: u64,
            before: Option<NodeId>,
            lease: Duration,
            now: Duration,
            out: &mut Vec<(NodeId, Event)>,
        ) -> Reply {
            let lease_of = self.leases.get(&by.name).filter(|(.., until)| *until > now).copied();
            let holder = lease_of.map(|(life, ..)| life);
            let is_ours = |life: u64| life == by.life || before.as_ref().is_some_and(|it| it.life == life);
            if holder.is_some_and(|life| !is_ours(life)) {
                return Reply::NameTaken;
            }
            if lease_of.is_some_and(|(life, last, _)| life == by.life && last > connection) {
                return Reply::Fenced;
            }
            let known = self.nodes.get(&by.name).cloned();
            let is_there = holder == Some(by.life) && known.as_ref() == Some(by);
            if self.is_full && !is_there {
                return Reply::NoMemory;
            }
            if self.check.is_none_or(|until| until <= now) {
                self.empty = Some(now + again(lease));
            }
            self.check = Some(now + lease * 4);
            self.leases.insert(by.name.clone(), (by.life, connection, now + lease));
            if let Some(known) = known.clone().filter(|known| known != by) {
                self.pronounce_dead(&known, out);
            }
            self.nodes.insert(by.name.clone(), by.clone());
            if !is_there && self.empty.is_some_and(|until| until > now) { Reply::Empty } else { Reply::Done }
        }

        fn pronounce_dead(&mut self, dead: &NodeId, out: &mut Vec<(NodeId, Event)>) {
            if self.nodes.get(&dead.name) == Some(dead) {
                self.nodes.remove(&dead.name);
                self.media.remove(dead);
                self.graves.insert(dead.clone());
                out.extend(self.nodes.values().map(|node| (node.clone(), Event::Died(dead.clone()))));
            }
        }

        fn renew(
            &mut self,
            by: &NodeId,
            (has_media, connection): (bool, u64),
            lease: Duration,
            now: Duration,
        ) -> Reply {
            self.leases.insert(by.name.clone(), (by.life, connection, now + lease));
            self.check = Some(now + lease * 4);
            match has_media {
                true => self.media.insert(by.clone()),
                false => self.media.remove(by),
            };
            let (alive, mut dead): (Vec<_>, Vec<_>) =
                self.nodes.values().cloned().partition(|node| self.is_alive(node, now));
            dead.extend(self.graves.iter().cloned());
            let media = alive.iter().filter(|node| self.media.contains(node)).cloned().collect();
            Reply::Nodes { alive, dead, media, is_full: self.is_full }
        }

        fn bury(&mut self, dead: &NodeId, now: Duration, out: &mut Vec<(NodeId, Event)>) -> Reply {
            if self.is_alive(dead, now) {
                return Reply::Done;
            }
            self.pronounce_dead(dead, out);
            let theirs = self.peers.iter().filter(|(_, entry)| entry.node == *dead);
            let some: Vec<PeerId> = theirs.map(|(uid, _)| uid.clone()).take(BURY).collect();
            some.iter().for_each(|uid| self.forget(uid, out));
            if some.len() == BURY {
                return Reply::More;
            }
            self.graves.remove(dead);
            Reply::Done
        }

        #[allow(clippy::too_many_arguments, reason = "the parts of one command")]
        fn claim(
            &mut self,
            by: &NodeId,
            uid: PeerId,
            conn: ConnId,
            identity: Option<Arc<str>>,
            again: bool,
            now: Duration,
            out: &mut Vec<(NodeId, Event)>,
        ) -> Reply {
            if let Some(entry) = self.peers.get(&uid) {
                let (holder, there) = (entry.node.clone(), entry.conn);
                if holder == *by && there == conn {
                    return Reply::Done;
                }
                if self.is_alive(&holder, now) {
                    let is_same = identity.is_some() && entry.identity == identity;
                    if again || !is_same {
                        if !again {
                            out.push((holder.clone(), Event::Probe(uid, there)));
                        }
                        return Reply::Taken(holder);
                    }
                }
            }
            if self.is_full {
                return Reply::NoMemory;
            }
            if let Some(Entry { node, conn, .. }) = self.peers.get(&uid).cloned() {
                if node != *by && self.is_alive(&node, now) {
                    out.push((node, Event::TakenOver(uid.clone(), conn)));
                }
                self.forget(&uid, out);
            }
            self.peers.insert(uid, Entry { node: by.clone(), conn, identity, room: None });
            Reply::Done
        }

        fn forget(&mut self, uid: &PeerId, out: &mut Vec<(NodeId, Event)>) {
            if let Some(room) = self.peers.get(uid).and_then(|entry| entry.room.clone()) {
                self.leave(&room, uid, out);
            }
            self.peers.remove(uid);
        }

        fn join(
            &mut self,
            by: &NodeId,
            id: RoomId,
            own: Own,
            (most, bytes, lists): (usize, usize, bool),
            now: Duration,
            out: &mut Vec<(NodeId, Event)>,
        ) -> Reply {
            if !self.is_at(by, &own.uid, own.conn) {
                return Reply::Nowhere;
            }
            let (uid, conn) = (own.uid.clone(), own.conn);
            let there = self.peers.get(&uid).and_then(|entry| entry.room.clone());
            if there.as_ref() != Some(&id) {
                // What it leaves makes room.
                let fits = !self.is_full || there.is_some();
                if let Some(other) = there {
                    self.leave(&other, &uid, out);
                }
                let members = self.rooms.get(&id).map(|room| &room.members);
                let names: usize = members.into_iter().flatten().map(|(_, it)| name_len(&it.0.uid)).sum();
                if members.map_or(0, BTreeMap::len) >= most || names + name_len(&uid) > bytes {
                    return Reply::Full;
                }
                if !fits {
                    return Reply::NoMemory;
                }
                self.add(by, &id, own, out);
            }
            let others = lists.then(|| self.others(by, &id, now));
            out.push((by.clone(), Event::Entered(id.clone(), uid, conn, others)));
            Reply::Done
        }

        fn add(&mut self, by: &NodeId, id: &RoomId, own: Own, out: &mut Vec<(NodeId, Event)>) {
            let room = self.rooms.entry(id.clone()).or_default();
            let nodes: BTreeSet<NodeId> = room.members.values().map(|(_, node)| node.clone()).collect();
            for node in nodes.into_iter().filter(|node| node != by) {
                let member = Member { uid: own.uid.clone(), node: by.clone(), dialect: own.dialect };
                out.push((node, Event::Joined(id.clone(), member)));
            }
            room.last += 1;
            if let Some(entry) = self.peers.get_mut(&own.uid) {
                entry.room = Some(id.clone());
            }
            room.members.insert(room.last, (own, by.clone()));
        }

        fn leave(&mut self, id: &RoomId, uid: &PeerId, out: &mut Vec<(NodeId, Event)>) {
            let Some(room) = self.rooms.get_mut(id) else { return };
            let Some(seq) = room.members.iter().find(|(_, it)| it.0.uid == *uid).map(|(seq, _)| *seq) else {
                return;
            };
            let home = room.members.remove(&seq).map(|(_, node)| node);
            let nodes: BTreeSet<NodeId> = room.members.values().map(|(_, node)| node.clone()).collect();
            for node in nodes.into_iter().filter(|node| Some(node) != home.as_ref()) {
                out.push((node, Event::Left(id.clone(), uid.clone())));
            }
            if room.members.is_empty() {
                self.rooms.remove(id);
            }
            if let Some(entry) = self.peers.get_mut(uid) {
                entry.room = None;
            }
        }

        fn others(&self, by: &NodeId, id: &RoomId, now: Duration) -> Vec<Member> {
            let members = self.rooms.get(id).into_iter().flat_map(|room| room.members.values());
            let others = members.filter(|(_, node)| node != by && self.is_alive(node, now));
            others
                .map(|(own, node)| Member { uid: own.uid.clone(), node: node.clone(), dialect: own.dialect })
                .collect()
        }

        fn sync(
            &mut self,
            by: &NodeId,
            id: RoomId,
            own: Vec<Own>,
            whole: bool,
            now: Duration,
            out: &mut Vec<(NodeId, Event)>,
        ) -> Reply {
            for it in own {
                let is_out = self.peers.get(&it.uid).is_some_and(|entry| entry.room.is_none());
                if self.is_at(by, &it.uid, it.conn) && is_out {
                    if self.is_full {
                        return Reply::NoMemory;
                    }
                    self.add(by, &id, it, out);
                }
            }
            out.push((by.clone(), Event::Members(id.clone(), self.others(by, &id, now), whole)));
            Reply::Done
        }

        /// `FLUSHALL`.
        pub fn flush(&mut self) {
            *self = Self::default();
        }
    }
}
