//! Media nodes: they attach, report what they do, and may be lost.

use std::sync::Arc;

use callbin_protocol::node::{Limits, Reason, Stats, Track};

use super::{
    ConnId, Connection, Effect, Hub, Key, Node, NodeRequest, Note, Notice, Refusal, Use, streams::note,
};
use crate::{close::CloseReason, dialect::Dialect, node_room};

/// An attached media node, for an operator.
#[derive(Debug, Clone, PartialEq)]
pub struct NodeInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its connection.
    pub conn: ConnId,
    /// What it can carry.
    pub limits: Limits,
    /// Its publishers.
    pub streams: usize,
    /// Its viewers.
    pub viewers: usize,
    /// It takes no new streams.
    pub is_draining: bool,
    /// Its last statistics.
    pub stats: Stats,
}

impl Node {
    pub(super) fn is_full(&self, wanted: Use) -> bool {
        let limit = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        match wanted {
            Use::Publish => self.streams >= limit(self.limits.streams),
            Use::Play => self.viewers >= limit(self.limits.viewers),
        }
    }

    /// The share of its limits in use, between 0 and 1.
    pub(super) fn load(&self) -> f64 {
        let share = |used: usize, limit: u32| used as f64 / f64::from(limit.max(1));
        share(self.streams, self.limits.streams).max(share(self.viewers, self.limits.viewers))
    }
}

