//! Encoded media for one peer, and the encoder that rests while there are no peers.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use gst::prelude::*;
use gst_utils::ConsumptionLink;

use super::{control::Shares, share::Share};

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

/// Feeds one peer until it is dropped.
#[derive(Debug)]
pub struct Feed {
    link: ConsumptionLink,
    peers: Peers,
    shares: Shares,
    share: Option<Share>,
}

impl Peers {
    /// Counts one more, before its link is made, so that the key frame requested then is encoded.
    pub(super) fn add(&self) -> Self {
        self.count.fetch_add(1, Relaxed);
        self.clone()
    }

    /// Counts one less.
    pub(super) fn remove(&self) {
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

impl Feed {
    pub(super) fn new(link: ConsumptionLink, peers: Peers, shares: Shares, share: Option<Share>) -> Self {
        share.iter().for_each(|share| shares.add(share));
        Self { link, peers, shares, share }
    }

    /// Frames handed to the peer.
    pub fn pushed(&self) -> u64 {
        self.link.pushed()
    }

    /// Frames dropped because the peer did not keep up.
    pub fn dropped(&self) -> u64 {
        self.link.dropped()
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.link.disconnect();
        self.peers.remove();
        self.share.iter().for_each(|share| self.shares.remove(share));
    }
}
