//! How much may be sent to one peer in any half second.
//!
//! Percentages refer to the encoders' target ([`Target`]), in which audio and RTCP have fixed shares. New video packets
//! have priority: retransmissions stop at a lower limit. A video packet beyond its limit waits; that happens with large
//! key frames, and when the encoder catches up on a busy machine.

use std::time::Duration;

use super::{
    bucket::Bucket,
    window::{SPAN, Window},
};
use crate::media::target::Target;

/// The limit for retransmissions.
const AGAIN: u64 = 116;
/// Retransmissions per second and in one burst: a large burst would leave no room for the next frames.
const AGAIN_PER_SECOND: u64 = 30;
const AGAIN_AT_ONCE: u64 = 6;
/// The smallest burst, for very low rates: two packets, in bytes.
const TWO_PACKETS: u64 = 2600;
/// The limit for new video packets.
const FIRST: u64 = 124;
/// The rate at which waiting packets are sent, to avoid bursts; and the duration whose share a key frame may send at
/// once.
const EVENLY: u64 = 118;
const KEY_FRAME: Duration = Duration::from_millis(100);
/// The limit for everything, below the promised 130. It is a safeguard: the limits above keep media below it.
const ALL: u64 = 126;
/// IP and UDP headers, in bytes.
pub(super) const AROUND: u64 = 28;
/// SRTP's authentication tag.
const TAG: u64 = 10;
/// The original sequence number in a retransmission.
const NUMBER: u64 = 2;

/// Accounts for what is sent to one peer.
#[derive(Debug)]
pub(super) struct Budget {
    target: Target,
    /// Video packets that were admitted, new ones and retransmissions.
    picture: Window,
    /// Paces new video packets.
    pace: Bucket,
    /// Limits retransmissions.
    again: Bucket,
    /// RTCP that has left.
    reports: Window,
    /// Everything that has left.
    left: Window,
}

impl Budget {
    pub(super) fn new(target: Target) -> Self {
        let empty = || Bucket::new(f64::MAX, 1.0);
        let mut budget = Self {
            target,
            picture: Window::default(),
            pace: empty(),
            again: empty(),
            reports: Window::default(),
            left: Window::default(),
        };
        budget.aim(Duration::ZERO, target);
        budget
    }

    /// Changes the rates of pacing and retransmissions to those of another target. The limits, which nothing exceeds in
    /// any half second, stay: a lower one would stop everything for half a second.
    pub(super) fn aim(&mut self, now: Duration, target: Target) {
        let second = Duration::from_secs(1);
        let at_once = |bytes: u64| bytes.max(TWO_PACKETS) as f64;
        let (burst, rate) = (target.picture(100, KEY_FRAME), target.picture(EVENLY, second));
        self.pace.change(now, at_once(burst), rate as f64);
        let (burst, rate) = (target.total(AGAIN_AT_ONCE, second), target.total(AGAIN_PER_SECOND, second));
        self.again.change(now, at_once(burst), rate as f64);
    }

    /// How long a new video packet of `bytes`, not encrypted yet, has to wait. With zero it counts as sent.
    pub(super) fn first(&mut self, now: Duration, bytes: u64) -> Duration {
        let bytes = bytes + AROUND + TAG;
        let fits = self.picture.wait(now, bytes, self.target.picture(FIRST, SPAN));
        let wait = fits.max(self.pace.wait(now, bytes as f64));
        if wait.is_zero() {
            self.pace.take(now, bytes as f64);
            self.picture.add(now, bytes);
        }
        wait
    }

    /// Whether a packet of `bytes` may be sent again; then it counts as sent.
    pub(super) fn again(&mut self, now: Duration, bytes: u64) -> bool {
        let bytes = bytes + AROUND + TAG + NUMBER;
        let fits = self.picture.wait(now, bytes, self.target.picture(AGAIN, SPAN)).is_zero()
            && self.again.take(now, bytes as f64);
        if fits {
            self.picture.add(now, bytes);
        }
        fits
    }

    /// Whether an encrypted media packet may leave; then it counts as sent.
    pub(super) fn leaves(&mut self, now: Duration, bytes: u64) -> bool {
        let bytes = bytes + AROUND;
        let fits = self.left.wait(now, bytes, self.target.total(ALL, SPAN)).is_zero();
        if fits {
            self.left.add(now, bytes);
        }
        fits
    }

