//! The options. Their names are the same on the command line, in the environment and in the file.

mod cluster;
mod guards;
mod sources;
mod values;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use callbin_logging::{LogFormat, filter};
use callbin_protocol::MAX_ID_LEN;
use clap::{Args, Parser};
use hyper::header::HeaderName;
use ipnet::IpNet;

pub use cluster::{ClusterArgs, WithoutRedis};
pub use sources::parse;
pub use values::normal_origin;

use self::values::{
    header, http_url, network, origin, path, room_pattern, seconds, seconds_or_none, size, stun_url, turn_url,
};
use crate::{
    access::{Pattern, account::Quotas},
    delivery::budget::Bounds,
    dialect::routes::{Door, Setting},
    hub::{NodeRooms, Rules},
};

/// A signalling server for GStreamer's WebRTC clients and browsers.
///
/// Speaks the protocol of GStreamer's example server (HELLO, SESSION, ROOM) and serves a page to call from a browser,
/// all on one port.
///
/// Each option can be set on the command line, in the environment, or in a TOML file given with --config, where
/// `--max-queue 1000` is `max-queue = 1000`. The command line has precedence over the environment, the environment over
/// the file.
#[derive(Debug, Clone, Parser)]
#[command(name = "callbin-server", version, after_help = format!("{COMMANDS}\n\n{EXIT_CODES}"))]
pub struct Config {
    /// Read options from this TOML file. Unknown names are errors.
    #[arg(long, env = "CALLBIN_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Check everything that can be checked without listening, report errors, and exit.
    #[arg(long)]
    pub check_config: bool,

    /// The address and the page.
    #[command(flatten)]
    pub listen: Listen,

    /// Certificates.
    #[command(flatten)]
    pub tls: Tls,

    /// Access control.
    #[command(flatten)]
    pub access: Access,

    /// ICE servers.
    #[command(flatten)]
    pub ice: Ice,

    /// The webhook.
    #[command(flatten)]
    pub webhook: Webhook,

    /// Deadlines.
    #[command(flatten)]
    pub deadlines: Deadlines,

    /// Media nodes.
    #[command(flatten)]
    pub media: Media,

    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Several servers as one.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Operation.
    #[command(flatten)]
    pub operations: Operations,
}

impl Config {
    /// Options whose values differ from the other configuration's and that are only read at the start.
    pub fn differences_for_a_start(&self, other: &Self) -> Vec<&'static str> {
        let of_each = |config: &Self| {
            let Self { listen, tls, deadlines, operations, cluster, media, .. } = config;
            [
                ("addr", format!("{:?}", listen.addr)),
                ("port", format!("{:?}", listen.port)),
                ("listen", format!("{:?}", listen.listen)),
                ("health", format!("{:?}", listen.health)),
                ("www", format!("{:?}", listen.www)),
                ("cert-path", format!("{:?}", tls.cert_path)),
                ("disable-ssl", format!("{:?}", tls.disable_ssl)),
                ("self-signed", format!("{:?}", tls.self_signed)),
                ("restart-on-cert-change", format!("{:?}", tls.restart_on_cert_change)),
                ("drain-timeout", format!("{:?}", deadlines.drain_timeout)),
                ("shutdown-timeout", format!("{:?}", deadlines.shutdown_timeout)),
                ("redis", format!("{:?}", cluster.redis)),
                ("redis-password-file", format!("{:?}", cluster.redis_password_file)),
                ("redis-ca-file", format!("{:?}", cluster.redis_ca_file)),
                ("node-name", format!("{:?}", cluster.node_name)),
                ("cluster-secret-file", format!("{:?}", cluster.cluster_secret_file)),
                ("node-lease", format!("{:?}", cluster.node_lease)),
                ("without-redis", format!("{:?}", cluster.without_redis)),
                ("media", format!("{:?}", media.media)),
                ("media-program", format!("{:?}", media.media_program)),
                ("media-arg", format!("{:?}", media.media_arg)),
                ("node-rooms", format!("{:?}", media.node_rooms)),
                ("admin-addr", format!("{:?}", operations.admin_addr)),
                ("log", format!("{:?}", operations.log)),
                ("log-format", format!("{:?}", operations.log_format)),
            ]
        };
        let pairs = of_each(self).into_iter().zip(of_each(other));
        pairs.filter(|((_, here), (_, there))| here != there).map(|((name, _), _)| name).collect()
    }
}

