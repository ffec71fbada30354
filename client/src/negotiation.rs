//! The negotiation with one peer as a pure state machine: inputs in, effects out; each input comes with its time.
//!
//! A call and each pair of a room's members run one of these. It decides who offers, holds candidates until webrtcbin
//! can take them, resolves glare, ignores duplicates, and gives up at a deadline.

use std::{net::IpAddr, time::Duration};

use callbin_protocol::{Candidate, SdpType, Signal};

use crate::{
    agreement::{Agreement, Applied, Change, Disagreement, Flow, Taken, Wishes},
    candidate::{Address, RemoteCandidate, Unusable},
    exit::ExitCode,
    media::encode::codec::Formats,
    patience::Patience,
    sdp::{Refused, Remote},
};

/// Candidates that are held before a description, and those given to libnice in all: its checks grow with the square of
/// their number.
const MAX_HELD: usize = 64;
const MAX_CANDIDATES: usize = 64;
/// How often a negotiation may restart because of mixed-up answers.
const MAX_RESTARTS: u32 = 3;
/// Name lookups for one peer.
const MAX_LOOKUPS: usize = 16;
/// How often a peer may send a later offer on the same connection: cameras go on and off, calls are held. An answer
/// costs little.
const CHANGES_AT_ONCE: u32 = 50;
const PAUSE_PER_CHANGE: Duration = Duration::from_secs(1);

/// The reason if a peer has sent no candidate.
const SILENT: &str = "the peer agreed to the call, but sent no network address (ICE candidate)";

/// How a negotiation begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// We offer: we are the caller, or the newer member of a room.
    Offer,
    /// We ask the peer to offer.
    RequestOffer,
    /// The peer has to offer before the deadline: we are the older member of a room.
    AwaitOffer,
    /// The peer calls us, whenever it does: there is no deadline yet.
    BeCalled,
}

/// An input of the state machine.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The negotiation begins.
    Start(Start),
    /// The peer sent a signal.
    Signal(Signal),
    /// webrtcbin created the description that [`Effect::CreateOffer`] or [`Effect::CreateAnswer`] asked for.
    Created(SdpType, String),
    /// webrtcbin accepted the remote description.
    RemoteSet,
    /// webrtcbin accepted its own description from [`Effect::SetLocal`].
    LocalSet,
    /// libnice found a local candidate.
    LocalCandidate(u32, String),
    /// The name in [`Effect::Resolve`] has this address, or none.
    Resolved(u32, RemoteCandidate, Option<IpAddr>),
    /// libnice has restarted ICE for [`Effect::RestartIce`]; our new user fragment and password.
    IceRestarted(String, String),
    /// libnice found a path.
    IceConnected,
    /// libnice found no path, or lost it.
    IceFailed,
    /// DTLS is up, and the certificate is the announced one.
    Connected,
    /// The path to the connected peer is lost: offer a new connection.
    Heal,
    /// webrtcbin refused a description, or could not create one.
    Refused(String),
    /// [`Negotiation::deadline`] has passed.
    Deadline,
}

/// An effect, to be carried out by the caller.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Let webrtcbin create an offer.
    CreateOffer,
    /// Add the media of this offer, and set it as remote description of webrtcbin, which is created if there is none.
    ApplyOffer(Applied),
    /// Let webrtcbin create the answer.
    CreateAnswer,
    /// Set this answer as remote description of webrtcbin.
    ApplyAnswer(Applied),
    /// Start and stop media accordingly.
    Flow(Vec<Flow>),
    /// Let libnice restart ICE with this user fragment and password of the peer.
    RestartIce(String, String),
    /// Set webrtcbin's own description as its local one. Gathering of candidates starts then, so this always follows
    /// the [`Effect::Send`] of that description.
    SetLocal(SdpType, String),
    /// Send a signal to the peer.
    Send(Signal),
    /// Give a remote candidate to webrtcbin; `None` means end of candidates.
    AddCandidate(u32, Option<String>),
    /// Look up the candidate's name.
    Resolve(u32, RemoteCandidate, String),
    /// Replace the webrtcbin: 1.22 cannot roll back, and a new connection needs a new one.
    Rebuild {
        /// The peer's connection goes on with another transport: its data channels stay open, and it does not open them
        /// again.
        keeps_channels: bool,
    },
    /// Replace the webrtcbin by one with a transport for each m-line. Our offer stands, so it keeps our certificate and data
    /// channels.
    Unbundle,
    /// Build another webrtcbin beside the present one, whose path is lost.
    Heal,
    /// The path to the connected peer is lost. A later offer of either side may find another one.
    PathLost,
    /// A new connection to a peer that was connected before has found no path.
    NoPath,
    /// Report progress to the user.
    Report(Milestone),
    /// The negotiation has failed and is over.
    Fail(NegotiationFailure),
}

