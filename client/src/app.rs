//! The program: what all modes share, from the flags to the exit code.

use std::{
    pin::pin,
    sync::Once,
    thread,
    time::{Duration, Instant},
};

use async_signal::{Signal as Unix, Signals};
use async_std::{
    channel::{self, Receiver, Sender},
    task,
};
use callbin_protocol::{PeerId, printable};
use futures_util::{FutureExt, StreamExt, future, select};

use crate::{
    backoff::{Backoff, WaitForServer},
    cli::{self, Cli, Command, IcePolicy, Options},
    conference,
    engine::{Engine, Lookup},
    events::{Event, Reporter},
    exit::{ExitCode, Failure},
    hangup,
    ice::{IceServers, keeper::Keeper, no_relay},
    media::{make, source::Source},
    peer::{PeerConfig, Said},
    plugins, session,
    signalling::{Connection, Incoming, Server, unwelcome},
    tls,
    view::{self, Lost, News, Sinks, View, detect::has_display},
};

/// How long the end of the process may wait for pipelines.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
/// And for the window and the sound card, each.
const VIEW_LIMIT: Duration = Duration::from_millis(500);

/// Runs the program and gives its exit code. Times are counted from `started`.
pub fn run(cli: &Cli, started: Instant) -> ExitCode {
    match &cli.command {
        Command::Call { options, .. } | Command::Wait { options, .. } | Command::Room { options, .. } => {
            run_call(&cli.command, options, started)
        }
        Command::Window(options) => view::window::run(options),
    }
}

fn run_call(command: &Command, options: &Options, started: Instant) -> ExitCode {
    let reporter = Reporter::new(started, options.events);
    match task::block_on(run_mode(command, options, started)) {
        Ok(()) => ExitCode::Success,
        Err(failure) => {
            let message = failure.message.clone();
            reporter.tell_scripts(None, &Event::Error { code: failure.code as u8, message });
            eprintln!("callbin: {}", printable(&failure.message));
            failure.code
        }
    }
}

async fn run_mode(command: &Command, options: &Options, started: Instant) -> Result<(), Failure> {
    let mut app = App::new(options.clone(), started)?;
    let result = match command {
        Command::Call { peer, remote_offerer, .. } => session::call(&mut app, peer, *remote_offerer).await,
        Command::Wait { once, .. } => session::wait(&mut app, *once).await,
        Command::Room { room, max_peers, view, .. } => {
            // In a room nobody minds being watched by nobody: without a display there is no window.
            app.headless |= *view == cli::View::None;
            app.headless |= *view == cli::View::Auto && app.options.video_sink.is_none() && !has_display();
            conference::run(&mut app, room, *max_peers).await
        }
        Command::Window(_) => Ok(()),
    };
    app.engine.close_all();
    app.engine.view().close(VIEW_LIMIT);
    if !app.engine.wait_for_teardown(GOODBYE_LIMIT) {
        tracing::warn!("a pipeline does not end; leaving it behind");
    }
    drop(app.engine.drop_source());
    result
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
    inbox: Receiver<Said>,
    lookups: Receiver<Lookup>,
    news: News,
    losses: Receiver<Lost>,
    signals: Signals,
    /// Nothing is to be shown.
    headless: bool,
    media: Option<Receiver<Result<(Source, View), Failure>>>,
    /// Whether all elements that are needed are installed.
    complete: Option<Complete>,
    ice: Option<Keeper>,
}

type Complete = future::Shared<task::JoinHandle<bool>>;

