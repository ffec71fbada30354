//! Requests lost packets of the picture in time.
//!
//! GStreamer's RTP session sends requests with its next report, and between two regular reports only one report early
//! (RFC 4585, section 3.5.2), which is two to five requests per second: most come too late. So its jitter buffer still
//! decides what to request and when, but the requests of some milliseconds become a small packet of their own. Sound is
//! never sent again, so requests for it are dropped.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::prelude::*;

use super::probe::{DATA, pass_if};

/// Requests wait for further ones for this long: an outage loses many packets at once.
const GATHERS: Duration = Duration::from_millis(4);
/// Most requests of one packet, and most packets that are remembered.
const AT_ONCE: usize = 32;
const KEPT: usize = 512;
/// A round trip is assumed to be this short at least.
const SHORTEST: Duration = Duration::from_millis(8);

/// A stream and the numbers of packets.
type Batch = (u32, Vec<u16>);

/// Requests of one peer's session.
#[derive(Debug)]
pub(super) struct Requests {
    born: Instant,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    round_trip: Duration,
    /// Those that wait, all for the same stream, and since when.
    waiting: Vec<u16>,
    stream: u32,
    since: Duration,
    /// What was requested last, and when.
    asked: VecDeque<(u32, u16, Duration)>,
}

impl State {
    /// Adds a request, unless its answer may be on the way. Returns those that have to go first.
    fn add(&mut self, now: Duration, stream: u32, number: u16) -> Option<Batch> {
        let wait = self.round_trip.max(SHORTEST);
        let is_asked =
            |(it, no, at): &(u32, u16, Duration)| *it == stream && *no == number && now < *at + wait;
        if self.asked.iter().any(is_asked) {
            return None;
        }
        self.asked.push_back((stream, number, now));
        let excess = self.asked.len().saturating_sub(KEPT);
        self.asked.drain(..excess);
        let is_full = self.waiting.len() >= AT_ONCE || (self.stream != stream && !self.waiting.is_empty());
        let first = is_full.then(|| (self.stream, std::mem::take(&mut self.waiting)));
        self.stream = stream;
        if self.waiting.is_empty() {
            self.since = now;
        }
        self.waiting.push(number);
        first
    }

    /// Those that have waited long enough.
    fn due(&mut self, now: Duration) -> Option<Batch> {
        let is_due = !self.waiting.is_empty() && now.saturating_sub(self.since) >= GATHERS;
        is_due.then(|| (self.stream, std::mem::take(&mut self.waiting)))
    }
}

/// RTCP: an empty receiver report, which begins each compound, and a NACK (RFC 4585, section 6.2.1).
fn packet(ours: u32, theirs: u32, numbers: &[u16]) -> Vec<u8> {
    let ours = ours.to_be_bytes();
    let words = u16::try_from(2 + numbers.len()).unwrap_or(u16::MAX).to_be_bytes();
    let mut packet =
        [&[0x80, 201, 0, 1][..], &ours, &[0x81, 205], &words, &ours, &theirs.to_be_bytes()].concat();
    for number in numbers {
        packet.extend(number.to_be_bytes());
        packet.extend([0, 0]);
    }
    packet
}

