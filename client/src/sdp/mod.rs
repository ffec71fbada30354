//! Session descriptions of strangers: checked, and reduced to what this client uses, before webrtcbin sees
//! them.
//!
//! webrtcbin 1.22 trusts a description: a missing mid is an assertion, a crafted BUNDLE group a crash, and a
//! codec it does not know ends up in the answer. So nothing is handed on as it came: [`Remote`] reads the lines
//! it knows and writes a new description of only these.

use std::fmt::Write;

use callbin_protocol::SdpType;

use crate::candidate::RemoteCandidate;

/// Bounds no honest description comes near.
const MAX_BYTES: usize = 256 * 1024;
const MAX_LINE: usize = 8 * 1024;
const MAX_SECTIONS: usize = 64;
const MAX_MID: usize = 64;

/// Header extensions used, if the peer knows them.
pub const EXTENSION_TWCC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Says which m-line a packet belongs to.
pub const EXTENSION_MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// Why a description is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Larger than any honest one.
    #[error("the session description is too large")]
    TooLarge,
    /// Not RFC 8866.
    #[error("not a session description: {0}")]
    Syntax(&'static str),
    /// RFC 8866, but not WebRTC.
    #[error("not a WebRTC session description: {0}")]
    Unusable(&'static str),
    /// Without it anyone on the path could take the call over.
    #[error("the session description has no DTLS fingerprint")]
    NoFingerprint,
}

/// A peer's description: what it says, and what of it goes to webrtcbin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remote {
    /// Offer or answer.
    pub kind: SdpType,
    /// The reduced description.
    pub text: String,
    /// The m-lines, in order.
    pub sections: Vec<Section>,
    /// The mids on one transport; the first one's m-line is the transport's.
    pub bundle: Vec<String>,
    /// Candidates that came within the description, with their m-line.
    pub candidates: Vec<(u32, RemoteCandidate)>,
}

/// One m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Its `a=mid`.
    pub mid: String,
    /// Sound, picture, data, or something unknown.
    pub kind: Kind,
    /// The peer sends.
    pub sends: bool,
    /// The peer wants to receive.
    pub receives: bool,
    /// The codec both know.
    pub codec: Option<Codec>,
    /// ICE user fragment, the section's or the session's.
    pub ufrag: String,
    /// SHA-2 fingerprints of the certificates the peer may show.
    pub fingerprints: Vec<Fingerprint>,
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

/// The codec of an m-line, under the peer's numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// The payload type.
    pub payload_type: u8,
    /// The header extensions known to both, as id and URI.
    pub extensions: Vec<(u8, &'static str)>,
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
    /// What everybody uses.
    Sha256,
    /// Allowed too.
    Sha384,
    /// Allowed too.
    Sha512,
}

impl Remote {
    /// Reads and reduces an offer.
    pub fn offer(text: &str) -> Result<Self, Refused> {
        Self::parse(SdpType::Offer, text, &[])
    }

    /// Reads and reduces the answer to an offer of these mids. Pion rejects with nothing but the m-line: which one
    /// is meant, its place says.
    pub fn answer(text: &str, mids: &[String]) -> Result<Self, Refused> {
        Self::parse(SdpType::Answer, text, mids)
    }

    fn parse(kind: SdpType, text: &str, mids: &[String]) -> Result<Self, Refused> {
        let raw = Raw::parse(text)?;
        let mut sections = Vec::new();
        for (position, media) in raw.media.iter().enumerate() {
            let offered = mids.get(position).map(String::as_str);
            sections.push(read_section(&raw.session, media, offered)?);
        }
        let bundle = read_bundle(&raw.session, &sections)?;
        demand_usable(&sections, &bundle)?;
        keep_one_of_a_kind(&mut sections);
        let candidates = raw.candidates();
        let text = write(&raw, &sections, &bundle);
        Ok(Self { kind, text, sections, bundle, candidates })
    }

