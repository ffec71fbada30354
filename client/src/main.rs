//! The `callbin` program: flags, then [`callbin::app::run`].

use std::{env, os::unix::process::CommandExt, process::Command, time::Instant};

use callbin::{app, cli::Cli, logging};

fn main() {
    let started = Instant::now();
    let cli = Cli::read(env::args_os()).unwrap_or_else(|error| error.exit());
    use_one_arena();
    logging::init();
    let code = app::run(&cli, started);
    // Not by way of the C library's exit handlers: OpenSSL's would free what a thread that is still making a
    // key, or a pipeline that does not end, is using.
    signal_hook::low_level::exit(code as i32);
}

/// glibc's own setting, which counts only when a process starts.
const ARENAS: &str = "MALLOC_ARENA_MAX";

/// Starts again with one arena of memory, unless somebody has chosen already.
///
/// GStreamer makes threads for each peer, and glibc an arena for each thread, up to eight for each core: memory
/// that grows with every peer that comes and is hardly given back when it goes. One is as fast here.
fn use_one_arena() {
    if env::var_os(ARENAS).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        // Returns only if it can't be done: then it works as well, with more memory.
        let _ = Command::new(program).args(env::args_os().skip(1)).env(ARENAS, "1").exec();
    }
}
