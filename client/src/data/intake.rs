//! Messages of a peer on their way to its ends: counted, bounded, and announced to the peer as its window.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use gst::prelude::*;

use super::sack;

/// Bytes that may wait before the peer has to stop.
const WINDOW: usize = 1 << 20;
/// Bytes that may wait at most, from a peer that does not stop.
const MAX: usize = 16 << 20;
/// What a message costs, whatever its length.
const OVERHEAD: usize = 64;

/// Counts the messages of one peer that wait.
#[derive(Debug, Default)]
pub(super) struct Intake(AtomicUsize);

/// The share of one message, released when dropped.
#[derive(Debug)]
pub(super) struct Share {
    intake: Arc<Intake>,
    bytes: usize,
}

impl Intake {
    /// Counts a message; `None` if it is one too many.
    pub(super) fn take(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let bytes = bytes + OVERHEAD;
        let share = Share { intake: self.clone(), bytes };
        (self.0.fetch_add(bytes, Relaxed) + bytes <= MAX).then_some(share)
    }

    /// The window to announce; `None` while the whole of it is free.
    fn window(&self) -> Option<u32> {
        let waiting = self.0.load(Relaxed);
        (waiting > 0).then(|| u32::try_from(WINDOW.saturating_sub(waiting)).unwrap_or(u32::MAX))
    }

    /// Limits the window that the packets of `sctpenc` announce.
    pub(super) fn limit(self: &Arc<Self>, sctpenc: &gst::Element) {
        let Some(pad) = sctpenc.static_pad("src") else { return };
        let this = self.clone();
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(window) = this.window()
                && let Some(buffer) = info.buffer_mut()
                && let Ok(mut packet) = buffer.make_mut().map_writable()
            {
                sack::limit(&mut packet, window);
            }
            gst::PadProbeReturn::Ok
        });
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.intake.0.fetch_sub(self.bytes, Relaxed);
    }
}

/// A message for an end.
#[derive(Debug)]
pub(super) struct Incoming {
    pub(super) bytes: Vec<u8>,
    /// When it came.
    pub(super) came: Duration,
    /// Released when the message is written.
    pub(super) _share: Share,
}

/// Messages that wait for an end. The shares of their peers bound it.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Incoming>,
    closed: bool,
}

impl Queue {
    pub(super) fn push(&self, message: Incoming) {
        self.state().waiting.push_back(message);
        self.changed.notify_one();
    }

    /// Waits for the next message; `None` after the last one.
    pub(super) fn pop(&self) -> Option<Incoming> {
        let mut state = self.state();
        loop {
            match state.waiting.pop_front() {
                None if !state.closed => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
                next => return next,
            }
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.state().waiting.is_empty()
    }

    /// No more messages follow.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_makes_the_window_smaller_until_it_is_written() {
        let intake = Arc::new(Intake::default());
        assert_eq!(intake.window(), None);
        let first = intake.take(1000).unwrap();
        assert_eq!(intake.window(), Some(u32::try_from(WINDOW - 1000 - OVERHEAD).unwrap()));
        let second = intake.take(WINDOW).unwrap();
        assert_eq!(intake.window(), Some(0));
        drop((first, second));
        assert_eq!(intake.window(), None);
    }

    #[test]
    fn a_peer_that_does_not_stop_reaches_the_bound() {
        let intake = Arc::new(Intake::default());
        let taken: Vec<_> = std::iter::from_fn(|| intake.take(0)).collect();
        assert_eq!(taken.len(), MAX / OVERHEAD);
        drop(taken);
        assert!(
            intake.take(MAX).is_none() && intake.take(MAX / 2).is_some(),
            "what is refused costs nothing"
        );
    }

    #[test]
    fn a_closed_queue_is_emptied_first() {
        let (queue, intake) = (Queue::default(), Arc::new(Intake::default()));
        queue.push(Incoming { bytes: vec![1], came: Duration::ZERO, _share: intake.take(1).unwrap() });
        queue.close();
        assert_eq!(queue.pop().unwrap().bytes, [1]);
        assert!(queue.pop().is_none());
    }
}
