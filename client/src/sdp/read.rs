//! Reads sections from the lines of a description.

use std::collections::BTreeMap;

use super::{
    Codec, EXTENSIONS, Fingerprint, H264, Hash, Kind, Refused, Sctp, Section, Setup, Transport,
    raw::{Part, Raw},
};
use crate::{candidate::RemoteCandidate, media::encode::codec::Format};

const MAX_MID: usize = 64;
/// SSRCs of one m-line, and pairs of SSRCs.
const MAX_SSRCS: usize = 16;
const MAX_REPAIRS: usize = 4;
/// The kinds of RTCP feedback that webrtcbin supports.
const FEEDBACK: [&str; 4] = ["nack", "nack pli", "ccm fir", "transport-cc"];
/// Payload types of one m-line that are looked at: Chromium has some 20.
const MAX_MENU: usize = 48;
/// Certificates of one m-line.
const MAX_FINGERPRINTS: usize = 16;
/// Codecs named in an error message.
const MAX_NAMES: usize = 12;

/// One m-line of webrtcbin's own description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Own {
    /// `a=mid`.
    pub mid: String,
    /// ICE and DTLS.
    pub transport: Transport,
    /// What it carries.
    pub kind: Kind,
    /// The codec with our payload types.
    pub codec: Option<Codec>,
    /// `a=ssrc` and `a=ssrc-group`, without `a=`.
    pub sources: Vec<String>,
}

impl Own {
    /// Parses webrtcbin's own description.
    pub fn parse(text: &str) -> Result<Vec<Self>, Refused> {
        let raw = Raw::parse(text)?;
        raw.media.iter().map(|media| own(&raw.session, media)).collect()
    }
}

fn own(session: &Part<'_>, media: &Part<'_>) -> Result<Own, Refused> {
    let section = section(session, media)?;
    let line = |name: &'static str| media.all(name).map(move |value| format!("{name}:{value}"));
    Ok(Own {
        mid: section.mid.unwrap_or_default(),
        transport: section.transport,
        kind: section.kind,
        codec: Payloads::of(section.kind, media).all.into_iter().next().map(|(_, codec)| codec),
        sources: line("ssrc-group").chain(line("ssrc")).collect(),
    })
}

pub(super) fn section(session: &Part<'_>, media: &Part<'_>) -> Result<Section, Refused> {
    let port = media.port().ok_or(Refused::Syntax("an m-line without a port"))?;
    let kind = kind(media);
    let rejected = port == 0 && !media.has("bundle-only");
    let (sends, receives) = direction(session, media);
    let transport = if rejected { Transport::default() } else { transport(session, media)? };
    let mut words = media.words();
    let line = [words.next().unwrap_or_default(), words.nth(1).unwrap_or_default()].map(String::from);
    let [name, protocol] = line;
    let menu = menu(kind, media);
    // webrtcbin 1.22 sends to no other SCTP port.
    let data =
        || sctp(media).filter(|sctp| kind == Kind::Data && sctp.port == 5000).map(|_| Codec::default());
    Ok(Section {
        mid: media.first("mid").map(String::from),
        line: [name, protocol, media.formats().collect::<Vec<_>>().join(" ")],
        kind,
        rejected,
        sends,
        receives,
        codec: menu.first().cloned().or_else(data),
        codecs: names(media, &menu),
        menu,
        transport,
        rtcp_mux: media.has("rtcp-mux"),
        ssrcs: ssrcs(media),
        repairs: repairs(media),
        sctp: sctp(media),
    })
}

/// libwebrtc alone writes a space before `WMS`; Firefox has its name in `o=`.
pub(super) fn is_browser(raw: &Raw<'_>) -> bool {
    let is_libwebrtc = raw.session.first("msid-semantic").is_some_and(|value| value.starts_with(" WMS"));
    is_libwebrtc || raw.origin.starts_with("mozilla")
}

pub(super) fn check_mids(sections: &[Section]) -> Result<(), Refused> {
    let mids: Vec<&str> = sections.iter().filter_map(|section| section.mid.as_deref()).collect();
    for (position, mid) in mids.iter().enumerate() {
        if mid.is_empty() || mid.len() > MAX_MID || mid.contains(|c: char| !c.is_ascii_graphic()) {
            return Err(Refused::Unusable("a mid is empty, too long or no token"));
        }
        if mids.iter().skip(position + 1).any(|other| other == mid) {
            return Err(Refused::Unusable("two m-lines have the same mid"));
        }
    }
    Ok(())
}

/// The positions in the first BUNDLE group, without m-lines that are rejected or missing. An m-line outside of it is
/// not usable: a second transport for one peer is not worth its cost.
pub(super) fn bundle(session: &Part<'_>, sections: &[Section]) -> Vec<usize> {
    let mut groups = session.all("group").filter_map(|group| group.strip_prefix("BUNDLE"));
    let mut bundle = Vec::new();
    for mid in groups.next().unwrap_or_default().split_ascii_whitespace() {
        let named = |section: &Section| section.mid.as_deref() == Some(mid) && !section.rejected;
        if let Some(position) = sections.iter().position(named).filter(|it| !bundle.contains(it)) {
            bundle.push(position);
        }
    }
    bundle
}

