//! The `callbin` program: flags, then [`callbin::app::run`].

use std::time::Instant;

use callbin::{app, cli::Cli};
use clap::Parser;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

fn main() {
    let started = Instant::now();
    let cli = Cli::parse();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var("CALLBIN_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let code = app::run(&cli, started);
    // Not by way of the C library's exit handlers: OpenSSL's would free what a thread that is still making a
    // key, or a pipeline that does not end, is using.
    signal_hook::low_level::exit(code as i32);
}
