//! One-to-one calls: `callbin call` and `callbin wait`.
//!
//! In this protocol a connection to the server serves one call; the next call needs a new connection. The server closes
//! the connection when the peer's is gone. A connected call survives the loss of the server, and is resumed there if the
//! peer can do that, too (**resume**).

mod again;

use std::time::{Duration, Instant};

use callbin_protocol::{ClientMessage, ErrorMessage, PeerId, ServerMessage, Signal};

use crate::{
    app::{App, Connecting, Wake},
    backoff::{Backoff, WaitForServer},
    ending::Ending,
    engine::Out,
    events::Event,
    exit::{ExitCode, Failure},
    negotiation::Start,
    resume::{Input, Random, Resumption, Role},
    signalling::{Connection, Incoming, closing, refusal},
};

/// Pause before we wait for the next call.
const SHORT_PAUSE: Duration = Duration::from_millis(10);

/// Calls `peer`, until the call is over.
pub async fn call(app: &mut App, peer: &PeerId, remote_offerer: bool) -> Result<(), Failure> {
    let start = if remote_offerer { Start::RequestOffer } else { Start::Offer };
    let uid = app.options.uid();
    let mut backoff = app.backoff(WaitForServer::Limit(Duration::ZERO));
    let mut unreached = None;
    loop {
        app.start_media();
        let mut call = Call::new(app, &uid, Some(peer.clone()), start);
        let ending = call.run(app).await?;
        if call.was_registered {
            unreached = None;
        }
        let pause = call.pause_before_another(app, &ending, &mut backoff);
        let Some(pause) = pause else { return call.end(app, ending.but_for(unreached)).await };
        call.close(app).await;
        unreached = ending.failure();
        if pause_or_interrupt(app, pause).await? {
            return Ok(());
        }
    }
}

/// Answers calls: one, or one after the other.
pub async fn wait(app: &mut App, once: bool) -> Result<(), Failure> {
    let uid = app.options.uid();
    let mut backoff = app.backoff(WaitForServer::Forever);
    let mut unreached = None;
    // Check all elements and flags now, and do the slow parts of the first call's setup.
    app.start_media();
    loop {
        let mut call = Call::new(app, &uid, None, Start::BeCalled);
        let ending = call.run(app).await?;
        if call.was_registered {
            backoff.let_in();
            unreached = None;
        }
        if ending.is_final() || (once && call.was_called) {
            return call.end(app, ending.but_for(unreached)).await;
        }
        let pause = if call.was_called {
            app.tell_unsent(call.key, None);
            app.reporter.tell(None, &Event::Ended { reason: ending.reason() });
            Duration::ZERO
        } else if matches!(ending, Ending::PeerLeft) {
            // The caller gave up before it sent anything. Pause, in case a server does this for ever.
            SHORT_PAUSE
        } else {
            match call.pause_before_another(app, &ending, &mut backoff) {
                Some(pause) => pause,
                None => return call.end(app, ending).await,
            }
        };
        call.close(app).await;
        if !backoff.was_let_in() {
            unreached = ending.failure();
        }
        if pause_or_interrupt(app, pause).await? {
            return Ok(());
        }
    }
}

