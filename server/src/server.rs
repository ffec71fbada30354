//! Start, serve, reload, stop.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_rustls::TlsAcceptor;
use futures_util::{
    AsyncReadExt, FutureExt,
    future::{Fuse, FusedFuture, select_all},
    pin_mut, select_biased,
};
use hyper::{Request, body::Incoming};
use sd_notify::NotifyState;
use tracing::{debug, info, warn};

use crate::{
    access::account::Accounts,
    app::{Admission, App, Visit},
    cluster::{self, Cluster, client},
    config::{Config, Deadlines},
    connection,
    dialect::Dialect,
    edge::{
        assets::Assets,
        calls::random_token,
        fair::Fair,
        http::{self, KeepAlive},
        listener::{self, BindError, Listener},
        proxy::{self, Preface},
        site::Site,
        stream::Connected,
        tls::{Certificate, CertificateError, Files},
    },
    hub::ConnId,
    media::{self, Contact, Program, Supervisor},
    operate::{
        admin,
        metrics::Metrics,
        reload::Reloader,
        settings::{self, Settings, SettingsError},
    },
    runtime::{self, Signals, TcpStream, Wanted},
    switchboard::Switchboard,
};

/// Interval between checks while draining.
const DRAIN_STEP: Duration = Duration::from_millis(100);

/// How long the server waits for Redis before it listens, and before it ends.
const ENTER: Duration = Duration::from_secs(2);
const LEAVE: Duration = Duration::from_secs(1);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate cannot be used.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A file named in the configuration cannot be used.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The port cannot be used.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The program of `--media` does not exist.
    #[error("--media: there is no program {0}; --media-program gives another place")]
    NoMediaProgram(PathBuf),
    /// `--www` names no folder with an `index.html`.
    #[error("--www {0}: no index.html there")]
    NoPage(PathBuf),
    /// A basic operating system call failed.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// What is loaded before the server listens.
struct Parts {
    certificate: Option<Arc<Certificate>>,
    settings: Settings,
    cluster: Option<client::Settings>,
    assets: Assets,
}

impl Parts {
    fn load(config: &Config, certificate: Option<Arc<Certificate>>) -> Result<Self, StartError> {
        let assets = match &config.listen.www {
            None => Assets::Embedded,
            Some(dir) if dir.join("index.html").is_file() => Assets::Folder(dir.clone()),
            Some(dir) => return Err(StartError::NoPage(dir.clone())),
        };
        let media = Program::path(config);
        if config.media.media && !media::is_there(&media) {
            return Err(StartError::NoMediaProgram(media));
        }
        let (settings, cluster) = (Settings::load(config)?, settings::cluster(config)?);
        Ok(Self { certificate, settings, cluster, assets })
    }
}

/// Checks the configuration without listening and without changes. A self-signed certificate that does not exist yet is
/// no error.
pub fn check(config: &Config) -> Result<(), StartError> {
    let to_be_made = config.tls.self_signed && certificate_files(config).are_missing();
    let certificate = if to_be_made { None } else { load_certificate(config)? };
    Parts::load(config, certificate).map(drop)
}

