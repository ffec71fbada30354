//! A mixing element whose inputs come and go while it runs.

use std::collections::BTreeMap;

use gst::prelude::*;

use super::stage::Alarm;
use crate::exit::Failure;

/// The name of the element whose errors are ignored: the process that takes its output reports the reason.
pub(super) const TAKER: &str = "taker";

/// A pipeline around one mixing element. It ends when dropped.
#[derive(Debug)]
pub(super) struct Mix {
    pipeline: gst::Pipeline,
    mixer: gst::Element,
    inputs: BTreeMap<u64, Input>,
    running: bool,
}

/// One input: its elements and the mixer's pad.
#[derive(Debug)]
pub(super) struct Input {
    pub(super) bin: gst::Bin,
    pub(super) pad: gst::Pad,
}

impl Mix {
    /// A mixing element that follows the clock, even if inputs are late.
    pub(super) fn mixer(factory: &str) -> Result<gst::Element, Failure> {
        // This property can only be set at construction.
        let mixer = gst::ElementFactory::make(factory).property("force-live", true);
        mixer.build().map_err(Failure::internal)
    }

    /// Builds the pipeline, which runs from the first input on. `output` follows the mixer.
    pub(super) fn new(mixer: gst::Element, output: &gst::Element, alarm: &Alarm) -> Result<Self, Failure> {
        let pipeline = gst::Pipeline::new();
        alarm.watch(&pipeline, TAKER);
        pipeline.add_many([&mixer, output]).map_err(Failure::internal)?;
        mixer.link(output).map_err(Failure::internal)?;
        Ok(Self { pipeline, mixer, inputs: BTreeMap::new(), running: false })
    }

    /// Adds an input: `feed`, then `conversion` in gst-launch syntax, whose first element is named `first`.
    pub(super) fn add(
        &mut self,
        id: u64,
        feed: &gst_app::AppSrc,
        conversion: &str,
    ) -> Result<&Input, Failure> {
        let bin = chain(feed, conversion)?;
        self.pipeline.add(&bin).map_err(Failure::internal)?;
        let (Some(pad), Some(out)) = (self.mixer.request_pad_simple("sink_%u"), bin.static_pad("src")) else {
            return Err(Failure::internal("the mixer gives no pad"));
        };
        out.link(&pad).map_err(Failure::internal)?;
        self.inputs.insert(id, Input { bin: bin.clone(), pad });
        if std::mem::replace(&mut self.running, true) {
            bin.sync_state_with_parent().map_err(Failure::internal)?;
        } else {
            // Only with an input: sinks would wait forever for a first buffer.
            let started = self.pipeline.set_state(gst::State::Playing);
            started.map_err(|_| Failure::internal("it does not start"))?;
        }
        self.inputs.get(&id).ok_or_else(|| Failure::internal("an input that is not there"))
    }

    /// Removes an input; returns whether others are left. Never called on a streaming thread: it waits for the input's.
    pub(super) fn remove(&mut self, id: u64) -> bool {
        if let Some(Input { bin, pad }) = self.inputs.remove(&id) {
            // Unblocks a thread that waits for the mixer, which may itself wait for a sink.
            let _ = pad.send_event(gst::event::FlushStart::new());
            // Stop it before unlinking, or its source reports the missing link as an error.
            let _ = bin.set_state(gst::State::Null);
            if let Some(out) = pad.peer() {
                let _ = out.unlink(&pad);
            }
            self.mixer.release_request_pad(&pad);
            let _ = self.pipeline.remove(&bin);
        }
        !self.inputs.is_empty()
    }

    /// The input of a guest.
    pub(super) fn get(&self, id: u64) -> Option<&Input> {
        self.inputs.get(&id)
    }
}

impl Drop for Mix {
    fn drop(&mut self) {
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}

/// A bin with `feed` and `conversion` and one pad. The pads to link are named, not found by GStreamer: an overlay has a
/// pad for text that would fit, too.
fn chain(feed: &gst_app::AppSrc, conversion: &str) -> Result<gst::Bin, Failure> {
    let bin = gst::Bin::new();
    let conversion = format!("{conversion} ! capsfilter name=last");
    let conversion = gst::parse::bin_from_description(&conversion, false).map_err(Failure::internal)?;
    let first = conversion.by_name("first").and_then(|first| first.static_pad("sink"));
    let last = conversion.by_name("last").and_then(|last| last.static_pad("src"));
    let (Some(first), Some(last)) = (first, last) else {
        return Err(Failure::internal("a conversion without ends"));
    };
    bin.add_many([feed.upcast_ref(), conversion.upcast_ref::<gst::Element>()]).map_err(Failure::internal)?;
    let way_in = ghost(&conversion, &first, "sink")?;
    let way_out = ghost(&conversion, &last, "src")?;
    ghost(&bin, &way_out, "src")?;
    let feed = feed.static_pad("src").ok_or_else(|| Failure::internal("an appsrc without a pad"))?;
    feed.link(&way_in).map_err(Failure::internal)?;
    Ok(bin)
}

fn ghost(bin: &gst::Bin, target: &gst::Pad, name: &str) -> Result<gst::Pad, Failure> {
    let ghost = gst::GhostPad::builder_with_target(target).map_err(Failure::internal)?.name(name).build();
    bin.add_pad(&ghost).map_err(Failure::internal)?;
    Ok(ghost.upcast())
}
