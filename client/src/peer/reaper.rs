//! Ends pipelines on threads of their own: webrtcbin 1.22 can hang in its teardown, and callbin must not wait for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;

/// A teardown that takes longer is logged. One that never ends leaks its memory; everything else goes on.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(5);

/// Counts the teardowns under way.
#[derive(Debug, Default, Clone)]
pub struct Reaper(Arc<(Mutex<usize>, Condvar)>);

/// How long webrtcbin may take to finish its pending tasks.
const FINISH_LIMIT: Duration = Duration::from_secs(2);

/// Waits until webrtcbin's own thread has finished its pending tasks. It creates transports there; one that is added
/// while the pipeline ends is never freed, nor are its sockets.
fn let_it_finish(webrtcbin: &gst::Element) {
    let (done, all_done) = mpsc::channel();
    let promise = gst::Promise::with_change_func(move |_| {
        let _ = done.send(());
    });
    // Tasks run in order: when this one has replied, all earlier ones are done.
    webrtcbin.emit_by_name::<()>("get-stats", &[&None::<gst::Pad>, &promise]);
    let _ = all_done.recv_timeout(FINISH_LIMIT);
}

impl Reaper {
    /// Ends `pipeline`, which contains `webrtcbin`, and drops both.
    pub fn take(&self, pipeline: gst::Pipeline, webrtcbin: gst::Element) {
        let name = pipeline.name();
        self.add(1);
        let reaper = self.clone();
        let started = Instant::now();
        let work = move || {
            let_it_finish(&webrtcbin);
            drop(webrtcbin);
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

    /// Waits at most `limit` until all teardowns are done; false if some are not.
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
