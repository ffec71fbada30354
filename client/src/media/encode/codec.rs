//! The table of codecs: how each is named in a description, and which elements carry, code and decode it. Pure.

use std::{fmt, str::FromStr};

use crate::sdp::Kind;

/// A codec that callbin can negotiate, if the elements for it are installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Format {
    /// VP8 (RFC 7741).
    Vp8,
    /// H.264 (RFC 6184).
    H264,
    /// VP9, profile 0 (RFC 9628).
    Vp9,
    /// AV1, main profile.
    Av1,
    /// H.265, main profile (RFC 7798).
    H265,
    /// Opus (RFC 7587).
    Opus,
    /// G.711 µ-law (RFC 3551).
    Pcmu,
    /// G.711 A-law (RFC 3551).
    Pcma,
}

/// A GStreamer element and the Debian package that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element {
    /// The factory's name.
    pub factory: &'static str,
    /// The Debian package.
    pub package: &'static str,
}

/// The row of a codec.
#[derive(Debug)]
pub struct Row {
    /// The codec.
    pub format: Format,
    /// Its name in flags and events.
    pub name: &'static str,
    /// Audio or video.
    pub kind: Kind,
    /// The name in `a=rtpmap`.
    pub encoding: &'static str,
    /// The clock rate in `a=rtpmap`.
    pub clock_rate: u32,
    /// The channels in `a=rtpmap`, if it names them.
    pub channels: Option<&'static str>,
    /// The payload type in our offers: static, or one that browsers also choose.
    pub payload_type: u8,
    /// The payload type of its retransmissions in our offers.
    pub repair: Option<u8>,
    /// `a=fmtp` of our descriptions. H264 has its own, see [`crate::sdp::H264`].
    pub parameters: &'static str,
    /// The caps of the encoded media, between encoder and payloader.
    pub caps: &'static str,
    /// Makes RTP packets.
    pub payloader: Element,
    /// Takes RTP packets apart.
    pub depayloader: Element,
    /// Behind encoders, for the stream format that the payloader takes.
    pub parser: Option<Element>,
    /// The decoders, the best first.
    pub decoders: &'static [Element],
    /// The encoders, the best first.
    pub encoders: &'static [Encoder],
}

/// An encoder, and how it is set up for low delay.
#[derive(Debug, PartialEq, Eq)]
pub struct Encoder {
    /// The element.
    pub element: Element,
    /// Whether it is hardware, whose driver may be broken: it is tried before it is used.
    pub is_hardware: bool,
    /// An element that the encoder needs in front of it.
    pub convert: Option<&'static str>,
    /// How it takes its bit rate, also while it runs.
    pub rate: Rate,
    /// Its properties. Those that an older or newer version does not have are left out.
    pub settings: &'static [(&'static str, Value)],
}

