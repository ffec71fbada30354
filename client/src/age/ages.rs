//! The ages of the decoded frames of one picture.

use std::{collections::VecDeque, time::Duration};

use serde::Serialize;

use super::{
    capture::Capture,
    clock::{Clock, Estimate},
    ntp::Ntp,
};
use crate::{
    peer::compound::{self, Packet, RR, SR},
    rtp,
};

/// Most SSRCs that are remembered; the one that was quiet for longest goes first.
const STREAMS: usize = 8;
/// Most packets between depayloader and decoder.
const WAITING: usize = 512;
/// Most frames of one period: the last ones.
const FRAMES: usize = 4096;
/// The clock rate of video.
const RATE: i64 = 90_000;
/// A capture time serves for the packets of this time after it, in nanoseconds: libwebrtc sends one a second.
const SERVES: i64 = 5_000_000_000;
/// A report serves for longer: they may be rare.
const REPORT_SERVES: i64 = 60_000_000_000;
/// How far the speed of the RTP times in reports may be from that of the clock: one part in this many, and in addition
/// this many nanoseconds.
const UNEVEN: i64 = 20;
const UNEVEN_BY: i64 = 20_000_000;
/// How far the time of a decoded frame may be from that of its packets, in nanoseconds.
const NEAR: u64 = 4_000_000;
/// A longer round trip is an error.
const LONGEST_TRIP: Duration = Duration::from_secs(10);

/// How old the frames of one period were when they were decoded, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct GlassAge {
    /// Half of them were younger.
    pub p50: f64,
    /// 95 % were younger.
    pub p95: f64,
    /// 99 % were younger.
    pub p99: f64,
}

/// Where the capture times come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The header extension of the packets.
    AbsCaptureTime,
    /// The sender reports, which say the time of an RTP timestamp.
    SenderReport,
}

/// What one period showed.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Period {
    /// The ages; `None` if no frame's age is known.
    pub ages: Option<GlassAge>,
    /// Where the latest capture time came from.
    pub origin: Option<Origin>,
    /// The clock of the peer.
    pub clock: Option<Estimate>,
}

/// Follows the packets and reports of one peer's picture, and its decoded frames.
#[derive(Debug, Default)]
pub struct Ages {
    /// The ID of the header extension with the capture time.
    id: Option<u8>,
    clock: Clock,
    /// The most recent last.
    streams: VecDeque<Stream>,
    /// Packets whose frame is not decoded yet.
    waiting: VecDeque<Waiting>,
    /// Our time of decoding minus the peer's time of capture, in nanoseconds.
    ages: VecDeque<i64>,
    origin: Option<Origin>,
}

/// One SSRC of the picture, with pairs of RTP time and time by the peer's clock.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    captured: Option<(u32, Ntp)>,
    /// Of the last report, if its RTP times can be believed.
    reported: Option<(u32, Ntp)>,
    last_report: Option<(u32, Ntp)>,
}

/// Timestamp and capture time of a packet.
#[derive(Debug, Clone, Copy)]
struct Waiting {
    pts: u64,
    captured: Ntp,
    origin: Origin,
}

impl Ages {
    /// Sets the negotiated ID of the header extension.
    pub fn set_id(&mut self, id: Option<u8>) {
        self.id = id;
    }

    /// A packet of the picture, of which this is the beginning, goes to the decoder with this timestamp in nanoseconds.
    pub fn packet(&mut self, start: &[u8], pts: u64) {
        let Some((time, ssrc)) = rtp::time_and_source(start) else { return };
        let said = self.id.and_then(|id| Capture::read(rtp::extension(start, id)?));
        let Some(stream) = self.stream(ssrc) else { return };
        if let Some(said) = said {
            stream.captured = Some((time, said.by_sender()));
        }
        let Some((captured, origin)) = stream.capture_time(time) else { return };
        if self.waiting.back().is_some_and(|last| last.pts == pts) {
            return;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting { pts, captured, origin });
    }

    /// A compound of RTCP packets from the peer came at this time of our clock.
    pub fn reports(&mut self, now: Duration, wall: Ntp, compound: &[u8]) {
        for Packet { kind, format, bytes } in compound::packets(compound) {
            match kind {
                SR => {
                    self.sender_report(now, wall, bytes);
                    self.round_trips(now, wall, format, bytes.get(28..).unwrap_or_default());
                }
                RR => self.round_trips(now, wall, format, bytes.get(8..).unwrap_or_default()),
                _ => {}
            }
        }
    }

    /// A round trip was measured, other than by the reports' blocks: these come seldom.
    pub fn round_trip(&mut self, now: Duration, time: Duration) {
        self.clock.round_trip(now, time);
    }

