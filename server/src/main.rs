//! `callbin-server`: flags in, exit code out.

use std::process::ExitCode;

use callbin_server::{StartError, config::Config, logging, run, runtime};
use clap::Parser;

fn main() -> ExitCode {
    let config = Config::parse();
    let guard = match logging::start(&config.log) {
        Ok(guard) => guard,
        Err(error) => return fail(&error, 2),
    };
    let result = runtime::block_on(run(config));
    drop(guard);
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Certificate(_)) => fail(&error, 1),
        Err(error @ StartError::NoPage(_)) => fail(&error, 2),
        Err(error @ StartError::Bind(_)) => fail(&error, 3),
        Err(error @ StartError::System(_)) => fail(&error, 4),
    }
}

fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    eprintln!("callbin-server: {error}");
    ExitCode::from(code)
}
