//! Sessions with media servers over HTTP: `callbin publish` (WHIP, RFC 9725) and `callbin play` (WHEP).
//!
//! `exchange` (pure) decides when to send what, `links` (pure) reads headers, `http` sends. A session whose path is lost is
//! replaced by a new one, which also restarts ICE.

mod exchange;
mod http;
mod links;

use std::{
    pin::pin,
    time::{Duration, Instant},
};

use async_std::{
    channel::{self, Receiver, Sender},
    future::timeout,
    task,
};
use callbin_protocol::{SdpType, Signal};
use futures_util::{FutureExt, select};
use hyper::Method;

use self::{
    exchange::{Exchange, Request},
    http::{Question, Reply, send},
};
use crate::{
    address::Address,
    app::{App, Wake},
    backoff::WaitForServer,
    ending::Ending,
    engine::Out,
    events::Event,
    exit::{ExitCode, Failure},
    ice::IceServers,
    negotiation::Start,
    signalling::Server,
};

const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
/// Time limit for asking about ICE servers before the first session.
const OPTIONS_LIMIT: Duration = Duration::from_secs(3);
/// Time limit for the end of a session.
const DELETE_LIMIT: Duration = Duration::from_secs(2);
/// How long a session that was connected is replaced by new ones, unless `--wait-for-server` says otherwise.
const RECOVERY: Duration = Duration::from_secs(120);

/// Makes sessions at `url` until the user, `--duration`, the server or a lasting failure ends them.
pub async fn run(app: &mut App, url: &Address) -> Result<(), Failure> {
    let server = Server { address: url.clone(), ..app.server() };
    let mut servers = ask_for_ice_servers(app, &server).await;
    let mut backoff = app.backoff(WaitForServer::Limit(Duration::ZERO));
    let mut recovery = app.backoff(WaitForServer::Limit(RECOVERY));
    // When the last session that was connected was lost.
    let mut lost: Option<Instant> = None;
    loop {
        app.start_media();
        app.engine.set_ice_servers(servers.clone());
        let mut session = Session::new(app, &server);
        let ending = session.run(app).await;
        session.close(app).await;
        servers = links::renewed(servers, &session.ice, app.options.no_ice_servers);
        if session.was_connected {
            lost = Some(Instant::now());
            recovery = app.backoff(WaitForServer::Limit(RECOVERY));
        }
        let ending = ending?;
        let failure = match &ending {
            Ending::Failed(failure) => failure.clone(),
            _ => return finish(app, ending, lost.is_some()),
        };
        let pause = match lost {
            Some(since) => recovery.after(&failure.clone().passing(), since.elapsed()),
            None => backoff.after(&failure, app.started.elapsed()),
        };
        let Some(pause) = pause.filter(|_| failure.code != ExitCode::NotAuthorised) else {
            return finish(app, ending, lost.is_some());
        };
        app.reporter.tell(None, &Event::reconnecting(&failure.message, pause));
        let until = Instant::now() + pause;
        while Instant::now() < until {
            if let Wake::Interrupted = app.wake(None, &mut None, Some(until)).await? {
                return finish(app, Ending::Interrupted, lost.is_some());
            }
        }
    }
}

fn finish(app: &App, ending: Ending, was_connected: bool) -> Result<(), Failure> {
    let reason = Event::Ended { reason: ending.reason() };
    let result = ending.result(was_connected);
    match &result {
        Ok(()) => app.reporter.tell(None, &reason),
        Err(_) => app.reporter.tell_scripts(None, &reason),
    }
    result
}

/// webrtcbin looks for candidates before the session is made, so only servers that are known by then are used. Some
/// servers name them when they are asked; those named in the answer are used for the next session.
async fn ask_for_ice_servers(app: &App, server: &Server) -> IceServers {
    if app.options.no_ice_servers {
        return IceServers::default();
    }
    let question = Question { method: Method::OPTIONS, body: None, etag: None };
    match timeout(OPTIONS_LIMIT, send(server, &server.address, &question)).await {
        Ok(Ok(reply)) if reply.status < 300 => links::ice_servers(reply.all("link")),
        _ => IceServers::default(),
    }
}