/// How an encoder takes its bit rate. All encoders take GStreamer's key frame requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// A property in bit/s.
    Bits(&'static str),
    /// A property in kbit/s.
    Kilobits(&'static str),
    /// A control of V4L2, in bit/s.
    Control(&'static str),
    /// It has a fixed bit rate.
    Fixed,
}

/// The value of an encoder's property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// This one.
    Is(&'static str),
    /// The frames between two key frames that nobody requested.
    Group,
    /// The threads for the size of the picture.
    Threads,
    /// The largest key frame, in percent of an average frame: the bits of 100 ms.
    KeyFrame,
}

/// All codecs, in callbin's order of preference.
pub static TABLE: [Row; 8] = [
    Row {
        format: Format::Vp8,
        name: "vp8",
        kind: Kind::Video,
        encoding: "VP8",
        clock_rate: 90_000,
        channels: None,
        payload_type: 96,
        repair: Some(97),
        parameters: "",
        caps: "video/x-vp8",
        payloader: good("rtpvp8pay"),
        depayloader: good("rtpvp8depay"),
        parser: None,
        decoders: &[good("vp8dec")],
        encoders: &[software(good("vp8enc"), Rate::Bits("target-bitrate"), VP8)],
    },
    Row {
        format: Format::H264,
        name: "h264",
        kind: Kind::Video,
        encoding: "H264",
        clock_rate: 90_000,
        channels: None,
        payload_type: 98,
        repair: Some(99),
        parameters: "",
        caps: "video/x-h264,stream-format=byte-stream,alignment=au",
        payloader: good("rtph264pay"),
        depayloader: good("rtph264depay"),
        parser: Some(bad("h264parse")),
        decoders: &[libav("avdec_h264"), bad("openh264dec")],
        encoders: &[
            hardware(nvidia("nvv4l2h264enc"), Some("nvvidconv"), Rate::Bits("bitrate"), JETSON),
            hardware(bad("nvh264enc"), None, Rate::Kilobits("bitrate"), NVENC),
            hardware(bad("vah264enc"), None, Rate::Kilobits("bitrate"), VA),
            hardware(bad("vah264lpenc"), None, Rate::Kilobits("bitrate"), VA),
            hardware(bad("qsvh264enc"), None, Rate::Kilobits("bitrate"), QSV),
            hardware(bad("msdkh264enc"), None, Rate::Kilobits("bitrate"), QSV),
            hardware(vaapi("vaapih264enc"), None, Rate::Kilobits("bitrate"), VAAPI),
            hardware(good("v4l2h264enc"), None, Rate::Control("video_bitrate"), &[]),
            hardware(imx("imxvpuenc_h264"), None, Rate::Kilobits("bitrate"), IMX),
            hardware(imx("vpuenc_h264"), None, Rate::Kilobits("bitrate"), IMX),
            software(ugly("x264enc"), Rate::Kilobits("bitrate"), X264),
            software(bad("openh264enc"), Rate::Bits("bitrate"), OPENH264),
        ],
    },
    Row {
        format: Format::Vp9,
        name: "vp9",
        kind: Kind::Video,
        encoding: "VP9",
        clock_rate: 90_000,
        channels: None,
        payload_type: 100,
        repair: Some(101),
        parameters: "profile-id=0",
        caps: "video/x-vp9",
        payloader: good("rtpvp9pay"),
        depayloader: good("rtpvp9depay"),
        parser: None,
        decoders: &[good("vp9dec")],
        encoders: &[software(good("vp9enc"), Rate::Bits("target-bitrate"), VP9)],
    },
    Row {
        format: Format::Av1,
        name: "av1",
        kind: Kind::Video,
        encoding: "AV1",
        clock_rate: 90_000,
        channels: None,
        payload_type: 102,
        repair: Some(103),
        parameters: "level-idx=5;profile=0;tier=0",
        caps: "video/x-av1,stream-format=obu-stream,alignment=tu",
        payloader: rust("rtpav1pay"),
        depayloader: rust("rtpav1depay"),
        parser: Some(bad("av1parse")),
        decoders: &[rust("dav1ddec"), libav("avdec_av1"), bad("av1dec")],
        encoders: &[
            software(bad("svtav1enc"), Rate::Kilobits("target-bitrate"), SVTAV1),
            software(bad("av1enc"), Rate::Kilobits("target-bitrate"), AV1),
        ],
    },
    Row {
        format: Format::H265,
        name: "h265",
        kind: Kind::Video,
        encoding: "H265",
        clock_rate: 90_000,
        channels: None,
        payload_type: 104,
        repair: Some(105),
        parameters: "level-id=93;profile-id=1;tier-flag=0;tx-mode=SRST",
        caps: "video/x-h265,stream-format=byte-stream,alignment=au",
        payloader: good("rtph265pay"),
        depayloader: good("rtph265depay"),
        parser: Some(bad("h265parse")),
        decoders: &[libav("avdec_h265"), bad("libde265dec")],
        encoders: &[
            hardware(nvidia("nvv4l2h265enc"), Some("nvvidconv"), Rate::Bits("bitrate"), JETSON),
            hardware(bad("nvh265enc"), None, Rate::Kilobits("bitrate"), NVENC),
            hardware(bad("vah265enc"), None, Rate::Kilobits("bitrate"), VA),
            hardware(bad("qsvh265enc"), None, Rate::Kilobits("bitrate"), QSV),
            hardware(good("v4l2h265enc"), None, Rate::Control("video_bitrate"), &[]),
            software(bad("x265enc"), Rate::Kilobits("bitrate"), X265),
        ],
    },
    Row {
        format: Format::Opus,
        name: "opus",
        kind: Kind::Audio,
        encoding: "opus",
        clock_rate: 48_000,
        // RFC 7587, section 7: always two channels in the description.
        channels: Some("2"),
        payload_type: 111,
        repair: None,
        parameters: "useinbandfec=1",
        caps: "audio/x-opus,rate=48000,channels=1,channel-mapping-family=0",
        payloader: good("rtpopuspay"),
        depayloader: good("rtpopusdepay"),
        parser: None,
        decoders: &[base("opusdec")],
        encoders: &[software(base("opusenc"), Rate::Bits("bitrate"), OPUS)],
    },
    Row {
        format: Format::Pcmu,
        name: "pcmu",
        kind: Kind::Audio,
        encoding: "PCMU",
        clock_rate: 8000,
        channels: None,
        payload_type: 0,
        repair: None,
        parameters: "",
        caps: "audio/x-mulaw,rate=8000,channels=1",
        payloader: good("rtppcmupay"),
        depayloader: good("rtppcmudepay"),
        parser: None,
        decoders: &[good("mulawdec")],
        encoders: &[resampled(good("mulawenc"))],
    },
    Row {
        format: Format::Pcma,
        name: "pcma",
        kind: Kind::Audio,
        encoding: "PCMA",
        clock_rate: 8000,
        channels: None,
        payload_type: 8,
        repair: None,
        parameters: "",
        caps: "audio/x-alaw,rate=8000,channels=1",
        payloader: good("rtppcmapay"),
        depayloader: good("rtppcmadepay"),
        parser: None,
        decoders: &[good("alawdec")],
        encoders: &[resampled(good("alawenc"))],
    },
];

const VP8: &[(&str, Value)] = &[
    ("deadline", Value::Is("1")),
    ("cpu-used", Value::Is("8")),
    ("threads", Value::Threads),
    ("keyframe-max-dist", Value::Group),
    ("lag-in-frames", Value::Is("0")),
    // Drop frames that are too large even at the worst quality; limit a key frame to the bits of 100 ms.
    ("max-quantizer", Value::Is("63")),
    ("dropframe-threshold", Value::Is("20")),
    ("max-intra-bitrate", Value::KeyFrame),
    ("buffer-size", Value::Is("500")),
    ("buffer-initial-size", Value::Is("300")),
    ("buffer-optimal-size", Value::Is("400")),
    ("end-usage", Value::Is("cbr")),
    ("error-resilient", Value::Is("default")),
];
const VP9: &[(&str, Value)] = &[
    ("deadline", Value::Is("1")),
    ("cpu-used", Value::Is("8")),
    ("threads", Value::Threads),
    ("row-mt", Value::Is("true")),
    ("keyframe-max-dist", Value::Group),
    ("lag-in-frames", Value::Is("0")),
    ("max-quantizer", Value::Is("63")),
    ("dropframe-threshold", Value::Is("20")),
    ("max-intra-bitrate", Value::KeyFrame),
    ("buffer-size", Value::Is("500")),
    ("buffer-initial-size", Value::Is("300")),
    ("buffer-optimal-size", Value::Is("400")),
    ("end-usage", Value::Is("cbr")),
    ("auto-alt-ref", Value::Is("false")),
    ("error-resilient", Value::Is("default")),
];
const X264: &[(&str, Value)] = &[
    ("tune", Value::Is("zerolatency")),
    ("speed-preset", Value::Is("superfast")),
    ("threads", Value::Threads),
    ("key-int-max", Value::Group),
    ("bframes", Value::Is("0")),
    ("ref", Value::Is("1")),
    ("pass", Value::Is("cbr")),
    ("vbv-buf-capacity", Value::Is("300")),
    ("qp-max", Value::Is("51")),
    ("byte-stream", Value::Is("true")),
    ("aud", Value::Is("false")),
];
const OPENH264: &[(&str, Value)] = &[
    ("rate-control", Value::Is("bitrate")),
    ("complexity", Value::Is("low")),
    ("enable-frame-skip", Value::Is("true")),
    ("usage-type", Value::Is("camera")),
    ("gop-size", Value::Group),
    ("multi-thread", Value::Threads),
];
const X265: &[(&str, Value)] = &[
    ("tune", Value::Is("zerolatency")),
    ("speed-preset", Value::Is("ultrafast")),
    ("key-int-max", Value::Group),
    ("option-string", Value::Is("bframes=0:repeat-headers=1:rc-lookahead=0:pools=none:frame-threads=1")),
];
const AV1: &[(&str, Value)] = &[
    ("usage-profile", Value::Is("realtime")),
    ("cpu-used", Value::Is("8")),
    ("threads", Value::Threads),
    ("end-usage", Value::Is("cbr")),
    ("lag-in-frames", Value::Is("0")),
    ("keyframe-max-dist", Value::Group),
    ("drop-frame", Value::Is("20")),
];
const SVTAV1: &[(&str, Value)] = &[
    ("preset", Value::Is("12")),
    ("intra-period-length", Value::Group),
    ("parameters-string", Value::Is("pred-struct=1:lookahead=0:rc=2")),
];
const OPUS: &[(&str, Value)] = &[
    ("complexity", Value::Is("4")),
    ("inband-fec", Value::Is("true")),
    ("bitrate-type", Value::Is("constrained-vbr")),
];
const VA: &[(&str, Value)] = &[
    ("rate-control", Value::Is("cbr")),
    ("target-usage", Value::Is("7")),
    ("b-frames", Value::Is("0")),
    ("ref-frames", Value::Is("1")),
    ("key-int-max", Value::Group),
];
const VAAPI: &[(&str, Value)] = &[
    ("rate-control", Value::Is("cbr")),
    ("quality-level", Value::Is("7")),
    ("max-bframes", Value::Is("0")),
    ("keyframe-period", Value::Group),
];
const NVENC: &[(&str, Value)] = &[
    ("rc-mode", Value::Is("cbr")),
    ("preset", Value::Is("low-latency-hq")),
    ("zerolatency", Value::Is("true")),
    ("bframes", Value::Is("0")),
    ("gop-size", Value::Group),
];
const QSV: &[(&str, Value)] = &[
    ("rate-control", Value::Is("cbr")),
    ("low-latency", Value::Is("true")),
    ("b-frames", Value::Is("0")),
    ("ref-frames", Value::Is("1")),
    ("gop-size", Value::Group),
];
const JETSON: &[(&str, Value)] = &[
    ("control-rate", Value::Is("constant_bitrate")),
    ("maxperf-enable", Value::Is("true")),
    ("insert-sps-pps", Value::Is("true")),
    ("num-B-Frames", Value::Is("0")),
    ("iframeinterval", Value::Group),
    ("idrinterval", Value::Group),
];
const IMX: &[(&str, Value)] = &[("gop-size", Value::Group)];

const fn base(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-plugins-base" }
}
const fn good(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-plugins-good" }
}
const fn bad(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-plugins-bad" }
}
const fn ugly(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-plugins-ugly" }
}
const fn libav(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-libav" }
}
const fn vaapi(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer1.0-vaapi" }
}
/// GStreamer's plugins in Rust: Debian 12 has none of them.
const fn rust(factory: &'static str) -> Element {
    Element { factory, package: "gst-plugins-rs, not in Debian 12" }
}
const fn nvidia(factory: &'static str) -> Element {
    Element { factory, package: "nvidia-l4t-gstreamer" }
}
const fn imx(factory: &'static str) -> Element {
    Element { factory, package: "gstreamer-imx" }
}

const fn software(element: Element, rate: Rate, settings: &'static [(&'static str, Value)]) -> Encoder {
    Encoder { element, is_hardware: false, convert: None, rate, settings }
}
const fn hardware(
    element: Element,
    convert: Option<&'static str>,
    rate: Rate,
    settings: &'static [(&'static str, Value)],
) -> Encoder {
    // Hardware often takes NV12 only; without a conversion to do, videoconvert passes frames on.
    let convert = match convert {
        Some(convert) => Some(convert),
        None => Some("videoconvert"),
    };
    Encoder { element, is_hardware: true, convert, rate, settings }
}
/// An encoder of sound at 8 kHz.
const fn resampled(element: Element) -> Encoder {
    Encoder { element, is_hardware: false, convert: Some("audioresample"), rate: Rate::Fixed, settings: &[] }
}