/// The address and the page.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Listening")]
pub struct Listen {
    /// Address to listen on; if empty, all interfaces, IPv4 and IPv6.
    #[arg(long, env = "CALLBIN_ADDR", default_value = "", value_name = "ADDRESS")]
    pub addr: String,

    /// Port to listen on, unless systemd passes a listening socket; 0 selects a free one, which the first line on
    /// stdout shows.
    #[arg(long, env = "CALLBIN_PORT", default_value_t = 8443)]
    pub port: u16,

    /// Path that answers 200 OK as long as the server runs, also while it drains, like the Python server; on
    /// --admin-addr, too. Load balancers should ask /readyz instead.
    #[arg(long, env = "CALLBIN_HEALTH", default_value = "/health", value_name = "PATH", value_parser = path)]
    pub health: String,

    /// Serve the page from this folder instead of from the binary.
    #[arg(long, env = "CALLBIN_WWW", value_name = "DIR")]
    pub www: Option<PathBuf>,

    /// Where a signalling protocol is spoken: NAME=/path, or NAME=off. The names are text, rooms, antmedia, action,
    /// webrtcsink, rest, whip, whep, node. Several paths of one protocol add up and replace its default ones.
    #[arg(long, env = "CALLBIN_DIALECT", value_name = "NAME=PATH", value_delimiter = ',')]
    pub dialect: Vec<Setting>,

    /// Another address to listen on, for clients that can give no path: WebSockets on any path speak this protocol there.
    /// NAME is text, antmedia, action or webrtcsink. Port 0 selects a free one. A line on stdout shows each.
    #[arg(long, env = "CALLBIN_LISTEN", value_name = "NAME=ADDRESS:PORT", value_delimiter = ',')]
    pub listen: Vec<Door>,

    /// Pages that may embed ours in a frame: origins such as `https://example.org` or `https://*.example.org`, `self`,
    /// or `none`. Such a frame needs allow="camera; microphone".
    #[arg(
        long,
        env = "CALLBIN_FRAME_ANCESTORS",
        default_value = "self",
        value_name = "LIST",
        value_delimiter = ','
    )]
    pub frame_ancestors: Vec<String>,

    /// Proxies whose Forwarded, X-Forwarded-For or PROXY protocol (version 1 or 2) is trusted: networks or single
    /// addresses.
    #[arg(long, env = "CALLBIN_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', value_parser = network)]
    pub trusted_proxy: Vec<IpNet>,

    /// The only header of trusted proxies that names the client: forwarded, x-forwarded-for, x-real-ip, or another one
    /// with addresses. The proxy next to us must write it, or append to it. [default: Forwarded and X-Forwarded-For,
    /// which must not contradict each other]
    #[arg(long, env = "CALLBIN_PROXY_HEADER", value_name = "NAME", value_parser = header)]
    pub proxy_header: Option<HeaderName>,

    /// Seconds that an idle HTTP connection of a trusted proxy is kept open. It must be longer than the proxy keeps it:
    /// if a proxy sends a request while the server closes the connection, it answers 502.
    #[arg(long, env = "CALLBIN_PROXY_KEEPALIVE_TIMEOUT", default_value = "125", value_name = "SECONDS", value_parser = seconds)]
    pub proxy_keepalive_timeout: Duration,
}

