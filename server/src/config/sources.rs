//! The options from the command line, the environment and the configuration file.

use std::ffi::OsString;

use callbin_options::{OptionsError, Special};
use clap::{CommandFactory, FromArgMatches, error::ErrorKind};

use super::Config;

/// Options that cannot be set in a file.
const NOT_IN_FILE: [&str; 4] = ["config", "check-config", "help", "version"];

/// Reads the options from the command line, the environment and the file, if one is named.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, OptionsError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let matches = callbin_options::parse(
        &Config::command(),
        &args,
        Special { not_in_file: &NOT_IN_FILE, secret: &[] },
    )?;
    let config = Config::from_arg_matches(&matches)?;
    match contradiction(&config) {
        Some(message) => Err(Config::command().error(ErrorKind::ArgumentConflict, message).into()),
        None => Ok(config),
    }
}

/// Check combinations only after all sources are read; clap checks each source separately.
fn contradiction(config: &Config) -> Option<&'static str> {
    let Config { tls, ice, operations, listen, cluster, media, .. } = config;
    if tls.disable_ssl && tls.self_signed {
        Some("disable-ssl and self-signed exclude each other")
    } else if !ice.turn_url.is_empty() && ice.turn_secret_file.is_none() {
        Some("turn-url needs turn-secret-file, to make credentials with")
    } else if operations.admin_secret_file.is_some() && operations.admin_addr.is_none() {
        Some("admin-secret-file needs admin-addr, to serve the admin API on")
    } else if listen.proxy_header.is_some() && listen.trusted_proxy.is_empty() {
        Some("proxy-header needs trusted-proxy, whose header it is")
    } else if !media.node_rooms.is_empty() && !cluster.redis.is_empty() {
        Some("node-rooms and redis exclude each other: a media node is attached to one server of a cluster")
    } else if cluster.redis.is_empty()
        && (cluster.cluster_secret_file.is_some() || cluster.node_name.is_some())
    {
        Some("node-name and cluster-secret-file need redis, which connects the servers of a cluster")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write, time::Duration};

    use super::*;

    fn parse_with(file: &str, args: &[&str]) -> Result<Config, String> {
        let mut config = tempfile::NamedTempFile::new().unwrap();
        config.write_all(file.as_bytes()).unwrap();
        let path = config.path().to_str().unwrap();
        let args = [&["callbin-server", "--config", path], args].concat();
        parse(args.into_iter().map(OsString::from)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_file_has_the_names_of_the_flags() {
        let file = r#"
            port = 9000
            disable-ssl = true
            keepalive_timeout = 2.5
            stun-url = ["stun:a", "stun:b"]
            frame-ancestors = ["self", "https://a"]
            trusted-proxy = "10.0.0.0/8"
        "#;
        let config = parse_with(file, &[]).unwrap();
        assert_eq!(config.listen.port, 9000);
        assert!(config.tls.disable_ssl);
        assert_eq!(config.deadlines.keepalive_timeout, Duration::from_millis(2500));
        assert_eq!(config.ice.stun_url, ["stun:a", "stun:b"]);
        assert_eq!(config.listen.frame_ancestors, ["self", "https://a"]);
        assert_eq!(config.listen.trusted_proxy, ["10.0.0.0/8".parse().unwrap()]);
    }

    #[test]
    fn what_belongs_together_may_come_from_different_places() {
        let config = parse_with("admin-addr = \"127.0.0.1:1\"", &["--admin-secret-file", "x"]).unwrap();
        assert!(config.operations.admin_addr.is_some());
        parse_with("turn-secret-file = \"x\"", &["--turn-url", "turn:x"]).unwrap();
        assert!(parse_with("", &["--turn-url", "turn:x"]).unwrap_err().contains("turn-secret-file"));
        assert!(parse_with("self-signed = true", &["--disable-ssl"]).is_err());
    }

    #[test]
    fn a_wrong_flag_is_not_blamed_on_the_file() {
        let error = parse_with("port = 9000", &["--port", "many"]).unwrap_err();
        assert!(error.contains("'--port <PORT>'") && !error.contains("line"), "{error}");
    }

    #[test]
    fn numbers_are_read_as_toml_has_them() {
        let config = parse_with("max-queue = 0x1000\nmax_rooms = 1_000\nhello-timeout = 25e-1", &[]).unwrap();
        assert_eq!((config.limits.max_queue, config.limits.max_rooms), (4096, 1000));
        assert_eq!(config.deadlines.hello_timeout, Duration::from_millis(2500));
    }

    #[test]
    fn flags_come_first() {
        assert_eq!(parse_with("port = 9000", &["--port", "9001"]).unwrap().listen.port, 9001);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, words) in [
            ("\nprot = 1", "line 2: unknown option \"prot\""),
            ("config = \"x\"", "unknown option \"config\""),
            ("\n\nport = \"many\"", "line 3: invalid value 'many' for '--port <PORT>'"),
            ("port = 70000", "line 1: invalid value '70000'"),
            ("addr = \"\"\nport = [1, 2]", "line 2: port cannot have a value of this kind"),
            ("[limits]\nmax-queue = 1000", "line 1: unknown option \"limits\""),
            ("disable-ssl = \"perhaps\"", "line 1: invalid value 'perhaps'"),
            ("stun-url = [\n  \"stun:a\",\n  \"stun://b\",\n]", "line 3: invalid value 'stun://b'"),
            ("\nturn-url = \"stun:a\"", "line 2: invalid value 'stun:a'"),
            ("log-format = \"xml\"", "line 1: invalid value 'xml'"),
            ("log = \"==\"", "line 1: invalid value '=='"),
            ("webhook-url = \"ftp://x\"", "line 1: invalid value 'ftp://x'"),
            ("allowed-origin = [\"https://a\", \"b\"]", "line 1: invalid value 'b'"),
            ("proxy-header = \"x real ip\"", "line 1: invalid value"),
            ("proxy-header = \"x-real-ip\"", "trusted-proxy"),
            ("port =", "line 1"),
            ("disable-ssl = true\nself-signed = true", "exclude each other"),
            ("turn-url = \"turn:x\"", "turn-secret-file"),
            ("admin-secret-file = \"x\"", "admin-addr"),
            ("node-name = \"x\"", "need redis"),
            ("node-rooms = [\"stage-*\"]\nredis = \"redis://x\"", "exclude each other"),
            ("node-rooms = \"a*b\"", "line 1: invalid value 'a*b'"),
            ("node-rooms = [\"a\", \"a b\"]", "line 1: invalid value 'a b'"),
            ("redis = \"http://x\"", "line 1: invalid value 'http://x'"),
            ("redis = \"redis://x\"\nnode-name = \"a b\"", "line 2: invalid value 'a b'"),
            ("redis = \"redis+sentinel://x\"", "master-name"),
        ] {
            let error = parse_with(file, &[]).unwrap_err();
            assert!(error.contains(words), "{file}: {error}");
        }
        let missing = parse(["callbin-server", "--config", "/nonexistent"].map(OsString::from));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
    }
}
