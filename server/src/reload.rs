//! New certificates, keys, secrets and limits while everybody stays connected.
//!
//! A file may be a FIFO, or on a network file system whose server is gone: it is read beside everything else, and not
//! waited for without end.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use async_lock::Mutex as AsyncMutex;
use tracing::{error, info, warn};

use crate::{
    app::App,
    config::{self, Config},
    runtime,
    settings::{self, Settings},
    tls::Certificate,
};

/// How long a file may take to be read.
const DEADLINE: Duration = Duration::from_secs(5);

/// What is said about one that takes longer.
const TOO_LONG: &str = "a file takes too long to read";

/// Runs work that may block on a thread, one piece after the other: a piece that never ends costs one thread.
#[derive(Default)]
struct Reader(Arc<AsyncMutex<()>>);

impl Reader {
    /// The result, if it is there in time.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let turn = self.0.clone();
        let result = runtime::timeout(DEADLINE, async move {
            let turn = turn.lock_arc().await;
            // It may end after the deadline: then the result is dropped.
            runtime::unblock(move || {
                let result = work();
                drop(turn);
                result
            })
            .await
        });
        result.await.unwrap_or_else(|| Err(TOO_LONG.into()))
    }
}

/// Reads again what the server was started with.
pub(crate) struct Reloader {
    /// As it was last found usable.
    config: Mutex<Config>,
    certificate: Option<Arc<Certificate>>,
    app: Arc<App>,
    descriptors: u64,
    seen: Mutex<Vec<Stamp>>,
    /// What was wrong with the certificate at the last look.
    trouble: Mutex<Option<String>>,
    certificate_reader: Reader,
    settings_reader: Reader,
}

/// What tells one version of a file from the next.
type Stamp = Option<(SystemTime, u64)>;

impl Reloader {
    pub(crate) fn new(
        config: Config,
        certificate: Option<Arc<Certificate>>,
        app: Arc<App>,
        descriptors: u64,
    ) -> Self {
        let seen = Mutex::new(stamps(&settings::watched_files(&config)));
        Self {
            config: Mutex::new(config),
            certificate,
            app,
            descriptors,
            seen,
            trouble: Mutex::default(),
            certificate_reader: Reader::default(),
            settings_reader: Reader::default(),
        }
    }

    /// Reloads what has changed, every now and then, for ever; if asked to.
    pub(crate) async fn watch(&self, wanted: bool) {
        if !wanted {
            return std::future::pending().await;
        }
        let (mut last, mut retries) = (None, false);
        loop {
            // What cannot be looked at in time cannot be read, either.
            if let Ok(now) = self.stamps().await {
                // A file that is being written changes from look to look: what is not all there is not read.
                let settled = last.replace(now.clone()).is_some_and(|last| last == now);
                if settled && *self.seen() != now {
                    // What changes from here on is seen at the next looks, and so are files that are named only now.
                    let before = std::mem::replace(&mut *self.seen(), now);
                    let in_time = self.reload_settings(!retries).await;
                    if !in_time {
                        *self.seen() = before;
                    }
                    retries = !in_time;
                }
            }
            runtime::sleep(self.config().tls.watch_interval).await;
            self.reload_certificate(false).await;
        }
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Stamp>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn stamps(&self) -> Result<Vec<Stamp>, String> {
        let files = settings::watched_files(&self.config());
        self.settings_reader.read(move || Ok(stamps(&files))).await
    }

    /// Reloads everything. What is not usable stays as it was.
    pub(crate) async fn reload(&self) {
        info!("reloading");
        self.reload_certificate(true).await;
        self.reload_settings(true).await;
    }

    /// Whoever asked gets an answer; else a fault is told of once, and its end.
    async fn reload_certificate(&self, asked: bool) {
        let Some(certificate) = self.certificate.clone() else { return };
        let reading = certificate.clone();
        let read =
            self.certificate_reader.read(move || reading.read_again().map_err(|error| error.to_string()));
        let result = read.await.map(|new| certificate.replace(new));
        if let Some(expiry) = certificate.expiry() {
            self.app.metrics.set_certificate_expiry(expiry);
        }
        let trouble = result.as_ref().err().cloned();
        let is_news = {
            let mut last = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *last, trouble.clone()) != trouble
        };
        match result {
            Ok(true) => info!("new certificate loaded, for new connections"),
            Ok(false) if is_news => info!("the certificate is the old one again"),
            Err(error) if asked || is_news => {
                error!(%error, "the certificate changed and is not usable: keeping the old one");
            }
            Ok(false) | Err(_) => {}
        }
    }

    /// Tells of a fault if that is wanted. False if a file took too long.
    async fn reload_settings(&self, tells: bool) -> bool {
        let before = self.config();
        let loaded = self.settings_reader.read(move || load(&before)).await;
        let in_time = loaded.as_ref().err().is_none_or(|why| why != TOO_LONG);
        match loaded {
            Ok((config, settings)) => {
                let before = std::mem::replace(
                    &mut *self.config.lock().unwrap_or_else(PoisonError::into_inner),
                    config.clone(),
                );
                for name in before.differences_for_a_start(&config) {
                    warn!(option = name, "has changed, and counts from the next start on");
                }
                self.app.set_settings(settings);
                self.app.accounts.set_quotas(config.quotas(self.descriptors));
                self.app.switchboard.set_limits(config.rules(), config.bounds());
                info!("new settings loaded");
            }
            Err(error) if tells => error!(%error, "the settings are not usable: keeping the old ones"),
            Err(_) => {}
        }
        in_time
    }
}

/// The flags are still the same, the files may not be.
fn load(before: &Config) -> Result<(Config, Settings), String> {
    let config = config::parse(std::env::args_os()).map_err(|error| error.to_string())?;
    let lost = before.guards_lost_in(&config);
    if !lost.is_empty() {
        let names = lost.join(", ");
        return Err(format!("a reload gives up no guard, restart the server for that: {names}"));
    }
    let settings = Settings::load(&config).map_err(|error| error.to_string())?;
    Ok((config, settings))
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
