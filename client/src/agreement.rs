//! What two peers have agreed on, and how webrtcbin is kept out of its details. Pure.
//!
//! webrtcbin 1.22 takes one order of m-lines, no changed direction, no ICE restart, and no m-line that comes and goes.
//! Peers do all of that. So webrtcbin has *seats*: m-lines of its own, in an order that it can take, each with all
//! directions that our user wants, and never fewer than before. The peer's m-lines are *placed* on seats. What
//! changes for the peer later is answered from here; webrtcbin hears of it only if a seat is missing.

use callbin_protocol::{Candidate, SdpType};

use crate::sdp::{
    AnswerLine, Answered, Codec, Direction, Fingerprint, Kind, Own, Refused, Remote, Sctp, Section, Setup,
    Shown, ShownLine, Transport, UsedLine, answer, shown,
};

/// Seats of one webrtcbin; a peer that needs more has it built anew.
const MAX_SEATS: usize = 16;
/// M-lines of one kind that are received at the same time.
const MAX_RECEIVED: usize = 4;
/// Our own candidates that are remembered.
const MAX_LOCAL: usize = 64;

/// What our user wants to send and receive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wishes {
    /// Sound.
    pub audio: Direction,
    /// The picture.
    pub video: Direction,
}

/// What two peers have agreed on.
#[derive(Debug, Clone)]
pub struct Agreement {
    wishes: Wishes,
    seats: Vec<Seat>,
    /// webrtcbin has one transport for all seats.
    bundled: bool,
    remote: Option<Remote>,
    /// For each m-line of the peer the seat that serves it.
    places: Vec<Option<usize>>,
    /// Our part in the DTLS handshake, which stays for the whole call (RFC 8842, section 5.5).
    setup: Option<Setup>,
    /// Candidates of our own, with their seat.
    local: Vec<(usize, String)>,
    version: u64,
}

/// One m-line as webrtcbin knows it.
#[derive(Debug, Clone)]
struct Seat {
    mid: String,
    kind: Kind,
    codec: Codec,
    own: Option<Own>,
    /// The peer's mid that it served last.
    served: Option<String>,
    /// The peer refused it when we offered it: webrtcbin has no transport for it.
    dead: bool,
}

/// What is to be done about a new description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing for webrtcbin: other directions, or other m-lines on the same seats.
    Flows {
        /// The peer has new ICE credentials and wants new ones of ours.
        restarts_ice: bool,
    },
    /// webrtcbin has to hear of it: it needs further seats, or new SSRCs come.
    Renegotiation {
        /// As above.
        restarts_ice: bool,
    },
    /// Another peer, or one that this webrtcbin cannot follow.
    NewConnection,
}

/// Why there is no agreement.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Disagreement(pub String);

/// A description for webrtcbin, and what has to be there before it gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// Offer or answer.
    pub kind: SdpType,
    /// The description.
    pub text: String,
    /// All seats for sound and pictures, with their index.
    pub media: Vec<(u32, Kind, Codec)>,
    /// Certificates that the peer may show.
    pub fingerprints: Vec<Fingerprint>,
    /// Payload types of the answer that are not those of our offer: ours, and the peer's.
    pub renumbered: Vec<(u8, u8)>,
}

/// What flows over one seat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flow {
    /// The seat.
    pub seat: usize,
    /// Sound or picture.
    pub kind: Kind,
    /// Our directions.
    pub direction: Direction,
    /// The peer's mid.
    pub mid: String,
    /// What of the codec the peer has agreed to.
    pub codec: Codec,
}

