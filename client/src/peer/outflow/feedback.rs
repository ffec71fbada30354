//! How much RTCP feedback a peer may send (RFC 3550 and RFC 4585).
//!
//! Each report and request costs work, and a NACK requests up to seventeen packets in four bytes. Feedback beyond what
//! an honest receiver sends is ignored; several times that is a flood. Both limits grow with the number of packets
//! sent, because each packet can be lost and requested again and again.

use std::time::Duration;

use super::bucket::Bucket;
use crate::peer::compound::{self, PSFB, RTPFB, TWCC};

/// Reports and requests. In the worst case Chromium sends about 50 NACKs, 20 transport-wide reports and 60 key frame
/// requests per second, each in a compound with two or three more packets; GStreamer sends a NACK for each lost packet.
const MESSAGES: Rate = Rate { per_second: 500.0, per_packet: 4.0, at_once: 5000.0, flood: 4.0 };
/// Packets requested again. Chromium was observed to request a lost packet twenty times; GStreamer requests it a
/// hundred times if its jitter buffer is long and the path short.
const REQUESTS: Rate = Rate { per_second: 100.0, per_packet: 50.0, at_once: 5000.0, flood: 8.0 };
/// A transport-wide report counts as one message per this many packets.
const PACKETS_PER_MESSAGE: u32 = 64;

/// Formats of feedback.
const NACK: u8 = 1;
const FIR: u8 = 4;

/// What to do with a compound packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// Within the limit: handle it.
    Take,
    /// Beyond the limit: ignore it.
    Ignore,
    /// Far beyond the limit: end the peer.
    Flood,
}

/// Accounts for the feedback of one peer.
#[derive(Debug)]
pub(super) struct Feedback {
    messages: Allowance,
    requests: Allowance,
}

/// How much of something is handled.
#[derive(Debug)]
struct Rate {
    per_second: f64,
    /// For each packet that we send.
    per_packet: f64,
    /// The burst: a network may delay feedback and deliver it at once.
    at_once: f64,
    /// This multiple of the limits is a flood.
    flood: f64,
}

/// The limit of what is handled, and the limit of what is tolerated.
#[derive(Debug)]
struct Allowance {
    rate: Rate,
    handled: Bucket,
    tolerated: Bucket,
}

/// The work that a compound packet requests.
#[derive(Debug, Default, PartialEq, Eq)]
struct Load {
    messages: u32,
    /// Packets requested again.
    requests: u32,
}

impl Default for Feedback {
    fn default() -> Self {
        Self { messages: Allowance::new(MESSAGES), requests: Allowance::new(REQUESTS) }
    }
}

impl Feedback {
    /// Counts a sent packet, which may be lost and requested.
    pub(super) fn sent(&mut self) {
        self.messages.sent();
        self.requests.sent();
    }

    /// Judges a received compound packet.
    pub(super) fn judge(&mut self, now: Duration, compound: &[u8]) -> Verdict {
        let load = Load::of(compound);
        let messages = self.messages.take(now, load.messages);
        let requests = self.requests.take(now, load.requests);
        match (messages, requests) {
            (Verdict::Flood, _) | (_, Verdict::Flood) => Verdict::Flood,
            (Verdict::Take, Verdict::Take) => Verdict::Take,
            _ => Verdict::Ignore,
        }
    }
}

impl Allowance {
    fn new(rate: Rate) -> Self {
        let bucket = |times| Bucket::new(rate.at_once * times, rate.per_second * times);
        let (handled, tolerated) = (bucket(1.0), bucket(rate.flood));
        Self { rate, handled, tolerated }
    }

    fn sent(&mut self) {
        self.handled.give(self.rate.per_packet);
        self.tolerated.give(self.rate.per_packet * self.rate.flood);
    }

    fn take(&mut self, now: Duration, count: u32) -> Verdict {
        let count = f64::from(count);
        let (handled, tolerated) = (self.handled.take(now, count), self.tolerated.take(now, count));
        match (tolerated, handled) {
            (false, _) => Verdict::Flood,
            (true, true) => Verdict::Take,
            (true, false) => Verdict::Ignore,
        }
    }
}

impl Load {
    fn of(rtcp: &[u8]) -> Self {
        let mut load = Self::default();
        compound::packets(rtcp).for_each(|packet| load.add(&packet));
        // A packet that is not RTCP costs work, too.
        load.messages = load.messages.max(1);
        load
    }

