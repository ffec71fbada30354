//! The `callbin` program: flags, then [`callbin::app::run`].

use std::{process::ExitCode, time::Instant};

use callbin::{app, cli::Cli};
use clap::Parser;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

fn main() -> ExitCode {
    let started = Instant::now();
    let cli = Cli::parse();
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var("CALLBIN_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    ExitCode::from(app::run(&cli, started) as u8)
}
