//! Options of a program from the command line, the environment and a TOML file, in this order of precedence. Errors name
//! the file, the line or the variable.

mod file;
pub mod manual;

use std::{ffi::OsString, path::PathBuf};

use clap::{
    ArgMatches, Command,
    error::{ContextKind, ContextValue},
};

pub use clap_complete::Shell;

use self::file::File;

/// Why the options are invalid.
#[derive(Debug, thiserror::Error)]
pub enum OptionsError {
    /// An error from clap, also `--help` and `--version`.
    #[error(transparent)]
    CommandLine(#[from] clap::Error),
    /// An environment variable has an invalid value.
    #[error("environment variable {0}: {1}")]
    Environment(String, String),
    /// The file can't be read.
    #[error("cannot read --config {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// A line is not TOML, or has an unknown name or an invalid value.
    #[error("--config {0}, line {1}: {2}")]
    InvalidLine(PathBuf, usize, String),
}

/// The names of special options, without hyphens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Special<'a> {
    /// They cannot be set in a file.
    pub not_in_file: &'a [&'a str],
    /// Their values may be secrets: errors do not quote them.
    pub secret: &'a [&'a str],
}

/// Reads the options of `command` from all three places. The option `--config` of `command`, or of the subcommand that
/// is used, names the file; the file has that command's options.
pub fn parse(command: &Command, args: &[OsString], special: Special<'_>) -> Result<ArgMatches, OptionsError> {
    let (part, path) = find_file(command, args);
    let file = match path {
        Some(path) => Some(File::read(path, part.of(command), special.not_in_file)?),
        None => None,
    };
    let with_defaults = match &file {
        Some(file) => part.change(command.clone(), |command| file.as_defaults(command)),
        None => command.clone(),
    };
    with_defaults
        .try_get_matches_from(args)
        .map_err(|error| without_secrets(error, special.secret))
        .map_err(|error| located(error, command, &part, args, file.as_ref()))
}

/// The command whose options are meant: the whole program, or a subcommand.
struct Part(Option<String>);

impl Part {
    fn of<'a>(&self, command: &'a Command) -> &'a Command {
        self.0.as_deref().and_then(|name| command.find_subcommand(name)).unwrap_or(command)
    }

    fn change(&self, command: Command, how: impl FnOnce(Command) -> Command) -> Command {
        match &self.0 {
            Some(name) => command.mut_subcommand(name, how),
            None => how(command),
        }
    }
}

/// Finds the file's name before the other options are parsed.
fn find_file(command: &Command, args: &[OsString]) -> (Part, Option<PathBuf>) {
    let Ok(matches) = command.clone().ignore_errors(true).try_get_matches_from(args) else {
        return (Part(None), None);
    };
    let path = |matches: &ArgMatches| matches.try_get_one::<PathBuf>("config").ok().flatten().cloned();
    match matches.subcommand() {
        Some((name, below)) => (Part(Some(name.to_owned())), path(below)),
        None => (Part(None), path(&matches)),
    }
}

/// Removes secrets from an error: clap quotes the invalid value, and stderr often ends up in a log.
fn without_secrets(mut error: clap::Error, secret: &[&str]) -> clap::Error {
    let is_secret = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(arg)) => secret.iter().any(|name| is_named(arg, name)),
        _ => false,
    };
    if is_secret && error.get(ContextKind::InvalidValue).is_some() {
        error.insert(ContextKind::InvalidValue, ContextValue::String("…".into()));
    }
    error
}

/// Whether an argument as clap displays it, `--url <URL>` or `<URL>`, is the one of this name.
fn is_named(arg: &str, name: &str) -> bool {
    match arg.strip_prefix("--") {
        Some(option) => option.split(' ').next() == Some(name),
        None => arg.trim_matches(['<', '>', '[', ']']).eq_ignore_ascii_case(name),
    }
}

