//! The negotiation with one peer as a pure state machine: inputs in, effects out, the time comes with each
//! input.
//!
//! A call and each pair of a room's members run one of these. It decides who offers, holds candidates until
//! webrtcbin can take them, settles glare and duplicates, and gives up in time.

use std::{net::IpAddr, time::Duration};

use callbin_protocol::{Candidate, SdpType, Signal};

use crate::{
    candidate::{Address, RemoteCandidate, Unusable},
    exit::ExitCode,
    patience::Patience,
    sdp::{Refused, Remote},
};

/// Candidates that are held before a description, and those given to libnice in all: its checks grow with
/// the square of their number.
const MAX_HELD: usize = 64;
const MAX_CANDIDATES: usize = 64;
/// How often a negotiation may begin anew because answers got mixed up.
const MAX_RESTARTS: u32 = 3;
/// Names looked up for one peer.
const MAX_LOOKUPS: usize = 16;

/// How a negotiation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// We offer: the caller, or a room's new member.
    Offer,
    /// We ask the peer to offer.
    RequestOffer,
    /// The peer offers, and is expected to do so now: a room's old member.
    AwaitOffer,
    /// We are called: the peer decides, whenever it does.
    BeCalled,
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Begin.
    Start(Start),
    /// The peer says.
    Signal(Signal),
    /// webrtcbin made what [`Effect::CreateOffer`] or [`Effect::CreateAnswer`] asked for.
    Created(SdpType, String),
    /// webrtcbin took the remote description.
    RemoteSet,
    /// libnice found a local candidate.
    LocalCandidate(u32, String),
    /// The name of [`Effect::Resolve`] has this address, or none.
    Resolved(u32, RemoteCandidate, Option<IpAddr>),
    /// libnice found a path.
    IceConnected,
    /// libnice gave up, or lost the path.
    IceFailed,
    /// DTLS is up and the certificate is the announced one.
    Connected,
    /// webrtcbin refused something.
    Refused(String),
    /// [`Negotiation::deadline`] has passed.
    Deadline,
}

/// What to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Have webrtcbin create an offer.
    CreateOffer,
    /// Prepare to answer this offer and give it to webrtcbin.
    ApplyOffer(Remote),
    /// Have webrtcbin create the answer.
    CreateAnswer,
    /// Give this answer to webrtcbin.
    ApplyAnswer(Remote),
    /// Give webrtcbin's own description back to it. Candidates flow from then on, so this always follows the
    /// [`Effect::Send`] of that description.
    SetLocal(SdpType, String),
    /// Tell the peer.
    Send(Signal),
    /// Give a remote candidate to webrtcbin, `None` for "that was all".
    AddCandidate(u32, Option<String>),
    /// Look the candidate's name up.
    Resolve(u32, RemoteCandidate, String),
    /// Throw the webrtcbin away and make a new one: 1.22 can neither roll back nor restart ICE.
    Rebuild,
    /// Tell the user.
    Report(Milestone),
    /// It is over.
    Fail(NegotiationFailure),
}

/// Steps worth an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// Our offer is on its way.
    OfferSent,
    /// The peer's offer is here.
    OfferReceived,
    /// Our answer is on its way.
    AnswerSent,
    /// The peer's answer is here.
    AnswerReceived,
    /// There is a path.
    IceConnected,
    /// Media can flow.
    Connected,
}

/// How far it had got, and what stopped it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiationFailure {
    /// How far it had got.
    pub phase: Phase,
    /// The reason, for people.
    pub reason: String,
    code: ExitCode,
}

/// The parts of setting up a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Offer and answer.
    Negotiating,
    /// Looking for a path.
    Connecting,
    /// Proving who is who.
    Securing,
    /// The call is up.
    Connected,
}

/// Where offer and answer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Offering,
    OfferSent,
    ApplyingAnswer,
    ApplyingOffer,
    Answering,
    Stable,
    Over,
}

/// The negotiation with one peer.
#[derive(Debug)]
pub struct Negotiation {
    state: State,
    phase: Phase,
    /// In a glare the polite side takes the other's offer and drops its own.
    polite: bool,
    limit: Duration,
    deadline: Option<Duration>,
    /// The mids of our own description, by m-line.
    local_mids: Vec<String>,
    remote: Option<Remote>,
    /// The last offer as it came: a repeated one is no new one.
    last_offer: String,
    last_answer: String,
    restarts: u32,
    /// With a peer that starts over.
    patience: Patience,
    remote_set: bool,
    held: Vec<Candidate>,
    candidates: usize,
    lookups: usize,
    open_lookups: usize,
    ended: Option<u32>,
}

