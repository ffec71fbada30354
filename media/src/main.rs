//! `callbin-media`: flags in, exit code out.

use std::{error::Error, panic, process::ExitCode};

use callbin_media::{
    command,
    config::Config,
    node::{self, StartError},
};
use callbin_options::OptionsError;

/// Libraries whose warnings may quote descriptions and addresses of peers.
const QUIET: [&str; 4] = ["str0m", "is", "dimpl", "sctp_proto"];

fn main() -> ExitCode {
    if let Some(code) = command::run_if_asked() {
        return code;
    }
    let config = match Config::parse_from_all(std::env::args_os()) {
        Ok(config) => config,
        Err(OptionsError::CommandLine(error)) => error.exit(),
        Err(error) => return fail(&error, 2),
    };
    let guard = callbin_logging::start(&config.log, &QUIET, config.log_format);
    // A panic in the WebRTC library ends one session. Its message may quote what a peer sent.
    panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(place, "a defect ended a session or the node");
    }));
    let result = node::run(&config);
    drop(guard);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Token(_)) => fail(&error, 2),
        Err(error @ StartError::Bind(..)) => fail(&error, 3),
        Err(error) => fail(&error, 4),
    }
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("callbin-media: {error}");
    ExitCode::from(code)
}