/// Adds the source of a wrong value to clap's error, which names only the option.
fn located(
    error: clap::Error,
    command: &Command,
    part: &Part,
    args: &[OsString],
    file: Option<&File>,
) -> OptionsError {
    let Some(ContextValue::String(option)) = error.get(ContextKind::InvalidArg) else { return error.into() };
    let mut built = command.clone();
    // Without this an argument cannot be displayed.
    built.build();
    let Some(arg) = part.of(&built).get_arguments().find(|arg| arg.to_string() == *option) else {
        return error.into();
    };
    // The message without the parts for a terminal.
    let text = error.to_string();
    let why = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
    let alone = part.change(command.clone(), |command| command.mut_args(|arg| arg.env(None)));
    if alone.try_get_matches_from(args).is_err() {
        return error.into();
    }
    let variable = arg.get_env().filter(|name| std::env::var_os(name).is_some());
    if let Some(name) = variable {
        return OptionsError::Environment(name.to_string_lossy().into_owned(), why);
    }
    let value = match error.get(ContextKind::InvalidValue) {
        Some(ContextValue::String(value)) => value,
        _ => "",
    };
    match file.and_then(|file| Some((file, file.line_of(arg, value)?))) {
        Some((file, line)) => OptionsError::InvalidLine(file.path().to_owned(), line, why),
        None => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use clap::{Arg, ArgAction, value_parser};

    use super::*;

    /// A program with subcommands, of which one takes a file.
    fn program() -> Command {
        let config = Arg::new("config").long("config").value_parser(value_parser!(PathBuf));
        let fps = Arg::new("fps").long("fps").value_parser(value_parser!(u16));
        let token = Arg::new("token").long("token").value_parser(value_parser!(u16));
        let quiet = Arg::new("quiet").long("quiet").action(ArgAction::SetTrue);
        let camera = Arg::new("camera").long("camera").action(ArgAction::Append);
        Command::new("program")
            .subcommand(Command::new("wait").args([config, fps, token, quiet, camera]))
            .subcommand(Command::new("play").arg(Arg::new("token").value_parser(value_parser!(u16))))
            .subcommand(Command::new("list").arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue)))
    }

    fn read(text: &str, args: &[&str]) -> Result<ArgMatches, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let path = file.path().to_str().unwrap();
        let args = [&["program", "wait", "--config", path], args].concat();
        let args: Vec<OsString> = args.into_iter().map(OsString::from).collect();
        let special = Special { not_in_file: &["config"], secret: &["token"] };
        let matches = parse(&program(), &args, special).map_err(|error| error.to_string())?;
        Ok(matches.subcommand().unwrap().1.clone())
    }

    #[test]
    fn a_file_has_the_options_of_the_subcommand_that_names_it() {
        let text = "fps = 15\nquiet = true\ncamera = [\"a\", \"b\"]";
        let matches = read(text, &[]).unwrap();
        assert_eq!(matches.get_one::<u16>("fps"), Some(&15));
        assert!(matches.get_flag("quiet"));
        assert_eq!(matches.get_many::<String>("camera").unwrap().collect::<Vec<_>>(), ["a", "b"]);
        let matches = read(text, &["--fps", "20", "--camera", "c"]).unwrap();
        assert_eq!(matches.get_one::<u16>("fps"), Some(&20));
        assert_eq!(matches.get_many::<String>("camera").unwrap().collect::<Vec<_>>(), ["c"]);
    }

    #[test]
    fn a_subcommand_without_a_file_is_read_as_ever() {
        let list = |args: &[&str]| {
            let args: Vec<OsString> = args.iter().map(OsString::from).collect();
            parse(&program(), &args, Special::default()).is_ok()
        };
        assert!(list(&["program", "list", "--quiet"]));
        assert!(!list(&["program", "list", "--config", "x"]));
    }

    #[test]
    fn an_error_names_the_line_and_quotes_no_secret() {
        for (text, words) in [
            ("\nfps = \"many\"", "line 2: invalid value 'many' for '--fps <fps>'"),
            ("fps = 1\n\ncolour = 1", "line 3: unknown option \"colour\""),
            ("config = \"x\"", "line 1: unknown option \"config\""),
            ("\ntoken = \"hush\"", "line 2: invalid value '…' for '--token <token>'"),
            ("\ntoken = \"hush", "line 2: invalid basic string"),
        ] {
            let error = read(text, &[]).unwrap_err();
            assert!(error.contains(words) && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn an_error_quotes_no_secret_that_has_no_flag() {
        let args = ["program", "play", "hush"].map(OsString::from);
        let special = Special { secret: &["token"], ..Special::default() };
        let error = parse(&program(), &args, special).unwrap_err().to_string();
        assert!(error.contains("'…' for '[token]'") && !error.contains("hush"), "{error}");
    }
}
