//! One attempt to open a source: a pipeline from its elements to the taps of its inputs, or the process that grabs a
//! screen.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::Relaxed},
    mpsc::SyncSender,
};

use gst::{glib, prelude::*};

use super::{
    elements::{self, Head},
    grab::Grab,
    relay::Tap,
    secret,
    spec::Spec,
    stamp::Thinner,
    supply::Plan,
};
use crate::{media::make, sdp::Kind};

/// Frames that may wait between two threads of a live source; older ones are dropped.
const LIVE_QUEUE: u32 = 3;

/// How late the pictures of a live network source are shown, so that they come at an even pace.
const BURST: gst::ClockTime = gst::ClockTime::from_mseconds(100);

/// An event for the thread of a source. The number is that of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said {
    Failed(u64, String),
    Ended(u64),
    /// The source is needed.
    Begin,
    /// The source is not needed any more.
    Quit,
}

/// Sends the events of one attempt, each kind once.
#[derive(Debug, Clone)]
pub(super) struct Tell {
    number: u64,
    notes: SyncSender<Said>,
    told: Arc<AtomicBool>,
}

/// A source that was opened; dropping it closes the source.
#[derive(Debug)]
pub(super) enum Attempt {
    Pipeline(#[expect(dead_code, reason = "it is there to be dropped")] Running),
    Grab(#[expect(dead_code, reason = "it is there to be dropped")] Grab),
}

/// A running pipeline.
#[derive(Debug)]
pub(super) struct Running(gst::Pipeline);

impl Tell {
    pub(super) fn new(number: u64, notes: SyncSender<Said>) -> Self {
        Self { number, notes, told: Arc::default() }
    }

    pub(super) fn failed(&self, reason: &str) {
        self.say(Said::Failed(self.number, secret::hide(reason)));
    }

    pub(super) fn ended(&self) {
        self.say(Said::Ended(self.number));
    }

    fn say(&self, said: Said) {
        if !self.told.swap(true, Relaxed) && self.notes.try_send(said).is_err() {
            self.told.store(false, Relaxed);
        }
    }
}

impl Attempt {
    /// Opens the source. This may take long. Failures after the start come as events.
    pub(super) fn open(plan: &Plan, taps: &[Arc<Tap>], tell: &Tell) -> Result<Self, String> {
        if let (Spec::Screen(display), [tap]) = (&plan.spec, taps) {
            return Grab::open(display.as_deref(), plan, tap, tell).map(Self::Grab);
        }
        Running::open(plan, taps, tell).map(Self::Pipeline)
    }
}

impl Running {
    fn open(plan: &Plan, taps: &[Arc<Tap>], tell: &Tell) -> Result<Self, String> {
        let pipeline = gst::Pipeline::new();
        if let Some((_, relay)) = plan.parts.first() {
            relay.timing().apply_clock(&pipeline);
        }
        let running = Self(pipeline);
        let pipeline = &running.0;
        watch(pipeline, tell);
        let pace = Arc::new(Pace::default());
        let tails = plan.parts.iter().zip(taps);
        let tails: Vec<Tail> = tails
            .map(|((kind, _), tap)| Tail::add(pipeline, *kind, plan, tap, &pace))
            .collect::<Result<_, _>>()
            .map_err(text)?;
        let Head { element, filter, is_live } = elements::head(&plan.spec, plan.size, plan.fps)?;
        pipeline.add(&element).map_err(text)?;
        let ends = Ends { pipeline: pipeline.downgrade(), tails: tails.clone() };
        let from = if let Some(caps) = filter {
            let filter = make("capsfilter").map_err(text)?;
            filter.set_property("caps", &caps);
            pipeline.add(&filter).map_err(text)?;
            element.link(&filter).map_err(text)?;
            filter
        } else {
            element
        };
        match from.static_pad("src").or_else(|| from.src_pads().into_iter().next()) {
            Some(pad) => ends.decode(&pad)?,
            None => ends.follow(&from),
        }
        let paused = pipeline.set_state(gst::State::Paused).map_err(|_| "it does not start".to_owned());
        let is_live = is_live || paused == Ok(gst::StateChangeSuccess::NoPreroll);
        if is_live {
            pace.live.store(true, Relaxed);
            // Pictures of a network come in bursts, of which receivers would take a part for lost.
            let smooths = matches!(plan.spec, Spec::Address(_));
            pipeline.set_latency(smooths.then_some(BURST));
            tails.iter().for_each(|tail| tail.make_live(smooths));
        }
        if paused.is_ok() && pipeline.set_state(gst::State::Playing).is_ok() {
            return Ok(running);
        }
        // Usually the bus had the reason, and it was reported. This is for the case that it had none.
        tell.failed("it does not start");
        Ok(running)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(bus) = self.0.bus() {
            bus.unset_sync_handler();
        }
        stop_rtsp(&self.0);
        let _ = self.0.set_state(gst::State::Null);
    }
}

/// Stops an RTSP source before what is around it. In GStreamer 1.22, urisourcebin holds a lock while its source stops, and takes
/// the same lock when its source adds a pad, which rtspsrc waits for before it stops: all three could wait for ever.
fn stop_rtsp(pipeline: &gst::Pipeline) {
    let is_rtsp = |it: &gst::Element| it.factory().is_some_and(|factory| factory.name() == "rtspsrc");
    for source in pipeline.iterate_recurse().into_iter().filter_map(Result::ok).filter(is_rtsp) {
        source.set_locked_state(true);
        let _ = source.set_state(gst::State::Null);
    }
}

/// Reports failure and end of a pipeline.
fn watch(pipeline: &gst::Pipeline, tell: &Tell) {
    let Some(bus) = pipeline.bus() else { return };
    let tell = tell.clone();
    let missing = Mutex::new(None);
    bus.set_sync_handler(move |_, message| {
        match message.view() {
            gst::MessageView::Element(_) => {
                if let Some(what) = missing_plugin(message) {
                    *missing.lock().unwrap_or_else(PoisonError::into_inner) = Some(what);
                }
            }
            gst::MessageView::Error(error) => {
                let missing = missing.lock().unwrap_or_else(PoisonError::into_inner).take();
                tell.failed(&missing.unwrap_or_else(|| error.error().to_string()));
            }
            gst::MessageView::Eos(_) => tell.ended(),
            _ => {}
        }
        gst::BusSyncReply::Drop
    });
}

/// What decoder is missing, and where it is.
fn missing_plugin(message: &gst::Message) -> Option<String> {
    let structure = message.structure().filter(|it| it.name() == "missing-plugin")?;
    let name = structure.get::<String>("name").unwrap_or_else(|_| "a plugin".into());
    Some(format!(
        "GStreamer lacks {name}: on Debian or Ubuntu: apt install gstreamer1.0-libav gstreamer1.0-plugins-bad"
    ))
}

/// The pace of a source that has none of its own: its first buffer is played at once.
#[derive(Debug, Default)]
struct Pace {
    live: AtomicBool,
    /// How much later than its timestamps the source is played.
    offset: Mutex<Option<gst::ClockTime>>,
}

impl Pace {
    /// The offset for all buffers of the source, of which this is one.
    fn offset(&self, pad: &gst::Pad, buffer: &gst::BufferRef) -> gst::ClockTime {
        if self.live.load(Relaxed) {
            return gst::ClockTime::ZERO;
        }
        let mut offset = self.offset.lock().unwrap_or_else(PoisonError::into_inner);
        let now = pad.parent_element().and_then(|element| element.current_running_time());
        let late = now.zip(running_time(pad, buffer)).map(|(now, time)| now.saturating_sub(time));
        *offset.get_or_insert(late.unwrap_or_default())
    }
}

/// The running time of a buffer at a pad, by the pad's segment.
fn running_time(pad: &gst::Pad, buffer: &gst::BufferRef) -> Option<gst::ClockTime> {
    let event = pad.sticky_event::<gst::event::Segment>(0)?;
    let segment = event.segment().downcast_ref::<gst::ClockTime>()?;
    segment.to_running_time(buffer.pts()?)
}

/// From decoded media to a tap.
#[derive(Debug, Clone)]
struct Tail {
    kind: Kind,
    entry: gst::Element,
    sink: gst_app::AppSink,
}

impl Tail {
    fn add(
        pipeline: &gst::Pipeline,
        kind: Kind,
        plan: &Plan,
        tap: &Arc<Tap>,
        pace: &Arc<Pace>,
    ) -> Result<Self, crate::exit::Failure> {
        let entry = make("queue")?;
        entry.set_property("max-size-buffers", if kind == Kind::Audio { 50u32 } else { LIVE_QUEUE });
        entry.set_property("max-size-bytes", 0u32);
        entry.set_property("max-size-time", 0u64);
        let mut chain = vec![entry.clone()];
        let filter = make("capsfilter")?;
        filter.set_property("caps", caps(kind, plan));
        if kind == Kind::Audio {
            let splitter = make("audiobuffersplit")?;
            splitter.set_property("output-buffer-duration", gst::Fraction::new(1, 50));
            chain.extend([make("audioconvert")?, make("audioresample")?, filter, splitter]);
        } else {
            let scaler = make("videoconvertscale")?;
            scaler.set_property("add-borders", true);
            thin(&scaler, plan.fps);
            chain.extend([scaler, filter]);
        }
        let sink = sink(tap, pace);
        chain.push(sink.clone().upcast());
        pipeline.add_many(&chain).map_err(crate::exit::Failure::internal)?;
        gst::Element::link_many(&chain).map_err(crate::exit::Failure::internal)?;
        Ok(Self { kind, entry, sink })
    }

    /// A live source sets the pace itself, and does not wait for a slow reader.
    fn make_live(&self, smooths: bool) {
        self.sink.set_property("sync", smooths);
        self.entry.set_property_from_str("leaky", "downstream");
    }

    fn is_free(&self) -> bool {
        self.entry.static_pad("sink").is_some_and(|pad| !pad.is_linked())
    }
}

/// What an input takes. Frames may come at any rate up to that of the plan: repeating some would only cost bits.
fn caps(kind: Kind, plan: &Plan) -> gst::Caps {
    if kind == Kind::Audio {
        return super::audio_caps();
    }
    let caps = gst::Caps::builder("video/x-raw").field("format", "I420");
    caps.field("width", i32::from(plan.size.width))
        .field("height", i32::from(plan.size.height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("colorimetry", "bt601")
        .build()
}

/// Drops frames that are too many, before they are converted.
fn thin(scaler: &gst::Element, fps: u16) {
    let Some(pad) = scaler.static_pad("sink") else { return };
    let thinner = Mutex::new(Thinner::new(fps));
    pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
        let time = info.buffer().and_then(|buffer| running_time(pad, buffer));
        let keeps = |time: gst::ClockTime| {
            thinner.lock().unwrap_or_else(PoisonError::into_inner).keeps(time.nseconds())
        };
        // Not `Drop`: GStreamer 1.22 would free the buffer a second time.
        if time.is_none_or(keeps) { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Handled }
    });
}

/// Hands each buffer to the tap, when its time has come.
fn sink(tap: &Arc<Tap>, pace: &Arc<Pace>) -> gst_app::AppSink {
    let sink = gst_app::AppSink::builder().async_(false).max_buffers(2).build();
    sink.set_property("enable-last-sample", false);
    sink.set_property("qos", false);
    let waits = pace.clone();
    if let Some(pad) = sink.static_pad("sink") {
        // Before the sink waits for the buffer's time.
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            if let (Some(buffer), Some(sink)) = (info.buffer(), pad.parent_element()) {
                let offset = i64::try_from(waits.offset(pad, buffer).nseconds()).unwrap_or_default();
                if sink.property::<i64>("ts-offset") != offset {
                    sink.set_property("ts-offset", offset);
                }
            }
            gst::PadProbeReturn::Ok
        });
    }
    let (tap, pace, ending) = (tap.clone(), pace.clone(), tap.clone());
    let on_sample = move |sink: &gst_app::AppSink| {
        let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
        let Some(buffer) = sample.buffer_owned() else { return Ok(gst::FlowSuccess::Ok) };
        let time = sample
            .segment()
            .and_then(|segment| segment.downcast_ref::<gst::ClockTime>()?.to_running_time(buffer.pts()?));
        let offset = pace.offset.lock().unwrap_or_else(PoisonError::into_inner).unwrap_or_default();
        let claimed = time
            .zip(sink.base_time())
            .and_then(|(time, base)| tap.relay().timing().translate(time + offset, base));
        tap.push(buffer, claimed);
        Ok(gst::FlowSuccess::Ok)
    };
    let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(on_sample);
    sink.set_callbacks(callbacks.eos(move |_| ending.end()).build());
    sink
}

