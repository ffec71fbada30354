//! Session descriptions of peers: checked, and reduced to what this client uses.
//!
//! webrtcbin 1.22 trusts a description: a missing mid fails an assertion, a crafted BUNDLE group crashes it, and an
//! unknown codec ends up in the answer. So it never gets the peer's text. [`Remote`] is the parsed description; the
//! [agreement](crate::agreement) writes a new one for webrtcbin from it.

mod h264;
mod raw;
mod read;
mod write;

use callbin_protocol::SdpType;

use self::raw::Raw;
pub use self::{
    h264::{H264, Profile},
    read::Own,
    write::{
        AnswerLine, Answered, Direction, Shown, ShownLine, UsedLine, answer, codec_lines, payload_types,
        shown,
    },
};
use crate::{
    candidate::RemoteCandidate,
    media::encode::codec::{Format, Formats},
};

/// URI of the header extension for transport-wide sequence numbers.
pub const EXTENSION_TWCC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// URI of the header extension with the mid of a packet's m-line.
pub const EXTENSION_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
/// URI of the header extension with the time at which a frame was captured.
pub const EXTENSION_CAPTURE: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time";
/// All header extensions that callbin knows.
pub const EXTENSIONS: [&str; 3] = [EXTENSION_TWCC, EXTENSION_MID, EXTENSION_CAPTURE];

/// Why a description is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Larger than 256 KiB or 64 m-lines, which no honest description is.
    #[error("the session description is too large")]
    TooLarge,
    /// Not RFC 8866.
    #[error("not a session description: {0}")]
    Syntax(&'static str),
    /// RFC 8866, but not WebRTC.
    #[error("not a WebRTC session description: {0}")]
    Unusable(&'static str),
    /// Without a fingerprint anyone on the path could take the call over.
    #[error("the session description has no DTLS fingerprint")]
    NoFingerprint,
    /// SHA-1 and MD5 can be forged (RFC 8122, section 5).
    #[error(
        "the session description's only DTLS fingerprints are of SHA-1 or MD5: SHA-256 or better is needed"
    )]
    WeakFingerprint,
}

/// A peer's description, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Offer or answer.
    pub kind: SdpType,
    /// The session ID in `o=`, which all descriptions of one `RTCPeerConnection` share (RFC 8829, sections 5.2.1 and
    /// 5.2.2).
    pub session: Option<String>,
    /// Whether the peer is libwebrtc (Chromium, Safari, mobile apps) or Firefox. They start a new transport, with the same ICE
    /// credentials, when the m-line that names the bundle's transport goes. Other stacks keep the transport (RFC 8843,
    /// section 7.5), and nothing else in the description shows the difference.
    pub is_browser: bool,
    /// The m-lines, in order.
    pub sections: Vec<Section>,
    /// The positions of the m-lines that share a transport (RFC 8843), in the group's order; the candidates of the
    /// first one are the group's. Empty if there is no group and each m-line has a transport of its own.
    pub bundle: Vec<usize>,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// Candidates in the description, with the position of their m-line.
    pub candidates: Vec<(usize, RemoteCandidate)>,
}

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// `a=mid`. Peers that do not bundle may omit it; then the position counts.
    pub mid: Option<String>,
    /// Media, protocol and formats of the m-line, which an answer repeats.
    pub line: [String; 3],
    /// What it carries.
    pub kind: Kind,
    /// Port 0 without `a=bundle-only`: neither offered nor accepted (RFC 3264, section 6).
    pub rejected: bool,
    /// The peer sends.
    pub sends: bool,
    /// The peer wants to receive.
    pub receives: bool,
    /// The codec in use: the first one that callbin knows, until one is chosen.
    pub codec: Option<Codec>,
    /// All codecs that callbin knows, in the peer's order.
    pub menu: Vec<Codec>,
    /// The names of the offered codecs, for error messages.
    pub codecs: Vec<String>,
    /// ICE and DTLS. In a bundle use [`Remote::transport`].
    pub transport: Transport,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// SSRCs that the peer announced for this m-line: webrtcbin 1.22 needs them to assign a bundle's packets.
    pub ssrcs: Vec<u32>,
    /// Pairs of SSRCs: media, and its retransmissions.
    pub repairs: Vec<(u32, u32)>,
    /// Parameters of the data channels.
    pub sctp: Option<Sctp>,
}

/// What an m-line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `m=audio`.
    Audio,
    /// `m=video`.
    Video,
    /// `m=application` with WebRTC data channels.
    Data,
    /// Anything else.
    Other,
}

impl Kind {
    /// The name in events, lists and caps.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
            Self::Data => "data",
            Self::Other => "other",
        }
    }
}

