//! Logs to stderr, through a bounded queue: a terminal or disk that stalls must not stall the server.

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The filter is not one.
#[derive(Debug, thiserror::Error)]
#[error("--log {0:?}: {1}")]
pub struct InvalidFilter(String, tracing_subscriber::filter::ParseError);

/// Starts logging. What is queued is written when the guard is dropped.
pub fn start(filter: &str) -> Result<WorkerGuard, InvalidFilter> {
    let env_filter = EnvFilter::try_new(filter).map_err(|error| InvalidFilter(filter.into(), error))?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(16_384).finish(std::io::stderr());
    tracing_subscriber::fmt()
        .with_env_filter(env_filter)
        .with_writer(writer)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    Ok(guard)
}
