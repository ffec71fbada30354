//! When an offer is posted, and when candidates follow it. Pure: times and answers go in, requests come out.
//!
//! Candidates that are found within a moment go into the offer, because not all servers take them later; others follow
//! by `PATCH`, one request at a time (RFC 9725, section 4.3.1).

use std::time::Duration;

use callbin_protocol::{Candidate, SdpType, Signal};

/// How long the offer waits for another candidate, and for all of them.
const QUIET: Duration = Duration::from_millis(150);
const LONGEST: Duration = Duration::from_secs(1);

/// A request to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Make a session with this offer.
    Post(String),
    /// Add these candidates (`application/trickle-ice-sdpfrag`).
    Patch(String),
}

/// The state of one session's requests.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    offer: Option<String>,
    /// When the offer and the last candidate came.
    since: Duration,
    last: Duration,
    /// Candidates that were not sent yet.
    waiting: Vec<Candidate>,
    all_found: bool,
    state: State,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// The offer waits for candidates.
    #[default]
    Gathering,
    /// A request is under way.
    Asking,
    /// The session is there.
    Idle,
    /// The server takes no candidates.
    Deaf,
}

impl Exchange {
    /// A signal for the peer.
    pub(super) fn signal(&mut self, now: Duration, signal: Signal) {
        match signal {
            Signal::Sdp { kind: SdpType::Offer, sdp } => {
                self.offer = Some(sdp);
                (self.since, self.last) = (now, now);
            }
            Signal::Ice(candidate) => {
                self.last = now;
                self.all_found |= candidate.candidate.is_empty();
                self.waiting.push(candidate);
            }
            _ => {}
        }
    }

    /// The next request, if it is time for it.
    pub(super) fn next(&mut self, now: Duration) -> Option<Request> {
        let offer = self.offer.as_ref()?;
        match self.state {
            State::Gathering if self.all_found || self.deadline().is_some_and(|at| at <= now) => {
                self.state = State::Asking;
                let complete = with_candidates(offer, &std::mem::take(&mut self.waiting));
                Some(Request::Post(complete))
            }
            State::Idle if !self.waiting.is_empty() => {
                self.state = State::Asking;
                Some(Request::Patch(fragment(offer, &std::mem::take(&mut self.waiting))))
            }
            _ => None,
        }
    }

    /// When to ask for the next request.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let waits = self.state == State::Gathering && self.offer.is_some();
        waits.then(|| (self.last + QUIET).min(self.since + LONGEST))
    }

    /// Whether an answer is awaited.
    pub(super) fn is_asking(&self) -> bool {
        self.state == State::Asking
    }

    /// A request was answered; `takes_more` says whether candidates may follow.
    pub(super) fn answered(&mut self, takes_more: bool) {
        self.state = if takes_more { State::Idle } else { State::Deaf };
    }
}

fn push(out: &mut String, line: &str) {
    out.push_str(line);
    out.push_str("\r\n");
}

/// The m-lines of a description: the index of their first line, and their mids.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections: Vec<Vec<&str>> = vec![Vec::new()];
    for line in sdp.lines() {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().into_iter().for_each(|section| section.push(line));
    }
    sections
}

/// The description with these candidates, each in its m-line's section.
fn with_candidates(sdp: &str, candidates: &[Candidate]) -> String {
    let mut out = String::new();
    for (number, lines) in sections(sdp).iter().enumerate() {
        lines.iter().for_each(|line| push(&mut out, line));
        let Some(index) = number.checked_sub(1) else { continue };
        write_candidates(&mut out, index, candidates);
    }
    out
}

fn write_candidates(out: &mut String, index: usize, candidates: &[Candidate]) {
    for candidate in candidates {
        let its = candidate.sdp_m_line_index.and_then(|it| usize::try_from(it).ok()).unwrap_or(0);
        if its == index {
            let line = candidate.candidate.trim();
            let line = if line.is_empty() { "end-of-candidates" } else { line };
            push(out, &format!("a={line}"));
        }
    }
}