/// Serves until SIGTERM or SIGINT, then closes all connections. Listens on the configured address unless a listening
/// socket is passed.
pub async fn run(config: Config, inherited: Option<std::net::TcpListener>) -> Result<(), StartError> {
    if config.tls.self_signed && !config.tls.disable_ssl {
        certificate_files(&config).make_if_missing()?;
    }
    let Parts { certificate, settings, cluster, assets } = Parts::load(&config, load_certificate(&config)?)?;
    let acceptor = match &certificate {
        Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
        None => None,
    };
    let socket = match inherited {
        Some(socket) => socket,
        None => listener::bind(&config.listen.addr, config.listen.port)?,
    };
    let mut doors = vec![Door { listener: Listener::new(socket)?, dialect: None, contact: None }];
    let media = if config.media.media { Some(MediaDoor::open()?) } else { None };
    for door in &config.listen.listen {
        let listener = Listener::new(listener::listen(door.address)?)?;
        doors.push(Door { listener, dialect: Some(door.dialect), contact: None });
    }
    let descriptors = raise_descriptor_limit();
    let metrics = Arc::new(Metrics::default());
    let mut app = App::new(
        Switchboard::new(config.rules(), config.node_rooms(), config.bounds(), metrics.clone()),
        Arc::new(Accounts::new(config.quotas(descriptors))),
        metrics,
        assets,
        settings,
    );
    app.health.clone_from(&config.listen.health);
    app.has_admin_address = config.operations.admin_addr.is_some();
    app.cluster = cluster.map(|settings| Arc::new(Cluster::new(settings)));
    app.media_secret = media.as_ref().map(|media| media.token.clone());
    let app = Arc::new(app);
    if let Some(expiry) = certificate.as_ref().and_then(|certificate| certificate.expiry()) {
        app.metrics.set_certificate_expiry(expiry);
    }
    let lanes = app.lanes.clone();
    runtime::spawn(async move { lanes.run().await });
    let running = app.clone();
    runtime::spawn(async move { running.switchboard.run().await });
    if let Some(cluster) = &app.cluster {
        enter(cluster, &app).await;
    }
    let admin_address = match config.operations.admin_addr {
        Some(address) => Some(start_admin(address, app.clone())?),
        None => None,
    };
    let mut signals = Signals::new()?;
    let reloader = Reloader::new(config.clone(), certificate, app.clone(), descriptors);
    announce(&doors, acceptor.is_some(), admin_address)?;
    let supervisor = media.map(|media| media.serve(&config, app.clone()));
    tell_systemd(NotifyState::Ready);
    let mut server = Server { acceptor, app, doors };
    server.serve(&mut signals, &reloader, config.tls.restart_on_cert_change).await;
    tell_systemd(NotifyState::Stopping);
    let Deadlines { drain_timeout, shutdown_timeout, .. } = config.deadlines;
    server.drain(&mut signals, drain_timeout, shutdown_timeout / 2).await;
    let Server { app, doors, .. } = server;
    drop(doors);
    let left = if drain_timeout.is_zero() { shutdown_timeout } else { shutdown_timeout / 2 };
    shut_down(&app.switchboard, left).await;
    if let Some(supervisor) = supervisor {
        supervisor.stop().await;
    }
    if let Some(cluster) = &app.cluster {
        cluster.quit();
        until(LEAVE, || cluster.has_quit()).await;
    }
    Ok(())
}

/// Takes part in the cluster, so that the first clients need not come again. Without Redis the server starts, too.
async fn enter(cluster: &Arc<Cluster>, app: &Arc<App>) {
    // For rediss://. It is installed already if something else did so.
    let _ = futures_rustls::rustls::crypto::ring::default_provider().install_default();
    app.switchboard.share(cluster.clone());
    runtime::spawn(cluster::run(cluster.clone(), app.clone()));
    until(ENTER, || cluster.status().is_inside).await;
}

/// Waits for a condition, at most this long.
async fn until(timeout: Duration, is_met: impl Fn() -> bool) {
    let deadline = Instant::now() + timeout;
    while !is_met() && Instant::now() < deadline {
        runtime::sleep(Duration::from_millis(5)).await;
    }
}

fn load_certificate(config: &Config) -> Result<Option<Arc<Certificate>>, CertificateError> {
    if config.tls.disable_ssl {
        return Ok(None);
    }
    Certificate::load(certificate_files(config)).map(|certificate| Some(Arc::new(certificate)))
}

fn certificate_files(config: &Config) -> Files {
    let dir = config.tls.cert_path.clone().unwrap_or_else(|| default_dir(config.tls.self_signed));
    Files::in_dir(&dir)
}

fn default_dir(self_signed: bool) -> PathBuf {
    if !self_signed {
        return ".".into();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(|| "/var/lib".into()).join("callbin")
}

/// The usual limit of 1024 file descriptors allows only about a thousand peers: raise it as far as possible.
fn raise_descriptor_limit() -> u64 {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => limit,
        Err(error) => {
            warn!(%error, "cannot raise the limit of open files");
            rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(1024, |(soft, _)| soft)
        }
    }
}

/// Notifies systemd, if it started us as a service of type notify.
fn tell_systemd(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        warn!(%error, "cannot tell systemd");
    }
}

/// Prints the URL of each address for people and scripts, the server's own first, and the admin address, one per line.
fn announce(doors: &[Door], tls: bool, admin: Option<SocketAddr>) -> std::io::Result<()> {
    let mut lines = String::new();
    for Door { listener, dialect, .. } in doors {
        let address = listener.address()?;
        let (what, scheme) = dialect.map_or(("listening", "http"), |dialect| (dialect.name(), "ws"));
        let secure = if tls { "s" } else { "" };
        let host = if address.ip().is_unspecified() {
            "localhost".to_owned()
        } else if address.is_ipv6() {
            format!("[{}]", address.ip())
        } else {
            address.ip().to_string()
        };
        lines.push_str(&format!("{what} on {scheme}{secure}://{host}:{}/\n", address.port()));
        info!(%address, tls, dialect = dialect.map(Dialect::name), "listening");
    }
    if let Some(admin) = admin {
        lines.push_str(&format!("admin on http://{admin}/\n"));
    }
    let mut out = std::io::stdout();
    // Standard output may be closed.
    let _ = out.write_all(lines.as_bytes()).and_then(|()| out.flush());
    Ok(())
}

