//! The text of `--video` and `--audio`. Pure.

use std::fmt;

use crate::sdp::Kind;

/// The patterns of videotestsrc in GStreamer 1.22.
pub const PATTERNS: [&str; 26] = [
    "smpte",
    "snow",
    "black",
    "white",
    "red",
    "green",
    "blue",
    "checkers-1",
    "checkers-2",
    "checkers-4",
    "checkers-8",
    "circular",
    "blink",
    "smpte75",
    "zone-plate",
    "gamut",
    "chroma-zone-plate",
    "solid-color",
    "ball",
    "smpte100",
    "bar",
    "pinwheel",
    "spokes",
    "gradient",
    "colors",
    "smpte-rp-219",
];
/// The waves of audiotestsrc in GStreamer 1.22.
pub const WAVES: [&str; 13] = [
    "sine",
    "square",
    "saw",
    "triangle",
    "silence",
    "white-noise",
    "pink-noise",
    "sine-table",
    "ticks",
    "gaussian-noise",
    "red-noise",
    "blue-noise",
    "violet-noise",
];
/// Schemes of addresses that GStreamer opens.
const SCHEMES: [&str; 7] = ["rtsp", "rtspt", "rtsps", "http", "https", "srt", "udp"];
/// Longest name of a source.
const MAX_NAME: usize = 32;
/// What `--video` takes, for error messages.
const VIDEO: &str = "test[:PATTERN], camera[:DEVICE], screen[:DISPLAY], file:PATH, an address (rtsp, http, https, srt, \
                     udp), fd:N, - or pipeline:ELEMENTS";
/// What `--audio` takes, for error messages.
const AUDIO: &str = "test[:WAVE], microphone[:NAME], file:PATH, an address (rtsp, http, https, srt, udp), fd:N, - or pipeline:ELEMENTS";

/// A source, and the name that the user gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// The part before `=`.
    pub name: Option<String>,
    /// Where the media come from.
    pub spec: Spec,
}

/// Where media come from.
#[derive(Clone, PartialEq, Eq)]
pub enum Spec {
    /// Nothing is sent.
    None,
    /// The test picture or sound; the pattern or wave, if one is named.
    Test(Option<String>),
    /// A camera, by device file or name.
    Camera(Option<String>),
    /// An X display.
    Screen(Option<String>),
    /// A microphone, by name.
    Microphone(Option<String>),
    /// A file, played at its own pace.
    File {
        /// Its path.
        path: String,
        /// Whether it begins again at its end.
        repeats: bool,
    },
    /// An address with a scheme.
    Address(String),
    /// A stream that this process inherited as an open file.
    Descriptor(u16),
    /// Elements in the syntax of gst-launch-1.0.
    Pipeline(String),
}

/// Reads a value of `--video`.
pub fn video(text: &str) -> Result<Named, String> {
    read(Kind::Video, text)
}

/// Reads a value of `--audio`.
pub fn audio(text: &str) -> Result<Named, String> {
    read(Kind::Audio, text)
}

impl Named {
    /// What events and pictures call the source.
    pub fn label(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.spec.label())
    }
}

impl Spec {
    /// A short name without secrets: of an address, only scheme and host.
    pub fn label(&self) -> String {
        let with = |word: &str, rest: &Option<String>| {
            rest.as_ref().map_or_else(|| word.to_owned(), |rest| format!("{word} {rest}"))
        };
        match self {
            Self::None => "none".into(),
            Self::Test(pattern) => with("test", pattern),
            Self::Camera(device) => with("camera", device),
            Self::Screen(display) => with("screen", display),
            Self::Microphone(name) => with("microphone", name),
            Self::File { path, .. } => path.rsplit('/').next().unwrap_or(path).to_owned(),
            Self::Address(address) => {
                let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
                format!("{scheme}://{}", authority(rest).rsplit('@').next().unwrap_or_default())
            }
            Self::Descriptor(0) => "stdin".into(),
            Self::Descriptor(number) => format!("fd {number}"),
            Self::Pipeline(_) => "pipeline".into(),
        }
    }

