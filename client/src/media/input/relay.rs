//! Where live media and cards meet: the entry of an input's pipeline, which never waits and never ends.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{
        AtomicBool, AtomicU64,
        Ordering::{Acquire, Relaxed, Release},
    },
};

use gst_utils::{StreamProducer, streamproducer::ConsumerSettings};

use super::stamp::Stamps;
use crate::media::timing::Timing;

/// The most media that wait for the input's own thread.
const QUEUE: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// The entry of one input.
#[derive(Debug)]
pub(super) struct Relay {
    entry: gst_app::AppSrc,
    timing: Timing,
    stamps: Mutex<Stamps>,
}

/// How one attempt to open a source feeds the input. Closed, it feeds no more.
#[derive(Debug)]
pub(super) struct Tap {
    relay: Arc<Relay>,
    open: AtomicBool,
    /// Buffers so far.
    fed: AtomicU64,
    /// Whether the last buffer came.
    ended: AtomicBool,
}

impl Relay {
    pub(super) fn new(caps: &gst::Caps, timing: &Timing) -> Self {
        let entry = gst_app::AppSrc::builder().caps(caps).build();
        StreamProducer::configure_consumer_with(
            &entry,
            ConsumerSettings { max_time: QUEUE, ..ConsumerSettings::default() },
        );
        Self { entry, timing: timing.clone(), stamps: Mutex::default() }
    }

    pub(super) fn entry(&self) -> &gst_app::AppSrc {
        &self.entry
    }

    pub(super) fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Pushes a buffer with the running time that it claims; without one, it is of now.
    pub(super) fn push(&self, mut buffer: gst::Buffer, claimed: Option<gst::ClockTime>) {
        let now = self.timing.running_time().nseconds();
        let mut stamps = self.stamps.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(time) = stamps.next(now, claimed.map(gst::ClockTime::nseconds)) else { return };
        let data = buffer.make_mut();
        data.set_pts(gst::ClockTime::from_nseconds(time));
        data.set_dts(gst::ClockTime::NONE);
        data.unset_flags(gst::BufferFlags::DISCONT);
        // It fails only while the input ends. The lock keeps the buffers in order.
        let _ = self.entry.push_buffer(buffer);
    }
}

impl Tap {
    pub(super) fn new(relay: Arc<Relay>) -> Self {
        Self { relay, open: AtomicBool::new(true), fed: AtomicU64::new(0), ended: AtomicBool::new(false) }
    }

    pub(super) fn close(&self) {
        self.open.store(false, Relaxed);
    }

    /// The number of buffers so far.
    pub(super) fn fed(&self) -> u64 {
        self.fed.load(Relaxed)
    }

    /// No buffer follows.
    pub(super) fn end(&self) {
        self.ended.store(true, Release);
    }

    /// Whether no buffer follows. Then [`Tap::fed`] does not change any more.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.load(Acquire)
    }

    pub(super) fn relay(&self) -> &Relay {
        &self.relay
    }

    /// Pushes a buffer, unless the tap is closed.
    pub(super) fn push(&self, buffer: gst::Buffer, claimed: Option<gst::ClockTime>) {
        if self.open.load(Relaxed) {
            self.relay.push(buffer, claimed);
            self.fed.fetch_add(1, Relaxed);
        }
    }
}
