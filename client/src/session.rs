//! One-to-one calls: `callbin call` and `callbin wait`.
//!
//! In this protocol the connection to the server is the call: it ends with it, and whoever wants to be called
//! again connects again.

use std::time::{Duration, Instant};

use callbin_protocol::{ClientMessage, ErrorMessage, PeerId, ServerMessage, Signal};

use crate::{
    app::{App, Wake},
    engine::Out,
    events::Event,
    exit::{ExitCode, Failure},
    negotiation::Start,
    signalling::{Connection, Incoming},
};

/// Between attempts to reach a server that is gone.
const SHORT_PAUSE: Duration = Duration::from_millis(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// How a call ended.
#[derive(Debug)]
enum Ending {
    /// The user wants it so.
    Interrupted,
    /// `--duration` is over.
    Duration,
    /// `--expect-video-frames` has its frames.
    Frames,
    /// The peer hung up.
    PeerLeft,
    /// The server is gone.
    ServerLost(String),
    /// `--expect-video-frames` has not got them in time.
    TooFewFrames(Failure),
    /// It failed.
    Failed(Failure),
}

/// Calls `peer`, until the call is over.
pub async fn call(app: &mut App, peer: &PeerId, remote_offerer: bool) -> Result<(), Failure> {
    let start = if remote_offerer { Start::RequestOffer } else { Start::Offer };
    app.start_media();
    let mut call = Call::new(app, Some(peer.clone()), start);
    let uid = app.options.uid();
    let ending = call.run(app, &uid).await?;
    app.reporter.tell(Some(peer), &Event::Ended { reason: ending.name() });
    call.close(app).await;
    ending.result(call.was_connected)
}

/// Answers calls: one, or one after the other.
pub async fn wait(app: &mut App, once: bool) -> Result<(), Failure> {
    let uid = app.options.uid();
    let mut registered_before = false;
    let mut pause = FIRST_PAUSE;
    // The check of all elements and flags, and the slow parts of the first call's beginning, now.
    app.start_media();
    loop {
        let mut call = Call::new(app, None, Start::BeCalled);
        let ending = call.run(app, &uid).await?;
        let was_called = call.was_called;
        if was_called {
            app.reporter.tell(None, &Event::Ended { reason: ending.name() });
        }
        call.close(app).await;
        if ending.is_final() || (once && was_called) || !(registered_before || call.was_registered) {
            return match ending {
                // Being hung up on is how an answered call ends.
                Ending::PeerLeft if call.was_connected => Ok(()),
                ending => ending.result(call.was_connected),
            };
        }
        if call.was_registered {
            registered_before = true;
            pause = FIRST_PAUSE;
        }
        if !was_called && matches!(ending, Ending::PeerLeft) {
            // A caller that gave up before it said anything. Not at once, should a server do this for ever.
            if pause_or_interrupt(app, SHORT_PAUSE).await? {
                return Ok(());
            }
        } else if !was_called {
            let in_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
            app.reporter.tell(None, &Event::Reconnecting { reason: ending.reason(), in_ms });
            if pause_or_interrupt(app, pause).await? {
                return Ok(());
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether the user wanted to end while we paused. No pause outlasts a probe.
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

impl Ending {
    fn name(&self) -> String {
        match self {
            Self::Interrupted => "hung-up".into(),
            Self::Duration => "duration".into(),
            Self::Frames => "frames".into(),
            Self::PeerLeft => "peer-left".into(),
            Self::ServerLost(_) => "server-lost".into(),
            Self::TooFewFrames(failure) | Self::Failed(failure) => failure.message.clone(),
        }
    }

    fn reason(&self) -> String {
        match self {
            Self::ServerLost(reason) => reason.clone(),
            other => other.name(),
        }
    }

    /// Whether another attempt would be unwelcome.
    fn is_final(&self) -> bool {
        match self {
            Self::Failed(failure) => failure.code == ExitCode::NotAuthorised,
            Self::Interrupted | Self::Frames | Self::TooFewFrames(_) => true,
            Self::Duration | Self::PeerLeft | Self::ServerLost(_) => false,
        }
    }

    fn result(self, was_connected: bool) -> Result<(), Failure> {
        match self {
            Self::Interrupted | Self::Duration | Self::Frames => Ok(()),
            Self::PeerLeft if was_connected => {
                Err(Failure::new(ExitCode::PeerLeft, "the peer ended the call"))
            }
            Self::PeerLeft => {
                Err(Failure::new(ExitCode::PeerLeft, "the peer left before the call was connected"))
            }
            Self::ServerLost(reason) => Err(Failure::new(
                ExitCode::CannotConnect,
                format!("the connection to the signalling server was lost: {reason}"),
            )),
            Self::TooFewFrames(failure) | Self::Failed(failure) => Err(failure),
        }
    }
}

/// One connection and the one call it can have.
struct Call {
    key: u64,
    /// Whom we call; `None`: we are called, by somebody whose uid the protocol does not tell.
    peer: Option<PeerId>,
    connection: Option<Connection>,
    /// What is for the peer's ears waits until the server has made the connection to it.
    session: bool,
    held: Vec<Out>,
    was_registered: bool,
    was_called: bool,
    was_connected: bool,
    next_second: Option<Instant>,
}

impl Call {
    fn new(app: &mut App, peer: Option<PeerId>, start: Start) -> Self {
        // The caller's offer stands, should both offer.
        let polite = peer.is_none();
        let ring = if peer.is_some() { app.options.ring_limit() } else { Duration::ZERO };
        let key = app.engine.open(peer.clone(), start, polite, ring);
        Self {
            key,
            was_called: peer.is_some(),
            peer,
            connection: None,
            session: false,
            held: Vec::new(),
            was_registered: false,
            was_connected: false,
            next_second: None,
        }
    }

    async fn run(&mut self, app: &mut App, uid: &PeerId) -> Result<Ending, Failure> {
        let mut connecting = Some(app.connect(uid));
        if let Some(text) = app.options.send_text.clone() {
            app.engine.say(self.key, text);
        }
        loop {
            if let Some(ending) = self.look_at_engine(app).or_else(|| self.look_at_clock(app)) {
                return Ok(ending);
            }
            let until = self.wake_time(app);
            let ending = match app.wake(self.connection.as_ref(), &mut connecting, until).await? {
                Wake::Connected(Ok(connection)) => {
                    self.registered(app, connection, uid);
                    None
                }
                Wake::Connected(Err(failure)) => Some(self.not_registered(failure)),
                Wake::Incoming(incoming) => self.incoming(app, incoming),
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

    fn registered(&mut self, app: &App, connection: Connection, uid: &PeerId) {
        self.was_registered = true;
        app.registered(uid);
        if let Some(peer) = &self.peer {
            connection.send(ClientMessage::Session(peer.clone()).to_string());
            app.reporter.tell(Some(peer), &Event::Calling);
        } else {
            self.session = true;
            app.reporter.tell(None, &Event::Waiting);
        }
        self.connection = Some(connection);
    }

    /// Whoever only waits encodes nothing.
    fn rest_the_encoders(&self, app: &mut App) {
        if !self.was_called {
            drop(app.engine.drop_source());
        }
    }

    fn not_registered(&self, failure: Failure) -> Ending {
        match failure.code {
            // A server that is gone, or that has not yet noticed that we were: worth another attempt.
            ExitCode::CannotConnect | ExitCode::RefusedUid if self.peer.is_none() => Ending::Failed(failure),
            _ => Ending::Failed(failure),
        }
    }

    fn incoming(&mut self, app: &mut App, incoming: Incoming) -> Option<Ending> {
        let text = match incoming {
            Incoming::Text(text) => text,
            // 1000: the partner is gone. Anything else is the server's own affair.
            Incoming::Closed { code: 1000, .. } if self.session => {
                return Some(Ending::PeerLeft);
            }
            Incoming::Closed { code, reason } => {
                if let Some(failure) = app.sent_away(code, &reason) {
                    return Some(Ending::Failed(failure));
                }
                return Some(Ending::ServerLost(format!("closed with {code} {reason}").trim_end().into()));
            }
            Incoming::Unreadable(failure) => {
                // Of the peer, who has called us then.
                self.was_called |= self.session;
                return Some(Ending::Failed(failure));
            }
            Incoming::Lost(reason) => return Some(Ending::ServerLost(reason)),
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
            _ if self.session => {
                self.peer_says(app, &text);
                None
            }
            _ => None,
        }
    }

    fn server_error(&self, error: ErrorMessage) -> Failure {
        let code = match &error {
            ErrorMessage::PeerNotFound(_) => ExitCode::PeerNotFound,
            ErrorMessage::PeerBusy(_) => ExitCode::Busy,
            _ => ExitCode::NegotiationFailed,
        };
        let advice = match code {
            ExitCode::PeerNotFound => ": is it waiting on this server?",
            ExitCode::Busy => ": try again later",
            _ => "",
        };
        Failure::new(code, format!("{error}{advice}"))
    }

    fn peer_says(&mut self, app: &mut App, text: &str) {
        match Signal::parse(text) {
            Ok(signal) => {
                if !std::mem::replace(&mut self.was_called, true) {
                    app.start_media();
                }
                app.engine.signal(self.key, signal);
            }
            Err(error) => tracing::warn!("the peer says what is no signal, ignored: {error}"),
        }
    }

    fn look_at_engine(&mut self, app: &mut App) -> Option<Ending> {
        while let Some((key, out)) = app.engine.next_out() {
            if key != self.key {
                continue;
            }
            match out {
                Out::Failed { failure, .. } => return Some(Ending::Failed(failure)),
                Out::HungUp => return Some(Ending::PeerLeft),
                out if self.session => self.carry_out(app, out),
                out => self.held.push(out),
            }
        }
        None
    }

    fn carry_out(&mut self, app: &mut App, out: Out) {
        let peer = self.peer.as_ref();
        match out {
            Out::Send(signal) => {
                self.connection.iter().for_each(|connection| connection.send(signal.to_string()));
            }
            Out::Tell(event) => app.reporter.tell(peer, &event),
            Out::Connected => {
                self.was_connected = true;
                self.next_second = Some(Instant::now() + Duration::from_secs(1));
                app.reporter.tell(peer, &Event::DtlsConnected);
            }
            Out::Rebuilt | Out::Failed { .. } | Out::HungUp => {}
        }
    }

    /// Whatever the clock decides: seconds, duration, probe.
    fn look_at_clock(&mut self, app: &mut App) -> Option<Ending> {
        let now = Instant::now();
        if let Some(next) = self.next_second.filter(|next| *next <= now) {
            self.next_second = Some((next + Duration::from_secs(1)).max(now));
            app.engine.every_second();
            if let Some(ending) = self.look_at_engine(app) {
                return Some(ending);
            }
        }
        if let Some(wanted) = app.options.expect_video_frames {
            if app.engine.frames(self.key) >= wanted {
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
        // Frames are counted where nobody wakes us: look often enough.
        let look =
            (probe.is_some() && self.was_connected).then(|| Instant::now() + Duration::from_millis(20));
        let over = app
            .options
            .duration
            .zip(app.engine.connected(self.key))
            .map(|(duration, since)| since + duration);
        [self.next_second, probe, look, over].into_iter().flatten().min()
    }

    async fn close(&mut self, app: &mut App) {
        app.engine.close(self.key);
        while app.engine.next_out().is_some() {}
        drop(app.engine.drop_source());
        if let Some(connection) = self.connection.take() {
            connection.close().await;
        }
    }
}
