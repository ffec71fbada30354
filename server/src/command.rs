//! The commands of `callbin-server` other than serving: tokens, administration, health check, manual pages.

mod admin;
mod health;
mod printable;
mod token;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use callbin_options::{Shell, manual};
use clap::{CommandFactory, Parser, Subcommand};

use self::printable::printable;
use crate::config::Config;

/// Commands other than serving.
#[derive(Debug, Parser)]
#[command(name = "callbin-server", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a token (JWT) for a peer.
    Token(token::Options),
    /// Look at or close peers, sessions and rooms of a running server.
    Admin(admin::Options),
    /// Check that a running server is alive.
    Health(health::Options),
    /// Write the manual pages.
    Man {
        /// The folder; it is created if it is missing.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

/// Runs a command if the first argument names one. Serving has no command, as in the reference server.
pub fn run_if_asked() -> Option<ExitCode> {
    if !manual::is_asked(&Cli::command()) {
        return None;
    }
    let result = match Cli::parse().command {
        Command::Token(options) => token::run(&options),
        Command::Admin(options) => admin::run(&options),
        Command::Health(options) => health::run(&options),
        Command::Man { dir } => manual::write_pages(everything(), &dir).map_err(Into::into),
        Command::Completions { shell } => {
            // Not through `printable`: a shell reads them.
            let is_done = manual::print("callbin-server", manual::completions(everything(), shell));
            return Some(if is_done { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
    };
    Some(match result {
        Ok(text) => {
            // Nobody reads what a closed pipe would take.
            let _ = writeln!(io::stdout(), "{}", printable(&text));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("callbin-server: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    })
}

/// All options and commands, for the manual.
fn everything() -> clap::Command {
    manual::everything(Config::command(), &Cli::command(), crate::config::EXIT_CODES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_each_command() {
        Cli::command().debug_assert();
        everything().debug_assert();
        let help = Config::command().render_help().to_string();
        for command in Cli::command().get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            let name = format!("{} ", command.get_name());
            let is_named = |line: &str| line.trim_start().starts_with(&name) && line.ends_with(&about);
            assert!(help.lines().any(is_named), "{name}in {help}");
        }
        assert!(help.contains("Exit codes:"), "{help}");
    }

    #[test]
    fn a_token_that_is_dead_when_it_is_made_is_refused() {
        let parse =
            |ttl: &str| Cli::try_parse_from(["callbin-server", "token", "--key-file", "x", "--ttl", ttl]);
        assert!(parse("1").is_ok());
        for ttl in ["0", "-1", "1.5", "soon"] {
            assert!(parse(ttl).is_err(), "{ttl}");
        }
    }
}
