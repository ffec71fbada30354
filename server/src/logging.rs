//! Logs to stderr, through a bounded queue: a terminal or disk that stalls must not stall the server.

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// The filter is not one.
#[derive(Debug, thiserror::Error)]
#[error("--log {0:?}: {1}")]
pub struct InvalidFilter(String, tracing_subscriber::filter::ParseError);

/// Reads a filter.
pub fn filter(text: &str) -> Result<EnvFilter, InvalidFilter> {
    EnvFilter::try_new(text).map_err(|error| InvalidFilter(text.into(), error))
}

/// Starts logging. What is queued is written when the guard is dropped.
pub fn start(filter_text: &str, format: LogFormat) -> Result<WorkerGuard, InvalidFilter> {
    let env_filter = filter(filter_text)?;
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(16_384).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(env_filter).with_writer(writer);
    match format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).init(),
    }
    Ok(guard)
}