/// Certificates.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "TLS")]
pub struct Tls {
    /// Folder with the certificate: cert.pem and key.pem, or fullchain.pem and privkey.pem if the path contains
    /// "letsencrypt". [default: the current folder; with --self-signed: ~/.local/state/callbin]
    #[arg(long, env = "CALLBIN_CERT_PATH", value_name = "DIR")]
    pub cert_path: Option<PathBuf>,

    /// Serve without TLS.
    #[arg(long, env = "CALLBIN_DISABLE_SSL", conflicts_with = "self_signed")]
    pub disable_ssl: bool,

    /// Make a self-signed certificate in --cert-path if there is none yet, and keep it.
    #[arg(long, env = "CALLBIN_SELF_SIGNED")]
    pub self_signed: bool,

    /// Check regularly whether the certificate, the token keys, the secrets or --config changed, and use the new ones
    /// for new connections. SIGHUP does the same at once.
    #[arg(long, env = "CALLBIN_RESTART_ON_CERT_CHANGE")]
    pub restart_on_cert_change: bool,

    /// Seconds between two such checks.
    #[arg(long, env = "CALLBIN_WATCH_INTERVAL", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub watch_interval: Duration,
}

/// Access control.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Access")]
pub struct Access {
    /// Require tokens (JWT) signed with the key in this file: a secret of 32 bytes or more for HS256, or a
    /// public key in PEM form for RS256, ES256 or EdDSA.
    #[arg(long, env = "CALLBIN_TOKEN_KEY_FILE", value_name = "FILE")]
    pub token_key_file: Option<PathBuf>,

    /// Require tokens signed with one of the keys in this JSON Web Key Set.
    #[arg(long, env = "CALLBIN_TOKEN_JWKS_FILE", value_name = "FILE")]
    pub token_jwks_file: Option<PathBuf>,

    /// Seconds that our clock and that of the tokens' issuer may differ.
    #[arg(long, env = "CALLBIN_TOKEN_LEEWAY", default_value = "30", value_name = "SECONDS", value_parser = seconds_or_none)]
    pub token_leeway: Duration,

    /// The audience (aud) that a token must name.
    #[arg(long, env = "CALLBIN_TOKEN_AUDIENCE", value_name = "TEXT")]
    pub token_audience: Option<String>,

    /// The issuer (iss) that a token must name.
    #[arg(long, env = "CALLBIN_TOKEN_ISSUER", value_name = "TEXT")]
    pub token_issuer: Option<String>,

    /// Accept WebSockets of browsers only from pages of these origins, such as `https://example.org`.
    #[arg(long, env = "CALLBIN_ALLOWED_ORIGIN", value_name = "ORIGIN", value_delimiter = ',', value_parser = origin)]
    pub allowed_origin: Vec<String>,
}

/// ICE servers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "ICE servers, for GET /ice-servers")]
pub struct Ice {
    /// A STUN server's URL: `stun:host:port`; the default port is 3478.
    #[arg(long, env = "CALLBIN_STUN_URL", value_name = "URL", value_delimiter = ',', value_parser = stun_url)]
    pub stun_url: Vec<String>,

    /// A TURN server's URL: `turn:host:port?transport=udp`, or tcp, or turns: for TLS; its credentials are made with
    /// --turn-secret-file.
    #[arg(long, env = "CALLBIN_TURN_URL", value_name = "URL", value_delimiter = ',', value_parser = turn_url)]
    pub turn_url: Vec<String>,

    /// File with the secret shared with the TURN servers (coturn: static-auth-secret).
    #[arg(long, env = "CALLBIN_TURN_SECRET_FILE", value_name = "FILE")]
    pub turn_secret_file: Option<PathBuf>,

    /// Lifetime of TURN credentials in seconds.
    #[arg(long, env = "CALLBIN_TURN_TTL", default_value = "3600", value_name = "SECONDS", value_parser = seconds)]
    pub turn_ttl: Duration,