    fn add(&mut self, packet: &compound::Packet<'_>) {
        let body = packet.body();
        self.messages += 1;
        match (packet.kind, packet.format) {
            (RTPFB, NACK) => self.requests += body.chunks_exact(4).map(requests).sum::<u32>(),
            (RTPFB, TWCC) => {
                let (_, count) = packet.reported();
                self.messages += u32::try_from(count).unwrap_or(u32::MAX) / PACKETS_PER_MESSAGE;
            }
            (PSFB, FIR) => self.messages += u32::try_from(body.len() / 8).unwrap_or(u32::MAX),
            _ => {}
        }
    }
}

/// Packets requested by one NACK entry: a lost packet, and a bit for each of the next sixteen (RFC 4585, section
/// 6.2.1).
fn requests(entry: &[u8]) -> u32 {
    1 + entry.iter().skip(2).map(|byte| byte.count_ones()).sum::<u32>()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn packet(kind: u8, format: u8, body: &[u8]) -> Vec<u8> {
        let words = u8::try_from(2 + body.len() / 4).unwrap();
        [&[0x80 | format, kind, 0, words, 0, 0, 0, 1, 0, 0, 0, 2], body].concat()
    }

    /// A NACK with `count` entries of one packet each.
    fn nack(count: usize) -> Vec<u8> {
        packet(RTPFB, NACK, &[0, 7, 0, 0].repeat(count))
    }

    fn report() -> Vec<u8> {
        packet(201, 0, &[])
    }

    #[test]
    fn counts_what_a_compound_asks_for() {
        let load = |packets: &[Vec<u8>]| {
            let load = Load::of(&packets.concat());
            (load.messages, load.requests)
        };
        assert_eq!(load(&[report(), nack(3)]), (2, 3));
        assert_eq!(load(&[packet(RTPFB, NACK, &[0, 7, 0xff, 0xff, 0, 7, 0x01, 0x80])]), (1, 20));
        assert_eq!(load(&[report(), packet(PSFB, 1, &[]), packet(PSFB, FIR, &[0; 24])]), (6, 0));
        assert_eq!(load(&[packet(RTPFB, TWCC, &[0, 0, 0xff, 0xff, 0, 0, 0, 0])]), (1 + 1023, 0));
        assert_eq!(load(&[]), (1, 0));
        assert_eq!(load(&[vec![0x81, RTPFB, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 0, 1]]), (1, 2));
    }

    /// 150 packets per second, nearly all lost and each requested forty times: twice what Chromium was observed to do.
    #[test]
    fn chromium_on_the_worst_line_is_fine() {
        let mut feedback = Feedback::default();
        for tick in 0..60_000 / 20 {
            (0..3).for_each(|_| feedback.sent());
            for compound in [[report(), nack(120)].concat(), report(), packet(PSFB, 1, &[])] {
                assert_eq!(feedback.judge(at(tick * 20), &compound), Verdict::Take);
            }
        }
    }

    /// The feedback of ten seconds arrives at once.
    #[test]
    fn what_a_network_has_kept_is_fine() {
        let mut feedback = Feedback::default();
        for _ in 0..500 {
            let compound = [report(), nack(5), packet(PSFB, 1, &[])].concat();
            assert_eq!(feedback.judge(at(10_000), &compound), Verdict::Take);
        }
    }

    #[test]
    fn an_eager_receiver_is_ignored_but_not_ended() {
        let (mut feedback, mut ignored) = (Feedback::default(), 0);
        for tick in 0..60_000 / 20 {
            (0..3).for_each(|_| feedback.sent());
            let verdict = feedback.judge(at(tick * 20), &nack(240));
            assert_ne!(verdict, Verdict::Flood);
            ignored += u32::from(verdict == Verdict::Ignore);
        }
        assert!(ignored > 1000, "{ignored}");
    }

    #[test]
    fn floods_are_known_within_seconds() {
        let seventeen = packet(RTPFB, NACK, &[0, 7, 0xff, 0xff].repeat(60));
        let pli = packet(PSFB, 1, &[]).repeat(100);
        let fir = packet(PSFB, FIR, &[0; 800]);
        for compound in [seventeen, pli, fir] {
            let mut feedback = Feedback::default();
            let flood = (0..20_000).find(|n| {
                feedback.sent();
                feedback.judge(at(n * 5), &compound) == Verdict::Flood
            });
            assert!(flood.is_some_and(|n| n * 5 < 5_000), "{flood:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_is_misread_badly(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let load = Load::of(&bytes);
            prop_assert!(load.messages >= 1 && load.requests <= 17 * 50);
        }
    }
}
