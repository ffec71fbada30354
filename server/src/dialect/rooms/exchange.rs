//! Whom a signal without an address is for.

use std::collections::VecDeque;

use callbin_protocol::{PeerId, Signal};

/// The most unanswered offers that are remembered.
const MAX_OFFERS: usize = 64;

/// The offers that the client got and may still answer, and whom it negotiates with.
///
/// A client of the document sends all its signals to the room. Those of its own dialect get all of them, as the document
/// says. The others each negotiate with one peer at a time, and must not get the answer to another one's offer.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// Who offered and got no answer yet, the oldest first.
    offers: VecDeque<PeerId>,
    partner: Partner,
}

/// The members of other dialects that get a signal to the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Others {
    /// All of them.
    All,
    /// This one, if it is one of them.
    One(PeerId),
    /// None of them: an answer to nothing.
    None,
}

#[derive(Debug, Default)]
enum Partner {
    /// The client has sent no description yet.
    #[default]
    None,
    /// It offered to all.
    All,
    /// It answered this member.
    One(PeerId),
}

impl Exchange {
    /// The client got an offer.
    pub(super) fn got_offer(&mut self, from: &PeerId) {
        self.forget(from);
        if self.offers.len() == MAX_OFFERS {
            self.offers.pop_front();
        }
        self.offers.push_back(from.clone());
    }

    /// The client sent a signal to one member.
    pub(super) fn sent_to(&mut self, member: &PeerId, signal: &Signal) {
        if signal.is_answer() {
            self.forget(member);
        }
    }

    /// The client sent a signal to the room.
    ///
    /// An answer is one to the oldest offer; candidates belong to the last description, or to the answer to come.
    pub(super) fn sent_to_all(&mut self, signal: &Signal) -> Others {
        let is_answer = signal.is_answer();
        if signal.is_offer() {
            self.partner = Partner::All;
        } else if is_answer && let Some(member) = self.offers.pop_front() {
            self.partner = Partner::One(member);
        }
        match &self.partner {
            Partner::One(member) => Others::One(member.clone()),
            _ if is_answer => Others::None,
            Partner::All => Others::All,
            Partner::None => self.offers.front().cloned().map_or(Others::All, Others::One),
        }
    }

    /// A member left. It stays the partner until the next description: nobody else gets what is meant for it.
    pub(super) fn left(&mut self, member: &PeerId) {
        self.forget(member);
    }

    fn forget(&mut self, member: &PeerId) {
        self.offers.retain(|other| other != member);
    }
}

#[cfg(test)]
mod tests {
    use callbin_protocol::{Candidate, SdpType};

    use super::*;

    fn id(name: &str) -> PeerId {
        PeerId::new(name).unwrap()
    }

    fn one(name: &str) -> Others {
        Others::One(id(name))
    }

    fn sdp(kind: SdpType) -> Signal {
        Signal::Sdp { kind, sdp: "v=0".into() }
    }

    fn ice() -> Signal {
        Signal::Ice(Candidate::default())
    }

    #[test]
    fn answers_go_to_those_who_offered_in_their_order() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.sent_to_all(&ice()), Others::All, "nobody offered");
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), Others::None, "to nothing");
        for name in ["a", "b", "a", "c"] {
            exchange.got_offer(&id(name));
        }
        assert_eq!(exchange.sent_to_all(&ice()), one("b"), "it belongs to the answer to come");
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), one("b"), "a has offered anew");
        assert_eq!(exchange.sent_to_all(&ice()), one("b"));
        exchange.left(&id("a"));
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), one("c"));
        assert_eq!(exchange.sent_to_all(&ice()), one("c"));
        exchange.left(&id("c"));
        assert_eq!(exchange.sent_to_all(&ice()), one("c"), "for nobody else");
    }

    #[test]
    fn an_offer_to_all_has_candidates_for_all() {
        let mut exchange = Exchange::default();
        exchange.got_offer(&id("a"));
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Offer)), Others::All);
        assert_eq!(exchange.sent_to_all(&ice()), Others::All);
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), one("a"));
        assert_eq!(exchange.sent_to_all(&ice()), one("a"));
    }

    #[test]
    fn an_addressed_answer_is_an_answer() {
        let mut exchange = Exchange::default();
        exchange.got_offer(&id("a"));
        exchange.got_offer(&id("b"));
        exchange.sent_to(&id("a"), &ice());
        exchange.sent_to(&id("a"), &sdp(SdpType::Answer));
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), one("b"));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut exchange = Exchange::default();
        for number in 0..1000 {
            exchange.got_offer(&id(&number.to_string()));
        }
        assert_eq!(exchange.offers.len(), MAX_OFFERS);
        assert_eq!(exchange.sent_to_all(&sdp(SdpType::Answer)), one(&(1000 - MAX_OFFERS).to_string()));
    }
}
