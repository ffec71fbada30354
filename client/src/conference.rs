//! Rooms: `callbin room`. A call of many peers; a failing or misbehaving member loses only its own connection.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use callbin_protocol::{ClientMessage, ErrorMessage, PeerId, RoomId, ServerMessage, Signal};

use crate::{
    app::{App, Wake},
    backoff::{Backoff, WaitForServer},
    engine::Out,
    events::{EndReason, Event},
    exit::{ExitCode, Failure},
    room::{Effect, Input, Report, Room},
    signalling::{Connection, Incoming, closing, refusal},
};

/// Pauses between attempts to reach a member whose connection broke.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LONGEST_RETRY: Duration = Duration::from_secs(30);
/// How long a member whose packets still come may take to come back to a server that was away: longer than the longest pause
/// between two attempts.
const AWAY_LIMIT: Duration = Duration::from_secs(20);
const LOOK_AT_AWAY: Duration = Duration::from_millis(250);

/// Joins `room` and stays until the user interrupts, or `--duration` or a probe ends it.
pub async fn run(app: &mut App, room: &RoomId, max_peers: u16) -> Result<(), Failure> {
    app.start_media();
    let mut conference = Conference {
        name: room.clone(),
        uid: app.options.uid(),
        room: Room::new(usize::from(max_peers)),
        keys: BTreeMap::new(),
        members: BTreeMap::new(),
        connection: None,
        in_room: false,
        entered: false,
        since: None,
        backoff: app.backoff(WaitForServer::Limit(Duration::ZERO)),
        retry: None,
        unreached: None,
        retries: BTreeMap::new(),
        away_until: Instant::now(),
        frames_gone: 0,
    };
    let reason = conference.run(app).await?;
    app.reporter.tell(None, &Event::Ended { reason });
    for (peer, key) in &conference.keys {
        app.tell_unsent(*key, Some(peer));
    }
    app.engine.close_all();
    if let Some(connection) = conference.connection.take() {
        connection.close().await;
    }
    Ok(())
}

struct Conference {
    name: RoomId,
    uid: PeerId,
    room: Room,
    /// The engine's keys of the members with an open connection, and their uids by key.
    keys: BTreeMap<PeerId, u64>,
    members: BTreeMap<u64, PeerId>,
    connection: Option<Connection>,
    /// Whether we are in the room on the present connection to the server.
    in_room: bool,
    /// Whether we have been in the room at least once.
    entered: bool,
    /// When we first entered the room, or first lost the server: `--duration` counts from then.
    since: Option<Instant>,
    /// While there is no connection to the server: when to try again.
    backoff: Backoff,
    retry: Option<Instant>,
    /// Why the server was not reached, as long as we were never in the room.
    unreached: Option<Failure>,
    /// Members to offer to again: when (`None`: an attempt is under way), and the pause before that attempt.
    retries: BTreeMap<PeerId, (Option<Instant>, Duration)>,
    /// When members that have not come back to the server with us are given up.
    away_until: Instant,
    /// Video frames decoded from members that are gone, for the probe.
    frames_gone: u64,
}

impl Conference {
    async fn run(&mut self, app: &mut App) -> Result<EndReason, Failure> {
        let mut connecting = Some(app.connect(&self.uid));
        loop {
            self.look_at_engine(app);
            if let Some(reason) = self.look_at_clock(app)? {
                return Ok(reason);
            }
            if self.retry.is_some_and(|at| at <= Instant::now()) {
                self.retry = None;
                connecting = Some(app.connect(&self.uid));
            }
            let until = self.wake_time(app);
            match app.wake(self.connection.as_ref(), &mut connecting, until).await? {
                Wake::Connected(Ok(connection)) => self.registered(app, connection),
                Wake::Connected(Err(failure)) => self.not_connected(app, failure)?,
                Wake::Incoming(Incoming::Text(text)) => self.server_says(app, &text)?,
                Wake::Incoming(Incoming::Closed { code, reason }) => {
                    if let Some(failure) = app.sent_away(code, &reason) {
                        return Err(failure);
                    }
                    self.lost(app, &closing(code, &reason));
                }
                Wake::Incoming(Incoming::Unreadable(failure)) => return Err(failure),
                Wake::Incoming(Incoming::Lost(reason)) => self.lost(app, &reason),
                Wake::Interrupted => return Ok(EndReason::HungUp),
                Wake::Engine | Wake::Time => {}
            }
        }
    }

