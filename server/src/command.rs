//! What `callbin-server` does besides serving: makes tokens, talks to a server's admin API.

mod admin;
mod printable;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::printable::printable;

/// Commands beside serving.
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
}

/// Runs a command if the first argument names one. Serving has no name, as in the reference server.
pub fn run_if_asked() -> Option<ExitCode> {
    let first = std::env::args().nth(1)?;
    if !matches!(first.as_str(), "token" | "admin") {
        return None;
    }
    let result = match Cli::parse().command {
        Command::Token(options) => token::run(&options),
        Command::Admin(options) => admin::run(&options),
    };
    Some(match result {
        Ok(text) => {
            println!("{}", printable(&text));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("callbin-server: {}", printable(&error.to_string()));
            ExitCode::FAILURE
        }
    })
}
