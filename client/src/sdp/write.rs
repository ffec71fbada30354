//! Writes descriptions: the peer's for webrtcbin, and our answer for the peer.
//!
//! No line of a peer's description goes to webrtcbin, only checked numbers, tokens and hashes.

use std::fmt::Write;

use callbin_protocol::SdpType;

use super::{Codec, Fingerprint, Hash, Kind, Sctp, Setup, Transport};

/// The directions of media, as the describing side sees them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Direction {
    /// It sends.
    pub sends: bool,
    /// It receives.
    pub receives: bool,
}

/// The peer's description for webrtcbin.
#[derive(Debug, Clone)]
pub struct Shown<'a> {
    /// Offer or answer.
    pub kind: SdpType,
    /// Counts descriptions of one connection (RFC 8866, section 5.2).
    pub version: u64,
    /// Whether all m-lines share the transport of the first one.
    pub bundled: bool,
    /// `a=ice-lite`.
    pub ice_lite: bool,
    /// The m-lines, in webrtcbin's order.
    pub lines: Vec<ShownLine<'a>>,
}

/// One m-line of [`Shown`].
#[derive(Debug, Clone)]
pub struct ShownLine<'a> {
    /// webrtcbin's mid.
    pub mid: &'a str,
    /// Audio, video or data.
    pub kind: Kind,
    /// The codecs, the one in use first.
    pub codecs: Vec<Codec>,
    /// The peer's directions.
    pub direction: Direction,
    /// Its transport.
    pub transport: &'a Transport,
    /// The peer's DTLS role.
    pub setup: Setup,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// The peer's SSRCs.
    pub ssrcs: &'a [u32],
    /// Pairs of SSRCs: media, and its retransmissions.
    pub repairs: &'a [(u32, u32)],
    /// Parameters of the data channels.
    pub sctp: Option<Sctp>,
    /// Whether it is rejected: port 0.
    pub rejected: bool,
}

/// Our answer for the peer.
#[derive(Debug, Clone)]
pub struct Answered<'a> {
    /// Counts our descriptions.
    pub version: u64,
    /// The mids that share a transport, in the order of the peer's group; empty without a group.
    pub bundle: Vec<&'a str>,
    /// The m-lines, in the peer's order.
    pub lines: Vec<AnswerLine<'a>>,
}

/// One m-line of [`Answered`].
#[derive(Debug, Clone)]
pub struct AnswerLine<'a> {
    /// The offer's mid, if it had one.
    pub mid: Option<&'a str>,
    /// The offer's media, protocol and formats.
    pub line: &'a [String; 3],
    /// What it carries; `None` if it is rejected.
    pub used: Option<UsedLine<'a>>,
}

/// What an m-line that is not rejected carries.
#[derive(Debug, Clone)]
pub struct UsedLine<'a> {
    /// Audio, video or data.
    pub kind: Kind,
    /// The codec, with the offer's payload types.
    pub codec: Codec,
    /// Our directions.
    pub direction: Direction,
    /// Our transport.
    pub transport: &'a Transport,
    /// Our DTLS role.
    pub setup: Setup,
    /// `a=rtcp-mux`.
    pub rtcp_mux: bool,
    /// Our SSRC attributes, as lines.
    pub sources: &'a [String],
    /// Our candidates, as lines.
    pub candidates: Vec<&'a str>,
    /// Parameters of the data channels, in the offer's syntax.
    pub sctp: Option<Sctp>,
}

/// Writes the description for webrtcbin. Writing to a `String` cannot fail.
pub fn shown(it: &Shown<'_>) -> String {
    let mut out = head(it.version);
    if it.bundled {
        let mids = it.lines.iter().filter(|line| !line.rejected).map(|line| line.mid);
        let _ = write!(out, "a=group:BUNDLE {}\r\n", mids.collect::<Vec<_>>().join(" "));
    }
    if it.ice_lite {
        out.push_str("a=ice-lite\r\n");
    }
    out.push_str("a=ice-options:trickle\r\n");
    it.lines.iter().for_each(|line| write_shown(&mut out, line));
    out
}

fn write_shown(out: &mut String, line: &ShownLine<'_>) {
    let port = if line.rejected { 0 } else { 9 };
    let (name, protocol, formats) = match line.kind {
        Kind::Audio => ("audio", "UDP/TLS/RTP/SAVPF", payload_types(&line.codecs)),
        Kind::Video => ("video", "UDP/TLS/RTP/SAVPF", payload_types(&line.codecs)),
        Kind::Data | Kind::Other => ("application", "UDP/DTLS/SCTP", "webrtc-datachannel".into()),
    };
    let _ = write!(out, "m={name} {port} {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n", line.mid);
    write_transport(out, line.transport, line.setup);
    if line.kind == Kind::Data {
        // webrtcbin knows only the syntax of the RFC.
        write_sctp(out, line.sctp.map(|sctp| Sctp { old_form: false, ..sctp }));
        return;
    }
    write_media(out, &line.codecs, line.direction, line.rtcp_mux);
    for (media, repair) in line.repairs {
        let _ = write!(out, "a=ssrc-group:FID {media} {repair}\r\n");
    }
    for ssrc in line.ssrcs {
        let _ = write!(out, "a=ssrc:{ssrc} cname:peer\r\n");
    }
}