/// Serves the admin address.
fn start_admin(address: SocketAddr, app: Arc<App>) -> Result<SocketAddr, StartError> {
    let socket = listener::listen(address)?;
    let address = socket.local_addr()?;
    let mut listener = Listener::new(socket)?;
    runtime::spawn(async move {
        loop {
            let (stream, _) = listener.accept(&app.metrics).await;
            let app = app.clone();
            runtime::spawn(async move {
                let timeout = app.settings().limits.hello_timeout;
                let answer = async |request: Request<Incoming>| admin::answer(&app, &request.map(drop)).await;
                http::serve(
                    Connected::plain(Fair::new(stream, app.lanes.clone())),
                    ConnId(0),
                    KeepAlive::client(timeout),
                    answer,
                )
                .await;
            });
        }
    });
    Ok(address)
}

async fn shut_down(switchboard: &Switchboard, timeout: Duration) {
    info!(open = switchboard.open_sockets(), "shutting down");
    switchboard.shut_down();
    let deadline = Instant::now() + timeout;
    while switchboard.open_sockets() > 0 && Instant::now() < deadline {
        runtime::sleep(Duration::from_millis(10)).await;
    }
    info!(left = switchboard.open_sockets(), "shut down");
}

struct Server {
    acceptor: Option<TlsAcceptor>,
    app: Arc<App>,
    /// At least one.
    doors: Vec<Door>,
}

/// An address that the server listens on.
struct Door {
    listener: Listener,
    /// What WebSockets on any path speak. `None`: what the path says.
    dialect: Option<Dialect>,
    /// Counts its WebSockets, if it is that of our own media node.
    contact: Option<Arc<Contact>>,
}

/// The address on the loopback interface where our own media node attaches, without TLS.
struct MediaDoor {
    door: Door,
    address: SocketAddr,
    token: String,
}

impl MediaDoor {
    fn open() -> Result<Self, StartError> {
        let listener = Listener::new(listener::listen((Ipv4Addr::LOCALHOST, 0).into())?)?;
        let address = listener.address()?;
        let token = random_token().ok_or_else(|| std::io::Error::other("no random numbers"))?;
        let door = Door { listener, dialect: Some(Dialect::Node), contact: None };
        Ok(Self { door, address, token })
    }

    /// Accepts connections there, and starts the node.
    fn serve(self, config: &Config, app: Arc<App>) -> Supervisor {
        let Self { mut door, address, token } = self;
        let contact = Arc::new(Contact::default());
        door.contact = Some(contact.clone());
        runtime::spawn(async move { match door.accept_all(None, &app).await {} });
        Supervisor::start(Program::new(config, address, token), contact)
    }
}

enum Never {}

impl Server {
    /// Serves until a signal ends it.
    async fn serve(&mut self, signals: &mut Signals, reloader: &Reloader, watch: bool) {
        let serving = self.accept_all().fuse();
        let watching = reloader.watch(watch).fuse();
        let reloading = Fuse::terminated();
        pin_mut!(serving, watching, reloading);
        // A reload requested during another one: the running one may have read the files already.
        let mut once_more = false;
        loop {
            select_biased! {
                wanted = signals.next().fuse() => match wanted {
                    Wanted::End => return,
                    Wanted::Reload if reloading.is_terminated() => reloading.set(reloader.reload().fuse()),
                    Wanted::Reload => once_more = true,
                },
                () = reloading => if std::mem::take(&mut once_more) {
                    reloading.set(reloader.reload().fuse());
                },
                never = serving => match never {},
                () = watching => {},
            }
        }
    }

    /// Lets sessions and rooms go on for `timeout` and closes idle connections gradually; then closes the rest within
    /// `closing`.
    async fn drain(&mut self, signals: &mut Signals, timeout: Duration, closing: Duration) {
        self.app.drain();
        if timeout.is_zero() {
            return;
        }
        info!(seconds = timeout.as_secs(), "draining");
        let app = self.app.clone();
        let finished = drain_switchboard(&app.switchboard, timeout, closing).fuse();
        let serving = self.accept_all().fuse();
        pin_mut!(serving, finished);
        loop {
            select_biased! {
                wanted = signals.next().fuse() => if wanted == Wanted::End { return },
                () = finished => return,
                never = serving => match never {},
            }
        }
    }

    async fn accept_all(&mut self) -> Never {
        let Self { acceptor, app, doors } = self;
        let each = doors.iter_mut().map(|door| Box::pin(door.accept_all(acceptor.as_ref(), app)));
        select_all(each).await.0
    }
}