/// Steps that are reported as events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Milestone {
    /// Our offer was sent.
    OfferSent,
    /// The peer's offer arrived.
    OfferReceived,
    /// Our answer was sent.
    AnswerSent,
    /// The peer's answer arrived.
    AnswerReceived,
    /// ICE has found a path.
    IceConnected,
    /// Media can flow.
    Connected,
}

/// Why a negotiation or connection failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiationFailure {
    /// The phase in which it failed.
    pub phase: Phase,
    /// The reason, for the user.
    pub reason: String,
    code: ExitCode,
}

/// The phases of setting up a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Offer and answer.
    Negotiating,
    /// ICE looks for a path.
    Connecting,
    /// The DTLS handshake.
    Securing,
    /// The call is up.
    Connected,
}

/// State of the offer/answer exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Idle,
    Offering,
    OfferSent,
    ApplyingAnswer,
    ApplyingOffer,
    Answering,
    /// The peer's offer restarts ICE, which comes first. True if webrtcbin also needs the offer.
    RestartingIce(bool),
    Stable,
    Over,
}

/// The negotiation with one peer.
#[derive(Debug)]
pub struct Negotiation {
    state: State,
    phase: Phase,
    /// In a glare the polite side drops its own offer and answers the other's.
    polite: bool,
    limit: Duration,
    /// What is added to `limit` until the peer answers: a person may have to accept the call.
    ring: Duration,
    deadline: Option<Duration>,
    wishes: Wishes,
    agreement: Option<Agreement>,
    /// Our description was sent, so our candidates may follow.
    announced: bool,
    /// The peer has answered our offer, and webrtcbin is shown that answer as an offer: its own answer is not sent.
    is_answered: bool,
    /// webrtcbin is setting our answer as its local description. Its changes to ICE must not come after an ICE restart.
    setting_local: bool,
    /// The text of the last offer: a repetition of it is ignored.
    last_offer: String,
    /// An offer that came before the previous one was answered. Only the newest counts (RFC 8829, section 5.5).
    newer: Option<Remote>,
    last_answer: String,
    restarts: u32,
    /// Whether a lost path is no failure, once the peer was connected.
    heals: bool,
    was_connected: bool,
    /// Limits new connections of the peer, and our own in place of broken ones: a peer may break each at once.
    patience: Patience,
    heals_left: Patience,
    /// Limits later offers on the same connection.
    changes: Patience,
    remote_set: bool,
    held: Vec<Candidate>,
    /// The peer's candidates, with webrtcbin's m-line.
    used: Vec<(u32, RemoteCandidate)>,
    lookups: usize,
    open_lookups: usize,
    ended: Option<u32>,
}

impl Negotiation {
    /// A negotiation about `wishes`. It may take at most `limit` from its first message until it is connected.
    pub fn new(polite: bool, limit: Duration, wishes: Wishes) -> Self {
        Self {
            state: State::Idle,
            phase: Phase::Negotiating,
            polite,
            limit,
            ring: Duration::ZERO,
            deadline: None,
            wishes,
            agreement: None,
            announced: false,
            is_answered: false,
            setting_local: false,
            last_offer: String::new(),
            newer: None,
            last_answer: String::new(),
            restarts: 0,
            heals: false,
            was_connected: false,
            patience: Patience::default(),
            heals_left: Patience::default(),
            changes: Patience::new(CHANGES_AT_ONCE, PAUSE_PER_CHANGE),
            remote_set: false,
            held: Vec::new(),
            used: Vec::new(),
            lookups: 0,
            open_lookups: 0,
            ended: None,
        }
    }

