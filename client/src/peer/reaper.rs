//! Ends pipelines on threads of their own: webrtcbin 1.22 can hang in its teardown, and nobody is to wait
//! for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

/// A teardown that takes longer is a loss: its memory stays, everything else goes on.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Counts the teardowns under way.
#[derive(Debug, Default, Clone)]
pub struct Reaper(Arc<(Mutex<usize>, Condvar)>);

impl Reaper {
    /// Ends `pipeline`, and drops it.
    pub fn take(&self, pipeline: gst::Pipeline) {
        let name = pipeline.name();
        self.add(1);
        let reaper = self.clone();
        let started = Instant::now();
        let work = move || {
            if let Err(error) = pipeline.set_state(gst::State::Null) {
                tracing::warn!("{name} does not end: {error}");
            }
            drop(pipeline);
            if started.elapsed() > TEARDOWN_LIMIT {
                tracing::warn!("{name} took {:?} to end", started.elapsed());
            }
            reaper.add(-1);
        };
        if thread::Builder::new().name("teardown".into()).spawn(work).is_err() {
            tracing::warn!("no thread for a teardown");
            self.add(-1);
        }
    }

    /// Waits until all are done, at most `limit`; whether they are.
    pub fn wait(&self, limit: Duration) -> bool {
        let (count, changed) = &*self.0;
        let count = count.lock().unwrap_or_else(PoisonError::into_inner);
        let result = changed.wait_timeout_while(count, limit, |count| *count > 0);
        *result.unwrap_or_else(PoisonError::into_inner).0 == 0
    }

    fn add(&self, change: isize) {
        let (count, changed) = &*self.0;
        let mut count = count.lock().unwrap_or_else(PoisonError::into_inner);
        *count = count.saturating_add_signed(change);
        changed.notify_all();
    }
}
