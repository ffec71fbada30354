//! What two peers have negotiated, kept apart from webrtcbin. Pure.
//!
//! webrtcbin 1.22 accepts only a fixed order of m-lines, no changed direction, no ICE restart, and no removed m-line.
//! Peers do all of that. So webrtcbin has *seats*: m-lines of its own, in an order that it accepts, each with all
//! directions that our user wants, and never fewer than before. The peer's m-lines are *placed* on seats. Later changes
//! by the peer are answered here; webrtcbin takes part only if a seat is missing or SSRCs are new.

mod answer;
mod place;
mod seat;
mod show;

use callbin_protocol::SdpType;

use self::seat::{Seat, anchor};
use crate::{
    media::encode::codec::{Format, Formats},
    sdp::{Codec, Direction, Fingerprint, Kind, Own, Refused, Remote, Section, Setup},
};

/// Seats of one webrtcbin; a peer that needs more gets a new webrtcbin.
const MAX_SEATS: usize = 16;
/// M-lines of one kind that are received at once.
const MAX_RECEIVED: usize = 4;
/// SSRCs that later offers may add to one webrtcbin.
const MAX_SSRCS: usize = 256;
/// Local candidates kept for the answer.
const MAX_LOCAL: usize = 64;

/// The directions and codecs that our user wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Audio.
    pub audio: Direction,
    /// Video.
    pub video: Direction,
    /// How many cameras we send, if we send video.
    pub cameras: usize,
    /// The codecs, in order of preference.
    pub codecs: Formats,
}

/// The negotiated state of one connection.
#[derive(Debug, Clone)]
pub struct Agreement {
    wishes: Wishes,
    seats: Vec<Seat>,
    /// Whether webrtcbin has one transport for all seats.
    bundled: bool,
    remote: Option<Remote>,
    /// For each m-line of the peer, its seat.
    places: Vec<Option<usize>>,
    /// Our DTLS role, which stays for the whole call (RFC 8842, section 5.5).
    setup: Option<Setup>,
    /// The ICE user fragment and password that our next webrtcbin has to use; without a bundle, for each of its transports.
    inherited: Option<(String, String)>,
    /// Our ICE agent controls, because our offer was the first (RFC 8445, section 6.1.1), and webrtcbin does not know of it.
    controls_ice: bool,
    /// Local candidates, with their seat.
    local: Vec<(usize, String)>,
    /// SSRCs that later offers added. webrtcbin keeps all of them.
    ssrcs: usize,
    version: u64,
}

/// What a new offer of the peer requires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing of webrtcbin: directions changed, or other m-lines are on the same seats.
    Flows {
        /// The peer has new ICE credentials and expects new ones of ours.
        restarts_ice: bool,
    },
    /// A further offer for webrtcbin: it needs more seats, or SSRCs are new.
    Renegotiation {
        /// As above.
        restarts_ice: bool,
    },
    /// A new webrtcbin: the peer or its transport is another one, or this webrtcbin cannot follow the change.
    NewConnection,
}

/// What becomes of an answer of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// webrtcbin is shown the answer.
    AsAnswer,
    /// The peer does not bundle: a new webrtcbin is shown the answer as an offer.
    AsOffer,
}

/// Why the negotiation fails, as text for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Disagreement(pub String);

/// A description for webrtcbin, and what it needs first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Offer or answer.
    pub kind: SdpType,
    /// The description.
    pub text: String,
    /// All seats for audio and video, with their index.
    pub media: Vec<(u32, Kind, Codec)>,
    /// Fingerprints of the certificates that the peer may present.
    pub fingerprints: Vec<Fingerprint>,
    /// Payload types that the answer changed: ours, and the peer's.
    pub renumbered: Vec<(u8, u8)>,
    /// Whether our ICE agent controls, although this is an offer.
    pub controls_ice: bool,
}

/// The media on one seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The seat.
    pub seat: usize,
    /// Audio or video.
    pub kind: Kind,
    /// Our directions.
    pub direction: Direction,
    /// The peer's mid.
    pub mid: String,
    /// Which of our tracks of this kind we send, if we send.
    pub track: Option<usize>,
    /// The codec with the options that both sides support, and our payload types.
    pub codec: Codec,
}

