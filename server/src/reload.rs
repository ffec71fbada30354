//! New certificates, keys, secrets and limits while everybody stays connected.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use tracing::{error, info, warn};

use crate::{
    app::App,
    config::{self, Config},
    runtime,
    settings::{self, Settings},
    tls::Certificate,
};

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
        Self { config: Mutex::new(config), certificate, app, descriptors, seen, trouble: Mutex::default() }
    }

    /// Reloads what has changed, every now and then, for ever; if asked to.
    pub(crate) async fn watch(&self, wanted: bool) {
        if !wanted {
            return std::future::pending().await;
        }
        let mut last = self.stamps();
        loop {
            runtime::sleep(self.config().tls.watch_interval).await;
            self.reload_certificate(false).await;
            let now = self.stamps();
            // A file that is being written changes from look to look: what is not all there is not read.
            let settled = std::mem::replace(&mut last, now.clone()) == now;
            let changed = settled && {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *seen, now.clone()) != now
            };
            if changed {
                // What changes from here on is seen at the next looks, and so are files that are named only now.
                self.reload_settings();
            }
        }
    }

    fn config(&self) -> Config {
        self.config.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn stamps(&self) -> Vec<Stamp> {
        stamps(&settings::watched_files(&self.config()))
    }

    /// Reloads everything. What is not usable stays as it was.
    pub(crate) async fn reload(&self) {
        info!("reloading");
        self.reload_certificate(true).await;
        self.reload_settings();
    }

    /// Whoever asked gets an answer; else a fault is told of once, and its end.
    async fn reload_certificate(&self, asked: bool) {
        let Some(certificate) = self.certificate.clone() else { return };
        let result = runtime::unblock(move || certificate.reload()).await;
        let trouble = result.as_ref().err().map(ToString::to_string);
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

    fn reload_settings(&self) {
        // The flags are still the same, the file may not be.
        let config = config::parse(std::env::args_os()).map_err(|error| error.to_string());
        let loaded = config.and_then(|config| {
            let lost = self.config().guards_lost_in(&config);
            if !lost.is_empty() {
                let names = lost.join(", ");
                return Err(format!("a reload gives up no guard, restart the server for that: {names}"));
            }
            let settings = Settings::load(&config).map_err(|error| error.to_string())?;
            Ok((config, settings))
        });
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
            Err(error) => error!(%error, "the settings are not usable: keeping the old ones"),
        }
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |file: &PathBuf| {
        let metadata = fs::metadata(file).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.iter().map(stamp).collect()
}
