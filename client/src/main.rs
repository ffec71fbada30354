//! The `callbin` program: flags, then [`callbin::program::run`].

use std::{env, time::Instant};

use callbin::{cli::Cli, exit::ExitCode, logging, program};
use callbin_foreign::memory;
use callbin_options::OptionsError;
use callbin_protocol::printable;

fn main() {
    let started = Instant::now();
    let cli = match Cli::read(env::args_os()) {
        Ok(cli) => cli,
        Err(OptionsError::CommandLine(error)) => error.exit(),
        Err(error) => {
            eprintln!("callbin: {}", printable(&error.to_string()));
            std::process::exit(ExitCode::Usage as i32);
        }
    };
    memory::use_one_arena();
    logging::init();
    let code = program::run(&cli, started);
    // Skip the C library's exit handlers: OpenSSL's handler frees memory that other threads may still use (a thread
    // that generates a key, or a pipeline that does not end).
    signal_hook::low_level::exit(code as i32);
}
