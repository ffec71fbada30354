//! Encoded media for one peer, which can be moved to another encoder, and the encoder that rests while there are no peers.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use gst::prelude::*;
use gst_utils::{ConsumptionLink, StreamProducer};

use super::{codec::Format, control::Shares, keyframes, seam::Seam, share::Share, tiers::Tier};
use crate::sdp::Kind;

/// Frames that are encoded without any peer: the first ones make the encoder allocate its memory, which would otherwise
/// delay the first peer.
const WARM_UP: usize = 3;

/// Counts the peers of an encoder.
#[derive(Debug, Clone)]
pub(super) struct Peers {
    count: Arc<AtomicUsize>,
    /// When the last one left.
    left: Arc<Mutex<Instant>>,
}

impl Default for Peers {
    fn default() -> Self {
        Self { count: Arc::default(), left: Arc::new(Mutex::new(Instant::now())) }
    }
}

impl Peers {
    /// Counts one more, before its link is made, so that the key frame requested then is encoded.
    fn add(&self) {
        self.count.fetch_add(1, Relaxed);
    }

    /// Counts one less.
    fn remove(&self) {
        *self.left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        self.count.fetch_sub(1, Relaxed);
    }

    /// Since when there has been no peer; `None` if there is one.
    pub(super) fn none_since(&self) -> Option<Instant> {
        let left = *self.left.lock().unwrap_or_else(PoisonError::into_inner);
        (self.count.load(Relaxed) == 0).then_some(left)
    }

    /// Drops the frames in front of `encoder`, or what precedes it, while it has no peers.
    pub(super) fn rest(&self, encoder: &gst::Element) {
        let Some(sink) = encoder.static_pad("sink") else { return };
        let (peers, frames) = (self.count.clone(), AtomicUsize::new(0));
        sink.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            let idle = peers.load(Relaxed) == 0 && frames.load(Relaxed) >= WARM_UP;
            if idle {
                // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
                return gst::PadProbeReturn::Handled;
            }
            frames.fetch_add(1, Relaxed);
            gst::PadProbeReturn::Ok
        });
    }
}

/// What an encoder is to its peers.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// The encoder's number, which its frames of video carry as their offset.
    pub(super) encoder: u64,
    pub(super) format: Format,
    pub(super) tier: Tier,
    pub(super) producer: StreamProducer,
    pub(super) peers: Peers,
    pub(super) shares: Shares,
}

impl Place {
    fn enter(&self, share: Option<&Share>) {
        self.peers.add();
        share.iter().for_each(|share| self.shares.add(share));
    }

    fn leave(&self, share: Option<&Share>) {
        share.iter().for_each(|share| self.shares.remove(share));
        self.peers.remove();
    }
}

/// Feeds one peer until it is dropped.
#[derive(Debug)]
pub struct Feed(Arc<Lane>);

/// The way of encoded media to one peer.
#[derive(Debug)]
pub(in crate::media) struct Lane {
    pub(in crate::media) id: u64,
    pub(in crate::media) format: Format,
    appsrc: gst_app::AppSrc,
    share: Option<Share>,
    state: Mutex<State>,
    seam: Mutex<Seam>,
}

#[derive(Debug)]
struct State {
    /// `None` once the feed is dropped.
    link: Option<ConsumptionLink>,
    at: Place,
    /// The encoder whose next key frame moves the peer.
    next: Option<Next>,
    /// Watches the seam.
    probe: Option<gst::PadProbeId>,
}

#[derive(Debug)]
struct Next {
    place: Place,
    probe: Option<gst::PadProbeId>,
}

impl Feed {
    /// `None` if `appsrc` is fed already.
    pub(super) fn new(place: Place, appsrc: &gst_app::AppSrc, share: Option<Share>) -> Option<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        place.enter(share.as_ref());
        let Ok(link) = place.producer.add_consumer_with(appsrc, super::settings()) else {
            place.leave(share.as_ref());
            return None;
        };
        let (format, encoder) = (place.format, place.encoder);
        let lane = Arc::new(Lane {
            id: COUNT.fetch_add(1, Relaxed),
            format,
            appsrc: appsrc.clone(),
            share,
            state: Mutex::new(State { link: Some(link), at: place, next: None, probe: None }),
            seam: Mutex::new(Seam::new(encoder)),
        });
        if format.kind() == Kind::Video {
            lane.state().probe = lane.watch();
        }
        Some(Self(lane))
    }

    /// Frames handed to the peer.
    pub fn pushed(&self) -> u64 {
        self.0.state().link.as_ref().map_or(0, ConsumptionLink::pushed)
    }

    /// Frames dropped because the peer did not keep up.
    pub fn dropped(&self) -> u64 {
        self.0.state().link.as_ref().map_or(0, ConsumptionLink::dropped)
    }

    /// The encoder that feeds it.
    pub fn tier(&self) -> Tier {
        self.0.state().at.tier
    }

    pub(in crate::media) fn lane(&self) -> Weak<Lane> {
        Arc::downgrade(&self.0)
    }
}

