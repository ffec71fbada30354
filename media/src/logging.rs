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
    let builder = tracing_subscriber::fmt().with_env_filter(with_quiet_libraries(filter)).with_writer(writer);
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

/// The filter, but without what the WebRTC library says about peers, unless the filter names the library: warnings may
/// quote descriptions and addresses.
fn with_quiet_libraries(filter: &str) -> EnvFilter {
    let quiet = ["str0m", "is", "dimpl", "sctp_proto"].into_iter().filter(|name| !filter.contains(name));
    let directives = quiet.filter_map(|name| format!("{name}=error").parse().ok());
    directives.fold(EnvFilter::new(filter), EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_quiet_unless_it_is_named() {
        let usual = with_quiet_libraries("debug").to_string();
        assert!(usual.contains("str0m=error") && usual.contains("is=error"), "{usual}");
        let named = with_quiet_libraries("info,str0m=debug").to_string();
        assert!(named.contains("str0m=debug") && !named.contains("str0m=error"), "{named}");
    }
}