impl Door {
    async fn accept_all(&mut self, acceptor: Option<&TlsAcceptor>, app: &Arc<App>) -> Never {
        let dialect = self.dialect;
        loop {
            let (stream, peer) = self.listener.accept(&app.metrics).await;
            let (app, acceptor, contact) = (app.clone(), acceptor.cloned(), self.contact.clone());
            runtime::spawn(async move {
                // Boxed, so that an idle WebSocket does not keep the memory of the handshakes.
                let handshake = Box::pin(handshake(stream, peer, dialect, acceptor, app.clone())).await;
                if let Some((stream, leftover, admission)) = handshake {
                    contact.as_deref().inspect(|contact| contact.opened());
                    Box::pin(connection::run(stream, leftover, admission, app)).await;
                    contact.as_deref().inspect(|contact| contact.closed(Instant::now()));
                }
            });
        }
    }
}

/// Closes idle connections over half of `timeout`, and the remaining ones over `closing`, so that clients do not all
/// reconnect at once.
async fn drain_switchboard(switchboard: &Switchboard, timeout: Duration, closing: Duration) {
    let deadline = Instant::now() + timeout;
    let share = share_of(switchboard, timeout / 2);
    while Instant::now() < deadline && switchboard.counts().connections > 0 {
        switchboard.close_idle(share);
        runtime::sleep(DRAIN_STEP).await;
    }
    let share = share_of(switchboard, closing);
    while switchboard.close_some(share) > 0 {
        runtime::sleep(DRAIN_STEP).await;
    }
}

/// Connections to close per step to finish in `time`.
fn share_of(switchboard: &Switchboard, time: Duration) -> usize {
    let steps = (time.as_secs_f64() / DRAIN_STEP.as_secs_f64()).max(1.0);
    ((switchboard.counts().connections as f64 / steps).ceil() as usize).max(1)
}

/// Reads the PROXY protocol if the peer is a trusted proxy, then does TLS if it is enabled, then serves HTTP until a
/// request becomes a WebSocket or the connection ends.
async fn handshake(
    mut stream: TcpStream,
    peer: SocketAddr,
    dialect: Option<Dialect>,
    acceptor: Option<TlsAcceptor>,
    app: Arc<App>,
) -> Option<(Connected, Vec<u8>, Admission)> {
    let settings = app.settings();
    let timeout = settings.limits.hello_timeout;
    let peer = match settings.proxies.trusts(peer.ip()) {
        true => runtime::timeout(timeout, read_preface(&mut stream, peer, &app)).await??,
        false => peer,
    };
    let (visit, _slot) = app.visit(peer)?;
    let Visit { conn, .. } = visit;
    let kept = if settings.proxies.trusts(peer.ip()) { app.keep_for_proxy() } else { None };
    let keep = match &kept {
        Some(_) => KeepAlive::proxy(timeout, settings.proxy_keepalive),
        None => KeepAlive::client(timeout),
    };
    drop(settings);
    let stream = Fair::new(stream, app.lanes.clone());
    let stream = match acceptor {
        None => Connected::plain(stream),
        Some(acceptor) => match runtime::timeout(timeout, acceptor.accept(stream)).await? {
            Ok(stream) => Connected::tls(stream),
            Err(error) => {
                debug!(conn = conn.0, %error, "TLS handshake failed");
                return None;
            }
        },
    };
    let site = Site::new(app, visit).speaking(dialect);
    let served = http::serve(stream, conn, keep, |request| site.answer(request)).await;
    let (stream, leftover) = served?;
    Some((stream, leftover, site.into_admission()?))
}

/// The client named in a PROXY protocol header, or the peer if there is no header.
async fn read_preface(stream: &mut TcpStream, peer: SocketAddr, app: &App) -> Option<SocketAddr> {
    let mut bytes = Vec::new();
    loop {
        let known = bytes.len();
        bytes.resize(known + proxy::CHUNK, 0);
        let n = stream.peek(bytes.get_mut(known..)?).await.ok()?;
        bytes.truncate(known + n);
        let (length, client) = match proxy::preface(&bytes) {
            Preface::Present(length, client) => (length, Some(client)),
            Preface::Incomplete if n > 0 => (bytes.len(), None),
            // Empty lines before a request are ignored (RFC 9112, section 2.2). A PROXY protocol header can begin with
            // the same bytes.
            Preface::Absent if bytes.get(..known)?.iter().all(|byte| b"\r\n".contains(byte)) => {
                return Some(peer);
            }
            Preface::Absent | Preface::Incomplete => return None,
            Preface::Malformed => {
                if app.accounts.lines(peer.ip()).admit(peer) {
                    info!(address = %peer, "a PROXY protocol header that is none: closed");
                }
                return None;
            }
        };
        // Consume these bytes, so that the next peek waits for more. Bytes after the header stay in the socket.
        bytes.truncate(length);
        stream.read_exact(bytes.get_mut(known..)?).await.ok()?;
        if let Some(client) = client {
            return Some(client.unwrap_or(peer));
        }
    }
}