pub(super) fn candidates(raw: &Raw<'_>) -> Vec<(usize, RemoteCandidate)> {
    let of = |(position, media): (usize, &Part<'_>)| {
        let lines = media.all("candidate").map(|value| RemoteCandidate::parse(&format!("candidate:{value}")));
        lines.flatten().map(move |candidate| (position, candidate)).collect::<Vec<_>>()
    };
    raw.media.iter().enumerate().flat_map(of).collect()
}

fn kind(media: &Part<'_>) -> Kind {
    let protocol = media.words().nth(2).unwrap_or("");
    match media.words().next() {
        Some("audio") if protocol.ends_with("RTP/SAVPF") => Kind::Audio,
        Some("video") if protocol.ends_with("RTP/SAVPF") => Kind::Video,
        Some("application") if sctp(media).is_some() => Kind::Data,
        _ => Kind::Other,
    }
}

fn sctp(media: &Part<'_>) -> Option<Sctp> {
    let mut formats = media.formats();
    let (format, protocol) = (formats.next()?, media.words().nth(2)?);
    if formats.next().is_some() || !protocol.ends_with("DTLS/SCTP") {
        return None;
    }
    let number = |name: &str| media.first(name).and_then(|value| value.trim().parse::<u32>().ok());
    let max_message_size = number("max-message-size");
    if format == "webrtc-datachannel" {
        let port = number("sctp-port").unwrap_or(5000);
        return Some(Sctp { port: u16::try_from(port).ok()?, max_message_size, old_form: false });
    }
    let maps = |value: &str| {
        let mut words = value.split_ascii_whitespace();
        words.next() == Some(format) && words.next() == Some("webrtc-datachannel")
    };
    let port = format.parse().ok().filter(|_| media.all("sctpmap").any(maps))?;
    Some(Sctp { port, max_message_size, old_form: true })
}

fn direction(session: &Part<'_>, media: &Part<'_>) -> (bool, bool) {
    let find = |part: &Part<'_>| {
        part.names().find_map(|name| match name {
            "sendrecv" => Some((true, true)),
            "sendonly" => Some((true, false)),
            "recvonly" => Some((false, true)),
            "inactive" => Some((false, false)),
            _ => None,
        })
    };
    find(media).or_else(|| find(session)).unwrap_or((true, true))
}

/// The codecs that callbin knows, in the peer's order.
fn menu(kind: Kind, media: &Part<'_>) -> Vec<Codec> {
    if !matches!(kind, Kind::Audio | Kind::Video) {
        return Vec::new();
    }
    let known = |(line, codec): (Lines<'_>, Codec)| {
        let payload_type = codec.payload_type;
        let format = match line.maps.first() {
            Some(map) => Format::of_map(map),
            None => Format::of_static(payload_type),
        };
        let format = format.filter(|format| format.kind() == kind && fits(*format, payload_type))?;
        let fmtp = line.fmtps.first().copied().unwrap_or("");
        let h264 = if format == Format::H264 { Some(H264::parse(fmtp)?) } else { None };
        takes(format, fmtp).then_some(Codec { format, h264, ..codec })
    };
    Payloads::of(kind, media).all.into_iter().take(MAX_MENU).filter_map(known).collect()
}

/// The payload types of an m-line, in its order. Reads each attribute once, however many payload types there are.
struct Payloads<'a> {
    all: Vec<(Lines<'a>, Codec)>,
}

/// The attributes of one payload type.
#[derive(Default)]
struct Lines<'a> {
    /// `a=rtpmap`.
    maps: Vec<&'a str>,
    /// `a=fmtp`.
    fmtps: Vec<&'a str>,
    /// Which of [`FEEDBACK`] it has.
    feedback: [bool; FEEDBACK.len()],
}

impl<'a> Payloads<'a> {
    fn of(kind: Kind, media: &Part<'a>) -> Self {
        let mut lines: BTreeMap<u8, Lines<'a>> = BTreeMap::new();
        for (payload_type, map) in media.by_payload("rtpmap") {
            lines.entry(payload_type).or_default().maps.push(map);
        }
        for (payload_type, fmtp) in media.by_payload("fmtp") {
            lines.entry(payload_type).or_default().fmtps.push(fmtp);
        }
        for (payload_type, name) in media.by_payload("rtcp-fb") {
            let known = &mut lines.entry(payload_type).or_default().feedback;
            FEEDBACK.iter().zip(known).filter(|(it, _)| **it == name).for_each(|(_, known)| *known = true);
        }
        let repairs = if kind == Kind::Video { repairs_of(media, &lines) } else { BTreeMap::new() };
        let extensions = extensions(media);
        let read = |payload_type: u8| {
            let line = lines.remove(&payload_type).unwrap_or_default();
            let feedback = FEEDBACK.into_iter().zip(line.feedback).filter(|(_, known)| *known);
            let codec = Codec {
                payload_type,
                repair: repairs.get(&payload_type).copied().filter(|pt| *pt != payload_type),
                feedback: feedback.map(|(name, _)| name).collect(),
                extensions: extensions.clone(),
                ..Codec::default()
            };
            (line, codec)
        };
        Self { all: media.payload_types().map(read).collect() }
    }
}

