//! The command line and the environment.

use std::{path::PathBuf, time::Duration};

use clap::Parser;

/// A signalling server for GStreamer's WebRTC clients and browsers.
///
/// Understands what the example server of GStreamer understands (HELLO, SESSION, ROOM) and serves a page to
/// call from a browser, all on one port.
#[derive(Debug, Clone, Parser)]
#[command(version, after_help = EXIT_CODES)]
pub struct Config {
    /// Address to listen on; empty or none means all interfaces, IPv4 and IPv6.
    #[arg(long, env = "CALLBIN_ADDR", default_value = "", value_name = "ADDRESS")]
    pub addr: String,

    /// Port to listen on; 0 takes a free one, which the first line on stdout tells.
    #[arg(long, env = "CALLBIN_PORT", default_value_t = 8443)]
    pub port: u16,

    /// Seconds between pings.
    #[arg(long, env = "CALLBIN_KEEPALIVE_TIMEOUT", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub keepalive_timeout: Duration,

    /// Folder with the certificate: cert.pem and key.pem, or fullchain.pem and privkey.pem if the path
    /// contains "letsencrypt". [default: this folder; with --self-signed: ~/.local/state/callbin]
    #[arg(long, env = "CALLBIN_CERT_PATH", value_name = "DIR")]
    pub cert_path: Option<PathBuf>,

    /// Serve without TLS.
    #[arg(long, env = "CALLBIN_DISABLE_SSL", conflicts_with = "self_signed")]
    pub disable_ssl: bool,

    /// Make a self-signed certificate in --cert-path if none is there yet, and keep it.
    #[arg(long, env = "CALLBIN_SELF_SIGNED")]
    pub self_signed: bool,

    /// Look every 10 seconds whether the certificate changed, and use the new one for new connections.
    #[arg(long, env = "CALLBIN_RESTART_ON_CERT_CHANGE")]
    pub restart_on_cert_change: bool,

    /// Path that answers 200 OK to whoever watches the server's health.
    #[arg(long, env = "CALLBIN_HEALTH", default_value = "/health", value_name = "PATH")]
    pub health: String,

    /// Serve the page from this folder instead of from the binary.
    #[arg(long, env = "CALLBIN_WWW", value_name = "DIR")]
    pub www: Option<PathBuf>,

    /// Seconds a connection may take for TLS, the HTTP request and HELLO, each.
    #[arg(long, env = "CALLBIN_HELLO_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub hello_timeout: Duration,

    /// Seconds a peer may take to answer a ping.
    #[arg(long, env = "CALLBIN_PONG_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub pong_timeout: Duration,

    /// Size of the largest message accepted, in bytes.
    #[arg(long, env = "CALLBIN_MAX_MESSAGE", default_value_t = 1 << 20, value_name = "BYTES", value_parser = size)]
    pub max_message: u64,

    /// Bytes that may wait for one peer; one that reads too slowly for it is closed.
    #[arg(long, env = "CALLBIN_MAX_QUEUE", default_value_t = 4 << 20, value_name = "BYTES", value_parser = size)]
    pub max_queue: u64,

    /// Seconds that connections may take to close after SIGTERM or SIGINT.
    #[arg(long, env = "CALLBIN_SHUTDOWN_TIMEOUT", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_timeout: Duration,

    /// What to log: error, warn, info, debug, trace, or per module as in `warn,callbin_server::http=debug`.
    #[arg(long, env = "CALLBIN_LOG", default_value = "info", value_name = "FILTER")]
    pub log: String,
}

const EXIT_CODES: &str = "\
Exit codes:
  0  ended by SIGTERM or SIGINT
  1  no usable certificate
  2  wrong flag or value
  3  cannot listen: port taken, address not ours, no permission
  4  any other fault at start";

/// What one connection may do. A copy of the flags it needs.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For TLS, the HTTP request and HELLO, each.
    pub hello_timeout: Duration,
    /// Between pings.
    pub keepalive: Duration,
    /// From a ping to its pong.
    pub pong_timeout: Duration,
    /// Bytes of one message.
    pub max_message: usize,
    /// Bytes waiting to be sent.
    pub max_queue: usize,
}

impl Config {
    /// The limits of one connection.
    pub fn limits(&self) -> Limits {
        Limits {
            hello_timeout: self.hello_timeout,
            keepalive: self.keepalive_timeout,
            pong_timeout: self.pong_timeout,
            max_message: usize::try_from(self.max_message).unwrap_or(usize::MAX),
            max_queue: usize::try_from(self.max_queue).unwrap_or(usize::MAX),
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(time) if !time.is_zero() && time <= MAX_TIME => Ok(time),
        _ => Err("not more than 0 and at most 31536000 seconds (a year)".into()),
    }
}

const MAX_TIME: Duration = Duration::from_secs(365 * 24 * 3600);

fn size(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(bytes @ 125..=0x4000_0000) => Ok(bytes),
        Ok(_) => Err("not between 125 and 1073741824 bytes".into()),
        Err(_) => Err("not a number of bytes".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Config::command().debug_assert();
    }

    #[test]
    fn defaults_are_the_reference_servers() {
        let config = Config::parse_from(["callbin-server"]);
        assert_eq!((config.addr.as_str(), config.port, config.health.as_str()), ("", 8443, "/health"));
        assert_eq!(config.keepalive_timeout, Duration::from_secs(30));
        assert!(!config.disable_ssl && !config.restart_on_cert_change);
    }

    #[test]
    fn wrong_values_are_refused() {
        for flags in [
            ["--port", "65536"],
            ["--keepalive-timeout", "0"],
            ["--keepalive-timeout", "-1"],
            ["--keepalive-timeout", "NaN"],
            ["--hello-timeout", "1e300"],
            ["--max-message", "12"],
            ["--max-queue", "many"],
        ] {
            assert!(Config::try_parse_from(["callbin-server", flags[0], flags[1]]).is_err(), "{flags:?}");
        }
    }
}