/// Whether the server has made a session.
fn is_made(reply: &Reply) -> bool {
    matches!(reply.status, 200 | 201)
}

/// One session.
struct Session {
    server: Server,
    key: u64,
    exchange: Exchange,
    replies: Receiver<Result<Reply, Failure>>,
    to: Sender<Result<Reply, Failure>>,
    /// The session's own URL, and the tag of its ICE session.
    resource: Option<(Address, Option<String>)>,
    /// What the answer's `Link` headers name.
    ice: IceServers,
    is_made: bool,
    was_connected: bool,
}

/// Why a session wakes up.
enum Woken {
    App(Wake),
    Reply(Box<Result<Reply, Failure>>),
}

impl Session {
    fn new(app: &mut App, server: &Server) -> Self {
        let key = app.engine.open(None, Start::Offer, false, Duration::ZERO);
        let (to, replies) = channel::bounded(4);
        app.reporter.tell(None, &Event::Calling);
        Self {
            server: server.clone(),
            key,
            exchange: Exchange::default(),
            replies,
            to,
            resource: None,
            ice: IceServers::default(),
            is_made: false,
            was_connected: false,
        }
    }

    async fn run(&mut self, app: &mut App) -> Result<Ending, Failure> {
        loop {
            if let Some(ending) = self.look_at_engine(app).or_else(|| self.look_at_clock(app)) {
                return Ok(ending);
            }
            if let Some(request) = self.exchange.next(app.started.elapsed()) {
                self.ask(request);
            }
            let until = self.wake_time(app);
            let woken = {
                let mut connecting = None;
                let mut wake = pin!(app.wake(None, &mut connecting, until).fuse());
                let mut reply = pin!(self.replies.recv().fuse());
                select! {
                    wake = wake => Woken::App(wake?),
                    reply = reply => match reply {
                        Ok(reply) => Woken::Reply(Box::new(reply)),
                        Err(_) => return Err(Failure::internal("no more answers")),
                    },
                }
            };
            match woken {
                Woken::App(Wake::Interrupted) => return Ok(Ending::Interrupted),
                Woken::App(_) => {}
                Woken::Reply(reply) => {
                    if let Err(failure) = self.replied(app, *reply) {
                        return Ok(Ending::Failed(failure));
                    }
                }
            }
        }
    }

    /// The first reply is that to the offer; further ones are those to candidates, which may fail.
    fn replied(&mut self, app: &mut App, reply: Result<Reply, Failure>) -> Result<(), Failure> {
        if !self.is_made {
            self.exchange.answered(false);
            return self.posted(app, &reply?);
        }
        match reply {
            Ok(reply) => self.patched(&reply),
            Err(failure) => {
                tracing::debug!("a candidate was not sent: {failure}");
                self.exchange.answered(true);
            }
        }
        Ok(())
    }

    fn ask(&mut self, request: Request) {
        let (server, to) = (self.server.clone(), self.to.clone());
        let (at, question) = match request {
            Request::Post(offer) => {
                let body = Some((SDP, offer));
                (server.address.clone(), Question { method: Method::POST, body, etag: None })
            }
            Request::Patch(fragment) => {
                let Some((resource, etag)) = self.resource.clone() else {
                    self.exchange.answered(false);
                    return;
                };
                let etag = etag.or_else(|| Some("*".into()));
                (resource, Question { method: Method::PATCH, body: Some((FRAGMENT, fragment)), etag })
            }
        };
        task::spawn(async move {
            let _ = to.send(send(&server, &at, &question).await).await;
        });
    }

    fn posted(&mut self, app: &mut App, reply: &Reply) -> Result<(), Failure> {
        if !is_made(reply) {
            return Err(links::refusal(reply.status, reply.header("retry-after")));
        }
        self.made(reply);
        self.exchange.answered(self.resource.is_some());
        let Ok(sdp) = String::from_utf8(reply.body.clone()) else {
            return Err(Failure::new(ExitCode::NegotiationFailed, "the server's answer is no text"));
        };
        app.engine.signal(self.key, Signal::Sdp { kind: SdpType::Answer, sdp });
        Ok(())
    }