    /// The reduced answer with the payload types of our `offer`, and which ones that changed: ours and the
    /// answer's.
    pub fn in_numbers_of(&self, offer: &str) -> (String, Vec<(u8, u8)>) {
        let (Ok(offer), Ok(answer)) = (Raw::parse(offer), Raw::parse(&self.text)) else {
            return (self.text.clone(), Vec::new());
        };
        let mut changed = Vec::new();
        let mut text = String::with_capacity(self.text.len());
        let mut numbers: Vec<(u8, u8)> = Vec::new();
        let mut pairs = offer.media.iter().zip(&answer.media).zip(&self.sections);
        for line in self.text.lines() {
            if line.starts_with("m=") {
                numbers = pairs.next().map_or_else(Vec::new, |((offer, answer), section)| {
                    renumbered(offer, answer, section.kind)
                });
                changed.extend(numbers.iter().filter(|pair| !changed.contains(*pair)).collect::<Vec<_>>());
            }
            let _ = write!(text, "{}\r\n", renumber_line(line, &numbers));
        }
        (text, changed)
    }

    /// The m-line's index by mid, number or, failing both, the first; `None` if it names none of ours.
    pub fn index(&self, mid: Option<&str>, index: Option<u32>) -> Option<u32> {
        let by_mid = mid.and_then(|mid| self.sections.iter().position(|section| section.mid == mid));
        let position = match (by_mid, index) {
            (Some(position), _) => position,
            (None, Some(index)) => usize::try_from(index).ok()?,
            (None, None) => 0,
        };
        (position < self.sections.len()).then(|| u32::try_from(position).ok()).flatten()
    }

    /// Where webrtcbin wants a candidate for this m-line: a bundle has one transport, its first m-line's.
    /// `None` if the candidate is for a transport the bundle has made superfluous.
    pub fn transport(&self, index: u32, ufrag: Option<&str>) -> Option<u32> {
        let section = self.sections.get(usize::try_from(index).ok()?)?;
        let (Some(tag), true) = (self.bundle.first(), self.bundle.contains(&section.mid)) else {
            return Some(index);
        };
        let position = self.sections.iter().position(|section| section.mid == *tag)?;
        let owner = self.sections.get(position)?;
        let same = ufrag.unwrap_or(&section.ufrag) == owner.ufrag;
        same.then(|| u32::try_from(position).ok()).flatten()
    }

    /// The ICE user fragment of the first transport: it changes when the peer starts over.
    pub fn ufrag(&self) -> &str {
        self.sections.iter().map(|section| &*section.ufrag).find(|ufrag| !ufrag.is_empty()).unwrap_or("")
    }

    /// Every certificate the peer may show.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let mut all: Vec<Fingerprint> = Vec::new();
        for fingerprint in self.sections.iter().flat_map(|section| &section.fingerprints) {
            if !all.contains(fingerprint) {
                all.push(fingerprint.clone());
            }
        }
        all
    }

    /// The section of a medium that is in use.
    pub fn section(&self, kind: Kind) -> Option<(u32, &Section)> {
        let position = self.sections.iter().position(|s| s.kind == kind && s.is_used())?;
        Some((u32::try_from(position).ok()?, self.sections.get(position)?))
    }
}

impl Section {
    /// Whether anything flows: the codec is known and the m-line neither rejected nor a second of its kind.
    pub fn is_used(&self) -> bool {
        self.codec.is_some() && (self.sends || self.receives)
    }
}

/// The lines of a description, session part and media parts.
struct Raw<'a> {
    session: Part<'a>,
    media: Vec<Part<'a>>,
}

/// One part: its `m=` line, if it is one, and its attributes.
#[derive(Default)]
struct Part<'a> {
    media: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Raw<'a> {
    fn parse(text: &'a str) -> Result<Self, Refused> {
        if text.len() > MAX_BYTES {
            return Err(Refused::TooLarge);
        }
        let mut lines = text.lines().map(|line| line.trim_end_matches('\r'));
        if lines.next() != Some("v=0") {
            return Err(Refused::Syntax("it does not begin with v=0"));
        }
        let mut raw = Self { session: Part::default(), media: Vec::new() };
        for line in lines.filter(|line| !line.is_empty()) {
            raw.read_line(line)?;
        }
        if raw.media.is_empty() {
            return Err(Refused::Unusable("it has no m-line"));
        }
        Ok(raw)
    }

    fn read_line(&mut self, line: &'a str) -> Result<(), Refused> {
        if line.len() > MAX_LINE || line.contains(|c: char| c.is_control() && c != '\t') {
            return Err(Refused::Syntax("a line is too long or holds control characters"));
        }
        let (kind, value) = line.split_once('=').ok_or(Refused::Syntax("a line without ="))?;
        if kind.len() != 1 || !kind.bytes().all(|b| b.is_ascii_lowercase()) {
            return Err(Refused::Syntax("a line without a type"));
        }
        match kind {
            "m" if self.media.len() == MAX_SECTIONS => return Err(Refused::TooLarge),
            "m" => self.media.push(Part { media: value, attributes: Vec::new() }),
            "a" => {
                let part = self.media.last_mut().unwrap_or(&mut self.session);
                part.attributes.push(value.split_once(':').unwrap_or((value, "")));
            }
            _ => {}
        }
        Ok(())
    }

    fn candidates(&self) -> Vec<(u32, RemoteCandidate)> {
        let all = (0u32..).zip(&self.media).flat_map(|(index, media)| {
            media.all("candidate").filter_map(move |value| {
                RemoteCandidate::parse(&format!("candidate:{value}")).ok().map(|it| (index, it))
            })
        });
        all.collect()
    }
}

