//! Logs to stderr through a bounded queue: a terminal or disk that stalls must not stall the media.

mod text;

use std::{io::IsTerminal, panic};

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging with a filter in the syntax of `--log`. Dropping the guard writes what is queued.
pub fn start(filter: &str, format: LogFormat) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(16_384).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(EnvFilter::new(filter)).with_writer(writer);
    match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).fmt_fields(text::Fields).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).init(),
    }
    // A panic in the WebRTC library ends one session. Its message may quote what a peer sent.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect ended a session or the node");
    }));
    guard
}
