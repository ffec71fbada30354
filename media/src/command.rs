//! The commands of `callbin-media` other than working: manual pages and completions.

use std::{path::PathBuf, process::ExitCode};

use callbin_options::{Shell, manual};
use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, EXIT_CODES};

#[derive(Debug, Parser)]
#[command(name = "callbin-media", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
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

/// Runs a command if the first argument names one.
pub fn run_if_asked() -> Option<ExitCode> {
    let first = std::env::args_os().nth(1)?.into_string().ok()?;
    Cli::command().get_subcommands().find(|command| command.get_name() == first)?;
    let result = match Cli::parse().command {
        Command::Man { dir } => manual::write_pages(everything(), &dir),
        Command::Completions { shell } => manual::completions(everything(), shell),
    };
    Some(if manual::print("callbin-media", result) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All options and commands, for the manual.
fn everything() -> clap::Command {
    let commands: Vec<clap::Command> = Cli::command().get_subcommands().cloned().collect();
    Config::command().after_help(EXIT_CODES).subcommands(commands)
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
            assert!(
                help.lines().any(|it| it.trim_start().starts_with(&name) && it.ends_with(&about)),
                "{help}"
            );
        }
    }
}
