//! SDP fragments for trickle ICE over HTTP (`application/trickle-ice-sdpfrag`, RFC 8840), and candidates inside session
//! descriptions (RFC 8839).

use std::{collections::HashSet, fmt::Write};

use crate::Candidate;

/// The most candidates of one fragment. More are an error.
const MAX_CANDIDATES: usize = 256;

/// An SDP fragment: ICE credentials and candidates.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Fragment {
    /// `a=ice-ufrag` at session level, else of the first m-line that has one.
    pub ufrag: Option<String>,
    /// `a=ice-pwd`, like `ufrag`.
    pub pwd: Option<String>,
    /// The candidates in order. An empty one is the end of candidates of its m-line. They have a mid, if their m-line
    /// has one, and no index: m-lines of a fragment are not counted as those of a description.
    pub candidates: Vec<Candidate>,
}

/// The text is not a [`Fragment`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFragment {
    /// A line that is not `<letter>=<value>`.
    #[error("a line is not of the form letter=value")]
    Line,
    /// Neither credentials nor candidates.
    #[error("there are neither ICE credentials nor candidates")]
    Empty,
    /// More than 256 candidates.
    #[error("there are too many candidates")]
    TooMany,
}

impl Fragment {
    /// Parses a fragment. Lines may end with LF alone.
    pub fn parse(text: &str) -> Result<Self, InvalidFragment> {
        let mut fragment = Self::default();
        // Candidates before the first m-line belong to it.
        let (mut mid, mut first) = (None, 0);
        for line in text.lines().map(str::trim_end).filter(|line| !line.is_empty()) {
            let (name, value) = line.split_once('=').ok_or(InvalidFragment::Line)?;
            if name.len() != 1 || !name.starts_with(|c: char| c.is_ascii_lowercase()) {
                return Err(InvalidFragment::Line);
            }
            if name == "m" {
                (mid, first) = (None, fragment.candidates.len());
            }
            if name != "a" {
                continue;
            }
            let (attribute, rest) = value.split_once(':').unwrap_or((value, ""));
            match attribute {
                "ice-ufrag" => drop(fragment.ufrag.get_or_insert_with(|| rest.to_owned())),
                "ice-pwd" => drop(fragment.pwd.get_or_insert_with(|| rest.to_owned())),
                "mid" => {
                    mid = Some(rest.to_owned());
                    // A mid may come after the candidates of its m-line.
                    let own = fragment.candidates.iter_mut().skip(first);
                    own.for_each(|candidate| candidate.sdp_mid.clone_from(&mid));
                }
                "candidate" | "end-of-candidates" => {
                    if fragment.candidates.len() == MAX_CANDIDATES {
                        return Err(InvalidFragment::TooMany);
                    }
                    let candidate = if attribute == "candidate" { value.to_owned() } else { String::new() };
                    let (sdp_mid, sdp_m_line_index) = (mid.clone(), None);
                    fragment.candidates.push(Candidate { candidate, sdp_mid, sdp_m_line_index });
                }
                _ => {}
            }
        }
        if fragment.candidates.is_empty() && fragment.ufrag.is_none() {
            return Err(InvalidFragment::Empty);
        }
        Ok(fragment)
    }
}

/// Writes candidates into a session description, each at the end of its m-line's section, and `a=end-of-candidates` for
/// an empty one. A candidate belongs to the m-line of its index, else of its mid, else to the first one; one that is
/// there already is left out. `is_complete` ends the candidates of each section that has some.
pub fn fold_candidates(sdp: &str, candidates: &[Candidate], is_complete: bool) -> String {
    let mut text =
        String::with_capacity(sdp.len() + candidates.iter().map(|it| it.candidate.len() + 16).sum::<usize>());
    for (place, section) in sections(sdp).into_iter().enumerate() {
        for line in section.lines().filter(|line| !line.is_empty()) {
            let _ = write!(text, "{line}\r\n");
        }
        let Some(index) = place.checked_sub(1) else { continue };
        let mid = section.lines().find_map(|line| line.strip_prefix("a=mid:")).map(str::trim);
        let known: HashSet<&str> = section.lines().filter_map(|line| line.strip_prefix("a=")).collect();
        let own = candidates.iter().filter(|candidate| is_of(candidate, index, mid));
        let (mut has_end, mut has_any) = (false, section.contains("a=candidate:"));
        for candidate in own {
            has_end |= candidate.is_end();
            let line = candidate.candidate.trim();
            let line = line.strip_prefix("a=").unwrap_or(line);
            let is_one = line.starts_with("candidate:") && !line.contains(['\r', '\n']);
            if is_one && !known.contains(line) {
                has_any = true;
                let _ = write!(text, "a={line}\r\n");
            }
        }
        let was_ended = section.lines().any(|line| line.trim_end() == "a=end-of-candidates");
        if (has_end || is_complete) && has_any && !was_ended {
            text.push_str("a=end-of-candidates\r\n");
        }
    }
    text
}