impl Requests {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { born: Instant::now(), state: Mutex::default() })
    }

    /// Sets the round-trip time.
    pub(super) fn set_round_trip(&self, round_trip: Duration) {
        self.state().round_trip = round_trip;
    }

    /// Sends the requests that arrive at an RTP session.
    pub(super) fn watch_session(self: &Arc<Self>, session: &gst::Element) {
        let this = self.clone();
        session.connect_pad_added(move |session, pad| {
            let (this, session) = (this.clone(), session.downgrade());
            match pad.name().as_str() {
                "recv_rtp_src" => {
                    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
                        let request = info.event().and_then(|event| request(event));
                        let taken = request.zip(session.upgrade());
                        let taken = taken.is_some_and(|(request, session)| this.take(&session, request));
                        pass_if(!taken)
                    });
                }
                "recv_rtp_sink" => {
                    pad.add_probe(DATA, move |_, _| {
                        this.send_due(&session);
                        gst::PadProbeReturn::Ok
                    });
                }
                _ => {}
            }
        });
    }

    fn take(&self, session: &gst::Element, (stream, number): (u32, u16)) -> bool {
        let Some(exit) = exit(session) else { return false };
        let first = self.state().add(self.born.elapsed(), stream, number);
        // Not under the lock: the packet passes other elements.
        first.iter().for_each(|(stream, numbers)| exit.send(*stream, numbers));
        true
    }

    fn send_due(&self, session: &gst::glib::WeakRef<gst::Element>) {
        let due = self.state().due(self.born.elapsed());
        let Some((stream, numbers)) = due else { return };
        let exit = session.upgrade().and_then(|session| exit(&session));
        exit.iter().for_each(|exit| exit.send(stream, &numbers));
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where RTCP leaves a session, and the session's SSRC.
struct Exit {
    pad: gst::Pad,
    ours: u32,
}

/// `None` before the session's own first report: until then the pad has no caps.
fn exit(session: &gst::Element) -> Option<Exit> {
    let inner = session.property::<Option<gst::glib::Object>>("internal-session");
    let inner = inner.filter(|inner| inner.has_property("internal-ssrc"))?;
    let pad = session.static_pad("send_rtcp_src")?;
    pad.sticky_event::<gst::event::Segment>(0)?;
    Some(Exit { pad, ours: inner.property("internal-ssrc") })
}

impl Exit {
    fn send(&self, stream: u32, numbers: &[u16]) {
        // It fails only if the peer ends.
        let _ = self.pad.push(gst::Buffer::from_slice(packet(self.ours, stream, numbers)));
    }
}

/// Drops the requests of a jitter buffer that has sound.
pub(super) fn watch_buffer(buffer: &gst::Element) {
    let Some(sink) = buffer.static_pad("sink") else { return };
    sink.add_probe(gst::PadProbeType::EVENT_UPSTREAM, |pad, info| {
        let is_sound = || {
            let caps = pad.current_caps();
            caps.as_ref().and_then(|caps| caps.structure(0)?.get::<&str>("media").ok()) == Some("audio")
        };
        let drops = info.event().and_then(|event| request(event)).is_some() && is_sound();
        pass_if(!drops)
    });
}

/// SSRC and number of the requested packet. The jitter buffer does not know the SSRC; the elements after it add it.
fn request(event: &gst::EventRef) -> Option<(u32, u16)> {
    let structure = event.structure().filter(|it| it.name() == "GstRTPRetransmissionRequest")?;
    let number = u16::try_from(structure.get::<u32>("seqnum").ok()?).ok()?;
    Some((structure.get::<u32>("ssrc").unwrap_or_default(), number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::compound;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn requests_are_a_compound_of_their_own() {
        let bytes = packet(0x0102_0304, 0x0506_0708, &[0x090a, 0x0b0c]);
        let parts: Vec<_> =
            compound::packets(&bytes).map(|it| (it.kind, it.format, it.bytes.len())).collect();
        assert_eq!(parts, [(201, 0, 8), (205, 1, 20)]);
        assert_eq!(bytes[4..8], [1, 2, 3, 4]);
        assert_eq!(bytes[12..], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 0, 0, 11, 12, 0, 0]);
    }

    #[test]
    fn requests_of_some_milliseconds_are_gathered() {
        let mut state = State::default();
        assert!((0..20).all(|number| state.add(ms(0), 1, number).is_none()));
        assert_eq!(state.due(ms(3)), None);
        assert_eq!(state.due(ms(4)).map(|due| due.1.len()), Some(20));
        assert_eq!(state.due(ms(100)), None);
        let first = (100..200).filter_map(|number| state.add(ms(100), 1, number)).map(|first| first.1.len());
        assert_eq!(first.collect::<Vec<_>>(), [32, 32, 32], "what does not fit goes at once");
    }

    #[test]
    fn a_packet_is_requested_once_per_round_trip() {
        let mut state = State { round_trip: ms(50), ..State::default() };
        let mut asks = |now| {
            state.add(ms(now), 1, 7);
            state.due(ms(now + 4)).is_some()
        };
        assert_eq!([0, 10, 49, 50, 60, 100].map(&mut asks), [true, false, false, true, false, true]);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut state = State::default();
        (0..=u16::MAX).for_each(|number| drop(state.add(ms(0), 1, number)));
        assert!(state.asked.len() <= KEPT && state.waiting.len() <= AT_ONCE);
    }
}
