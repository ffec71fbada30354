//! The `callbin` program: flags, then [`callbin::program::run`].

use std::{env, time::Instant};

use callbin::{cli::Cli, logging, program};
use callbin_foreign::memory;

fn main() {
    let started = Instant::now();
    let cli = Cli::read(env::args_os()).unwrap_or_else(|error| error.exit());
    memory::use_one_arena();
    logging::init();
    let code = program::run(&cli, started);
    // Skip the C library's exit handlers: OpenSSL's handler frees memory that other threads may still use (a thread
    // that generates a key, or a pipeline that does not end).
    signal_hook::low_level::exit(code as i32);
}
