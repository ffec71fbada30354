//! The peers of this process: it connects their negotiations with their pipelines.
//!
//! The engine carries out the effects of each [`Negotiation`]. It hands signals and events to its owner as [`Out`]: a
//! call and a room differ in how they send and report, not in how a peer works.

mod lookup;
mod slot;
mod watch;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

use async_std::{channel::Sender, task};
use callbin_protocol::{PeerId, Signal};

use self::{
    lookup::{address_of, may_look_up},
    slot::{Former, Slot},
};
use crate::{
    agreement::{Applied, Flow, Wishes},
    candidate::{RemoteCandidate, hidden, only_relayed},
    cli::IcePolicy,
    events::Event,
    exit::{ExitCode, Failure},
    healing::Healing,
    ice::{IceServers, no_relay},
    media::{receive::First, source::Source},
    negotiation::{Effect, Input, Milestone, Negotiation, NegotiationFailure, Start},
    peer::{Inbox, Peer, PeerConfig, PeerEvent, Reaper, Voice},
    record::Own,
    sdp::Direction,
    view::View,
};

/// The time between two looks at lines, encoders and vanished peers.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A peer that sends media is silent for less than this.
const ALIVE: Duration = Duration::from_secs(1);
/// How often peers are arranged by what their paths carry, while there are several.
const ARRANGE_EVERY: Duration = Duration::from_millis(200);
/// The time between two looks at the paths of connected peers, and at our own addresses.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// The result of [`Effect::Resolve`]: slot key, generation, m-line index, candidate, address (`None`: not found).
pub type Lookup = (u64, u64, u32, RemoteCandidate, Option<IpAddr>);

/// What the engine's owner has to do.
#[derive(Debug)]
pub enum Out {
    /// Send this signal to the peer.
    Send(Signal),
    /// Report this event.
    Tell(Event),
    /// The peer is connected: offer, answer, ICE and the DTLS certificate are fine.
    Connected,
    /// The peer's pipeline was replaced by a new one.
    Rebuilt,
    /// The peer failed.
    Failed {
        /// The phase in which it failed.
        phase: &'static str,
        /// The reason, and the exit code if this was the only call.
        failure: Failure,
    },
    /// The peer hung up.
    HungUp,
}

/// All peers, and the one source they share.
#[derive(Debug)]
pub struct Engine {
    config: PeerConfig,
    setup_limit: Duration,
    started: Instant,
    inbox: Inbox,
    lookups: Sender<Lookup>,
    source: Option<Source>,
    /// Our uid, once it is known, and the recording of our media while a peer is connected.
    me: Option<PeerId>,
    own: Option<Own>,
    /// What the signalling server named, once it is known.
    ice: Option<IceServers>,
    view: View,
    slots: BTreeMap<u64, Slot>,
    next: u64,
    out: VecDeque<(u64, Out)>,
    reaper: Reaper,
    /// Signalling is lost, or does not tell the end of a call from the loss of a connection: a closed peer is notified with
    /// a DTLS alert.
    is_cut_off: bool,
    next_look: Instant,
    next_arrangement: Instant,
    next_watch: Instant,
    /// This machine's addresses at the last look.
    addresses: Option<BTreeSet<IpAddr>>,
}

impl Engine {
    /// An engine without peers. The two channels take the events of pipelines and the results of lookups. Peers wait
    /// for [`Engine::set_ice_servers`] unless `no_ice_servers` is set.
    pub fn new(
        config: PeerConfig,
        setup_limit: Duration,
        no_ice_servers: bool,
        inbox: Inbox,
        lookups: Sender<Lookup>,
    ) -> Self {
        Self {
            config,
            setup_limit,
            started: Instant::now(),
            inbox,
            lookups,
            source: None,
            me: None,
            own: None,
            ice: no_ice_servers.then(IceServers::default),
            view: View::none(),
            slots: BTreeMap::new(),
            next: 0,
            out: VecDeque::new(),
            reaper: Reaper::default(),
            is_cut_off: false,
            next_look: Instant::now(),
            next_arrangement: Instant::now(),
            next_watch: Instant::now(),
            addresses: None,
        }
    }

