//! The program: what all modes share, from the flags to the exit code.

use std::{
    pin::pin,
    thread,
    time::{Duration, Instant},
};

use async_signal::{Signal as Unix, Signals};
use async_std::{
    channel::{self, Receiver},
    task,
};
use futures_util::{FutureExt, StreamExt, future, select};

use crate::{
    cli::{Cli, Command, Options, View},
    conference,
    engine::{Engine, Lookup},
    events::{Event, Reporter},
    exit::{ExitCode, Failure},
    media::{
        make,
        source::Source,
        view::{Playback, has_display},
    },
    peer::{PeerConfig, PeerEvent},
    plugins, session,
    signalling::{Connection, Incoming, Server},
    tls,
};

/// How long the end of the process may wait for pipelines.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);

/// Runs the program and gives its exit code. Times are counted from `started`.
pub fn run(cli: &Cli, started: Instant) -> ExitCode {
    let options = cli.options();
    let reporter = Reporter::new(started, options.events);
    match task::block_on(run_mode(cli, started)) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            reporter.tell(None, &Event::Error { code: failure.code as u8, message: failure.message.clone() });
            eprintln!("callbin: {failure}");
            failure.code
        }
    }
}

async fn run_mode(cli: &Cli, started: Instant) -> Result<(), Failure> {
    let mut app = App::new(cli.options().clone(), started)?;
    let result = match &cli.command {
        Command::Call { peer, remote_offerer, .. } => session::call(&mut app, peer, *remote_offerer).await,
        Command::Wait { once, .. } => session::wait(&mut app, *once).await,
        Command::Room { room, max_peers, view, .. } => {
            // In a room nobody minds being watched by nobody: without a display there is no window.
            app.headless |= *view == View::None;
            app.headless |= *view == View::Auto && !has_display();
            conference::run(&mut app, room, *max_peers).await
        }
    };
    app.engine.close_all();
    if !app.engine.wait_for_teardown(GOODBYE_LIMIT) {
        tracing::warn!("a pipeline does not end; leaving it behind");
    }
    drop(app.engine.drop_source());
    result
}

impl Cli {
    fn options(&self) -> &Options {
        match &self.command {
            Command::Call { options, .. } | Command::Wait { options, .. } | Command::Room { options, .. } => {
                options
            }
        }
    }
}

/// What the modes share.
pub struct App {
    /// The flags.
    pub options: Options,
    /// Where events go.
    pub reporter: Reporter,
    /// The peers.
    pub engine: Engine,
    /// When the process began.
    pub started: Instant,
    inbox: Receiver<(u64, u64, PeerEvent)>,
    lookups: Receiver<Lookup>,
    signals: Signals,
    /// Nothing is to be shown.
    headless: bool,
    media: Option<Receiver<Result<(Source, Playback), Failure>>>,
}

/// What wakes a mode up.
#[derive(Debug)]
pub enum Wake {
    /// A frame of the server's, or the connection's end.
    Incoming(Incoming),
    /// The connection is made, or not.
    Connected(Result<Connection, Failure>),
    /// Peers moved, or the source came: look at the engine.
    Engine,
    /// The time that was asked for has come.
    Time,
    /// The user wants to end.
    Interrupted,
}

impl App {
    fn new(options: Options, started: Instant) -> Result<Self, Failure> {
        let (to_inbox, inbox) = channel::unbounded();
        let (to_lookups, lookups) = channel::unbounded();
        let config = PeerConfig {
            stun: options.stun.clone(),
            turn: options.turn.clone(),
            latency: options.media.latency,
            audio: options.media.audio(),
            video: options.media.video(),
        };
        let signals = Signals::new([Unix::Int, Unix::Term, Unix::Hup]).map_err(Failure::internal)?;
        let headless = options.headless;
        Ok(Self {
            reporter: Reporter::new(started, options.events),
            engine: Engine::new(config, options.setup_limit(), to_inbox, to_lookups),
            options,
            started,
            inbox,
            lookups,
            signals,
            headless,
            media: None,
        })
    }

    /// Which server, and whom to trust.
    pub fn server(&self) -> Server {
        let trust = match (&self.options.ca_file, self.options.insecure) {
            (_, true) => tls::Trust::Anybody,
            (Some(file), false) => tls::Trust::Also(file.clone()),
            (None, false) => tls::Trust::System,
        };
        Server { url: self.options.server.clone(), trust }
    }

