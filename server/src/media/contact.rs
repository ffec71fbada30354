//! Whether the server's own media node is connected. Pure.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// The longest time that a running node may be without a connection: it starts, or connects again, within a few seconds.
const PATIENCE: Duration = Duration::from_secs(15);

/// The connections of the node.
#[derive(Debug, Default)]
pub(crate) struct Contact(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: usize,
    /// The start of the node, or the end of its last connection.
    since: Option<Instant>,
}

impl Contact {
    /// The node has started.
    pub(super) fn begin(&self, now: Instant) {
        self.lock().since = Some(now);
    }

    /// A connection has begun.
    pub(crate) fn opened(&self) {
        self.lock().open += 1;
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, now: Instant) {
        let mut state = self.lock();
        state.open = state.open.saturating_sub(1);
        state.since = Some(now);
    }

    /// The time until it has to be looked at again. `None`: it has had no connection for too long.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let state = self.lock();
        let waited = state.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        match state.open {
            0 => PATIENCE.checked_sub(waited).filter(|left| !left.is_zero()),
            _ => Some(PATIENCE),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it holds the lock; if something did, the numbers would still be consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_a_connection_is_lost_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let contact = Contact::default();
        contact.begin(at(0));
        assert_eq!(contact.left(at(5)), Some(Duration::from_secs(10)));
        assert_eq!(contact.left(at(15)), None, "it never attached");
        contact.opened();
        assert_eq!(contact.left(at(1000)), Some(PATIENCE));
        contact.opened();
        contact.closed(at(1000));
        assert_eq!(contact.left(at(2000)), Some(PATIENCE), "it has another one");
        contact.closed(at(2000));
        assert_eq!(contact.left(at(2014)), Some(Duration::from_secs(1)));
        assert_eq!(contact.left(at(2015)), None);
        contact.begin(at(3000));
        assert_eq!(contact.left(at(3000)), Some(PATIENCE), "the next one has its own time");
    }
}