    /// A frame with this timestamp in nanoseconds was decoded at this time of our clock.
    pub fn frame(&mut self, wall: Ntp, pts: u64) {
        let near = |it: &Waiting| it.pts.abs_diff(pts) <= NEAR;
        let best = self.waiting.iter().enumerate().filter(|(_, it)| near(it));
        let Some((at, found)) = best.min_by_key(|(_, it)| it.pts.abs_diff(pts)) else { return };
        let found = *found;
        self.waiting.drain(..=at);
        if self.ages.len() == FRAMES {
            self.ages.pop_front();
        }
        self.ages.push_back(wall.since(found.captured));
        self.origin = Some(found.origin);
    }

    /// What was found since the last call.
    pub fn take(&mut self) -> Period {
        let (ages, clock) = (std::mem::take(&mut self.ages), self.clock.estimate());
        let by_clock = |clock: Estimate| {
            let ages = ages.iter().map(|age| age.saturating_add(clock.ahead).max(0));
            percentiles(ages.collect())
        };
        let ages = clock.and_then(by_clock);
        Period { ages, origin: self.origin.filter(|_| ages.is_some()), clock }
    }

    fn sender_report(&mut self, now: Duration, wall: Ntp, report: &[u8]) {
        let number = |at: usize| Some(u32::from_be_bytes(report.get(at..at + 4)?.try_into().ok()?));
        let (Some(ssrc), Some(high), Some(low), Some(time)) = (number(4), number(8), number(12), number(16))
        else {
            return;
        };
        let sent = Ntp(u64::from(high) << 32 | u64::from(low));
        // Zero: the sender has no clock. Reports of other streams may be of other clocks, if a server forwards them.
        let stream = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc).filter(|_| sent != Ntp(0));
        if let Some(stream) = stream {
            stream.report(time, sent);
            self.clock.report(now, sent.since(wall));
        }
    }

    /// Each report block names our last report, and for how long the peer had it (RFC 3550, section 6.4.1).
    fn round_trips(&mut self, now: Duration, wall: Ntp, count: u8, blocks: &[u8]) {
        for block in blocks.chunks_exact(24).take(usize::from(count)) {
            let [.., l0, l1, l2, l3, d0, d1, d2, d3] = *block else { continue };
            let (last, delay) = (u32::from_be_bytes([l0, l1, l2, l3]), u32::from_be_bytes([d0, d1, d2, d3]));
            let trip = wall.middle().wrapping_sub(last).wrapping_sub(delay);
            // Times are rounded: it may come out just below zero.
            let trip = if trip.cast_signed() < 0 && trip.cast_signed() > -64 { 0 } else { trip };
            let trip = Duration::from_secs_f64(f64::from(trip) / 65536.0);
            if last != 0 && trip < LONGEST_TRIP {
                self.clock.round_trip(now, trip);
            }
        }
    }

    /// The stream of this SSRC, which is now the most recent; there is always one.
    fn stream(&mut self, ssrc: u32) -> Option<&mut Stream> {
        if self.streams.back().is_none_or(|stream| stream.ssrc != ssrc) {
            let known = self.streams.iter().position(|stream| stream.ssrc == ssrc);
            let known = known.and_then(|at| self.streams.remove(at));
            if self.streams.len() == STREAMS {
                self.streams.pop_front();
            }
            self.streams.push_back(known.unwrap_or(Stream {
                ssrc,
                captured: None,
                reported: None,
                last_report: None,
            }));
        }
        self.streams.back_mut()
    }
}

impl Stream {
    /// The peer's webrtcbin may be one of GStreamer 1.22, in whose reports the RTP times run at twice the clock's speed.
    fn report(&mut self, time: u32, sent: Ntp) {
        let is_even = self.last_report.is_some_and(|(last, at)| {
            let (media, clock) = (nanoseconds(last, time), sent.since(at));
            clock > 0 && media.abs_diff(clock) <= (clock / UNEVEN + UNEVEN_BY).cast_unsigned()
        });
        if self.last_report.replace((time, sent)) != Some((time, sent)) {
            self.reported = is_even.then_some((time, sent));
        }
    }

    /// The capture time of an RTP time.
    fn capture_time(&self, time: u32) -> Option<(Ntp, Origin)> {
        let by = |base: Option<(u32, Ntp)>, serves, origin| {
            let (base, ntp) = base?;
            let later = nanoseconds(base, time);
            (later.abs() <= serves).then(|| (ntp.plus(later), origin))
        };
        by(self.captured, SERVES, Origin::AbsCaptureTime)
            .or_else(|| by(self.reported, REPORT_SERVES, Origin::SenderReport))
    }
}

