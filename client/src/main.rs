//! The `callbin` program: flags, then [`callbin::program::run`].

use std::{env, os::unix::process::CommandExt, process::Command, time::Instant};

use callbin::{cli::Cli, logging, program};

fn main() {
    let started = Instant::now();
    let cli = Cli::read(env::args_os()).unwrap_or_else(|error| error.exit());
    use_one_arena();
    logging::init();
    let code = program::run(&cli, started);
    // Skip the C library's exit handlers: OpenSSL's handler frees memory that other threads may still use (a thread
    // that generates a key, or a pipeline that does not end).
    signal_hook::low_level::exit(code as i32);
}

/// A setting of glibc, read only when a process starts.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Restarts the program with one malloc arena, unless the environment sets a number.
///
/// GStreamer makes threads for each peer, and glibc makes an arena for each thread, up to eight per core. Their memory
/// grows with every peer and is hardly given back when the peer goes. One arena is as fast here.
fn use_one_arena() {
    if env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        // Returns only on failure: then callbin works as well, with more memory.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(ARENAS, "1").exec();
    }
}
