//! Calls between peers of different dialects: who offers, and what one side's signals become for the other. Pure.

mod inbound;

pub use inbound::{Inbound, Members};

use crate::{
    delivery::payload::Side,
    hub::{Card, Flow, Refusal, Start},
};

/// Who is asked to offer when a call starts, by what the two sides do without being asked.
///
/// The first column is how the caller starts, the second what the callee does. `None`: nobody has to be asked, because
/// the caller offers by itself.
const ASKED: [(Start, Callee, Option<Side>); 11] = [
    // A text client after SESSION_OK, an HTTP client with its offer, webrtcsrc with an offer.
    (Start::AtOnce, Callee::Offers, None),
    (Start::AtOnce, Callee::Leads, None),
    (Start::AtOnce, Callee::Answers, None),
    // An Ant Media client that publishes or joins.
    (Start::WhenAsked, Callee::Offers, Some(Side::Caller)),
    // Of two Ant Media clients that join, the first one offers. A webrtcsink always prefers to.
    (Start::WhenAsked, Callee::Leads, Some(Side::Callee)),
    (Start::WhenAsked, Callee::Answers, Some(Side::Caller)),
    // A webrtcsink client that produces: it may want to receive from the callee, or to send to it.
    (Start::IfNeeded, Callee::Offers, Some(Side::Callee)),
    (Start::IfNeeded, Callee::Leads, Some(Side::Callee)),
    (Start::IfNeeded, Callee::Answers, Some(Side::Caller)),
    // An Ant Media player, webrtcsrc without an offer. It can't call a peer that only answers.
    (Start::Never, Callee::Offers, Some(Side::Callee)),
    (Start::Never, Callee::Leads, Some(Side::Callee)),
];

/// What a callee does about offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callee {
    /// It offers when it is asked.
    Offers,
    /// It prefers to offer ([`Card::leads`]).
    Leads,
    /// It never offers: it only receives media.
    Answers,
}

impl From<&Card> for Callee {
    fn from(card: &Card) -> Self {
        match (card.flow, card.leads) {
            (Flow::Receives | Flow::Awaits | Flow::None, _) => Self::Answers,
            (Flow::Both | Flow::Sends, true) => Self::Leads,
            (Flow::Both | Flow::Sends, false) => Self::Offers,
        }
    }
}

/// The side to ask for an offer, by the table above.
pub fn asked(caller: Start, callee: &Card) -> Result<Option<Side>, Refusal> {
    let callee = Callee::from(callee);
    let row = ASKED.iter().find(|row| (row.0, row.1) == (caller, callee));
    row.map(|row| row.2).ok_or(Refusal::NobodyOffers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTS: [Start; 4] = [Start::AtOnce, Start::WhenAsked, Start::IfNeeded, Start::Never];

    fn cards() -> impl Iterator<Item = Card> {
        let all = [(false, Flow::Both), (true, Flow::Sends), (false, Flow::Receives)];
        all.into_iter().map(|(leads, flow)| Card { leads, flow, ..Card::default() })
    }

    #[test]
    fn the_table_has_every_combination_once_except_for_two_that_only_answer() {
        for start in STARTS {
            for card in cards() {
                let callee = Callee::from(&card);
                let rows = ASKED.iter().filter(|row| (row.0, row.1) == (start, callee)).count();
                let is_hopeless = (start, callee) == (Start::Never, Callee::Answers);
                assert_eq!(rows, usize::from(!is_hopeless), "{start:?}, {callee:?}");
                assert_eq!(asked(start, &card).is_err(), is_hopeless);
            }
        }
    }

    #[test]
    fn nobody_is_asked_who_never_offers() {
        for card in cards() {
            assert_ne!(asked(Start::Never, &card), Ok(Some(Side::Caller)));
            assert_eq!(asked(Start::AtOnce, &card), Ok(None));
        }
        let receives = Card { flow: Flow::Receives, ..Card::default() };
        for start in STARTS {
            assert_ne!(asked(start, &receives), Ok(Some(Side::Callee)), "{start:?}");
        }
    }
}
