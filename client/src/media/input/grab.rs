//! Grabs an X display in a separate process, `callbin grab`: Xlib ends a process whose display goes away, and a call
//! must go on.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread::{self, JoinHandle},
};

use clap::Args;
use gst::prelude::*;

use super::{attempt::Tell, relay::Tap, supply::Plan};
use crate::{
    exit::{ExitCode, Failure},
    media::make,
};

/// The longest error message of the grabbing process.
const MAX_LINE: u64 = 1024;

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
        Self::run(command, plan.layout.size(), tap.clone(), tell.clone())
    }

    /// Runs a process that writes frames of this many bytes.
    fn run(mut command: Command, bytes: usize, tap: Arc<Tap>, tell: Tell) -> Result<Self, String> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // In a process group of its own: Ctrl-C goes to the call only.
        command.process_group(0);
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let pipes = (child.stdout.take(), child.stderr.take());
        let grab = Self(child);
        let (Some(frames), Some(errors)) = pipes else { return Err("a process without pipes".into()) };
        // On a thread of its own: a process whose messages are not read waits.
        let errors = spawn("grab-errors", move || last_words(errors))?;
        spawn("grab", move || read(frames, errors, bytes, &tap, &tell))?;
        Ok(grab)
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, String> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(|error| error.to_string())
}

impl Drop for Grab {
    fn drop(&mut self) {
        // Kill it: it has nothing to save, and may hang.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads frames until the process ends; its last words are the reason.
fn read(mut frames: impl Read, errors: JoinHandle<Option<String>>, bytes: usize, tap: &Tap, tell: &Tell) {
    loop {
        let mut frame = vec![0; bytes];
        if frames.read_exact(&mut frame).is_err() {
            break;
        }
        tap.push(gst::Buffer::from_mut_slice(frame), None);
    }
    let last = errors.join().ok().flatten();
    tell.failed(last.as_deref().unwrap_or("the display is gone"));
}

/// Reads all lines, and returns the last one that is not blank.
fn last_words(errors: impl Read) -> Option<String> {
    let mut errors = BufReader::new(errors);
    let mut last = None;
    loop {
        let mut line = Vec::new();
        match errors.by_ref().take(MAX_LINE).read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return last,
            Ok(_) => {
                let line = String::from_utf8_lossy(&line).trim().to_owned();
                last = Some(line).filter(|line| !line.is_empty()).or(last);
            }
        }
    }
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::sync_channel, time::Duration};

    use super::*;
    use crate::media::{
        input::{attempt::Said, relay::Relay},
        timing::Timing,
    };

    #[test]
    fn a_process_with_many_messages_is_followed_to_its_last() {
        gst::init().unwrap();
        let relay = Relay::new(&gst::Caps::new_any(), &Timing::now());
        let (tap, (notes, inbox)) = (Arc::new(Tap::new(Arc::new(relay))), sync_channel(1));
        let mut command = Command::new("sh");
        // More than a pipe holds, before and after two frames.
        let script = "noise() { yes warning | head -n 20000 >&2; }; noise; printf 0123456789abcdef; noise; echo gone >&2";
        command.args(["-c", script]);
        let _grab = Grab::run(command, 8, tap.clone(), Tell::new(1, notes)).unwrap();
        let said = inbox.recv_timeout(Duration::from_secs(60)).expect("its end");
        assert_eq!(said, Said::Failed(1, "gone".into()));
        assert_eq!(tap.fed(), 2);
    }

    #[test]
    fn the_last_words_are_bounded() {
        let long = [&[b'x'; 5000][..], b"\n \n"].concat();
        let last = last_words(&long[..]).unwrap();
        assert!((1..=1024).contains(&last.len()), "{}", last.len());
        assert_eq!(last_words(&b"\n"[..]), None);
    }
}
