//! How much each owner uses, here and at other nodes.
//!
//! Sessions and rooms count for all nodes together. Each node counts those that began there, and tells the others of owners
//! that use much of a limit. So the total is exact up to what an owner may use of a node before that.

use std::collections::HashMap;

use super::{ConnId, Connection, Hub, NodeName, Owner, Rules, Use};

/// The part of a limit from which the other nodes have to know.
const HEAVY: usize = 16;

/// The most owners that one node tells of.
const MOST: usize = 1024;

/// The sessions, rooms, watching connections, published and played streams of one owner.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Usage {
    pub(super) sessions: usize,
    pub(super) rooms: usize,
    pub(super) watchers: usize,
    pub(super) streams: usize,
    pub(super) viewers: usize,
}

impl Usage {
    pub(super) fn of(&mut self, media: Use) -> &mut usize {
        match media {
            Use::Publish => &mut self.streams,
            Use::Play => &mut self.viewers,
        }
    }

    fn share(&self) -> Share {
        Share { sessions: self.sessions, rooms: self.rooms }
    }
}

/// What an owner has at one node, of what counts for all nodes together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Its sessions.
    pub sessions: usize,
    /// Its rooms.
    pub rooms: usize,
}

impl Hub {
    pub(super) fn owners(&self, conn: ConnId) -> Vec<Owner> {
        self.connections.get(&conn).map(Connection::owners).unwrap_or_default()
    }

    pub(super) fn is_any_at(&self, owners: &[Owner], limit: usize, used: impl Fn(&Usage) -> usize) -> bool {
        owners.iter().any(|owner| self.usage.get(owner).map_or(0, &used) >= scaled(limit, owner))
    }

    /// Whether an owner has as many sessions as it may have, at all nodes together.
    pub(super) fn has_all_sessions(&self, owners: &[Owner]) -> bool {
        self.has_all(owners, self.rules.max_sessions, |share| share.sessions)
    }

    /// The same for rooms.
    pub(super) fn has_all_rooms(&self, owners: &[Owner]) -> bool {
        self.has_all(owners, self.rules.max_rooms, |share| share.rooms)
    }

    fn has_all(&self, owners: &[Owner], limit: usize, used: impl Fn(&Share) -> usize) -> bool {
        let total = |owner: &Owner| {
            let here = self.usage.get(owner).map(|usage| used(&usage.share()));
            let far = self.far_usage.values().filter_map(|owners| owners.get(owner)).map(&used);
            far.fold(here.unwrap_or_default(), usize::saturating_add)
        };
        owners.iter().any(|owner| total(owner) >= scaled(limit, owner))
    }

    pub(super) fn count(&mut self, owners: &[Owner], change: impl Fn(&mut Usage)) {
        for owner in owners {
            let usage = self.usage.entry(owner.clone()).or_default();
            change(usage);
            match self.is_shared && is_heavy(&self.rules, owner, usage.share()) {
                true => drop(self.heavy.insert(owner.clone())),
                false => drop(self.heavy.remove(owner)),
            }
            if *usage == Usage::default() {
                self.usage.remove(owner);
            }
        }
    }

    /// What other nodes have to know of the owners here.
    pub fn heavy_owners(&self) -> Vec<(Owner, Share)> {
        let shares =
            self.heavy.iter().filter_map(|owner| Some((owner.clone(), self.usage.get(owner)?.share())));
        shares.take(MOST).collect()
    }

    /// What another node has to say of its owners.
    pub fn set_far_usage(&mut self, node: &NodeName, owners: Vec<(Owner, Share)>) {
        match owners.is_empty() {
            true => drop(self.far_usage.remove(node)),
            false => drop(
                self.far_usage.insert(node.clone(), owners.into_iter().take(MOST).collect::<HashMap<_, _>>()),
            ),
        }
    }

    /// A node, or all other nodes, are gone.
    pub(super) fn forget_far_usage(&mut self, node: Option<&NodeName>) {
        self.far_usage.retain(|it, _| node.is_some_and(|node| it != node));
    }
}

fn scaled(limit: usize, owner: &Owner) -> usize {
    limit.saturating_mul(owner.scale() as usize)
}

fn is_heavy(rules: &Rules, owner: &Owner, share: Share) -> bool {
    let is_much = |used: usize, limit| used > 0 && used >= scaled(limit, owner) / HEAVY;
    is_much(share.sessions, rules.max_sessions) || is_much(share.rooms, rules.max_rooms)
}
