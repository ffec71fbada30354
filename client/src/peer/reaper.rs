//! Ends pipelines on threads of their own: webrtcbin 1.22 can hang in its teardown, and callbin must not wait for it.

use std::{
    sync::{Arc, Condvar, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use gst::prelude::*;
use gst_webrtc::{WebRTCSDPType, WebRTCSessionDescription};

use super::intake;

/// A teardown that takes longer is logged. One that never ends leaks its memory; everything else goes on.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(5);

/// How long a goodbye may take to leave.
const GOODBYE_LIMIT: Duration = Duration::from_millis(200);
/// What a record of DTLS with an alert begins with.
const DTLS_ALERT: u8 = 21;

/// Counts the teardowns under way.
#[derive(Debug, Default, Clone)]
pub struct Reaper(Arc<(Mutex<usize>, Condvar)>);

/// How long webrtcbin may take to finish its pending tasks.
const FINISH_LIMIT: Duration = Duration::from_secs(2);
/// Tasks of which each queues the next one. The reset of a data channel takes that many.
const TASKS_IN_A_ROW: usize = 3;

/// Waits until webrtcbin's own thread has finished its pending tasks. It creates transports there; one that is added
/// while the pipeline ends is never freed, nor are its sockets. And it resets SCTP streams there, which must not happen
/// while the association ends.
fn let_it_finish(webrtcbin: &gst::Element) {
    // webrtcbin refuses it in any state, at once. `get-stats` would ask rtpbin and could hang: see `peer::path`.
    let nothing = WebRTCSessionDescription::new(WebRTCSDPType::Rollback, gst_sdp::SDPMessage::new());
    let until = Instant::now() + FINISH_LIMIT;
    for _ in 0..TASKS_IN_A_ROW {
        let (done, all_done) = mpsc::channel();
        let promise = gst::Promise::with_change_func(move |_| {
            let _ = done.send(());
        });
        // Tasks run in order: when this one has replied, all earlier ones are done.
        webrtcbin.emit_by_name::<()>("set-local-description", &[&nothing, &promise]);
        let _ = all_done.recv_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// Sends the DTLS alert `close_notify` (RFC 6347, section 4.1.2.7): the call is over.
fn say_goodbye(webrtcbin: &gst::Element) {
    let Some(bin) = webrtcbin.downcast_ref::<gst::Bin>() else { return };
    for dtlsenc in bin.iterate_all_by_element_factory_name("dtlsenc").into_iter().flatten() {
        let (Some(src), Some(sink)) = (dtlsenc.static_pad("src"), dtlsenc.sink_pads().pop()) else {
            continue;
        };
        let (said, heard) = mpsc::channel();
        src.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            let record = info.buffer().and_then(|buffer| buffer.map_readable().ok());
            if record.is_some_and(|record| record.first() == Some(&DTLS_ALERT)) {
                let _ = said.send(());
            }
            gst::PadProbeReturn::Ok
        });
        sink.send_event(gst::event::Eos::new());
        let _ = heard.recv_timeout(GOODBYE_LIMIT);
    }
}

impl Reaper {
    /// Ends `pipeline`, which contains `webrtcbin`, and drops both. With `goodbye`, the peer gets a DTLS
    /// `close_notify`.
    pub fn take(&self, pipeline: gst::Pipeline, webrtcbin: gst::Element, goodbye: bool) {
        let name = pipeline.name();
        self.add(1);
        let reaper = self.clone();
        let started = Instant::now();
        let work = move || {
            if goodbye {
                say_goodbye(&webrtcbin);
            }
            intake::shut(&webrtcbin);
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