/// Links what a source offers to the tails.
#[derive(Clone)]
struct Ends {
    pipeline: glib::WeakRef<gst::Pipeline>,
    tails: Vec<Tail>,
}

impl Ends {
    /// Follows the pads that a source adds.
    fn follow(&self, source: &gst::Element) {
        let ends = self.clone();
        source.connect_pad_added(move |_, pad| {
            if pad.direction() == gst::PadDirection::Src
                && let Err(error) = ends.branch(pad)
            {
                tracing::debug!("a source's stream is not used: {error}");
            }
        });
    }

    /// A stream of a source: decoded if a tail waits for its kind, else discarded.
    fn branch(&self, pad: &gst::Pad) -> Result<(), String> {
        let wanted = kind_of(pad).is_none_or(|kind| self.tail(kind).is_some());
        if wanted { self.decode(pad) } else { self.discard(pad) }
    }

    fn tail(&self, kind: Kind) -> Option<&Tail> {
        self.tails.iter().find(|tail| tail.kind == kind && tail.is_free())
    }

    /// Decodes what comes from a pad, and links each medium to its tail.
    fn decode(&self, pad: &gst::Pad) -> Result<(), String> {
        let pipeline = self.pipeline.upgrade().ok_or("it was closed")?;
        let queue = make("queue").map_err(text)?;
        queue.set_property("max-size-buffers", 0u32);
        queue.set_property("max-size-bytes", 32u32 << 20);
        queue.set_property("max-size-time", 2_000_000_000u64);
        let decoder = make("decodebin").map_err(text)?;
        pipeline.add_many([&queue, &decoder]).map_err(text)?;
        queue.link(&decoder).map_err(text)?;
        let ends = self.clone();
        decoder.connect_pad_added(move |_, pad| {
            let tail = kind_of(pad).and_then(|kind| ends.tail(kind));
            if let Err(error) = ends.connect(pad, tail) {
                tracing::debug!("a source's stream is not used: {error}");
            }
        });
        [&decoder, &queue].into_iter().try_for_each(gst::Element::sync_state_with_parent).map_err(text)?;
        let entry = queue.static_pad("sink").ok_or("a queue without a pad")?;
        pad.link(&entry).map(|_| ()).map_err(text)
    }

