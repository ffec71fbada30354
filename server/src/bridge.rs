//! Calls between peers of different dialects: who offers, and what one side's signals become for the other. Pure.

mod inbound;

pub use inbound::Inbound;

use crate::{delivery::payload::Side, hub::Start};

/// Who is asked to offer when a call starts, by what the two sides do without being asked.
///
/// The first column is how the caller starts, the second whether the callee prefers to offer ([`Card::leads`]).
/// `None`: nobody has to be asked, because the caller offers by itself.
///
/// [`Card::leads`]: crate::hub::Card::leads
const ASKED: [(Start, bool, Option<Side>); 6] = [
    // A text client after SESSION_OK, an HTTP client with its offer, webrtcsrc with an offer.
    (Start::AtOnce, false, None),
    (Start::AtOnce, true, None),
    // An Ant Media client that publishes or joins.
    (Start::WhenAsked, false, Some(Side::Caller)),
    // Of two Ant Media clients that join, the first one offers. A webrtcsink always prefers to.
    (Start::WhenAsked, true, Some(Side::Callee)),
    // An Ant Media player, webrtcsrc without an offer.
    (Start::Never, false, Some(Side::Callee)),
    (Start::Never, true, Some(Side::Callee)),
];

/// The side to ask for an offer, by the table `ASKED`.
pub fn asked(caller: Start, callee_leads: bool) -> Option<Side> {
    ASKED.iter().find(|(start, leads, _)| *start == caller && *leads == callee_leads).and_then(|row| row.2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_every_combination_once() {
        for start in [Start::AtOnce, Start::WhenAsked, Start::Never] {
            for leads in [false, true] {
                let rows = ASKED.iter().filter(|row| (row.0, row.1) == (start, leads)).count();
                assert_eq!(rows, 1, "{start:?}, {leads}");
            }
        }
    }

    #[test]
    fn a_caller_that_never_offers_is_never_asked() {
        for leads in [false, true] {
            assert_eq!(asked(Start::Never, leads), Some(Side::Callee));
            assert_eq!(asked(Start::AtOnce, leads), None);
        }
    }
}
