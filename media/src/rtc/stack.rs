//! What all peer connections share, and how a new one begins.

use std::{
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    time::{Duration, Instant},
};

use str0m::{
    Candidate, Rtc, RtcConfig,
    bwe::Bitrate,
    change::SdpOffer,
    config::DtlsCert,
    crypto,
    format::CodecConfig,
    media::{Direction, MediaKind},
    rtp::Extension,
};

use super::{
    formats::{Chosen, Formats, PayloadTypes, choose},
    peer::{Peer, Side},
    sdp::{self, Line, Use},
};
use crate::core::packet::Kind;

/// The packets of video that a viewer can get again: some hundred bytes for each, besides the shared payload.
const RESEND_PACKETS: usize = 256;
/// The time between two looks at what a viewer has lost.
const STATISTICS: Duration = Duration::from_secs(5);
/// The longest offer or answer.
pub(super) const MAX_DESCRIPTION: usize = 256 * 1024;
/// The most m-lines of an offer. Its answer has some hundred bytes for each of them, and the server takes messages of 1 MiB.
const MAX_LINES: usize = 256;

/// An offer or an answer is not acceptable. The text explains it without quoting the description.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It cannot be read, or contradicts itself.
    #[error("the description is not acceptable")]
    Invalid,
    /// No m-line of the offer has a codec that is forwarded.
    #[error("the offer has no codec of the stream")]
    NoCodec,
    /// The library panicked.
    #[error("the WebRTC library failed")]
    Panicked,
}

impl From<Panicked> for Refused {
    fn from(_: Panicked) -> Self {
        Self::Panicked
    }
}

/// The configuration of all peer connections.
#[derive(Debug)]
pub struct Stack {
    certificate: DtlsCert,
    /// The addresses that clients send to.
    candidates: Vec<SocketAddr>,
}

impl Stack {
    /// Makes a certificate. `candidates` are the addresses that clients send to. None: the library makes no certificate.
    pub fn new(candidates: Vec<SocketAddr>) -> Option<Self> {
        let certificate = crypto::from_feature_flags().dtls_provider.generate_certificate()?;
        Some(Self { certificate, candidates })
    }

    /// Answers a publisher's offer. The stream has its first audio and its first video track, each with the first codec of
    /// the offer that the node forwards.
    pub fn publisher(&self, offer: &str, now: Instant) -> Result<(Peer, String, Formats), Refused> {
        let lines = read(offer)?;
        let Chosen { formats, lines: chosen } = choose(&lines);
        let is_used = |line: &&Line<'_>| chosen.iter().any(|(index, ..)| *index == line.index);
        let used: Vec<&Line<'_>> = lines.iter().filter(is_used).collect();
        let (peer, answer) = self.answer(offer, &lines, &used, Side::Publisher, formats, now)?;
        Ok((peer, answer, formats))
    }

    /// Answers a viewer's offer with the stream's codecs. `needed` are the bits per second of the stream.
    pub fn viewer(
        &self,
        offer: &str,
        formats: Formats,
        needed: u64,
        now: Instant,
    ) -> Result<(Peer, String), Refused> {
        let lines = read(offer)?;
        let mut used: Vec<&Line<'_>> = Vec::new();
        for line in &lines {
            let is_first = used.iter().all(|other| other.kind != line.kind);
            if line.receives && is_first && formats.match_line(line) {
                used.push(line);
            }
        }
        self.answer(offer, &lines, &used, Side::Viewer { needed }, formats, now)
    }

    /// An offer to a viewer with these payload types, as far as it has the codecs. `needed` are the bits per second of the stream.
    pub fn offer(
        &self,
        formats: Formats,
        numbers: &PayloadTypes,
        needed: u64,
        now: Instant,
    ) -> Result<(Peer, String), Refused> {
        let kinds = [Kind::Audio, Kind::Video].into_iter().filter(|kind| formats.of(*kind).is_some());
        let rtc = || self.rtc(Side::Viewer { needed }, formats.offered(numbers), now);
        Self::begin(rtc, Side::Viewer { needed }, formats, kinds, now)
    }

