//! The clock that all pipelines share.

use gst::prelude::*;

/// A clock and a base time.
#[derive(Debug, Clone)]
pub struct Timing {
    clock: gst::Clock,
    base_time: gst::ClockTime,
}

impl Timing {
    /// The system's clock, and its time now.
    pub fn now() -> Self {
        let clock = gst::SystemClock::obtain();
        let base_time = clock.time();
        Self { clock, base_time }
    }

    /// Sets clock and base time of `pipeline`.
    pub fn apply(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
        pipeline.set_start_time(gst::ClockTime::NONE);
        pipeline.set_base_time(self.base_time);
    }
}
