//! What the modes share: the options, the peers, and what a mode waits for.

use std::{
    pin::pin,
    sync::{Arc, Once, OnceLock},
    thread,
    time::{Duration, Instant},
};

use async_signal::{Signal as Unix, Signals};
use async_std::{
    channel::{self, Receiver},
    task,
};
use callbin_foreign::rsa;
use callbin_protocol::{PeerId, printable};
use futures_util::{FutureExt, StreamExt, future, select};
use gst::prelude::*;

use crate::{
    backoff::{Backoff, WaitForServer},
    cli::{IcePolicy, Options},
    data::{Joins, Told},
    engine::{Engine, Lookup},
    events::{Event, Reporter},
    exit::Failure,
    hangup,
    ice::{IceServers, keeper::Keeper, no_relay, tunnel::Tunnels},
    media::{
        encode::codec::Formats,
        input::{
            elements,
            news::{News as SourceNews, Notice},
        },
        make,
        source::Source,
    },
    peer::{PeerConfig, Said},
    plugins,
    record::Archive,
    service::Service,
    signalling::{Connection, Incoming, Server, unwelcome},
    view::{self, Lost, News, Sinks, View},
};

/// At the end of the process: time limit for the teardown of pipelines.
const GOODBYE_LIMIT: Duration = Duration::from_secs(2);
/// At the end of the process: time limit for closing the window and the sound card, each.
const VIEW_LIMIT: Duration = Duration::from_millis(500);

/// Events about data channels that may wait to be written.
const MAX_DATA_NEWS: usize = 256;

/// The state that the modes share.
pub struct App {
    /// The flags.
    pub options: Options,
    /// Writes the events.
    pub reporter: Reporter,
    /// The peers.
    pub engine: Engine,
    /// When the process began.
    pub started: Instant,
    inbox: Receiver<Said>,
    lookups: Receiver<Lookup>,
    news: News,
    losses: Receiver<Lost>,
    joins: Arc<Joins>,
    archive: Arc<Archive>,
    data_news: Receiver<Told>,
    source_news: SourceNews,
    notices: Receiver<Notice>,
    signals: Signals,
    /// Whether media are only decoded and counted, without window and sound.
    pub headless: bool,
    /// The codecs to negotiate, once it is known what is installed.
    codecs: Arc<OnceLock<Formats>>,
    media: Option<Receiver<Result<(Source, View), Failure>>>,
    /// Resolves to whether all needed GStreamer elements are installed.
    complete: Option<Complete>,
    ice: Option<Keeper>,
    service: Service,
}

type Complete = future::Shared<task::JoinHandle<bool>>;

/// A connection attempt under way.
pub type Connecting = task::JoinHandle<Result<Connection, Failure>>;

/// Why a mode wakes up.
#[derive(Debug)]
pub enum Wake {
    /// A frame from the server, or the end of the connection.
    Incoming(Incoming),
    /// The connection attempt succeeded or failed.
    Connected(Result<Connection, Failure>),
    /// Something changed in the engine: look at its output.
    Engine,
    /// The requested time, or a deadline of the engine, has come.
    Time,
    /// The user interrupted the program (SIGINT, SIGTERM or SIGHUP).
    Interrupted,
}

impl App {
    /// Prepares a mode. Event times count from `started`.
    pub fn new(options: Options, started: Instant) -> Result<Self, Failure> {
        let (to_inbox, inbox) = channel::unbounded();
        let (to_lookups, lookups) = channel::unbounded();
        // Each part of the view can be lost only once.
        let (news, losses) = channel::bounded(4);
        let codecs = Arc::new(OnceLock::new());
        let (to_data_news, data_news) = channel::bounded(MAX_DATA_NEWS);
        let data = &options.data;
        let joins = Arc::new(Joins::new(
            &data.joins,
            data.on_stale.as_deref(),
            data.controls.as_ref(),
            &to_data_news,
        )?);
        let (source_news, notices) = SourceNews::new();
        let archive = Arc::new(Archive::new(&options.record, &to_data_news)?);
        let config = PeerConfig {
            stun: options.stun.clone(),
            turn: options.turn.clone(),
            policy: options.ice_transport_policy,
            latency: options.media.latency.0,
            audio: options.media.audio(),
            video: options.media.video(),
            cameras: options.media.sources.videos().len(),
            codecs: codecs.clone(),
            joins: joins.clone(),
            archive: archive.clone(),
            channels: !options.no_channels,
            hides: options.hide_addresses.then(Arc::default),
            tunnels: Arc::new(Tunnels::new(options.trust())),
            stats_interval: options.stats_interval,
            give_up_after: options.give_up_after,
        };
        let hangup = (!hangup::is_ignored()).then_some(Unix::Hup);
        let snap = options.record.snapshot.is_some().then_some(Unix::Usr1);
        let signals = [Unix::Int, Unix::Term].into_iter().chain(hangup).chain(snap);
        let signals = Signals::new(signals).map_err(Failure::internal)?;
        let headless = options.headless;
        Ok(Self {
            reporter: Reporter::new(started, options.events).on_stderr(options.data.uses_stdout()),
            engine: Engine::new(config, options.setup_limit(), options.no_ice_servers, to_inbox, to_lookups),
            options,
            started,
            inbox,
            lookups,
            news,
            losses,
            joins,
            archive,
            data_news,
            source_news,
            notices,
            signals,
            headless,
            codecs,
            media: None,
            complete: None,
            ice: None,
            service: Service::start(Instant::now()),
        })
    }

