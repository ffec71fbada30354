//! The window runs in a separate process: this program, started as `callbin window`.
//!
//! Xlib ends a process whose display goes away, graphics drivers crash, and sinks hang in their teardown. None of that
//! may happen to a call. The process reads raw frames from its standard input.

use std::{
    io::{BufRead, BufReader, Read},
    os::{fd::AsRawFd, unix::process::CommandExt},
    process::{Child, ChildStderr, ChildStdin, Command, Stdio},
    thread,
};

use clap::Args;
use gst::{glib, prelude::*};

use super::{mix::TAKER, stage::Alarm};
use crate::{
    exit::{ExitCode, Failure},
    layout::Area,
    media::make,
};

/// Frames that may wait for the sink.
const WAITING: u32 = 2;

/// The command line of the window's process.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Pixels from left to right.
    width: i32,
    /// Pixels from top to bottom.
    height: i32,
    /// Frames per second.
    fps: i32,
    /// The sink, in gst-launch-1.0 syntax.
    #[arg(long, default_value = "autovideosink")]
    sink: String,
}

/// The window's process, ended on drop.
#[derive(Debug)]
pub struct Window(Child);

/// The pipe that the `fdsink` writes to. The element knows only the file descriptor's number, so the pipe must stay
/// open until the element has stopped: afterwards the number may belong to another file.
#[derive(Debug)]
pub(super) struct Pipe(#[expect(dead_code, reason = "it is there to be dropped")] ChildStdin);

impl Window {
    /// Starts the process; also returns the element that takes I420 frames for it.
    pub(super) fn open(
        size: Area,
        fps: i32,
        sink: Option<&str>,
        alarm: Alarm,
    ) -> Result<(Self, Pipe, gst::Element), Failure> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("window").args([size.width.to_string(), size.height.to_string(), fps.to_string()]);
        command.args(sink.map(|sink| format!("--sink={sink}")));
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        // In a process group of its own: Ctrl-C goes to the call only, and the window ends with it.
        command.process_group(0);
        let mut child = command.spawn().map_err(Failure::internal)?;
        let (Some(stdin), Some(stderr)) = (child.stdin.take(), child.stderr.take()) else {
            return Err(Failure::internal("a process without pipes"));
        };
        watch(stderr, alarm)?;
        let taker = make("fdsink")?;
        // Its write errors are ignored (see `TAKER`): the process's own last message is the reason.
        taker.set_property("name", TAKER);
        taker.set_property("fd", stdin.as_raw_fd());
        taker.set_property("sync", false);
        taker.set_property("async", false);
        taker.set_property("enable-last-sample", false);
        Ok((Self(child), Pipe(stdin), taker))
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // Kill it: it has nothing to save, and may hang.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for the end of stderr, which is the end of the process; its last line is the reason.
fn watch(stderr: ChildStderr, alarm: Alarm) -> Result<(), Failure> {
    let work = move || {
        let mut last = String::from("it was closed");
        for line in BufReader::new(stderr.take(1 << 20)).lines().map_while(Result::ok) {
            if !line.trim().is_empty() {
                last = line;
            }
        }
        alarm.raise(last.trim().into());
    };
    thread::Builder::new().name("window-watch".into()).spawn(work).map(|_| ()).map_err(Failure::internal)
}

/// Runs the window's process: shows frames until its input or the window ends.
pub fn run(options: &Options) -> ExitCode {
    match show(options) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            eprintln!("{failure}");
            failure.code
        }
    }
}

fn show(options: &Options) -> Result<(), Failure> {
    gst::init().map_err(Failure::internal)?;
    // Sinks use this as the window's title.
    glib::set_application_name("callbin");
    let mut caps = caps(options.width, options.height);
    caps.make_mut().set("framerate", gst::Fraction::new(options.fps, 1));
    let info = gst_video::VideoInfo::from_caps(&caps).map_err(Failure::internal)?;
    let feed = gst_app::AppSrc::builder()
        .caps(&caps)
        .is_live(true)
        .do_timestamp(true)
        .format(gst::Format::Time)
        .leaky_type(gst_app::AppLeakyType::Downstream)
        .max_buffers(WAITING.into())
        .max_bytes(0)
        .build();
    let pipeline = gst::Pipeline::new();
    let sink = format!("videoconvertscale ! {} name=sink", options.sink);
    let sink = gst::parse::bin_from_description(&sink, true).map_err(Failure::internal)?;
    // Frames arrive at the right time, so the sink shows them at once.
    if let Some(sink) = sink.by_name("sink").filter(|sink| sink.has_property("sync")) {
        sink.set_property("sync", false);
    }
    pipeline.add_many([feed.upcast_ref(), sink.upcast_ref::<gst::Element>()]).map_err(Failure::internal)?;
    feed.link(&sink).map_err(Failure::internal)?;
    let started = pipeline.set_state(gst::State::Playing);
    check(&pipeline)?;
    started.map_err(|_| Failure::internal("no window can be opened"))?;
    copy(&pipeline, &feed, &pool(&caps, &info)?)
}

/// Caps of composed frames. Their colorimetry is that of VP8; from the size alone, GStreamer would assume that of HDTV.
pub(super) fn caps(width: i32, height: i32) -> gst::Caps {
    gst_video::VideoCapsBuilder::new()
        .format(gst_video::VideoFormat::I420)
        .width(width)
        .height(height)
        .pixel_aspect_ratio(gst::Fraction::new(1, 1))
        .field("colorimetry", "bt601")
        .build()
}

/// Copies frames from standard input to the window until either ends.
fn copy(pipeline: &gst::Pipeline, feed: &gst_app::AppSrc, frames: &gst::BufferPool) -> Result<(), Failure> {
    let mut input = std::io::stdin().lock();
    loop {
        let mut frame = frames.acquire_buffer(None).map_err(Failure::internal)?;
        let buffer = frame.get_mut().ok_or_else(|| Failure::internal("a frame that is in use"))?;
        let mut pixels = buffer.map_writable().map_err(Failure::internal)?;
        if input.read_exact(&mut pixels).is_err() {
            // The call is over.
            return Ok(());
        }
        drop(pixels);
        check(pipeline)?;
        let _ = feed.push_buffer(frame);
    }
}

/// A pool of frame buffers: as many as can be in use at once, so that the memory is known from the start. A sink that
/// keeps more than one frame makes the pool grow.
fn pool(caps: &gst::Caps, info: &gst_video::VideoInfo) -> Result<gst::BufferPool, Failure> {
    const READ: u32 = 1;
    const SHOWN: u32 = 1;
    const KEPT_BY_SINK: u32 = 1;
    let size = u32::try_from(info.size()).map_err(Failure::internal)?;
    let pool = gst::BufferPool::new();
    let mut config = pool.config();
    config.set_params(Some(caps), size, READ + WAITING + SHOWN + KEPT_BY_SINK, 0);
    pool.set_config(config).map_err(Failure::internal)?;
    pool.set_active(true).map_err(Failure::internal)?;
    Ok(pool)
}

fn check(pipeline: &gst::Pipeline) -> Result<(), Failure> {
    let message = pipeline.bus().and_then(|bus| bus.pop_filtered(&[gst::MessageType::Error]));
    match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => Err(Failure::internal(error.error())),
        _ => Ok(()),
    }
}