impl Format {
    /// Its row of the table.
    pub fn row(self) -> &'static Row {
        let [vp8, h264, vp9, av1, h265, opus, pcmu, pcma] = &TABLE;
        match self {
            Self::Vp8 => vp8,
            Self::H264 => h264,
            Self::Vp9 => vp9,
            Self::Av1 => av1,
            Self::H265 => h265,
            Self::Opus => opus,
            Self::Pcmu => pcmu,
            Self::Pcma => pcma,
        }
    }

    /// Audio or video.
    pub fn kind(self) -> Kind {
        self.row().kind
    }

    /// The value of `a=rtpmap` without the payload type.
    pub fn map(self) -> String {
        let Row { encoding, clock_rate, channels, .. } = self.row();
        let channels = channels.iter().map(|it| format!("/{it}"));
        channels.fold(format!("{encoding}/{clock_rate}"), |map, channels| map + &channels)
    }

    /// The codec that an `a=rtpmap` names: encoding name (in any case), clock rate and, if the codec has them, channels.
    pub fn of_map(map: &str) -> Option<Self> {
        let mut words = map.trim().split('/');
        let (encoding, clock_rate) = (words.next()?, words.next()?);
        let channels = words.next();
        let is = |row: &&Row| {
            row.encoding.eq_ignore_ascii_case(encoding)
                && clock_rate.parse() == Ok(row.clock_rate)
                && channels.is_none_or(|it| it == row.channels.unwrap_or("1"))
        };
        TABLE.iter().find(is).map(|row| row.format)
    }

    /// The codec of a static payload type (RFC 3551, section 6).
    pub fn of_static(payload_type: u8) -> Option<Self> {
        let is = |row: &&Row| row.payload_type < 96 && row.payload_type == payload_type;
        TABLE.iter().find(is).map(|row| row.format)
    }

    /// Fails with the elements that encoding (`sends`) and decoding (`receives`) lack.
    pub fn check(self, sends: bool, receives: bool, has: &dyn Fn(&str) -> bool) -> Result<(), Lacking> {
        let row = self.row();
        let mut lacking: Vec<&'static [Element]> = Vec::new();
        let mut need = |any: &'static [Element]| {
            if !any.iter().any(|element| has(element.factory)) {
                lacking.push(any);
            }
        };
        if sends {
            need(std::slice::from_ref(&row.payloader));
            row.parser.iter().for_each(|parser| need(std::slice::from_ref(parser)));
        }
        if receives {
            need(std::slice::from_ref(&row.depayloader));
            need(row.decoders);
        }
        let no_encoder = sends && !row.encoders.iter().any(|it| has(it.element.factory));
        // The last encoder is the one that any machine can run.
        let encoder = row.encoders.iter().filter(|it| no_encoder && !it.is_hardware).map(|it| it.element);
        let elements = lacking.into_iter().filter_map(|any| any.last().copied());
        let elements: Vec<Element> = encoder.take(1).chain(elements).collect();
        if elements.is_empty() { Ok(()) } else { Err(Lacking { format: self, elements }) }
    }
}

