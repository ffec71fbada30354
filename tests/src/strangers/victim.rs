//! The child process: a client's engine with real webrtcbins, and the stranger that it talks to.

use std::time::{Duration, Instant};

use async_std::{future::timeout, task};
use callbin::{engine::Out, negotiation::Start};
use callbin_protocol::{Candidate, SdpType, Signal};

use super::grammar::Grammar;
use crate::host::Host;

/// The longest wait for an answer. An idle engine is not waited for that long.
const LIMIT: Duration = Duration::from_secs(10);
/// The longest wait for all pipelines to end.
const END_LIMIT: Duration = Duration::from_secs(60);
/// After each such number of seeds, all earlier pipelines must have ended.
const BREATH: u64 = 8;

/// One stranger.
struct Stranger<'a> {
    victim: &'a mut Host,
    key: u64,
    grammar: Grammar,
}

/// The engine's reaction to a description.
enum Reply {
    /// Our description.
    Sdp(SdpType, String),
    /// The engine gave the peer up.
    Failed,
    /// Neither: a repeated or superseded description.
    Nothing,
}

/// Runs the strangers of all seeds in `from..end`, and prints each seed on stdout first.
pub fn run(from: u64, end: u64) {
    gst::init().expect("GStreamer starts");
    // One sends and receives media, one only receives, one has only data channels.
    let mut victims = [(true, true), (false, true), (false, false)].map(|media| Host::start(media, LIMIT));
    for seed in from..end {
        println!("seed {seed}");
        let kind = if seed % 4 == 0 { 1 + usize::from(seed % 8 == 0) } else { 0 };
        if let Some(victim) = victims.get_mut(kind) {
            talk(victim, seed);
        }
        if seed % BREATH == 0 {
            for victim in &victims {
                assert!(victim.engine.wait_for_teardown(END_LIMIT), "pipelines do not end");
            }
        }
    }
    victims
        .iter()
        .for_each(|victim| assert!(victim.engine.wait_for_teardown(END_LIMIT), "pipelines do not end"));
}

fn talk(victim: &mut Host, seed: u64) {
    let mut grammar = Grammar::new(seed);
    let we_offer = grammar.once_in(4);
    let start = if we_offer { Start::Offer } else { Start::BeCalled };
    let key = victim.engine.open(None, start, grammar.once_in(2), Duration::ZERO);
    let mut stranger = Stranger { victim, key, grammar };
    if !we_offer || stranger.answers() {
        for _ in 0..=stranger.grammar.below(5) {
            if !stranger.offers() {
                break;
            }
        }
    }
    stranger.victim.engine.close(key);
}

impl Stranger<'_> {
    /// Answers the victim's offer; returns whether the call goes on.
    fn answers(&mut self) -> bool {
        let Reply::Sdp(SdpType::Offer, offer) = self.reply() else { return false };
        let answer = self.grammar.answer(&offer);
        self.says(SdpType::Answer, answer);
        !matches!(self.reply(), Reply::Failed)
    }

    /// Offers; returns whether the call goes on.
    fn offers(&mut self) -> bool {
        let offer = self.grammar.offer();
        self.says(SdpType::Offer, offer);
        if self.grammar.once_in(5) {
            // Without waiting for an answer.
            let offer = self.grammar.offer();
            self.says(SdpType::Offer, offer);
        }
        match self.reply() {
            Reply::Sdp(..) => {
                println!("answered 1");
                true
            }
            Reply::Failed => {
                println!("refused 1");
                false
            }
            Reply::Nothing => true,
        }
    }

    fn says(&mut self, kind: SdpType, sdp: String) {
        self.victim.engine.signal(self.key, Signal::Sdp { kind, sdp });
        for _ in 0..self.grammar.below(4) {
            let candidate = self.grammar.candidate();
            let (mid, index) = (self.grammar.below(4), self.grammar.below(5));
            let candidate = Candidate {
                candidate,
                sdp_mid: (mid > 0).then(|| (mid - 1).to_string()),
                sdp_m_line_index: u32::try_from(index).ok().filter(|index| *index < 4),
            };
            self.victim.engine.signal(self.key, Signal::Ice(candidate));
        }
    }

    /// Runs the victim's events until it has answered or given up, or is idle.
    fn reply(&mut self) -> Reply {
        let until = Instant::now() + LIMIT;
        loop {
            while let Some((key, out)) = self.victim.engine.next_out() {
                match out {
                    Out::Send(Signal::Sdp { kind, sdp }) if key == self.key => return Reply::Sdp(kind, sdp),
                    Out::Failed { .. } if key == self.key => return Reply::Failed,
                    _ => {}
                }
            }
            let left = until.saturating_duration_since(Instant::now()).min(Duration::from_millis(300));
            match task::block_on(timeout(left, self.victim.inbox.recv())) {
                Ok(Ok(said)) => self.victim.engine.peer_event(said.slot, said.generation, said.event),
                _ => return Reply::Nothing,
            }
        }
    }
}
