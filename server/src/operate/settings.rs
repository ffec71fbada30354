//! Settings that can change while the server runs: keys, secrets, limits, lists. They are loaded and replaced as a
//! whole.

use std::{
    fs,
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use hyper::header::HeaderValue;
use serde_json::Value;

use crate::{
    access::{
        KeyError,
        ice::{self, IceServers},
        token::{self, Verifier},
        webhook::Webhook,
    },
    cluster::{client, wire::Secret},
    config::{Config, Limits, WithoutRedis, normal_origin},
    dialect::routes::Routes,
    edge::{policy, proxy::TrustedProxies},
};

/// The settings (see the module's description).
pub struct Settings {
    /// The limits of each connection.
    pub limits: Limits,
    /// Checks tokens. `None`: no token is needed.
    pub verifier: Option<Verifier>,
    /// Origins of pages that may connect. Empty: all.
    pub origins: Vec<String>,
    /// The Content-Security-Policy header of the page.
    pub page_policy: HeaderValue,
    /// Which dialect is spoken at which path.
    pub routes: Routes,
    /// The trusted proxies.
    pub proxies: TrustedProxies,
    /// How long an idle HTTP connection of a proxy is kept.
    pub proxy_keepalive: Duration,
    /// The ICE servers for `GET /ice-servers`.
    pub ice: IceServers,
    /// Is asked before a peer registers, calls or joins.
    pub webhook: Option<Webhook>,
    /// The secret of the admin API.
    pub admin_secret: Option<String>,
    /// The secret of media nodes.
    pub media_secret: Option<String>,
}

/// A file or flag of the configuration is invalid.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A token key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file can't be read.
    #[error("cannot read {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A secret file is empty.
    #[error("{0} is empty: a secret belongs there")]
    EmptySecret(PathBuf),
    /// `--redis-ca-file` has no certificate.
    #[error("{0} has no certificate in PEM format")]
    NoCertificate(PathBuf),
    /// `--ice-servers-file` is not an array of valid objects.
    #[error("{0} is not a JSON array of RTCIceServer objects: {1}")]
    NotIceServers(PathBuf, String),
    /// `--frame-ancestors` has an invalid value.
    #[error(
        "--frame-ancestors {0}: neither self, nor none and nothing else, nor an origin such as https://example.org or https://*.example.org"
    )]
    NotAnAncestor(String),
}

impl Settings {
    /// Reads the files that the configuration names.
    pub fn load(config: &Config) -> Result<Self, SettingsError> {
        let keys = token::Settings {
            key_file: config.access.token_key_file.clone(),
            jwks_file: config.access.token_jwks_file.clone(),
            leeway: config.access.token_leeway,
            audience: config.access.token_audience.clone(),
            issuer: config.access.token_issuer.clone(),
        };
        Ok(Self {
            limits: config.limits(),
            verifier: keys.load()?,
            origins: config.access.allowed_origin.clone(),
            page_policy: policy::header(&config.listen.frame_ancestors)
                .map_err(SettingsError::NotAnAncestor)?,
            routes: Routes::new(&config.listen.dialect),
            proxies: TrustedProxies::new(
                config.listen.trusted_proxy.clone(),
                config.listen.proxy_header.clone(),
            ),
            proxy_keepalive: config.listen.proxy_keepalive_timeout,
            ice: IceServers {
                fixed: config
                    .ice
                    .ice_servers_file
                    .as_deref()
                    .map(read_ice_servers)
                    .transpose()?
                    .unwrap_or_default(),
                stun: config.ice.stun_url.clone(),
                turn: config.ice.turn_url.clone(),
                secret: read_secret(config.ice.turn_secret_file.as_deref())?.map(String::into_bytes),
                ttl: config.ice.turn_ttl,
            },
            webhook: webhook(config)?,
            admin_secret: read_secret(config.operations.admin_secret_file.as_deref())?,
            media_secret: read_secret(config.media.media_token_file.as_deref())?,
        })
    }

    /// Whether pages of this origin may connect.
    pub fn allows_origin(&self, origin: &str) -> bool {
        self.origins.is_empty() || self.origins.contains(&normal_origin(origin))
    }
}

/// How this server takes part in a cluster, if it does.
pub fn cluster(config: &Config) -> Result<Option<client::Settings>, SettingsError> {
    let args = &config.cluster;
    if args.redis.is_empty() {
        return Ok(None);
    }
    let secret = read_secret(args.cluster_secret_file.as_deref())?.unwrap_or_default();
    Ok(Some(client::Settings {
        urls: args.redis.clone(),
        password: read_secret(args.redis_password_file.as_deref())?,
        authorities: args.redis_ca_file.as_deref().map(read_authorities).transpose()?,
        name: args.node_name.clone().unwrap_or_else(node_name),
        secret: Secret::new(secret.as_bytes()),
        lease: args.node_lease,
        is_local_without: args.without_redis == WithoutRedis::Local,
    }))
}

/// The host's name, and a number, because a host can have several servers.
fn node_name() -> Arc<str> {
    let host = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let is_allowed = |c: &char| c.is_ascii_alphanumeric() || ".-_".contains(*c);
    let host: String = host.chars().filter(is_allowed).take(48).collect();
    let number = RandomState::new().hash_one("node") as u32;
    format!("{}-{number:08x}", if host.is_empty() { "node" } else { &host }).into()
}

/// All files to watch except the certificate's.
pub fn watched_files(config: &Config) -> Vec<PathBuf> {
    let files = [
        &config.config,
        &config.access.token_key_file,
        &config.access.token_jwks_file,
        &config.ice.turn_secret_file,
        &config.ice.ice_servers_file,
        &config.webhook.webhook_secret_file,
        &config.operations.admin_secret_file,
        &config.media.media_token_file,
    ];
    files.into_iter().flatten().cloned().collect()
}

fn webhook(config: &Config) -> Result<Option<Webhook>, SettingsError> {
    let args = &config.webhook;
    let Some(url) = &args.webhook_url else { return Ok(None) };
    let secret = read_secret(args.webhook_secret_file.as_deref())?;
    Ok(Some(Webhook::new(url, secret, args.webhook_timeout, args.webhook_retries)))
}

fn read(path: &Path) -> Result<String, SettingsError> {
    fs::read_to_string(path).map_err(|error| SettingsError::Unreadable(path.into(), error))
}

/// Whitespace around a secret comes from editors.
fn read_secret(path: Option<&Path>) -> Result<Option<String>, SettingsError> {
    let Some(path) = path else { return Ok(None) };
    match read(path)?.trim() {
        "" => Err(SettingsError::EmptySecret(path.into())),
        secret => Ok(Some(secret.to_owned())),
    }
}

fn read_authorities(path: &Path) -> Result<String, SettingsError> {
    let text = read(path)?;
    match CertificateDer::pem_slice_iter(text.as_bytes()).next() {
        Some(Ok(_)) => Ok(text),
        _ => Err(SettingsError::NoCertificate(path.into())),
    }
}

fn read_ice_servers(path: &Path) -> Result<Vec<Value>, SettingsError> {
    let wrong = |why: String| SettingsError::NotIceServers(path.into(), why);
    let servers: Vec<Value> = serde_json::from_str(&read(path)?).map_err(|error| wrong(error.to_string()))?;
    for (index, server) in servers.iter().enumerate() {
        ice::check(server).map_err(|why| wrong(format!("number {}: {why}", index + 1)))?;
    }
    Ok(servers)
}