/// The offer with other ICE credentials and without its candidates: it restarts ICE (RFC 8839, section 4.4.1.1.1).
pub fn with_credentials(sdp: &str, ufrag: &str, pwd: &str) -> String {
    let mut text = String::with_capacity(sdp.len());
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        let _ = match line.split_once(':').map_or(line, |(name, _)| name) {
            "a=ice-ufrag" => write!(text, "a=ice-ufrag:{ufrag}\r\n"),
            "a=ice-pwd" => write!(text, "a=ice-pwd:{pwd}\r\n"),
            "a=candidate" | "a=end-of-candidates" => Ok(()),
            _ => write!(text, "{line}\r\n"),
        };
    }
    text
}

/// The lines of a description that a fragment has.
const OF_FRAGMENT: [&str; 8] = [
    "a=group",
    "a=ice-lite",
    "a=ice-options",
    "a=mid",
    "a=ice-ufrag",
    "a=ice-pwd",
    "a=candidate",
    "a=end-of-candidates",
];

/// The fragment with the ICE credentials and candidates of a description (RFC 9725, section 4.3.3).
pub fn fragment_of(sdp: &str) -> String {
    let mut text = String::new();
    for line in sdp.lines().map(str::trim_end) {
        let name = line.split_once(':').map_or(line, |(name, _)| name);
        if line.starts_with("m=") || OF_FRAGMENT.contains(&name) {
            let _ = write!(text, "{line}\r\n");
        }
    }
    text
}

fn is_of(candidate: &Candidate, index: usize, mid: Option<&str>) -> bool {
    match (candidate.sdp_m_line_index, candidate.sdp_mid.as_deref()) {
        (Some(own), _) => usize::try_from(own) == Ok(index),
        (None, Some(own)) => mid == Some(own),
        (None, None) => index == 0,
    }
}

/// The session level and the section of each m-line.
fn sections(sdp: &str) -> Vec<&str> {
    let starts = sdp.match_indices("m=").map(|(place, _)| place);
    let starts = starts
        .filter(|place| sdp.get(..*place).is_some_and(|before| before.is_empty() || before.ends_with('\n')));
    let mut sections = Vec::new();
    let mut from = 0;
    for start in starts {
        sections.push(sdp.get(from..start).unwrap_or_default());
        from = start;
    }
    sections.push(sdp.get(from..).unwrap_or_default());
    sections
}

