//! `callbin-server`: flags in, exit code out.

use std::{error::Error, process::ExitCode};

use callbin_options::OptionsError;
use callbin_server::{StartError, check, command, config, edge::listener, operate::logging, run, runtime};

fn main() -> ExitCode {
    if let Some(code) = command::run_if_asked() {
        return code;
    }
    let inherited = match listener::inherited() {
        Ok(inherited) => inherited,
        Err(error) => return fail(&error, 3),
    };
    let config = match config::parse(std::env::args_os()) {
        Ok(config) => config,
        Err(OptionsError::CommandLine(error)) => error.exit(),
        Err(error) => return fail(&error, 2),
    };
    if config.check_config {
        return conclude(check(&config));
    }
    let guard = logging::start(&config.operations.log, config.operations.log_format);
    let result = runtime::run(run(config, inherited));
    drop(guard);
    conclude(result.map_err(StartError::System).flatten())
}

fn conclude(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error @ StartError::Certificate(_)) => fail(&error, 1),
        Err(error @ (StartError::NoPage(_) | StartError::NoMediaProgram(_) | StartError::Settings(_))) => {
            fail(&error, 2)
        }
        Err(error @ StartError::Bind(_)) => fail(&error, 3),
        Err(error @ StartError::System(_)) => fail(&error, 4),
    }
}

fn fail(error: &dyn Error, code: u8) -> ExitCode {
    eprintln!("callbin-server: {error}");
    ExitCode::from(code)
}
