//! Who can be called at other nodes: a copy of their directories, while somebody here watches or lists, and what goes to
//! the nodes that do so.

use std::collections::BTreeMap;

use callbin_protocol::{MAX_LIST_LEN, PeerId};

use super::{Ability, Card, Hub, NodeName, directory::is_news};

/// The most peers of one other node that are known here: more do not fit into a list.
const MOST: usize = MAX_LIST_LEN / 16;

/// What a peer counts beyond its id and its description, in bytes.
const ENTRY: usize = 16;

impl Hub {
    /// Whether other nodes watch who comes and goes here.
    pub fn set_watched(&mut self, is_watched: bool) {
        self.is_watched = is_watched;
    }

    /// The peers that can be called here, for another node. As many as fit into a list.
    pub fn directory(&self) -> Vec<(PeerId, Card)> {
        let (mut peers, mut len) = (Vec::new(), 0);
        for (uid, peer) in &self.uids {
            if !is_news(&peer.card) || !self.may(peer.conn, Ability::Answer) {
                continue;
            }
            len += ENTRY + uid.as_str().len() + peer.card.meta.as_deref().map_or(0, str::len);
            if len > MAX_LIST_LEN {
                break;
            }
            peers.push((uid.clone(), peer.card.clone()));
        }
        peers
    }

    /// The peers that can be called at another node, all of them.
    pub fn set_far_directory(&mut self, node: &NodeName, peers: Vec<(PeerId, Card)>) {
        let peers: BTreeMap<PeerId, Card> = peers.into_iter().take(MOST).collect();
        let before = self.far_directory.insert(node.clone(), peers.clone()).unwrap_or_default();
        for (uid, card) in before.iter().filter(|(uid, _)| !peers.contains_key(*uid)) {
            self.tell_of_far(uid, card, false);
        }
        for (uid, card) in peers.iter().filter(|(uid, card)| before.get(*uid) != Some(card)) {
            self.tell_of_far(uid, card, true);
        }
    }

    /// A peer of another node can be called from now on, or no longer.
    pub fn change_far_directory(&mut self, node: &NodeName, uid: &PeerId, card: Card, is_there: bool) {
        let Some(peers) = self.far_directory.get_mut(node) else { return };
        let is_new = match is_there {
            true if peers.len() < MOST || peers.contains_key(uid) => {
                peers.insert(uid.clone(), card.clone()).as_ref() != Some(&card)
            }
            true => false,
            false => peers.remove(uid).is_some(),
        };
        if is_new {
            self.tell_of_far(uid, &card, is_there);
        }
    }

    /// Nobody here wants to know any more who is at other nodes.
    pub fn forget_far_directories(&mut self) {
        self.forget_far_directory(None);
    }

    /// Nobody knows any more who is at a node, or at all other nodes.
    pub(super) fn forget_far_directory(&mut self, node: Option<&NodeName>) {
        let nodes: Vec<NodeName> =
            self.far_directory.keys().filter(|it| node.is_none_or(|node| *it == node)).cloned().collect();
        for node in nodes {
            for (uid, card) in self.far_directory.remove(&node).unwrap_or_default() {
                self.tell_of_far(&uid, &card, false);
            }
        }
    }

    /// One that has moved here, or to a third node, is still there.
    fn tell_of_far(&mut self, uid: &PeerId, card: &Card, is_there: bool) {
        let is_elsewhere = || self.far_directory.values().any(|peers| peers.contains_key(uid));
        if is_there || !(self.uids.contains_key(uid) || is_elsewhere()) {
            self.tell_watchers(uid, card, is_there);
        }
    }
}