/// Requests of nodes.
impl Hub {
    /// Carries out a request of a node's connection. Any other connection that sends one is closed, and one that attaches
    /// twice or not at first.
    pub(super) fn node_request(
        &mut self,
        conn: ConnId,
        request: NodeRequest,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Refusal> {
        let is_node = |it: &Connection| it.dialect == Dialect::Node && it.grant.is_node;
        let is_attached = self.nodes.contains_key(&conn);
        let attaches = matches!(request, NodeRequest::Attach { .. });
        if is_attached == attaches || !self.connections.get(&conn).is_some_and(is_node) {
            self.close(conn, CloseReason::InvalidProtocol, effects);
            return Ok(());
        }
        match request {
            NodeRequest::Attach { name, software, limits } => {
                let node = Node { name: name.clone(), limits, ..Node::default() };
                self.nodes.insert(conn, node);
                self.share(Effect::HasMedia(true), effects);
                effects.push(Effect::Note(conn, Note::Attached { node: name, software, limits }));
                self.tell(conn, Notice::Attached, effects);
                self.node_came();
            }
            NodeRequest::Live { key, tracks } => self.set_tracks(conn, &key, Some(tracks), effects),
            NodeRequest::Gone(key) => self.set_tracks(conn, &key, None, effects),
            NodeRequest::Connected(key) => {
                if let Some((member, peer)) = self.link_at(conn, &key) {
                    self.link_connected(member, &peer, effects);
                }
            }
            NodeRequest::End { key, reason, detail } => self.end_by_node(conn, &key, reason, detail, effects),
            NodeRequest::Stats(stats) => self.add_stats(conn, *stats),
            NodeRequest::Drain => {
                if let Some(node) = self.nodes.get_mut(&conn) {
                    node.is_draining = true;
                }
                self.leave_draining_nodes();
            }
        }
        Ok(())
    }

    /// A message about a call that is over, or that publishes nothing, is ignored: the end may cross it.
    fn set_tracks(
        &mut self,
        conn: ConnId,
        key: &Key,
        tracks: Option<Arc<[Track]>>,
        effects: &mut Vec<Effect>,
    ) {
        let Some(leg) = self.leg(conn, key).filter(|leg| leg.media == Some(Use::Publish)) else { return };
        let uid = leg.uid.clone();
        let Some(stream) = self.streams.get_mut(&uid).filter(|stream| stream.node == conn) else { return };
        if stream.tracks.is_some() != tracks.is_some() {
            effects.push(Effect::Note(conn, note(&uid, tracks.is_some(), stream.viewers)));
        }
        let is_live = tracks.is_some();
        stream.tracks = tracks;
        if let Some((member, _)) = self.link_at(conn, key) {
            self.link_live(member, is_live, effects);
        }
    }

    /// The member and the peer of a link of a node.
    fn link_at(&self, conn: ConnId, key: &Key) -> Option<(ConnId, node_room::Peer)> {
        let leg = self.leg(conn, key)?;
        Some((leg.partner, leg.link.clone()?))
    }

    fn end_by_node(
        &mut self,
        conn: ConnId,
        key: &Key,
        reason: Reason,
        detail: Arc<str>,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(leg) = self.leg(conn, key) {
            let (stream, client) = (leg.uid.clone(), leg.peer.clone());
            effects.push(Effect::Note(leg.partner, Note::Ended { stream, client, reason, detail }));
            let _ = self.end(conn, key, Some(Refusal::Node(reason)), effects);
        }
        self.settle(conn, key);
    }

    /// Adds what was counted since its last statistics. A count that is smaller than before has begun again.
    fn add_stats(&mut self, conn: ConnId, stats: Stats) {
        let Some(node) = self.nodes.get_mut(&conn) else { return };
        node.unanswered -= node.ended_offers.grow_older();
        let last = std::mem::replace(&mut node.stats, stats);
        let total = &mut self.media;
        let add = |total: &mut u64, now: u64, last: u64| {
            *total = total.saturating_add(now.checked_sub(last).unwrap_or(now));
        };
        add(&mut total.packets_in, stats.packets_in, last.packets_in);
        add(&mut total.bytes_in, stats.bytes_in, last.bytes_in);
        add(&mut total.packets_out, stats.packets_out, last.packets_out);
        add(&mut total.bytes_out, stats.bytes_out, last.bytes_out);
        add(&mut total.lost_in, stats.lost_in, last.lost_in);
        add(&mut total.lost_out, stats.lost_out, last.lost_out);
        add(&mut total.retransmitted, stats.retransmitted, last.retransmitted);
        add(&mut total.dropped, stats.dropped, last.dropped);
        add(&mut total.key_frame_requests, stats.key_frame_requests, last.key_frame_requests);
    }
}

/// The end of a node, and what operators see.
impl Hub {
    /// A node is gone: its streams are free at once, its calls end step by step. False if it is no node.
    pub(super) fn lose_node(&mut self, conn: ConnId, effects: &mut Vec<Effect>) -> bool {
        if self.lost.contains(&conn) {
            return true;
        }
        let Some(node) = self.nodes.remove(&conn) else { return false };
        let Node { name, streams, viewers, .. } = node;
        effects.push(Effect::Note(conn, Note::Detached { node: name, streams, viewers }));
        for (name, _) in self.streams.extract_if(|_, stream| stream.node == conn) {
            if self.is_shared {
                effects.push(Effect::Freed(conn, name));
            }
        }
        self.share(Effect::HasMedia(!self.nodes.is_empty()), effects);
        self.lost.push_back(conn);
        true
    }

    /// Ends calls of lost nodes, at a cost of about `most`.
    pub(super) fn end_lost(&mut self, most: &mut usize, effects: &mut Vec<Effect>) {
        while *most > 0
            && let Some(conn) = self.lost.front().copied()
        {
            *most -= 1;
            let calls = self.connections.get(&conn).map(|connection| &connection.calls);
            match calls.and_then(|calls| calls.keys().next().cloned()) {
                Some(key) => drop(self.end(conn, &key, Some(Refusal::NodeLost), effects)),
                None => {
                    self.lost.pop_front();
                    self.connections.remove(&conn);
                }
            }
        }
    }

    /// The attached nodes.
    pub fn nodes(&self) -> impl Iterator<Item = NodeInfo<'_>> {
        self.nodes.iter().map(|(conn, node)| NodeInfo {
            name: &node.name,
            conn: *conn,
            limits: node.limits,
            streams: node.streams,
            viewers: node.viewers,
            is_draining: node.is_draining,
            stats: node.stats,
        })
    }

    /// What all nodes have counted since the server started.
    pub fn media(&self) -> Stats {
        self.media
    }
}