impl Wishes {
    /// The wanted directions for one kind.
    pub fn of(&self, kind: Kind) -> Direction {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            Kind::Data => Direction { sends: true, receives: true },
            Kind::Other => Direction::default(),
        }
    }

    /// How many tracks of a kind we send.
    fn tracks(&self, kind: Kind) -> usize {
        match kind {
            _ if !self.of(kind).sends => 0,
            Kind::Video => self.cameras,
            Kind::Audio => 1,
            Kind::Data | Kind::Other => 0,
        }
    }

    fn any_media(&self) -> bool {
        [self.audio, self.video].iter().any(|it| it.sends || it.receives)
    }
}

impl Agreement {
    fn new(wishes: Wishes) -> Self {
        Self {
            wishes,
            seats: Vec::new(),
            bundled: true,
            remote: None,
            places: Vec::new(),
            setup: None,
            inherited: None,
            controls_ice: false,
            local: Vec::new(),
            ssrcs: 0,
            version: 1,
        }
    }

    /// Starts with an offer of the peer: a seat for each m-line that both sides support.
    pub fn from_offer(wishes: Wishes, mut offer: Remote) -> Self {
        let mut it = Self::new(wishes);
        offer.prefer(wishes.codecs);
        it.bundled = !offer.bundle.is_empty() || offer.usable().count() == 1;
        let (media, rest): (Vec<_>, Vec<_>) =
            offer.usable().partition(|position| offer.sections.get(*position).is_some_and(Section::is_media));
        if media.is_empty() && it.bundled {
            // RTP on the transport of a leading data m-line ends the process with webrtcbin 1.22.
            it.add_seat(Kind::Audio, anchor());
        }
        it.places = vec![None; offer.sections.len()];
        for position in media.into_iter().chain(rest) {
            it.place(&offer, position);
        }
        it.remote = Some(offer);
        it
    }

    /// Whether the peer's connection is still that of `old`, with another transport.
    pub fn follows(&self, old: &Self) -> bool {
        self.remote.as_ref().zip(old.remote.as_ref()).is_some_and(|(new, old)| new.is_same_connection(old))
    }

    /// Takes over what stays if the peer has only replaced its transport: our DTLS role and, without an ICE restart, our ICE
    /// credentials. Firefox refuses others.
    #[must_use]
    pub fn after(self, old: &Self) -> Self {
        let used = |it: &Self| {
            let remote = it.remote.as_ref()?;
            remote.usable().next().and_then(|first| remote.transport(first).cloned())
        };
        let same_ice = used(&self).zip(used(old)).is_some_and(|(new, old)| new.is_same_ice(&old));
        let ours = old.transport().filter(|_| same_ice);
        let ours = ours.map(|ours| (ours.ufrag.clone(), ours.password.clone()));
        // No answer may have come from `old` itself.
        let inherited = ours.or_else(|| old.inherited.clone().filter(|_| same_ice));
        Self { setup: old.setup, inherited, ..self }
    }

    /// Starts with our own offer: the seats are the m-lines of webrtcbin's offer `text`.
    pub fn from_own_offer(wishes: Wishes, text: &str) -> Result<Self, Refused> {
        let mut it = Self::new(wishes);
        for own in Own::parse(text)? {
            let (mid, kind) = (own.mid.clone(), own.kind);
            // webrtcbin knows one codec only. What the others share with it is taken from there.
            let first = own.codec.clone().unwrap_or_default();
            let menu: Vec<Codec> = wishes.codecs.of(kind).map(|format| offered(format, &first)).collect();
            let codec = menu.first().cloned().unwrap_or(first);
            let served = Some(mid.clone());
            let track = Some(it.seats.iter().filter(|seat| seat.kind == kind).count());
            it.seats.push(Seat { mid, kind, codec, menu, own: Some(own), served, dead: false, track });
        }
        Ok(it)
    }

    /// The codecs that we have, for messages.
    fn ours(&self) -> String {
        self.wishes.codecs.names()
    }