/// The nanoseconds between two RTP times.
fn nanoseconds(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from).cast_signed()) * 1_000_000_000 / RATE
}

/// Nearest ranks.
fn percentiles(mut ages: Vec<i64>) -> Option<GlassAge> {
    ages.sort_unstable();
    let last = ages.len().checked_sub(1)?;
    let at = |percent: usize| {
        let rank = (ages.len() * percent).div_ceil(100).saturating_sub(1).min(last);
        let age = ages.get(rank).copied().unwrap_or_default();
        (age as f64 / 100_000.0).round() / 10.0
    };
    Some(GlassAge { p50: at(50), p95: at(95), p99: at(99) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: i64 = 1_000_000;
    const ID: u8 = 3;
    /// The peer's clock at the beginning; it is this much ahead of ours.
    const AHEAD: i64 = 7_000 * MS;
    const OURS: Ntp = Ntp(0xe900_0000_0000_0000);

    fn ours(ms: i64) -> Ntp {
        OURS.plus(ms * MS)
    }

    fn theirs(ms: i64) -> Ntp {
        ours(ms).plus(AHEAD)
    }

    fn packet(ssrc: u32, time: u32, capture: Option<Ntp>) -> Vec<u8> {
        let mut packet = vec![0x80, 96, 0, 1];
        packet.extend([time.to_be_bytes(), ssrc.to_be_bytes()].concat());
        if let Some(capture) = capture {
            packet[0] |= 0x10;
            packet.extend([0xbe, 0xde, 0, 5, ID << 4 | 15]);
            packet.extend(Capture::own(capture).bytes());
            packet.extend([0; 3]);
        }
        packet.extend([9; 30]);
        packet
    }

    /// A sender report with one block about a report of ours, which needs `back` from here to there.
    fn report(ssrc: u32, sent: Ntp, time: u32, last: Ntp, delay: i64) -> Vec<u8> {
        let mut report = vec![0x81, SR, 0, 12];
        report.extend(ssrc.to_be_bytes());
        report.extend(sent.0.to_be_bytes());
        report.extend(time.to_be_bytes());
        report.extend([0; 8 + 16]);
        report.extend(last.middle().to_be_bytes());
        report.extend(u32::try_from(delay * 65536 / 1000).unwrap().to_be_bytes());
        report
    }

    /// A path of 40 ms each way; the peer answers our report of -150 ms after 50 ms with its own.
    fn aged() -> Ages {
        let mut ages = Ages::default();
        ages.set_id(Some(ID));
        ages.packet(&packet(7, 0, None), 0);
        for at in [-260, -60] {
            let time = (at * 90) as u32;
            let report = report(7, theirs(at), time, ours(at - 90), 50);
            ages.reports(Duration::ZERO, ours(at + 40), &report);
        }
        ages
    }

    fn near(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() < 0.2
    }

    #[test]
    fn a_frame_is_as_old_as_its_capture_by_one_clock() {
        let mut ages = aged();
        let clock = ages.take().clock.unwrap();
        assert!((clock.ahead - AHEAD).abs() < MS / 5 && (clock.error.unwrap() - 40 * MS).abs() < MS / 5);
        ages.packet(&packet(7, 9000, Some(theirs(100))), 5_000_000);
        ages.packet(&packet(7, 9000, None), 5_000_000);
        ages.frame(ours(155), 5_000_000);
        let Period { ages: found, origin, .. } = ages.take();
        let found = found.unwrap();
        assert!(near(found.p50, 55.0) && near(found.p99, 55.0), "{found:?}");
        assert_eq!(origin, Some(Origin::AbsCaptureTime));
        assert_eq!((ages.take().ages, ages.take().origin), (None, None), "of the last period only");
    }

    #[test]
    fn packets_without_a_time_are_between_those_with_one() {
        let mut ages = aged();
        ages.packet(&packet(7, 0, Some(theirs(0))), 1);
        ages.packet(&packet(7, 45_000, None), 500_000_001);
        ages.frame(ours(530), 500_000_001);
        assert!(near(ages.take().ages.unwrap().p50, 30.0));
        // After five seconds the report serves, which says the same.
        ages.packet(&packet(7, 90_000 * 6, None), 6_000_000_000);
        ages.frame(ours(6010), 6_000_000_000);
        let found = ages.take();
        assert!(near(found.ages.unwrap().p50, 10.0), "{found:?}");
        assert_eq!(found.origin, Some(Origin::SenderReport));
    }

    #[test]
    fn without_the_extension_the_reports_serve() {
        let mut ages = aged();
        ages.set_id(None);
        ages.packet(&packet(7, 9000, Some(theirs(90_000))), 5);
        ages.frame(ours(180), 5);
        assert!(near(ages.take().ages.unwrap().p50, 80.0));
        ages.packet(&packet(8, 9000, None), 9_000_000);
        ages.frame(ours(180), 9_000_000);
        assert_eq!(ages.take().ages, None, "another stream, without a report");
        ages.reports(Duration::ZERO, ours(0), &report(9, Ntp(0), 0, Ntp(0), 0));
        ages.reports(Duration::ZERO, ours(0), &report(7, Ntp(0), 0, Ntp(0), 0));
        assert!((ages.take().clock.unwrap().ahead - AHEAD).abs() < MS, "of other streams or without a clock");
    }

    #[test]
    fn reports_at_another_speed_are_not_believed() {
        let mut ages = aged();
        ages.set_id(None);
        let mut origin = |sent: i64, time: u32| {
            ages.reports(Duration::ZERO, ours(sent), &report(7, theirs(sent), time, Ntp(0), 0));
            ages.packet(&packet(7, time, None), time.into());
            ages.frame(ours(sent), time.into());
            ages.take().origin
        };
        assert_eq!(origin(1000, 90_000 + 900), Some(Origin::SenderReport), "a little late");
        assert_eq!(origin(2000, 3 * 90_000), None, "twice the speed");
        assert_eq!(origin(3000, 5 * 90_000), None);
        assert_eq!(origin(4000, 6 * 90_000), Some(Origin::SenderReport));
        assert_eq!(origin(4000, 6 * 90_000 + 1), None, "twice the same time");
    }

    #[test]
    fn frames_find_their_packets() {
        let mut ages = aged();
        for frame in 0..10u32 {
            let at = i64::from(frame) * 33;
            ages.packet(&packet(7, frame * 2970, Some(theirs(at))), u64::from(frame) * 33_000_000);
        }
        // Decoders may drop frames, and jitter buffers round.
        for frame in [0, 3, 7] {
            ages.frame(ours(frame * 33 + 10 * frame), (frame * 33_000_000 + 900_000).cast_unsigned());
        }
        ages.frame(ours(5000), 0);
        ages.frame(ours(5000), 16_000_000_000);
        let found = ages.take().ages.unwrap();
        assert!(near(found.p50, 30.0) && near(found.p95, 70.0), "{found:?}");
        assert_eq!(ages.waiting.len(), 2);
    }

    #[test]
    fn all_is_bounded() {
        let mut ages = aged();
        for number in 0..10_000u32 {
            let at = u64::from(number) * 10_000_000;
            ages.packet(&packet(number % 100, number, Some(theirs(0))), at);
        }
        assert_eq!((ages.streams.len(), ages.waiting.len()), (STREAMS, WAITING));
        for number in 0..2 * FRAMES {
            ages.packet(&packet(1, 1, Some(theirs(0))), 1);
            ages.frame(ours(if number < FRAMES { 1 } else { 500 }), 1);
        }
        assert_eq!(ages.ages.len(), FRAMES);
        assert!(near(ages.take().ages.unwrap().p50, 500.0), "the last ones count");
    }

    #[test]
    fn percentiles_are_nearest_ranks() {
        assert_eq!(percentiles(vec![]), None);
        let all = percentiles((1..=100).rev().map(|ms| ms * MS).collect()).unwrap();
        assert_eq!(all, GlassAge { p50: 50.0, p95: 95.0, p99: 99.0 });
        let one = percentiles(vec![1_234_567]).unwrap();
        assert_eq!(one, GlassAge { p50: 1.2, p95: 1.2, p99: 1.2 });
    }

    proptest! {
        #[test]
        fn nothing_panics(
            first in prop::collection::vec(any::<u8>(), 0..64),
            second in prop::collection::vec(any::<u8>(), 0..96),
            (wall, time, pts) in any::<(u64, u32, u64)>(),
        ) {
            let mut ages = aged();
            ages.packet(&first, pts);
            ages.packet(&packet(7, time, Some(Ntp(wall))), pts);
            ages.reports(Duration::from_millis(time.into()), Ntp(wall), &second);
            let mut report = report(7, Ntp(wall), time, Ntp(pts), 50);
            report.extend(second);
            ages.reports(Duration::from_millis(pts), Ntp(pts), &report);
            ages.packet(&packet(7, 1, None), pts);
            ages.frame(Ntp(wall), pts);
            ages.take();
        }
    }
}
