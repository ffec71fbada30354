//! The media node that the server starts beside itself: `--media`.
//!
//! The node gets its token and notices the server's end by its standard input: the token is the first line, and the end of
//! the input ends the node, also if the server is killed. It attaches at an address of its own on the loopback interface.

mod backoff;
mod contact;

use std::{
    future::Future,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use async_lock::Semaphore;
use futures_util::{FutureExt, pin_mut, select_biased};
use tracing::{error, info, warn};

use self::backoff::Backoff;
pub(crate) use self::contact::Contact;
use crate::{
    config::{Config, LogFormat},
    runtime::{self, Child},
};

/// The program's name.
const PROGRAM: &str = "callbin-media";

/// The time that a node has to end by itself. Then it is killed.
const FAREWELL: Duration = Duration::from_secs(3);

/// The environment of the server's own options. Those of the node begin with `CALLBIN_MEDIA_`, too.
const OWN: [&str; 4] =
    ["CALLBIN_MEDIA", "CALLBIN_MEDIA_PROGRAM", "CALLBIN_MEDIA_ARG", "CALLBIN_MEDIA_TOKEN_FILE"];

/// How to start the node.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<String>,
    token: String,
}

impl Program {
    /// The path of the program: that of the option, or else beside our own.
    pub(crate) fn path(config: &Config) -> PathBuf {
        let beside = || Some(std::env::current_exe().ok()?.parent()?.join(PROGRAM));
        config.media.media_program.clone().or_else(beside).unwrap_or_else(|| PROGRAM.into())
    }

    /// The program with its arguments, for a server that waits for it at this address.
    pub(crate) fn new(config: &Config, address: SocketAddr, token: String) -> Self {
        let format = match config.operations.log_format {
            LogFormat::Text => "text",
            LogFormat::Json => "json",
        };
        let own = ["--server", &format!("ws://{address}/"), "--supervised", "--log", &config.operations.log];
        let own = own.into_iter().chain(["--log-format", format]).map(String::from);
        let args = own.chain(config.media.media_arg.iter().cloned()).collect();
        Self { path: Self::path(config), args, token }
    }

    async fn start(&self) -> io::Result<Child> {
        let removed = std::env::vars_os().map(|(name, _)| name).filter(|name| {
            let name = name.to_string_lossy();
            name.starts_with("CALLBIN_") && (!name.starts_with("CALLBIN_MEDIA_") || OWN.contains(&&*name))
        });
        let mut child = Child::start(&self.path, &self.args, removed)?;
        child.write_line(&self.token).await?;
        Ok(child)
    }
}

/// A running node and the task that restarts it.
pub(crate) struct Supervisor {
    stop: Arc<Semaphore>,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl Supervisor {
    /// Starts the node, and starts it again whenever it ends.
    pub(crate) fn start(program: Program, contact: Arc<Contact>) -> Self {
        let stop = Arc::new(Semaphore::new(0));
        let ended = runtime::start(supervise(program, contact, stop.clone()));
        Self { stop, ended: Box::pin(ended) }
    }

    /// Ends the node, and waits for its end.
    pub(crate) async fn stop(self) {
        self.stop.add_permits(1);
        self.ended.await;
    }
}

async fn supervise(program: Program, contact: Arc<Contact>, stop: Arc<Semaphore>) {
    let stopping = stop.acquire().fuse();
    pin_mut!(stopping);
    let mut backoff = Backoff::default();
    loop {
        let start = Instant::now();
        match program.start().await {
            Ok(mut child) => {
                info!(pid = child.id(), "media node started");
                contact.begin(Instant::now());
                let lost = lost(&contact).fuse();
                pin_mut!(lost);
                let status = select_biased! {
                    _ = stopping => return farewell(child).await,
                    status = child.wait().fuse() => status,
                    () = lost => {
                        warn!("the media node does not attach: killing it");
                        child.kill().await
                    }
                };
                warn!(status = %describe(status), "media node ended: starting it again");
            }
            Err(error) => error!(program = %program.path.display(), %error, "cannot start the media node"),
        }
        let pause = runtime::sleep(backoff.pause(start.elapsed())).fuse();
        pin_mut!(pause);
        select_biased! {
            _ = stopping => return,
            () = pause => {},
        }
    }
}

/// Waits until the node runs without a connection to us for too long.
async fn lost(contact: &Contact) {
    while let Some(left) = contact.left(Instant::now()) {
        runtime::sleep(left).await;
    }
}

/// Lets the node end by itself, or kills it.
async fn farewell(mut child: Child) {
    child.close_input();
    if runtime::timeout(FAREWELL, child.wait()).await.is_none() {
        warn!("the media node does not end: killing it");
        let _ = child.kill().await;
    }
}

fn describe(status: io::Result<std::process::ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}

/// Whether the program can be started, as far as that shows without starting it.
pub(crate) fn is_there(path: &Path) -> bool {
    path.components().count() == 1 || path.is_file()
}