    /// Sets the running encoders and the view; peers that waited for them start.
    pub fn set_source(&mut self, source: Source, view: View) {
        self.view = view;
        self.source = Some(source);
        self.go_on();
    }

    /// Sets our uid.
    pub fn set_uid(&mut self, uid: &PeerId) {
        self.me = Some(uid.clone());
    }

    /// Sets the ICE servers of peers that start from now on.
    pub fn set_ice_servers(&mut self, servers: IceServers) {
        self.ice = Some(servers);
        self.go_on();
    }

    /// Whether the ICE servers are known.
    pub fn has_ice_servers(&self) -> bool {
        self.ice.is_some()
    }

    /// Starts the waiting peers once encoders and ICE servers are there.
    fn go_on(&mut self) {
        if !self.is_ready() {
            return;
        }
        for key in self.keys() {
            let waiting = self.slots.get_mut(&key).map(|slot| std::mem::take(&mut slot.waiting));
            self.carry_out(key, waiting.unwrap_or_default());
        }
    }

    fn is_ready(&self) -> bool {
        self.source.is_some() && self.ice.is_some()
    }

    /// Whether the encoders run.
    pub fn has_source(&self) -> bool {
        self.source.is_some()
    }

    /// Stops the encoders.
    pub fn drop_source(&mut self) -> Option<Source> {
        self.own = None;
        self.source.take()
    }

    /// Adds a peer and returns its key. The peer may take `ring` longer to answer.
    pub fn open(&mut self, uid: Option<PeerId>, start: Start, polite: bool, ring: Duration) -> u64 {
        let key = self.fresh();
        let negotiation = Negotiation::new(polite, self.setup_limit, self.wishes()).with_ring(ring);
        let slot = Slot::new(uid, negotiation, self.fresh());
        self.slots.insert(key, slot);
        self.input(key, Input::Start(start));
        key
    }

    fn wishes(&self) -> Wishes {
        let direction = |(sends, receives)| Direction { sends, receives };
        let (audio, video) = (direction(self.config.audio), direction(self.config.video));
        Wishes { audio, video, cameras: self.config.cameras, codecs: self.config.formats() }
    }

