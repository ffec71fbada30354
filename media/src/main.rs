//! `callbin-media`: flags in, exit code out.

use std::{error::Error, process::ExitCode};

use callbin_media::{
    command,
    config::Config,
    logging,
    node::{self, StartError},
};
use callbin_options::OptionsError;

fn main() -> ExitCode {
    if let Some(code) = command::run_if_asked() {
        return code;
    }
    let config = match Config::parse_from_all(std::env::args_os()) {
        Ok(config) => config,
        Err(OptionsError::CommandLine(error)) => error.exit(),
        Err(error) => return fail(&error, 2),
    };
    let guard = logging::start(&config.log, config.log_format);
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
