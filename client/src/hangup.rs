//! Whether SIGHUP ends callbin. Under `nohup` it does not: a signal that the parent process ignored stays ignored.

use std::fs;

/// The signal's number on Linux.
const SIGHUP: u32 = 1;

/// Whether SIGHUP was ignored when the process started. Call this before a handler is installed.
pub fn is_ignored() -> bool {
    fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores(&status, SIGHUP))
}

/// Whether the mask of ignored signals in `/proc/self/status` (proc(5)) contains the signal.
fn ignores(status: &str, signal: u32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_mask() {
        let status =
            |mask| format!("Name:\tcallbin\nSigCgt:\t0000000000000001\nSigIgn:\t{mask}\nSigBlk:\t1\n");
        assert!(ignores(&status("0000000000000001"), SIGHUP));
        assert!(ignores(&status("0000000000001003"), SIGHUP));
        assert!(!ignores(&status("0000000000001000"), SIGHUP));
        for nonsense in ["", "x", "10000000000000001"] {
            assert!(!ignores(&status(nonsense), SIGHUP));
        }
        assert!(!ignores("", SIGHUP));
    }
}