/// Writes our answer.
pub fn answer(it: &Answered<'_>) -> String {
    let mut out = head(it.version);
    if !it.bundle.is_empty() {
        let _ = write!(out, "a=group:BUNDLE {}\r\n", it.bundle.join(" "));
    }
    out.push_str("a=ice-options:trickle\r\n");
    it.lines.iter().for_each(|line| write_answer(&mut out, line));
    out
}

fn write_answer(out: &mut String, line: &AnswerLine<'_>) {
    let [name, protocol, formats] = line.line;
    let (port, formats) = match &line.used {
        Some(used) if used.kind != Kind::Data => (9, payload_types(std::slice::from_ref(&used.codec))),
        Some(_) => (9, formats.clone()),
        None => (0, formats.clone()),
    };
    let _ = write!(out, "m={name} {port} {protocol} {formats}\r\nc=IN IP4 0.0.0.0\r\n");
    if let Some(mid) = line.mid {
        let _ = write!(out, "a=mid:{mid}\r\n");
    }
    let Some(used) = &line.used else {
        out.push_str("a=inactive\r\n");
        return;
    };
    write_transport(out, used.transport, used.setup);
    if used.kind == Kind::Data {
        write_sctp(out, used.sctp);
    } else {
        write_media(out, std::slice::from_ref(&used.codec), used.direction, used.rtcp_mux);
        for source in used.sources {
            let _ = write!(out, "a={source}\r\n");
        }
    }
    for candidate in &used.candidates {
        let _ = write!(out, "a={candidate}\r\n");
    }
}

fn head(version: u64) -> String {
    format!("v=0\r\no=- 1 {version} IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n")
}

/// The formats of an m-line: each codec's payload type, and that of its retransmissions.
pub fn payload_types(codecs: &[Codec]) -> String {
    let numbers = codecs.iter().flat_map(|codec| [Some(codec.payload_type), codec.repair]).flatten();
    numbers.map(|number| number.to_string()).collect::<Vec<_>>().join(" ")
}

fn write_transport(out: &mut String, transport: &Transport, setup: Setup) {
    let Transport { ufrag, password, fingerprints, .. } = transport;
    let _ = write!(out, "a=ice-ufrag:{ufrag}\r\na=ice-pwd:{password}\r\na=setup:{}\r\n", setup.name());
    for Fingerprint { hash, hex } in strongest_last(fingerprints) {
        let _ = write!(out, "a=fingerprint:{} {}\r\n", hash.name(), colons(hex));
    }
}

/// SHA-256 first: webrtcbin and some peers read only the first.
fn strongest_last(fingerprints: &[Fingerprint]) -> impl Iterator<Item = &Fingerprint> {
    let of = |usual: bool| fingerprints.iter().filter(move |it| (it.hash == Hash::Sha256) == usual);
    of(true).chain(of(false))
}

fn write_sctp(out: &mut String, sctp: Option<Sctp>) {
    let Some(sctp) = sctp else { return };
    if sctp.old_form {
        let _ = write!(out, "a=sctpmap:{} webrtc-datachannel 65535\r\n", sctp.port);
    } else {
        let _ = write!(out, "a=sctp-port:{}\r\n", sctp.port);
    }
    if let Some(size) = sctp.max_message_size {
        let _ = write!(out, "a=max-message-size:{size}\r\n");
    }
}

fn write_media(out: &mut String, codecs: &[Codec], direction: Direction, rtcp_mux: bool) {
    let direction = match (direction.sends, direction.receives) {
        (true, true) => "sendrecv",
        (true, false) => "sendonly",
        (false, true) => "recvonly",
        (false, false) => "inactive",
    };
    let _ = write!(out, "a={direction}\r\n");
    if rtcp_mux {
        out.push_str("a=rtcp-mux\r\n");
    }
    codecs.iter().for_each(|codec| out.push_str(&codec_lines(codec)));
    for (id, uri) in codecs.first().iter().flat_map(|codec| &codec.extensions) {
        let _ = write!(out, "a=extmap:{id} {uri}\r\n");
    }
}

/// The lines of a codec and its retransmissions: `a=rtpmap`, `a=rtcp-fb` and `a=fmtp`.
pub fn codec_lines(codec: &Codec) -> String {
    let number = codec.payload_type;
    let mut out = format!("a=rtpmap:{number} {}\r\n", codec.format.map());
    for feedback in &codec.feedback {
        let _ = write!(out, "a=rtcp-fb:{number} {feedback}\r\n");
    }
    let parameters = codec.parameters();
    if !parameters.is_empty() {
        let _ = write!(out, "a=fmtp:{number} {parameters}\r\n");
    }
    if let Some(repair) = codec.repair {
        let _ = write!(out, "a=rtpmap:{repair} rtx/90000\r\na=fmtp:{repair} apt={number}\r\n");
    }
    out
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