/// The elements without which a codec cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The codec.
    pub format: Format,
    /// One of each group of alternatives.
    pub elements: Vec<Element>,
}

impl fmt::Display for Lacking {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let elements =
            self.elements.iter().map(|Element { factory, package }| format!("{factory} (Debian: {package})"));
        write!(f, "{} needs {}", self.format, elements.collect::<Vec<_>>().join(", "))
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.row().name)
    }
}

impl FromStr for Format {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let is = |row: &&Row| row.name.eq_ignore_ascii_case(text);
        TABLE.iter().find(is).map(|row| row.format).ok_or_else(|| {
            format!("want one of {}", TABLE.iter().map(|row| row.name).collect::<Vec<_>>().join(", "))
        })
    }
}

/// Codecs in order of preference, each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats([Option<Format>; TABLE.len()]);

impl Formats {
    /// VP8 and Opus, which every installation has.
    pub const USUAL: Self = Self([Some(Format::Vp8), Some(Format::Opus), None, None, None, None, None, None]);

    /// The codecs, in order.
    pub fn iter(&self) -> impl Iterator<Item = Format> + '_ {
        self.0.iter().copied().flatten()
    }

    /// The codecs of one kind, in order.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = Format> + '_ {
        self.iter().filter(move |format| format.kind() == kind)
    }

    /// The names of the codecs, for messages: as in descriptions.
    pub fn names(&self) -> String {
        self.iter().map(|format| format.row().encoding).collect::<Vec<_>>().join(", ")
    }
}

