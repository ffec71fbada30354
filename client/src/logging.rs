//! The log on stderr, at the level of `CALLBIN_LOG`; it includes the messages of libraries.

use gst::glib::{self, LogLevel, LogLevels};
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

/// Part of libnice's warning when an agent with a TURN server ends.
///
/// `nice_agent_close_async` would end the allocation first, but GStreamer before 1.28 never calls it, and calling it
/// needs unsafe code. The allocation expires by itself, and a user can do nothing about it.
const TURN_LEFTOVER: &str = "alive TURN refreshes";

/// Sets up the log.
pub fn init() {
    let filter = EnvFilter::builder()
        .with_default_directive(LevelFilter::WARN.into())
        .with_env_var("CALLBIN_LOG")
        .from_env_lossy();
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let levels = LogLevels::LEVEL_WARNING | LogLevels::LEVEL_CRITICAL;
    glib::log_set_handler(Some("libnice"), levels, false, false, |_, level, message| {
        if message.contains(TURN_LEFTOVER) {
            tracing::debug!("libnice: {message}");
        } else if level == LogLevel::Critical {
            tracing::error!("libnice: {message}");
        } else {
            tracing::warn!("libnice: {message}");
        }
    });
}