impl Wishes {
    /// Of one kind.
    pub fn of(&self, kind: Kind) -> Direction {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
            Kind::Data => Direction { sends: true, receives: true },
            Kind::Other => Direction::default(),
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
            local: Vec::new(),
            version: 1,
        }
    }

    /// The first step when the peer offers: seats for all that both sides know.
    pub fn from_offer(wishes: Wishes, offer: Remote) -> Self {
        let mut it = Self::new(wishes);
        it.bundled = !offer.bundle.is_empty() || offer.usable().count() == 1;
        let (media, rest): (Vec<_>, Vec<_>) =
            offer.usable().partition(|position| offer.sections.get(*position).is_some_and(Section::is_media));
        if media.is_empty() && it.bundled {
            // RTP on a transport that belongs to a data m-line ends webrtcbin 1.22.
            it.add_seat(Kind::Audio, anchor());
        }
        it.places = vec![None; offer.sections.len()];
        for position in media.into_iter().chain(rest) {
            it.place(&offer, position);
        }
        it.remote = Some(offer);
        it
    }

    /// The first step when we offer: the seats are those that webrtcbin offers in `text`.
    pub fn from_own_offer(wishes: Wishes, text: &str) -> Result<Self, Refused> {
        let mut it = Self::new(wishes);
        for own in Own::parse(text)? {
            let (mid, kind) = (own.mid.clone(), own.kind);
            let codec = own.codec.clone().unwrap_or_default();
            let served = Some(mid.clone());
            it.seats.push(Seat { mid, kind, codec, own: Some(own), served, dead: false });
        }
        Ok(it)
    }

    /// The peer's description in force.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// The peer's answer to our offer.
    pub fn take_answer(&mut self, answer: Remote) -> Result<(), Disagreement> {
        let places = self.places_of_answer(&answer)?;
        let used = places.iter().flatten().count();
        if used == 0 {
            return Err(Disagreement(
                "the peer accepts nothing of our offer (opus, VP8, data channel)".into(),
            ));
        }
        if used > 1 && answer.bundle.is_empty() {
            return Err(Disagreement(
                "the peer accepts several m-lines without a BUNDLE group, which we need".into(),
            ));
        }
        let transport =
            places.iter().position(Option::is_some).and_then(|position| answer.transport(position));
        self.setup = match transport.and_then(|transport| transport.setup) {
            Some(Setup::ActPass) => {
                return Err(Disagreement("the answer says a=setup:actpass, which only an offer may".into()));
            }
            Some(theirs) => Some(theirs.opposite()),
            None => Some(Setup::Passive),
        };
        for (index, seat) in self.seats.iter_mut().enumerate() {
            seat.dead = seat.kind == Kind::Data && !places.contains(&Some(index));
        }
        self.places = places;
        self.remote = Some(answer);
        Ok(())
    }

    /// Which seats an answer means: by mid, or by position where it has none.
    fn places_of_answer(&self, answer: &Remote) -> Result<Vec<Option<usize>>, Disagreement> {
        let other = || Disagreement("the answer has other m-lines than the offer".into());
        if answer.sections.len() != self.seats.len() {
            return Err(other());
        }
        let mut places = Vec::new();
        for (position, section) in answer.sections.iter().enumerate() {
            let seat = match &section.mid {
                Some(mid) => self.seats.iter().position(|seat| seat.mid == *mid).ok_or_else(other)?,
                None => position,
            };
            let fits = self.seats.get(seat).is_some_and(|seat| seat.kind == section.kind);
            places.push((answer.is_usable(position) && fits).then_some(seat));
        }
        Ok(places)
    }

    /// A later offer of the peer's. The agreement is the new one, unless that takes a new connection.
    pub fn take_offer(&mut self, offer: Remote) -> Change {
        let Some(restarts_ice) = self.continues(&offer) else { return Change::NewConnection };
        let before = self.seats.len();
        let mut next = self.clone();
        next.places = vec![None; offer.sections.len()];
        // Existing m-lines keep their seats before others look for one.
        for same in [true, false] {
            for position in offer.usable().collect::<Vec<_>>() {
                if next.places.get(position).is_some_and(Option::is_none)
                    && !next.replace(&offer, position, same)
                {
                    return Change::NewConnection;
                }
            }
        }
        let renegotiates =
            next.seats.len() > before || self.remote.as_ref().is_none_or(|old| has_new_ssrcs(old, &offer));
        next.remote = Some(offer);
        *self = next;
        if renegotiates { Change::Renegotiation { restarts_ice } } else { Change::Flows { restarts_ice } }
    }

    /// Whether an offer is about the same connection, and whether it restarts ICE.
    fn continues(&self, offer: &Remote) -> Option<bool> {
        let old = self.remote.as_ref()?;
        let transport = |remote: &Remote| {
            let position = remote.bundle.first().copied().or_else(|| remote.usable().next())?;
            remote.transport(position).cloned()
        };
        // Of an offer that rejects everything nothing has to be known.
        let Some(new) = transport(offer) else { return Some(false) };
        // When another m-line names the transport, browsers begin with another transport.
        let names = |remote: &Remote, tag: Option<usize>| {
            tag.and_then(|tag| remote.sections.get(tag)).map(|section| section.mid.clone())
        };
        let tag = offer.bundle.iter().copied().find(|position| offer.is_usable(*position));
        if names(old, self.tag(old)) != names(offer, tag) {
            return None;
        }
        let old = transport(old)?;
        let bundled = !offer.bundle.is_empty() || offer.usable().count() <= 1;
        let restarts = !old.is_same_ice(&new);
        let follows = old.is_same_peer(&new) && bundled == self.bundled && (self.bundled || !restarts);
        follows.then_some(restarts)
    }

    /// Finds a seat for an m-line of a later offer: its own (`same`), or else a free or a new one. `false`: none
    /// can be had.
    fn replace(&mut self, offer: &Remote, position: usize, same: bool) -> bool {
        let Some(section) = offer.sections.get(position) else { return true };
        let Some(codec) = &section.codec else { return true };
        let free = |index: &usize| !self.places.contains(&Some(*index));
        let fits = |index: &usize| {
            self.seats.get(*index).is_some_and(|seat| !seat.dead && seat.fits(section.kind, codec))
        };
        let is_own =
            |index: &usize| self.seats.get(*index).is_some_and(|seat| seat.serves(section, *index, position));
        let mut seats = (0..self.seats.len()).filter(free).filter(fits);
        let found = if same { seats.find(is_own) } else { seats.next() };
        match found {
            Some(seat) => self.put(section, position, seat),
            None if same => {}
            None => return self.may_add(section.kind, codec) && self.place(offer, position),
        }
        true
    }

    fn may_add(&self, kind: Kind, codec: &Codec) -> bool {
        let one_data = kind != Kind::Data || !self.seats.iter().any(|seat| seat.kind == Kind::Data);
        self.bundled && one_data && !self.seats.iter().any(|seat| seat.contradicts(kind, codec))
    }

    /// A new seat for an m-line of the peer's; whether there was room.
    fn place(&mut self, offer: &Remote, position: usize) -> bool {
        let Some(section) = offer.sections.get(position).filter(|_| self.seats.len() < MAX_SEATS) else {
            return false;
        };
        let contradicts =
            |seat: &Seat| seat.contradicts(section.kind, section.codec.as_ref().unwrap_or(&seat.codec));
        let second_data = section.kind == Kind::Data && self.seats.iter().any(|seat| seat.kind == Kind::Data);
        if second_data || (self.bundled && self.seats.iter().any(contradicts)) {
            return false;
        }
        let seat = self.add_seat(section.kind, section.codec.clone().unwrap_or_default());
        self.put(section, position, seat);
        true
    }

    fn add_seat(&mut self, kind: Kind, codec: Codec) -> usize {
        let index = self.seats.len();
        let mid = format!("seat{index}");
        self.seats.push(Seat { mid, kind, codec, own: None, served: None, dead: false });
        index
    }

    fn put(&mut self, section: &Section, position: usize, seat: usize) {
        if let Some(place) = self.places.get_mut(position) {
            *place = Some(seat);
        }
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.served.clone_from(&section.mid);
        }
    }

    /// Whether anything can be agreed on; a description that offers media of which nothing is known is none.
    pub fn check(&self) -> Result<(), Disagreement> {
        let Some(remote) = &self.remote else { return Ok(()) };
        let served = |position: usize| self.places.get(position).is_some_and(Option::is_some);
        let media = || remote.sections.iter().enumerate().filter(|(_, it)| it.is_offered_media());
        let no_media = media().next().is_some() && !media().any(|(position, _)| served(position));
        if no_media && self.wishes.any_media() {
            let mut theirs: Vec<&str> = media().flat_map(|(_, it)| &it.codecs).map(String::as_str).collect();
            theirs.dedup();
            let theirs = if theirs.is_empty() { "none that we know".into() } else { theirs.join(", ") };
            return Err(Disagreement(format!(
                "no codec in common: the peer has {theirs}; we have opus, VP8"
            )));
        }
        if self.places.iter().flatten().next().is_none() && !remote.sections.iter().all(|it| it.rejected) {
            return Err(Disagreement(
                "the peer offers nothing that we know: we have opus, VP8 and data channels".into(),
            ));
        }
        Ok(())
    }

    /// The peer's description for webrtcbin.
    pub fn applied(&self) -> Option<Applied> {
        let remote = self.remote.as_ref()?;
        let first = self.places.iter().position(Option::is_some)?;
        let common = remote.transport(first)?;
        let lines = self.seats.iter().enumerate().map(|(index, seat)| self.show(remote, common, index, seat));
        let text = shown(&Shown {
            kind: remote.kind,
            version: self.version,
            bundled: self.bundled,
            ice_lite: remote.ice_lite,
            lines: lines.collect(),
        });
        let is_media = |(_, seat): &(u32, &Seat)| matches!(seat.kind, Kind::Audio | Kind::Video);
        let media = (0u32..).zip(&self.seats).filter(is_media);
        Some(Applied {
            kind: remote.kind,
            text,
            media: media.map(|(index, seat)| (index, seat.kind, seat.codec.clone())).collect(),
            fingerprints: self.fingerprints(remote),
            renumbered: self.renumbered(remote),
        })
    }

    fn show<'a>(
        &'a self,
        remote: &'a Remote,
        common: &'a Transport,
        index: usize,
        seat: &'a Seat,
    ) -> ShownLine<'a> {
        let position = self.places.iter().position(|place| *place == Some(index));
        let section = position.and_then(|position| remote.sections.get(position));
        let transport = match position {
            Some(position) if !self.bundled => remote.transport(position).unwrap_or(common),
            _ => common,
        };
        let wishes = self.wishes.of(seat.kind);
        ShownLine {
            mid: &seat.mid,
            kind: seat.kind,
            codec: &seat.codec,
            direction: Direction { sends: wishes.receives, receives: wishes.sends },
            transport,
            setup: self.shown_setup(remote.kind, transport),
            rtcp_mux: section.is_none_or(|section| section.rtcp_mux),
            ssrcs: section.map_or(&[], |section| &section.ssrcs),
            repairs: section.map_or(&[], |section| &section.repairs),
            sctp: section.map_or_else(|| Some(usual_sctp()), |section| section.sctp),
            rejected: seat.dead,
        }
    }

    /// The part of the peer that makes webrtcbin take ours.
    fn shown_setup(&self, kind: SdpType, transport: &Transport) -> Setup {
        let said =
            transport.setup.unwrap_or(if kind == SdpType::Offer { Setup::ActPass } else { Setup::Active });
        match self.setup {
            Some(ours) if said == Setup::ActPass => ours.opposite(),
            _ => said,
        }
    }

    fn fingerprints(&self, remote: &Remote) -> Vec<Fingerprint> {
        let mut all: Vec<Fingerprint> = Vec::new();
        let used = (0..self.places.len()).filter(|it| self.places.get(*it).is_some_and(Option::is_some));
        for fingerprint in used.filter_map(|it| remote.transport(it)).flat_map(|it| &it.fingerprints) {
            if !all.contains(fingerprint) {
                all.push(fingerprint.clone());
            }
        }
        all
    }

    /// RFC 3264 (section 6.1) lets an answer change payload types: we send with its numbers and receive with ours.
    fn renumbered(&self, remote: &Remote) -> Vec<(u8, u8)> {
        let mut pairs = Vec::new();
        for (section, place) in remote.sections.iter().zip(&self.places) {
            let seat = place.and_then(|seat| self.seats.get(seat)).filter(|_| section.is_media());
            let (Some(seat), Some(theirs)) = (seat, &section.codec) else { continue };
            let repairs = seat.codec.repair.zip(theirs.repair);
            let both = [Some((seat.codec.payload_type, theirs.payload_type)), repairs];
            pairs.extend(both.into_iter().flatten().filter(|(ours, theirs)| ours != theirs));
        }
        pairs.dedup();
        pairs
    }

    /// What webrtcbin has answered: our transport and SSRCs.
    pub fn take_own_answer(&mut self, text: &str) -> Result<(), Disagreement> {
        let all = Own::parse(text).map_err(|refused| Disagreement(refused.to_string()))?;
        if all.len() != self.seats.len() || all.iter().all(|own| own.transport.ufrag.is_empty()) {
            return Err(Disagreement("webrtcbin has other m-lines than it was shown".into()));
        }
        let known = self.transport().cloned();
        for (seat, mut own) in self.seats.iter_mut().zip(all) {
            if let (Some(known), true) = (&known, self.bundled) {
                // It does not know of our ICE restarts.
                own.transport.ufrag.clone_from(&known.ufrag);
                own.transport.password.clone_from(&known.password);
            }
            seat.own = Some(own);
        }
        self.setup = self.setup.or_else(|| self.transport().and_then(|transport| transport.setup));
        Ok(())
    }

    /// Our transport, of the first seat that has one.
    fn transport(&self) -> Option<&Transport> {
        let own = |seat: &'_ Seat| seat.own.is_some();
        let first = self.seats.iter().find(|seat| own(seat))?;
        first.own.as_ref().map(|own| &own.transport)
    }

    /// webrtcbin's own description with the ICE credentials in force.
    pub fn own_for_webrtcbin(&self, text: &str) -> String {
        let Some(transport) = self.transport().filter(|_| self.bundled) else { return text.to_owned() };
        let line = |line: &str| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}\r\n", transport.ufrag),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}\r\n", transport.password),
            _ => format!("{line}\r\n"),
        };
        text.lines().map(line).collect()
    }

    /// ICE was restarted: these are our credentials now.
    pub fn set_credentials(&mut self, ufrag: &str, password: &str) {
        for own in self.seats.iter_mut().filter_map(|seat| seat.own.as_mut()) {
            ufrag.clone_into(&mut own.transport.ufrag);
            password.clone_into(&mut own.transport.password);
        }
    }

    /// Our answer to the peer's offer.
    pub fn answer(&mut self) -> Option<String> {
        self.version += 1;
        let remote = self.remote.as_ref()?;
        let bundle = remote.bundle.iter().filter(|position| self.seat(**position).is_some());
        let mids = bundle.filter_map(|position| remote.sections.get(*position)?.mid.as_deref());
        let lines = remote.sections.iter().enumerate().map(|(position, section)| AnswerLine {
            mid: section.mid.as_deref(),
            line: &section.line,
            used: self.seat(position).and_then(|seat| self.used(remote, position, section, seat)),
        });
        Some(answer(&Answered { version: self.version, bundle: mids.collect(), lines: lines.collect() }))
    }

    fn used<'a>(
        &'a self,
        remote: &Remote,
        position: usize,
        section: &'a Section,
        index: usize,
    ) -> Option<UsedLine<'a>> {
        let seat = self.seats.get(index)?;
        let own = seat.own.as_ref()?;
        // In a bundle the candidates stand in the m-line that names the transport.
        let has_candidates = remote.bundle.is_empty() || self.tag(remote) == Some(position);
        let transport = if self.bundled { 0 } else { index };
        let candidates =
            self.local.iter().filter(|(seat, line)| has_candidates && *seat == transport && !line.is_empty());
        Some(UsedLine {
            kind: seat.kind,
            codec: &seat.codec,
            direction: self.direction(position),
            transport: &own.transport,
            setup: self.setup.filter(|setup| *setup != Setup::ActPass).unwrap_or(Setup::Active),
            rtcp_mux: section.rtcp_mux,
            sources: &own.sources,
            candidates: candidates.map(|(_, line)| line.as_str()).collect(),
            sctp: section.sctp.map(|sctp| Sctp { port: 5000, max_message_size: None, ..sctp }),
        })
    }

    /// An answer that rejects all there is.
    pub fn rejection(&self) -> Option<String> {
        let remote = self.remote.as_ref()?;
        let reject = |section: &'_ Section| (section.mid.clone(), section.line.clone());
        let all: Vec<_> = remote.sections.iter().map(reject).collect();
        let lines = all.iter().map(|(mid, line)| AnswerLine { mid: mid.as_deref(), line, used: None });
        Some(answer(&Answered { version: self.version, bundle: Vec::new(), lines: lines.collect() }))
    }

    fn seat(&self, position: usize) -> Option<usize> {
        self.places.get(position).copied().flatten()
    }

    /// The position of the m-line whose candidates are the bundle's.
    fn tag(&self, remote: &Remote) -> Option<usize> {
        remote.bundle.iter().copied().find(|position| self.seat(*position).is_some())
    }

    /// Our directions on an m-line of the peer's: our picture goes to the first that wants one.
    fn direction(&self, position: usize) -> Direction {
        let Some(remote) = &self.remote else { return Direction::default() };
        let Some(section) = remote.sections.get(position).filter(|_| self.seat(position).is_some()) else {
            return Direction::default();
        };
        let wishes = self.wishes.of(section.kind);
        let same_kind = |it: &(usize, &Section)| it.1.kind == section.kind && self.seat(it.0).is_some();
        let all = || remote.sections.iter().enumerate().filter(same_kind);
        let receiver = all().find(|(_, it)| it.receives).map(|(position, _)| position);
        let rank = all().take_while(|(at, _)| *at < position).filter(|(_, it)| it.sends).count();
        Direction {
            sends: wishes.sends && receiver == Some(position),
            receives: wishes.receives && section.sends && rank < MAX_RECEIVED,
        }
    }

    /// What flows, seat by seat.
    pub fn flows(&self) -> Vec<Flow> {
        let Some(remote) = &self.remote else { return Vec::new() };
        let placed = remote.sections.iter().enumerate().filter(|(_, section)| section.is_media());
        let flow = |(position, section): (usize, &Section)| {
            Some(Flow {
                seat: self.seat(position)?,
                kind: section.kind,
                direction: self.direction(position),
                mid: section.mid.clone().unwrap_or_default(),
                codec: section.codec.clone()?,
            })
        };
        placed.filter_map(flow).collect()
    }

    /// Where webrtcbin wants a candidate of the peer's; `None` if it belongs to a transport that is not in use.
    pub fn remote_candidate(
        &self,
        mid: Option<&str>,
        index: Option<u32>,
        ufrag: Option<&str>,
    ) -> Option<u32> {
        let remote = self.remote.as_ref()?;
        self.candidate_at(remote.position(mid, index)?, ufrag)
    }

    /// As above, for one that stands in the description.
    pub fn candidate_at(&self, position: usize, ufrag: Option<&str>) -> Option<u32> {
        let remote = self.remote.as_ref()?;
        let seat = if !self.bundled {
            self.seat(position)?
        } else if remote.bundle.contains(&position) || self.seat(position).is_some() {
            0
        } else {
            return None;
        };
        let transport = remote.transport(position)?;
        let own = remote.sections.get(position).map(|section| section.transport.ufrag.as_str());
        // A peer that was ready not to bundle has more candidates than it needs.
        let same = ufrag.or(own).is_none_or(|ufrag| ufrag.is_empty() || ufrag == transport.ufrag);
        same.then(|| u32::try_from(seat).ok()).flatten()
    }

    /// A candidate of our own in the peer's terms, and remembers it.
    pub fn local_candidate(&mut self, index: u32, line: String) -> Option<Candidate> {
        let seat = usize::try_from(index).ok()?;
        if self.local.len() < MAX_LOCAL {
            self.local.push((seat, line.clone()));
        }
        let (mid, index) = match &self.remote {
            Some(remote) => {
                let position = match self.tag(remote).filter(|_| self.bundled) {
                    Some(tag) => tag,
                    None => self.places.iter().position(|place| *place == Some(seat))?,
                };
                (remote.sections.get(position)?.mid.clone(), u32::try_from(position).ok())
            }
            None => (self.seats.get(seat).map(|seat| seat.mid.clone()), Some(index)),
        };
        Some(Candidate { candidate: line, sdp_mid: mid, sdp_m_line_index: index })
    }
}

