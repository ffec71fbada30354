//! Grabs an X display in a separate process, `callbin grab`: Xlib ends a process whose display goes away, and a call
//! must go on.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    sync::Arc,
    thread,
};

use clap::Args;
use gst::prelude::*;

use super::{attempt::Tell, relay::Tap, supply::Plan};
use crate::{
    exit::{ExitCode, Failure},
    media::make,
};

/// The command line of the grabbing process.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Pixels from left to right.
    width: u16,
    /// Pixels from top to bottom.
    height: u16,
    /// Frames per second.
    fps: u16,
    /// The X display.
    #[arg(long)]
    display: Option<String>,
}

/// The grabbing process, ended on drop.
#[derive(Debug)]
pub(super) struct Grab(Child);

impl Grab {
    /// Starts the process, and feeds its frames to the tap.
    pub(super) fn open(
        display: Option<&str>,
        plan: &Plan,
        tap: &Arc<Tap>,
        tell: &Tell,
    ) -> Result<Self, String> {
        if display.is_none() && std::env::var_os("DISPLAY").is_none() {
            return Err("there is no X display: set DISPLAY, or name one, as in screen::0".into());
        }
        let mut command = Command::new("/proc/self/exe");
        command.arg("grab").args([plan.size.width, plan.size.height, plan.fps].map(|it| it.to_string()));
        command.args(display.map(|display| format!("--display={display}")));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a process group of its own: Ctrl-C goes to the call only.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let grab = Self(child);
        let (Some(frames), Some(errors)) = pipes else { return Err("a process without pipes".into()) };
        let bytes = plan.layout.size();
        let (tap, tell) = (tap.clone(), tell.clone());
        let work = move || read(frames, errors, bytes, &tap, &tell);
        thread::Builder::new().name("grab".into()).spawn(work).map_err(|error| error.to_string())?;
        Ok(grab)
    }
}

impl Drop for Grab {
    fn drop(&mut self) {
        // Kill it: it has nothing to save, and may hang.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads frames until the process ends; its last words are the reason.
fn read(mut frames: ChildStdout, errors: ChildStderr, bytes: usize, tap: &Tap, tell: &Tell) {
    loop {
        let mut frame = vec![0; bytes];
        if frames.read_exact(&mut frame).is_err() {
            break;
        }
        tap.push(gst::Buffer::from_mut_slice(frame), None);
    }
    let lines = BufReader::new(errors.take(1 << 16)).lines().map_while(Result::ok);
    let last = lines.filter(|line| !line.trim().is_empty()).last();
    tell.failed(last.as_deref().unwrap_or("the display is gone"));
}

/// Runs the grabbing process: writes frames to its output until the display or the reader goes away.
pub fn run(options: &Options) -> ExitCode {
    match grab(options) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code
        }
    }
}

fn grab(options: &Options) -> Result<(), Failure> {
    gst::init().map_err(Failure::internal)?;
    let source = make("ximagesrc")?;
    source.set_property("use-damage", false);
    if let Some(display) = &options.display {
        source.set_property("display-name", display);
    }
    let rate = gst::Caps::builder("video/x-raw");
    let rate = rate.field("framerate", gst::Fraction::new(i32::from(options.fps), 1)).build();
    let size = gst::Caps::builder("video/x-raw")
        .field("format", "I420")
        .field("width", i32::from(options.width))
        .field("height", i32::from(options.height))
        .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
        .field("colorimetry", "bt601")
        .build();
    let (grabbed, scaled) = (make("capsfilter")?, make("capsfilter")?);
    grabbed.set_property("caps", &rate);
    scaled.set_property("caps", &size);
    let scaler = make("videoconvertscale")?;
    scaler.set_property("add-borders", true);
    // A reader that does not keep up gets the newest frames.
    let queue = make("queue")?;
    queue.set_property("max-size-buffers", 2u32);
    queue.set_property_from_str("leaky", "downstream");
    let sink = make("fdsink")?;
    sink.set_property("sync", false);
    let pipeline = gst::Pipeline::new();
    let chain = [&source, &grabbed, &scaler, &scaled, &queue, &sink];
    pipeline.add_many(chain).map_err(Failure::internal)?;
    gst::Element::link_many(chain).map_err(Failure::internal)?;
    let bus = pipeline.bus().ok_or_else(|| Failure::internal("a pipeline without a bus"))?;
    let started = pipeline.set_state(gst::State::Playing);
    let ends = [gst::MessageType::Error, gst::MessageType::Eos];
    let patience = if started.is_ok() { gst::ClockTime::NONE } else { Some(gst::ClockTime::ZERO) };
    let message = bus.timed_pop_filtered(patience, &ends);
    let _ = pipeline.set_state(gst::State::Null);
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(Failure::internal(error.error())),
        _ => Ok(()),
    }
}