/// A codec of an m-line, with its payload types and extension IDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// The codec; of no meaning for data channels.
    pub format: Format,
    /// Its parameters if it is H264.
    pub h264: Option<H264>,
    /// The payload type.
    pub payload_type: u8,
    /// The payload type of retransmissions (RFC 4588), for video.
    pub repair: Option<u8>,
    /// The kinds of RTCP feedback that both sides support, as named in `a=rtcp-fb`.
    pub feedback: Vec<&'static str>,
    /// The header extensions that both sides support: ID and URI.
    pub extensions: Vec<(u8, &'static str)>,
}

impl Default for Codec {
    fn default() -> Self {
        Self {
            format: Format::Opus,
            h264: None,
            payload_type: 0,
            repair: None,
            feedback: Vec::new(),
            extensions: Vec::new(),
        }
    }
}

impl Codec {
    /// A codec of our own offers.
    pub fn ours(format: Format) -> Self {
        let row = format.row();
        let h264 = (format == Format::H264).then(H264::ours);
        Self { format, h264, payload_type: row.payload_type, repair: row.repair, ..Self::default() }
    }

    /// Whether both mean the same streams, whatever their payload types are.
    pub fn is_same(&self, other: &Self) -> bool {
        let matches = |(one, two): (H264, H264)| one.matches(two);
        self.format == other.format && self.h264.zip(other.h264).is_none_or(matches)
    }

    /// The value of `a=fmtp`; empty if there is none.
    pub fn parameters(&self) -> String {
        self.h264.map_or_else(|| self.format.row().parameters.into(), H264::text)
    }

    /// The ID of the header extension with this URI.
    pub fn extension(&self, uri: &str) -> Option<u8> {
        self.extensions.iter().find(|(_, it)| *it == uri).map(|(id, _)| *id)
    }

    /// With our payload types, what both sides support.
    #[must_use]
    pub fn agreed(&self, theirs: &Self) -> Self {
        Self {
            format: self.format,
            h264: theirs.h264.map(H264::answered),
            payload_type: self.payload_type,
            repair: self.repair.filter(|_| theirs.repair.is_some()),
            feedback: self.feedback.iter().copied().filter(|it| theirs.feedback.contains(it)).collect(),
            extensions: self.extensions.iter().copied().filter(|it| theirs.extensions.contains(it)).collect(),
        }
    }
}

/// Parameters of the data channels (RFC 8841).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sctp {
    /// `a=sctp-port`.
    pub port: u16,
    /// `a=max-message-size`.
    pub max_message_size: Option<u32>,
    /// The syntax of the draft before the RFC: `m=application … DTLS/SCTP 5000` and `a=sctpmap`.
    pub old_form: bool,
}

/// ICE and DTLS parameters of one side.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Transport {
    /// ICE user fragment.
    pub ufrag: String,
    /// ICE password.
    pub password: String,
    /// SHA-2 fingerprints of the certificates that the peer may present.
    pub fingerprints: Vec<Fingerprint>,
    /// The DTLS role.
    pub setup: Option<Setup>,
}

/// `a=setup` (RFC 8842): which side starts the DTLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// The other side decides.
    ActPass,
    /// This side starts it.
    Active,
    /// The other side starts it.
    Passive,
}

/// A certificate's hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// The hash function.
    pub hash: Hash,
    /// Lower-case hex without colons.
    pub hex: String,
}

