//! What webrtcbin gets of the peer's description, and what is taken from webrtcbin's own.

use callbin_protocol::SdpType;

use super::{Agreement, Applied, Disagreement, seat::Seat};
use crate::sdp::{
    Codec, Direction, Fingerprint, Kind, Own, Remote, Sctp, Section, Setup, Shown, ShownLine, Transport,
    shown,
};

impl Agreement {
    /// Writes the peer's description for webrtcbin.
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
            controls_ice: self.controls_ice,
        })
    }

    pub(super) fn show<'a>(
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
            codecs: self.shown_codecs(remote, seat, section),
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

    /// The codec in use, and after our offer those that the peer may change to. webrtcbin 1.22 takes all payload types from
    /// an answer, whatever its own offer had; with several codecs, its own offer has wrong numbers for retransmissions.
    fn shown_codecs(&self, remote: &Remote, seat: &Seat, section: Option<&Section>) -> Vec<Codec> {
        let Some((section, used)) = section.and_then(|it| Some((it, it.codec.as_ref()?))) else {
            return vec![seat.codec.clone()];
        };
        let others = section.menu.iter().filter(|it| remote.kind == SdpType::Answer && !it.is_same(used));
        let others = others.filter_map(|theirs| Some(seat.offered(theirs)?.agreed(theirs)));
        std::iter::once(seat.agreed(used)).chain(others).collect()
    }

    /// The peer's DTLS role as webrtcbin gets it, so that webrtcbin takes the role in `self.setup`.
    pub(super) fn shown_setup(&self, kind: SdpType, transport: &Transport) -> Setup {
        let said =
            transport.setup.unwrap_or(if kind == SdpType::Offer { Setup::ActPass } else { Setup::Active });
        match self.setup {
            Some(ours) if said == Setup::ActPass => ours.opposite(),
            _ => said,
        }
    }

    pub(super) fn fingerprints(&self, remote: &Remote) -> Vec<Fingerprint> {
        let mut all: Vec<Fingerprint> = Vec::new();
        let used = (0..self.places.len()).filter(|it| self.places.get(*it).is_some_and(Option::is_some));
        for fingerprint in used.filter_map(|it| remote.transport(it)).flat_map(|it| &it.fingerprints) {
            if !all.contains(fingerprint) {
                all.push(fingerprint.clone());
            }
        }
        all
    }

    /// Payload types that an answer changed (RFC 3264, section 6.1): we send with the peer's and receive with ours.
    pub(super) fn renumbered(&self, remote: &Remote) -> Vec<(u8, u8)> {
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

    /// Takes our transport and SSRCs from webrtcbin's answer.
    pub fn take_own_answer(&mut self, text: &str) -> Result<(), Disagreement> {
        let all = Own::parse(text).map_err(|refused| Disagreement(refused.to_string()))?;
        if all.len() != self.seats.len() || all.iter().all(|own| own.transport.ufrag.is_empty()) {
            return Err(Disagreement("webrtcbin answers with other m-lines than offered".into()));
        }
        let known = self.transport().map(|known| (known.ufrag.clone(), known.password.clone()));
        let known =
            if self.bundled { known.or_else(|| self.inherited.take()) } else { self.inherited.clone() };
        for (seat, mut own) in self.seats.iter_mut().zip(all) {
            if let Some((ufrag, password)) = &known {
                // webrtcbin knows neither of ICE restarts nor of what was before it.
                own.transport.ufrag.clone_from(ufrag);
                own.transport.password.clone_from(password);
            }
            seat.own = Some(own);
        }
        self.setup = self.setup.or_else(|| self.transport().and_then(|transport| transport.setup));
        Ok(())
    }

    /// Our transport: that of the first seat that has one.
    pub(super) fn transport(&self) -> Option<&Transport> {
        let own = |seat: &'_ Seat| seat.own.is_some();
        let first = self.seats.iter().find(|seat| own(seat))?;
        first.own.as_ref().map(|own| &own.transport)
    }

    /// webrtcbin's own description with the current ICE credentials.
    pub fn own_for_webrtcbin(&self, text: &str) -> String {
        let is_ours = self.bundled || self.inherited.is_some();
        let Some(transport) = self.transport().filter(|_| is_ours) else { return text.to_owned() };
        let line = |line: &str| match line.split_once(':') {
            Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{}\r\n", transport.ufrag),
            Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{}\r\n", transport.password),
            _ => format!("{line}\r\n"),
        };
        text.lines().map(line).collect()
    }

    /// Sets our credentials after an ICE restart.
    pub fn set_credentials(&mut self, ufrag: &str, password: &str) {
        for own in self.seats.iter_mut().filter_map(|seat| seat.own.as_mut()) {
            ufrag.clone_into(&mut own.transport.ufrag);
            password.clone_into(&mut own.transport.password);
        }
    }
}

fn usual_sctp() -> Sctp {
    Sctp { port: 5000, max_message_size: None, old_form: false }
}
