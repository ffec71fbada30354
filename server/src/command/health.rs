//! `callbin-server health`, for container images without an HTTP client.

use std::time::Duration;

use clap::Args;
use ureq::Agent;

/// The server.
#[derive(Debug, Args)]
pub(super) struct Options {
    /// The admin address of the server.
    #[arg(long, env = "CALLBIN_ADMIN_ADDR", default_value = "127.0.0.1:9443", value_name = "ADDRESS:PORT")]
    admin_addr: String,
}

pub(super) fn run(options: &Options) -> Result<String, Box<dyn std::error::Error>> {
    let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(5))).proxy(None).build();
    let url = format!("http://{}/livez", options.admin_addr);
    let mut answer = Agent::from(config)
        .get(&url)
        .call()
        .map_err(|error| format!("no answer from {}: {error}", options.admin_addr))?;
    Ok(answer.body_mut().read_to_string()?.trim_end().to_owned())
}