impl<'a> Part<'a> {
    fn all(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.attributes.iter().filter(move |(key, _)| *key == name).map(|(_, value)| *value)
    }

    fn first(&self, name: &str) -> Option<&'a str> {
        self.all(name).next()
    }

    fn has(&self, name: &str) -> bool {
        self.first(name).is_some()
    }

    fn words(&self) -> impl Iterator<Item = &'a str> {
        self.media.split_ascii_whitespace()
    }

    fn formats(&self) -> impl Iterator<Item = &'a str> {
        self.words().skip(3)
    }

    fn port(&self) -> Option<u16> {
        self.words().nth(1)?.split('/').next()?.parse().ok()
    }

    /// `a=NAME:<payload type> <rest>` of one payload type.
    fn of_payload(&self, name: &str, payload_type: u8) -> impl Iterator<Item = &'a str> {
        self.all(name).filter_map(move |value| {
            let (number, rest) = value.split_once(' ')?;
            (number.parse() == Ok(payload_type)).then_some(rest)
        })
    }
}

fn read_section(session: &Part<'_>, media: &Part<'_>, offered: Option<&str>) -> Result<Section, Refused> {
    media.port().ok_or(Refused::Syntax("an m-line without a port"))?;
    let rejected = is_rejected(media);
    let mid = media.first("mid").or(offered.filter(|_| rejected));
    let mid = mid.ok_or(Refused::Unusable("an m-line has no mid"))?;
    if mid.is_empty() || mid.len() > MAX_MID || mid.contains(|c: char| !c.is_ascii_graphic()) {
        return Err(Refused::Unusable("a mid is empty, too long or no token"));
    }
    let kind = read_kind(media);
    let own = |name: &str| media.first(name).or_else(|| session.first(name));
    let (ufrag, password) = (own("ice-ufrag").unwrap_or(""), own("ice-pwd").unwrap_or(""));
    let fingerprints = read_fingerprints(session, media)?;
    if !rejected {
        let is_token = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/-_=".contains(&b));
        let sane = (4..=256).contains(&ufrag.len()) && (22..=256).contains(&password.len());
        if !sane || !is_token(ufrag) || !is_token(password) {
            return Err(Refused::Unusable("ICE credentials are missing or malformed"));
        }
        if fingerprints.is_empty() {
            return Err(Refused::NoFingerprint);
        }
    }
    let codec = if rejected { None } else { read_codec(kind, media) };
    let (sends, receives) = read_direction(session, media);
    Ok(Section {
        mid: mid.into(),
        kind,
        sends: sends && codec.is_some(),
        receives: receives && codec.is_some(),
        codec,
        ufrag: ufrag.into(),
        fingerprints,
    })
}

fn is_rejected(media: &Part<'_>) -> bool {
    media.port() == Some(0) && !media.has("bundle-only")
}

fn read_kind(media: &Part<'_>) -> Kind {
    let protocol = media.words().nth(2).unwrap_or("");
    match media.words().next() {
        Some("audio") if protocol.ends_with("RTP/SAVPF") => Kind::Audio,
        Some("video") if protocol.ends_with("RTP/SAVPF") => Kind::Video,
        Some("application") if media.formats().eq(["webrtc-datachannel"]) => Kind::Data,
        _ => Kind::Other,
    }
}

