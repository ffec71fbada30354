//! The options. Their names are the same on the command line, in the environment and in the file.

use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    str::FromStr,
};

use callbin_options::{OptionsError, Special};
use clap::{CommandFactory, FromArgMatches, Parser, error::ErrorKind};
use tracing_subscriber::EnvFilter;
use tungstenite::http::Uri;

use crate::core::node::Limits;

/// Options that cannot be set in a file.
const NOT_IN_FILE: [&str; 3] = ["config", "help", "version"];

/// A media node: takes each publisher's media once and forwards them to many viewers.
///
/// It connects to callbin-server, which relays descriptions between the node and its clients. `callbin-server --media`
/// starts a node on its own machine; others connect by themselves, from any machine.
///
/// Each option can be set on the command line, in the environment, or in a TOML file given with --config, where
/// `--max-viewers 100` is `max-viewers = 100`. The command line has precedence over the environment, the environment over
/// the file.
#[derive(Debug, Clone, Parser)]
#[command(name = "callbin-media", version, args_override_self = true, after_help = format!("{COMMANDS}\n\n{EXIT_CODES}"))]
pub struct Config {
    /// Read options from this TOML file. Unknown names are errors.
    #[arg(long, env = "CALLBIN_MEDIA_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The server's address for media nodes: `wss://host/node`. Required.
    #[arg(long, env = "CALLBIN_MEDIA_SERVER", value_name = "URL", value_parser = url, help_heading = "Server")]
    pub server: Option<Uri>,

    /// File with the token for the server.
    #[arg(long, env = "CALLBIN_MEDIA_TOKEN_FILE", value_name = "FILE", help_heading = "Server")]
    pub token_file: Option<PathBuf>,

    /// The first line of standard input is the token, and the end of standard input ends the node. For
    /// `callbin-server --media`.
    #[arg(long, conflicts_with = "token_file", help_heading = "Server")]
    pub supervised: bool,

    /// Trust the certificates in this PEM file, too.
    #[arg(long, env = "CALLBIN_MEDIA_CA_FILE", value_name = "FILE", help_heading = "Server")]
    pub ca_file: Option<PathBuf>,

    /// Accept any certificate of the server. Anyone on the way can then take its place.
    #[arg(long, env = "CALLBIN_MEDIA_INSECURE", help_heading = "Server")]
    pub insecure: bool,

    /// The node's name for operators.
    #[arg(long, env = "CALLBIN_MEDIA_NAME", default_value = "media", value_name = "NAME", value_parser = name, help_heading = "Server")]
    pub name: String,

    /// UDP address for all media. `[::]` is all addresses, IPv4 and IPv6; port 0 selects a free one, which the log shows.
    #[arg(
        long,
        env = "CALLBIN_MEDIA_LISTEN",
        default_value = "[::]:8443",
        value_name = "ADDRESS:PORT",
        help_heading = "Media"
    )]
    pub listen: SocketAddr,

    /// Address that clients send to, if it is not one of this machine (NAT): an IP address, and a port if it is not that
    /// of --listen. Several are possible.
    #[arg(
        long,
        env = "CALLBIN_MEDIA_PUBLIC_ADDRESS",
        value_name = "ADDRESS[:PORT]",
        value_delimiter = ',',
        help_heading = "Media"
    )]
    pub public_address: Vec<Public>,

    /// The most streams.
    #[arg(long, env = "CALLBIN_MEDIA_MAX_STREAMS", default_value_t = 1000, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub max_streams: u32,

    /// The most viewers of all streams together.
    #[arg(long, env = "CALLBIN_MEDIA_MAX_VIEWERS", default_value_t = 2000, value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..), help_heading = "Limits")]
    pub max_viewers: u32,

    /// The most bits per second of a publisher, on average over two seconds; 0: none. A publisher that sends more is ended.
    #[arg(
        long,
        env = "CALLBIN_MEDIA_MAX_BITRATE",
        default_value_t = 20_000_000,
        value_name = "BITS",
        help_heading = "Limits"
    )]
    pub max_bitrate: u64,

    /// What to log: error, warn, info, debug, trace, or per module as in `warn,callbin_media::control=debug`.
    #[arg(long, env = "CALLBIN_MEDIA_LOG", default_value = "info", value_name = "FILTER", value_parser = filter, help_heading = "Operation")]
    pub log: String,

    /// Format of the log.
    #[arg(
        long,
        env = "CALLBIN_MEDIA_LOG_FORMAT",
        default_value = "text",
        value_name = "FORMAT",
        help_heading = "Operation"
    )]
    pub log_format: LogFormat,
}

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// An address of `--public-address`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Public {
    /// The IP address.
    pub ip: IpAddr,
    /// The port, if it is not that of `--listen`.
    pub port: Option<u16>,
}