    fn registered(&mut self, app: &App, connection: Connection) {
        app.registered(&self.uid);
        connection.send(ClientMessage::Room(self.name.clone()).to_string());
        self.connection = Some(connection);
    }

    fn not_connected(&mut self, app: &App, failure: Failure) -> Result<(), Failure> {
        match self.backoff.after(&failure, app.started.elapsed()) {
            Some(pause) => {
                self.retry_after(app, pause, &failure.message);
                if !self.entered {
                    self.unreached = Some(failure);
                }
                Ok(())
            }
            None => Err(failure),
        }
    }

    /// The connection to the server is lost: reconnect. The connections to the members go on.
    fn lost(&mut self, app: &mut App, reason: &str) {
        self.connection = None;
        app.engine.set_cut_off(true);
        self.in_room = false;
        self.since.get_or_insert_with(Instant::now);
        let pause = self.backoff.after_loss();
        self.retry_after(app, pause, reason);
    }

    fn retry_after(&mut self, app: &App, pause: Duration, reason: &str) {
        self.retry = Some(Instant::now() + pause);
        app.reporter.tell(None, &Event::reconnecting(reason, pause));
    }

    fn server_says(&mut self, app: &mut App, text: &str) -> Result<(), Failure> {
        match ServerMessage::parse(text) {
            Ok(ServerMessage::RoomOk(peers)) => {
                self.in_room = true;
                self.entered = true;
                self.unreached = None;
                self.since.get_or_insert_with(Instant::now);
                self.backoff.let_in();
                app.engine.set_cut_off(false);
                let names = peers.iter().map(PeerId::to_string).collect();
                app.reporter.tell(None, &Event::Joined { room: self.name.to_string(), peers: names });
                let alive = self.keys.iter().filter(|(_, key)| app.engine.lives(**key));
                let alive = alive.map(|(peer, _)| peer.clone()).collect();
                self.away_until = Instant::now() + AWAY_LIMIT;
                self.input(app, Input::Entered { peers, alive });
            }
            Ok(ServerMessage::RoomPeerJoined(peer)) => self.input(app, Input::Joined(peer)),
            Ok(ServerMessage::RoomPeerLeft(peer)) => self.input(app, Input::Left(peer)),
            Ok(ServerMessage::RoomPeerMsg { from, msg }) => self.member_says(app, from, &msg),
            Ok(ServerMessage::Error(error)) => return self.server_error(app, error),
            _ => {}
        }
        Ok(())
    }

    fn server_error(&mut self, app: &mut App, error: ErrorMessage) -> Result<(), Failure> {
        match error {
            // The member left while our message was under way: ROOM_PEER_LEFT follows, or came already.
            ErrorMessage::PeerNotFound(_) | ErrorMessage::PeerNotInRoom(_) if self.in_room => Ok(()),
            // The server reports an invalid name and a room that the token excludes alike. The name was checked before.
            ErrorMessage::InvalidRoomId(_) if app.options.token_source().is_some() => {
                let message = format!("the token does not let us into the room: the server says: {error}");
                Err(Failure::new(ExitCode::NotAuthorised, message))
            }
            ErrorMessage::InvalidRoomId(_) => Err(Failure::new(ExitCode::Usage, error.to_string())),
            error @ ErrorMessage::Other(_) if !self.entered => {
                Err(refusal("our entry into the room", &error))
            }
            error if !self.entered => {
                let message = format!("the server does not let us into the room: {error}");
                Err(Failure::new(ExitCode::NegotiationFailed, message))
            }
            // Another member may have taken our place while we were away, and may leave again.
            error if !self.in_room => {
                self.lost(app, &format!("the server does not let us into the room again: {error}"));
                Ok(())
            }
            error => {
                tracing::warn!("the server says: {error}");
                Ok(())
            }
        }
    }