    /// Whether an encrypted RTCP packet may leave. A peer that loses or withholds packets causes us to send NACKs.
    pub(super) fn reports(&mut self, now: Duration, bytes: u64) -> bool {
        let bytes = bytes + AROUND;
        let fits = self.reports.wait(now, bytes, self.target.control(SPAN)).is_zero();
        if fits {
            self.reports.add(now, bytes);
            self.left.add(now, bytes);
        }
        fits
    }

    /// Counts any other packet, which always leaves.
    pub(super) fn other(&mut self, now: Duration, bytes: u64) {
        self.left.add(now, bytes + AROUND);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::target::tests::target;

    const SIZE: u64 = 1200;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn budget() -> (Budget, Target) {
        (Budget::new(target(&[])), target(&[]))
    }

    /// Sends a frame with the given number of packets every 33 ms; if `asks`, each packet is requested again all the
    /// time. Returns the bytes sent in each millisecond, the longest wait of a packet, and the number of
    /// retransmissions.
    fn send(frames: impl Iterator<Item = u64>, asks: bool) -> (Vec<u64>, Duration, u64) {
        let (mut budget, _) = budget();
        let (mut sent, mut again, mut waiting, mut longest) = (Vec::new(), 0, Vec::new(), ms(0));
        for (tick, packets) in frames.enumerate() {
            let start = ms(tick as u64 * 33);
            waiting.extend(std::iter::repeat_n(start, packets as usize));
            for now in (0..33).map(|after| start + ms(after)) {
                let mut bytes = 0;
                while let Some(since) = waiting.first().copied()
                    && budget.first(now, SIZE).is_zero()
                {
                    longest = longest.max(now - since);
                    waiting.remove(0);
                    bytes += SIZE + 38;
                }
                while asks && budget.again(now, SIZE) {
                    again += 1;
                    bytes += SIZE + 40;
                }
                sent.push(bytes);
            }
        }
        (sent, longest, again)
    }

    fn most(sent: &[u64]) -> u64 {
        sent.windows(500).map(|half| half.iter().sum()).max().unwrap()
    }

    #[test]
    fn whatever_is_asked_for_and_encoded_the_bound_holds() {
        let (_, target) = budget();
        let bound = target.picture(FIRST, SPAN);
        // A correct encoder; a key frame every half second; ten times too much.
        for frames in [[4; 15], [30, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2], [40; 15]] {
            let (sent, _, _) = send(frames.into_iter().cycle().take(600), true);
            assert!(most(&sent) <= bound, "{} of {bound}", most(&sent));
        }
    }

    #[test]
    fn retransmissions_get_what_is_left_and_delay_nothing_much() {
        let (_, longest, again) = send(std::iter::repeat_n(3, 600), true);
        assert!(longest <= ms(33), "{longest:?}");
        assert!(again > 200, "{again}");
        // With key frames of 150 ms.
        let frames = || [15, 2, 2, 2, 2, 2, 2, 2, 2, 2].into_iter().cycle().take(600);
        let (_, longest, _) = send(frames(), false);
        assert!(longest <= ms(50), "{longest:?}");
        let (_, longest, _) = send(frames(), true);
        assert!(longest < ms(200), "{longest:?}");
    }

    #[test]
    fn the_last_line_counts_everything_and_stops_media_only() {
        let (mut budget, target) = budget();
        let limit = target.total(ALL, SPAN);
        budget.other(ms(0), 10_000);
        let left = (0..1000).filter(|_| budget.leaves(ms(1), SIZE)).count() as u64;
        assert_eq!(left, (limit - 10_028) / (SIZE + 28));
        assert!(!budget.leaves(ms(499), SIZE) && budget.leaves(ms(500), SIZE));
    }

    #[test]
    fn reports_have_their_share_whatever_else_is_sent() {
        let (mut budget, target) = budget();
        while budget.leaves(ms(0), SIZE) {}
        let sent = (0..1000).filter(|_| budget.reports(ms(1), 72)).count() as u64;
        assert_eq!(sent, target.control(SPAN) / 100);
        assert!(!budget.reports(ms(500), 72) && budget.reports(ms(501), 72));
    }
}
