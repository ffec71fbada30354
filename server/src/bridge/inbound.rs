//! One direction of a call between two dialects, at its receiver.

use std::{collections::HashMap, vec};

use callbin_protocol::{Candidate, PeerId, Signal};

/// The most candidates kept until their description comes. A browser on a machine with many addresses gathers some dozens.
const MAX_HELD: usize = 256;

/// The longest candidate that is delivered, in bytes. The longest of a browser has some 200.
const MAX_CANDIDATE: usize = 4096;

/// The most mids that are remembered of a description, and the longest one in bytes.
const MAX_MIDS: usize = 256;
const MAX_MID: usize = 64;

/// The most bytes kept of one sender, and of all members of a room together.
const ROOM: usize = 64 * 1024;

/// What a kept candidate or mid counts beyond its text.
const ENTRY: usize = 64;

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
    /// What both count.
    bytes: usize,
}

impl Inbound {
    /// Takes a signal, and returns the signals to deliver now, in order.
    pub fn take(&mut self, signal: Signal) -> vec::IntoIter<Signal> {
        self.take_within(signal, ROOM)
    }

    /// Takes a signal, and keeps at most this many bytes.
    fn take_within(&mut self, signal: Signal, room: usize) -> vec::IntoIter<Signal> {
        let mut ready = Vec::new();
        match signal {
            Signal::Ice(candidate) if len(&candidate) > MAX_CANDIDATE => {}
            Signal::Ice(candidate) if self.mids.is_none() => {
                let bytes = self.bytes + len(&candidate) + ENTRY;
                if self.held.len() < MAX_HELD && bytes <= room {
                    self.bytes = bytes;
                    self.held.push(candidate);
                }
            }
            Signal::Ice(candidate) => ready.push(Signal::Ice(self.complete(candidate))),
            Signal::Sdp { kind, sdp } => {
                let mids = mids(&sdp);
                self.bytes = mids.iter().map(|mid| mid.as_deref().map_or(0, str::len) + ENTRY).sum();
                // Without its mids, candidates of a description belong to the m-lines of their indices.
                let fits = self.bytes <= room;
                self.bytes = if fits { self.bytes } else { 0 };
                self.mids = Some(if fits { mids } else { Vec::new() });
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

/// The signals of the members of a room, at one of them.
#[derive(Debug, Default)]
pub struct Members {
    senders: HashMap<PeerId, Inbound>,
    /// What is kept of all of them.
    bytes: usize,
}

impl Members {
    /// Takes a signal of a member, see [`Inbound::take`].
    pub fn take(&mut self, from: &PeerId, signal: Signal) -> vec::IntoIter<Signal> {
        let inbound = self.senders.entry(from.clone()).or_default();
        let others = self.bytes.saturating_sub(inbound.bytes);
        let ready = inbound.take_within(signal, ROOM.saturating_sub(others));
        self.bytes = others + inbound.bytes;
        ready
    }

    /// A member has left.
    pub fn forget(&mut self, member: &PeerId) {
        if let Some(inbound) = self.senders.remove(member) {
            self.bytes = self.bytes.saturating_sub(inbound.bytes);
        }
    }
}

/// The bytes of a candidate.
fn len(candidate: &Candidate) -> usize {
    candidate.candidate.len() + candidate.sdp_mid.as_deref().map_or(0, str::len)
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
            *last = Some(mid.trim()).filter(|mid| mid.len() <= MAX_MID).map(Into::into);
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
    fn what_is_kept_is_bounded() {
        let mut inbound = Inbound::default();
        (0..10_000).for_each(|_| drop(inbound.take(ice("x", None, None))));
        assert_eq!(inbound.take(offer()).count(), 1 + MAX_HELD);
        let mut inbound = Inbound::default();
        let long = "x".repeat(MAX_CANDIDATE);
        (0..10_000).for_each(|_| drop(inbound.take(ice(&long, None, None))));
        assert_eq!(inbound.take(offer()).count(), 1 + ROOM / (MAX_CANDIDATE + ENTRY));
        let mids = "v=0\r\n".to_owned() + &format!("m=audio\r\na=mid:{long}\r\n").repeat(500);
        let mut inbound = Inbound::default();
        assert_eq!(inbound.take(Signal::Sdp { kind: SdpType::Offer, sdp: mids }).count(), 1);
        assert!(inbound.bytes <= ROOM, "{}", inbound.bytes);
    }

    #[test]
    fn no_candidate_is_delivered_that_is_too_long() {
        let long = "x".repeat(MAX_CANDIDATE + 1);
        let mut inbound = Inbound::default();
        assert_eq!(inbound.take(ice(&long, None, None)).count(), 0);
        assert_eq!(inbound.take(offer()).count(), 1);
        assert_eq!(inbound.take(ice(&long, None, None)).count(), 0, "also later");
    }

    #[test]
    fn all_members_of_a_room_share_one_bound() {
        let mut members = Members::default();
        let uid = |number: u32| PeerId::new(&format!("m{number}")).unwrap();
        let text = "x".repeat(1000);
        for number in 0..100 {
            (0..100).for_each(|_| drop(members.take(&uid(number), ice(&text, None, None))));
        }
        let kept: usize = members.senders.values().map(|it| it.held.len() * (text.len() + ENTRY)).sum();
        assert!(kept <= ROOM && members.bytes == kept, "{kept}");
        (0..100).for_each(|number| members.forget(&uid(number)));
        assert_eq!(members.bytes, 0);
        assert_eq!(members.take(&uid(1), ice(&text, None, None)).count(), 0, "there is room again");
        assert_eq!(members.take(&uid(1), offer()).count(), 2);
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
