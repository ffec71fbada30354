//! Sends a pipeline's events to the app's loop, without waiting and with bounded memory.
//!
//! Callbacks of GStreamer must not wait, so the channel to the loop is unbounded; instead, each pipeline has a bound of
//! its own. A pipeline that reaches it, because of what its peer sends, is silenced: its last event is
//! [`PeerEvent::Flood`], which ends that peer and no other.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use async_std::channel::Sender;

use super::PeerEvent;

/// Events of one pipeline that may wait for the loop. An honest call causes some dozens in its busiest moment.
const MAX_WAITING: usize = 512;
/// Bytes of text in these events.
const MAX_BYTES: usize = 4 << 20;
/// Text messages within one second. People do not read faster, and each one is a line of output.
const MAX_TEXTS: u32 = 200;
const SECOND: Duration = Duration::from_secs(1);
/// Data channels of one peer: webrtcbin creates elements and threads for each.
const MAX_CHANNELS: usize = 16;
/// SCTP streams that the peer begins, each time that it does: to send, or to reset one that it never used.
const MAX_STREAMS: usize = 2 * MAX_CHANNELS;

/// The channel to the app's loop.
pub type Inbox = Sender<Said>;

/// An event and the pipeline that it comes from.
#[derive(Debug)]
pub struct Said {
    /// The peer's slot.
    pub slot: u64,
    /// Counts the pipelines of that peer.
    pub generation: u64,
    /// The event.
    pub event: PeerEvent,
    /// Released when this is dropped.
    _place: Option<Place>,
}

/// A pipeline's way to the loop.
#[derive(Debug, Clone)]
pub struct Voice {
    slot: u64,
    generation: u64,
    inbox: Inbox,
    load: Arc<Load>,
}

/// How many events of a pipeline wait.
#[derive(Debug, Default)]
struct Load {
    silent: AtomicBool,
    events: AtomicUsize,
    bytes: AtomicUsize,
    channels: AtomicUsize,
    streams: AtomicUsize,
    texts: Mutex<Window>,
}

/// Counts text messages within one second.
#[derive(Debug, Default)]
struct Window {
    since: Option<Instant>,
    count: u32,
}

/// A place in the queue.
#[derive(Debug)]
struct Place {
    load: Arc<Load>,
    bytes: usize,
}

impl Voice {
    /// For pipeline number `generation` of the peer in `slot`.
    pub fn new(slot: u64, generation: u64, inbox: Inbox) -> Self {
        Self { slot, generation, inbox, load: Arc::default() }
    }

    /// The number of the pipeline.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Sends an event to the loop.
    pub fn tell(&self, event: PeerEvent) {
        if self.is_silent() {
            return;
        }
        match Place::take(&self.load, event.bytes()) {
            Some(place) => self.send(event, Some(place)),
            None => self.flood("more events than can be handled"),
        }
    }

    /// Forwards a text message.
    pub(super) fn text(&self, text: &str) {
        let mut window = self.load.texts.lock().unwrap_or_else(PoisonError::into_inner);
        if window.count(Instant::now()) > MAX_TEXTS {
            self.flood("too many texts per second");
        } else {
            self.tell(PeerEvent::Text(text.to_owned()));
        }
    }

    /// Counts a data channel that the peer opened; false if it is one too many.
    pub(super) fn channel(&self) -> bool {
        let welcome = self.load.channels.fetch_add(1, Relaxed) < MAX_CHANNELS;
        if !welcome {
            self.flood("too many data channels");
        }
        welcome
    }

    /// Counts a stream that the peer began: webrtcbin creates elements and threads also for those that are no channel.
    pub(super) fn stream(&self) {
        if self.load.streams.fetch_add(1, Relaxed) >= MAX_STREAMS {
            self.flood("too many data channels");
        }
    }

    /// Whether the last event was sent: the peer is ending.
    pub(super) fn is_silent(&self) -> bool {
        self.load.silent.load(Relaxed)
    }

    /// Stops sending events, for good.
    pub fn silence(&self) {
        self.load.silent.store(true, Relaxed);
    }

