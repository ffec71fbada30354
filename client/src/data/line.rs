//! One joined data channel of one peer.

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use gst::glib::{self, prelude::*};
use gst_webrtc::{WebRTCDataChannel, WebRTCDataChannelState as Ready};

use super::{
    farewell::{Farewell, Step},
    floor::Who,
    intake::{Intake, Queue},
};

/// Bytes that may wait in the channel before its source has to.
const FULL: u64 = 256 * 1024;
/// Below this, `on-buffered-amount-low` wakes the source.
const LOW: u64 = 64 * 1024;
/// How often a full channel is looked at, in case no signal comes.
const LOOK: Duration = Duration::from_millis(250);

/// A message for the peer.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    Text(String),
    Bytes(glib::Bytes),
}

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    /// The channel took it.
    Yes,
    /// The channel is closed.
    Closed,
    /// The channel was full until the time limit.
    Full,
}

/// A channel and its state.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) key: u64,
    pub(super) who: Who,
    /// Weak: webrtcbin must not outlive its peer.
    channel: glib::WeakRef<WebRTCDataChannel>,
    state: Mutex<State>,
    changed: Condvar,
    farewell: Mutex<Farewell>,
    pub(super) intake: Arc<Intake>,
    /// Where its messages go.
    pub(super) queue: Arc<Queue>,
}

#[derive(Debug, Default)]
struct State {
    is_open: bool,
    is_closed: bool,
}

impl Line {
    pub(super) fn new(
        key: u64,
        who: Who,
        channel: &WebRTCDataChannel,
        intake: Arc<Intake>,
        queue: Arc<Queue>,
    ) -> Self {
        channel.set_buffered_amount_low_threshold(LOW);
        let (state, changed, farewell) = Default::default();
        Self { key, who, channel: channel.downgrade(), state, changed, farewell, intake, queue }
    }

    /// Marks it as open; true the first time.
    pub(super) fn open(&self) -> bool {
        let mut state = self.state();
        !state.is_closed && !std::mem::replace(&mut state.is_open, true)
    }

    /// Marks it as closed; true the first time.
    pub(super) fn close(&self) -> bool {
        let first = !std::mem::replace(&mut self.state().is_closed, true);
        self.changed.notify_all();
        first
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Waits until it is closed, at most this long; returns whether it is.
    pub(super) fn wait_closed(&self, limit: Duration) -> bool {
        let wait = self.changed.wait_timeout_while(self.state(), limit, |state| !state.is_closed);
        wait.unwrap_or_else(PoisonError::into_inner).0.is_closed
    }

    /// The channel has room again.
    pub(super) fn wake(&self) {
        self.changed.notify_all();
    }

    /// Takes a step towards the end of the channel.
    pub(super) fn part(&self, step: impl FnOnce(&mut Farewell) -> Vec<Step>) -> Vec<Step> {
        step(&mut self.farewell.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the channel still has messages to send.
    fn is_sending(&self) -> bool {
        self.channel.upgrade().is_some_and(|channel| channel.buffered_amount() > 0)
    }

    /// Waits for the end of the channel after our last message. A peer that does not know of ends has `limit` for it
    /// once everything has left.
    pub(super) fn wait_for_peer(&self, limit: Duration) {
        let mut quiet = Instant::now();
        while !self.wait_closed(LOOK) {
            let answered = self.farewell.lock().unwrap_or_else(PoisonError::into_inner).is_answered();
            if answered || self.is_sending() {
                quiet = Instant::now();
            } else if quiet.elapsed() > limit {
                return;
            }
        }
    }

    /// Closes the channel. What is under way may be lost.
    pub(super) fn hang_up(&self) {
        self.channel.upgrade().iter().for_each(WebRTCDataChannel::close);
    }

    /// Sends a message, and waits for room first, for ever without `limit`.
    pub(super) fn send(&self, message: &Outgoing, limit: Option<Duration>) -> Sent {
        let until = limit.map(|limit| Instant::now() + limit);
        loop {
            let Some(channel) = self.channel.upgrade().filter(|_| !self.is_closed()) else {
                return Sent::Closed;
            };
            if channel.ready_state() != Ready::Open {
                return Sent::Closed;
            }
            if channel.buffered_amount() <= FULL {
                return if say(&channel, message) { Sent::Yes } else { Sent::Closed };
            }
            drop(channel);
            if until.is_some_and(|until| until <= Instant::now()) {
                return Sent::Full;
            }
            let _ = self.changed.wait_timeout(self.state(), LOOK);
        }
    }

    /// Sends a notice, also while the channel is full; but peers that do not read at all get none.
    pub(super) fn tell(&self, text: &str) {
        let channel = self.channel.upgrade().filter(|it| it.ready_state() == Ready::Open);
        if let Some(channel) = channel.filter(|channel| channel.buffered_amount() <= 2 * FULL) {
            say(&channel, &Outgoing::Text(text.into()));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(channel: &WebRTCDataChannel, message: &Outgoing) -> bool {
    match message {
        // GStreamer 1.22 cannot send an empty message: SCTP has none. A line break stands for it.
        Outgoing::Text(text) => {
            let text = if text.is_empty() { "\n" } else { &**text };
            channel.send_string_full(Some(text)).is_ok()
        }
        Outgoing::Bytes(bytes) => channel.send_data_full(Some(bytes)).is_ok(),
    }
}