impl Lane {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The bit rate that its path carries; `None` for a recording, which takes what there is.
    pub(in crate::media) fn bits(&self) -> Option<u64> {
        self.share.as_ref().map(Share::bits)
    }

    /// Where it is, or is on its way to.
    pub(in crate::media) fn goal(&self) -> Tier {
        let state = self.state();
        state.next.as_ref().map_or(state.at.tier, |next| next.place.tier)
    }

    /// Moves the peer to the encoder at `place` with that encoder's next key frame, which is requested. Until then it is fed as before.
    pub(super) fn go_to(self: &Arc<Self>, place: Place) {
        let mut state = self.state();
        if state.link.is_none() || state.next.as_ref().is_some_and(|next| next.place.encoder == place.encoder)
        {
            return;
        }
        self.stay(&mut state);
        let pad = place.producer.appsink().static_pad("sink");
        let Some(pad) = pad.filter(|_| state.at.encoder != place.encoder) else { return };
        place.enter(self.share.as_ref());
        self.share.iter().for_each(|share| state.at.shares.leaves(share, true));
        let (lane, encoder) = (Arc::downgrade(self), place.encoder);
        // In front of the producer, which then delivers this very frame.
        let probe = pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let is_key = info.buffer().is_some_and(|it| !it.flags().contains(gst::BufferFlags::DELTA_UNIT));
            let Some(lane) = lane.upgrade().filter(|_| is_key) else { return gst::PadProbeReturn::Ok };
            lane.arrive(encoder);
            gst::PadProbeReturn::Remove
        });
        state.next = Some(Next { place, probe });
        drop(state);
        pad.push_event(keyframes::request());
    }

    /// Takes back the last [`Lane::go_to`], if the peer was not moved yet.
    fn stay(&self, state: &mut State) {
        let Some(Next { place, probe }) = state.next.take() else { return };
        let pad = place.producer.appsink().static_pad("sink");
        pad.zip(probe).into_iter().for_each(|(pad, probe)| pad.remove_probe(probe));
        place.leave(self.share.as_ref());
        self.share.iter().for_each(|share| state.at.shares.leaves(share, false));
    }

    /// On the encoder's thread, in front of its key frame.
    fn arrive(&self, encoder: u64) {
        let mut state = self.state();
        let State { link: Some(link), at, next, .. } = &mut *state else { return };
        let Some(Next { place, .. }) = next.take_if(|next| next.place.encoder == encoder) else { return };
        self.seam.lock().unwrap_or_else(PoisonError::into_inner).switch(encoder);
        if link.change_producer(&place.producer, false).is_err() {
            tracing::debug!("a peer is fed twice");
        }
        tracing::debug!(format = %self.format, from = at.tier.name(), to = place.tier.name(), "a peer gets another picture");
        std::mem::replace(at, place).leave(self.share.as_ref());
    }

    /// Keeps to the seam between two encoders, where frames leave the peer's queue.
    fn watch(self: &Arc<Self>) -> Option<gst::PadProbeId> {
        let lane = Arc::downgrade(self);
        self.appsrc.static_pad("src")?.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let Some((lane, buffer)) = lane.upgrade().zip(info.buffer_mut()) else {
                return gst::PadProbeReturn::Ok;
            };
            let Some(time) = buffer.pts() else { return gst::PadProbeReturn::Ok };
            let mut seam = lane.seam.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(time) = seam.judge(buffer.offset(), time.nseconds()) else {
                // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
                return gst::PadProbeReturn::Handled;
            };
            let buffer = buffer.make_mut();
            buffer.set_pts(gst::ClockTime::from_nseconds(time));
            // `GST_BUFFER_OFFSET_NONE`: payloaders may compute times from the offset.
            buffer.set_offset(u64::MAX);
            gst::PadProbeReturn::Ok
        })
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        let Lane { appsrc, share, .. } = &*self.0;
        let mut state = self.0.state();
        self.0.stay(&mut state);
        state.link = None;
        state.at.leave(share.as_ref());
        let pad = appsrc.static_pad("src");
        pad.zip(state.probe.take()).into_iter().for_each(|(pad, probe)| pad.remove_probe(probe));
    }
}
