//! Resource use of the server's process, read from /proc.

use std::{fs, time::Duration};

/// A watched process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Watched {
    pid: u32,
    cpu_before: Duration,
    memory_before: u64,
}

impl Watched {
    /// Starts counting.
    pub(crate) fn new(pid: u32) -> Self {
        Self { pid, cpu_before: cpu_time(pid), memory_before: memory(pid) }
    }

    /// Restarts counting.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(self.pid);
    }

    /// CPU time used since the start.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_time(self.pid).saturating_sub(self.cpu_before)
    }

    /// Growth of resident memory since the start, in bytes.
    pub(crate) fn memory_growth(&self) -> u64 {
        memory(self.pid).saturating_sub(self.memory_before)
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        memory(self.pid)
    }
}

/// CPU time of all threads, as the scheduler counts it in nanoseconds. Threads that have ended do not count.
fn cpu_time(pid: u32) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}
