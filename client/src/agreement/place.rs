//! Places the peer's m-lines on seats.

use callbin_protocol::SdpType;

use super::{Agreement, Change, Disagreement, MAX_SEATS, MAX_SSRCS, Taken, seat::Seat};
use crate::sdp::{Codec, Kind, Remote, Section, Setup};

impl Agreement {
    /// Applies the peer's answer to our offer.
    pub fn take_answer(&mut self, mut answer: Remote) -> Result<Taken, Disagreement> {
        self.choose_as_answered(&mut answer);
        let places = self.places_of_answer(&answer)?;
        let used = places.iter().flatten().count();
        if used == 0 {
            return Err(Disagreement(format!(
                "the peer rejects all that we offer ({}, data channel)",
                self.ours()
            )));
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
        if used > 1 && answer.bundle.is_empty() {
            *self = self.unbundled(answer, &places);
            return Ok(Taken::AsOffer);
        }
        for (index, seat) in self.seats.iter_mut().enumerate() {
            seat.dead = seat.kind == Kind::Data && !places.contains(&Some(index));
        }
        for (section, place) in answer.sections.iter().zip(&places) {
            let seat = place.and_then(|seat| self.seats.get_mut(seat));
            if let (Some(seat), Some(theirs)) = (seat, &section.codec)
                && let Some(chosen) = seat.offered(theirs).cloned()
            {
                seat.codec = chosen;
            }
        }
        self.places = places;
        self.remote = Some(answer);
        Ok(Taken::AsAnswer)
    }

    /// For an answer that does not bundle: webrtcbin 1.22 offers either one transport or one for each m-line. So a new
    /// webrtcbin is shown the answer as if it were an offer, and takes over what our offer announced.
    fn unbundled(&self, answer: Remote, places: &[Option<usize>]) -> Self {
        let mut offer = Remote { kind: SdpType::Offer, ..answer };
        for (section, place) in offer.sections.iter_mut().zip(places) {
            section.rejected |= place.is_none();
            if section.is_media() {
                section.menu = section.codec.iter().cloned().collect();
            }
        }
        let mut it = Self::from_offer(self.wishes, offer);
        for (seat, old) in it.places.clone().into_iter().zip(places) {
            let track = old.and_then(|old| self.seats.get(old)?.track);
            seat.and_then(|seat| it.seats.get_mut(seat)).into_iter().for_each(|seat| seat.track = track);
        }
        let ours = self.transport().map(|ours| (ours.ufrag.clone(), ours.password.clone()));
        Self { setup: self.setup, inherited: ours, controls_ice: true, ..it }
    }

    /// The peer's choice is the first codec of its answer that we offered (RFC 3264, section 7).
    fn choose_as_answered(&self, answer: &mut Remote) {
        for (position, section) in answer.sections.iter_mut().enumerate().filter(|(_, it)| it.is_media()) {
            let named = section.mid.as_ref().and_then(|mid| self.seats.iter().find(|seat| seat.mid == *mid));
            let Some(seat) = named.or_else(|| self.seats.get(position)) else { continue };
            section.codec = section.menu.iter().find(|theirs| seat.offered(theirs).is_some()).cloned();
        }
    }

    /// A later offer keeps the codec of an m-line if it still has it.
    fn choose_as_before(&self, offer: &mut Remote) {
        offer.prefer(self.wishes.codecs);
        for (position, section) in offer.sections.iter_mut().enumerate().filter(|(_, it)| it.is_media()) {
            let seats = self.seats.iter().enumerate();
            let mut served =
                seats.filter(|(index, seat)| seat.serves(section, *index, position)).map(|(_, seat)| seat);
            let same = served.find_map(|seat| section.menu.iter().find(|it| seat.fits(section.kind, it)));
            section.codec = same.cloned().or_else(|| section.codec.take());
        }
    }

    /// The seats that an answer refers to: by mid, or by position if an m-line has no mid.
    pub(super) fn places_of_answer(&self, answer: &Remote) -> Result<Vec<Option<usize>>, Disagreement> {
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

    /// Applies a later offer of the peer. With [`Change::NewConnection`] the agreement stays unchanged.
    pub fn take_offer(&mut self, mut offer: Remote) -> Change {
        self.choose_as_before(&mut offer);
        let Some(restarts_ice) = self.continues(&offer) else { return Change::NewConnection };
        let before = self.seats.len();
        let mut next = self.clone();
        next.places = vec![None; offer.sections.len()];
        // Existing m-lines get their old seats first.
        for same in [true, false] {
            for position in offer.usable().collect::<Vec<_>>() {
                if next.places.get(position).is_some_and(Option::is_none)
                    && !next.replace(&offer, position, same)
                {
                    return Change::NewConnection;
                }
            }
        }
        let ssrcs = next.new_ssrcs(&offer);
        next.ssrcs += ssrcs;
        if next.ssrcs > MAX_SSRCS {
            return Change::NewConnection;
        }
        let renegotiates = next.seats.len() > before || ssrcs > 0;
        next.remote = Some(offer);
        *self = next;
        if renegotiates { Change::Renegotiation { restarts_ice } } else { Change::Flows { restarts_ice } }
    }

    /// The number of SSRCs in a new offer that webrtcbin does not know yet.
    fn new_ssrcs(&self, offer: &Remote) -> usize {
        let old = self.remote.iter().flat_map(|remote| &remote.sections);
        let known: Vec<u32> = old.flat_map(|section| section.ssrcs.iter().copied()).collect();
        let placed = offer.sections.iter().zip(&self.places).filter(|(_, place)| place.is_some());
        placed.flat_map(|(section, _)| &section.ssrcs).filter(|ssrc| !known.contains(ssrc)).count()
    }

    /// `None` if an offer starts a new connection; otherwise, whether it restarts ICE.
    pub(super) fn continues(&self, offer: &Remote) -> Option<bool> {
        let old = self.remote.as_ref()?;
        let transport = |remote: &Remote| {
            let position = remote.bundle.first().copied().or_else(|| remote.usable().next())?;
            remote.transport(position).cloned()
        };
        // An offer that rejects all m-lines needs no transport.
        let Some(new) = transport(offer) else { return Some(false) };
        if self.bundled && offer.is_browser && self.moves_transport(old, offer) {
            return None;
        }
        let old = transport(old)?;
        // With a single m-line, bundling makes no difference.
        let bundled = if offer.usable().count() <= 1 { self.bundled } else { !offer.bundle.is_empty() };
        let restarts = !old.is_same_ice(&new);
        let follows = old.is_same_peer(&new) && bundled == self.bundled && (self.bundled || !restarts);
        follows.then_some(restarts)
    }

    /// Whether another m-line names the bundle's transport. Browsers start a new one if the m-line that named it is gone, or
    /// if a new m-line names it; a different order of the group does not matter.
    pub(super) fn moves_transport(&self, old: &Remote, offer: &Remote) -> bool {
        let mid =
            |remote: &Remote, position: usize| remote.sections.get(position).and_then(|it| it.mid.clone());
        let has = |remote: &Remote, wanted: &Option<String>| {
            remote.bundle.iter().any(|it| mid(remote, *it) == *wanted)
        };
        let before = self.tag(old).map(|tag| mid(old, tag));
        let now = offer.bundle.iter().copied().find(|it| offer.is_usable(*it)).map(|tag| mid(offer, tag));
        match (before, now) {
            (Some(before), Some(now)) => !has(offer, &before) || !has(old, &now),
            (before, now) => before.is_some() != now.is_some(),
        }
    }

    /// Finds a seat for an m-line of a later offer: its old one (`same`), or else a free or new one. `false` if there
    /// is none.
    pub(super) fn replace(&mut self, offer: &Remote, position: usize, same: bool) -> bool {
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
            None if same || self.is_unwanted(section) => {}
            None => return self.bundled && self.place(offer, position),
        }
        true
    }

    /// Whether the m-line has to be rejected: media after a leading data m-line would end the process with webrtcbin
    /// 1.22. A data m-line leads only if we offered no media.
    pub(super) fn is_unwanted(&self, section: &Section) -> bool {
        section.is_media() && self.seats.first().is_some_and(|seat| seat.kind == Kind::Data)
    }

    /// Adds a seat for an m-line of the peer; `false` if that is not possible.
    pub(super) fn place(&mut self, offer: &Remote, position: usize) -> bool {
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

    pub(super) fn add_seat(&mut self, kind: Kind, codec: Codec) -> usize {
        let index = self.seats.len();
        let mid = format!("seat{index}");
        let (menu, own, served, track) = (Vec::new(), None, None, None);
        self.seats.push(Seat { mid, kind, codec, menu, own, served, dead: false, track });
        index
    }

    pub(super) fn put(&mut self, section: &Section, position: usize, seat: usize) {
        if let Some(place) = self.places.get_mut(position) {
            *place = Some(seat);
        }
        if let Some(seat) = self.seats.get_mut(seat) {
            seat.served.clone_from(&section.mid);
        }
    }
}