    /// From now on a lost path to the peer, which takes new offers, is no failure before `--give-up-after`.
    pub fn heal(&mut self, key: u64) {
        let limit = self.config.give_up_after;
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.negotiation.heal();
            slot.healing.get_or_insert_with(|| Healing::new(slot.negotiation.is_polite(), limit));
        }
    }

    /// Replaces the connection to a connected peer by a new one, which we offer, or the peer if we are polite.
    pub fn renew(&mut self, key: u64, polite: bool) {
        let now = self.started.elapsed();
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.negotiation.set_polite(polite);
            slot.healing.iter_mut().for_each(|healing| healing.renew(now, polite));
        }
    }

    /// Whether the peer is connected, sends media, and its packets come.
    pub fn lives(&self, key: u64) -> bool {
        let silence = self.slots.get(&key).filter(|slot| slot.is_watched()).and_then(Slot::telling_silence);
        !self.is_lost(key) && silence.is_some_and(|silence| silence < ALIVE)
    }

    /// Handles a signal from the peer.
    pub fn signal(&mut self, key: u64, signal: Signal) {
        tracing::trace!(key, "the peer says: {signal}");
        self.input(key, Input::Signal(signal));
    }

    /// Sends `text` to the peer as soon as a data channel is open.
    pub fn say(&mut self, key: u64, text: String) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.to_say.push(text);
            slot.say_what_waits();
        }
    }

    /// Sets whether signalling is lost or ambiguous, so that peers learn from DTLS that we are gone.
    pub fn set_cut_off(&mut self, is_cut_off: bool) {
        if std::mem::replace(&mut self.is_cut_off, is_cut_off) && !is_cut_off {
            let now = self.started.elapsed();
            let healing = self.slots.values_mut().filter_map(|slot| slot.healing.as_mut());
            healing.for_each(|healing| healing.signalling_back(now));
        }
    }

    /// Whether a text still waits to be sent to the peer.
    pub fn has_unsaid(&self, key: u64) -> bool {
        self.slots.get(&key).is_some_and(|slot| !slot.to_say.is_empty())
    }

    /// Whether texts can be sent: data channels are agreed on.
    pub fn may_speak(&self, key: u64) -> bool {
        self.slots.get(&key).is_some_and(|slot| slot.negotiation.has_data())
    }

    /// Closes a peer.
    pub fn close(&mut self, key: u64) {
        if let Some(slot) = self.slots.remove(&key) {
            // GStreamer can send the alert only after the DTLS handshake.
            let peer = slot.peer.map(|peer| (peer, slot.up.is_some()));
            let former = slot.former.map(|former| (former.peer, true));
            for (peer, is_up) in peer.into_iter().chain(former) {
                peer.close(&self.reaper, self.is_cut_off && is_up);
            }
        }
        if !self.slots.values().any(|slot| slot.connected.is_some()) {
            self.own = None;
        }
    }

    /// Records our media while a peer gets them, if that is wanted.
    fn record_own(&mut self) {
        if let (None, Some(source)) = (&self.own, &self.source) {
            self.own = self.config.archive.own(source, self.me.clone());
        }
    }

    /// Closes all peers.
    pub fn close_all(&mut self) {
        self.keys().into_iter().for_each(|key| self.close(key));
    }

    /// The view that shows the peers.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// Waits at most `limit` until the pipelines of closed peers are gone; returns whether they are.
    pub fn wait_for_teardown(&self, limit: Duration) -> bool {
        self.reaper.wait(limit)
    }

    /// The next output and the key of its peer.
    pub fn next_out(&mut self) -> Option<(u64, Out)> {
        self.out.pop_front()
    }

    /// The uid of a peer, if it is known.
    pub fn uid(&self, key: u64) -> Option<&PeerId> {
        self.slots.get(&key).and_then(|slot| slot.uid.as_ref())
    }

    /// The keys of all peers.
    pub fn keys(&self) -> Vec<u64> {
        self.slots.keys().copied().collect()
    }

    /// Whether no offer was made or received yet.
    pub fn is_idle(&self, key: u64) -> bool {
        self.slots.get(&key).is_none_or(|slot| slot.negotiation.is_idle())
    }

    /// The number of video frames decoded from the peer.
    pub fn frames(&self, key: u64) -> u64 {
        self.slots.get(&key).and_then(Slot::shown).map_or(0, |peer| peer.meter().frames())
    }

    /// The time since the last packet of any kind from the peer; `None` without a pipeline.
    pub fn silence(&self, key: u64) -> Option<Duration> {
        self.slots.get(&key).and_then(Slot::shown).map(|peer| peer.meter().silence())
    }

    /// Whether media are received from the peer, which would arrive all the time.
    pub fn receives(&self, key: u64) -> bool {
        self.slots.get(&key).and_then(Slot::shown).is_some_and(Peer::receives)
    }

    /// Whether the path to the connected peer is lost.
    pub fn is_lost(&self, key: u64) -> bool {
        self.slots.get(&key).and_then(|slot| slot.healing.as_ref()).is_some_and(Healing::is_lost)
    }

    /// Since when the peer has been connected.
    pub fn connected(&self, key: u64) -> Option<Instant> {
        self.slots.get(&key).and_then(|slot| slot.connected)
    }

    /// When to call [`Engine::tick`]: the next deadline of any negotiation, report, picture or look.
    pub fn deadline(&self) -> Option<Instant> {
        let slots = self.slots.values();
        let negotiations =
            slots.clone().filter_map(|slot| slot.negotiation.deadline()).map(|at| self.started + at);
        let reports = slots.flat_map(|slot| [slot.next_stats, slot.next_picture]).flatten();
        let look = self.source.is_some().then_some(self.next_look.min(self.next_arrangement));
        let watch = self.slots.values().any(Slot::is_watched).then_some(self.next_watch);
        negotiations.chain(reports).chain(look).chain(watch).min()
    }

    /// Handles what is due: deadlines of negotiations, statistics and pictures of connected peers, and a look at
    /// everything each second.
    pub fn tick(&mut self) {
        let now = Instant::now();
        for key in self.keys() {
            self.input(key, Input::Deadline);
            self.report_stats(key, now);
            self.report_picture(key, now);
        }
        if self.next_look <= now {
            self.next_look = now + LOOK_EVERY;
            self.look();
        }
        if self.next_arrangement <= now {
            let are_several = self.source.as_ref().is_some_and(Source::arrange);
            self.next_arrangement = now + if are_several { ARRANGE_EVERY } else { LOOK_EVERY };
        }
        if self.next_watch <= now {
            self.next_watch = now + WATCH_EVERY;
            self.watch(now);
        }
    }

    /// Handles an event of a peer's pipeline.
    pub fn peer_event(&mut self, key: u64, generation: u64, event: PeerEvent) {
        // Also the end of DTLS on the former pipeline means nothing: the page closes the old connection when it gets an offer for a
        // new one.
        let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.generation == generation) else {
            return;
        };
        match event {
            PeerEvent::Created(kind, sdp) => self.input(key, Input::Created(kind, sdp)),
            PeerEvent::RemoteSet => self.input(key, Input::RemoteSet),
            PeerEvent::LocalSet => self.input(key, Input::LocalSet),
            PeerEvent::Refused(reason) => self.input(key, Input::Refused(reason)),
            PeerEvent::LocalCandidate(index, it) => self.local_candidate(key, index, it),
            PeerEvent::IceConnected => self.input(key, Input::IceConnected),
            PeerEvent::IceFailed => self.input(key, Input::IceFailed),
            PeerEvent::Certificate(true) => {}
            PeerEvent::Certificate(false) => self.fail_certificate(key),
            PeerEvent::Path(path) => slot.peer.iter_mut().for_each(|peer| peer.set_path(path.clone())),
            PeerEvent::DtlsConnected => self.dtls_connected(key),
            // Over a new path it is tried again.
            PeerEvent::DtlsFailed if slot.healing.is_some() => self.input(key, Input::IceFailed),
            PeerEvent::DtlsFailed => {
                self.input(key, Input::Refused("the DTLS handshake failed".into()));
            }
            PeerEvent::DtlsClosed => self.dtls_closed(key),
            PeerEvent::First(first) => {
                if matches!(first, First::Video { .. }) {
                    slot.forget_former(&self.reaper);
                }
                self.out.push_back((key, Out::Tell(first_event(first))));
            }
            PeerEvent::ChannelOpen => {
                slot.say_what_waits();
                if !std::mem::replace(&mut slot.data_open, true) {
                    self.out.push_back((key, Out::Tell(Event::DataOpen)));
                }
            }
            PeerEvent::Text(text) => self.out.push_back((key, Out::Tell(Event::Data { text }))),
            PeerEvent::Flood(what) => self.fail_flood(key, what),
            PeerEvent::Error(error) => self.pipeline_error(key, error),
        }
    }

    /// Handles the result of a lookup.
    pub fn looked_up(&mut self, (key, generation, index, candidate, ip): Lookup) {
        if self.slots.get(&key).is_some_and(|slot| slot.generation == generation) {
            self.input(key, Input::Resolved(index, candidate, ip));
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn input(&mut self, key: u64, input: Input) {
        let now = self.started.elapsed();
        let formats = self.config.formats();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        // They may have been unknown when the slot was made; no signal comes before they are known.
        slot.negotiation.set_codecs(formats);
        let effects = slot.negotiation.handle(now, input);
        self.carry_out(key, effects);
    }

    fn carry_out(&mut self, key: u64, effects: Vec<Effect>) {
        for effect in effects {
            if let Err(failure) = self.carry_out_one(key, effect) {
                self.fail(key, "negotiating", failure);
                return;
            }
        }
    }

    fn carry_out_one(&mut self, key: u64, effect: Effect) -> Result<(), Failure> {
        let is_ready = self.is_ready();
        let Some(slot) = self.slots.get_mut(&key) else { return Ok(()) };
        if matches!(effect, Effect::Fail(_)) {
            // The waiting effects are useless after a failure.
            slot.waiting.clear();
        }
        let begins = matches!(effect, Effect::CreateOffer | Effect::ApplyOffer(_) | Effect::Rebuild { .. });
        if !slot.waiting.is_empty() || (begins && !is_ready) {
            slot.waiting.push(effect);
            return Ok(());
        }
        match effect {
            Effect::Send(signal) => {
                tracing::trace!(key, "we say: {signal}");
                self.out.push_back((key, Out::Send(signal)));
            }
            Effect::Report(milestone) => self.report(key, milestone),
            Effect::Fail(failure) => self.fail_negotiation(key, failure),
            Effect::Rebuild { keeps_channels } => {
                self.replace_peer(key, keeps_channels);
                self.out.push_back((key, Out::Rebuilt));
            }
            Effect::Unbundle => {
                slot.certificate = slot.peer.as_ref().map(Peer::certificate);
                self.replace_peer(key, true);
            }
            Effect::Heal => self.replace_peer(key, false),
            Effect::PathLost => {
                let now = self.started.elapsed();
                let effects = slot.healing.as_mut().map(|healing| healing.failed(now));
                self.carry_out_healing(key, effects.unwrap_or_default());
            }
            Effect::NoPath => {
                let now = self.started.elapsed();
                slot.healing.iter_mut().for_each(|healing| healing.attempt_failed(now));
            }
            Effect::Resolve(index, candidate, name) => self.look_up(key, index, candidate, name),
            Effect::ApplyOffer(offer) if slot.peer.is_some() => return self.extend(key, &offer),
            Effect::CreateOffer | Effect::ApplyOffer(_) => return self.begin(key, effect),
            Effect::Flow(flows) => return self.set_flows(key, &flows),
            Effect::RestartIce(ufrag, password) => return self.restart_ice(key, &ufrag, &password),
            Effect::CreateAnswer => {
                slot.peer.iter().for_each(|peer| peer.create(callbin_protocol::SdpType::Answer));
            }
            Effect::ApplyAnswer(answer) => {
                return slot.peer.as_mut().map_or(Ok(()), |peer| peer.apply_answer(&answer));
            }
            Effect::SetLocal(kind, sdp) => {
                return slot.peer.as_mut().map_or(Ok(()), |peer| peer.set_local(kind, &sdp));
            }
            Effect::AddCandidate(index, candidate) => {
                slot.peer.iter().for_each(|peer| peer.add_candidate(index, candidate.as_deref()));
            }
        }
        Ok(())
    }

    /// Builds the pipeline, then creates an offer or applies the peer's.
    fn begin(&mut self, key: u64, effect: Effect) -> Result<(), Failure> {
        let (Some(slot), Some(source)) = (self.slots.get_mut(&key), &self.source) else { return Ok(()) };
        let mut config = self.ice.iter().fold(self.config.clone(), PeerConfig::with);
        config.turn = config.turn.iter().filter_map(|uri| config.tunnels.uri(uri)).collect();
        if config.policy == IcePolicy::Relay && config.turn.is_empty() {
            return Err(no_relay());
        }
        source.open();
        let voice = Voice::new(key, slot.generation, self.inbox.clone());
        let name = slot.uid.as_ref().map_or("caller", PeerId::as_str);
        let seat = slot.seat.insert(self.view.seat(name, config.video.1));
        let peer =
            slot.peer.insert(Peer::new(config, source, voice, slot.uid.clone(), slot.certificate.take())?);
        match effect {
            Effect::ApplyOffer(offer) => {
                if slot.negotiation.has_data() {
                    peer.take_over(&std::mem::take(&mut slot.channels))?;
                }
                let flows = slot.negotiation.flows();
                peer.apply_offer(source, &offer, &flows)?;
                peer.add_inputs(&flows, &|kind| seat.sink(kind))
            }
            _ => {
                peer.prepare_offer(source, &|kind| seat.sink(kind))?;
                peer.create(callbin_protocol::SdpType::Offer);
                Ok(())
            }
        }
    }

    /// Applies a later offer to a running pipeline.
    fn extend(&mut self, key: u64, offer: &Applied) -> Result<(), Failure> {
        let (Some(slot), Some(source)) = (self.slots.get_mut(&key), &self.source) else { return Ok(()) };
        let (Some(peer), Some(seat)) = (&mut slot.peer, &slot.seat) else { return Ok(()) };
        let flows = slot.negotiation.flows();
        peer.apply_offer(source, offer, &flows)?;
        peer.add_inputs(&flows, &|kind| seat.sink(kind))
    }

    /// Sets the media flows; before the peer's certificate is verified, nothing flows.
    fn set_flows(&mut self, key: u64, flows: &[Flow]) -> Result<(), Failure> {
        let (Some(slot), Some(source)) = (self.slots.get_mut(&key), &self.source) else { return Ok(()) };
        match (&mut slot.peer, &slot.seat) {
            (Some(peer), Some(seat)) if slot.up.is_some() => {
                peer.set_flows(source, flows, &|kind| seat.sink(kind))
            }
            _ => Ok(()),
        }
    }

    fn restart_ice(&mut self, key: u64, ufrag: &str, password: &str) -> Result<(), Failure> {
        let peer = self.slots.get(&key).and_then(|slot| slot.peer.as_ref());
        let Some((ufrag, password)) = peer.map(|peer| peer.restart_ice(ufrag, password)).transpose()? else {
            return Ok(());
        };
        self.input(key, Input::IceRestarted(ufrag, password));
        Ok(())
    }

    /// Makes room for a new pipeline. If the peer was connected, the present one plays until the new one does.
    fn replace_peer(&mut self, key: u64, keeps_channels: bool) {
        let generation = self.fresh();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        slot.generation = generation;
        if !keeps_channels {
            slot.channels.clear();
            slot.data_open = false;
        }
        let (was_up, seat) = (slot.up.take().is_some(), slot.seat.take());
        let Some(peer) = slot.peer.take() else { return };
        if keeps_channels {
            slot.channels = peer.lasting_channels();
        }
        if was_up && slot.healing.is_some() {
            slot.forget_former(&self.reaper);
            peer.end_data();
            slot.former = Some(Former { peer, seat });
        } else {
            // The call goes on.
            peer.close(&self.reaper, false);
        }
        if slot.former.is_none() {
            slot.connected = None;
            (slot.next_stats, slot.next_picture) = (None, None);
        }
    }

    fn report(&mut self, key: u64, milestone: Milestone) {
        if matches!(milestone, Milestone::OfferReceived | Milestone::AnswerReceived) {
            let now = self.started.elapsed();
            let healing = self.slots.get_mut(&key).and_then(|slot| slot.healing.as_mut());
            healing.into_iter().for_each(|healing| healing.peer_spoke(now));
        }
        let event = match milestone {
            Milestone::OfferSent => Event::OfferSent,
            Milestone::OfferReceived => Event::OfferReceived,
            Milestone::AnswerSent => Event::AnswerSent,
            Milestone::AnswerReceived => Event::AnswerReceived,
            Milestone::IceConnected => Event::IceConnected,
            Milestone::Connected => {
                let (now, at) = (Instant::now(), self.started.elapsed());
                let mut healed = Vec::new();
                if let Some(slot) = self.slots.get_mut(&key) {
                    slot.up = Some(now);
                    slot.connected.get_or_insert(now);
                    slot.next_stats.get_or_insert(now + self.config.stats_interval);
                    slot.next_picture.get_or_insert(now);
                    healed = slot.healing.as_mut().map_or(healed, |healing| healing.connected(at));
                }
                self.record_own();
                self.out.push_back((key, Out::Connected));
                self.carry_out_healing(key, healed);
                return;
            }
        };
        self.out.push_back((key, Out::Tell(event)));
    }

    fn local_candidate(&mut self, key: u64, index: u32, candidate: String) {
        let told = match self.config.policy {
            IcePolicy::Relay => only_relayed(&candidate),
            IcePolicy::All => match &self.config.hides {
                Some(responder) => hidden(&candidate, |address| responder.name_of(address)),
                None => Some(candidate),
            },
        };
        if let Some(candidate) = told {
            self.input(key, Input::LocalCandidate(index, candidate));
        }
    }

    fn dtls_connected(&mut self, key: u64) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if !slot.peer.as_ref().is_some_and(Peer::is_verified) {
            self.fail_certificate(key);
            return;
        }
        self.input(key, Input::Connected);
        let flows = self.slots.get(&key).map(|slot| slot.negotiation.flows()).unwrap_or_default();
        if let Err(failure) = self.set_flows(key, &flows) {
            self.fail(key, "connected", failure);
        }
    }

    fn fail_certificate(&mut self, key: u64) {
        let reason = "the peer's DTLS certificate is not the one its session description announced: \
                      another party may have intercepted the call";
        self.fail(key, "securing", Failure::new(ExitCode::NegotiationFailed, reason));
    }

    fn dtls_closed(&mut self, key: u64) {
        if self.slots.get(&key).is_some_and(|slot| slot.up.is_some()) {
            self.out.push_back((key, Out::HungUp));
        }
    }

    fn pipeline_error(&mut self, key: u64, error: String) {
        let phase = self.slots.get(&key).map_or("negotiating", |slot| slot.negotiation.phase().name());
        self.fail(key, phase, Failure::internal(format!("the peer's pipeline failed: {error}")));
    }

    fn fail_flood(&mut self, key: u64, what: &str) {
        let phase = self.slots.get(&key).map_or("connected", |slot| slot.negotiation.phase().name());
        let reason = format!("the peer floods us: {what}");
        self.fail(key, phase, Failure::new(ExitCode::Misbehaved, reason));
    }

    fn fail_negotiation(&mut self, key: u64, failure: NegotiationFailure) {
        self.fail(key, failure.phase.name(), Failure::new(failure.code(), failure.reason));
    }

    /// Reports a failed peer; the others go on.
    fn fail(&mut self, key: u64, phase: &'static str, failure: Failure) {
        if self.slots.contains_key(&key) {
            self.out.push_back((key, Out::Failed { phase, failure }));
        }
    }

    fn look_up(&self, key: u64, index: u32, candidate: RemoteCandidate, name: String) {
        let Some(slot) = self.slots.get(&key) else { return };
        let (generation, done) = (slot.generation, self.lookups.clone());
        let may_ask = may_look_up(&name, self.config.policy);
        task::spawn(async move {
            let ip = if may_ask { address_of(name).await } else { None };
            let _ = done.send((key, generation, index, candidate, ip)).await;
        });
    }
}

fn first_event(first: First) -> Event {
    match first {
        First::Audio => Event::FirstAudio,
        First::Video { width, height } => Event::FirstVideo { width, height },
    }
}

#[cfg(test)]
mod tests {
    use async_std::channel;
    use callbin_protocol::SdpType;

    use super::*;

    /// An engine whose GStreamer is not started yet.
    fn starting() -> Engine {
        Engine::new(
            PeerConfig::default(),
            Duration::from_secs(10),
            true,
            channel::unbounded().0,
            channel::unbounded().0,
        )
    }

    #[test]
    fn a_failure_waits_for_nothing() {
        let mut engine = starting();
        let key = engine.open(None, Start::Offer, false, Duration::ZERO);
        assert_eq!(engine.slots[&key].waiting, [Effect::CreateOffer]);
        engine.input(key, Input::Refused("nothing to do with you".into()));
        assert!(matches!(engine.next_out(), Some((_, Out::Failed { .. }))));
        assert!(engine.slots[&key].waiting.is_empty());
        engine.signal(key, Signal::Sdp { kind: SdpType::Offer, sdp: "garbage".into() });
        assert!(engine.next_out().is_none());
    }
}