    /// Links a pad to a tail. Without one it is discarded, and also if another stream has taken the tail meanwhile: a source has
    /// several threads.
    fn connect(&self, pad: &gst::Pad, tail: Option<&Tail>) -> Result<(), String> {
        let entry = tail.and_then(|tail| tail.entry.static_pad("sink"));
        let linked = entry.ok_or(gst::PadLinkError::Refused).and_then(|entry| pad.link(&entry));
        linked.map(drop).or_else(|_| self.discard(pad))
    }

    /// Reads a stream that is not wanted, so that it does not hold up others.
    fn discard(&self, pad: &gst::Pad) -> Result<(), String> {
        let pipeline = self.pipeline.upgrade().ok_or("it was closed")?;
        let sink = crate::media::receive::null_sink().map_err(text)?;
        pipeline.add(&sink).map_err(text)?;
        sink.sync_state_with_parent().map_err(text)?;
        let entry = sink.static_pad("sink").ok_or("a sink without a pad")?;
        pad.link(&entry).map(|_| ()).map_err(text)
    }
}

/// Whether a pad has a picture or sound; `None` if that is not known.
fn kind_of(pad: &gst::Pad) -> Option<Kind> {
    let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
    let name = caps.structure(0)?.name();
    match name.split('/').next() {
        Some("video" | "image") => Some(Kind::Video),
        Some("audio") => Some(Kind::Audio),
        Some("text" | "subpicture" | "meta" | "closedcaption") => Some(Kind::Other),
        _ => None,
    }
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_whose_tail_was_taken_meanwhile_is_discarded() {
        gst::init().unwrap();
        let pipeline = gst::Pipeline::new();
        let (entry, sink) = (make("queue").unwrap(), gst_app::AppSink::builder().build());
        pipeline.add(&entry).unwrap();
        let tail = Tail { kind: Kind::Video, entry, sink };
        let ends = Ends { pipeline: pipeline.downgrade(), tails: vec![tail.clone()] };
        let sources = [(); 2].map(|()| make("videotestsrc").unwrap());
        pipeline.add_many(&sources).unwrap();
        let pads = sources.each_ref().map(|source| source.static_pad("src").unwrap());
        // Both have found the tail free.
        pads.iter().for_each(|pad| ends.connect(pad, Some(&tail)).unwrap());
        let factory = |pad: &gst::Pad| pad.peer()?.parent_element()?.factory().map(|it| it.name());
        assert_eq!(pads.each_ref().map(factory), ["queue", "fakesink"].map(|name| Some(name.into())));
        pipeline.set_state(gst::State::Null).unwrap();
    }
}
