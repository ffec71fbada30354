//! New certificates, keys, secrets and limits while everybody stays connected.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use tracing::{error, info};

use crate::{
    app::App,
    config::{self, Config},
    runtime,
    settings::{self, Settings},
    tls::Certificate,
};

/// How often files are looked at, as in the reference server.
const CHECK: Duration = Duration::from_secs(10);

/// Reads again what the server was started with.
pub(crate) struct Reloader {
    config: Config,
    certificate: Option<Arc<Certificate>>,
    app: Arc<App>,
    descriptors: u64,
    seen: Mutex<Vec<Stamp>>,
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
        Self { config, certificate, app, descriptors, seen }
    }

    /// Reloads what has changed, every now and then, for ever; if asked to.
    pub(crate) async fn watch(&self, wanted: bool) {
        if !wanted {
            return std::future::pending().await;
        }
        loop {
            runtime::sleep(CHECK).await;
            self.reload_certificate().await;
            let now = stamps(&settings::watched_files(&self.config));
            let changed = {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                std::mem::replace(&mut *seen, now.clone()) != now
            };
            if changed {
                self.reload_settings();
            }
        }
    }

    /// Reloads everything. What is not usable stays as it was.
    pub(crate) async fn reload(&self) {
        info!("reloading");
        self.reload_certificate().await;
        self.reload_settings();
    }

    async fn reload_certificate(&self) {
        let Some(certificate) = self.certificate.clone() else { return };
        match runtime::unblock(move || certificate.reload()).await {
            Ok(true) => info!("new certificate loaded, for new connections"),
            Ok(false) => {}
            Err(error) => error!(%error, "the certificate changed and is not usable: keeping the old one"),
        }
    }

    fn reload_settings(&self) {
        // The flags are still the same, the file may not be.
        let config = config::parse(std::env::args_os()).map_err(|error| error.to_string());
        let loaded = config.and_then(|config| {
            Settings::load(&config).map(|settings| (config, settings)).map_err(|error| error.to_string())
        });
        match loaded {
            Ok((config, settings)) => {
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