impl Seat {
    /// Whether it carries exactly this.
    fn fits(&self, kind: Kind, codec: &Codec) -> bool {
        let same = self.codec.payload_type == codec.payload_type && self.codec.repair == codec.repair;
        let known = codec.extensions.iter().all(|(id, uri)| {
            self.codec.extensions.iter().all(|(our_id, our_uri)| (our_id == id) == (our_uri == uri))
        });
        self.kind == kind && (kind == Kind::Data || same && known)
    }

    /// Whether it served this m-line before.
    fn serves(&self, section: &Section, index: usize, position: usize) -> bool {
        match &section.mid {
            Some(mid) => self.served.as_ref() == Some(mid),
            None => self.served.is_none() && index == position,
        }
    }

    /// Whether both cannot be on one transport: the same number for two things.
    fn contradicts(&self, kind: Kind, codec: &Codec) -> bool {
        if ![self.kind, kind].iter().all(|kind| matches!(kind, Kind::Audio | Kind::Video)) {
            return false;
        }
        let numbers = |it: &Codec| [Some(it.payload_type), it.repair];
        let shares =
            numbers(&self.codec).into_iter().flatten().any(|number| numbers(codec).contains(&Some(number)));
        let same_numbers = self.codec.payload_type == codec.payload_type && self.codec.repair == codec.repair;
        shares && !(self.kind == kind && same_numbers)
    }
}

impl Section {
    /// Sound or picture that the peer wants to exchange, with whatever codec and protocol.
    fn is_offered_media(&self) -> bool {
        let [name, ..] = &self.line;
        !self.rejected && (self.sends || self.receives) && matches!(name.as_str(), "audio" | "video")
    }
}

fn has_new_ssrcs(old: &Remote, new: &Remote) -> bool {
    let known: Vec<u32> = old.sections.iter().flat_map(|section| section.ssrcs.iter().copied()).collect();
    new.usable()
        .filter_map(|it| new.sections.get(it))
        .flat_map(|it| &it.ssrcs)
        .any(|ssrc| !known.contains(ssrc))
}

/// A codec that no peer's description knows.
fn anchor() -> Codec {
    Codec { payload_type: 127, ..Codec::default() }
}

fn usual_sctp() -> Sctp {
    Sctp { port: 5000, max_message_size: None, old_form: false }
}

#[cfg(test)]
#[path = "agreement_tests.rs"]
mod tests;