    /// Adds a time for which the peer may ring before it answers.
    #[must_use]
    pub fn with_ring(self, ring: Duration) -> Self {
        Self { ring, ..self }
    }

    /// From now on a lost path is reported with [`Effect::PathLost`] instead of as a failure.
    pub fn heal(&mut self) {
        self.heals = true;
    }

    /// Sets whether our offer gives way to one of the peer.
    pub fn set_polite(&mut self, polite: bool) {
        self.polite = polite;
    }

    /// Sets the codecs of descriptions that are made from now on.
    pub fn set_codecs(&mut self, codecs: Formats) {
        self.wishes.codecs = codecs;
    }

    /// When to call [`Negotiation::handle`] with [`Input::Deadline`].
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// The current phase.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether no offer was made or received yet.
    pub fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    /// The media agreed on so far.
    pub fn flows(&self) -> Vec<Flow> {
        self.agreement.as_ref().map_or_else(Vec::new, Agreement::flows)
    }

    /// Whether our offer gives way to one of the peer.
    pub fn is_polite(&self) -> bool {
        self.polite
    }

    /// Whether data channels are agreed on.
    pub fn has_data(&self) -> bool {
        self.agreement.as_ref().is_some_and(Agreement::has_data)
    }

    /// Handles one input at the time `now`; returns the effects in their order.
    pub fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        if self.state == State::Over {
            return Vec::new();
        }
        match input {
            Input::Start(start) => self.start(now, start),
            Input::Signal(Signal::OfferRequest) => self.offer_requested(now),
            Input::Signal(Signal::Sdp { kind: SdpType::Offer, sdp }) => self.offered(now, sdp),
            Input::Signal(Signal::Sdp { kind: SdpType::Answer, sdp }) => self.answered(now, &sdp),
            Input::Signal(Signal::Ice(candidate)) => self.remote_candidate(candidate),
            Input::Created(SdpType::Offer, sdp) => self.offer_created(sdp),
            Input::Created(SdpType::Answer, sdp) => self.answer_created(now, &sdp),
            Input::RemoteSet => self.remote_was_set(now),
            Input::LocalSet => self.local_was_set(now),
            Input::LocalCandidate(index, candidate) => self.local_candidate(index, candidate),
            Input::Resolved(index, candidate, ip) => self.resolved(index, &candidate, ip),
            Input::IceRestarted(ufrag, password) => self.ice_restarted(now, &ufrag, &password),
            Input::IceConnected => self.ice_connected(),
            Input::IceFailed => self.ice_failed(),
            Input::Connected => self.connected(),
            Input::Heal => self.offer_again(now),
            Input::Refused(reason) => self.fail(self.phase, reason),
            Input::Deadline => self.deadline_passed(now),
        }
    }

    fn start(&mut self, now: Duration, start: Start) -> Vec<Effect> {
        if self.state != State::Idle {
            return Vec::new();
        }
        if start != Start::BeCalled {
            self.deadline = Some(now + self.limit + self.ring);
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

    /// Makes an offer, unless an offer was made or received before.
    fn offer_requested(&mut self, now: Duration) -> Vec<Effect> {
        if self.state == State::Idle { self.start(now, Start::Offer) } else { Vec::new() }
    }

    fn offered(&mut self, now: Duration, sdp: String) -> Vec<Effect> {
        // In a glare the impolite side's offer stands; the other side answers it.
        let glare = matches!(self.state, State::Offering | State::OfferSent) && !self.polite;
        if sdp == self.last_offer || glare {
            return Vec::new();
        }
        let remote = match Remote::parse(SdpType::Offer, &sdp) {
            Ok(remote) => remote,
            Err(refused) => return self.refuse(&refused),
        };
        self.last_offer = sdp;
        match self.state {
            State::Idle | State::Stable | State::Offering | State::OfferSent if !self.setting_local => {
                self.take_offer(now, remote)
            }
            _ => {
                self.newer = Some(remote);
                Vec::new()
            }
        }
    }

    fn take_offer(&mut self, now: Duration, remote: Remote) -> Vec<Effect> {
        let running = self.agreement.as_mut().filter(|_| self.state == State::Stable);
        let change = running.map_or(Change::NewConnection, |agreement| agreement.take_offer(remote.clone()));
        tracing::debug!(?change, "the peer offers");
        let received = Effect::Report(Milestone::OfferReceived);
        let (effects, restarts_ice, seats) = match change {
            Change::NewConnection => return self.begin_with(now, remote),
            Change::Flows { restarts_ice } => (vec![received], restarts_ice, false),
            Change::Renegotiation { restarts_ice } => (vec![received], restarts_ice, true),
        };
        if !self.changes.spend(now) {
            return self.lose_patience();
        }
        let next = if restarts_ice { self.restart_ice(now, &remote, seats) } else { self.go_on(now, seats) };
        let candidates = if self.remote_set { self.candidates_may_come() } else { Vec::new() };
        effects.into_iter().chain(next).chain(candidates).collect()
    }

    /// Handles the peer's first offer, or one for a new connection.
    fn begin_with(&mut self, now: Duration, remote: Remote) -> Vec<Effect> {
        let rebuild = self.state != State::Idle;
        if rebuild && !self.patience.spend(now) {
            return self.lose_patience();
        }
        let mut effects = vec![Effect::Report(Milestone::OfferReceived)];
        let mut agreement = Agreement::from_offer(self.wishes, remote);
        if rebuild {
            let old = self.agreement.take().filter(|old| agreement.follows(old));
            let keeps_channels = old.is_some();
            agreement = old.iter().fold(agreement, Agreement::after);
            self.forget_the_old_transport();
            effects.push(Effect::Rebuild { keeps_channels });
        }
        if let Err(disagreement) = agreement.check() {
            effects.extend(agreement.rejection().map(answer));
            effects.extend(self.disagree(&disagreement));
            return effects;
        }
        self.agreement = Some(agreement);
        effects.extend(self.apply_offer(now));
        effects
    }

    fn apply_offer(&mut self, now: Duration) -> Vec<Effect> {
        self.deadline = Some(now + self.limit);
        let applied = self.agreement.as_ref().and_then(Agreement::applied);
        match applied {
            Some(applied) => {
                self.state = State::ApplyingOffer;
                vec![Effect::ApplyOffer(applied)]
            }
            // All m-lines are rejected: webrtcbin is not needed.
            None => self.answer_now(now),
        }
    }

    /// Answers a later offer, at once unless webrtcbin needs more seats or SSRCs.
    fn go_on(&mut self, now: Duration, seats: bool) -> Vec<Effect> {
        if seats { self.apply_offer(now) } else { self.answer_now(now) }
    }

    fn restart_ice(&mut self, now: Duration, remote: &Remote, seats: bool) -> Vec<Effect> {
        let first = remote.bundle.first().copied().or_else(|| remote.usable().next());
        let Some(transport) = first.and_then(|position| remote.transport(position)) else {
            return self.go_on(now, seats);
        };
        self.state = State::RestartingIce(seats);
        self.deadline = Some(now + self.limit);
        self.remote_set = false;
        self.used.clear();
        self.ended = None;
        vec![Effect::RestartIce(transport.ufrag.clone(), transport.password.clone())]
    }

    fn ice_restarted(&mut self, now: Duration, ufrag: &str, password: &str) -> Vec<Effect> {
        let State::RestartingIce(seats) = self.state else { return Vec::new() };
        self.agreement.iter_mut().for_each(|agreement| agreement.set_credentials(ufrag, password));
        let mut effects = self.go_on(now, seats);
        effects.extend(self.candidates_may_come());
        effects
    }

    /// Sends our answer, unless the peer has sent a newer offer already.
    fn answer_now(&mut self, now: Duration) -> Vec<Effect> {
        self.state = State::Stable;
        let is_answered = std::mem::take(&mut self.is_answered);
        self.announced = self.newer.is_none();
        if self.phase == Phase::Connected {
            self.deadline = None;
        }
        if let Some(newer) = self.newer.take() {
            return self.take_offer(now, newer);
        }
        if is_answered {
            return vec![Effect::Flow(self.flows())];
        }
        let Some(text) = self.agreement.as_mut().and_then(Agreement::answer) else { return Vec::new() };
        vec![answer(text), Effect::Report(Milestone::AnswerSent), Effect::Flow(self.flows())]
    }

    fn forget_the_old_transport(&mut self) {
        self.phase = Phase::Negotiating;
        self.agreement = None;
        (self.announced, self.setting_local, self.remote_set, self.is_answered) =
            (false, false, false, false);
        self.newer = None;
        self.last_answer.clear();
        self.used.clear();
        (self.lookups, self.open_lookups, self.ended) = (0, 0, None);
    }

    /// Offers a new connection instead of one whose path is lost, or of an earlier offer.
    fn offer_again(&mut self, now: Duration) -> Vec<Effect> {
        if !self.may_heal() || !self.heals_left.spend(now) {
            return Vec::new();
        }
        self.forget_the_old_transport();
        self.held.clear();
        self.state = State::Offering;
        self.deadline = Some(now + self.limit);
        vec![Effect::Heal, Effect::CreateOffer]
    }

    fn may_heal(&self) -> bool {
        self.heals && self.was_connected
    }

    /// The path is lost. A new connection that has found none is forgotten.
    fn lose_path(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Connected {
            return vec![Effect::PathLost];
        }
        self.forget_the_old_transport();
        self.state = State::Stable;
        self.deadline = None;
        vec![Effect::NoPath]
    }

    fn answered(&mut self, now: Duration, sdp: &str) -> Vec<Effect> {
        match self.state {
            State::OfferSent => {}
            State::ApplyingAnswer | State::Stable => return self.answered_again(now, sdp),
            _ => return Vec::new(),
        }
        let remote = match Remote::parse(SdpType::Answer, sdp) {
            Ok(remote) => remote,
            Err(refused) => return self.refuse(&refused),
        };
        let Some(agreement) = &mut self.agreement else { return Vec::new() };
        match agreement.take_answer(remote) {
            Ok(Taken::AsAnswer) => {}
            Ok(Taken::AsOffer) => return self.unbundle(now, sdp),
            Err(disagreement) => return self.disagree(&disagreement),
        }
        let Some(applied) = agreement.applied() else { return Vec::new() };
        self.deadline = self.deadline.map(|deadline| deadline.min(now + self.limit));
        self.state = State::ApplyingAnswer;
        self.last_answer = sdp.to_owned();
        vec![Effect::Report(Milestone::AnswerReceived), Effect::ApplyAnswer(applied)]
    }

    /// The peer's answer does not bundle. Another webrtcbin takes it.
    fn unbundle(&mut self, now: Duration, sdp: &str) -> Vec<Effect> {
        let agreement = self.agreement.take();
        self.forget_the_old_transport();
        self.agreement = agreement;
        self.is_answered = true;
        self.last_answer = sdp.to_owned();
        let mut effects = vec![Effect::Report(Milestone::AnswerReceived), Effect::Unbundle];
        effects.extend(self.apply_offer(now));
        effects
    }

    /// Handles a second, different answer. It happens after we came back under our old uid: the first answer was meant
    /// for our earlier connection, this one for us. webrtcbin has taken the first one, so start over.
    fn answered_again(&mut self, now: Duration, sdp: &str) -> Vec<Effect> {
        let meant = !self.last_answer.is_empty() && sdp != self.last_answer;
        if !meant || self.phase == Phase::Connected || self.restarts == MAX_RESTARTS {
            return Vec::new();
        }
        if self.was_connected && !self.heals_left.spend(now) {
            return Vec::new();
        }
        self.restarts += 1;
        self.forget_the_old_transport();
        self.held.clear();
        self.state = State::Offering;
        vec![Effect::Rebuild { keeps_channels: false }, Effect::CreateOffer]
    }

    fn offer_created(&mut self, sdp: String) -> Vec<Effect> {
        if self.state != State::Offering {
            return Vec::new();
        }
        let agreement = match Agreement::from_own_offer(self.wishes, &sdp) {
            Ok(agreement) => agreement,
            Err(refused) => return self.refuse(&refused),
        };
        let signal = Signal::Sdp { kind: SdpType::Offer, sdp: agreement.offer_for_peer(&sdp) };
        self.agreement = Some(agreement);
        self.state = State::OfferSent;
        self.announced = true;
        vec![
            Effect::Send(signal),
            Effect::Report(Milestone::OfferSent),
            Effect::SetLocal(SdpType::Offer, sdp),
        ]
    }

    fn answer_created(&mut self, now: Duration, sdp: &str) -> Vec<Effect> {
        let Some(agreement) = self.agreement.as_mut().filter(|_| self.state == State::Answering) else {
            return Vec::new();
        };
        if let Err(disagreement) = agreement.take_own_answer(sdp) {
            return self.disagree(&disagreement);
        }
        let own = Effect::SetLocal(SdpType::Answer, agreement.own_for_webrtcbin(sdp));
        if self.phase == Phase::Negotiating {
            self.phase = Phase::Connecting;
        }
        self.setting_local = true;
        if self.newer.is_some() {
            // This answer is outdated, but webrtcbin has to complete the exchange.
            (self.state, self.is_answered) = (State::Stable, false);
            return vec![own];
        }
        // Send the answer before `SetLocal`, after which candidates come.
        let mut effects = self.answer_now(now);
        let flows = effects.iter().position(|effect| matches!(effect, Effect::Flow(_)));
        effects.insert(flows.unwrap_or(effects.len()), own);
        effects
    }

    fn local_was_set(&mut self, now: Duration) -> Vec<Effect> {
        self.setting_local = false;
        let newer = if self.state == State::Stable { self.newer.take() } else { None };
        newer.map_or_else(Vec::new, |newer| self.take_offer(now, newer))
    }

    fn remote_was_set(&mut self, now: Duration) -> Vec<Effect> {
        let mut effects = match self.state {
            State::ApplyingOffer => {
                self.state = State::Answering;
                vec![Effect::CreateAnswer]
            }
            State::ApplyingAnswer => {
                self.state = State::Stable;
                self.phase = Phase::Connecting;
                let newer = self.newer.take();
                newer.map_or_else(Vec::new, |newer| self.take_offer(now, newer))
            }
            _ => return Vec::new(),
        };
        effects.extend(self.candidates_may_come());
        effects
    }

    /// The peer's transport is known: uses its candidates so far.
    fn candidates_may_come(&mut self) -> Vec<Effect> {
        self.remote_set = true;
        let remote = self.agreement.as_ref().and_then(Agreement::remote);
        let mut effects = Vec::new();
        for (position, candidate) in remote.map_or_else(Vec::new, |remote| remote.candidates.clone()) {
            let ufrag = candidate.ufrag.clone();
            let index = self.agreement.as_ref().and_then(|it| it.candidate_at(position, ufrag.as_deref()));
            effects.extend(index.map_or_else(Vec::new, |index| self.use_candidate(index, candidate)));
        }
        for candidate in std::mem::take(&mut self.held) {
            effects.extend(self.remote_candidate(candidate));
        }
        effects
    }

    fn remote_candidate(&mut self, candidate: Candidate) -> Vec<Effect> {
        // Candidates after a waiting offer belong to that offer.
        let known = self.agreement.as_ref().filter(|_| self.remote_set && self.newer.is_none());
        let Some(agreement) = known else {
            if self.held.len() < MAX_HELD {
                self.held.push(candidate);
            }
            return Vec::new();
        };
        let (mid, index) = (candidate.sdp_mid.as_deref(), candidate.sdp_m_line_index);
        if candidate.is_end() {
            self.ended = self.ended.or(agreement.remote_candidate(mid, index, None));
            return self.end_if_all_are_here();
        }
        match RemoteCandidate::parse(&candidate.candidate) {
            Ok(candidate) => {
                let index = agreement.remote_candidate(mid, index, candidate.ufrag.as_deref());
                index.map_or_else(Vec::new, |index| self.use_candidate(index, candidate))
            }
            Err(Unusable::NotForUs) => Vec::new(),
            Err(Unusable::Malformed) => {
                tracing::debug!("a candidate is malformed: ignored");
                Vec::new()
            }
        }
    }

    /// `index` is webrtcbin's m-line.
    fn use_candidate(&mut self, index: u32, candidate: RemoteCandidate) -> Vec<Effect> {
        // A description may repeat candidates that came before.
        let line = (index, candidate.clone());
        if self.used.len() == MAX_CANDIDATES || self.used.contains(&line) {
            return Vec::new();
        }
        self.used.push(line);
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

    /// Passes on the end of candidates, after the last lookup.
    fn end_if_all_are_here(&mut self) -> Vec<Effect> {
        match self.ended {
            Some(index) if self.open_lookups == 0 => vec![Effect::AddCandidate(index, None)],
            _ => Vec::new(),
        }
    }

    /// Candidates that come before our answer is sent are part of it.
    fn local_candidate(&mut self, index: u32, candidate: String) -> Vec<Effect> {
        let candidate = self.agreement.as_mut().and_then(|it| it.local_candidate(index, candidate));
        let candidate = candidate.filter(|_| self.announced);
        candidate.map(|candidate| Effect::Send(Signal::Ice(candidate))).into_iter().collect()
    }

    fn ice_connected(&mut self) -> Vec<Effect> {
        if self.phase != Phase::Connecting {
            return Vec::new();
        }
        self.phase = Phase::Securing;
        vec![Effect::Report(Milestone::IceConnected)]
    }

    fn ice_failed(&mut self) -> Vec<Effect> {
        if self.may_heal() {
            return self.lose_path();
        }
        if self.phase == Phase::Connected {
            return self.fail(Phase::Connected, "the network path to the peer broke".into());
        }
        if self.is_silent() {
            return self.fail(Phase::Negotiating, SILENT.into());
        }
        let reason = "no network path to the peer: is one side behind a firewall? Try --turn";
        self.fail(Phase::Connecting, reason.into())
    }

    /// Whether the peer has sent no candidate at all: then the network is not the cause.
    fn is_silent(&self) -> bool {
        self.phase == Phase::Connecting && self.used.is_empty() && self.ended.is_none()
    }

    fn connected(&mut self) -> Vec<Effect> {
        if self.phase == Phase::Connected || self.agreement.is_none() {
            return Vec::new();
        }
        let mut effects = self.ice_connected();
        self.phase = Phase::Connected;
        (self.was_connected, self.restarts) = (true, 0);
        if self.state == State::Stable {
            self.deadline = None;
        }
        effects.push(Effect::Report(Milestone::Connected));
        effects
    }

    fn deadline_passed(&mut self, now: Duration) -> Vec<Effect> {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return Vec::new();
        }
        if self.may_heal() && self.phase != Phase::Connected {
            return self.lose_path();
        }
        let unanswered = matches!(self.state, State::OfferSent | State::Idle);
        let limit = if unanswered { self.limit + self.ring } else { self.limit };
        let seconds = limit.as_secs_f64();
        if self.is_silent() {
            return self.fail(Phase::Negotiating, format!("{SILENT} within {seconds:.0} s"));
        }
        let what = match (self.phase, self.state) {
            (Phase::Negotiating, State::OfferSent) => "the peer did not answer the offer",
            (Phase::Negotiating, State::Idle) => "the peer sent no offer",
            (Phase::Negotiating, _) => "offer and answer were not ready",
            (Phase::Connecting, _) => "no network path to the peer was found",
            (Phase::Securing, _) => "the DTLS handshake did not finish",
            (Phase::Connected, _) => "the answer to the peer's new offer was not ready",
        };
        self.fail(self.phase, format!("{what} within {seconds:.0} s"))
    }

    fn refuse(&mut self, refused: &Refused) -> Vec<Effect> {
        self.fail(Phase::Negotiating, refused.to_string())
    }

    fn disagree(&mut self, disagreement: &Disagreement) -> Vec<Effect> {
        self.fail(Phase::Negotiating, disagreement.to_string())
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

fn answer(text: String) -> Effect {
    Effect::Send(Signal::Sdp { kind: SdpType::Answer, sdp: text })
}

impl NegotiationFailure {
    /// The exit code for this failure.
    pub fn code(&self) -> ExitCode {
        self.code
    }
}

impl Phase {
    /// The name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Negotiating => "negotiating",
            Self::Connecting => "connecting",
            Self::Securing => "securing",
            Self::Connected => "connected",
        }
    }
}

#[cfg(test)]
#[path = "negotiation_tests.rs"]
mod tests;
