//! The parts of an offer that the node decides by itself: the codecs that each m-line offers, and its direction.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

use crate::core::packet::Kind;

/// The number of RTP payload types: they have 7 bits (RFC 3550, section 5.1).
pub(super) const PAYLOAD_TYPES: u8 = 128;

/// An audio or video m-line of an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// The index among all m-lines.
    pub index: usize,
    /// Audio or video.
    pub kind: Kind,
    /// `a=mid`.
    pub mid: &'a str,
    /// Whether the offerer wants to send.
    pub sends: bool,
    /// Whether the offerer wants to receive.
    pub receives: bool,
    /// The payload types in the order of preference, each of them once.
    pub formats: Vec<Format<'a>>,
}

/// A payload type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Format<'a> {
    /// The number.
    pub number: u8,
    /// `a=rtpmap`: the name of the codec, its clock rate and the rest. Empty for static payload types.
    pub map: &'a str,
    /// `a=fmtp`.
    pub parameters: &'a str,
}

/// The audio and video m-lines of a description that are not rejected.
pub(super) fn lines(sdp: &str) -> Vec<Line<'_>> {
    sections(sdp).enumerate().skip(1).filter_map(|(at, section)| line(at - 1, section)).collect()
}

/// The number of m-lines of a description, whatever their media are.
pub(super) fn count(sdp: &str) -> usize {
    sections(sdp).count() - 1
}

/// Session part and m-lines, as texts.
fn sections(sdp: &str) -> impl Iterator<Item = &str> {
    let mut rest = Some(sdp);
    std::iter::from_fn(move || {
        let text = rest.take()?;
        match text.get(1..).and_then(|later| later.find("\nm=")) {
            Some(at) => {
                let (section, next) = text.split_at(at + 2);
                rest = Some(next);
                Some(section)
            }
            None => Some(text),
        }
    })
}

fn line(index: usize, section: &str) -> Option<Line<'_>> {
    let mut words = section.lines().next()?.strip_prefix("m=")?.split_ascii_whitespace();
    let kind = match words.next()? {
        "audio" => Kind::Audio,
        "video" => Kind::Video,
        _ => return None,
    };
    let (port, _protocol) = (words.next()?, words.next()?);
    let attribute = |name: &str| section.lines().find_map(|line| line.strip_prefix("a=")?.strip_prefix(name));
    let formats = formats(words.filter_map(|word| word.parse().ok()), section);
    let mid = attribute("mid:")?;
    // A rejected m-line, unless it shares the transport of another one (RFC 8843, section 6).
    if port == "0" && attribute("bundle-only").is_none() {
        return None;
    }
    let has = |name: &str| section.lines().any(|line| line.strip_prefix("a=") == Some(name));
    let (sends, receives) = match () {
        () if has("sendonly") => (true, false),
        () if has("recvonly") => (false, true),
        () if has("inactive") => (false, false),
        () => (true, true),
    };
    Some(Line { index, kind, mid, sends, receives, formats })
}

/// The payload types of these numbers, which a client may repeat.
fn formats<'a>(numbers: impl Iterator<Item = u8>, section: &'a str) -> Vec<Format<'a>> {
    let (maps, parameters) = (values(section, "a=rtpmap:"), values(section, "a=fmtp:"));
    let of = |values: &HashMap<u8, &'a str>, number| values.get(&number).copied().unwrap_or_default();
    let mut known = HashSet::new();
    numbers
        .filter(|number| *number < PAYLOAD_TYPES && known.insert(*number))
        .map(|number| Format { number, map: of(&maps, number), parameters: of(&parameters, number) })
        .collect()
}

/// The first value that the attributes of this name have for each payload type. One pass, whatever the section has.
fn values<'a>(section: &'a str, name: &str) -> HashMap<u8, &'a str> {
    let mut values = HashMap::new();
    for (number, value) in section.lines().filter_map(|line| line.strip_prefix(name)?.split_once(' ')) {
        if let Ok(number) = number.parse() {
            values.entry(number).or_insert(value);
        }
    }
    values
}

/// What becomes of an m-line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// The offerer sends.
    Sends,
    /// The offerer receives.
    Receives,
    /// Nothing is sent.
    Nothing,
}

/// The offer as the library takes it: without candidates, with these directions of its m-lines (others stay as they are),
/// and with the mids of the bundle in the order of the m-lines, which other peers need not keep.
pub(super) fn prepared(sdp: &str, uses: &[(usize, Use)]) -> String {
    let uses: HashMap<usize, Use> = uses.iter().copied().collect();
    let mut out = String::with_capacity(sdp.len() + 32);
    for (at, section) in sections(sdp).enumerate() {
        let index = at.checked_sub(1);
        match index.map(|index| uses.get(&index)) {
            Some(Some(usage)) => out.push_str(&directed(section, *usage)),
            Some(None) => out.push_str(section),
            None => out.push_str(&bundled_in_order(section, sdp)),
        }
    }
    without_candidates(&out)
}

/// The description without candidates. An ICE-lite agent sends no checks, so it needs none of the client; the library would
/// compare each new one with all others.
pub(super) fn without_candidates(sdp: &str) -> String {
    sdp.split_inclusive('\n').filter(|line| !line.starts_with("a=candidate:")).collect()
}