    /// The peer's current description.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Fails if no m-line can be used (unless all are rejected), or if media are offered and wanted but none of their
    /// codecs is supported.
    pub fn check(&self) -> Result<(), Disagreement> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let served = |position: usize| self.places.get(position).is_some_and(Option::is_some);
        let media = || remote.sections.iter().enumerate().filter(|(_, it)| it.is_offered_media());
        let no_media = media().next().is_some() && !media().any(|(position, _)| served(position));
        if no_media && self.wishes.any_media() {
            let mut theirs: Vec<&str> = media().flat_map(|(_, it)| &it.codecs).map(String::as_str).collect();
            theirs.dedup();
            let theirs = if theirs.is_empty() { "none that we recognise".into() } else { theirs.join(", ") };
            return Err(Disagreement(format!(
                "no codec in common: the peer has {theirs}; we have {}",
                self.ours()
            )));
        }
        if self.places.iter().flatten().next().is_none() && !remote.sections.iter().all(|it| it.rejected) {
            return Err(Disagreement(format!(
                "the peer offers nothing that we support: we have {} and data channels",
                self.ours()
            )));
        }
        Ok(())
    }

    fn seat(&self, position: usize) -> Option<usize> {
        self.places.get(position).copied().flatten()
    }

    /// The position of the m-line whose candidates are those of the bundle.
    fn tag(&self, remote: &Remote) -> Option<usize> {
        remote.bundle.iter().copied().find(|position| self.seat(*position).is_some())
    }

    /// Our directions on an m-line of the peer.
    fn direction(&self, position: usize) -> Direction {
        let Some(remote) = &self.remote else { return Direction::default() };
        let Some(section) = remote.sections.get(position).filter(|_| self.seat(position).is_some()) else {
            return Direction::default();
        };
        let wishes = self.wishes.of(section.kind);
        let same_kind = |it: &(usize, &Section)| it.1.kind == section.kind && self.seat(it.0).is_some();
        let all = || remote.sections.iter().enumerate().filter(same_kind);
        let rank = all().take_while(|(at, _)| *at < position).filter(|(_, it)| it.sends).count();
        Direction {
            sends: wishes.sends
                && (section.kind == Kind::Data && section.receives || self.track(position).is_some()),
            receives: wishes.receives && section.sends && rank < MAX_RECEIVED,
        }
    }

    /// Which of our tracks an m-line of the peer carries. In our own offer each m-line has its track; in an offer of the
    /// peer, the m-lines of a kind that it wants to receive on take our tracks in order.
    fn track(&self, position: usize) -> Option<usize> {
        let remote = self.remote.as_ref()?;
        let kind = remote.sections.get(position)?.kind;
        let count = self.wishes.tracks(kind);
        let receives = |(_, section): &(usize, &Section)| section.kind == kind && section.receives;
        let all = remote.sections.iter().enumerate().filter(receives);
        let seats = all.filter_map(|(position, _)| Some((position, self.seats.get(self.seat(position)?)?)));
        let fixed = |seat: &Seat| seat.track.filter(|track| *track < count);
        let mut taken: Vec<usize> = seats.clone().filter_map(|(_, seat)| fixed(seat)).collect();
        for (at, seat) in seats {
            let track = fixed(seat).or_else(|| (0..count).find(|track| !taken.contains(track)));
            if at == position {
                return track;
            }
            taken.extend(track);
        }
        None
    }

    /// Whether the peer has an m-line for data channels that we serve.
    pub fn has_data(&self) -> bool {
        let sections = self.remote.iter().flat_map(|remote| &remote.sections).enumerate();
        let mut data = sections.filter(|(_, section)| section.kind == Kind::Data && !section.rejected);
        data.any(|(position, _)| self.seat(position).is_some())
    }

    /// The media of all placed m-lines.
    pub fn flows(&self) -> Vec<Flow> {
        let Some(remote) = &self.remote else { return Vec::new() };
        let placed = remote.sections.iter().enumerate().filter(|(_, section)| section.is_media());
        let flow = |(position, section): (usize, &Section)| {
            let seat = self.seat(position)?;
            Some(Flow {
                seat,
                kind: section.kind,
                direction: self.direction(position),
                mid: section.mid.clone().unwrap_or_default(),
                track: self.track(position),
                codec: self.seats.get(seat)?.codec.agreed(section.codec.as_ref()?),
            })
        };
        placed.filter_map(flow).collect()
    }
}

/// A codec of our offer, with the feedback and extensions of webrtcbin's.
fn offered(format: Format, webrtcbins: &Codec) -> Codec {
    let Codec { feedback, extensions, .. } = webrtcbins.clone();
    Codec { feedback, extensions, ..Codec::ours(format) }
}

impl Section {
    /// Audio or video that the peer wants to exchange, with any codec or protocol.
    fn is_offered_media(&self) -> bool {
        let [name, ..] = &self.line;
        !self.rejected && (self.sends || self.receives) && matches!(name.as_str(), "audio" | "video")
    }
}

#[cfg(test)]
mod tests;
