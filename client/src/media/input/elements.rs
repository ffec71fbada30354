//! The elements that open a source.

use gst::prelude::*;

use super::{
    devices,
    shape::{best, shapes},
    spec::Spec,
};
use crate::{
    cli::Size,
    exit::{ExitCode, Failure},
    media::make,
    plugins::{self, Package},
};

/// Milliseconds that the packets of an RTSP source may wait for late ones.
const RTSP_LATENCY: u32 = 100;
/// Microseconds until a silent RTSP source is asked for TCP, or given up.
const RTSP_PATIENCE: u64 = 3_000_000;

/// The name of the last element of a pipeline that the user writes.
const LAST: &str = "callbin-end";

/// The beginning of a pipeline.
pub(super) struct Head {
    pub(super) element: gst::Element,
    /// The format to ask for.
    pub(super) filter: Option<gst::Caps>,
    /// Whether it sets the pace itself. The pipeline may know it, too.
    pub(super) is_live: bool,
}

impl Head {
    fn live(element: gst::Element) -> Self {
        Self { element, filter: None, is_live: true }
    }
}

/// Makes the elements. It may talk to devices and take long.
pub(super) fn head(spec: &Spec, size: Size, fps: u16) -> Result<Head, String> {
    match spec {
        Spec::Camera(device) => camera(device.as_deref(), size, fps),
        Spec::Microphone(name) => microphone(name.as_deref()).map(Head::live),
        Spec::File { path, .. } => {
            let path = std::path::absolute(path).map_err(|error| error.to_string())?;
            let uri = gst::glib::filename_to_uri(&path, None).map_err(|error| error.to_string())?;
            address(&uri)
        }
        Spec::Address(uri) => address(uri),
        Spec::Descriptor(number) => address(&format!("fd://{number}")),
        Spec::Pipeline(elements) => parse(elements).map_err(|failure| failure.message).map(|element| Head {
            element,
            filter: None,
            is_live: false,
        }),
        Spec::None | Spec::Test(_) | Spec::Screen(_) => Err("it is no pipeline".into()),
    }
}

/// Elements in the syntax of gst-launch-1.0, with one pad at their end.
fn parse(elements: &str) -> Result<gst::Element, Failure> {
    let code = |error: &gst::glib::Error| match error.kind::<gst::ParseError>() {
        Some(gst::ParseError::NoSuchElement) => ExitCode::MissingPlugin,
        _ => ExitCode::Usage,
    };
    // With the last element, caps at the end are what the one before has to make.
    let bin = gst::parse::bin_from_description(&format!("{elements} ! identity name={LAST}"), false)
        .map_err(|error| Failure::new(code(&error), error.to_string()))?;
    let ends = |pad: &gst::Pad| !pad.is_linked();
    let pads = bin.children().into_iter().flat_map(|element| element.pads()).filter(ends).collect::<Vec<_>>();
    let end = bin.by_name(LAST).and_then(|last| last.static_pad("src"));
    let ghost = end.filter(|end| pads == [end.clone()]).map(|end| gst::GhostPad::with_target(&end));
    if let Some(Ok(ghost)) = ghost
        && bin.add_pad(&ghost).is_ok()
    {
        return Ok(bin.upcast());
    }
    let words = "the elements must begin with a source and end without a sink, as in videotestsrc ! queue";
    Err(Failure::new(ExitCode::Usage, words))
}

/// Everything that GStreamer opens by an address.
fn address(uri: &str) -> Result<Head, String> {
    let element = make("urisourcebin").map_err(|failure| failure.message)?;
    element.set_property("uri", uri);
    element.set_property("parse-streams", true);
    element.set_property("use-buffering", false);
    element.connect("source-setup", false, |values| {
        if let Some(source) = values.get(1).and_then(|value| value.get::<gst::Element>().ok()) {
            set_up(&source);
        }
        None
    });
    let is_live = ["rtsp", "srt", "udp"].iter().any(|scheme| uri.starts_with(scheme));
    Ok(Head { element, filter: None, is_live })
}