    /// Starts GStreamer and the encoders on a thread of their own: it takes as long as connecting does.
    pub fn start_media(&mut self) {
        if self.media.is_some() || self.engine.has_source() {
            return;
        }
        let (done, media) = channel::bounded(1);
        let (options, headless) = (self.options.clone(), self.headless);
        let spawned = thread::Builder::new().name("start".into()).spawn(move || {
            let _ = done.try_send(start_media(&options, headless));
        });
        if let Err(error) = spawned {
            tracing::error!("no thread to start GStreamer on: {error}");
        }
        self.media = Some(media);
    }

    /// Waits for the next thing to happen, `until` then at most. An error is the end of the process.
    pub async fn wake(
        &mut self,
        connection: Option<&Connection>,
        connecting: &mut Option<task::JoinHandle<Result<Connection, Failure>>>,
        until: Option<Instant>,
    ) -> Result<Wake, Failure> {
        let until = [until, self.engine.deadline()].into_iter().flatten().min();
        match self.next_raw(connection, connecting, until).await {
            Raw::Incoming(incoming) => return Ok(Wake::Incoming(incoming)),
            Raw::Connected(result) => {
                *connecting = None;
                return Ok(Wake::Connected(result));
            }
            Raw::Source(source) => {
                self.media = None;
                let (source, playback) = source?;
                self.engine.set_source(source, playback);
            }
            Raw::Peer(key, generation, event) => self.engine.peer_event(key, generation, event),
            Raw::Lookup(lookup) => self.engine.looked_up(lookup),
            Raw::Interrupted => return Ok(Wake::Interrupted),
            Raw::Time => {
                self.engine.tick();
                return Ok(Wake::Time);
            }
        }
        Ok(Wake::Engine)
    }

    async fn next_raw(
        &mut self,
        connection: Option<&Connection>,
        connecting: &mut Option<task::JoinHandle<Result<Connection, Failure>>>,
        until: Option<Instant>,
    ) -> Raw {
        let mut incoming = pin!(or_never(connection.map(|it| it.incoming.recv())).fuse());
        let mut connected = pin!(or_never(connecting.as_mut()).fuse());
        let mut source = pin!(or_never(self.media.as_ref().map(Receiver::recv)).fuse());
        let mut peer = pin!(or_ended(self.inbox.recv()).fuse());
        let mut lookup = pin!(or_ended(self.lookups.recv()).fuse());
        let mut time = pin!(or_never(until.map(async_io::Timer::at)).fuse());
        select! {
            frame = incoming => {
                Raw::Incoming(frame.unwrap_or_else(|_| Incoming::Lost("the connection ended".into())))
            }
            result = connected => Raw::Connected(result),
            source = source => {
                Raw::Source(source.unwrap_or_else(|_| Err(Failure::internal("GStreamer did not start"))))
            }
            (key, generation, event) = peer => Raw::Peer(key, generation, event),
            it = lookup => Raw::Lookup(it),
            _ = self.signals.next().fuse() => Raw::Interrupted,
            _ = time => Raw::Time,
        }
    }
}

/// What comes first.
enum Raw {
    Incoming(Incoming),
    Connected(Result<Connection, Failure>),
    Source(Result<(Source, Playback), Failure>),
    Peer(u64, u64, PeerEvent),
    Lookup(Lookup),
    Interrupted,
    Time,
}

/// The engine holds a sender of these channels: they do not end before it.
async fn or_ended<T>(next: channel::Recv<'_, T>) -> T {
    match next.await {
        Ok(item) => item,
        Err(_) => future::pending().await,
    }
}

async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => future::pending().await,
    }
}

fn start_media(options: &Options, headless: bool) -> Result<(Source, Playback), Failure> {
    gst::init().map_err(Failure::internal)?;
    tracing::debug!("GStreamer initialised");
    let certificate = thread::Builder::new().name("certificate".into()).spawn(warm_up);
    plugins::check(!headless)?;
    tracing::debug!("plugins checked");
    let source = Source::start(&options.media)?;
    drop(make("webrtcbin"));
    tracing::debug!("encoders started");
    if let Ok(certificate) = certificate {
        let _ = certificate.join();
    }
    tracing::debug!("certificate made");
    Ok((source, playback(headless)))
}

/// What cannot be played is decoded and counted.
fn playback(headless: bool) -> Playback {
    if headless {
        return Playback::NONE;
    }
    let playback = Playback::detect();
    if !playback.video {
        eprintln!("callbin: no display: what arrives is decoded and counted, not shown");
    }
    playback
}

/// The first dtlsdec of a process generates an RSA key, which takes longer than all the rest.
fn warm_up() {
    drop(make("dtlsdec"));
}
