//! The options for several servers as one.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use super::values::seconds;
use crate::cluster::client::check_url;

/// Several servers as one.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Several servers as one (docs/redis.md)")]
pub struct ClusterArgs {
    /// Form one service with all servers that have the same Redis (6 or later) or Valkey: `redis://[user@]host:port`, with
    /// TLS `rediss://`, or `redis+sentinel://host:port/master-name` (with TLS `rediss+sentinel://`). Several URLs are tried
    /// in turn.
    #[arg(long, env = "CALLBIN_REDIS", value_name = "URL", value_delimiter = ',', value_parser = redis_url)]
    pub redis: Vec<String>,

    /// File with the password for Redis; then the URL, which other users of the machine can see, needs none.
    #[arg(long, env = "CALLBIN_REDIS_PASSWORD_FILE", value_name = "FILE")]
    pub redis_password_file: Option<PathBuf>,

    /// File with the certificate authorities of Redis, in PEM format; by default those of the system.
    #[arg(long, env = "CALLBIN_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// Name of this server among the others, of letters, digits, dots, hyphens and underscores. [default: the host's name
    /// and a random number]
    #[arg(long, env = "CALLBIN_NODE_NAME", value_name = "NAME", value_parser = node_name)]
    pub node_name: Option<Arc<str>>,

    /// File with a secret that all servers of the cluster have. It authenticates what they send each other through Redis.
    #[arg(long, env = "CALLBIN_CLUSTER_SECRET_FILE", value_name = "FILE")]
    pub cluster_secret_file: Option<PathBuf>,

    /// Seconds after which the other servers free the uids of a server that is gone. A server that cannot reach Redis for
    /// as long ends its calls with peers of other servers.
    #[arg(long, env = "CALLBIN_NODE_LEASE", default_value = "3", value_name = "SECONDS", value_parser = lease)]
    pub node_lease: Duration,

    /// What happens with registrations and joins while Redis cannot be reached: refuse them (1013, or 503 over HTTP), or
    /// serve them locally, as if there were no other servers.
    #[arg(long, env = "CALLBIN_WITHOUT_REDIS", default_value = "refuse", value_name = "POLICY")]
    pub without_redis: WithoutRedis,
}

/// What happens without Redis.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum WithoutRedis {
    /// Refuse what other servers have to know.
    Refuse,
    /// Go on alone.
    Local,
}

fn redis_url(text: &str) -> Result<String, String> {
    check_url(text).map(|()| text.into())
}

fn node_name(text: &str) -> Result<Arc<str>, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || ".-_".contains(c);
    match (1..=64).contains(&text.len()) && text.chars().all(is_allowed) {
        true => Ok(text.into()),
        false => Err("not 1 to 64 letters, digits, dots, hyphens and underscores".into()),
    }
}

fn lease(text: &str) -> Result<Duration, String> {
    let lease = seconds(text)?;
    match (Duration::from_millis(200)..=Duration::from_secs(300)).contains(&lease) {
        true => Ok(lease),
        false => Err("not between 0.2 and 300 seconds".into()),
    }
}