/// A connection being made.
pub type Connecting = task::JoinHandle<Result<Connection, Failure>>;

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
        // Each part of the view is lost once.
        let (news, losses) = channel::bounded(4);
        let config = PeerConfig {
            stun: options.stun.clone(),
            turn: options.turn.clone(),
            policy: options.ice_transport_policy,
            latency: options.media.latency,
            audio: options.media.audio(),
            video: options.media.video(),
        };
        let hangup = (!hangup::is_ignored()).then_some(Unix::Hup);
        let signals = [Unix::Int, Unix::Term].into_iter().chain(hangup);
        let signals = Signals::new(signals).map_err(Failure::internal)?;
        let headless = options.headless;
        Ok(Self {
            reporter: Reporter::new(started, options.events),
            engine: Engine::new(config, options.setup_limit(), options.no_ice_servers, to_inbox, to_lookups),
            options,
            started,
            inbox,
            lookups,
            news,
            losses,
            signals,
            headless,
            media: None,
            complete: None,
            ice: None,
        })
    }

    /// Which server, and whom to trust.
    pub fn server(&self) -> Server {
        let trust = match (&self.options.ca_file, self.options.insecure) {
            (_, true) => tls::Trust::Anybody,
            (Some(file), false) => tls::Trust::Also(file.clone()),
            (None, false) => tls::Trust::System,
        };
        Server { address: self.options.server.clone(), trust, token: self.options.token_source() }
    }

    /// Connects and registers, and meanwhile begins to find out which ICE servers there are. Without an element
    /// that is needed, nobody is called and nobody can call: the connection is never made, and the process ends.
    pub fn connect(&mut self, uid: &PeerId) -> Connecting {
        let (server, me) = (self.server(), uid.clone());
        if self.ice.is_none() && !self.options.no_ice_servers {
            self.ice = Some(Keeper::start(server.clone(), me.clone()));
        }
        let complete = self.complete.clone();
        task::spawn(async move {
            if !or_true(complete).await {
                future::pending::<()>().await;
            }
            Connection::open(&server, &me).await
        })
    }

    /// For attempts to reach the server: how long to wait for it unless the user has said so.
    pub fn backoff(&self, usual: WaitForServer) -> Backoff {
        Backoff::new(self.options.wait_for_server.unwrap_or(usual))
    }

    /// Why `--send-text` has not gone out to a connected peer, if it has not. To be asked before the engine forgets the
    /// peer.
    pub fn unsent(&self, key: u64) -> Option<String> {
        let is_unsent = self.engine.connected(key).is_some() && self.engine.has_unsaid(key);
        let has_channels = self.engine.may_speak(key);
        let why = if has_channels { "no data channel was opened" } else { "the peer has no data channels" };
        is_unsent.then(|| why.into())
    }

    /// Tells of a text that has not gone out to a peer that is over.
    pub fn tell_unsent(&self, key: u64, peer: Option<&PeerId>) {
        if let Some(reason) = self.unsent(key) {
            self.reporter.tell(peer, &Event::TextUnsent { reason });
        }
    }

    /// When a probe gives up on its frames.
    pub fn probe_end(&self) -> Option<Instant> {
        self.options.probe_limit().map(|limit| self.started + limit)
    }

    /// The server knows us.
    pub fn registered(&self, uid: &PeerId) {
        self.ice.iter().for_each(Keeper::registered);
        self.reporter.tell(None, &Event::Registered { id: uid.to_string() });
    }

    /// The server ended the connection: whether that is the end of all attempts.
    pub fn sent_away(&self, code: u16, reason: &str) -> Option<Failure> {
        let may_come_back = reason == "token expired" && self.options.token_source().may_change();
        unwelcome(code, reason).filter(|_| !may_come_back)
    }

    /// Starts GStreamer and the encoders on a thread of their own: it takes as long as connecting does.
    pub fn start_media(&mut self) {
        if self.media.is_some() || self.engine.has_source() {
            return;
        }
        let (done, media) = channel::bounded(1);
        let (checked, complete) = channel::bounded(1);
        let (options, headless, news) = (self.options.clone(), self.headless, self.news.clone());
        let spawned = thread::Builder::new().name("start".into()).spawn(move || {
            let _ = done.try_send(start_media(&options, headless, &news, &checked));
        });
        if let Err(error) = spawned {
            tracing::error!("no thread to start GStreamer on: {error}");
        }
        self.media = Some(media);
        self.complete = Some(task::spawn(async move { complete.recv().await.is_ok() }).shared());
    }

    /// Waits for the next thing to happen, `until` then at most. An error is the end of the process.
    pub async fn wake(
        &mut self,
        connection: Option<&Connection>,
        connecting: &mut Option<Connecting>,
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
                let (source, view) = source?;
                self.engine.set_source(source, view);
            }
            Raw::Ice(servers) => self.set_ice_servers(servers)?,
            Raw::Peer(said) => self.engine.peer_event(said.slot, said.generation, said.event),
            Raw::Lookup(lookup) => self.engine.looked_up(lookup),
            Raw::Lost(lost) => self.tell_loss(lost),
            Raw::Interrupted => return Ok(Wake::Interrupted),
            Raw::Time => {
                self.engine.tick();
                return Ok(Wake::Time);
            }
        }
        Ok(Wake::Engine)
    }

    /// `None`: the server did not answer. A first answer without a TURN server is the end where nothing else will do.
    fn set_ice_servers(&mut self, servers: Option<IceServers>) -> Result<(), Failure> {
        let has_turn = |servers: &IceServers| !(servers.turn.is_empty() && self.options.turn.is_empty());
        let is_hopeless = servers.as_ref().is_some_and(|servers| !has_turn(servers));
        if is_hopeless
            && self.options.ice_transport_policy == IcePolicy::Relay
            && !self.engine.has_ice_servers()
        {
            return Err(no_relay());
        }
        self.engine.set_ice_servers(servers.unwrap_or_default());
        Ok(())
    }

    fn tell_loss(&self, Lost { part, reason }: Lost) {
        eprintln!("callbin: {part}: {}: the call goes on without it", printable(&reason));
        self.reporter.tell(None, &Event::ViewLost { part: part.into(), reason });
    }

    async fn next_raw(
        &mut self,
        connection: Option<&Connection>,
        connecting: &mut Option<Connecting>,
        until: Option<Instant>,
    ) -> Raw {
        let mut incoming = pin!(or_never(connection.map(|it| it.incoming.recv())).fuse());
        let mut connected = pin!(or_never(connecting.as_mut()).fuse());
        let mut source = pin!(or_never(self.media.as_ref().map(Receiver::recv)).fuse());
        let mut ice = pin!(found(self.ice.as_ref()).fuse());
        let mut peer = pin!(or_ended(self.inbox.recv()).fuse());
        let mut lookup = pin!(or_ended(self.lookups.recv()).fuse());
        let mut lost = pin!(or_ended(self.losses.recv()).fuse());
        let mut time = pin!(or_never(until.map(async_io::Timer::at)).fuse());
        select! {
            frame = incoming => {
                Raw::Incoming(frame.unwrap_or_else(|_| Incoming::Lost("the connection ended".into())))
            }
            result = connected => Raw::Connected(result),
            source = source => {
                Raw::Source(source.unwrap_or_else(|_| Err(Failure::internal("GStreamer did not start"))))
            }
            servers = ice => Raw::Ice(servers),
            said = peer => Raw::Peer(said),
            it = lookup => Raw::Lookup(it),
            it = lost => Raw::Lost(it),
            _ = self.signals.next().fuse() => Raw::Interrupted,
            _ = time => Raw::Time,
        }
    }
}

