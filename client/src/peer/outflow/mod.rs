//! Bounds what is sent to one peer, and how much of it the peer can cause.
//!
//! RTCP feedback makes a sender retransmit packets and send key frames. On a narrow path that increases the loss, and a
//! hostile peer can request everything all the time. Therefore a budget bounds what is sent to a peer ([`budget`]), a
//! packet is retransmitted at most once per round trip ([`resend`]), the key frames of one peer are limited
//! ([`keyframes`]), and a flood of feedback ends the peer ([`feedback`]). These modules are pure. This file has the
//! probes on webrtcbin's inner pads:
//!
//! ```text
//! rtpredenc ──→ funnel ──→ rtprtxsend ──→ rtpsession ──→ SRTP ──→ nicesink
//!     video is              requests         feedback              last
//!     paced                 are judged       is judged             limit
//! ```

pub(super) mod bucket;
mod budget;
mod feedback;
mod keyframes;
mod resend;
mod window;

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;

use self::{
    budget::Budget,
    feedback::{Feedback, Verdict},
    keyframes::KeyFrames,
    resend::History,
};
use super::{
    Voice,
    congestion::Congestion,
    probe::{DATA, DROP, each, pass_if},
};
use crate::{
    media::{encode::share::Share, target::Target},
    rtp,
    stats::PeerStats,
};

/// Time between two transport-wide reports, as in Chromium.
const REPORT_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(100);
/// What RTCP may need, in bit/s.
const REPORT_RATE: f64 = 240_000.0;
/// The mean time between two regular reports.
const REGULAR_INTERVAL: gst::ClockTime = gst::ClockTime::from_mseconds(500);

/// Bounds the packets sent to one peer.
#[derive(Debug)]
pub(super) struct Outflow {
    born: Instant,
    /// What the encoders aim at, without regard to the path.
    target: Target,
    share: Share,
    state: Mutex<State>,
    closed: Condvar,
    /// The ID of the header extension with transport-wide sequence numbers; 0 before it is known, which is no ID (RFC 8285).
    numbers: AtomicU8,
}

#[derive(Debug)]
struct State {
    closed: bool,
    /// The peer has been silent for so long that nothing may be sent to it.
    has_no_consent: bool,
    budget: Budget,
    /// Whether data channels are joined to something: SCTP limits their rate, and they must not displace media.
    carries_data: bool,
    congestion: Congestion,
    /// The estimate and the share of losses that budget and encoder follow.
    aim: (u64, f64),
    history: History,
    feedback: Feedback,
    key_frames: KeyFrames,
    /// The deferred key frame request.
    put_off: Option<gst::Event>,
    counts: Counts,
}

#[derive(Debug, Default)]
struct Counts {
    again: u64,
    refused: u64,
    ignored: u64,
    withheld: u64,
}

impl Outflow {
    /// For a peer to which the encoders send at `target`. With `carries_data`, data channels are outside the budget.
    pub(super) fn new(target: Target, carries_data: bool) -> Arc<Self> {
        let state = State {
            closed: false,
            has_no_consent: false,
            budget: Budget::new(target),
            carries_data,
            congestion: Congestion::new(target.most()),
            aim: (target.most(), 0.0),
            history: History::default(),
            feedback: Feedback::default(),
            key_frames: KeyFrames::default(),
            put_off: None,
            counts: Counts::default(),
        };
        let share = Share::new(target.encoder());
        let (state, closed) = (Mutex::new(state), Condvar::new());
        Arc::new(Self { born: Instant::now(), target, share, state, closed, numbers: AtomicU8::new(0) })
    }

    /// Sets the ID of the header extension with transport-wide sequence numbers.
    pub(super) fn count_by(&self, id: Option<u8>) {
        self.numbers.store(id.unwrap_or(0), Relaxed);
    }

    /// The ID that [`Outflow::count_by`] has set.
    pub(super) fn numbers(&self) -> Option<u8> {
        Some(self.numbers.load(Relaxed)).filter(|id| *id != 0)
    }