fn read_direction(session: &Part<'_>, media: &Part<'_>) -> (bool, bool) {
    let find = |part: &Part<'_>| {
        part.attributes.iter().find_map(|(name, _)| match *name {
            "sendrecv" => Some((true, true)),
            "sendonly" => Some((true, false)),
            "recvonly" => Some((false, true)),
            "inactive" => Some((false, false)),
            _ => None,
        })
    };
    find(media).or_else(|| find(session)).unwrap_or((true, true))
}

fn read_codec(kind: Kind, media: &Part<'_>) -> Option<Codec> {
    let name = match kind {
        Kind::Audio => "opus/48000",
        Kind::Video => "VP8/90000",
        Kind::Data => return Some(Codec { payload_type: 0, extensions: Vec::new() }),
        Kind::Other => return None,
    };
    let payload_type = media.formats().filter_map(|pt| pt.parse::<u8>().ok()).find(|pt| {
        *pt < 128
            && media
                .of_payload("rtpmap", *pt)
                .any(|map| map.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)))
    })?;
    Some(Codec { payload_type, extensions: read_extensions(media) })
}

fn read_extensions(media: &Part<'_>) -> Vec<(u8, &'static str)> {
    let mut known: Vec<(u8, &'static str)> = Vec::new();
    for value in media.all("extmap") {
        let Some((id, uri)) = value.split_once(' ') else { continue };
        let uri = uri.split(' ').next().unwrap_or("");
        let id = id.parse::<u8>().ok().filter(|id| (1..=14).contains(id));
        let uri = [EXTENSION_TWCC, EXTENSION_MID].into_iter().find(|known| *known == uri);
        if let (Some(id), Some(uri)) = (id, uri)
            && !known.iter().any(|(other, same)| *other == id || *same == uri)
        {
            known.push((id, uri));
        }
    }
    known
}

fn read_fingerprints(session: &Part<'_>, media: &Part<'_>) -> Result<Vec<Fingerprint>, Refused> {
    let part = if media.has("fingerprint") { media } else { session };
    let mut known = Vec::new();
    for value in part.all("fingerprint") {
        let (hash, hex) = value.split_once(' ').ok_or(Refused::Syntax("a malformed fingerprint"))?;
        let hash = match hash.to_ascii_lowercase().as_str() {
            "sha-256" => Hash::Sha256,
            "sha-384" => Hash::Sha384,
            "sha-512" => Hash::Sha512,
            _ => continue,
        };
        let hex: String = hex.trim().split(':').collect::<String>().to_ascii_lowercase();
        if hex.len() != hash.hex_length() || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Refused::Syntax("a malformed fingerprint"));
        }
        known.push(Fingerprint { hash, hex });
    }
    Ok(known)
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

fn read_bundle(session: &Part<'_>, sections: &[Section]) -> Result<Vec<String>, Refused> {
    let mut groups = session.all("group").filter_map(|group| group.strip_prefix("BUNDLE"));
    let Some(group) = groups.next() else { return Ok(Vec::new()) };
    if groups.next().is_some() {
        return Err(Refused::Unusable("more than one BUNDLE group"));
    }
    let mut bundle: Vec<String> = Vec::new();
    for mid in group.split_ascii_whitespace() {
        if bundle.iter().any(|other| other == mid) || !sections.iter().any(|section| section.mid == mid) {
            return Err(Refused::Unusable("a BUNDLE group names a mid twice, or one that is not there"));
        }
        bundle.push(mid.into());
    }
    Ok(bundle)
}

/// What webrtcbin 1.22 would take as given.
fn demand_usable(sections: &[Section], bundle: &[String]) -> Result<(), Refused> {
    for (position, section) in sections.iter().enumerate() {
        if sections.iter().skip(position + 1).any(|other| other.mid == section.mid) {
            return Err(Refused::Unusable("two m-lines have the same mid"));
        }
    }
    let bundled = |section: &&Section| bundle.contains(&section.mid);
    let tag = bundle.first().and_then(|mid| sections.iter().find(|section| section.mid == *mid));
    let tag_is_data = tag.is_some_and(|tag| !matches!(tag.kind, Kind::Audio | Kind::Video));
    let has_media = sections.iter().filter(bundled).any(|s| matches!(s.kind, Kind::Audio | Kind::Video));
    if tag_is_data && has_media {
        // Media that arrives on a transport named after a data section has no transceiver to go to, and
        // webrtcbin 1.22 does not check.
        return Err(Refused::Unusable("a data m-line leads the BUNDLE group, in front of media"));
    }
    Ok(())
}

