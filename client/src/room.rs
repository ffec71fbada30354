//! The members of a room and the connections to them, as a pure state machine.
//!
//! The newly joined member offers to each other member: those that `ROOM_OK` names are older than we are, those that
//! join later are younger. Between two members the younger one's offer stands. Each pair has a
//! [`Negotiation`](crate::negotiation::Negotiation) of its own; this module only decides when one begins and ends. Each
//! input comes with its time.
//!
//! If the server was away, all members enter again, in any order. Connections over which packets come stay meanwhile: the
//! younger member offers a new one, which replaces the old one once it plays. A member that is not back yet is **away**.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use callbin_protocol::{PeerId, Signal};

use crate::{negotiation::Start, patience::Patience};

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// We joined the room.
    Entered {
        /// The members that were there.
        peers: Vec<PeerId>,
        /// Those of an earlier stay from which packets still come.
        alive: BTreeSet<PeerId>,
    },
    /// A member that is away is given up.
    Gone(PeerId),
    /// A member joined.
    Joined(PeerId),
    /// A member left.
    Left(PeerId),
    /// A member sent a signal.
    Said(PeerId, Signal),
    /// A member declined a connection.
    Declined(PeerId),
    /// The connection to a member failed; the member is still in the room.
    Broken(PeerId),
    /// The pipeline for a member was rebuilt.
    Rebuilt(PeerId),
    /// A member misbehaved: it is ignored until it leaves.
    Misbehaved(PeerId),
    /// The delay of [`Effect::RetryLater`] is over.
    Retry(PeerId),
}

/// An effect, to be carried out by the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Start a negotiation.
    Open {
        /// The member.
        peer: PeerId,
        /// Which side offers.
        start: Start,
        /// Whether our offer yields in a glare.
        polite: bool,
    },
    /// Replace the connection to a member by a new one.
    Renew {
        /// The member.
        peer: PeerId,
        /// The member offers, and our offer yields in a glare. Otherwise we offer.
        polite: bool,
    },
    /// Pass the member's signal to its negotiation.
    Deliver(PeerId, Signal),
    /// End the negotiation or the connection.
    Close(PeerId),
    /// Notify the member that we are full.
    Decline(PeerId),
    /// Try again after a delay, which grows each time.
    RetryLater(PeerId),
    /// Report to the user.
    Report(PeerId, Report),
}

/// What is reported about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It joined.
    Joined,
    /// It left.
    Left,
    /// We are full and do not connect to it.
    Full,
    /// It is full and does not connect to us.
    Declined,
    /// It started over too often and is ignored from now on.
    Restless,
}

/// A member of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    /// It joined before us.
    older: bool,
    /// There is a negotiation or connection with it.
    open: bool,
    /// It is ignored until it leaves.
    shunned: bool,
    /// It was connected when the server was lost, and has not come back yet.
    away: bool,
    /// Limits its restarts: rebuilt pipelines, and negotiations that it starts after one has ended.
    patience: Patience,
}

impl Member {
    fn new(older: bool) -> Self {
        Self { older, open: false, shunned: false, away: false, patience: Patience::default() }
    }
}

/// The room and its members.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    members: BTreeMap<PeerId, Member>,
}

impl Room {
    /// A room in which we connect to at most `limit` members.
    pub fn new(limit: usize) -> Self {
        Self { limit, members: BTreeMap::new() }
    }