/// The ICE user name fragments of a session description (RFC 8839, section 5.4).
pub fn ufrags(sdp: &str) -> impl Iterator<Item = &str> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=ice-ufrag:")).map(str::trim)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The example of RFC 9725, section 4.3.2.
    const TRICKLE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\n\
        a=candidate:1387637174 1 udp 2122260223 192.0.2.1 61764 typ host generation 0 ufrag EsAw network-id 1\r\n\
        a=candidate:473322822 1 tcp 1518280447 192.0.2.1 9 typ host tcptype active generation 0 ufrag EsAw network-id 1\r\n\
        a=end-of-candidates\r\n";

    /// The example of RFC 9725, section 4.3.3.
    const RESTART: &str = "a=ice-ufrag:ysXw\na=ice-pwd:vw5LmwG4y/e6dPP/zAP9Gp5k\n";

    fn ice(candidate: &str, mid: Option<&str>, index: Option<u32>) -> Candidate {
        Candidate { candidate: candidate.into(), sdp_mid: mid.map(String::from), sdp_m_line_index: index }
    }

    #[test]
    fn the_examples_of_the_rfc_are_read() {
        let fragment = Fragment::parse(TRICKLE).unwrap();
        assert_eq!(fragment.ufrag.as_deref(), Some("EsAw"));
        assert_eq!(fragment.pwd.as_deref(), Some("P2uYro0UCOQ4zxjKXaWCBui1"));
        assert_eq!(fragment.candidates.len(), 3);
        assert!(fragment.candidates.iter().all(|candidate| candidate.sdp_mid.as_deref() == Some("0")));
        assert!(fragment.candidates[0].candidate.starts_with("candidate:1387637174 1 udp"));
        assert!(fragment.candidates[2].is_end() && !fragment.candidates[1].is_end());
        let restart = Fragment::parse(RESTART).unwrap();
        assert_eq!((restart.ufrag.as_deref(), restart.candidates.len()), (Some("ysXw"), 0));
    }

    #[test]
    fn each_m_line_has_its_mid() {
        let text = "m=audio 9 x 0\na=candidate:1\na=mid:a\nm=video 9 x 0\na=mid:v\na=candidate:2\nm=video 9 x 0\na=candidate:3\n";
        let candidates = Fragment::parse(text).unwrap().candidates;
        let mids: Vec<_> = candidates.iter().map(|candidate| candidate.sdp_mid.as_deref()).collect();
        assert_eq!(mids, [Some("a"), Some("v"), None]);
    }

    #[test]
    fn what_is_no_fragment_is_refused() {
        for (text, error) in [
            ("", InvalidFragment::Empty),
            ("m=audio 9 x 0\r\na=mid:0\r\n", InvalidFragment::Empty),
            ("{}", InvalidFragment::Line),
            ("candidate:1 1 udp", InvalidFragment::Line),
            ("a=candidate:1\r\nhello", InvalidFragment::Line),
            ("ab=c", InvalidFragment::Line),
            ("=c", InvalidFragment::Line),
        ] {
            assert_eq!(Fragment::parse(text), Err(error), "{text:?}");
        }
        assert_eq!(Fragment::parse(&"a=candidate:1\n".repeat(257)), Err(InvalidFragment::TooMany));
    }

    const ANSWER: &str = "v=0\r\na=group:BUNDLE a v\r\nm=audio 9 x 0\r\na=mid:a\r\na=candidate:0 known\r\nm=video 9 x 0\r\na=mid:v\r\n";

    #[test]
    fn candidates_are_folded_into_their_sections() {
        let candidates = [
            ice("candidate:1", None, Some(0)),
            ice("candidate:2", Some("v"), None),
            ice("a=candidate:3", Some("v"), Some(1)),
            ice("candidate:0 known", None, None),
            ice("", Some("a"), Some(0)),
            ice("candidate:9", Some("other"), None),
            ice("candidate:8\r\na=forged:1", None, Some(0)),
        ];
        assert_eq!(
            fold_candidates(ANSWER, &candidates, false),
            "v=0\r\na=group:BUNDLE a v\r\nm=audio 9 x 0\r\na=mid:a\r\na=candidate:0 known\r\na=candidate:1\r\n\
            a=end-of-candidates\r\nm=video 9 x 0\r\na=mid:v\r\na=candidate:2\r\na=candidate:3\r\n"
        );
        let complete = fold_candidates(ANSWER, &candidates, true);
        assert_eq!(complete.matches("a=end-of-candidates\r\n").count(), 2);
        assert_eq!(fold_candidates(&complete, &[], true), complete, "once");
    }

    #[test]
    fn a_description_without_candidates_stays_as_it_is() {
        assert_eq!(fold_candidates(ANSWER, &[], false), ANSWER);
        assert_eq!(fold_candidates("v=0\nm=x\n", &[], true), "v=0\r\nm=x\r\n", "with CR LF");
        assert_eq!(ufrags("a=ice-ufrag:x\r\nm=y\r\na=ice-ufrag:z\r\n").collect::<Vec<_>>(), ["x", "z"]);
    }

    #[test]
    fn ice_restarts_with_other_credentials_and_no_old_candidates() {
        let offer = "v=0\r\na=ice-lite\r\nm=audio 9 x 0\r\na=mid:a\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\n\
            a=rtpmap:0 x\r\na=candidate:1 1 udp\r\na=end-of-candidates\r\n";
        let restart = with_credentials(offer, "EsAw", "P2uYro0UCOQ4zxjKXaWCBui1");
        assert_eq!(
            restart,
            "v=0\r\na=ice-lite\r\nm=audio 9 x 0\r\na=mid:a\r\na=ice-ufrag:EsAw\r\n\
            a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\na=rtpmap:0 x\r\n"
        );
        let fragment = fragment_of(offer);
        assert_eq!(
            fragment,
            "a=ice-lite\r\nm=audio 9 x 0\r\na=mid:a\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\na=candidate:1 1 udp\r\n\
            a=end-of-candidates\r\n"
        );
        let read = Fragment::parse(&fragment).unwrap();
        assert_eq!((read.ufrag.as_deref(), read.candidates.len()), (Some("old"), 2));
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "(a=|m=|candidate:|mid:|\r|\n|[a-z0-9 ]|\\PC)*", index in proptest::option::of(0..3u32)) {
            let candidates = Fragment::parse(&text).map(|fragment| fragment.candidates).unwrap_or_default();
            let candidates: Vec<_> =
                candidates.into_iter().map(|it| Candidate { sdp_m_line_index: index, ..it }).collect();
            let _ = (with_credentials(&text, "u", "p"), fragment_of(&text));
            let folded = fold_candidates(&text, &candidates, true);
            prop_assert!(folded.lines().filter(|line| line.starts_with("m=")).count() == text.lines().filter(|line| line.starts_with("m=")).count());
        }
    }
}