    /// File with a JSON array of RTCIceServer objects to hand out unchanged.
    #[arg(long, env = "CALLBIN_ICE_SERVERS_FILE", value_name = "FILE")]
    pub ice_servers_file: Option<PathBuf>,
}

/// The webhook.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Webhook")]
pub struct Webhook {
    /// Ask this URL whether a registration, a call or a join is allowed.
    #[arg(long, env = "CALLBIN_WEBHOOK_URL", value_name = "URL", value_parser = http_url)]
    pub webhook_url: Option<String>,

    /// File with a secret to send as Authorization: Bearer.
    #[arg(long, env = "CALLBIN_WEBHOOK_SECRET_FILE", value_name = "FILE")]
    pub webhook_secret_file: Option<PathBuf>,

    /// Seconds until the answer must be there, retries included; otherwise the request is refused. A question waits in
    /// the queue for at most half of this time.
    #[arg(long, env = "CALLBIN_WEBHOOK_TIMEOUT", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub webhook_timeout: Duration,

    /// Number of retries after an error.
    #[arg(long, env = "CALLBIN_WEBHOOK_RETRIES", default_value_t = 2, value_name = "N")]
    pub webhook_retries: u32,
}

/// Deadlines.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Deadlines")]
pub struct Deadlines {
    /// Seconds between pings.
    #[arg(long, env = "CALLBIN_KEEPALIVE_TIMEOUT", default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    pub keepalive_timeout: Duration,

    /// Seconds that a peer has to answer a ping.
    #[arg(long, env = "CALLBIN_PONG_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub pong_timeout: Duration,

    /// Seconds that a connection has for each of TLS, the HTTP request and HELLO.
    #[arg(long, env = "CALLBIN_HELLO_TIMEOUT", default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    pub hello_timeout: Duration,

    /// Seconds that sessions and rooms may continue after SIGTERM or SIGINT; a second signal ends them. Idle
    /// connections are closed gradually meanwhile, and the remaining ones at the end.
    #[arg(long, env = "CALLBIN_DRAIN_TIMEOUT", default_value = "0", value_name = "SECONDS", value_parser = seconds_or_none)]
    pub drain_timeout: Duration,

    /// Seconds that connections have to close at the end.
    #[arg(long, env = "CALLBIN_SHUTDOWN_TIMEOUT", default_value = "5", value_name = "SECONDS", value_parser = seconds)]
    pub shutdown_timeout: Duration,
}

/// Media nodes.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Media nodes, for streams with many viewers")]
pub struct Media {
    /// Start callbin-media beside the server, restart it when it ends, and end it with the server.
    #[arg(long, env = "CALLBIN_MEDIA")]
    pub media: bool,

    /// The program to start. [default: callbin-media in the folder of callbin-server]
    #[arg(long, env = "CALLBIN_MEDIA_PROGRAM", value_name = "FILE", requires = "media")]
    pub media_program: Option<PathBuf>,

    /// A further argument for the program, for example --media-arg=--public-address=198.51.100.7. Options of the program can
    /// also be in the environment, as CALLBIN_MEDIA_….
    #[arg(
        long,
        env = "CALLBIN_MEDIA_ARG",
        value_name = "ARGUMENT",
        requires = "media",
        allow_hyphen_values = true
    )]
    pub media_arg: Vec<String>,

    /// File with a secret: media nodes of other machines that send it may attach. Without it, they need a token with the
    /// claim node.
    #[arg(long, env = "CALLBIN_MEDIA_TOKEN_FILE", value_name = "FILE")]
    pub media_token_file: Option<PathBuf>,

    /// Rooms whose media go through a media node: each member sends once, however many members there are. A name, or the
    /// beginning of names with an asterisk: 'stage-*'. The members see one more, 0, to which they send.
    #[arg(long, env = "CALLBIN_NODE_ROOMS", value_name = "PATTERN", value_delimiter = ',', value_parser = room_pattern)]
    pub node_rooms: Vec<Pattern>,
}

