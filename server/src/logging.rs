//! Logs to stderr, through a bounded queue: a terminal or disk that stalls must not stall the server.

use std::{borrow::Borrow, fmt, io::IsTerminal};

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

/// How many characters of an id a line has.
const SHORT: usize = 64;

/// An id for a log line: quoted and escaped, and without the rest of a long one.
pub struct Short<'a>(&'a str);

/// Shortens an id for a log line.
pub fn short(id: &impl Borrow<str>) -> Short<'_> {
    Short(id.borrow())
}

impl fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(SHORT) {
            None => write!(f, "{:?}", self.0),
            Some((end, _)) => write!(f, "{:?}…", self.0.get(..end).unwrap_or_default()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(id: &str) -> String {
        format!("{:?}", short(&id.to_owned()))
    }

    #[test]
    fn long_ids_are_cut_in_logs() {
        assert_eq!(printed("a\"b\u{7}"), r#""a\"b\u{7}""#);
        assert_eq!(printed(&"ü".repeat(64)), format!("\"{}\"", "ü".repeat(64)));
        assert_eq!(printed(&"ü".repeat(65)), format!("\"{}\"…", "ü".repeat(64)));
    }
}
