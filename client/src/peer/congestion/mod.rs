//! How much the path to one peer carries: an estimate from the peer's feedback.
//!
//! The guide is draft-ietf-rmcat-gcc-02, as Chromium implements it: the peer reports when each packet arrived
//! ([`report`]), growing delays show that a queue fills ([`trend`]), and the estimate falls quickly to what arrives
//! ([`throughput`]) and grows slowly again ([`rate`]). Beyond it, the queue itself is measured ([`queue`]), so that it
//! is emptied and not only kept from growing, and losses count only if they depend on our rate ([`loss`]). A peer that
//! sends no such reports is judged by its REMB, or by the losses in its receiver reports.
//!
//! All of it is pure: packets, reports and times in, bits per second out. The tests run it over [`callbin_line`] in
//! simulated time.

mod heard;
mod history;
mod loss;
mod queue;
mod rate;
mod report;
#[cfg(test)]
mod simulation;
mod throughput;
mod trend;

use std::time::Duration;

use self::{
    heard::Heard, history::History, loss::Loss, queue::Queue, rate::Rate, throughput::Throughput,
    trend::Trend,
};

use super::compound::{self, RTPFB, TWCC};

/// Without a report for this time, a long queue holds up our packets or the reports, or the path is dead: the estimate
/// falls, and again after each further such time.
const SILENCE: Duration = Duration::from_millis(450);
/// The same if packets waited already according to the last report.
const SILENCE_IN_QUEUE: Duration = Duration::from_millis(200);
const SOME_QUEUE: Duration = Duration::from_millis(30);

/// A packet that the peer has received.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Arrival {
    /// When it was sent, by our clock.
    sent: Duration,
    /// When it arrived, by the peer's clock, in seconds.
    arrived: f64,
    bytes: u64,
}

/// The estimate for one peer. Times count from any fixed moment.
#[derive(Debug)]
pub(super) struct Congestion {
    history: History,
    trend: Trend,
    queue: Queue,
    throughput: Throughput,
    loss: Loss,
    rate: Rate,
    /// Whether the peer sends transport-wide reports.
    reports: bool,
    /// The peer's own estimate in bit/s. Counts only for a peer without transport-wide reports.
    remb: Option<f64>,
    /// When the last report came, or the first packet was sent after it.
    heard: Option<Duration>,
}

impl Congestion {
    /// For a peer to which we send at most `most` bit/s.
    pub(super) fn new(most: u64) -> Self {
        Self {
            history: History::default(),
            trend: Trend::default(),
            queue: Queue::default(),
            throughput: Throughput::default(),
            loss: Loss::default(),
            rate: Rate::new(most as f64),
            reports: false,
            remb: None,
            heard: None,
        }
    }

    /// A packet leaves with this transport-wide sequence number; `bytes` are those on the wire.
    pub(super) fn sent(&mut self, now: Duration, number: u16, bytes: u64) {
        self.history.sent(now, number, bytes);
        let heard = *self.heard.get_or_insert(now);
        let patience = if self.queue.wait() >= SOME_QUEUE { SILENCE_IN_QUEUE } else { SILENCE };
        if self.reports && now.saturating_sub(heard) > patience {
            self.rate.silence(now);
            self.heard = Some(now);
        }
    }

    /// Whether all transport-wide reports in a compound are well-formed, and about packets that we have sent. For others, GStreamer
    /// 1.22 keeps the numbers of tens of thousands of packets, or reads behind the end.
    pub(super) fn recognises(&self, rtcp: &[u8]) -> bool {
        let mut reports = compound::packets(rtcp).filter(|it| (it.kind, it.format) == (RTPFB, TWCC));
        reports.all(|packet| {
            let (first, count) = packet.reported();
            self.history.covers(first, count)
                && report::parse(packet.body()).is_some_and(|report| report.arrivals.len() == count)
        })
    }

    /// The peer sends RTCP.
    pub(super) fn hear(&mut self, now: Duration, rtcp: &[u8]) {
        for heard in heard::all(rtcp) {
            match heard {
                Heard::Report(body) => self.report(now, body),
                Heard::Remb(bits) => self.remb = Some(bits as f64),
                // Nothing better is known.
                Heard::Lost(share) if !self.reports && self.remb.is_none() => {
                    self.rate.receiver_report(now, share)
                }
                Heard::Lost(_) => {}
            }
        }
    }

    fn report(&mut self, now: Duration, body: &[u8]) {
        let Some(report) = report::parse(body) else { return };
        let outcome = self.history.resolve(&report);
        let Some(last) = outcome.arrivals.last() else { return };
        self.reports = true;
        self.heard = Some(now);
        let round_trip = now.saturating_sub(last.sent);
        self.rate.set_round_trip(round_trip);
        self.queue.report(now, round_trip);
        for arrival in &outcome.arrivals {
            self.throughput.add(arrival);
            self.queue.add(arrival);
            self.trend.add(arrival);
        }
        if let Some(arriving) = self.throughput.now() {
            let latest = self.throughput.latest().map_or(arriving, |latest| latest.min(arriving));
            let arriving = rate::Arriving { steady: arriving, latest };
            if self.rate.delay(now, self.trend.usage(), self.queue.wait(), arriving) {
                self.queue.forget();
            }
        }
        self.loss.add(now, outcome.arrivals.len() as u64, outcome.lost);
        self.loss.judge(now, &mut self.rate);
    }

    /// How much may be sent, in bit/s on the wire.
    pub(super) fn estimate(&self) -> u64 {
        match self.remb.filter(|_| !self.reports) {
            Some(remb) => self.rate.bound(remb),
            None => self.rate.now(),
        }
    }

    /// The shortest round trip of the last seconds, and the last one; `None` if the peer sends no such reports.
    pub(super) fn round_trips(&self) -> Option<(Duration, Duration)> {
        self.queue.round_trip().zip(self.queue.last())
    }

    /// The share of packets lost lately, 0 to 1.
    pub(super) fn lost(&self) -> f64 {
        self.loss.share()
    }
}
