//! What the engine keeps of one peer.

use std::time::{Duration, Instant};

use callbin_protocol::PeerId;

use crate::{
    healing::Healing,
    negotiation::{Effect, Negotiation},
    peer::{Certificate, Lasting, Peer, Reaper},
    view::Seat,
};

/// One peer.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) uid: Option<PeerId>,
    pub(super) negotiation: Negotiation,
    pub(super) generation: u64,
    pub(super) peer: Option<Peer>,
    /// The peer's place in the view; it is freed when dropped.
    pub(super) seat: Option<Seat>,
    /// Since when the present pipeline has been connected.
    pub(super) up: Option<Instant>,
    /// The pipeline before this one. It plays until this one does, in case that its path comes back.
    pub(super) former: Option<Former>,
    /// Heals a lost path, if the peer can do that.
    pub(super) healing: Option<Healing>,
    /// Since when the peer has been connected, whatever became of its path.
    pub(super) connected: Option<Instant>,
    /// When its statistics are reported next, while it is connected.
    pub(super) next_stats: Option<Instant>,
    /// When to look next whether pictures come, while it is connected; and whether the last event said that none do.
    pub(super) next_picture: Option<Instant>,
    pub(super) is_stale: bool,
    /// Texts that wait for a data channel.
    pub(super) to_say: Vec<String>,
    pub(super) data_open: bool,
    /// Data channels that the next pipeline takes over from the last one.
    pub(super) channels: Vec<Lasting>,
    /// The certificate that the next pipeline takes over from the last one.
    pub(super) certificate: Option<Certificate>,
    /// Effects that wait for the source, or for ICE servers.
    pub(super) waiting: Vec<Effect>,
}

/// A pipeline that is about to be replaced.
#[derive(Debug)]
pub(super) struct Former {
    pub(super) peer: Peer,
    pub(super) seat: Option<Seat>,
}

impl Slot {
    /// A peer without a pipeline.
    pub(super) fn new(uid: Option<PeerId>, negotiation: Negotiation, generation: u64) -> Self {
        Self {
            uid,
            negotiation,
            generation,
            peer: None,
            seat: None,
            up: None,
            former: None,
            healing: None,
            connected: None,
            next_stats: None,
            next_picture: None,
            is_stale: false,
            to_say: Vec::new(),
            data_open: false,
            channels: Vec::new(),
            certificate: None,
            waiting: Vec::new(),
        }
    }

    pub(super) fn say_what_waits(&mut self) {
        let Some(peer) = self.peer.as_ref().filter(|peer| peer.is_verified()) else { return };
        self.to_say.retain(|text| !peer.say(text));
    }

    /// The pipeline whose media count: the present one once it is connected, before that the one before it.
    pub(super) fn shown(&self) -> Option<&Peer> {
        let former = self.former.as_ref().filter(|_| self.up.is_none()).map(|former| &former.peer);
        former.or(self.peer.as_ref())
    }

    pub(super) fn shown_mut(&mut self) -> Option<&mut Peer> {
        let former = self.former.as_mut().filter(|_| self.up.is_none()).map(|former| &mut former.peer);
        former.or(self.peer.as_mut())
    }

    pub(super) fn shown_seat(&self) -> Option<&Seat> {
        let former = self.former.as_ref().filter(|_| self.up.is_none());
        former.map_or(self.seat.as_ref(), |former| former.seat.as_ref())
    }

    pub(super) fn forget_former(&mut self, reaper: &Reaper) {
        if let Some(former) = self.former.take() {
            // The call goes on.
            former.peer.close(reaper, false);
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.healing.is_some() && self.connected.is_some()
    }

    /// The time since the last packet of the peer; `None` for a peer that sends no media, whose silence is normal.
    pub(super) fn telling_silence(&self) -> Option<Duration> {
        let peer = self.shown()?;
        peer.receives().then(|| peer.meter().silence())
    }
}