/// What comes first.
enum Raw {
    Incoming(Incoming),
    Connected(Result<Connection, Failure>),
    Source(Result<(Source, View), Failure>),
    Ice(Option<IceServers>),
    Peer(Said),
    Lookup(Lookup),
    Lost(Lost),
    Interrupted,
    Time,
}

/// A keeper that has ended has told all there was to tell.
async fn found(keeper: Option<&Keeper>) -> Option<IceServers> {
    match keeper {
        Some(keeper) => or_ended(keeper.found.recv()).await,
        None => future::pending().await,
    }
}

/// The engine holds a sender of these channels: they do not end before it.
async fn or_ended<T>(next: channel::Recv<'_, T>) -> T {
    match next.await {
        Ok(item) => item,
        Err(_) => future::pending().await,
    }
}

async fn or_true<F: Future<Output = bool>>(future: Option<F>) -> bool {
    match future {
        Some(future) => future.await,
        None => true,
    }
}

async fn or_never<F: Future>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => future::pending().await,
    }
}

fn start_media(
    options: &Options,
    headless: bool,
    news: &News,
    checked: &Sender<()>,
) -> Result<(Source, View), Failure> {
    gst::init().map_err(Failure::internal)?;
    tracing::debug!("GStreamer initialised");
    if !headless {
        view::check_sinks(&sinks(options))?;
    }
    let certificate = thread::Builder::new().name("certificate".into()).spawn(warm_up);
    plugins::check(!headless)?;
    let _ = checked.try_send(());
    tracing::debug!("plugins checked");
    let source = Source::start(&options.media)?;
    drop(make("webrtcbin"));
    tracing::debug!("encoders started");
    if let Ok(certificate) = certificate {
        let _ = certificate.join();
    }
    tracing::debug!("certificate made");
    Ok((source, open_view(options, headless, news)))
}

/// What cannot be played is decoded and counted.
fn open_view(options: &Options, headless: bool, news: &News) -> View {
    if headless {
        return View::none();
    }
    let view = View::detect(&sinks(options), news);
    // `wait` opens a view for each call, and has nothing new to say then.
    static TOLD: Once = Once::new();
    if !view.has_picture() {
        TOLD.call_once(|| {
            eprintln!("callbin: no display: what arrives is decoded and counted, not shown");
        });
    }
    view
}

fn sinks(options: &Options) -> Sinks {
    Sinks { video: options.video_sink.clone(), audio: options.audio_sink.clone() }
}

/// The first dtlsdec of a process generates an RSA key, which takes longer than all the rest.
fn warm_up() {
    drop(make("dtlsdec"));
}