/// Limits. "Owner" is an address (IPv6: a /64 network, and with higher limits a /56 and a /48), and with tokens also a
/// subject.
#[derive(Debug, Clone, Args)]
#[command(
    next_help_heading = "Limits (0: none); an owner is an address or an IPv6 network (/64; /56: 4 times, /48: 16 times as much), and with tokens also a subject"
)]
pub struct LimitArgs {
    /// Size of the largest message accepted, in bytes.
    #[arg(long, env = "CALLBIN_MAX_MESSAGE", default_value_t = 1 << 20, value_name = "BYTES", value_parser = size)]
    pub max_message: u32,

    /// Bytes that may be queued for one peer; a peer that reads too slowly for it is closed.
    #[arg(long, env = "CALLBIN_MAX_QUEUE", default_value_t = 4 << 20, value_name = "BYTES", value_parser = size)]
    pub max_queue: u32,

    /// Bytes for all peers together, beyond 16 KiB for each: those queued for them, and those of messages they have not
    /// completed. If these are used up, the peers that have been above their 16 KiB for the longest time are closed.
    #[arg(long, env = "CALLBIN_MAX_QUEUED_BYTES", default_value_t = 256 << 20, value_name = "BYTES")]
    pub max_queued_bytes: usize,

    /// Connections in total. [default: as many as the limit of open files allows]
    #[arg(long, env = "CALLBIN_MAX_CONNECTIONS", value_name = "N")]
    pub max_connections: Option<usize>,

    /// Connections of one owner.
    #[arg(long, env = "CALLBIN_MAX_OWNER_CONNECTIONS", default_value_t = 2000, value_name = "N")]
    pub max_owner_connections: usize,

    /// Registrations per second of one owner, with bursts of five times as many.
    #[arg(long, env = "CALLBIN_MAX_REGISTRATION_RATE", default_value_t = 200, value_name = "N")]
    pub max_registration_rate: u32,

    /// Tokens with a wrong signature, and wrong secrets of media nodes, per second from one address, with bursts of five
    /// times as many. Beyond that, nothing that needs a token is accepted from it for 10 seconds.
    #[arg(long, env = "CALLBIN_MAX_BAD_TOKEN_RATE", default_value_t = 10, value_name = "N")]
    pub max_bad_token_rate: u32,

    /// HTTP requests per second of one owner, with bursts of five times as many. Beyond that the answer is 429. Loading
    /// the page takes about 30.
    #[arg(long, env = "CALLBIN_MAX_REQUEST_RATE", default_value_t = 2000, value_name = "N")]
    pub max_request_rate: u32,

    /// Messages per second of one owner, with bursts of twice as many.
    #[arg(long, env = "CALLBIN_MAX_MESSAGE_RATE", default_value_t = 20_000, value_name = "N")]
    pub max_message_rate: u32,

    /// Bytes of messages per second of one owner, with bursts of twice as many.
    #[arg(long, env = "CALLBIN_MAX_BYTE_RATE", default_value_t = 50_000_000, value_name = "BYTES")]
    pub max_byte_rate: u32,

    /// Sessions started by one owner.
    #[arg(long, env = "CALLBIN_MAX_SESSIONS", default_value_t = 1000, value_name = "N")]
    pub max_sessions: usize,

    /// Rooms created by one owner.
    #[arg(long, env = "CALLBIN_MAX_ROOMS", default_value_t = 1000, value_name = "N")]
    pub max_rooms: usize,

    /// Streams of media nodes published by one owner.
    #[arg(long, env = "CALLBIN_MAX_STREAMS", default_value_t = 100, value_name = "N")]
    pub max_streams: usize,

    /// Streams of media nodes played by one owner; each viewer of a stream counts.
    #[arg(long, env = "CALLBIN_MAX_VIEWERS", default_value_t = 1000, value_name = "N")]
    pub max_viewers: usize,

