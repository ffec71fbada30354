//! The configuration file: its values become the defaults of the command line's options. Errors name the file, the line
//! or the variable.

use std::{ffi::OsString, fs, path::PathBuf};

use clap::{
    Arg, ArgAction, Command, CommandFactory, FromArgMatches,
    error::{ContextKind, ContextValue, ErrorKind},
};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::Config;

/// Why the options are invalid.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// An error from clap, also `--help` and `--version`.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// An environment variable has an invalid value.
    #[error("environment variable {0}: {1}")]
    Environment(String, String),
    /// The file can't be read.
    #[error("cannot read --config {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// The file is not TOML.
    #[error("--config {0}: {1}")]
    Invalid(PathBuf, String),
    /// A line has an unknown name or an invalid value.
    #[error("--config {0}, line {1}: {2}")]
    InvalidLine(PathBuf, usize, String),
}

/// Options that cannot be set in a file.
const NOT_IN_FILE: [&str; 4] = ["config", "check-config", "help", "version"];

/// Reads the options from the command line, the environment and the file, if one is named.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<Config, ConfigError> {
    let args: Vec<OsString> = args.into_iter().collect();
    let file = config_path(args.clone()).map(File::read).transpose()?;
    let command = file.iter().fold(Config::command(), |command, file| file.as_defaults(command));
    let matches =
        command.clone().try_get_matches_from(&args).map_err(|error| located(error, &args, file.as_ref()))?;
    let config = Config::from_arg_matches(&matches)?;
    match contradiction(&config) {
        Some(message) => Err(Config::command().error(ErrorKind::ArgumentConflict, message).into()),
        None => Ok(config),
    }
}

/// Check combinations only after all sources are read; clap checks each source separately.
fn contradiction(config: &Config) -> Option<&'static str> {
    let Config { tls, ice, operations, listen, .. } = config;
    if tls.disable_ssl && tls.self_signed {
        Some("disable-ssl and self-signed exclude each other")
    } else if !ice.turn_url.is_empty() && ice.turn_secret_file.is_none() {
        Some("turn-url needs turn-secret-file, to make credentials with")
    } else if operations.admin_secret_file.is_some() && operations.admin_addr.is_none() {
        Some("admin-secret-file needs admin-addr, to serve the admin API on")
    } else if listen.proxy_header.is_some() && listen.trusted_proxy.is_empty() {
        Some("proxy-header needs trusted-proxy, whose header it is")
    } else {
        None
    }
}

/// Adds the source of a wrong value to clap's error, which names only the option. Sources in order of precedence: the
/// command line, the environment, the file.
fn located(error: clap::Error, args: &[OsString], file: Option<&File>) -> ConfigError {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return error.into() };
    let mut command = Config::command();
    // Without this an argument cannot be displayed.
    command.build();
    let Some(arg) = command.get_arguments().find(|arg| arg.to_string() == *option) else {
        return error.into();
    };
    // The message without the parts for a terminal.
    let text = error.to_string();
    let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let alone = Config::command().mut_args(|arg| arg.env(None));
    if alone.try_get_matches_from(args).is_err() {
        return error.into();
    }
    let variable = arg.get_env().filter(|name| std::env::var_os(name).is_some());
    if let Some(name) = variable {
        return ConfigError::Environment(name.to_string_lossy().into_owned(), why);
    }
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value,
        _ => "",
    };
    match file.and_then(|file| Some((file, file.line_of(arg, value)?))) {
        Some((file, line)) => ConfigError::InvalidLine(file.path.clone(), line, why),
        None => error.into(),
    }
}

/// Finds the file's name before the other options are parsed.
fn config_path(args: impl IntoIterator<Item = OsString>) -> Option<PathBuf> {
    let matches = Config::command().ignore_errors(true).try_get_matches_from(args).ok()?;
    matches.get_one::<PathBuf>("config").cloned()
}

/// A configuration file.
struct File {
    path: PathBuf,
    entries: Vec<Entry>,
}

/// An option in a file with its values as on the command line, each with its line.
struct Entry {
    option: String,
    line: usize,
    values: Vec<(String, usize)>,
}

impl File {
    fn read(path: PathBuf) -> Result<Self, ConfigError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(ConfigError::Unreadable(path, error)),
        };
        let table = match DeTable::parse(&text) {
            Ok(table) => table.into_inner(),
            Err(error) => return Err(ConfigError::Invalid(path, one_line(&error.to_string()))),
        };
        let line = |at: usize| text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1;
        let command = Config::command();
        let entries = table.into_iter().map(|(name, value)| {
            let at = line(name.span().start);
            let invalid = |why| ConfigError::InvalidLine(path.clone(), at, why);
            // Accept `max_queue`, too.
            let option = name.get_ref().replace('_', "-");
            let arg = command.get_arguments().find(|arg| arg.get_long() == Some(&option));
            let arg = arg
                .filter(|_| !NOT_IN_FILE.contains(&option.as_str()))
                .ok_or_else(|| invalid(format!("unknown option {:?}", name.get_ref())))?;
            let values = values(&value, matches!(arg.get_action(), ArgAction::Append), &line)
                .ok_or_else(|| invalid(format!("{} cannot have a value of this kind", name.get_ref())))?;
            Ok(Entry { option, line: at, values })
        });
        let entries = entries.collect::<Result<_, ConfigError>>()?;
        Ok(Self { path, entries })
    }

    fn as_defaults(&self, command: Command) -> Command {
        let options: Vec<(clap::Id, String)> = command
            .get_arguments()
            .filter_map(|arg| Some((arg.get_id().clone(), arg.get_long()?.to_owned())))
            .collect();
        self.entries.iter().fold(command, |command, entry| {
            let values: Vec<String> = entry.values.iter().map(|(value, _)| value.clone()).collect();
            match options.iter().find(|(_, long)| *long == entry.option) {
                Some((id, _)) => command.mut_arg(id, |arg| arg.default_values(values)),
                None => command,
            }
        })
    }

    /// The line of an option's value, or else of its name.
    fn line_of(&self, arg: &Arg, value: &str) -> Option<usize> {
        let entry = self.entries.iter().find(|entry| arg.get_long() == Some(&entry.option))?;
        let found = entry.values.iter().find(|(text, _)| text == value);
        Some(found.map_or(entry.line, |(_, line)| *line))
    }
}

/// Converts a value to the form of the command line. An array is allowed if `many`.
fn values(
    value: &Spanned<DeValue<'_>>,
    many: bool,
    line: &impl Fn(usize) -> usize,
) -> Option<Vec<(String, usize)>> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.to_string(),
        DeValue::Float(number) => number.as_str().to_owned(),
        DeValue::Boolean(yes) => yes.to_string(),
        DeValue::Array(all) if many => {
            let all = all.iter().map(|value| values(value, false, line));
            return Some(all.collect::<Option<Vec<_>>>()?.concat());
        }
        _ => return None,
    };
    Some(vec![(text, line(value.span().start))])
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
        ] {
            let error = parse_with(file, &[]).unwrap_err();
            assert!(error.contains(words), "{file}: {error}");
        }
        let missing = parse(["callbin-server", "--config", "/nonexistent"].map(OsString::from));
        assert!(missing.unwrap_err().to_string().contains("/nonexistent"));
    }
}