    fn member_says(&mut self, app: &mut App, from: PeerId, msg: &str) {
        match Signal::parse(msg) {
            Ok(signal) => self.input(app, Input::Said(from, signal)),
            Err(_) if msg.starts_with("ERROR") => self.input(app, Input::Declined(from)),
            Err(error) => tracing::warn!("ignored an invalid signal from {from}: {error}"),
        }
    }

    fn input(&mut self, app: &mut App, input: Input) {
        for effect in self.room.handle(app.started.elapsed(), input) {
            match effect {
                Effect::Open { peer, start, polite } => {
                    let key = app.engine.open(Some(peer.clone()), start, polite, Duration::ZERO);
                    if let Some(text) = app.options.send_text.clone() {
                        app.engine.say(key, text);
                    }
                    self.keys.insert(peer.clone(), key);
                    self.members.insert(key, peer);
                }
                Effect::Renew { peer, polite } => {
                    if let Some(key) = self.keys.get(&peer) {
                        app.engine.renew(*key, polite);
                    }
                }
                Effect::Deliver(peer, signal) => {
                    if let Some(key) = self.keys.get(&peer) {
                        app.engine.signal(*key, signal);
                    }
                }
                Effect::Close(peer) => self.close(app, &peer),
                Effect::Decline(peer) => {
                    self.send(peer, "ERROR this member speaks with enough others".into())
                }
                Effect::RetryLater(peer) => self.retry_later(peer),
                Effect::Report(peer, report) => {
                    if report == Report::Left {
                        self.retries.remove(&peer);
                    }
                    self.report(app, &peer, report);
                }
            }
        }
    }

    /// Gives up members that have not come back to the server: their packets have ended, or their time is over.
    fn look_at_the_away(&mut self, app: &mut App, now: Instant) {
        let lives = |peer: &PeerId| self.keys.get(peer).is_some_and(|key| app.engine.lives(*key));
        let gone: Vec<PeerId> =
            self.room.away().filter(|peer| now >= self.away_until || !lives(peer)).cloned().collect();
        for peer in gone {
            self.input(app, Input::Gone(peer));
        }
    }

    fn retry_later(&mut self, peer: PeerId) {
        let before = self.retries.get(&peer).map_or(FIRST_RETRY / 2, |(_, pause)| *pause);
        let pause = (before * 2).min(LONGEST_RETRY);
        self.retries.insert(peer, (Some(Instant::now() + pause), pause));
    }

    fn retry_members(&mut self, app: &mut App, now: Instant) {
        let mut due = Vec::new();
        for (peer, (at, _)) in &mut self.retries {
            if at.is_some_and(|at| at <= now) {
                *at = None;
                due.push(peer.clone());
            }
        }
        for peer in due {
            self.input(app, Input::Retry(peer));
        }
    }

    fn close(&mut self, app: &mut App, peer: &PeerId) {
        if let Some(key) = self.keys.remove(peer) {
            app.tell_unsent(key, Some(peer));
            self.frames_gone += app.engine.frames(key);
            self.members.remove(&key);
            app.engine.close(key);
        }
    }

    fn send(&self, to: PeerId, msg: String) {
        // Before we are in the room, the server would refuse it. Once we are, a new connection is offered, or the negotiation
        // starts anew.
        if let Some(connection) = self.connection.as_ref().filter(|_| self.in_room) {
            connection.send(ClientMessage::RoomPeerMsg { to, msg: msg.into() }.to_string());
        }
    }