    /// Handles one input at the time `now`; returns the effects in their order.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Entered { peers, alive } => self.entered(peers, &alive),
            Input::Gone(peer) => {
                if self.is_away(&peer) {
                    self.left(&peer)
                } else {
                    Vec::new()
                }
            }
            Input::Joined(peer) => self.joined(peer),
            Input::Left(peer) => self.left(&peer),
            Input::Said(peer, signal) => self.said(now, peer, signal),
            Input::Declined(peer) => self.ended(&peer, Some(Report::Declined)),
            Input::Rebuilt(peer) => self.rebuilt(now, &peer),
            Input::Broken(peer) => self.broken(peer),
            Input::Misbehaved(peer) => self.misbehaved(&peer),
            Input::Retry(peer) => self.retry(peer),
        }
    }

    /// The number of negotiations and connections.
    pub fn open(&self) -> usize {
        self.members.values().filter(|member| member.open).count()
    }

    /// The members that are away.
    pub fn away(&self) -> impl Iterator<Item = &PeerId> {
        self.members.iter().filter(|(_, member)| member.away).map(|(peer, _)| peer)
    }

    fn is_away(&self, peer: &PeerId) -> bool {
        self.members.get(peer).is_some_and(|member| member.away)
    }

    /// Handles joining. After a lost server connection everything starts over; only connections that live stay until there
    /// are new ones, and members that misbehaved stay ignored.
    fn entered(&mut self, peers: Vec<PeerId>, alive: &BTreeSet<PeerId>) -> Vec<Effect> {
        let mut effects: Vec<Effect> = Vec::new();
        let before = std::mem::take(&mut self.members);
        for (peer, member) in &before {
            let (is_here, lives) = (peers.contains(peer), member.open && alive.contains(peer));
            if lives {
                self.members.insert(peer.clone(), Member { older: is_here, away: !is_here, ..*member });
                continue;
            }
            if member.open {
                effects.push(Effect::Close(peer.clone()));
            }
            if !is_here {
                effects.push(Effect::Report(peer.clone(), Report::Left));
            }
        }
        for peer in peers {
            let (lives, was_shunned) =
                (self.members.contains_key(&peer), before.get(&peer).is_some_and(|member| member.shunned));
            if lives {
                effects.push(Effect::Renew { peer, polite: false });
            } else if was_shunned {
                self.members.insert(peer, Member { shunned: true, ..Member::new(true) });
            } else {
                effects.extend(self.meet(peer, Member::new(true), Start::Offer));
            }
        }
        effects
    }

    fn joined(&mut self, peer: PeerId) -> Vec<Effect> {
        if let Some(member) = self.members.get_mut(&peer).filter(|member| member.away) {
            member.away = false;
            return vec![Effect::Renew { peer, polite: true }];
        }
        // A member that joins twice has been away, and the notice of that was late or lost.
        let mut effects = self.left(&peer);
        effects.push(Effect::Report(peer.clone(), Report::Joined));
        effects.extend(self.meet(peer, Member::new(false), Start::AwaitOffer));
        effects
    }

    fn left(&mut self, peer: &PeerId) -> Vec<Effect> {
        let Some(member) = self.members.remove(peer) else { return Vec::new() };
        let close = member.open.then(|| Effect::Close(peer.clone()));
        close.into_iter().chain([Effect::Report(peer.clone(), Report::Left)]).collect()
    }

    fn said(&mut self, now: Duration, peer: PeerId, signal: Signal) -> Vec<Effect> {
        let mut effects = Vec::new();
        let (known, mut member) = match self.members.get(&peer) {
            Some(member) => (true, *member),
            // Our server announces members before they can send; another server might not.
            None => (false, Member::new(false)),
        };
        if member.shunned || member.away {
            return effects;
        }
        if !member.open {
            // After a failure, an offer or a request for one starts over; other signals belong to the old connection.
            if !matches!(
                signal,
                Signal::OfferRequest | Signal::Sdp { kind: callbin_protocol::SdpType::Offer, .. }
            ) {
                return effects;
            }
            if !known {
                effects.push(Effect::Report(peer.clone(), Report::Joined));
            }
            if self.has_place() && !member.patience.spend(now) {
                effects.extend(self.lose_patience(&peer));
                return effects;
            }
            effects.extend(self.meet(peer.clone(), member, Start::BeCalled));
        }
        if self.members.get(&peer).is_some_and(|member| member.open) {
            effects.push(Effect::Deliver(peer, signal));
        }
        effects
    }

    fn ended(&mut self, peer: &PeerId, report: Option<Report>) -> Vec<Effect> {
        let Some(member) = self.members.get_mut(peer).filter(|member| member.open) else { return Vec::new() };
        member.open = false;
        let report = report.map(|report| Effect::Report(peer.clone(), report));
        [Effect::Close(peer.clone())].into_iter().chain(report).collect()
    }

    /// The side that offered offers again: a member that was suspended or offline may be back. The other side only
    /// waits.
    fn broken(&mut self, peer: PeerId) -> Vec<Effect> {
        if self.is_away(&peer) {
            return self.left(&peer);
        }
        let offers = self.members.get(&peer).is_some_and(|member| member.older);
        let mut effects = self.ended(&peer, None);
        if offers && !effects.is_empty() {
            effects.push(Effect::RetryLater(peer));
        }
        effects
    }

    fn rebuilt(&mut self, now: Duration, peer: &PeerId) -> Vec<Effect> {
        let is_fine = self.members.get_mut(peer).is_none_or(|member| member.patience.spend(now));
        if is_fine { Vec::new() } else { self.lose_patience(peer) }
    }

    fn lose_patience(&mut self, peer: &PeerId) -> Vec<Effect> {
        let mut effects = self.misbehaved(peer);
        effects.push(Effect::Report(peer.clone(), Report::Restless));
        effects
    }

    fn misbehaved(&mut self, peer: &PeerId) -> Vec<Effect> {
        let effects = self.ended(peer, None);
        self.members.get_mut(peer).into_iter().for_each(|member| member.shunned = true);
        effects
    }

    fn retry(&mut self, peer: PeerId) -> Vec<Effect> {
        match self.members.get(&peer) {
            Some(&member) if !member.open && !member.shunned && member.older => {
                self.meet(peer, member, Start::Offer)
            }
            _ => Vec::new(),
        }
    }

    fn has_place(&self) -> bool {
        self.open() < self.limit
    }

    /// Starts a negotiation with a member, or declines.
    fn meet(&mut self, peer: PeerId, member: Member, start: Start) -> Vec<Effect> {
        let open = self.has_place();
        self.members.insert(peer.clone(), Member { open, ..member });
        if open {
            vec![Effect::Open { peer, start, polite: !member.older }]
        } else {
            vec![Effect::Decline(peer.clone()), Effect::Report(peer, Report::Full)]
        }
    }
}

#[cfg(test)]
#[path = "room_tests.rs"]
mod tests;