/// The hash functions accepted; SHA-1 and MD5 are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-256, the usual one.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Remote {
    /// Parses and checks a description.
    pub fn parse(kind: SdpType, text: &str) -> Result<Self, Refused> {
        let raw = Raw::parse(text)?;
        let sections = raw.media.iter().map(|media| read::section(&raw.session, media));
        let sections = sections.collect::<Result<Vec<_>, _>>()?;
        read::check_mids(&sections)?;
        let bundle = read::bundle(&raw.session, &sections);
        let candidates = read::candidates(&raw);
        let session = raw.origin.split_ascii_whitespace().nth(1).map(String::from);
        let ice_lite = raw.session.has("ice-lite");
        let is_browser = read::is_browser(&raw);
        let remote = Self { kind, session, is_browser, sections, bundle, ice_lite, candidates };
        remote.check_transports()?;
        Ok(remote)
    }

    /// Chooses the codec of each audio and video m-line by our order of preference.
    pub fn prefer(&mut self, formats: Formats) {
        for section in self.sections.iter_mut().filter(|section| section.is_media()) {
            section.codec = section.preferred(formats).cloned();
        }
    }

    /// ICE and DTLS parameters of an m-line. In a bundle they are those of the first m-line, which may be the only one
    /// to have them (RFC 8843, section 7.1.3; RFC 8829, section 5.2.1).
    pub fn transport(&self, position: usize) -> Option<&Transport> {
        let transport = |position: &usize| self.sections.get(*position).map(|section| &section.transport);
        if !self.bundle.contains(&position) {
            return transport(&position);
        }
        let named = self.bundle.iter().filter_map(transport).find(|it| !it.ufrag.is_empty());
        named.or_else(|| transport(self.bundle.first()?))
    }

    /// The position of an m-line: by mid, else by index, else the first. `None` if there is no such m-line.
    pub fn position(&self, mid: Option<&str>, index: Option<u32>) -> Option<usize> {
        let has_mid = |section: &Section| section.mid.as_deref() == mid && mid.is_some();
        let position = match (self.sections.iter().position(has_mid), index) {
            (Some(position), _) => position,
            (None, Some(index)) => usize::try_from(index).ok()?,
            (None, None) => 0,
        };
        (position < self.sections.len()).then_some(position)
    }

    /// Whether the m-line can be used: it has a codec that both sides support, and belongs to the bundle if there is
    /// one.
    pub fn is_usable(&self, position: usize) -> bool {
        let reachable = self.bundle.is_empty() || self.bundle.contains(&position);
        reachable && self.sections.get(position).is_some_and(Section::is_known)
    }

    /// Whether both describe the same `RTCPeerConnection` of the peer. Some stacks write the same session ID into all
    /// their descriptions, so the certificates have to match, too.
    pub fn is_same_connection(&self, other: &Self) -> bool {
        let transport =
            |remote: &Self| remote.usable().next().and_then(|first| remote.transport(first).cloned());
        let is_same_peer =
            transport(self).zip(transport(other)).is_some_and(|(one, two)| one.is_same_peer(&two));
        self.session.is_some() && self.session == other.session && is_same_peer
    }

    /// The positions of all m-lines that can be used.
    pub fn usable(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.sections.len()).filter(|position| self.is_usable(*position))
    }

    fn check_transports(&self) -> Result<(), Refused> {
        self.usable().filter_map(|position| self.transport(position)).try_for_each(Transport::check)
    }
}

impl Section {
    /// Whether it is not rejected and has a codec that both sides support.
    pub fn is_known(&self) -> bool {
        !self.rejected && self.codec.is_some()
    }

    /// The codec that we prefer among the peer's; of several H264 profiles the one that we encode, or the closest.
    pub fn preferred(&self, formats: Formats) -> Option<&Codec> {
        let rank = |codec: &&Codec| codec.h264.and_then(H264::profile);
        let of = |format| self.menu.iter().filter(move |codec| codec.format == format).min_by_key(rank);
        formats.iter().find_map(of)
    }

    /// Whether it is audio or video.
    pub fn is_media(&self) -> bool {
        matches!(self.kind, Kind::Audio | Kind::Video)
    }
}

impl Transport {
    fn check(&self) -> Result<(), Refused> {
        let is_token = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b));
        let sane = (4..=256).contains(&self.ufrag.len()) && (22..=256).contains(&self.password.len());
        if !sane || !is_token(&self.ufrag) || !is_token(&self.password) {
            return Err(Refused::Unusable("ICE credentials are missing or malformed"));
        }
        if self.fingerprints.is_empty() { Err(Refused::NoFingerprint) } else { Ok(()) }
    }

    /// Whether both have a certificate in common. A peer need not send all fingerprints each time.
    pub fn is_same_peer(&self, other: &Self) -> bool {
        self.fingerprints.iter().any(|fingerprint| other.fingerprints.contains(fingerprint))
    }

    /// Whether the ICE credentials are the same, so that ICE does not restart (RFC 8839, section 4.4.1.1.1).
    pub fn is_same_ice(&self, other: &Self) -> bool {
        self.ufrag == other.ufrag && self.password == other.password
    }
}

impl Hash {
    fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha384 => 96,
            Self::Sha512 => 128,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha-256",
            Self::Sha384 => "sha-384",
            Self::Sha512 => "sha-512",
        }
    }
}

impl Setup {
    /// The value in `a=setup`.
    pub fn name(self) -> &'static str {
        match self {
            Self::ActPass => "actpass",
            Self::Active => "active",
            Self::Passive => "passive",
        }
    }

    /// The role of the other side.
    pub fn opposite(self) -> Self {
        match self {
            Self::ActPass => Self::ActPass,
            Self::Active => Self::Passive,
            Self::Passive => Self::Active,
        }
    }
}

#[cfg(test)]
mod tests;