/// The session part with its bundle in the order of the m-lines.
fn bundled_in_order<'a>(session: &'a str, sdp: &str) -> Cow<'a, str> {
    const BUNDLE: &str = "a=group:BUNDLE ";
    let Some(line) = session.lines().find(|line| line.starts_with(BUNDLE)) else { return session.into() };
    let mut mids: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
    let mut order = HashMap::new();
    for (index, mid) in sdp.lines().filter_map(|line| line.strip_prefix("a=mid:")).enumerate() {
        order.entry(mid).or_insert(index);
    }
    mids.sort_by_cached_key(|mid| order.get(mid).copied());
    session.replacen(line, &format!("{BUNDLE}{}", mids.join(" ")), 1).into()
}

fn directed(section: &str, usage: Use) -> Cow<'_, str> {
    let name = match usage {
        Use::Sends => "a=sendonly",
        Use::Receives => "a=recvonly",
        Use::Nothing => "a=inactive",
    };
    let is_direction = |line: &str| matches!(line, "a=sendrecv" | "a=sendonly" | "a=recvonly" | "a=inactive");
    let mut out: String = section
        .lines()
        .filter(|line| !is_direction(line) && !line.is_empty())
        .flat_map(|line| [line, "\r\n"])
        .collect();
    out.push_str(name);
    out.push_str("\r\n");
    out.into()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OFFER: &str = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111 0\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendrecv\r\n\
        a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:1\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:2\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\na=recvonly\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=mid:3\r\n";

    #[test]
    fn an_offer_is_read() {
        let lines = lines(OFFER);
        let summary: Vec<_> =
            lines.iter().map(|line| (line.index, line.kind, line.mid, line.sends, line.receives)).collect();
        assert_eq!(summary, [(0, Kind::Audio, "0", true, true), (2, Kind::Video, "2", false, true)]);
        let opus = Format { number: 111, map: "opus/48000/2", parameters: "minptime=10;useinbandfec=1" };
        assert_eq!(lines[0].formats, [opus, Format { number: 0, map: "", parameters: "" }]);
        assert_eq!(lines[1].formats[1].parameters, "apt=96");
    }

    #[test]
    fn directions_are_replaced_where_they_are_asked_for() {
        let changed = prepared(OFFER, &[(0, Use::Sends), (2, Use::Nothing)]);
        let lines = lines(&changed);
        assert_eq!((lines[0].sends, lines[0].receives), (true, false));
        assert_eq!((lines[1].sends, lines[1].receives), (false, false));
        assert_eq!(changed.matches("a=sendrecv").count() + changed.matches("a=recvonly").count(), 0);
        assert_eq!(prepared(OFFER, &[]), OFFER);
    }

    #[test]
    fn the_bundle_gets_the_order_of_the_lines() {
        let other = OFFER.replace("BUNDLE 0 1 2", "BUNDLE 2 0 1");
        assert_eq!(prepared(&other, &[]), OFFER);
    }

    #[test]
    fn a_bundled_line_without_a_port_is_used() {
        let bundled = OFFER.replace("a=mid:3\r\n", "a=mid:3\r\na=bundle-only\r\n");
        assert_eq!(lines(&bundled).len(), 3);
    }

    #[test]
    fn a_payload_type_that_is_repeated_is_taken_once() {
        let numbers = " 96 200 0".repeat(20_000);
        let maps =
            "a=rtpmap:96 VP8/90000\r\na=rtpmap:96 VP9/90000\r\na=rtpmap:200 H264/90000\r\n".repeat(1000);
        let offer = format!("v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF{numbers}\r\na=mid:0\r\n{maps}");
        let vp8 = Format { number: 96, map: "VP8/90000", parameters: "" };
        assert_eq!(lines(&offer)[0].formats, [vp8, Format { number: 0, map: "", parameters: "" }]);
    }

    #[test]
    fn a_bundle_of_many_lines_gets_their_order() {
        let mids = || (0..10_000).map(|mid| mid.to_string());
        let sections: String = mids().map(|mid| format!("m=audio 9 x\r\na=mid:{mid}\r\n")).collect();
        let offer = |mids: Vec<String>| format!("v=0\r\na=group:BUNDLE {}\r\n{sections}", mids.join(" "));
        // Mids without an m-line come first.
        let wild = ["b".into(), "a".into()].into_iter().chain(mids().rev()).collect();
        let tame = ["b".into(), "a".into()].into_iter().chain(mids()).collect();
        assert_eq!(prepared(&offer(wild), &[]), offer(tame));
    }

    #[test]
    fn candidates_are_left_out() {
        let line = "a=candidate:1 1 udp 1 192.0.2.9 5000 typ host\r\n";
        let offer = OFFER.replace("a=mid:0\r\n", &format!("a=mid:0\r\n{line}{line}a=end-of-candidates\r\n"));
        assert_eq!(prepared(&(offer.clone() + line), &[]), offer.replace(line, ""));
    }

    proptest! {
        #[test]
        fn no_text_causes_a_panic(text in "(\\PC|\r|\n|m=|a=|audio 9 x 1){0,80}") {
            let indices: Vec<_> = lines(&text).iter().map(|line| (line.index, Use::Sends)).collect();
            prepared(&text, &indices);
        }
    }
}
