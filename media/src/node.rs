//! The process: one worker for the media, one thread for the server, and what ends them.

use std::{
    fs,
    io::{self, BufRead, Read},
    path::Path,
    thread,
};

use callbin_protocol::node::{Hello, Limits, VERSION};
use signal_hook::{consts::TERM_SIGNALS, iterator::Signals};

use crate::{
    config::Config,
    control::{
        dial::Target,
        link::{self, Inbound, Mailbox},
    },
    engine::Engine,
    net::{local::Local, socket},
    rtc::Stack,
    worker::Worker,
};

/// The longest token.
const MAX_TOKEN: u64 = 16 * 1024;

/// Why the node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// No usable token.
    #[error("no usable token: {0}")]
    Token(String),
    /// The UDP port is not available.
    #[error("cannot listen on {0} (UDP): {1}")]
    Bind(std::net::SocketAddr, io::Error),
    /// Something else of the system.
    #[error("{0}")]
    System(#[from] io::Error),
    /// The library makes no certificate.
    #[error("no DTLS certificate")]
    Certificate,
}

/// Runs a node until a signal, or the end of standard input if it is supervised.
pub fn run(config: &Config) -> Result<(), StartError> {
    let token = token(config)?;
    let socket = socket::bind(config.listen).map_err(|error| StartError::Bind(config.listen, error))?;
    let local = local(config, socket.local_addr()?);
    if local.candidates().is_empty() {
        tracing::warn!("this machine has no address that clients can use: set --public-address");
    }
    for candidate in local.candidates() {
        tracing::info!(address = %candidate, "media (UDP)");
    }
    let stack = Stack::new(local.candidates().to_vec()).ok_or(StartError::Certificate)?;
    let (worker, mailbox) = Worker::new(socket, local, Engine::new(stack, config.limits()))?;
    watch_signals(mailbox.clone())?;
    if config.supervised {
        watch_input(mailbox.clone())?;
    }
    start_link(config, token, mailbox)?;
    worker.run()?;
    Ok(())
}

fn local(config: &Config, bound: std::net::SocketAddr) -> Local {
    let machine = if_addrs::get_if_addrs().unwrap_or_default().into_iter().map(|it| it.ip()).collect();
    let public: Vec<_> = config.public_address.iter().map(|public| (public.ip, public.port)).collect();
    Local::new(bound, &public, machine)
}

fn token(config: &Config) -> Result<Option<String>, StartError> {
    let text = if config.supervised {
        let mut line = String::new();
        let read = io::stdin().lock().take(MAX_TOKEN).read_line(&mut line);
        read.map_err(|error| StartError::Token(error.to_string()))?;
        line
    } else {
        match &config.token_file {
            Some(path) => read(path)?,
            None => return Ok(None),
        }
    };
    match text.trim() {
        "" => Err(StartError::Token("it is empty".into())),
        text => Ok(Some(text.to_owned())),
    }
}

fn read(path: &Path) -> Result<String, StartError> {
    let open = || {
        let mut text = String::new();
        fs::File::open(path)?.take(MAX_TOKEN).read_to_string(&mut text)?;
        Ok(text)
    };
    open().map_err(|error: io::Error| StartError::Token(format!("{}: {error}", path.display())))
}

fn watch_signals(mailbox: Mailbox) -> io::Result<()> {
    let mut signals = Signals::new(TERM_SIGNALS)?;
    spawn("signals", move || {
        if signals.forever().next().is_some() {
            mailbox.send(Inbound::Stop);
        }
    })
}

/// The server's process is gone when standard input ends.
fn watch_input(mailbox: Mailbox) -> io::Result<()> {
    spawn("input", move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        mailbox.send(Inbound::Stop);
    })
}

fn start_link(config: &Config, token: Option<String>, mailbox: Mailbox) -> io::Result<()> {
    let Some(url) = config.server.clone() else { return Err(io::ErrorKind::InvalidInput.into()) };
    let target = Target { url, insecure: config.insecure, ca_file: config.ca_file.clone() };
    let hello = Hello {
        version: VERSION,
        name: config.name.clone(),
        software: concat!("callbin-media ", env!("CARGO_PKG_VERSION")).into(),
        limits: Limits { streams: config.max_streams, viewers: config.max_viewers },
    };
    spawn("control", move || link::run(&target, token.as_deref(), &hello, &mailbox))
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    thread::Builder::new().name(name.into()).spawn(work).map(|_| ())
}