    /// Whether a source that came to its end stays there.
    pub fn ends(&self) -> bool {
        matches!(self, Self::File { repeats: false, .. } | Self::Descriptor(_))
    }

    /// Whether a source that came to its end begins again at once.
    pub fn repeats(&self) -> bool {
        matches!(self, Self::File { repeats: true, .. })
    }

    /// The number of the open file that is read.
    pub fn descriptor(&self) -> Option<u16> {
        if let Self::Descriptor(number) = self { Some(*number) } else { None }
    }

    /// Whether one source can have a picture and sound.
    pub fn may_have_both(&self) -> bool {
        matches!(self, Self::File { .. } | Self::Address(_) | Self::Descriptor(_))
    }
}

/// Addresses and pipelines may hold passwords.
impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

fn read(kind: Kind, text: &str) -> Result<Named, String> {
    let (name, text) = split_name(text)?;
    let spec = read_spec(kind, text)?;
    Ok(Named { name, spec })
}

/// `front=camera` has a name; in `file:a=b` the first `=` comes after a colon.
fn split_name(text: &str) -> Result<(Option<String>, &str), String> {
    let Some((name, rest)) = text.split_once('=').filter(|(name, _)| !name.contains(':')) else {
        return Ok((None, text));
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(fits) {
        return Err(format!("the name before = has 1 to {MAX_NAME} letters, digits, '-', '_' or '.'"));
    }
    Ok((Some(name.to_owned()), rest))
}

fn read_spec(kind: Kind, text: &str) -> Result<Spec, String> {
    if text.contains(char::is_control) {
        return Err("a source has no control characters".into());
    }
    if text == "-" {
        return Ok(Spec::Descriptor(0));
    }
    let (word, rest) = match text.split_once(':') {
        Some((_, "")) => return Err(format!("{text} has nothing after the colon")),
        Some((word, rest)) => (word, Some(rest)),
        None => (text, None),
    };
    if rest.is_some_and(|rest| rest.starts_with("//")) {
        return address(word, text);
    }
    let owned = rest.map(str::to_owned);
    match (word, rest, kind) {
        ("none", None, _) => Ok(Spec::None),
        ("test", pattern, _) => test(kind, pattern),
        ("camera", _, Kind::Video) => Ok(Spec::Camera(owned)),
        ("screen", _, Kind::Video) => Ok(Spec::Screen(owned)),
        ("microphone", _, Kind::Audio) => Ok(Spec::Microphone(owned)),
        ("camera" | "screen", ..) => Err(format!("{word} has no sound: want microphone for --audio")),
        ("microphone", ..) => Err("a microphone has no picture: give it to --audio".into()),
        ("file", Some(path), _) => file(path),
        ("fd", Some(number), _) => descriptor(number),
        ("pipeline", Some(elements), _) if !elements.trim().is_empty() => {
            Ok(Spec::Pipeline(elements.trim().to_owned()))
        }
        ("file", None, _) => Err("want file:PATH".into()),
        ("fd", None, _) => Err("want fd:N, the number of an open file".into()),
        ("pipeline", ..) => Err("want pipeline:ELEMENTS, in the syntax of gst-launch-1.0".into()),
        _ => Err(unknown(kind, text)),
    }
}

fn test(kind: Kind, pattern: Option<&str>) -> Result<Spec, String> {
    let known: &[&str] = if kind == Kind::Audio { &WAVES } else { &PATTERNS };
    match pattern {
        Some(pattern) if !known.contains(&pattern) => {
            Err(format!("{pattern} is none of {}", known.join(", ")))
        }
        pattern => Ok(Spec::Test(pattern.map(str::to_owned))),
    }
}

fn file(path: &str) -> Result<Spec, String> {
    let (path, repeats) = path.strip_suffix("?loop").map_or((path, false), |path| (path, true));
    if path.is_empty() {
        return Err("want file:PATH".into());
    }
    Ok(Spec::File { path: path.to_owned(), repeats })
}

fn descriptor(number: &str) -> Result<Spec, String> {
    match number.parse::<u16>() {
        Ok(1 | 2) => Err("1 and 2 are callbin's own output: want fd:0 or a number from 3".into()),
        Ok(number) => Ok(Spec::Descriptor(number)),
        Err(_) => Err("want fd:N, the number of an open file".into()),
    }
}

fn address(scheme: &str, text: &str) -> Result<Spec, String> {
    if !SCHEMES.contains(&scheme) {
        let known = SCHEMES.map(|scheme| format!("{scheme}://")).join(", ");
        return Err(format!("no source has addresses of {scheme}://: want one of {known}, or file:PATH"));
    }
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority(rest);
    let place = authority.rsplit('@').next().unwrap_or_default();
    let listens = matches!(scheme, "srt" | "udp");
    if text.contains(char::is_whitespace) || (place.is_empty() || place.starts_with(':')) && !listens {
        return Err(format!("want {scheme}://host/path"));
    }
    let port = place.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).filter(|port| *port > 0);
    if listens && port.is_none() {
        return Err(format!("want {scheme}://host:port"));
    }
    // udpsrc wants an address to listen on.
    let text = match text.strip_prefix("udp://:") {
        Some(rest) => format!("udp://0.0.0.0:{rest}"),
        None => text.to_owned(),
    };
    Ok(Spec::Address(text))
}