impl FromIterator<Format> for Formats {
    fn from_iter<I: IntoIterator<Item = Format>>(all: I) -> Self {
        let mut formats = Self::default();
        for format in all {
            if !formats.0.contains(&Some(format))
                && let Some(free) = formats.0.iter_mut().find(|it| it.is_none())
            {
                *free = Some(format);
            }
        }
        formats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_row_is_found_by_its_format_name_and_map() {
        for row in &TABLE {
            assert_eq!(row.format.row().name, row.name);
            assert_eq!(row.name.parse(), Ok(row.format));
            assert_eq!(Format::of_map(&row.format.map()), Some(row.format));
            assert_eq!(Format::of_map(&row.format.map().to_lowercase()), Some(row.format));
            assert!(row.encoders.iter().any(|it| !it.is_hardware) && !row.decoders.is_empty());
        }
        assert_eq!(Format::H264.map(), "H264/90000");
        assert_eq!(Format::Opus.map(), "opus/48000/2");
        assert!("mp3".parse::<Format>().unwrap_err().contains("vp8, h264"));
    }

    #[test]
    fn maps_that_mean_something_else_are_not_taken() {
        for other in
            ["VP8/8000", "opus/48000/1", "PCMU/16000", "PCMU/8000/2", "rtx/90000", "VP8", "", "H264/x"]
        {
            assert_eq!(Format::of_map(other), None, "{other}");
        }
        assert_eq!(Format::of_map("PCMU/8000/1"), Some(Format::Pcmu));
        // Some stacks leave the channels out.
        assert_eq!(Format::of_map("opus/48000"), Some(Format::Opus));
        assert_eq!(
            [0, 8, 9, 96].map(Format::of_static),
            [Some(Format::Pcmu), Some(Format::Pcma), None, None]
        );
    }

    #[test]
    fn our_payload_types_differ() {
        let all = TABLE.iter().flat_map(|row| [Some(row.payload_type), row.repair]).flatten();
        let mut all: Vec<u8> = all.collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_is_missing_is_named_with_its_package() {
        let without = |gone: &'static [&'static str]| move |element: &str| !gone.contains(&element);
        let all = &|_: &str| true;
        assert!(TABLE.iter().all(|row| row.format.check(true, true, all).is_ok()));
        let no_encoder = without(&[
            "x264enc",
            "openh264enc",
            "nvv4l2h264enc",
            "nvh264enc",
            "vah264enc",
            "vah264lpenc",
            "qsvh264enc",
            "msdkh264enc",
            "vaapih264enc",
            "v4l2h264enc",
            "imxvpuenc_h264",
            "vpuenc_h264",
        ]);
        let words = Format::H264.check(true, false, &no_encoder).unwrap_err().to_string();
        assert_eq!(words, "h264 needs x264enc (Debian: gstreamer1.0-plugins-ugly)");
        assert!(Format::H264.check(false, true, &no_encoder).is_ok(), "it is only decoded");
        // The parser is behind encoders only.
        let no_parser = without(&["h264parse"]);
        assert!(Format::H264.check(false, true, &no_parser).is_ok());
        let words = Format::H264.check(true, false, &no_parser).unwrap_err().to_string();
        assert_eq!(words, "h264 needs h264parse (Debian: gstreamer1.0-plugins-bad)");
        // One of the alternatives is enough.
        assert!(Format::H264.check(true, true, &without(&["x264enc", "avdec_h264"])).is_ok());
        let words = Format::Av1.check(true, true, &without(&["rtpav1pay", "rtpav1depay"])).unwrap_err();
        assert_eq!(
            words.elements.iter().map(|it| it.factory).collect::<Vec<_>>(),
            ["rtpav1pay", "rtpav1depay"]
        );
    }

    #[test]
    fn a_list_has_each_codec_once() {
        let list: Formats = [Format::H264, Format::Vp8, Format::H264, Format::Opus].into_iter().collect();
        assert_eq!(list.iter().collect::<Vec<_>>(), [Format::H264, Format::Vp8, Format::Opus]);
        assert_eq!(list.of(Kind::Audio).collect::<Vec<_>>(), [Format::Opus]);
        assert_eq!(list.names(), "H264, VP8, opus");
    }
}
