//! The log of the server and of the media node, on stderr through a bounded queue: a terminal or disk that stalls must not
//! stall the program.

mod text;

use std::io::IsTerminal;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

/// The most lines in the queue; further ones are dropped.
const QUEUE: usize = 16_384;

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Checks a filter in the syntax of `--log`.
pub fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.into()).map_err(|error| error.to_string())
}

/// Starts logging with a filter in the syntax of `--log`. Of the `quiet` libraries only errors are logged, unless the filter
/// names them. Dropping the guard writes what is queued.
pub fn start(filter: &str, quiet: &[&str], format: LogFormat) -> WorkerGuard {
    let (writer, guard) =
        NonBlockingBuilder::default().lossy(true).buffered_lines_limit(QUEUE).finish(std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(with_quiet(filter, quiet)).with_writer(writer);
    match format {
        LogFormat::Text => {
            builder.with_ansi(std::io::stderr().is_terminal()).fmt_fields(text::Fields).init();
        }
        LogFormat::Json => builder.json().flatten_event(true).with_ansi(false).init(),
    }
    guard
}

fn with_quiet(filter: &str, quiet: &[&str]) -> EnvFilter {
    // A directive begins with the path of its target: `name::module[span]=level`.
    let targets = || filter.split(',').filter_map(|directive| directive.split([':', '[', '=']).next());
    let is_named = |name: &str| targets().any(|target| target.trim() == name);
    let quiet = quiet.iter().filter(|name| !is_named(name));
    let directives = quiet.filter_map(|name| format!("{name}=error").parse().ok());
    directives.fold(EnvFilter::new(filter), EnvFilter::add_directive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_quiet_unless_it_is_named() {
        let filter = |text: &str| with_quiet(text, &["str0m", "is"]).to_string();
        let usual = filter("debug");
        assert!(usual.contains("str0m=error") && usual.contains("is=error"), "{usual}");
        let named = filter("info,str0m=debug");
        assert!(named.contains("str0m=debug") && !named.contains("str0m=error"), "{named}");
        let is_quiet = |text: &str| filter(text).split(',').any(|directive| directive == "is=error");
        for text in ["is=debug", "info, is::agent=debug", "is[span]=debug"] {
            assert!(!is_quiet(text), "{text}");
        }
        for text in ["callbin_server::edge::listener=debug", "isolation=debug", "callbin_server::is=debug"] {
            assert!(is_quiet(text), "{text}");
        }
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        assert_eq!(filter("info,a::b=debug").as_deref(), Ok("info,a::b=debug"));
        assert!(filter("==").is_err());
    }
}