/// Host and port, with a user and password before `@`.
fn authority(rest: &str) -> &str {
    rest.split(['/', '?', '#']).next().unwrap_or_default()
}

fn unknown(kind: Kind, text: &str) -> String {
    let all = if kind == Kind::Audio { AUDIO } else { VIDEO };
    let hint = if text.starts_with("/dev/video") && kind == Kind::Video {
        format!(" Did you mean camera:{text}?")
    } else if text.contains(['/', '.']) {
        // Not the text itself: it may be an address with a password.
        " A file is file:PATH.".to_owned()
    } else {
        String::new()
    };
    format!("no such source: want {all}.{hint}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn some(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    fn is(text: &str, spec: &Spec) {
        for kind in [Kind::Video, Kind::Audio] {
            assert_eq!(read(kind, text), Ok(Named { name: None, spec: spec.clone() }), "{text}");
            let named = format!("a={text}");
            assert_eq!(read(kind, &named), Ok(Named { name: some("a"), spec: spec.clone() }), "{named}");
        }
    }

    #[test]
    fn each_form_is_read() {
        is("none", &Spec::None);
        is("test", &Spec::Test(None));
        is("file:a=b", &Spec::File { path: "a=b".into(), repeats: false });
        is("file:/x/y.mkv?loop", &Spec::File { path: "/x/y.mkv".into(), repeats: true });
        is("file:what?.mkv", &Spec::File { path: "what?.mkv".into(), repeats: false });
        is("-", &Spec::Descriptor(0));
        is("fd:0", &Spec::Descriptor(0));
        is("fd:3", &Spec::Descriptor(3));
        is(
            "pipeline: videotestsrc pattern=1 ! queue ",
            &Spec::Pipeline("videotestsrc pattern=1 ! queue".into()),
        );
        for address in [
            "rtsp://cam/1",
            "rtsp://me:hush@cam:554/1?a=b",
            "rtspt://cam",
            "rtsps://cam/",
            "http://host/a.m3u8",
            "https://host:8080/a",
            "srt://host:7000",
            "srt://:7000?mode=listener",
            "udp://239.0.0.1:5000",
            "udp://[::1]:5000",
        ] {
            is(address, &Spec::Address(address.into()));
        }
        is("udp://:5000", &Spec::Address("udp://0.0.0.0:5000".into()));
    }

    #[test]
    fn each_kind_has_its_devices() {
        let spec = |named: Result<Named, String>| named.unwrap().spec;
        assert_eq!(spec(video("camera")), Spec::Camera(None));
        assert_eq!(spec(video("camera:/dev/video0")), Spec::Camera(some("/dev/video0")));
        assert_eq!(spec(video("camera:My cam: left")), Spec::Camera(some("My cam: left")));
        assert_eq!(spec(video("screen")), Spec::Screen(None));
        assert_eq!(spec(video("screen::1")), Spec::Screen(some(":1")));
        assert_eq!(spec(video("test:ball")), Spec::Test(some("ball")));
        assert_eq!(spec(audio("microphone")), Spec::Microphone(None));
        assert_eq!(spec(audio("microphone:hw:0")), Spec::Microphone(some("hw:0")));
        assert_eq!(spec(audio("test:ticks")), Spec::Test(some("ticks")));
        assert_eq!(video("front=camera").unwrap().name, some("front"));
    }

    #[test]
    fn an_error_says_what_to_write() {
        let bad = |result: Result<Named, String>, words: &str| {
            let error = result.unwrap_err();
            assert!(error.contains(words) && !error.contains('\n'), "{error}");
        };
        bad(video("nonsense"), "camera[:DEVICE]");
        bad(audio("nonsense"), "microphone[:NAME]");
        bad(video(""), "want test");
        bad(video("/dev/video2"), "camera:/dev/video2");
        bad(video("clip.mp4"), "A file is file:PATH");
        bad(video("ftp://x/y"), "rtsp://");
        bad(video("file://x/y"), "file:PATH");
        bad(video("microphone"), "--audio");
        bad(audio("camera"), "microphone");
        bad(audio("screen::0"), "microphone");
        bad(video("test:sine"), "smpte");
        bad(audio("test:smpte"), "sine");
        bad(video("camera:"), "colon");
        bad(video("none:1"), "no such source");
        for text in ["file", "file:?loop"] {
            bad(video(text), "file:PATH");
        }
        for text in ["fd", "fd:x", "fd:-1", "fd:70000"] {
            bad(video(text), "fd:N");
        }
        for text in ["fd:1", "fd:2"] {
            bad(video(text), "own output");
        }
        for text in ["pipeline", "pipeline:  "] {
            bad(video(text), "gst-launch");
        }
        for text in ["rtsp://", "rtsp://:554/", "rtsp:///x", "http://me@/", "rtsp://a b"] {
            bad(video(text), "://host/path");
        }
        for text in ["udp://host", "udp://host:0", "udp://host:x", "srt://"] {
            bad(video(text), "://host:port");
        }
        for text in ["=camera", "a b=camera", "ü=camera", &format!("{}=camera", "a".repeat(33))] {
            bad(video(text), "the name before =");
        }
        bad(video("camera:a\u{1b}[2J"), "control");
    }

    #[test]
    fn a_label_has_no_secret() {
        for (text, label) in [
            ("rtsp://me:hush@cam:554/hush?hush", "rtsp://cam:554"),
            ("http://cam?hush", "http://cam"),
            ("pipeline:rtspsrc location=rtsp://me:hush@cam ! queue", "pipeline"),
            ("file:/home/hush/a.mkv?loop", "a.mkv"),
            ("-", "stdin"),
            ("fd:4", "fd 4"),
            ("test", "test"),
            ("none", "none"),
        ] {
            let named = video(text).unwrap();
            assert_eq!(named.label(), label);
            assert!(!format!("{named:?}").contains("hush"));
        }
        assert_eq!(video("camera:/dev/video1").unwrap().label(), "camera /dev/video1");
        assert_eq!(video("front=camera").unwrap().label(), "front");
    }

    #[test]
    fn what_happens_at_the_end_depends_on_the_source() {
        let of = |text: &str| {
            let spec = video(text).unwrap().spec;
            (spec.ends(), spec.repeats(), spec.may_have_both())
        };
        assert_eq!(of("file:a"), (true, false, true));
        assert_eq!(of("file:a?loop"), (false, true, true));
        assert_eq!(of("-"), (true, false, true));
        assert_eq!(of("rtsp://cam"), (false, false, true));
        assert_eq!(of("camera"), (false, false, false));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused_in_one_line(text in ".*") {
            for named in [video(&text), audio(&text)] {
                match named {
                    Ok(named) => prop_assert!(!named.label().contains(char::is_control)),
                    Err(error) => prop_assert!(error.len() < 500 + 2 * text.len()),
                }
            }
        }
    }
}