    fn report(&self, app: &App, peer: &PeerId, report: Report) {
        let refused = |reason: &str| Event::PeerFailed { phase: "joining".into(), reason: reason.into() };
        let event = match report {
            Report::Joined => Event::PeerJoined,
            Report::Left => Event::PeerLeft,
            Report::Full => refused("--max-peers is reached"),
            Report::Declined => refused("the peer speaks with enough others"),
            Report::Restless => refused("the peer starts over again and again"),
        };
        app.reporter.tell(Some(peer), &event);
    }

    fn look_at_engine(&mut self, app: &mut App) {
        while let Some((key, out)) = app.engine.next_out() {
            // Ignore the remaining output of a closed peer.
            let Some(peer) = self.members.get(&key).cloned() else { continue };
            match out {
                Out::Send(signal) => self.send(peer, signal.to_string()),
                Out::Tell(Event::FirstVideo { width, height }) => {
                    app.reporter.tell(Some(&peer), &Event::PeerFirstVideo { width, height });
                }
                Out::Tell(event) => app.reporter.tell(Some(&peer), &event),
                Out::Connected => {
                    app.engine.heal(key);
                    self.retries.remove(&peer);
                    app.reporter.tell(Some(&peer), &Event::PeerConnected);
                }
                Out::Rebuilt => self.input(app, Input::Rebuilt(peer)),
                Out::Failed { phase, failure } => {
                    let reason = failure.message;
                    let event = Event::PeerFailed { phase: phase.into(), reason };
                    app.reporter.tell(Some(&peer), &event);
                    let unbearable = failure.code == ExitCode::Misbehaved;
                    self.input(app, if unbearable { Input::Misbehaved(peer) } else { Input::Broken(peer) });
                }
                Out::HungUp => {
                    app.reporter.tell(Some(&peer), &Event::Ended { reason: EndReason::PeerLeft });
                    self.input(app, Input::Broken(peer));
                }
            }
        }
    }

    fn look_at_clock(&mut self, app: &mut App) -> Result<Option<EndReason>, Failure> {
        let now = Instant::now();
        self.retry_members(app, now);
        self.look_at_the_away(app, now);
        self.backoff.set_urgent(self.members.keys().any(|key| app.engine.is_lost(*key)));
        self.retry = self.retry.map(|at| at.min(now + self.backoff.longest()));
        if let Some(wanted) = app.options.expect_video_frames {
            let frames =
                self.frames_gone + self.members.keys().map(|key| app.engine.frames(*key)).sum::<u64>();
            if frames >= wanted {
                return Ok(Some(EndReason::Frames));
            }
            if app.probe_end().is_some_and(|end| now >= end) || self.is_over(app, now) {
                if let Some(failure) = self.unreached.take() {
                    return Err(failure);
                }
                let seconds = app.started.elapsed().as_secs();
                let message = format!("{frames} of {wanted} video frames within {seconds} s");
                return Err(Failure::new(ExitCode::NoMedia, message));
            }
        }
        match self.is_over(app, now) {
            true if !self.entered => {
                let message = "the server has not let us into the room before the duration's end";
                Err(Failure::new(ExitCode::CannotConnect, message))
            }
            is_over => Ok(is_over.then_some(EndReason::Duration)),
        }
    }

    fn is_over(&self, app: &App, now: Instant) -> bool {
        app.options.duration.zip(self.since).is_some_and(|(it, since)| now >= since + it)
    }

    fn wake_time(&self, app: &App) -> Option<Instant> {
        let probe = app.probe_end();
        // The frame counter does not wake us: poll it.
        let look = probe.map(|_| Instant::now() + Duration::from_millis(20));
        let over = app.options.duration.zip(self.since).map(|(duration, since)| since + duration);
        let member = self.retries.values().filter_map(|(at, _)| *at).min();
        let away = self.room.away().next().map(|_| Instant::now() + LOOK_AT_AWAY);
        [self.retry, member, away, probe, look, over].into_iter().flatten().min()
    }
}