    /// Notes what the headers say about the new session.
    fn made(&mut self, reply: &Reply) {
        self.is_made = true;
        self.ice = links::ice_servers(reply.all("link"));
        let location = reply.header("location").and_then(|to| links::resolve(&reply.from, to));
        if location.is_none() {
            tracing::warn!("the server names no URL of the session: it cannot be ended there");
        }
        let etag = reply.header("etag").map(String::from);
        self.resource = location.map(|location| (location, etag));
    }

    fn patched(&mut self, reply: &Reply) {
        let is_fine = reply.status < 300;
        if !is_fine {
            tracing::debug!("the server takes no candidates: HTTP {}", reply.status);
        }
        self.exchange.answered(is_fine);
    }

    fn look_at_engine(&mut self, app: &mut App) -> Option<Ending> {
        while let Some((key, out)) = app.engine.next_out() {
            if key != self.key {
                continue;
            }
            match out {
                Out::Send(signal) => self.exchange.signal(app.started.elapsed(), signal),
                Out::Tell(event) => app.reporter.tell(None, &event),
                Out::Connected => {
                    self.was_connected = true;
                    app.reporter.tell(None, &Event::DtlsConnected);
                }
                Out::Failed { failure, .. } => return Some(Ending::Failed(failure)),
                Out::HungUp => return Some(Ending::PeerLeft),
                Out::Rebuilt => {}
            }
        }
        None
    }

    fn look_at_clock(&mut self, app: &mut App) -> Option<Ending> {
        let now = Instant::now();
        let over = app.options.duration.zip(app.engine.connected(self.key));
        let is_over = over.is_some_and(|(duration, since)| now >= since + duration);
        if let Some(wanted) = app.options.expect_video_frames {
            let frames = app.engine.frames(self.key);
            if frames >= wanted {
                return Some(Ending::Frames);
            }
            if is_over || app.probe_end().is_some_and(|end| now >= end) {
                let message = format!("{frames} of {wanted} video frames");
                return Some(Ending::TooFewFrames(Failure::new(ExitCode::NoMedia, message)));
            }
        }
        is_over.then_some(Ending::Duration)
    }

    fn wake_time(&self, app: &App) -> Option<Instant> {
        let probe = app.probe_end();
        // The frame counter does not wake us: poll it.
        let look =
            (probe.is_some() && self.was_connected).then(|| Instant::now() + Duration::from_millis(20));
        let over = app.options.duration.zip(app.engine.connected(self.key)).map(|(it, since)| since + it);
        let request = self.exchange.deadline().map(|at| app.started + at);
        [probe, look, over, request].into_iter().flatten().min()
    }

    /// Ends the session here and at the server.
    async fn close(&mut self, app: &mut App) {
        app.engine.close(self.key);
        while app.engine.next_out().is_some() {}
        // The server may make the session that was asked for, and only its answer says how to end it.
        if self.exchange.is_asking() && !self.is_made {
            match timeout(DELETE_LIMIT, self.replies.recv()).await {
                Ok(Ok(Ok(reply))) if is_made(&reply) => self.made(&reply),
                Ok(_) => {}
                Err(_) => tracing::warn!("the server may make a session that is not wanted any more"),
            }
        }
        let Some((resource, _)) = self.resource.take() else { return };
        let question = Question { method: Method::DELETE, body: None, etag: None };
        match timeout(DELETE_LIMIT, send(&self.server, &resource, &question)).await {
            Ok(Ok(reply)) if reply.status < 300 || reply.status == 404 => {}
            Ok(Ok(reply)) => tracing::warn!("the server did not end the session: HTTP {}", reply.status),
            Ok(Err(failure)) => tracing::warn!("the server did not end the session: {failure}"),
            Err(_) => tracing::warn!("the server did not answer the end of the session"),
        }
    }
}