    /// The shortest round trip of the last seconds, by the peer's transport-wide reports.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.state().congestion.round_trips().map(|(shortest, _)| shortest)
    }

    /// The part of the picture that this peer can get.
    pub(super) fn share(&self) -> Share {
        self.share.clone()
    }

    /// Whether the peer may cause a key frame now; if so, it counts. For requests that its packets have no part in.
    pub(super) fn may_ask(&self) -> bool {
        let mut state = self.state();
        let granted = state.key_frames.request(self.now());
        // This key frame also answers the deferred request.
        state.put_off.take_if(|_| granted);
        granted
    }

    /// Adds probes to an element that webrtcbin has added inside itself.
    pub(super) fn watch(self: &Arc<Self>, factory: &str, element: &gst::Element, voice: &Voice) {
        let pad = |name| element.static_pad(name);
        match factory {
            "rtpredenc" => pad("src").iter().for_each(|pad| self.pace(pad)),
            "rtprtxsend" => pad("src").iter().for_each(|pad| self.judge_requests(pad)),
            "nicesink" => pad("sink").iter().for_each(|pad| self.bound(pad)),
            "rtpsession" => {
                schedule_reports(element);
                self.judge_feedback(element, voice);
            }
            _ => {}
        }
    }

    /// Whether the peer still consents to what is sent (RFC 7675, section 5.1). Otherwise only ICE's checks are sent.
    pub(super) fn set_consent(&self, consents: bool) {
        self.state().has_no_consent = !consents;
    }

    /// Ends all waits, now and later.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.closed.notify_all();
    }

    /// Adds this module's counts to `stats`, and takes the round-trip time from it.
    pub(super) fn fill_in(&self, stats: &mut PeerStats) {
        let mut state = self.state();
        let reported = stats.rtt_ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        // Receiver reports come seldom.
        let (shortest, last) = state.congestion.round_trips().unzip();
        if let Some(round_trip) = shortest.or(reported) {
            state.history.set_round_trip(round_trip);
        }
        stats.rtt_ms = last.map(|last| (last.as_secs_f64() * 100_000.0).round() / 100.0).or(stats.rtt_ms);
        let Counts { again, refused, ignored, withheld } = state.counts;
        stats.sent.retransmitted = again;
        stats.sent.retransmissions_refused = refused;
        stats.sent.feedback_ignored = ignored;
        stats.sent.withheld = withheld;
        stats.sent.estimate = Some(state.congestion.estimate());
    }

    /// Delays video packets beyond the limit. Here they have a thread of their own, before the funnel joins them with
    /// audio.
    fn pace(self: &Arc<Self>, pad: &gst::Pad) {
        let (this, picture) = (self.clone(), OnceLock::new());
        pad.add_probe(DATA, move |pad, info| {
            if *picture.get_or_init(|| is_picture(pad)) {
                this.wait_for(bytes(info));
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn wait_for(&self, bytes: u64) {
        let mut state = self.state();
        while !state.closed {
            let wait = state.budget.first(self.now(), bytes);
            if wait.is_zero() {
                return;
            }
            state = self.closed.wait_timeout(state, wait).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Passes requests for packets and key frames that are within the limits, and drops others.
    fn judge_requests(self: &Arc<Self>, pad: &gst::Pad) {
        let this = self.clone();
        pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let fine = info.event().is_none_or(|event| this.takes(event));
            pass_if(fine)
        });
        let this = self.clone();
        pad.add_probe(DATA, move |pad, info| {
            this.remember(info);
            // Not under the lock: the event passes the probe above, which locks.
            let put_off = this.due_key_frame();
            if let Some(event) = put_off {
                pad.send_event(event);
            }
            gst::PadProbeReturn::Ok
        });
    }

    fn takes(&self, event: &gst::EventRef) -> bool {
        let Some(structure) = event.structure() else { return true };
        match structure.name().as_str() {
            "GstRTPRetransmissionRequest" => {
                let number = |field| structure.get::<u32>(field).ok();
                let (ssrc, packet) = (number("ssrc"), number("seqnum"));
                let packet = packet.and_then(|packet| u16::try_from(packet).ok());
                ssrc.zip(packet).is_some_and(|(ssrc, packet)| self.takes_request(ssrc, packet))
            }
            "GstForceKeyUnit" => self.takes_key_frame(event),
            _ => true,
        }
    }

    fn takes_request(&self, ssrc: u32, packet: u16) -> bool {
        let (mut state, now) = (self.state(), self.now());
        let State { budget, history, counts, .. } = &mut *state;
        let due = history.due(now, ssrc, packet).is_some_and(|bytes| budget.again(now, u64::from(bytes)));
        if due {
            history.sent_again(now, ssrc, packet);
            counts.again += 1;
        } else {
            counts.refused += 1;
        }
        due
    }

    fn takes_key_frame(&self, event: &gst::EventRef) -> bool {
        let mut state = self.state();
        let granted = state.key_frames.request(self.now());
        state.put_off = (!granted).then(|| event.to_owned());
        granted
    }

    fn due_key_frame(&self) -> Option<gst::Event> {
        let mut state = self.state();
        let due = state.key_frames.is_due(self.now());
        state.put_off.take_if(|_| due)
    }

    fn remember(&self, info: &gst::PadProbeInfo<'_>) {
        let mut state = self.state();
        let State { history, feedback, .. } = &mut *state;
        each(info, |buffer| {
            if let Some((ssrc, number)) = header(buffer) {
                history.sent(ssrc, number, u32::try_from(buffer.size()).unwrap_or(u32::MAX));
                feedback.sent();
            }
        });
    }

    /// Judges feedback before the RTP session handles it.
    fn judge_feedback(self: &Arc<Self>, session: &gst::Element, voice: &Voice) {
        let (this, voice) = (self.clone(), voice.clone());
        session.connect_pad_added(move |_, pad| {
            if pad.name() != "recv_rtcp_sink" {
                return;
            }
            let (this, voice) = (this.clone(), voice.clone());
            pad.add_probe(DATA, move |_, info| {
                match this.judge(info) {
                    Verdict::Take => return gst::PadProbeReturn::Ok,
                    Verdict::Ignore => {}
                    Verdict::Flood => voice.flood("feedback beyond what any receiver needs"),
                }
                DROP
            });
        });
    }

    fn judge(&self, info: &gst::PadProbeInfo<'_>) -> Verdict {
        let (mut state, now) = (self.state(), self.now());
        let State { feedback, congestion, counts, .. } = &mut *state;
        let mut worst = Verdict::Take;
        each(info, |buffer| {
            let Ok(bytes) = buffer.map_readable() else { return };
            let mut verdict = feedback.judge(now, &bytes);
            if verdict == Verdict::Take && !congestion.recognises(&bytes) {
                verdict = Verdict::Ignore;
            }
            if verdict == Verdict::Take {
                congestion.hear(now, &bytes);
            }
            worst = worst.max(verdict);
        });
        counts.ignored += u64::from(worst != Verdict::Take);
        self.aim(&mut state, now);
        worst
    }

    /// Lets budget and encoder follow the estimate.
    fn aim(&self, state: &mut State, now: Duration) {
        let State { congestion, budget, aim, .. } = state;
        let found = (congestion.estimate(), congestion.lost());
        if std::mem::replace(aim, found) == found {
            return;
        }
        let target = self.target.within(found.0, found.1);
        budget.aim(now, target);
        self.share.set(target.encoder(), (found.1 * 100.0).ceil() as u32);
    }

    /// Counts all packets that leave, and drops those beyond the last limit.
    fn bound(self: &Arc<Self>, pad: &gst::Pad) {
        let this = self.clone();
        pad.add_probe(DATA, move |_, info| {
            let (mut state, now, bytes) = (this.state(), this.now(), bytes(info));
            if state.has_no_consent {
                return DROP;
            }
            let State { budget, congestion, counts, carries_data, .. } = &mut *state;
            let leaves = match kind(info) {
                Packet::Media => {
                    let leaves = budget.leaves(now, bytes);
                    if let Some(id) = this.numbers().filter(|_| leaves) {
                        each(info, |buffer| count(congestion, now, buffer, id));
                    }
                    leaves
                }
                Packet::Reports => budget.reports(now, bytes),
                Packet::Other => {
                    if !*carries_data {
                        budget.other(now, bytes);
                    }
                    true
                }
            };
            counts.withheld += u64::from(!leaves);
            this.aim(&mut state, now);
            pass_if(leaves)
        });
    }

    fn now(&self) -> Duration {
        self.born.elapsed()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sets how often the session reports. Without an interval, GStreamer sends a transport-wide report for each frame.
///
/// Such a report is early feedback (RFC 4585, section 3.5), and early feedback delays the regular reports on the streams. In
/// 1.22 it can even replace them, if the interval that the share of RTCP allows is below the 100 ms that early feedback may
/// wait (`rtp_session_request_early_rtcp` in rtpsession.c): then neither side learns losses and the round trip. The other way round, a
/// long interval delays the transport-wide reports. So the share allows a very short interval, and what is sent is limited
/// by the two intervals.
fn schedule_reports(session: &gst::Element) {
    session.set_property("rtcp-min-interval", REGULAR_INTERVAL.nseconds());
    session.set_property("rtcp-fraction", REPORT_RATE);
    let session = session.property::<Option<gst::glib::Object>>("internal-session");
    if let Some(session) = session.filter(|session| session.has_property("twcc-feedback-interval")) {
        session.set_property("twcc-feedback-interval", REPORT_INTERVAL.nseconds());
    }
}

fn is_picture(pad: &gst::Pad) -> bool {
    let caps = pad.current_caps();
    let media = caps.as_ref().and_then(|caps| caps.structure(0)?.get::<&str>("media").ok());
    media == Some("video")
}

fn bytes(info: &gst::PadProbeInfo<'_>) -> u64 {
    let mut bytes = 0;
    each(info, |buffer| bytes += u64::try_from(buffer.size()).unwrap_or(u64::MAX));
    bytes
}

/// Tells the congestion control about a packet that leaves, by its transport-wide sequence number.
fn count(congestion: &mut Congestion, now: Duration, packet: &gst::BufferRef, id: u8) {
    let mut start = [0; rtp::LOOK];
    let number = rtp::extension(rtp::start(packet, &mut start), id);
    if let Some(number) = number.and_then(|number| number.try_into().ok()) {
        congestion.sent(now, u16::from_be_bytes(number), packet.size() as u64 + budget::AROUND);
    }
}

/// SSRC and sequence number (RFC 3550, section 5.1).
fn header(buffer: &gst::BufferRef) -> Option<(u32, u16)> {
    // Header and payload are separate memories: mapping the whole buffer would copy it.
    let bytes = buffer.peek_memory(0).map_readable().ok()?;
    let number = u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?);
    Some((u32::from_be_bytes(bytes.get(8..12)?.try_into().ok()?), number))
}

/// The kind of a packet that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packet {
    /// SRTP.
    Media,
    /// SRTCP.
    Reports,
    /// DTLS, for example.
    Other,
}

/// Classifies a packet by its first bytes (RFC 7983, and RFC 5761, section 4).
fn kind(info: &gst::PadProbeInfo<'_>) -> Packet {
    let mut kind = Packet::Other;
    each(info, |buffer| {
        let mut start = [0; 2];
        let _ = buffer.copy_to_slice(0, &mut start);
        kind = match start {
            [128..192, 192..224] => Packet::Reports,
            [128..192, _] => Packet::Media,
            _ => Packet::Other,
        };
    });
    kind
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;
    use crate::media::{encode::keyframes::request, target::tests::target};

    #[test]
    fn key_frames_after_gaps_and_those_that_the_peer_requests_have_one_limit() {
        gst::init().unwrap();
        let outflow = Outflow::new(target(&[]), false);
        // Four at once; the first second has one more at most.
        let granted = (0..20).filter(|_| outflow.may_ask() || outflow.takes_key_frame(&request())).count();
        assert!((4..=4 + outflow.now().as_secs() as usize).contains(&granted), "{granted}");
    }

    #[test]
    fn nothing_is_sent_to_a_peer_without_consent() {
        gst::init().unwrap();
        let outflow = Outflow::new(target(&[]), false);
        let (pad, received) = (gst::Pad::builder(gst::PadDirection::Sink), Arc::new(AtomicUsize::new(0)));
        let count = received.clone();
        let pad = pad
            .chain_function(move |_, _, _| {
                count.fetch_add(1, Relaxed);
                Ok(gst::FlowSuccess::Ok)
            })
            .build();
        pad.set_active(true).unwrap();
        pad.send_event(gst::event::StreamStart::new("packets"));
        pad.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        outflow.bound(&pad);
        // DTLS, RTP and RTCP.
        let send = || {
            for start in [[23, 254], [128, 96], [128, 200]] {
                pad.chain(gst::Buffer::from_slice([&start[..], &[0; 30]].concat())).unwrap();
            }
            received.swap(0, Relaxed)
        };
        assert_eq!(send(), 3);
        outflow.set_consent(false);
        assert_eq!(send(), 0);
        outflow.set_consent(true);
        assert_eq!(send(), 3);
    }

    #[test]
    fn a_key_frame_after_a_gap_answers_the_deferred_request() {
        gst::init().unwrap();
        let outflow = Outflow::new(target(&[]), false);
        while outflow.takes_key_frame(&request()) {}
        assert!(outflow.state().put_off.is_some());
        outflow.state().key_frames = KeyFrames::default();
        assert!(outflow.may_ask());
        assert!(outflow.state().put_off.is_none());
    }
}