    /// Bits per second of one published stream; the media node's own limit holds, too. A publisher that sends more is ended.
    #[arg(long, env = "CALLBIN_MAX_STREAM_BITRATE", default_value_t = 20_000_000, value_name = "BITS")]
    pub max_stream_bitrate: u64,

    /// Members of one room; fewer if their names together exceed 1 MiB.
    #[arg(long, env = "CALLBIN_MAX_ROOM_MEMBERS", default_value_t = 500, value_name = "N")]
    pub max_room_members: usize,

    /// Notices per second that one owner may cause in rooms, with bursts of twice as many: two per present member when
    /// another one joins, one per name in a list, and one per member and KiB of a message to a whole room. A call to a
    /// stream, and each offer to a media node, count as 100. Beyond that, requests of this owner wait; a connection whose
    /// request would wait longer than ten seconds is closed.
    #[arg(long, env = "CALLBIN_MAX_NOTICE_RATE", default_value_t = 50_000, value_name = "N")]
    pub max_notice_rate: u32,

    /// Length of a uid, in bytes.
    #[arg(long, env = "CALLBIN_MAX_UID_LENGTH", default_value_t = 128, value_name = "BYTES",
        value_parser = clap::value_parser!(u16).range(1..=MAX_ID_LEN as i64))]
    pub max_uid_length: u16,

    /// Log lines per second about the peers of one address, with bursts of ten times as many.
    #[arg(long, env = "CALLBIN_MAX_LOG_RATE", default_value_t = 100, value_name = "N")]
    pub max_log_rate: u32,
}

/// Operation.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Operation")]
pub struct Operations {
    /// Serve /livez, /readyz, /metrics and the admin API only on this address. Without it, the port for clients serves
    /// the probes, and /metrics to requests over localhost only.
    #[arg(long, env = "CALLBIN_ADMIN_ADDR", value_name = "ADDRESS:PORT")]
    pub admin_addr: Option<SocketAddr>,

    /// File with the secret of the admin API; without it the API is disabled.
    #[arg(long, env = "CALLBIN_ADMIN_SECRET_FILE", value_name = "FILE")]
    pub admin_secret_file: Option<PathBuf>,

    /// What to log: error, warn, info, debug, trace, or per module as in `warn,callbin_server::edge=debug`.
    #[arg(long, env = "CALLBIN_LOG", default_value = "info", value_name = "FILTER", value_parser = filter)]
    pub log: String,

    /// Format of the log.
    #[arg(long, env = "CALLBIN_LOG_FORMAT", default_value = "text", value_name = "FORMAT")]
    pub log_format: LogFormat,
}

const COMMANDS: &str = "\
Commands:
  token        Make a token (JWT) for a peer
  admin        Look at or close peers, sessions and rooms of a running server
  health       Check that a running server is alive
  man          Write the manual pages
  completions  Print the completions for a shell
`callbin-server COMMAND --help` has their options.";

/// The text about exit codes.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  ended by SIGTERM or SIGINT, or --check-config found no error
  1  no usable certificate
  2  wrong flag, value, configuration or key file
  3  cannot listen: port taken, address not of this machine, no permission
  4  any other error at start";

/// The limits of one connection, copied from the options.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For each of TLS, the HTTP request and HELLO.
    pub hello_timeout: Duration,
    /// The interval between pings.
    pub keepalive: Duration,
    /// The time from a ping to its pong.
    pub pong_timeout: Duration,
    /// The largest message in bytes.
    pub max_message: usize,
}

impl Config {
    /// The limits of one connection.
    pub fn limits(&self) -> Limits {
        Limits {
            hello_timeout: self.deadlines.hello_timeout,
            keepalive: self.deadlines.keepalive_timeout,
            pong_timeout: self.deadlines.pong_timeout,
            max_message: self.limits.max_message as usize,
        }
    }

    /// The limits of queued bytes.
    pub fn bounds(&self) -> Bounds {
        Bounds { queue: self.limits.max_queue as usize, all: or_none(self.limits.max_queued_bytes) }
    }

