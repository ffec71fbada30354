//! One direction of a call between two dialects, at its receiver.

use std::vec;

use callbin_protocol::{Candidate, Signal};

/// The most candidates kept until their description comes. A browser on a machine with many addresses gathers some dozens.
const MAX_HELD: usize = 256;

/// The longest candidate that is kept, in bytes. The longest of a browser has some 200.
const MAX_HELD_LEN: usize = 4096;

/// The most mids that are remembered of a description.
const MAX_MIDS: usize = 256;

/// Brings the signals of one peer into the form and order that every receiver reads.
///
/// - Candidates are held until a description was delivered; their order is kept.
/// - A candidate gets the m-line index for its mid, and the mid for its index, from the sender's last description.
///
/// The text of a description is never changed.
#[derive(Debug, Default)]
pub struct Inbound {
    /// The sender's mids by m-line. `None`: no description was delivered yet.
    mids: Option<Vec<Option<Box<str>>>>,
    held: Vec<Candidate>,
}

impl Inbound {
    /// Takes a signal, and returns the signals to deliver now, in order.
    pub fn take(&mut self, signal: Signal) -> vec::IntoIter<Signal> {
        let mut ready = Vec::new();
        match signal {
            Signal::Ice(candidate) if self.mids.is_none() => {
                let len = candidate.candidate.len() + candidate.sdp_mid.as_deref().map_or(0, str::len);
                if self.held.len() < MAX_HELD && len <= MAX_HELD_LEN {
                    self.held.push(candidate);
                }
            }
            Signal::Ice(candidate) => ready.push(Signal::Ice(self.complete(candidate))),
            Signal::Sdp { kind, sdp } => {
                self.mids = Some(mids(&sdp));
                ready.push(Signal::Sdp { kind, sdp });
                for candidate in std::mem::take(&mut self.held) {
                    ready.push(Signal::Ice(self.complete(candidate)));
                }
            }
            Signal::OfferRequest => ready.push(signal),
        }
        ready.into_iter()
    }

    /// Fills in the missing one of mid and index. Without both, a candidate belongs to the first m-line.
    fn complete(&self, mut candidate: Candidate) -> Candidate {
        let mids = self.mids.as_deref().unwrap_or_default();
        if candidate.sdp_m_line_index.is_none() {
            let place = candidate.sdp_mid.as_deref().and_then(|mid| {
                mids.iter()
                    .position(|known| known.as_deref() == Some(mid))
                    .and_then(|place| place.try_into().ok())
            });
            candidate.sdp_m_line_index = Some(place.unwrap_or(0));
        }
        if candidate.sdp_mid.is_none() {
            let index = candidate.sdp_m_line_index.and_then(|index| usize::try_from(index).ok());
            let mid = index.and_then(|index| mids.get(index)?.as_deref());
            candidate.sdp_mid = mid.map(String::from);
        }
        candidate
    }
}

/// The mid of each m-line (RFC 5888, section 4), in order.
fn mids(sdp: &str) -> Vec<Option<Box<str>>> {
    let mut mids: Vec<Option<Box<str>>> = Vec::new();
    for line in sdp.lines() {
        if line.starts_with("m=") {
            if mids.len() == MAX_MIDS {
                break;
            }
            mids.push(None);
        } else if let (Some(mid), Some(last)) = (line.strip_prefix("a=mid:"), mids.last_mut()) {
            *last = Some(mid.trim().into());
        }
    }
    mids
}

#[cfg(test)]
mod tests {
    use callbin_protocol::SdpType;
    use proptest::prelude::*;

    use super::*;

    const SDP: &str =
        "v=0\r\nm=audio 9 x 0\r\na=mid:a\r\nm=video 9 x 0\r\na=mid:v\r\nm=application 9 x 0\r\n";

    fn offer() -> Signal {
        Signal::Sdp { kind: SdpType::Offer, sdp: SDP.into() }
    }

    fn ice(text: &str, mid: Option<&str>, index: Option<u32>) -> Signal {
        let (candidate, sdp_mid) = (text.into(), mid.map(String::from));
        Signal::Ice(Candidate { candidate, sdp_mid, sdp_m_line_index: index })
    }

    #[test]
    fn candidates_wait_for_their_description_in_order() {
        let mut inbound = Inbound::default();
        assert_eq!(inbound.take(ice("1", Some("v"), None)).count(), 0);
        assert_eq!(inbound.take(ice("2", None, Some(0))).count(), 0);
        let all: Vec<Signal> = inbound.take(offer()).collect();
        assert_eq!(all, [offer(), ice("1", Some("v"), Some(1)), ice("2", Some("a"), Some(0))]);
        let next: Vec<Signal> = inbound.take(ice("3", None, None)).collect();
        assert_eq!(next, [ice("3", Some("a"), Some(0))]);
    }

    #[test]
    fn what_the_sender_wrote_is_kept() {
        let mut inbound = Inbound::default();
        inbound.take(offer());
        for (mid, index) in [(Some("other"), Some(7)), (Some("v"), Some(0))] {
            assert_eq!(inbound.take(ice("x", mid, index)).next(), Some(ice("x", mid, index)));
        }
        assert_eq!(
            inbound.take(ice("x", None, Some(2))).next(),
            Some(ice("x", None, Some(2))),
            "it has no mid"
        );
        assert_eq!(inbound.take(ice("x", Some("z"), None)).next(), Some(ice("x", Some("z"), Some(0))));
    }

    #[test]
    fn a_request_for_an_offer_waits_for_nothing() {
        assert_eq!(Inbound::default().take(Signal::OfferRequest).next(), Some(Signal::OfferRequest));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut inbound = Inbound::default();
        for _ in 0..10_000 {
            inbound.take(ice("x", None, None));
        }
        assert_eq!(inbound.take(offer()).count(), 1 + MAX_HELD);
        let mut inbound = Inbound::default();
        inbound.take(ice(&"x".repeat(MAX_HELD_LEN + 1), None, None));
        assert_eq!(inbound.take(offer()).count(), 1);
    }

    proptest! {
        #[test]
        fn nothing_is_reordered(parts in prop::collection::vec((0..3u8, 0..4u32), 0..60)) {
            let mut inbound = Inbound::default();
            let mut sent = 0;
            let mut got = Vec::new();
            let mut described = false;
            for (what, index) in parts {
                let signal = match what {
                    0 => { described = true; offer() }
                    _ => { sent += 1; ice(&sent.to_string(), None, Some(index)) }
                };
                got.extend(inbound.take(signal));
            }
            let numbers: Vec<u32> = got.iter().filter_map(|signal| match signal {
                Signal::Ice(candidate) => candidate.candidate.parse().ok(),
                _ => None,
            }).collect();
            prop_assert!(numbers.is_sorted());
            prop_assert_eq!(numbers.len(), if described { sent } else { 0 });
        }
    }
}
