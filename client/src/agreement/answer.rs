//! What the peer gets: our answer, and our candidates with the mids and indices of its m-lines.

use callbin_protocol::{Candidate, SdpType};

use super::{Agreement, MAX_LOCAL};
use crate::sdp::{
    AnswerLine, Answered, Codec, Remote, Sctp, Section, Setup, UsedLine, answer, codec_lines, payload_types,
};

/// An m-line with the formats of `menu`. With `bundle_only` it gets a port.
fn m_line(line: &str, menu: &[Codec], bundle_only: bool) -> String {
    let mut words = line.splitn(4, ' ');
    let [media, port, protocol, formats] = [(); 4].map(|()| words.next().unwrap_or_default());
    let port = if bundle_only && port == "0" { "9" } else { port };
    let formats = if menu.is_empty() { formats.to_owned() } else { payload_types(menu) };
    format!("{media} {port} {protocol} {formats}\r\n")
}

impl Agreement {
    /// Rewrites webrtcbin's offer for the peer: with all our codecs, and without `bundle-only`.
    ///
    /// webrtcbin marks all m-lines but the first as `bundle-only` with port 0, which older stacks take for a rejection.
    /// Without the mark the offer means the same to peers that bundle (RFC 8843, section 7.2.1).
    pub fn offer_for_peer(&self, text: &str) -> String {
        let bundle_only = text.lines().any(|line| line == "a=bundle-only");
        let mut seats = self.seats.iter();
        let mut menu: &[Codec] = &[];
        let mut to_write: &[Codec] = &[];
        let mut out = String::with_capacity(text.len() * 2);
        for line in text.lines().filter(|line| *line != "a=bundle-only") {
            let is_codec = ["a=rtpmap:", "a=fmtp:", "a=rtcp-fb:"].iter().any(|it| line.starts_with(it));
            if line.starts_with("m=") {
                menu = seats.next().map_or(&[], |seat| &seat.menu);
                to_write = menu;
                out.push_str(&m_line(line, menu, bundle_only));
                continue;
            }
            if line.starts_with("a=") {
                // Attributes follow all other lines.
                std::mem::take(&mut to_write).iter().for_each(|codec| out.push_str(&codec_lines(codec)));
            }
            if menu.is_empty() || !is_codec {
                out.push_str(line);
                out.push_str("\r\n");
            }
        }
        out
    }

    /// Writes our answer to the peer's offer.
    pub fn answer(&mut self) -> Option<String> {
        self.version += 1;
        let remote = self.remote.as_ref()?;
        let bundle = remote.bundle.iter().filter(|position| self.seat(**position).is_some());
        let mids = bundle.filter_map(|position| remote.sections.get(*position)?.mid.as_deref());
        let lines = remote.sections.iter().enumerate().map(|(position, section)| AnswerLine {
            mid: section.mid.as_deref(),
            line: &section.line,
            used: self.seat(position).and_then(|seat| self.used(remote, position, section, seat)),
        });
        Some(answer(&Answered { version: self.version, bundle: mids.collect(), lines: lines.collect() }))
    }

    pub(super) fn used<'a>(
        &'a self,
        remote: &Remote,
        position: usize,
        section: &'a Section,
        index: usize,
    ) -> Option<UsedLine<'a>> {
        let seat = self.seats.get(index)?;
        let own = seat.own.as_ref()?;
        // In a bundle, candidates are in the m-line that names the transport.
        let has_candidates = remote.bundle.is_empty() || self.tag(remote) == Some(position);
        let transport = if self.bundled { 0 } else { index };
        let candidates =
            self.local.iter().filter(|(seat, line)| has_candidates && *seat == transport && !line.is_empty());
        Some(UsedLine {
            kind: seat.kind,
            codec: seat.agreed(section.codec.as_ref()?),
            direction: self.direction(position),
            transport: &own.transport,
            setup: self.setup.filter(|setup| *setup != Setup::ActPass).unwrap_or(Setup::Active),
            rtcp_mux: section.rtcp_mux,
            sources: &own.sources,
            candidates: candidates.map(|(_, line)| line.as_str()).collect(),
            sctp: section.sctp.map(|sctp| Sctp { port: 5000, max_message_size: None, ..sctp }),
        })
    }

    /// An answer that rejects all m-lines.
    pub fn rejection(&self) -> Option<String> {
        let remote = self.remote.as_ref()?;
        let reject = |section: &'_ Section| (section.mid.clone(), section.line.clone());
        let all: Vec<_> = remote.sections.iter().map(reject).collect();
        let lines = all.iter().map(|(mid, line)| AnswerLine { mid: mid.as_deref(), line, used: None });
        Some(answer(&Answered { version: self.version, bundle: Vec::new(), lines: lines.collect() }))
    }

    /// webrtcbin's m-line for a candidate of the peer; `None` if its transport is not in use.
    pub fn remote_candidate(
        &self,
        mid: Option<&str>,
        index: Option<u32>,
        ufrag: Option<&str>,
    ) -> Option<u32> {
        let remote = self.remote.as_ref()?;
        self.candidate_at(remote.position(mid, index)?, ufrag)
    }

    /// As above, for a candidate within a description.
    pub fn candidate_at(&self, position: usize, ufrag: Option<&str>) -> Option<u32> {
        let remote = self.remote.as_ref()?;
        let seat = if !self.bundled {
            self.seat(position)?
        } else if remote.bundle.contains(&position) || self.seat(position).is_some() {
            0
        } else {
            return None;
        };
        let transport = remote.transport(position)?;
        let own = remote.sections.get(position).map(|section| section.transport.ufrag.as_str());
        // A peer that could also do without a bundle has more candidates than needed. In Chromium they differ in the
        // user fragment, in Firefox only in the m-line: once Firefox knows that we bundle, it receives nothing there.
        let same = ufrag.or(own).is_none_or(|ufrag| ufrag.is_empty() || ufrag == transport.ufrag);
        let tag = self.tag(remote).filter(|_| self.bundled && remote.kind == SdpType::Offer);
        let surplus = self.seat(position).is_some() && tag.is_some_and(|tag| tag != position);
        (same && !surplus).then(|| u32::try_from(seat).ok()).flatten()
    }

    /// A local candidate with the mid and index of the peer's m-line. Also keeps it for the answer.
    pub fn local_candidate(&mut self, index: u32, line: String) -> Option<Candidate> {
        let seat = usize::try_from(index).ok()?;
        if self.local.len() < MAX_LOCAL {
            self.local.push((seat, line.clone()));
        }
        let (mid, index) = match &self.remote {
            Some(remote) => {
                let placed =
                    |wanted: &dyn Fn(usize) -> bool| self.places.iter().position(|it| it.is_some_and(wanted));
                let position = if self.bundled {
                    self.tag(remote).or_else(|| placed(&|_| true))?
                } else {
                    placed(&|it| it == seat)?
                };
                (remote.sections.get(position)?.mid.clone(), u32::try_from(position).ok())
            }
            None => (self.seats.get(seat).map(|seat| seat.mid.clone()), Some(index)),
        };
        Some(Candidate { candidate: line, sdp_mid: mid, sdp_m_line_index: index })
    }
}