/// Sets what the source behind an address has: low delay, and an end of waiting.
fn set_up(source: &gst::Element) {
    for (name, value) in [
        ("latency", RTSP_LATENCY.to_value()),
        ("timeout", RTSP_PATIENCE.to_value()),
        ("tcp-timeout", RTSP_PATIENCE.to_value()),
        ("drop-on-latency", true.to_value()),
        // The camera's own time stays with the picture, up to its packets (peer::extensions).
        ("add-reference-timestamp-meta", true.to_value()),
        // Reconnecting is done by a new attempt.
        ("auto-reconnect", false.to_value()),
    ] {
        let fits = source.find_property(name).is_some_and(|spec| spec.value_type() == value.type_());
        let is_own = source.factory().is_some_and(|factory| matches!(&*factory.name(), "rtspsrc" | "srtsrc"));
        if fits && is_own {
            source.set_property_from_value(name, &value);
        }
    }
}

fn camera(device: Option<&str>, size: Size, fps: u16) -> Result<Head, String> {
    let element = match device {
        Some(file) if file.starts_with("/dev/") => {
            let element = make("v4l2src").map_err(|failure| failure.message)?;
            element.set_property("device", file);
            element
        }
        name => devices::open("Video/Source", name).map_err(|it| format!("no camera: {it}"))?,
    };
    opened(&element)?;
    let offered = element.static_pad("src").map(|pad| pad.query_caps(None));
    let filter =
        offered.filter(|caps| !caps.is_any()).and_then(|caps| best(shapes(&caps, size, fps), size, fps));
    Ok(Head { element, filter, is_live: true })
}

/// The first that can be opened: PulseAudio or PipeWire by its protocol, else ALSA.
fn microphone(name: Option<&str>) -> Result<gst::Element, String> {
    if let Some(name) = name.filter(|name| !is_alsa(name)) {
        let element =
            devices::open("Audio/Source", Some(name)).map_err(|it| format!("no microphone: {it}"))?;
        return opened(&element).map(|()| quick(element));
    }
    let mut reason = "no microphone: GStreamer has neither pulsesrc nor alsasrc".to_owned();
    let factories: &[&str] = if name.is_some() { &["alsasrc"] } else { &["pulsesrc", "alsasrc"] };
    for factory in factories {
        let Ok(element) = make(factory) else { continue };
        if let Some(name) = name {
            element.set_property("device", name);
        }
        match opened(&element) {
            Ok(()) => return Ok(quick(element)),
            Err(_) => reason = "no microphone can be opened by PulseAudio, PipeWire or ALSA".to_owned(),
        }
    }
    Err(reason)
}

fn is_alsa(name: &str) -> bool {
    ["hw:", "plughw:", "default", "sysdefault"].iter().any(|start| name.starts_with(start))
}

/// Sound in short pieces, timed by our clock.
fn quick(element: gst::Element) -> gst::Element {
    for (name, microseconds) in [("latency-time", 10_000i64), ("buffer-time", 60_000)] {
        if element.has_property(name) {
            element.set_property(name, microseconds);
        }
    }
    element
}

/// Opens a device; the error is the device's own.
fn opened(element: &gst::Element) -> Result<(), String> {
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    let result = element.set_state(gst::State::Ready);
    let message = bus.pop_filtered(&[gst::MessageType::Error]);
    element.set_bus(None);
    if result.is_ok() {
        return Ok(());
    }
    let _ = element.set_state(gst::State::Null);
    Err(match message.as_ref().map(|message| message.view()) {
        Some(gst::MessageView::Error(error)) => error.error().to_string(),
        _ => "it cannot be opened".into(),
    })
}

/// Looks at start whether a source can be opened at all: a mistake of the user would otherwise look like a camera that
/// is not plugged in.
pub fn check(flag: &str, spec: &Spec) -> Result<(), Failure> {
    let packages = packages(spec);
    // One of the packages is enough.
    if !packages.is_empty() && packages.iter().all(|package| plugins::check_all(&[*package]).is_err()) {
        return packages.iter().take(1).try_for_each(|package| plugins::check_all(&[*package]));
    }
    plugins::check_all(&common(spec))?;
    if let Spec::Pipeline(elements) = spec {
        parse(elements).map_err(|it| {
            Failure::new(it.code, format!("{flag} pipeline: {}", super::secret::hide(&it.message)))
        })?;
    }
    Ok(())
}