impl FromStr for Public {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self { ip, port: None });
        }
        let address: SocketAddr =
            text.parse().map_err(|_| "no IP address, with or without a port".to_owned())?;
        Ok(Self { ip: address.ip(), port: Some(address.port()) })
    }
}

const COMMANDS: &str = "\
Commands:
  man          Write the manual pages
  completions  Print the completions for a shell";

/// The text about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  ended by SIGTERM, SIGINT or the end of standard input (--supervised)
  2  wrong flag, value, configuration or token file
  3  cannot listen: port taken, address not of this machine, no permission
  4  any other error";

impl Config {
    /// Reads the options from the command line, the environment and the file, if one is named.
    pub fn parse_from_all(args: impl IntoIterator<Item = OsString>) -> Result<Self, OptionsError> {
        let args: Vec<OsString> = args.into_iter().collect();
        let special = Special { not_in_file: &NOT_IN_FILE, secret: &[] };
        let matches = callbin_options::parse(&Self::command(), &args, special)?;
        let config = Self::from_arg_matches(&matches)?;
        match config.server {
            // Not clap's `required`: the file is another place for it.
            None => {
                Err(Self::command().error(ErrorKind::MissingRequiredArgument, "--server is missing").into())
            }
            Some(_) => Ok(config),
        }
    }

    /// The bounds of the node.
    pub fn limits(&self) -> Limits {
        let number = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
        Limits {
            streams: number(self.max_streams),
            viewers: number(self.max_viewers),
            bits: Some(self.max_bitrate).filter(|bits| *bits > 0),
        }
    }
}

fn url(text: &str) -> Result<Uri, String> {
    let url: Uri = text.parse().map_err(|_| "no URL".to_owned())?;
    match (url.scheme_str(), url.host()) {
        (Some("ws" | "wss"), Some(host)) if !host.is_empty() => Ok(url),
        _ => Err("not of the form ws://host/path or wss://host/path".into()),
    }
}

fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=256 => Ok(text.into()),
        _ => Err("a name has 1 to 256 bytes".into()),
    }
}

fn filter(text: &str) -> Result<String, String> {
    EnvFilter::try_new(text).map(|_| text.into()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn parse(args: &[&str]) -> Result<Config, String> {
        let args = [&["callbin-media"], args].concat();
        Config::parse_from_all(args.into_iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_has_the_names_of_the_flags() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"server = \"ws://a/node\"\nmax_viewers = 7\npublic-address = [\"192.0.2.1\", \"[2001:db8::1]:9\"]")
            .unwrap();
        let config = parse(&["--config", file.path().to_str().unwrap()]).unwrap();
        assert_eq!(config.limits().viewers, 7);
        let ports: Vec<_> = config.public_address.iter().map(|public| public.port).collect();
        assert_eq!(ports, [None, Some(9)]);
    }

    #[test]
    fn wrong_values_are_named() {
        for (args, words) in [
            (&["--server", "http://a"][..], "ws://host/path"),
            (&["--server", "nothing"], "ws://host/path"),
            (&["--server", "ws://a", "--public-address", "example.org"], "no IP address"),
            (&["--server", "ws://a", "--listen", "8443"], "--listen"),
            (&["--server", "ws://a", "--max-viewers", "0"], "--max-viewers"),
            (&["--server", "ws://a", "--log", "=="], "--log"),
            (&["--server", "ws://a", "--supervised", "--token-file", "x"], "cannot be used with"),
            (&[], "--server"),
        ] {
            let error = parse(args).unwrap_err();
            assert!(error.contains(words), "{args:?}: {error}");
        }
        let limits = parse(&["--server", "ws://a", "--max-bitrate", "0"]).unwrap().limits();
        assert_eq!(limits.bits, None);
    }
}