    /// The peer exceeds the bound on `what`. Sends the last event.
    pub(super) fn flood(&self, what: &'static str) {
        if !self.load.silent.swap(true, Relaxed) {
            self.send(PeerEvent::Flood(what), None);
        }
    }

    fn send(&self, event: PeerEvent, place: Option<Place>) {
        let (slot, generation) = (self.slot, self.generation);
        let _ = self.inbox.try_send(Said { slot, generation, event, _place: place });
    }
}

impl Window {
    /// Counts one more; returns the count within the current second.
    fn count(&mut self, now: Instant) -> u32 {
        if self.since.is_none_or(|since| now.duration_since(since) >= SECOND) {
            *self = Self { since: Some(now), count: 0 };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

impl Place {
    fn take(load: &Arc<Load>, bytes: usize) -> Option<Self> {
        let events = load.events.fetch_add(1, Relaxed);
        let waiting = load.bytes.fetch_add(bytes, Relaxed);
        let place = Self { load: load.clone(), bytes };
        (events < MAX_WAITING && waiting.saturating_add(bytes) <= MAX_BYTES).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.load.events.fetch_sub(1, Relaxed);
        self.load.bytes.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use async_std::channel::{self, Receiver};

    use super::*;

    fn voice() -> (Voice, Receiver<Said>) {
        let (inbox, said) = channel::unbounded();
        (Voice::new(1, 2, inbox), said)
    }

    fn last(said: &Receiver<Said>) -> PeerEvent {
        std::iter::from_fn(|| said.try_recv().ok()).last().expect("something was said").event
    }

    #[test]
    fn what_waits_is_bounded_and_the_bound_ends_the_peer() {
        let (voice, said) = voice();
        (0..100_000).for_each(|_| voice.tell(PeerEvent::LocalSet));
        assert_eq!(said.len(), MAX_WAITING + 1);
        assert!(matches!(last(&said), PeerEvent::Flood(_)));
        voice.tell(PeerEvent::LocalSet);
        assert!(said.is_empty(), "it is silent for good");
    }

    #[test]
    fn whoever_is_heard_in_time_may_speak_on() {
        let (voice, said) = voice();
        for _ in 0..10 * MAX_WAITING {
            voice.tell(PeerEvent::LocalSet);
            voice.tell(PeerEvent::Error("x".repeat(MAX_BYTES / 2)));
            assert!(matches!(last(&said), PeerEvent::Error(_)));
        }
    }

    #[test]
    fn large_texts_count_by_their_size() {
        let (voice, said) = voice();
        (0..8).for_each(|_| voice.text(&"x".repeat(MAX_BYTES / 4)));
        assert_eq!(said.len(), 5);
        assert!(matches!(last(&said), PeerEvent::Flood(_)));
    }

    #[test]
    fn texts_are_counted_by_the_second() {
        let start = Instant::now();
        let mut window = Window::default();
        assert_eq!((0..5).map(|_| window.count(start)).last(), Some(5));
        assert_eq!(window.count(start + SECOND / 2), 6);
        assert_eq!(window.count(start + SECOND), 1);
        let (voice, said) = voice();
        (0..MAX_TEXTS).for_each(|_| voice.text("hello"));
        assert!(matches!(last(&said), PeerEvent::Text(_)));
        (0..2 * MAX_TEXTS).for_each(|_| voice.text("hello"));
        assert!(matches!(last(&said), PeerEvent::Flood(_)));
    }

    #[test]
    fn channels_are_counted() {
        let (voice, said) = voice();
        assert!((0..MAX_CHANNELS).all(|_| voice.channel()));
        assert!(said.is_empty() && !voice.channel());
        assert!(matches!(last(&said), PeerEvent::Flood(_)));
    }

    #[test]
    fn streams_are_counted() {
        let (voice, said) = voice();
        (0..MAX_STREAMS).for_each(|_| voice.stream());
        assert!(said.is_empty() && !voice.is_silent());
        voice.stream();
        assert!(voice.is_silent() && matches!(last(&said), PeerEvent::Flood(_)));
    }
}
