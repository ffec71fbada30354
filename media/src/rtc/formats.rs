//! The codecs of a stream: chosen from a publisher's offer, and the same for all viewers.

use std::sync::LazyLock;

use str0m::format::{Codec, CodecConfig, CodecSpec, FormatParams, PayloadParams};

use super::sdp::{Format, Line, PAYLOAD_TYPES};
use crate::core::{codec::VideoCodec, node::Tracks, packet::Kind, stream::AudioTrack};

/// The negotiated codecs of a stream. Viewers negotiate the same ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Formats {
    audio: Option<CodecSpec>,
    video: Option<CodecSpec>,
}

impl Formats {
    /// The codec of a kind.
    pub(super) fn of(&self, kind: Kind) -> Option<CodecSpec> {
        match kind {
            Kind::Audio => self.audio,
            Kind::Video => self.video,
        }
    }

    pub(super) fn set(&mut self, kind: Kind, spec: CodecSpec) {
        match kind {
            Kind::Audio => self.audio = Some(spec),
            Kind::Video => self.video = Some(spec),
        }
    }

    /// The tracks as the core sees them.
    pub fn tracks(self) -> Tracks<Self> {
        let audio = self.audio.map(|spec| AudioTrack { clock_rate: spec.clock_rate.get() });
        Tracks { audio, video: self.video.and_then(|spec| video_codec(spec.codec)), formats: self }
    }

    /// The kinds and names of the codecs, as in SDP.
    pub fn names(self) -> impl Iterator<Item = (Kind, String)> {
        let named = |kind, spec: Option<CodecSpec>| spec.map(|spec| (kind, spec.codec.to_string()));
        named(Kind::Audio, self.audio).into_iter().chain(named(Kind::Video, self.video))
    }

    /// The codecs to negotiate: those of the stream, and for kinds without one any, so that an m-line that carries nothing
    /// has a payload type.
    pub(super) fn config(self) -> CodecConfig {
        let mut all = Vec::new();
        for kind in [Kind::Audio, Kind::Video] {
            match self.of(kind) {
                Some(spec) => all.push(payload(kind, spec)),
                None => all.extend(known(kind)),
            }
        }
        CodecConfig::new_from_payload_params(all)
    }

    /// The codecs of an offer, with the payload types of a client that knows them: some cannot use others.
    pub(super) fn offered(self, numbers: &PayloadTypes) -> CodecConfig {
        let known = |kind| {
            let codec = self.of(kind)?.codec;
            numbers.0.iter().find(|known| (known.0, known.1) == (kind, codec)).map(|known| known.2)
        };
        let free =
            |taken: &[u8]| (96..PAYLOAD_TYPES).find(|number| !taken.contains(number)).unwrap_or_default();
        let audio = known(Kind::Audio).unwrap_or(if known(Kind::Video) == Some(111) { 112 } else { 111 });
        let video = known(Kind::Video).unwrap_or_else(|| free(&[audio]));
        let specs = [Kind::Audio, Kind::Video].map(|kind| (kind, self.of(kind)));
        let params = specs.into_iter().filter_map(|(kind, spec)| {
            let (number, resend) = match kind {
                Kind::Audio => (audio, None),
                Kind::Video => (video, Some(free(&[audio, video]).into())),
            };
            Some(PayloadParams::new(number.into(), resend, spec?))
        });
        CodecConfig::new_from_payload_params(params.collect())
    }

    /// Whether an m-line of an offer has the stream's codec.
    pub(super) fn match_line(&self, line: &Line<'_>) -> bool {
        let Some(spec) = self.of(line.kind) else { return false };
        let config = CodecConfig::new_from_payload_params(vec![payload(line.kind, spec)]);
        let mut offered = line.formats.iter().filter_map(|format| spec_of(line.kind, format));
        offered.any(|offered| config.match_params(payload(line.kind, offered)).is_some())
    }
}

/// The payload types of a client, with kind and codec.
#[derive(Debug, Clone, Default)]
pub struct PayloadTypes(pub(super) Vec<(Kind, Codec, u8)>);

/// Payload types that a negotiation replaces by those of the offer.
fn payload(kind: Kind, spec: CodecSpec) -> PayloadParams {
    let (number, resend) = match kind {
        Kind::Audio => (111, None),
        Kind::Video => (96, Some(97.into())),
    };
    PayloadParams::new(number.into(), resend, spec)
}

/// The codecs of a kind that the node forwards.
fn known(kind: Kind) -> impl Iterator<Item = &'static PayloadParams> {
    static KNOWN: LazyLock<CodecConfig> = LazyLock::new(|| {
        let mut config = CodecConfig::new_with_defaults();
        config.enable_pcmu(true, false);
        config.enable_pcma(true, false);
        config
    });
    KNOWN.params().iter().filter(move |it| it.spec().codec.is_audio() == (kind == Kind::Audio))
}

/// What a publisher sends.
#[derive(Debug, Default)]
pub(super) struct Chosen {
    pub(super) formats: Formats,
    /// The indices of the m-lines that are used, with their kind and the payload type.
    pub(super) lines: Vec<(usize, Kind, u8)>,
}

/// The first audio and the first video m-line on which a publisher sends, each with its first codec that the node forwards.
pub(super) fn choose(lines: &[Line<'_>]) -> Chosen {
    let mut chosen = Chosen::default();
    for line in lines.iter().filter(|line| line.sends) {
        let known = |format: &Format<'_>| Some((format.number, spec_of(line.kind, format)?));
        if chosen.formats.of(line.kind).is_none()
            && let Some((number, spec)) = line.formats.iter().find_map(known)
        {
            chosen.formats.set(line.kind, heard(spec));
            chosen.lines.push((line.index, line.kind, number));
        }
    }
    chosen
}

/// A publisher that sends stereo needs to know that the node wants it.
fn heard(mut spec: CodecSpec) -> CodecSpec {
    if spec.codec == Codec::Opus
        && (spec.format.stereo == Some(true) || spec.format.sprop_stereo == Some(true))
    {
        (spec.format.stereo, spec.format.sprop_stereo) = (Some(true), Some(true));
    }
    spec
}

/// The codec of a payload type on an m-line of this kind, if the node forwards it.
fn spec_of(kind: Kind, format: &Format<'_>) -> Option<CodecSpec> {
    let mut map = format.map.split('/');
    let name = match (format.number, map.next().unwrap_or_default()) {
        (0, "") => "PCMU",
        (8, "") => "PCMA",
        (_, name) => name,
    };
    let codec = Codec::from(name);
    let like = known(kind).map(PayloadParams::spec).find(|spec| spec.codec == codec)?;
    let format = FormatParams::parse_line(format.parameters);
    let rate: u32 = map.next().map_or(Some(like.clock_rate.get()), |rate| rate.parse().ok())?;
    (rate == like.clock_rate.get()).then_some(CodecSpec { format, ..like })
}

fn video_codec(codec: Codec) -> Option<VideoCodec> {
    Some(match codec {
        Codec::Vp8 => VideoCodec::Vp8,
        Codec::Vp9 => VideoCodec::Vp9,
        Codec::H264 => VideoCodec::H264,
        Codec::H265 => VideoCodec::H265,
        Codec::Av1 => VideoCodec::Av1,
        _ => return None,
    })
}
