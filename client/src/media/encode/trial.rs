//! Which encoder of a codec is used: hardware if it works, else software.
//!
//! A driver may be installed and yet be broken, without a device or without permission for it, and it may hang. So each
//! hardware encoder encodes one real picture, on a thread of its own and with a deadline, before it is used.

use std::{
    sync::{OnceLock, mpsc},
    task::Poll,
    thread,
    time::Duration,
};

use gst::prelude::*;

use super::{
    assemble,
    codec::{Encoder, Format, Formats, TABLE},
    encoder::Chain,
};
use crate::{
    cli::Media,
    exit::Failure,
    media::input::{layout, video_caps},
    plugins::has,
};

/// For the first picture of a hardware encoder.
const DEADLINE: Duration = Duration::from_secs(2);

/// The chosen encoders. A trial takes time, and a driver that hung once may hang again.
static CHOSEN: [OnceLock<Option<&'static Encoder>>; TABLE.len()] = [const { OnceLock::new() }; TABLE.len()];

/// The best encoder of a codec that works here; hardware is tried at the first call.
pub fn best(format: Format, media: &Media) -> Option<&'static Encoder> {
    let choose = || {
        let mut encoders = format.row().encoders.iter().filter(|it| has(it.element.factory));
        encoders.find(|encoder| !encoder.is_hardware || works(format, encoder, media))
    };
    let position = TABLE.iter().position(|row| row.format == format)?;
    *CHOSEN.get(position)?.get_or_init(choose)
}

/// The best encoder of a codec that works here, without waiting for a trial. It is pending until [`prepare`] has tried the
/// hardware.
pub fn known(format: Format) -> Poll<Option<&'static Encoder>> {
    let chosen = TABLE.iter().position(|row| row.format == format).and_then(|at| CHOSEN.get(at)?.get());
    chosen.map_or_else(|| untried(format.row().encoders, &has), |encoder| Poll::Ready(*encoder))
}

/// What is chosen without a trial.
fn untried(encoders: &'static [Encoder], has: &dyn Fn(&str) -> bool) -> Poll<Option<&'static Encoder>> {
    match encoders.iter().find(|it| has(it.element.factory)) {
        Some(first) if first.is_hardware => Poll::Pending,
        first => Poll::Ready(first),
    }
}

/// Tries the encoders of these codecs in the background, before a peer needs one.
pub fn prepare(formats: Formats, media: &Media) {
    let media = media.clone();
    let work = move || {
        for format in formats.iter() {
            let _ = best(format, &media);
        }
    };
    if let Err(error) = thread::Builder::new().name("trials".into()).spawn(work.clone()) {
        tracing::debug!("encoders are tried in the foreground: {error}");
        work();
    }
}

/// Whether the encoder makes a picture in time.
pub fn works(format: Format, encoder: &'static Encoder, media: &Media) -> bool {
    works_within(DEADLINE, format, encoder, media)
}

fn works_within(limit: Duration, format: Format, encoder: &'static Encoder, media: &Media) -> bool {
    let (done, result) = mpsc::sync_channel(1);
    let media = media.clone();
    let spawned = thread::Builder::new().name("trial".into()).spawn(move || {
        let _ = done.send(encode_one(limit, format, encoder, &media));
    });
    // A thread that hangs in a driver is left behind.
    let result = spawned.ok().and_then(|_| result.recv_timeout(limit).ok());
    let name = encoder.element.factory;
    match result {
        Some(Ok(true)) => return true,
        Some(Ok(false)) => tracing::info!("{name} is here, but encodes nothing: another encoder is used"),
        Some(Err(failure)) => tracing::info!("{name} is here, but does not work: {}", failure.message),
        None => tracing::info!("{name} is here, but encodes nothing in time: another encoder is used"),
    }
    false
}

fn encode_one(limit: Duration, format: Format, encoder: &Encoder, media: &Media) -> Result<bool, Failure> {
    let caps = video_caps(media);
    let entry = gst_app::AppSrc::builder().caps(&caps).format(gst::Format::Time).build();
    let sink = gst_app::AppSink::builder().sync(false).async_(false).build();
    let pipeline = assemble(&entry, &Chain::make(format, encoder, media)?.elements, &sink)?;
    let result = (|| {
        pipeline.set_state(gst::State::Playing).map_err(Failure::internal)?;
        let mut picture = gst::Buffer::from_mut_slice(vec![128u8; layout(media.size)?.size()]);
        if let Some(picture) = picture.get_mut() {
            picture.set_pts(gst::ClockTime::ZERO);
            picture.set_duration(gst::ClockTime::SECOND / u64::from(media.fps.max(1)));
        }
        entry.push_buffer(picture).map_err(Failure::internal)?;
        entry.end_of_stream().map_err(Failure::internal)?;
        let limit = gst::ClockTime::try_from(limit).ok();
        let sample = sink.try_pull_sample(limit);
        Ok(sample.is_some_and(|sample| sample.buffer().is_some_and(|buffer| buffer.size() > 0)))
    })();
    let _ = pipeline.set_state(gst::State::Null);
    result
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        media::{
            encode::codec::{Element, Rate, Value},
            target::tests::media,
        },
        sdp::Kind,
    };

    #[test]
    fn every_video_encoder_that_is_here_makes_a_picture() {
        gst::init().unwrap();
        // GStreamer pads the lines of the second size.
        for size in ["320x240", "426x240"] {
            let media = media(&["--size", size]);
            for row in TABLE.iter().filter(|row| row.kind == Kind::Video) {
                for encoder in row.encoders.iter().filter(|it| !it.is_hardware && has(it.element.factory)) {
                    // Software may be slow on a busy machine.
                    let limit = Duration::from_secs(60);
                    assert!(works_within(limit, row.format, encoder, &media), "{size}: {encoder:?}");
                }
            }
        }
    }

    #[test]
    fn only_hardware_has_to_be_waited_for() {
        let encoders = |format: Format| format.row().encoders;
        let name = |it: Poll<Option<&'static Encoder>>| it.map(|it| it.map(|it| it.element.factory));
        assert_eq!(name(untried(encoders(Format::H264), &|_| true)), Poll::Pending);
        let software = |element: &str| ["x264enc", "openh264enc"].contains(&element);
        assert_eq!(name(untried(encoders(Format::H264), &software)), Poll::Ready(Some("x264enc")));
        assert_eq!(name(untried(encoders(Format::Vp8), &|_| true)), Poll::Ready(Some("vp8enc")));
        assert_eq!(name(untried(encoders(Format::Vp8), &|_| false)), Poll::Ready(None));
    }

    #[test]
    fn what_makes_no_picture_is_not_used() {
        static WRONG: Encoder = Encoder {
            element: Element { factory: "jpegenc", package: "" },
            is_hardware: true,
            convert: None,
            rate: Rate::Fixed,
            settings: &[("quality", Value::Is("50"))],
        };
        static MISSING: Encoder = Encoder { element: Element { factory: "nonsense", package: "" }, ..COPY };
        const COPY: Encoder = Encoder {
            element: Element { factory: "", package: "" },
            is_hardware: true,
            convert: None,
            rate: Rate::Fixed,
            settings: &[],
        };
        gst::init().unwrap();
        let media = media(&["--size", "320x240"]);
        assert!(!works(Format::H264, &WRONG, &media));
        assert!(!works(Format::H264, &MISSING, &media));
    }
}