impl Negotiation {
    /// A negotiation that may take `limit` from its first message until it is connected.
    pub fn new(polite: bool, limit: Duration) -> Self {
        Self {
            state: State::Idle,
            phase: Phase::Negotiating,
            polite,
            limit,
            deadline: None,
            local_mids: Vec::new(),
            remote: None,
            last_offer: String::new(),
            last_answer: String::new(),
            restarts: 0,
            patience: Patience::default(),
            remote_set: false,
            held: Vec::new(),
            candidates: 0,
            lookups: 0,
            open_lookups: 0,
            ended: None,
        }
    }

    /// When to come back with [`Input::Deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// How far it is.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether the peer has said anything that matters.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// The peer's description, once there is one.
    pub fn remote(&self) -> Option<&Remote> {
        self.remote.as_ref()
    }

    /// Takes one input at the time `now`.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        if self.state == State::Over {
            return Vec::new();
        }
        match input {
            Input::Start(start) => self.start(now, start),
            Input::Signal(Signal::OfferRequest) => self.offer_requested(now),
            Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp }) => self.offered(now, sdp),
            Input::Signal(Signal::Sdp { kind: SdpType::Answer, sdp }) => self.answered(&sdp),
            Input::Signal(Signal::Ice(candidate)) => self.remote_candidate(candidate),
            Input::Created(kind, sdp) => self.created(kind, sdp),
            Input::RemoteSet => self.remote_was_set(),
            Input::LocalCandidate(index, candidate) => self.local_candidate(index, candidate),
            Input::Resolved(index, candidate, ip) => self.resolved(index, &candidate, ip),
            Input::IceConnected => self.ice_connected(),
            Input::IceFailed => self.ice_failed(),
            Input::Connected => self.connected(),
            Input::Refused(reason) => self.fail(self.phase, reason),
            Input::Deadline => self.deadline_passed(now),
        }
    }

    fn start(&mut self, now: Duration, start: Start) -> Vec<Effect> {
        if self.state != State::Idle {
            return Vec::new();
        }
        if start != Start::BeCalled {
            self.deadline = Some(now + self.limit);
        }
        match start {
            Start::Offer => {
                self.state = State::Offering;
                vec![Effect::CreateOffer]
            }
            Start::RequestOffer => vec![Effect::Send(Signal::OfferRequest)],
            Start::AwaitOffer | Start::BeCalled => Vec::new(),
        }
    }

    /// Only a peer that has no offer of its own on the way can want one.
    fn offer_requested(&mut self, now: Duration) -> Vec<Effect> {
        if self.state == State::Idle { self.start(now, Start::Offer) } else { Vec::new() }
    }

    fn offered(&mut self, now: Duration, sdp: String) -> Vec<Effect> {
        if sdp == self.last_offer {
            return Vec::new();
        }
        let rebuild = match self.state {
            State::Idle => false,
            // Glare. The impolite side's offer stands; the other one will answer it.
            State::Offering | State::OfferSent if self.polite => true,
            State::Offering | State::OfferSent | State::ApplyingAnswer => return Vec::new(),
            State::ApplyingOffer | State::Answering | State::Stable | State::Over => true,
        };
        let remote = match Remote::offer(&sdp) {
            Ok(remote) => remote,
            Err(refused) => return self.refuse(&refused),
        };
        let same_transport = self.remote.as_ref().is_some_and(|old| old.ufrag() == remote.ufrag());
        if rebuild && same_transport {
            // A renegotiation of a call that runs. 1.22 cannot change directions; the call goes on as it is.
            tracing::warn!("the peer wants to renegotiate, which GStreamer 1.22 cannot: ignored");
            return Vec::new();
        }
        if rebuild && !self.patience.spend(now) {
            return self.lose_patience();
        }
        let mut effects = vec![Effect::Report(Milestone::OfferReceived)];
        if rebuild {
            self.forget_the_old_transport();
            effects.push(Effect::Rebuild);
        }
        self.deadline = Some(now + self.limit);
        self.state = State::ApplyingOffer;
        self.last_offer = sdp;
        self.remote = Some(remote.clone());
        effects.push(Effect::ApplyOffer(remote));
        effects
    }

    fn forget_the_old_transport(&mut self) {
        self.phase = Phase::Negotiating;
        self.remote = None;
        self.remote_set = false;
        self.last_answer.clear();
        self.local_mids.clear();
        self.held.clear();
        (self.candidates, self.lookups, self.open_lookups, self.ended) = (0, 0, 0, None);
    }

    fn answered(&mut self, sdp: &str) -> Vec<Effect> {
        match self.state {
            State::OfferSent => {}
            State::ApplyingAnswer | State::Stable => return self.answered_again(sdp),
            _ => return Vec::new(),
        }
        let remote = match Remote::answer(sdp, &self.local_mids) {
            Ok(remote) => remote,
            Err(refused) => return self.refuse(&refused),
        };
        if !remote.sections.iter().map(|section| &section.mid).eq(&self.local_mids) {
            return self.fail(Phase::Negotiating, "the answer has other m-lines than the offer".into());
        }
        self.state = State::ApplyingAnswer;
        self.last_answer = sdp.to_owned();
        self.remote = Some(remote.clone());
        vec![Effect::Report(Milestone::AnswerReceived), Effect::ApplyAnswer(remote)]
    }

    /// We came back under our old uid, and the first answer was on its way to who we were before; this one
    /// is meant for us. The webrtcbin has taken the first one, so begin anew.
    fn answered_again(&mut self, sdp: &str) -> Vec<Effect> {
        let meant = !self.last_answer.is_empty() && sdp != self.last_answer;
        if !meant || self.phase == Phase::Connected || self.restarts == MAX_RESTARTS {
            return Vec::new();
        }
        self.restarts += 1;
        self.forget_the_old_transport();
        self.state = State::Offering;
        vec![Effect::Rebuild, Effect::CreateOffer]
    }

    fn created(&mut self, kind: SdpType, sdp: String) -> Vec<Effect> {
        let milestone = match (self.state, kind) {
            (State::Offering, SdpType::Offer) => {
                self.state = State::OfferSent;
                Milestone::OfferSent
            }
            (State::Answering, SdpType::Answer) => {
                self.state = State::Stable;
                self.phase = Phase::Connecting;
                Milestone::AnswerSent
            }
            _ => return Vec::new(),
        };
        self.local_mids = mids(&sdp);
        let signal = Signal::Sdp { kind, sdp: sdp.clone() };
        vec![Effect::Send(signal), Effect::Report(milestone), Effect::SetLocal(kind, sdp)]
    }

    fn remote_was_set(&mut self) -> Vec<Effect> {
        let mut effects = Vec::new();
        match self.state {
            State::ApplyingOffer => {
                self.state = State::Answering;
                effects.push(Effect::CreateAnswer);
            }
            State::ApplyingAnswer => {
                self.state = State::Stable;
                self.phase = Phase::Connecting;
            }
            _ => return effects,
        }
        self.remote_set = true;
        for (index, candidate) in self.remote.iter().flat_map(|r| r.candidates.clone()).collect::<Vec<_>>() {
            effects.extend(self.use_candidate(index, candidate));
        }
        for candidate in std::mem::take(&mut self.held) {
            effects.extend(self.remote_candidate(candidate));
        }
        effects
    }

    fn remote_candidate(&mut self, candidate: Candidate) -> Vec<Effect> {
        let Some(remote) = self.remote.as_ref().filter(|_| self.remote_set) else {
            if self.held.len() < MAX_HELD {
                self.held.push(candidate);
            }
            return Vec::new();
        };
        let Some(index) = remote.index(candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index) else {
            return Vec::new();
        };
        if candidate.is_end() {
            self.ended = self.ended.or(remote.transport(index, None));
            return self.end_if_all_are_here();
        }
        match RemoteCandidate::parse(&candidate.candidate) {
            Ok(candidate) => self.use_candidate(index, candidate),
            Err(Unusable::NotForUs) => Vec::new(),
            Err(Unusable::Malformed) => {
                tracing::debug!("a candidate is malformed: ignored");
                Vec::new()
            }
        }
    }

    fn use_candidate(&mut self, index: u32, candidate: RemoteCandidate) -> Vec<Effect> {
        let transport = self.remote.as_ref().and_then(|r| r.transport(index, candidate.ufrag.as_deref()));
        let Some(index) = transport else { return Vec::new() };
        if self.candidates == MAX_CANDIDATES {
            return Vec::new();
        }
        self.candidates += 1;
        match candidate.address.clone() {
            Address::Ip(ip) => vec![Effect::AddCandidate(index, Some(candidate.at(ip)))],
            Address::Name(name) if self.lookups < MAX_LOOKUPS => {
                self.lookups += 1;
                self.open_lookups += 1;
                vec![Effect::Resolve(index, candidate, name)]
            }
            Address::Name(_) => Vec::new(),
        }
    }

    fn resolved(&mut self, index: u32, candidate: &RemoteCandidate, ip: Option<IpAddr>) -> Vec<Effect> {
        if self.open_lookups == 0 {
            return Vec::new();
        }
        self.open_lookups -= 1;
        let mut effects: Vec<Effect> =
            ip.map(|ip| Effect::AddCandidate(index, Some(candidate.at(ip)))).into_iter().collect();
        effects.extend(self.end_if_all_are_here());
        effects
    }

    /// "That was all" is true only after the last lookup.
    fn end_if_all_are_here(&mut self) -> Vec<Effect> {
        match self.ended {
            Some(index) if self.open_lookups == 0 => vec![Effect::AddCandidate(index, None)],
            _ => Vec::new(),
        }
    }

    fn local_candidate(&self, index: u32, candidate: String) -> Vec<Effect> {
        let mid = usize::try_from(index).ok().and_then(|index| self.local_mids.get(index)).cloned();
        let candidate = Candidate { candidate, sdp_mid: mid, sdp_m_line_index: Some(index) };
        vec![Effect::Send(Signal::Ice(candidate))]
    }

    fn ice_connected(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Connecting {
            return Vec::new();
        }
        self.phase = Phase::Securing;
        vec![Effect::Report(Milestone::IceConnected)]
    }

    fn ice_failed(&mut self) -> Vec<Effect> {
        let (phase, reason) = match self.phase {
            Phase::Connected => (Phase::Connected, "the network path to the peer broke"),
            _ => {
                (Phase::Connecting, "no network path to the peer: is one side behind a firewall? Try --turn")
            }
        };
        self.fail(phase, reason.into())
    }

    fn connected(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Connected || self.state != State::Stable {
            return Vec::new();
        }
        let mut effects = self.ice_connected();
        self.phase = Phase::Connected;
        self.deadline = None;
        effects.push(Effect::Report(Milestone::Connected));
        effects
    }

    fn deadline_passed(&mut self, now: Duration) -> Vec<Effect> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        let seconds = self.limit.as_secs_f64();
        let what = match (self.phase, self.state) {
            (Phase::Negotiating, State::OfferSent) => "the peer did not answer the offer",
            (Phase::Negotiating, State::Idle) => "the peer sent no offer",
            (Phase::Negotiating, _) => "offer and answer were not ready",
            (Phase::Connecting, _) => "no network path to the peer was found",
            (Phase::Securing | Phase::Connected, _) => "the DTLS handshake did not finish",
        };
        self.fail(self.phase, format!("{what} within {seconds:.0} s"))
    }

    fn refuse(&mut self, refused: &Refused) -> Vec<Effect> {
        self.fail(Phase::Negotiating, refused.to_string())
    }

    fn lose_patience(&mut self) -> Vec<Effect> {
        self.end(self.phase, "the peer starts over again and again".into(), ExitCode::Misbehaved)
    }

    fn fail(&mut self, phase: Phase, reason: String) -> Vec<Effect> {
        let code = match phase {
            Phase::Negotiating | Phase::Securing => ExitCode::NegotiationFailed,
            Phase::Connecting | Phase::Connected => ExitCode::IceFailed,
        };
        self.end(phase, reason, code)
    }

    fn end(&mut self, phase: Phase, reason: String, code: ExitCode) -> Vec<Effect> {
        self.state = State::Over;
        self.deadline = None;
        vec![Effect::Fail(NegotiationFailure { phase, reason, code })]
    }
}

impl NegotiationFailure {
    /// The exit code of a call that ends so.
    pub fn code(&self) -> ExitCode {
        self.code
    }
}

impl Phase {
    /// As events name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Negotiating => "negotiating",
            Self::Connecting => "connecting",
            Self::Securing => "securing",
            Self::Connected => "connected",
        }
    }
}

/// The mids of a description of our own.
fn mids(sdp: &str) -> Vec<String> {
    sdp.lines().filter_map(|line| line.strip_prefix("a=mid:")).map(|mid| mid.trim().to_owned()).collect()
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