/// Pauses, at most until the probe's end; returns whether the user interrupted.
async fn pause_or_interrupt(app: &mut App, pause: Duration) -> Result<bool, Failure> {
    let until = Instant::now() + pause;
    let until = app.probe_end().map_or(until, |end| until.min(end));
    while Instant::now() < until {
        if let Wake::Interrupted = app.wake(None, &mut None, Some(until)).await? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One call, and its connection to the server.
struct Call {
    key: u64,
    uid: PeerId,
    /// The peer that we call. `None`: we are called; the protocol does not name the caller.
    peer: Option<PeerId>,
    connection: Option<Connection>,
    connecting: Option<Connecting>,
    resumption: Resumption,
    /// Whether the server has connected us with the peer. Until then output waits in `held`.
    session: bool,
    held: Vec<Out>,
    /// Signals for a peer that we have no session with any more, but may have again.
    unsent: Vec<Signal>,
    was_registered: bool,
    was_called: bool,
    was_connected: bool,
}

impl Call {
    fn new(app: &mut App, uid: &PeerId, peer: Option<PeerId>, start: Start) -> Self {
        // If both sides offer, the caller's offer wins.
        let polite = peer.is_none();
        let ring = if peer.is_some() { app.options.ring_limit() } else { Duration::ZERO };
        let key = app.engine.open(peer.clone(), start, polite, ring);
        let role = if peer.is_some() { Role::Caller } else { Role::Callee };
        Self {
            key,
            uid: uid.clone(),
            was_called: peer.is_some(),
            peer,
            connection: None,
            connecting: None,
            resumption: Resumption::new(role, Random::fresh()),
            session: false,
            held: Vec::new(),
            unsent: Vec::new(),
            was_registered: false,
            was_connected: false,
        }
    }

    async fn run(&mut self, app: &mut App) -> Result<Ending, Failure> {
        self.connecting = Some(app.connect(&self.uid));
        if let Some(text) = app.options.send_text.clone() {
            app.engine.say(self.key, text);
        }
        loop {
            if let Some(ending) = self.look_at_engine(app).or_else(|| self.look_at_clock(app)) {
                return Ok(ending);
            }
            let until = self.wake_time(app);
            let ending = match app.wake(self.connection.as_ref(), &mut self.connecting, until).await? {
                Wake::Connected(result) => self.connected(app, result),
                Wake::Incoming(incoming) if self.resumption.is_attached() => self.incoming(app, incoming),
                Wake::Incoming(incoming) => self.incoming_again(app, incoming),
                Wake::Interrupted => Some(Ending::Interrupted),
                Wake::Engine | Wake::Time => {
                    self.rest_the_encoders(app);
                    None
                }
            };
            if let Some(ending) = ending {
                return Ok(ending);
            }
        }
    }

    fn connected(&mut self, app: &mut App, result: Result<Connection, Failure>) -> Option<Ending> {
        match result {
            Ok(connection) if self.resumption.is_attached() => {
                self.registered(app, connection);
                None
            }
            Err(failure) if self.resumption.is_attached() => Some(Ending::Failed(failure)),
            Ok(connection) => {
                app.registered(&self.uid);
                self.connection = Some(connection);
                self.resume(app, Input::Registered(Random::fresh()))
            }
            Err(failure) => self.resume(app, Input::Refused(failure)),
        }
    }

    fn registered(&mut self, app: &mut App, connection: Connection) {
        self.was_registered = true;
        app.engine.set_cut_off(false);
        app.registered(&self.uid);
        if let Some(peer) = &self.peer {
            connection.send(ClientMessage::Session(peer.clone()).to_string());
            app.reporter.tell(Some(peer), &Event::Calling);
        } else {
            self.session = true;
            app.reporter.tell(None, &Event::Waiting);
        }
        self.connection = Some(connection);
    }

    /// Stops the encoders while we only wait for a call.
    fn rest_the_encoders(&self, app: &mut App) {
        if !self.was_called {
            drop(app.engine.drop_source());
        }
    }

    fn incoming(&mut self, app: &mut App, incoming: Incoming) -> Option<Ending> {
        let text = match incoming {
            Incoming::Text(text) => text,
            // 1000: the peer is gone. Any other code concerns the server itself.
            Incoming::Closed { code: 1000, .. } if self.is_resumable(app) => {
                return self.resume(app, Input::Gone);
            }
            Incoming::Closed { code: 1000, .. } if self.session => {
                // The peer may only have lost its server: only DTLS can tell it that the call is over.
                app.engine.set_cut_off(true);
                return Some(Ending::PeerLeft);
            }
            Incoming::Closed { code, reason } => {
                if let Some(failure) = app.sent_away(code, &reason) {
                    return Some(Ending::Failed(failure));
                }
                return self.server_lost(app, closing(code, &reason));
            }
            Incoming::Unreadable(failure) => {
                // In a session the message is the peer's, so the peer has called us.
                self.was_called |= self.session;
                return Some(Ending::Failed(failure));
            }
            Incoming::Lost(reason) => return self.server_lost(app, reason),
        };
        match ServerMessage::parse(&text) {
            Ok(ServerMessage::Error(error)) => Some(Ending::Failed(self.server_error(error))),
            Ok(ServerMessage::SessionOk) if !self.session => {
                self.session = true;
                for out in std::mem::take(&mut self.held) {
                    self.carry_out(app, out);
                }
                None
            }
            // A peer wants to go on with a call that we do not have: wait for another call.
            _ if self.session && !self.was_called && Resumption::is_request(&text) => Some(Ending::PeerLeft),
            _ if self.session => {
                self.peer_says(app, &text);
                None
            }
            _ => None,
        }
    }

    /// The server is gone. Media flow from peer to peer without it: a connected call goes on until the peer hangs up
    /// or falls silent. (If the peer had left, the server would have closed the connection with 1000.)
    fn server_lost(&mut self, app: &mut App, reason: String) -> Option<Ending> {
        if app.engine.connected(self.key).is_none() {
            return Some(Ending::ServerLost(reason));
        }
        self.resume(app, Input::Lost(reason))
    }

    /// The failure for an `ERROR` message: the server's before there is a session, the peer's within it.
    fn server_error(&self, error: ErrorMessage) -> Failure {
        let (code, advice) = match &error {
            ErrorMessage::PeerNotFound(_) => (ExitCode::PeerNotFound, ": is it waiting on this server?"),
            ErrorMessage::PeerBusy(_) => (ExitCode::Busy, ": try again later"),
            ErrorMessage::Other(_) if !self.session => return refusal("the call", &error),
            _ => (ExitCode::NegotiationFailed, ""),
        };
        Failure::new(code, format!("{error}{advice}"))
    }

    fn peer_says(&mut self, app: &mut App, text: &str) {
        match Signal::parse(text) {
            Ok(signal) => {
                self.resumption.hear(&signal);
                if !std::mem::replace(&mut self.was_called, true) {
                    app.start_media();
                }
                app.engine.signal(self.key, signal);
            }
            Err(error) => tracing::warn!("ignored an invalid signal from the peer: {error}"),
        }
    }

    fn look_at_engine(&mut self, app: &mut App) -> Option<Ending> {
        while let Some((key, out)) = app.engine.next_out() {
            if key != self.key {
                continue;
            }
            match out {
                Out::Failed { failure, .. } => return Some(Ending::Failed(self.real_reason(failure))),
                Out::HungUp => return Some(Ending::PeerLeft),
                out if self.session => self.carry_out(app, out),
                out => self.held.push(out),
            }
        }
        None
    }

    /// The real reason if the time for the negotiation was over before there was a server to negotiate through.
    fn real_reason(&self, failure: Failure) -> Failure {
        if self.was_registered || failure.code != ExitCode::NegotiationFailed {
            return failure;
        }
        let message = "cannot connect: the server did not answer within --timeout";
        Failure::new(ExitCode::CannotConnect, message).passing()
    }

    fn carry_out(&mut self, app: &mut App, out: Out) {
        let peer = self.peer.as_ref();
        match out {
            Out::Send(signal) => self.send_signal(signal),
            Out::Tell(event) => app.reporter.tell(peer, &event),
            Out::Connected => {
                self.was_connected = true;
                if self.resumption.is_agreed() {
                    app.engine.heal(self.key);
                }
                app.reporter.tell(peer, &Event::DtlsConnected);
            }
            Out::Rebuilt | Out::Failed { .. } | Out::HungUp => {}
        }
    }

    /// Handles all deadlines: of the resumption, `--duration` and the probe.
    fn look_at_clock(&mut self, app: &mut App) -> Option<Ending> {
        let now = Instant::now();
        if let Some(ending) = self.look_at_resumption(app, now) {
            return Some(ending);
        }
        if let Some(wanted) = app.options.expect_video_frames {
            // The text of --send-text can still be sent: wait for that, too.
            let speaks = app.engine.has_unsaid(self.key) && app.engine.may_speak(self.key);
            if app.engine.frames(self.key) >= wanted && !speaks {
                return Some(Ending::Frames);
            }
            if app.probe_end().is_some_and(|end| now >= end) || self.is_over(app, now) {
                return Some(Ending::TooFewFrames(self.too_few_frames(app, wanted)));
            }
        }
        self.is_over(app, now).then_some(Ending::Duration)
    }

    fn is_over(&self, app: &App, now: Instant) -> bool {
        let over = app.options.duration.zip(app.engine.connected(self.key));
        over.is_some_and(|(duration, since)| now >= since + duration)
    }

    fn too_few_frames(&self, app: &App, wanted: u64) -> Failure {
        let frames = app.engine.frames(self.key);
        let state = if self.was_connected { "connected" } else { "not connected" };
        let seconds = app.started.elapsed().as_secs();
        let message = format!("{frames} of {wanted} video frames within {seconds} s ({state})");
        Failure::new(ExitCode::NoMedia, message)
    }

    fn wake_time(&self, app: &App) -> Option<Instant> {
        let probe = app.probe_end();
        // The frame counter does not wake us: poll it.
        let look =
            (probe.is_some() && self.was_connected).then(|| Instant::now() + Duration::from_millis(20));
        let over = app
            .options
            .duration
            .zip(app.engine.connected(self.key))
            .map(|(duration, since)| since + duration);
        let resume = self.resumption.deadline().map(|at| app.started + at);
        [probe, look, over, resume].into_iter().flatten().min()
    }

    /// The pause before another attempt, after one that did not become a call. `None`: no other attempt.
    fn pause_before_another(&self, app: &App, ending: &Ending, backoff: &mut Backoff) -> Option<Duration> {
        let (reason, pause) = match ending {
            Ending::Failed(failure) if !(self.was_registered && self.peer.is_some()) => {
                (failure.message.clone(), backoff.after(failure, app.started.elapsed())?)
            }
            Ending::ServerLost(reason) if self.peer.is_none() => (reason.clone(), backoff.after_loss()),
            _ => return None,
        };
        app.reporter.tell(self.peer.as_ref(), &Event::reconnecting(&reason, pause));
        Some(pause)
    }

    /// Reports the last events and closes the call; returns the result of the process.
    async fn end(&mut self, app: &mut App, ending: Ending) -> Result<(), Failure> {
        let is_answered = self.peer.is_none() && self.was_connected;
        let ended = Event::Ended { reason: ending.reason() };
        let result = match ending {
            // An answered call normally ends when the peer hangs up.
            Ending::PeerLeft if is_answered => Ok(()),
            ending => ending.result(self.was_connected),
        };
        let unsent = app.unsent(self.key);
        let result = match (result, &unsent) {
            (Ok(()), Some(why)) => {
                let message = format!("the call went well, but the text of --send-text was not sent: {why}");
                Err(Failure::new(ExitCode::TextUnsent, message))
            }
            (result, _) => result,
        };
        let events = unsent.map(|reason| Event::TextUnsent { reason }).into_iter();
        for event in events.chain(self.was_called.then_some(ended)) {
            match result {
                Ok(()) => app.reporter.tell(self.peer.as_ref(), &event),
                // People read the failure in the last line on stderr.
                Err(_) => app.reporter.tell_scripts(self.peer.as_ref(), &event),
            }
        }
        self.close(app).await;
        result
    }

    async fn close(&mut self, app: &mut App) {
        if self.resumption.is_agreed() {
            // For this peer the end of the session alone does not mean the end of the call.
            app.engine.set_cut_off(true);
        }
        app.engine.close(self.key);
        app.engine.set_cut_off(false);
        while app.engine.next_out().is_some() {}
        drop(app.engine.drop_source());
        if let Some(connecting) = self.connecting.take() {
            connecting.cancel().await;
        }
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}