/// What every source needs but the test's.
fn common(spec: &Spec) -> Vec<Package> {
    const BASE: Package = (
        "gstreamer1.0-plugins-base",
        &["urisourcebin", "decodebin", "videoconvertscale", "audioconvert", "audioresample"],
    );
    const BAD: Package = ("gstreamer1.0-plugins-bad", &["audiobuffersplit"]);
    match spec {
        Spec::None | Spec::Test(_) => Vec::new(),
        _ => vec![BASE, BAD],
    }
}

/// The packages of which one has to be there.
fn packages(spec: &Spec) -> Vec<Package> {
    match spec {
        Spec::Camera(Some(file)) if file.starts_with("/dev/") => {
            vec![("gstreamer1.0-plugins-good", &["v4l2src"])]
        }
        Spec::Camera(_) => vec![
            ("gstreamer1.0-plugins-good", &["v4l2src"]),
            ("gstreamer1.0-pipewire", &["pipewiresrc"]),
            ("gstreamer1.0-libcamera", &["libcamerasrc"]),
        ],
        Spec::Screen(_) => vec![("gstreamer1.0-plugins-good", &["ximagesrc"])],
        Spec::Microphone(_) => vec![
            ("gstreamer1.0-pulseaudio", &["pulsesrc"]),
            ("gstreamer1.0-alsa", &["alsasrc"]),
            ("gstreamer1.0-pipewire", &["pipewiresrc"]),
        ],
        Spec::Address(address) => match address.split_once("://").map(|(scheme, _)| scheme) {
            Some("rtsp" | "rtspt" | "rtsps") => vec![("gstreamer1.0-plugins-good", &["rtspsrc"])],
            Some("http" | "https") => vec![
                ("gstreamer1.0-plugins-good", &["souphttpsrc"]),
                ("gstreamer1.0-plugins-bad", &["curlhttpsrc"]),
            ],
            Some("srt") => vec![("gstreamer1.0-plugins-bad", &["srtsrc"])],
            _ => vec![("gstreamer1.0-plugins-good", &["udpsrc"])],
        },
        Spec::File { .. } | Spec::Descriptor(_) | Spec::Pipeline(_) | Spec::None | Spec::Test(_) => {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_that_cannot_be_a_source_are_an_error() {
        gst::init().unwrap();
        let checked = |elements: &str| check("--video", &Spec::Pipeline(elements.into()));
        for good in ["videotestsrc ! queue", "videotestsrc ! video/x-raw,width=64", "videotestsrc name=a a."]
        {
            assert_eq!(checked(good), Ok(()), "{good}");
        }
        for (elements, code, words) in [
            ("nosuch ! queue", ExitCode::MissingPlugin, "--video pipeline: no element"),
            ("videotestsrc nosuch=1", ExitCode::Usage, "nosuch"),
            ("videotestsrc !", ExitCode::Usage, "--video pipeline"),
            ("videotestsrc ! fakesink", ExitCode::Usage, "link"),
            ("videotestsrc name=a videotestsrc name=b", ExitCode::Usage, "without a sink"),
            ("queue", ExitCode::Usage, "begin with a source"),
        ] {
            let failure = checked(elements).unwrap_err();
            assert!(failure.code == code && failure.message.contains(words), "{failure:?}");
        }
    }

    #[test]
    fn a_device_that_is_not_there_says_so() {
        gst::init().unwrap();
        let failed = |spec: &Spec| head(spec, Size { width: 64, height: 48 }, 30).map(drop).unwrap_err();
        let words = failed(&Spec::Camera(Some("/dev/no-such-camera".into())));
        assert!(words.contains("/dev/no-such-camera"), "{words}");
        let words = failed(&Spec::Microphone(Some("hw:99".into())));
        assert!(words.contains("no microphone"), "{words}");
    }
}
