//! Decodes recordings and pictures, and measures what is in them.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use gst::prelude::*;

use crate::DEADLINE;

/// What a file shows.
#[derive(Debug, Default, Clone)]
pub struct Recording {
    /// Decoded frames.
    pub frames: usize,
    /// The mean colour of the last frame.
    pub color: [u8; 3],
    /// The time from the first to the last frame.
    pub length: std::time::Duration,
    /// Decoded buffers of sound.
    pub sounds: usize,
    /// The loudest sample, 0 to 1.
    pub peak: f64,
}

impl Recording {
    /// Whether the last frame has this colour.
    pub fn shows(&self, color: [u8; 3]) -> bool {
        self.color.iter().zip(color).all(|(a, b)| a.abs_diff(b) < 24)
    }
}

/// Decodes a recording to its end.
#[track_caller]
pub fn decode(path: &Path) -> Recording {
    run(&format!(
        "filesrc location={} ! matroskademux name=file \
         file.video_0 ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! vp8dec ! videoconvert \
         ! video/x-raw,format=RGB ! fakesink name=video sync=false async=false \
         file.audio_0 ! queue max-size-time=0 max-size-bytes=0 max-size-buffers=0 ! opusdec ! audioconvert \
         ! audio/x-raw,format=F32LE ! fakesink name=audio sync=false async=false",
        path.display()
    ))
}

/// Decodes a JPEG.
#[track_caller]
pub fn picture(path: &Path) -> Recording {
    run(&format!(
        "filesrc location={} ! jpegdec ! videoconvert ! video/x-raw,format=RGB ! fakesink name=video async=false",
        path.display()
    ))
}

#[track_caller]
fn run(pipeline: &str) -> Recording {
    gst::init().expect("GStreamer is installed");
    let pipeline = gst::parse::launch(pipeline).expect("the elements are installed");
    let bin = pipeline.downcast_ref::<gst::Bin>().expect("a pipeline");
    let found = Arc::new(Mutex::new(Recording::default()));
    watch(bin, "video", &found, see);
    watch(bin, "audio", &found, hear);
    pipeline.set_state(gst::State::Playing).expect("it plays");
    let limit = gst::ClockTime::from_seconds(DEADLINE.as_secs());
    let message = pipeline
        .bus()
        .expect("a bus")
        .timed_pop_filtered(limit, &[gst::MessageType::Eos, gst::MessageType::Error]);
    let _ = pipeline.set_state(gst::State::Null);
    match message.expect("an end").view() {
        gst::MessageView::Error(error) => panic!("it cannot be played: {error:?}"),
        _ => found.lock().unwrap_or_else(PoisonError::into_inner).clone(),
    }
}

fn watch(
    bin: &gst::Bin,
    name: &str,
    found: &Arc<Mutex<Recording>>,
    measure: fn(&mut Recording, &[u8], Option<gst::ClockTime>),
) {
    let Some(pad) = bin.by_name(name).and_then(|sink| sink.static_pad("sink")) else { return };
    let found = found.clone();
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        if let Some(buffer) = info.buffer() {
            let bytes = buffer.map_readable().expect("readable");
            measure(&mut found.lock().unwrap_or_else(PoisonError::into_inner), &bytes, buffer.pts());
        }
        gst::PadProbeReturn::Ok
    });
}

fn see(found: &mut Recording, bytes: &[u8], time: Option<gst::ClockTime>) {
    found.frames += 1;
    found.length = time.map_or(found.length, std::time::Duration::from);
    let mean = |part: usize| {
        let all = bytes.iter().skip(part).step_by(3);
        let count = (bytes.len() / 3).max(1) as u64;
        u8::try_from(all.map(|it| u64::from(*it)).sum::<u64>() / count).unwrap_or(255)
    };
    found.color = [mean(0), mean(1), mean(2)];
}

fn hear(found: &mut Recording, bytes: &[u8], _: Option<gst::ClockTime>) {
    found.sounds += 1;
    let samples = bytes.chunks_exact(4).filter_map(|it| it.try_into().ok().map(f32::from_le_bytes));
    found.peak = samples.map(|it| f64::from(it.abs())).fold(found.peak, f64::max);
}
