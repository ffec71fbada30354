//! Who is in the room and who of them is spoken with, as a pure state machine.
//!
//! The newly joined member offers to each: whom `ROOM_OK` names is older than we are, whoever joins
//! afterwards is younger. Between two members the younger one's offer stands. Each pair's negotiation is a
//! [`Negotiation`](crate::negotiation::Negotiation) of its own; here is only when one begins and ends. The
//! time comes with each input.

use std::{collections::BTreeMap, time::Duration};

use callbin_protocol::{PeerId, Signal};

use crate::{negotiation::Start, patience::Patience};

/// What happened in the room.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// We are in, with these.
    Entered(Vec<PeerId>),
    /// Somebody joined.
    Joined(PeerId),
    /// Somebody left.
    Left(PeerId),
    /// A member says something.
    Said(PeerId, Signal),
    /// A member does not want to speak with us.
    Declined(PeerId),
    /// Our connection to a member is over, though it is still in the room.
    Broken(PeerId),
    /// The pipeline for a member was built anew.
    Rebuilt(PeerId),
    /// A member is unbearable: nothing more of it until it leaves.
    Misbehaved(PeerId),
    /// The time asked for by [`Effect::RetryLater`] has come.
    Retry(PeerId),
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Begin a negotiation.
    Open {
        /// With whom.
        peer: PeerId,
        /// Who offers.
        start: Start,
        /// Whether we give way in a glare.
        polite: bool,
    },
    /// Hand on what the member said.
    Deliver(PeerId, Signal),
    /// End the negotiation or the connection.
    Close(PeerId),
    /// Say that we are full.
    Decline(PeerId),
    /// Try again after a while, longer each time.
    RetryLater(PeerId),
    /// Tell the user.
    Report(PeerId, Report),
}

/// What the user wants to know about a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Report {
    /// It came.
    Joined,
    /// It went.
    Left,
    /// We are full and do not speak with it.
    Full,
    /// It is full and does not speak with us.
    Declined,
    /// It begins again and again, and is shunned from now on.
    Restless,
}

/// A member of the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    /// It was there before us.
    older: bool,
    /// We speak with it.
    open: bool,
    /// We never will.
    shunned: bool,
    /// With its new beginnings: those while we speak with it, and those after it has made us end that.
    patience: Patience,
}

impl Member {
    fn new(older: bool) -> Self {
        Self { older, open: false, shunned: false, patience: Patience::default() }
    }
}

/// The room as we see it.
#[derive(Debug)]
pub struct Room {
    limit: usize,
    members: BTreeMap<PeerId, Member>,
}

impl Room {
    /// We speak with at most `limit` members.
    pub fn new(limit: usize) -> Self {
        Self { limit, members: BTreeMap::new() }
    }

    /// Takes one input at the time `now`.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Entered(peers) => self.entered(peers),
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

    /// Whom we speak with.
    pub fn open(&self) -> usize {
        self.members.values().filter(|member| member.open).count()
    }

    /// Entering again, after the server was gone, begins everything anew. Only who was unbearable still is.
    fn entered(&mut self, peers: Vec<PeerId>) -> Vec<Effect> {
        let mut effects: Vec<Effect> = Vec::new();
        let before = std::mem::take(&mut self.members);
        let shunned = |peer: &PeerId| before.get(peer).is_some_and(|member| member.shunned);
        let (bad, good): (Vec<_>, Vec<_>) = peers.iter().cloned().partition(shunned);
        for (peer, member) in before {
            if member.open {
                effects.push(Effect::Close(peer.clone()));
            }
            if !peers.contains(&peer) {
                effects.push(Effect::Report(peer, Report::Left));
            }
        }
        for peer in bad {
            self.members.insert(peer, Member { shunned: true, ..Member::new(true) });
        }
        for peer in good {
            effects.extend(self.meet(peer, Member::new(true), Start::Offer));
        }
        effects
    }

    fn joined(&mut self, peer: PeerId) -> Vec<Effect> {
        // Whoever joins while it is here has been away, and we were not told in time.
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
            // The server names everybody before they can speak; another server might not.
            None => (false, Member::new(false)),
        };
        if member.shunned {
            return effects;
        }
        if !member.open {
            // After a failure an offer or the request for one begins anew; what else is left of the old
            // connection is no use.
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

    /// Who offered, offers again: a member that was suspended, or whose network was away, may be back. The
    /// other side has only to wait for it.
    fn broken(&mut self, peer: PeerId) -> Vec<Effect> {
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

    /// Begins with a member, or declines.
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
