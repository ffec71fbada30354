//! Start, serve, stop.

use std::{
    io::Write,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_rustls::TlsAcceptor;
use futures_util::{FutureExt, pin_mut, select_biased};
use tracing::{debug, error, info, warn};

use crate::{
    assets::Assets,
    config::{Config, Limits},
    connection,
    http::{self, Site},
    listener::{self, BindError},
    runtime::{self, Signals, TcpListener, TcpStream},
    stream::Connected,
    switchboard::Switchboard,
    tls::{Certificate, CertificateError, Files},
};

/// How often the certificate's files are looked at, as in the reference server.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(10);

/// Why the server does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No TLS.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// No port.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `--www` is no folder with a page.
    #[error("--www {0}: no index.html there")]
    NoPage(PathBuf),
    /// The operating system refuses something basic.
    #[error("cannot start: {0}")]
    System(#[from] std::io::Error),
}

/// Serves until SIGTERM or SIGINT, then closes everybody.
pub async fn run(config: Config) -> Result<(), StartError> {
    let certificate = load_certificate(&config)?;
    let assets = match &config.www {
        None => Assets::Embedded,
        Some(dir) if dir.join("index.html").is_file() => Assets::Folder(dir.clone()),
        Some(dir) => return Err(StartError::NoPage(dir.clone())),
    };
    let socket = listener::bind(&config.addr, config.port)?;
    let address = socket.local_addr()?;
    let acceptor = match &certificate {
        Some(certificate) => Some(TlsAcceptor::from(certificate.server_config()?)),
        None => None,
    };
    let mut signals = Signals::new()?;
    raise_descriptor_limit();
    if let Some(certificate) = certificate.filter(|_| config.restart_on_cert_change) {
        runtime::spawn(watch_certificate(certificate));
    }
    let server = Server {
        acceptor,
        site: Arc::new(Site { assets, health: config.health.clone() }),
        switchboard: Arc::default(),
        limits: config.limits(),
    };
    announce(address, server.acceptor.is_some());
    let listener = runtime::listener(socket)?;
    let signal = {
        let (serving, signal) = (server.accept_all(&listener).fuse(), signals.next().fuse());
        pin_mut!(serving, signal);
        select_biased! {
            signal = signal => signal,
            never = serving => match never {},
        }
    };
    drop(listener);
    shut_down(&server.switchboard, &signal, config.shutdown_timeout).await;
    Ok(())
}

fn load_certificate(config: &Config) -> Result<Option<Arc<Certificate>>, CertificateError> {
    if config.disable_ssl {
        return Ok(None);
    }
    let dir = config.cert_path.clone().unwrap_or_else(|| default_dir(config.self_signed));
    let files = Files::in_dir(&dir);
    if config.self_signed {
        files.make_if_missing()?;
    }
    Certificate::load(files).map(|certificate| Some(Arc::new(certificate)))
}

fn default_dir(self_signed: bool) -> PathBuf {
    if !self_signed {
        return ".".into();
    }
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or_else(home).unwrap_or_else(|| "/var/lib".into()).join("callbin")
}

/// The default of 1024 descriptors is a thousand peers: take what the system lets us have.
fn raise_descriptor_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "descriptors"),
        Err(error) => warn!(%error, "cannot raise the limit of open files"),
    }
}

/// One line for people and scripts: where to find us.
fn announce(address: SocketAddr, tls: bool) {
    let scheme = if tls { "https" } else { "http" };
    let host = if address.ip().is_unspecified() {
        "localhost".to_owned()
    } else if address.is_ipv6() {
        format!("[{}]", address.ip())
    } else {
        address.ip().to_string()
    };
    let mut out = std::io::stdout();
    // Nobody may be reading.
    let _ = writeln!(out, "listening on {scheme}://{host}:{}/", address.port()).and_then(|()| out.flush());
    info!(%address, tls, "listening");
}

async fn watch_certificate(certificate: Arc<Certificate>) {
    loop {
        runtime::sleep(CERTIFICATE_CHECK).await;
        let reloading = certificate.clone();
        match runtime::unblock(move || reloading.reload()).await {
            Ok(true) => info!("new certificate loaded, for new connections"),
            Ok(false) => {}
            Err(error) => error!(%error, "the certificate changed and is not usable: keeping the old one"),
        }
    }
}

async fn shut_down(switchboard: &Switchboard, signal: &str, timeout: Duration) {
    let open = switchboard.open_sockets();
    info!(signal, open, "shutting down");
    switchboard.shut_down();
    let deadline = Instant::now() + timeout;
    while switchboard.open_sockets() > 0 && Instant::now() < deadline {
        runtime::sleep(Duration::from_millis(10)).await;
    }
    info!(left = switchboard.open_sockets(), "shut down");
}

struct Server {
    acceptor: Option<TlsAcceptor>,
    site: Arc<Site>,
    switchboard: Arc<Switchboard>,
    limits: Limits,
}

enum Never {}

impl Server {
    async fn accept_all(&self, listener: &TcpListener) -> Never {
        loop {
            let (stream, address) = listener::accept(listener).await;
            let (acceptor, site) = (self.acceptor.clone(), self.site.clone());
            let (switchboard, limits) = (self.switchboard.clone(), self.limits);
            runtime::spawn(async move {
                // Boxed, so that an idle WebSocket does not keep the room that the handshakes needed.
                let handshake = Box::pin(handshake(stream, acceptor, site, limits.hello_timeout)).await;
                if let Some((stream, leftover)) = handshake {
                    Box::pin(connection::run(stream, leftover, address, switchboard, limits)).await;
                }
            });
        }
    }
}

/// TLS if we have it, then HTTP, until there is a WebSocket or nobody.
async fn handshake(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    site: Arc<Site>,
    timeout: Duration,
) -> Option<(Connected, Vec<u8>)> {
    let stream = match acceptor {
        None => Connected::Plain(stream),
        Some(acceptor) => match runtime::timeout(timeout, acceptor.accept(stream)).await? {
            Ok(stream) => Connected::Tls(Box::new(stream)),
            Err(error) => {
                debug!(%error, "TLS handshake failed");
                return None;
            }
        },
    };
    http::serve(stream, site, timeout).await
}