    /// An offer to a publisher, of all codecs. It chooses some with its answer.
    pub fn invite(&self, now: Instant) -> Result<(Peer, String), Refused> {
        let (formats, kinds) = (Formats::default(), [Kind::Audio, Kind::Video].into_iter());
        Self::begin(|| self.rtc(Side::Publisher, formats.config(), now), Side::Publisher, formats, kinds, now)
    }

    fn begin(
        rtc: impl FnOnce() -> Rtc,
        side: Side,
        formats: Formats,
        kinds: impl Iterator<Item = Kind>,
        now: Instant,
    ) -> Result<(Peer, String), Refused> {
        guarded(|| {
            let mut rtc = rtc();
            let mut changes = rtc.sdp_api();
            let mut lines = Vec::new();
            for kind in kinds {
                let media = match kind {
                    Kind::Audio => MediaKind::Audio,
                    Kind::Video => MediaKind::Video,
                };
                let (direction, name) = match side {
                    Side::Publisher => (Direction::RecvOnly, None),
                    Side::Viewer { .. } => (Direction::SendOnly, Some("stream".to_owned())),
                };
                lines.push((kind, changes.add_media(media, direction, name, None, None)));
            }
            let (offer, pending) = changes.apply().ok_or(Refused::NoCodec)?;
            Ok((Peer::new(rtc, side, formats, lines, Some(pending), now), offer.to_sdp_string()))
        })
    }

    fn answer(
        &self,
        offer: &str,
        lines: &[Line<'_>],
        used: &[&Line<'_>],
        side: Side,
        formats: Formats,
        now: Instant,
    ) -> Result<(Peer, String), Refused> {
        if used.is_empty() {
            return Err(Refused::NoCodec);
        }
        let is_used = |line: &Line<'_>| used.iter().any(|other| other.index == line.index);
        let uses: Vec<(usize, Use)> = lines
            .iter()
            .map(|line| (line.index, if is_used(line) { side.usage() } else { Use::Nothing }))
            .collect();
        let offer = sdp::prepared(offer, &uses);
        let mids = used.iter().map(|line| (line.kind, line.mid.into())).collect();
        guarded(|| {
            let mut rtc = self.rtc(side, formats.config(), now);
            let offer = SdpOffer::from_sdp_string(&offer).map_err(|_| Refused::Invalid)?;
            let answer = rtc.sdp_api().accept_offer(offer).map_err(|_| Refused::Invalid)?;
            Ok((Peer::new(rtc, side, formats, mids, None, now), answer.to_sdp_string()))
        })
    }

    fn rtc(&self, side: Side, codecs: CodecConfig, now: Instant) -> Rtc {
        let mut config = RtcConfig::new()
            .enable_bwe(side.first_estimate().map(Bitrate::from))
            .set_stats_interval(side.first_estimate().map(|_| STATISTICS))
            .set_ice_lite(true)
            .set_rtp_mode(true)
            .set_dtls_cert(self.certificate.clone())
            .set_send_buffer_video(RESEND_PACKETS)
            .set_rtcp_report_interval_audio(Duration::from_secs(1))
            .set_extension(7, Extension::AbsoluteCaptureTime);
        *config.codec_config() = codecs;
        let mut rtc = config.build(now);
        for address in &self.candidates {
            if let Ok(candidate) = Candidate::host(*address, "udp") {
                rtc.add_local_candidate(candidate);
            }
        }
        rtc
    }
}

/// The audio and video m-lines of an offer that is not too long.
pub(super) fn read(offer: &str) -> Result<Vec<Line<'_>>, Refused> {
    if offer.len() > MAX_DESCRIPTION || sdp::count(offer) > MAX_LINES {
        return Err(Refused::Invalid);
    }
    Ok(sdp::lines(offer))
}

/// The library panicked.
pub(super) struct Panicked;

/// Calls into the library. A panic there must not end the process: it costs the peer that caused it.
pub(super) fn guarded<T, E: From<Panicked>>(call: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| Err(Panicked.into()))
}