    /// The limits of the hub.
    pub fn rules(&self) -> Rules {
        Rules {
            max_sessions: or_none(self.limits.max_sessions),
            max_rooms: or_none(self.limits.max_rooms),
            max_members: or_none(self.limits.max_room_members),
            max_uid: self.limits.max_uid_length.into(),
            max_streams: or_none(self.limits.max_streams),
            max_viewers: or_none(self.limits.max_viewers),
            max_bitrate: Some(self.limits.max_stream_bitrate).filter(|bits| *bits > 0),
            max_unanswered: self.limits.max_queue as usize / 2,
        }
    }

    /// The rooms whose media go through a media node.
    pub fn node_rooms(&self) -> NodeRooms {
        NodeRooms::new(self.media.node_rooms.clone())
    }

    /// The limits of each owner if the process may open `descriptors` files.
    pub fn quotas(&self, descriptors: u64) -> Quotas {
        // Keep some for files, the log and the listeners.
        let room = usize::try_from(descriptors).unwrap_or(usize::MAX).saturating_sub(64).max(1);
        Quotas {
            max_connections: self.limits.max_connections.unwrap_or(room),
            connections: self.limits.max_owner_connections,
            registrations: self.limits.max_registration_rate,
            bad_tokens: self.limits.max_bad_token_rate,
            requests: self.limits.max_request_rate,
            messages: self.limits.max_message_rate,
            bytes: self.limits.max_byte_rate,
            max_message: self.limits.max_message,
            notices: self.limits.max_notice_rate,
            log_lines: self.limits.max_log_rate,
        }
    }
}

fn or_none(limit: usize) -> usize {
    if limit == 0 { usize::MAX } else { limit }
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
        let Listen { addr, port, health, .. } = &config.listen;
        assert_eq!((addr.as_str(), *port, health.as_str()), ("", 8443, "/health"));
        assert_eq!(config.deadlines.keepalive_timeout, Duration::from_secs(30));
        assert!(!config.tls.disable_ssl && !config.tls.restart_on_cert_change);
    }

    #[test]
    fn an_address_is_a_network_of_its_own() {
        for (text, expected) in [
            ("127.0.0.1", "127.0.0.1/32"),
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("::1", "::1/128"),
            ("fd00::/8", "fd00::/8"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
            ("::ffff:192.0.2.0/120", "192.0.2.0/24"),
            ("::/0", "::/0"),
        ] {
            let config = Config::parse_from(["callbin-server", "--trusted-proxy", text]);
            assert_eq!(config.listen.trusted_proxy, [expected.parse::<IpNet>().unwrap()], "{text}");
        }
    }

    #[test]
    fn limits_are_on_by_default() {
        let config = Config::parse_from(["callbin-server"]);
        let (rules, quotas) = (config.rules(), config.quotas(1024));
        assert_eq!((rules.max_members, rules.max_uid), (500, 128));
        assert_eq!((quotas.notices, quotas.log_lines), (50_000, 100));
    }

    #[test]
    fn addresses_are_read_at_the_start_only() {
        let config = |flags: &[&str]| Config::parse_from([&["callbin-server"], flags].concat());
        let other = config(&["--listen", "webrtcsink=127.0.0.1:8444,text=[::1]:8445", "--port", "1"]);
        assert_eq!(config(&[]).differences_for_a_start(&other), ["port", "listen"]);
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
            ["--trusted-proxy", "here"],
            ["--trusted-proxy", "10.0.0.0/33"],
            ["--trusted-proxy", ""],
            ["--max-uid-length", "0"],
            ["--max-uid-length", "1025"],
            ["--listen", "rooms=127.0.0.1:1"],
            ["--listen", "webrtcsink=8443"],
        ] {
            assert!(Config::try_parse_from(["callbin-server", flags[0], flags[1]]).is_err(), "{flags:?}");
        }
    }
}