    /// Ends all calls, and gives the teardown a limited time.
    pub fn close(&mut self) {
        self.service.stopping();
        self.engine.close_all();
        self.engine.view().close(VIEW_LIMIT);
        if !self.engine.wait_for_teardown(GOODBYE_LIMIT) {
            tracing::warn!("a pipeline does not end; leaving it behind");
        }
        drop(self.engine.drop_source());
        self.joins.close();
        self.archive.close();
        while let Ok((who, event)) = self.data_news.try_recv() {
            self.reporter.tell(who.as_ref(), &event);
        }
    }

    /// The server's address, the trusted certificates and the token.
    pub fn server(&self) -> Server {
        let trust = self.options.trust();
        Server { address: self.options.server.clone(), trust, token: self.options.token_source() }
    }

    /// Connects and registers, and starts asking for ICE servers. If a needed GStreamer element is missing, it never
    /// connects, so that nobody can be called, and the process ends.
    pub fn connect(&mut self, uid: &PeerId) -> Connecting {
        self.engine.set_uid(uid);
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

    /// The back-off for attempts to reach the server: `usual`, unless `--wait-for-server` is given.
    pub fn backoff(&self, usual: WaitForServer) -> Backoff {
        Backoff::new(self.options.wait_for_server.unwrap_or(usual))
    }

    /// Why `--send-text` was not sent to a connected peer; `None` if it was. Ask before the engine closes the peer.
    pub fn unsent(&self, key: u64) -> Option<String> {
        let is_unsent = self.engine.connected(key).is_some() && self.engine.has_unsaid(key);
        let has_channels = self.engine.may_speak(key);
        let why = if has_channels { "no data channel was opened" } else { "the peer has no data channels" };
        is_unsent.then(|| why.into())
    }

    /// Reports a text that was not sent to a peer that is about to be closed.
    pub fn tell_unsent(&self, key: u64, peer: Option<&PeerId>) {
        if let Some(reason) = self.unsent(key) {
            self.reporter.tell(peer, &Event::TextUnsent { reason });
        }
    }

    /// When a probe (`--expect-video-frames`) gives up.
    pub fn probe_end(&self) -> Option<Instant> {
        self.options.probe_limit().map(|limit| self.started + limit)
    }

    /// Handles the registration at the server.
    pub fn registered(&self, uid: &PeerId) {
        self.ice.iter().for_each(Keeper::registered);
        self.reporter.tell(None, &Event::Registered { id: uid.to_string() });
    }

    /// The failure if the server closed the connection for good; `None` if another attempt makes sense.
    pub fn sent_away(&self, code: u16, reason: &str) -> Option<Failure> {
        let may_come_back = reason == "token expired" && self.options.token_source().may_change();
        unwelcome(code, reason).filter(|_| !may_come_back)
    }

    /// Starts GStreamer and the encoders on their own thread: it takes about as long as connecting.
    pub fn start_media(&mut self) {
        if self.media.is_some() || self.engine.has_source() {
            return;
        }
        let (done, media) = channel::bounded(1);
        let (checked, complete) = channel::bounded(1);
        let (options, headless) = (self.options.clone(), self.headless);
        let news = (self.news.clone(), self.source_news.clone());
        let codecs = self.codecs.clone();
        let spawned = thread::Builder::new().name("start".into()).spawn(move || {
            let known = |formats| {
                let _ = codecs.set(formats);
                let _ = checked.try_send(());
            };
            let _ = done.try_send(start_media(&options, headless, &news, known));
        });
        if let Err(error) = spawned {
            tracing::error!("no thread to start GStreamer on: {error}");
        }
        self.media = Some(media);
        self.complete = Some(task::spawn(async move { complete.recv().await.is_ok() }).shared());
    }

    /// Waits for the next event, at most `until` that time. An error ends the process.
    pub async fn wake(
        &mut self,
        connection: Option<&Connection>,
        connecting: &mut Option<Connecting>,
        until: Option<Instant>,
    ) -> Result<Wake, Failure> {
        self.service.alive(Instant::now());
        let until = [until, self.engine.deadline(), self.service.due()].into_iter().flatten().min();
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
            Raw::Data((who, event)) => self.reporter.tell(who.as_ref(), &event),
            Raw::Notice(notice) => self.reporter.tell(None, &notice.into()),
            Raw::Snap => self.archive.snap(),
            Raw::Interrupted => return Ok(Wake::Interrupted),
            Raw::Time => {
                self.engine.tick();
                return Ok(Wake::Time);
            }
        }
        Ok(Wake::Engine)
    }

