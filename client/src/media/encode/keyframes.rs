//! Limits key frames to one per interval, whichever peers request them.
//!
//! Every peer may request key frames, and a peer on a bad path does so often; each one costs all peers bandwidth.
//! Requests inside the interval are not lost: one key frame follows at its end.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use gst::prelude::*;

const DATA: gst::PadProbeType = gst::PadProbeType::BUFFER.union(gst::PadProbeType::BUFFER_LIST);

/// A receiver repeats its request after this time, as Chromium does.
const PATIENCE: Duration = Duration::from_millis(200);

/// The rule, without a clock.
#[derive(Debug)]
struct Coalescer {
    interval: Duration,
    last: Option<Instant>,
    pending: bool,
}

impl Coalescer {
    fn new(interval: Duration) -> Self {
        Self { interval, last: None, pending: false }
    }

    /// A receiver requests a key frame; returns whether to pass the request to the encoder now.
    fn request(&mut self, now: Instant) -> bool {
        let due = self.last.is_none_or(|last| now.duration_since(last) >= self.interval);
        self.pending = !due;
        if due {
            self.last = Some(now);
        }
        due
    }

    /// Whether a deferred request is due.
    fn is_due(&self, now: Instant) -> bool {
        self.pending && self.last.is_none_or(|last| now.duration_since(last) >= self.interval)
    }
}

/// Limits the requests that reach `encoder`.
pub fn limit(encoder: &gst::Element, interval: Duration) {
    let (Some(sink), Some(src)) = (encoder.static_pad("sink"), encoder.static_pad("src")) else { return };
    let rule = rule_on(&src, interval);
    let src = src.downgrade();
    sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        let due = rule.lock().unwrap_or_else(PoisonError::into_inner).is_due(Instant::now());
        if due && let Some(src) = src.upgrade() {
            src.send_event(request());
        }
        gst::PadProbeReturn::Ok
    });
}

/// Pictures that arrive without one that is passed on, before a receiver is taken to wait for a key frame.
const STUCK: u32 = 3;

/// Limits the requests of `receiver`, a depayloader that waits for a key frame, and repeats them until one comes: that of H264
/// requests only once, and the request or the key frame may be lost.
pub fn ask_rarely(receiver: &gst::Element) {
    let (Some(sink), Some(src)) = (receiver.static_pad("sink"), receiver.static_pad("src")) else { return };
    let rule = rule_on(&sink, PATIENCE);
    let waiting = Arc::new(AtomicU32::new(0));
    let passed = waiting.clone();
    src.add_probe(DATA, move |_, _| {
        passed.store(0, Relaxed);
        gst::PadProbeReturn::Ok
    });
    sink.add_probe(DATA, move |pad, info| {
        let is_stuck = ends_picture(info) && waiting.fetch_add(1, Relaxed) >= STUCK;
        let now = Instant::now();
        if is_stuck || rule.lock().unwrap_or_else(PoisonError::into_inner).is_due(now) {
            pad.push_event(request());
        }
        gst::PadProbeReturn::Ok
    });
}

/// The marker of an RTP packet is set on the last one of a picture.
fn ends_picture(info: &gst::PadProbeInfo<'_>) -> bool {
    let marked = |buffer: &gst::BufferRef| {
        let mut start = [0; 2];
        buffer.copy_to_slice(0, &mut start).is_ok() && start.last().is_some_and(|it| it & 0x80 != 0)
    };
    let in_list = || info.buffer_list().is_some_and(|list| list.iter().any(marked));
    info.buffer().map_or_else(in_list, |buffer| marked(buffer))
}

/// Drops requests that come through `pad` too soon.
fn rule_on(pad: &gst::Pad, interval: Duration) -> Arc<Mutex<Coalescer>> {
    let rule = Arc::new(Mutex::new(Coalescer::new(interval)));
    let ask = rule.clone();
    pad.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
        let is_request = info.event().is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event));
        let drop = is_request && !ask.lock().unwrap_or_else(PoisonError::into_inner).request(Instant::now());
        // Not `Drop`: GStreamer 1.22 would free the event a second time.
        if drop { gst::PadProbeReturn::Handled } else { gst::PadProbeReturn::Ok }
    });
    rule
}

/// A key frame request, as a receiver sends it.
pub fn request() -> gst::Event {
    gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_at_once_and_then_rarely() {
        gst::init().unwrap();
        let receiver = gst::ElementFactory::make("identity").build().unwrap();
        ask_rarely(&receiver);
        let asked = Arc::new(Mutex::new(0));
        let sender = gst::Pad::builder(gst::PadDirection::Src).name("sender").build();
        let count = asked.clone();
        sender.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, _| {
            *count.lock().unwrap() += 1;
            gst::PadProbeReturn::Handled
        });
        let sink = receiver.static_pad("sink").unwrap();
        sender.link(&sink).unwrap();
        [&sender, &sink].iter().for_each(|pad| pad.set_active(true).unwrap());
        let start = Instant::now();
        for _ in 0..100 {
            sink.push_event(request());
        }
        let most = 1 + start.elapsed().as_millis() / PATIENCE.as_millis();
        assert!((1..=most).contains(&*asked.lock().unwrap()), "{asked:?} of {most}");
    }

    /// Packets that end a picture, of which the receiver passes none on.
    #[test]
    fn a_receiver_that_passes_nothing_on_asks_again() {
        gst::init().unwrap();
        let receiver = gst::ElementFactory::make("valve").property("drop", true).build().unwrap();
        ask_rarely(&receiver);
        let asked = Arc::new(Mutex::new(0));
        let sender = gst::Pad::builder(gst::PadDirection::Src).name("sender").build();
        let count = asked.clone();
        sender.add_probe(gst::PadProbeType::EVENT_UPSTREAM, move |_, info| {
            let is_request = info.event().is_some_and(|event| gst_video::ForceKeyUnitEvent::is(event));
            *count.lock().unwrap() += u32::from(is_request);
            gst::PadProbeReturn::Handled
        });
        let sink = receiver.static_pad("sink").unwrap();
        sender.link(&sink).unwrap();
        receiver.set_state(gst::State::Playing).unwrap();
        sender.set_active(true).unwrap();
        sender.push_event(gst::event::StreamStart::new("test"));
        sender.push_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        let asked = || *asked.lock().unwrap();
        for number in 0..=STUCK {
            assert_eq!(asked(), 0, "{number} pictures");
            // Two packets, of which only the second ends the picture.
            for second in [96u8, 0x80 | 96] {
                sender.push(gst::Buffer::from_slice([0x80, second, 0, 0])).unwrap();
            }
        }
        assert_eq!(asked(), 1);
        receiver.set_state(gst::State::Null).unwrap();
    }

    #[test]
    fn one_per_interval_and_none_is_lost() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut rule = Coalescer::new(Duration::from_millis(500));
        assert!(rule.request(at(0)));
        assert!(!rule.is_due(at(600)));
        assert!(!rule.request(at(100)));
        assert!(!rule.request(at(499)));
        assert!(!rule.is_due(at(499)));
        assert!(rule.is_due(at(500)));
        assert!(rule.request(at(510)));
        assert!(!rule.is_due(at(1100)));
    }
}