/// An SDP fragment (RFC 8840, section 9) with these candidates.
fn fragment(sdp: &str, candidates: &[Candidate]) -> String {
    let sections = sections(sdp);
    let credentials =
        sdp.lines().filter(|line| line.starts_with("a=ice-ufrag:") || line.starts_with("a=ice-pwd:"));
    let mut out = String::new();
    // All m-lines share one transport: the first credentials are those of all.
    credentials.take(2).for_each(|line| push(&mut out, line));
    for (index, section) in sections.iter().skip(1).enumerate() {
        let mut lines = String::new();
        write_candidates(&mut lines, index, candidates);
        if !lines.is_empty() {
            let head = section.iter().take(1).chain(section.iter().filter(|line| line.starts_with("a=mid:")));
            head.for_each(|line| push(&mut out, line));
            out.push_str(&lines);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const OFFER: &str = "v=0\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ice-ufrag:u\r\n\
                         a=ice-pwd:p\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n";

    fn offer() -> Signal {
        Signal::Sdp { kind: SdpType::Offer, sdp: OFFER.into() }
    }

    fn candidate(line: &str) -> Signal {
        Signal::Ice(Candidate { candidate: line.into(), sdp_mid: None, sdp_m_line_index: Some(0) })
    }

    #[test]
    fn an_offer_takes_along_what_is_found_in_a_moment() {
        let mut exchange = Exchange::default();
        assert_eq!(exchange.next(MS), None);
        exchange.signal(10 * MS, offer());
        exchange.signal(100 * MS, candidate("candidate:1 1 udp 1 10.0.0.1 9 typ host"));
        assert_eq!(exchange.deadline(), Some(250 * MS));
        assert_eq!(exchange.next(249 * MS), None);
        let Some(Request::Post(sdp)) = exchange.next(250 * MS) else { panic!("no offer") };
        let wanted = "a=ice-pwd:p\r\na=candidate:1 1 udp 1 10.0.0.1 9 typ host\r\nm=video";
        assert!(sdp.contains(wanted) && sdp.matches("a=candidate").count() == 1, "{sdp}");
        assert_eq!(exchange.next(10_000 * MS), None, "one request at a time");
    }

    #[test]
    fn an_offer_does_not_wait_for_ever_and_not_at_all_for_nothing() {
        let mut exchange = Exchange::default();
        exchange.signal(Duration::ZERO, offer());
        for ms in (100..2000).step_by(100) {
            exchange.signal(ms * MS, candidate("candidate:x"));
        }
        assert_eq!(exchange.deadline(), Some(1000 * MS));
        let mut exchange = Exchange::default();
        exchange.signal(Duration::ZERO, offer());
        exchange.signal(1 * MS, candidate(""));
        let Some(Request::Post(sdp)) = exchange.next(1 * MS) else { panic!("no offer") };
        assert!(sdp.contains("a=end-of-candidates"), "{sdp}");
    }

    #[test]
    fn later_candidates_follow_one_request_at_a_time() {
        let mut exchange = Exchange::default();
        exchange.signal(Duration::ZERO, offer());
        exchange.next(200 * MS);
        exchange.signal(300 * MS, candidate("candidate:1"));
        assert_eq!(exchange.next(300 * MS), None);
        exchange.answered(true);
        let wanted =
            "a=ice-ufrag:u\r\na=ice-pwd:p\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=candidate:1\r\n";
        assert_eq!(exchange.next(301 * MS), Some(Request::Patch(wanted.into())));
        exchange.signal(302 * MS, candidate("candidate:2"));
        exchange.signal(303 * MS, candidate("candidate:3"));
        assert_eq!(exchange.next(303 * MS), None);
        exchange.answered(true);
        let Some(Request::Patch(both)) = exchange.next(304 * MS) else { panic!("no candidates") };
        assert!(both.contains("candidate:2") && both.contains("candidate:3"));
        exchange.answered(false);
        exchange.signal(305 * MS, candidate("candidate:4"));
        assert_eq!(exchange.next(306 * MS), None, "the server does not take them");
    }
}
