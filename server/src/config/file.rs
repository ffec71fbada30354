//! The configuration file: its values become the defaults of the command line's options.

use std::{collections::BTreeMap, ffi::OsString, fs, path::PathBuf};

use clap::{ArgAction, Command, CommandFactory, FromArgMatches, error::ErrorKind};
use toml::{Table, Value};

use super::Config;

/// Why the options can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// clap's own words, for `--help` and `--version` too.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// The file can't be read.
    #[error("cannot read --config {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is no TOML, or has a name or value that is none.
    #[error("--config {0}: {1}")]
    Invalid(PathBuf, String),
}

/// Names that make no sense in a file.
const NOT_IN_FILE: [&str; 4] = ["config", "check-config", "help", "version"];

/// Reads the options from the command line, the environment and, if one is named, the file.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, ConfigError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let mut command = Config::command();
    if let Some(path) = config_path(args.clone()) {
        let text = fs::read_to_string(&path).map_err(|error| ConfigError::Unreadable(path.clone(), error))?;
        command = with_defaults(command, &text).map_err(|why| ConfigError::Invalid(path, why))?;
    }
    let matches = command.clone().try_get_matches_from(args)?;
    let config = Config::from_arg_matches(&matches)?;
    match contradiction(&config) {
        Some(message) => Err(command.error(ErrorKind::ArgumentConflict, message).into()),
        None => Ok(config),
    }
}

/// What fits together is known when all sources are read; clap looks at each by itself.
fn contradiction(config: &Config) -> Option<&'static str> {
    let Config { tls, ice, operations, .. } = config;
    if tls.disable_ssl && tls.self_signed {
        Some("disable-ssl and self-signed exclude each other")
    } else if !ice.turn_url.is_empty() && ice.turn_secret_file.is_none() {
        Some("turn-url needs turn-secret-file, to make credentials with")
    } else if operations.admin_secret_file.is_some() && operations.admin_addr.is_none() {
        Some("admin-secret-file needs admin-addr, to serve the admin API on")
    } else {
        None
    }
}

/// Finds the file's name before anything else is understood.
fn config_path(args: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let matches = Config::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    matches.get_one::<PathBuf>("config").cloned()
}

fn with_defaults(command: Command, text: &str) -> Result<Command, String> {
    let table: Table = toml::from_str(text).map_err(|error| one_line(&error.to_string()))?;
    let options: BTreeMap<String, (clap::Id, ArgAction)> = command
        .get_arguments()
        .filter_map(|arg| {
            Some((arg.get_long()?.to_owned(), (arg.get_id().clone(), arg.get_action().clone())))
        })
        .filter(|(name, _)| !NOT_IN_FILE.contains(&name.as_str()))
        .collect();
    table.into_iter().try_fold(command, |command, (name, value)| {
        // `max_queue` for those who prefer it.
        let (id, action) =
            options.get(&name.replace('_', "-")).ok_or_else(|| format!("unknown option {name:?}"))?;
        let many = matches!(action, ArgAction::Append);
        let values = texts(&name, value, many)?;
        Ok(command.mut_arg(id, |arg| arg.default_values(values)))
    })
}

fn texts(name: &str, value: Value, many: bool) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text]),
        Value::Integer(number) => Ok(vec![number.to_string()]),
        Value::Float(number) => Ok(vec![number.to_string()]),
        Value::Boolean(yes) => Ok(vec![yes.to_string()]),
        Value::Array(values) if many => Ok(values
            .into_iter()
            .map(|value| texts(name, value, false))
            .collect::<Result<Vec<_>, _>>()?
            .concat()),
        _ => Err(format!("{name} cannot have a value of this kind")),
    }
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" ")
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
    fn flags_come_first() {
        assert_eq!(parse_with("port = 9000", &["--port", "9001"]).unwrap().listen.port, 9001);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (file, words) in [
            ("prot = 1", "unknown option \"prot\""),
            ("config = \"x\"", "unknown option \"config\""),
            ("port = \"many\"", "--port"),
            ("port = 70000", "70000"),
            ("port = [1, 2]", "port cannot have a value of this kind"),
            ("[limits]\nmax-queue = 1000", "unknown option \"limits\""),
            ("port =", "line 1"),
            ("disable-ssl = true\nself-signed = true", "exclude each other"),
            ("turn-url = \"turn:x\"", "turn-secret-file"),
            ("admin-secret-file = \"x\"", "admin-addr"),
        ] {
            let error = parse_with(file, &[]).unwrap_err();
            assert!(error.contains(words), "{file}: {error}");
        }
        let missing = parse(["callbin-server", "--config", "/nonexistent"].map(OsString::from));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
    }
}