/// The payload types that have retransmissions, each with that of the first ones (RFC 4588).
fn repairs_of(media: &Part<'_>, lines: &BTreeMap<u8, Lines<'_>>) -> BTreeMap<u8, u8> {
    let mut repairs = BTreeMap::new();
    for payload_type in media.payload_types().filter(|pt| *pt >= 96) {
        let Some(line) = lines.get(&payload_type) else { continue };
        if line.maps.iter().any(|map| map.eq_ignore_ascii_case("rtx/90000")) {
            let words = line.fmtps.iter().flat_map(|fmtp| fmtp.split(';'));
            for of in words.filter_map(|word| word.trim().strip_prefix("apt=")?.parse().ok()) {
                repairs.entry(of).or_insert(payload_type);
            }
        }
    }
    repairs
}

/// GStreamer's payloaders accept static payload types only for the codecs that have them (RFC 3551, section 6).
fn fits(format: Format, payload_type: u8) -> bool {
    payload_type >= 96 || format.row().payload_type == payload_type
}

/// Whether these parameters allow what callbin encodes.
fn takes(format: Format, fmtp: &str) -> bool {
    let is = |name: &str, wanted: &[&str]| {
        let mut all = fmtp.split(';').filter_map(|it| it.trim().split_once('='));
        all.find(|(key, _)| *key == name).is_none_or(|(_, value)| wanted.contains(&value.trim()))
    };
    match format {
        Format::Vp9 => is("profile-id", &["0"]),
        Format::Av1 => is("profile", &["0"]),
        Format::H265 => is("profile-id", &["1"]) && is("tx-mode", &["SRST"]),
        _ => true,
    }
}

fn extensions(media: &Part<'_>) -> Vec<(u8, &'static str)> {
    let mut known: Vec<(u8, &'static str)> = Vec::new();
    for value in media.all("extmap") {
        let Some((id, uri)) = value.split_once(' ') else { continue };
        let uri = uri.split(' ').next().unwrap_or("");
        let id = id.parse::<u8>().ok().filter(|id| (1..=14).contains(id));
        let uri = EXTENSIONS.into_iter().find(|known| *known == uri);
        if let (Some(id), Some(uri)) = (id, uri)
            && !known.iter().any(|(other, same)| *other == id || *same == uri)
        {
            known.push((id, uri));
        }
    }
    known
}

/// Codec names for an error message. A codec that callbin knows may have parameters that it cannot use.
fn names(media: &Part<'_>, menu: &[Codec]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for map in media.all("rtpmap").filter_map(|map| Some(map.split_once(' ')?.1.trim())) {
        let name = map.split('/').next().unwrap_or("");
        let is_name = (1..=24).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic());
        let is_media = !["rtx", "red", "ulpfec", "flexfec-03", "telephone-event", "CN"].contains(&name);
        let is_unfit = Format::of_map(map).is_some_and(|it| menu.iter().all(|codec| codec.format != it));
        let name = if is_unfit { format!("{name} with other parameters") } else { name.to_owned() };
        if is_name && is_media && names.len() < MAX_NAMES && !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

fn transport(session: &Part<'_>, media: &Part<'_>) -> Result<Transport, Refused> {
    let own = |name: &str| media.first(name).or_else(|| session.first(name)).unwrap_or("");
    Ok(Transport {
        ufrag: own("ice-ufrag").into(),
        password: own("ice-pwd").into(),
        fingerprints: fingerprints(session, media)?,
        setup: match own("setup") {
            "actpass" => Some(Setup::ActPass),
            "active" => Some(Setup::Active),
            "passive" => Some(Setup::Passive),
            _ => None,
        },
    })
}

fn fingerprints(session: &Part<'_>, media: &Part<'_>) -> Result<Vec<Fingerprint>, Refused> {
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
        if known.len() < MAX_FINGERPRINTS {
            known.push(Fingerprint { hash, hex });
        }
    }
    if known.is_empty() && part.has("fingerprint") { Err(Refused::WeakFingerprint) } else { Ok(known) }
}

fn ssrcs(media: &Part<'_>) -> Vec<u32> {
    let of = |value: &str| {
        let (ssrc, rest) = value.split_once(' ')?;
        // webrtcbin 1.22 asserts that an SSRC is not 0.
        ssrc.parse().ok().filter(|ssrc| *ssrc != 0 && rest.starts_with("cname:"))
    };
    media.all("ssrc").filter_map(of).take(MAX_SSRCS).collect()
}

fn repairs(media: &Part<'_>) -> Vec<(u32, u32)> {
    let of = |value: &str| {
        let mut words = value.strip_prefix("FID ")?.split_ascii_whitespace();
        Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
    };
    media.all("ssrc-group").filter_map(of).take(MAX_REPAIRS).collect()
}
