//! Reloads certificates, keys, secrets and limits without disconnecting peers.
//!
//! A file may be a FIFO or on a network file system that does not answer: files are read on another thread, with a
//! deadline.

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
    edge::tls::Certificate,
    operate::settings::{self, Settings},
    runtime,
};

/// The time limit for reading the files.
const DEADLINE: Duration = Duration::from_secs(5);

/// The message for files that take longer.
const TOO_LONG: &str = "a file takes too long to read";

/// Runs blocking work on a thread, one piece at a time: a piece that never ends costs only one thread.
#[derive(Default)]
struct Reader(Arc<AsyncMutex<()>>);

impl Reader {
    /// Returns the result, or an error if it takes too long.
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, String> + Send + 'static,
    ) -> Result<T, String> {
        let turn = self.0.clone();
        let result = runtime::timeout(DEADLINE, async move {
            let turn = turn.lock_arc().await;
            // The work may end after the deadline; its result is dropped then.
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

/// Rereads the files that the server was started with.
pub(crate) struct Reloader {
    /// The last valid configuration.
    config: Mutex<Config>,
    certificate: Option<Arc<Certificate>>,
    app: Arc<App>,
    descriptors: u64,
    seen: Mutex<Vec<Stamp>>,
    /// The certificate's error at the last check.
    trouble: Mutex<Option<String>>,
    certificate_reader: Reader,
    settings_reader: Reader,
}

/// Modification time and size of a file, to detect changes.
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

    /// Watches the files and reloads changed ones, if `wanted`. Never returns.
    pub(crate) async fn watch(&self, wanted: bool) {
        if !wanted {
            return std::future::pending().await;
        }
        let (mut last, mut retries) = (None, false);
        loop {
            // If the files cannot be inspected in time, they cannot be read either.
            if let Ok(now) = self.stamps().await {
                // A file that is being written changes between checks: wait until two checks agree.
                let settled = last.replace(now.clone()).is_some_and(|last| last == now);
                if settled && *self.seen() != now {
                    // Later changes are seen at the next checks, also those of files that the new configuration adds.
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

    /// Reloads everything. What is invalid keeps its old value.
    pub(crate) async fn reload(&self) {
        info!("reloading");
        self.reload_certificate(true).await;
        self.reload_settings(true).await;
    }

    /// Logs an error if `asked` or if the error is new, and logs once when an error is gone.
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

    /// Logs an error if `tells`. False if a file took too long.
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

/// The flags are the same; the files may have changed.
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