/// One sound, one picture and one data section per peer; further ones are answered as inactive.
fn keep_one_of_a_kind(sections: &mut [Section]) {
    let mut seen = Vec::new();
    for section in sections {
        if !section.is_used() {
            continue;
        }
        if seen.contains(&section.kind) {
            (section.sends, section.receives) = (false, false);
        }
        seen.push(section.kind);
    }
}

/// The reduced description. Writing to a `String` cannot fail.
fn write(raw: &Raw<'_>, sections: &[Section], bundle: &[String]) -> String {
    let mut out = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    if !bundle.is_empty() {
        let _ = write!(out, "a=group:BUNDLE {}\r\n", bundle.join(" "));
    }
    if raw.session.has("ice-lite") {
        out.push_str("a=ice-lite\r\n");
    }
    out.push_str("a=ice-options:trickle\r\n");
    let parts = || raw.media.iter().zip(sections);
    let transport =
        parts().find(|(_, section)| !section.fingerprints.is_empty() && !section.ufrag.is_empty());
    for (media, section) in parts() {
        write_section(&mut out, &raw.session, media, section, transport);
    }
    out
}

/// `transport` is another section, which has one.
fn write_section(
    out: &mut String,
    session: &Part<'_>,
    media: &Part<'_>,
    section: &Section,
    transport: Option<(&Part<'_>, &Section)>,
) {
    // webrtcbin wants one of a rejected section, too, where it is of no use.
    let lent = transport.filter(|_| is_rejected(media));
    let lent_line = |name: &str| lent.and_then(|(media, _)| media.first(name));
    let own = |name: &str| media.first(name).or_else(|| session.first(name)).or_else(|| lent_line(name));
    let fingerprints = match lent {
        Some((_, lender)) if section.fingerprints.is_empty() => &lender.fingerprints,
        _ => &section.fingerprints,
    };
    let payload_types = payload_types(media, section);
    let formats = match section.kind {
        Kind::Data => "webrtc-datachannel".to_owned(),
        _ if payload_types.is_empty() => media.formats().next().unwrap_or("0").to_owned(),
        _ => payload_types.iter().map(u8::to_string).collect::<Vec<_>>().join(" "),
    };
    let mut words = media.words();
    let (name, protocol) = (words.next().unwrap_or("audio"), words.nth(1).unwrap_or("UDP/TLS/RTP/SAVPF"));
    let port = media.port().unwrap_or(0);
    let _ =
        write!(out, "m={name} {port} {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n", section.mid);
    for flag in ["bundle-only", "rtcp-mux", "rtcp-rsize"] {
        if media.has(flag) {
            let _ = write!(out, "a={flag}\r\n");
        }
    }
    for name in ["ice-ufrag", "ice-pwd", "setup"] {
        if let Some(value) = own(name) {
            let _ = write!(out, "a={name}:{value}\r\n");
        }
    }
    for fingerprint in fingerprints {
        let _ = write!(out, "a=fingerprint:{} {}\r\n", fingerprint.hash.name(), colons(&fingerprint.hex));
    }
    write_format(out, media, section, &payload_types);
}

fn write_format(out: &mut String, media: &Part<'_>, section: &Section, payload_types: &[u8]) {
    if section.kind == Kind::Data {
        for name in ["sctp-port", "max-message-size"] {
            let number = media.first(name).and_then(|value| value.trim().parse::<u32>().ok());
            if let Some(number) = number {
                let _ = write!(out, "a={name}:{number}\r\n");
            }
        }
        return;
    }
    let direction = match (section.sends, section.receives) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    };
    let _ = write!(out, "a={direction}\r\n");
    for payload_type in payload_types {
        for name in ["rtpmap", "rtcp-fb", "fmtp"] {
            for value in media.of_payload(name, *payload_type) {
                let _ = write!(out, "a={name}:{payload_type} {value}\r\n");
            }
        }
    }
    for (id, uri) in section.codec.iter().flat_map(|codec| &codec.extensions) {
        let _ = write!(out, "a=extmap:{id} {uri}\r\n");
    }
    if section.is_used() {
        write_sources(out, media);
    }
}

