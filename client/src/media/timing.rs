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

    /// Sets the clock only: the pipeline has a base time of its own.
    pub fn apply_clock(&self, pipeline: &gst::Pipeline) {
        pipeline.use_clock(Some(&self.clock));
    }

    /// The time since the base time.
    pub fn running_time(&self) -> gst::ClockTime {
        self.clock.time().saturating_sub(self.base_time)
    }

    /// A running time of a pipeline with another base time, as ours; `None` if it lies before our base time.
    pub fn translate(&self, time: gst::ClockTime, base_time: gst::ClockTime) -> Option<gst::ClockTime> {
        (base_time + time).checked_sub(self.base_time)
    }
}
