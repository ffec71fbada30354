//! Settings of the C library's memory allocator.

use std::env;

/// Makes glibc use one arena for all threads, unless the environment (`MALLOC_ARENA_MAX`) sets a number. To be called
/// before any thread starts.
///
/// GStreamer makes threads for each peer, and glibc makes an arena for each thread, up to eight per core. Their memory
/// grows with every peer and is hardly given back when the peer goes. One arena is as fast here.
pub fn use_one_arena() {
    if env::var_os("MALLOC_ARENA_MAX").is_none() {
        limit_arenas();
    }
}

#[cfg(target_env = "gnu")]
fn limit_arenas() {
    // SAFETY: mallopt may be called at any time, with any numbers. A failure changes nothing.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}

#[cfg(not(target_env = "gnu"))]
fn limit_arenas() {}