/// Which SSRC belongs to this m-line: webrtcbin 1.22 needs it to sort out a bundle.
fn write_sources(out: &mut String, media: &Part<'_>) {
    for value in media.all("ssrc").take(16) {
        let Some((ssrc, rest)) = value.split_once(' ') else { continue };
        if ssrc.parse::<u32>().is_ok() && rest.starts_with("cname:") {
            let _ = write!(out, "a=ssrc:{value}\r\n");
        }
    }
    for value in media.all("ssrc-group").filter(|value| value.starts_with("FID ")).take(4) {
        let _ = write!(out, "a=ssrc-group:{value}\r\n");
    }
}

/// The codec's payload type and, for the picture, the retransmissions' of it.
fn payload_types(media: &Part<'_>, section: &Section) -> Vec<u8> {
    let Some(codec) = &section.codec else { return first_format(media) };
    let repairs = repairs(media, codec.payload_type).filter(|_| section.kind == Kind::Video);
    std::iter::once(codec.payload_type).chain(repairs).collect()
}

/// The payload type of retransmissions (RFC 4588) of another one.
fn repairs(media: &Part<'_>, payload_type: u8) -> Option<u8> {
    media.formats().filter_map(|pt| pt.parse::<u8>().ok()).find(|pt| {
        let is_rtx = media.of_payload("rtpmap", *pt).any(|map| map.eq_ignore_ascii_case("rtx/90000"));
        let apt = format!("apt={payload_type}");
        is_rtx && media.of_payload("fmtp", *pt).any(|fmtp| fmtp.split(';').any(|p| p.trim() == apt))
    })
}

/// Payload types of the same codec that differ: the offer's and the answer's.
fn renumbered(offer: &Part<'_>, answer: &Part<'_>, kind: Kind) -> Vec<(u8, u8)> {
    if !matches!(kind, Kind::Audio | Kind::Video) {
        return Vec::new();
    }
    let of = |media: &Part<'_>| {
        let codec = read_codec(kind, media)?.payload_type;
        Some((codec, repairs(media, codec)))
    };
    let (Some(ours), Some(theirs)) = (of(offer), of(answer)) else { return Vec::new() };
    let repairs = ours.1.zip(theirs.1);
    [Some((ours.0, theirs.0)), repairs]
        .into_iter()
        .flatten()
        .filter(|(ours, theirs)| ours != theirs)
        .collect()
}

/// A line of a reduced answer in our numbers.
fn renumber_line(line: &str, numbers: &[(u8, u8)]) -> String {
    let ours = |word: &str| {
        let number = word.parse::<u8>().ok();
        let pair = numbers.iter().find(|(_, theirs)| Some(*theirs) == number);
        pair.map_or_else(|| word.to_owned(), |(ours, _)| ours.to_string())
    };
    if numbers.is_empty() {
        return line.to_owned();
    }
    if line.starts_with("m=") {
        let words = line.split(' ').enumerate();
        return words
            .map(|(at, word)| if at < 3 { word.into() } else { ours(word) })
            .collect::<Vec<_>>()
            .join(" ");
    }
    let attribute = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].into_iter().find(|name| line.starts_with(name));
    let Some((name, (number, rest))) =
        attribute.and_then(|name| Some((name, line.strip_prefix(name)?.split_once(' ')?)))
    else {
        return line.to_owned();
    };
    let rest = rest.strip_prefix("apt=").map_or_else(|| rest.to_owned(), |apt| format!("apt={}", ours(apt)));
    format!("{name}{} {rest}", ours(number))
}

fn first_format(media: &Part<'_>) -> Vec<u8> {
    media.formats().take(1).filter_map(|pt| pt.parse::<u8>().ok()).filter(|pt| *pt < 128).collect()
}

fn colons(hex: &str) -> String {
    let mut out = String::with_capacity(hex.len() * 3 / 2);
    for (position, digit) in hex.chars().enumerate() {
        if position > 0 && position % 2 == 0 {
            out.push(':');
        }
        out.push(digit.to_ascii_uppercase());
    }
    out
}

#[cfg(test)]
mod tests;