    /// `None`: the server did not answer. With the policy `relay`, a first answer without a TURN server is an error.
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
        let mut data = pin!(or_ended(self.data_news.recv()).fuse());
        let mut notice = pin!(or_ended(self.notices.recv()).fuse());
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
            it = data => Raw::Data(it),
            it = notice => Raw::Notice(it),
            signal = self.signals.next().fuse() => match signal {
                Some(Ok(Unix::Usr1)) => Raw::Snap,
                _ => Raw::Interrupted,
            },
            _ = time => Raw::Time,
        }
    }
}

/// The first event of those that `App::wake` waits for.
enum Raw {
    Incoming(Incoming),
    Connected(Result<Connection, Failure>),
    Source(Result<(Source, View), Failure>),
    Ice(Option<IceServers>),
    Peer(Said),
    Lookup(Lookup),
    Lost(Lost),
    Data(Told),
    Notice(Notice),
    Snap,
    Interrupted,
    Time,
}

/// Waits for ICE servers; for ever if there is no keeper, or if it has ended.
async fn found(keeper: Option<&Keeper>) -> Option<IceServers> {
    match keeper {
        Some(keeper) => or_ended(keeper.found.recv()).await,
        None => future::pending().await,
    }
}

/// Waits for an item; for ever once the channel is closed.
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
    (news, source_news): &(News, SourceNews),
    known: impl FnOnce(Formats),
) -> Result<(Source, View), Failure> {
    gst::init().map_err(Failure::internal)?;
    tracing::debug!("GStreamer initialised");
    if !headless {
        view::check_sinks(&sinks(options))?;
    }
    let certificate = thread::Builder::new().name("certificate".into()).spawn(warm_up);
    plugins::check(!headless)?;
    check_sources(options)?;
    let formats = plugins::codecs(&options.media)?;
    known(formats);
    tracing::debug!("plugins checked");
    let source = Source::start(&options.media, formats, source_news)?;
    tracing::debug!("encoders started");
    plugins::load(formats);
    drop(make("webrtcbin"));
    tracing::debug!("plugins loaded");
    if let Ok(certificate) = certificate {
        let _ = certificate.join();
    }
    tracing::debug!("certificate made");
    Ok((source, open_view(options, headless, news)))
}

fn check_sources(options: &Options) -> Result<(), Failure> {
    let sources = &options.media.sources;
    sources.videos().iter().try_for_each(|it| elements::check("--video", &it.spec))?;
    sources.sound().iter().try_for_each(|it| elements::check("--audio", &it.spec))
}

/// Opens window and sound. Media that cannot be played are decoded and counted.
fn open_view(options: &Options, headless: bool, news: &News) -> View {
    if headless {
        return View::none();
    }
    let view = View::detect(&sinks(options), news);
    // `wait` opens a view for each call, but reports a missing display only once.
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

/// Makes the process's first dtlsdec early: before GStreamer 1.28 it generates an RSA key, the slowest step of the start.
fn warm_up() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Loads OpenSSL.
        let _ = gst::ElementFactory::find("dtlsdec").map(|factory| factory.load());
        rsa::with_three_primes(|| drop(make("dtlsdec")));
    });
}
