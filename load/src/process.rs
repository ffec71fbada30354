//! Resource use of the processes of a server, or of several servers, read from /proc.

use std::{fs, time::Duration};

/// Watched processes: their sums count.
#[derive(Debug, Clone)]
pub(crate) struct Watched {
    pids: Vec<u32>,
    cpu_before: Duration,
    memory_before: u64,
}

impl Watched {
    /// Starts counting.
    pub(crate) fn new(pids: Vec<u32>) -> Self {
        let (cpu_before, memory_before) = (cpu_time(&pids), memory(&pids));
        Self { pids, cpu_before, memory_before }
    }

    /// Restarts counting.
    pub(crate) fn restart(&mut self) {
        *self = Self::new(std::mem::take(&mut self.pids));
    }

    /// CPU time used since the start.
    pub(crate) fn cpu(&self) -> Duration {
        cpu_time(&self.pids).saturating_sub(self.cpu_before)
    }

    /// Growth of resident memory since the start, in bytes.
    pub(crate) fn memory_growth(&self) -> u64 {
        memory(&self.pids).saturating_sub(self.memory_before)
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        memory(&self.pids)
    }
}

/// CPU time of all threads, as the scheduler counts it in nanoseconds. Threads that have ended do not count.
fn cpu_time(pids: &[u32]) -> Duration {
    let folders = pids.iter().filter_map(|pid| fs::read_dir(format!("/proc/{pid}/task")).ok());
    let tasks = folders.flatten().flatten();
    let nanos = tasks.filter_map(|task| {
        let schedstat = fs::read_to_string(task.path().join("schedstat")).ok()?;
        schedstat.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanos.sum())
}

fn memory(pids: &[u32]) -> u64 {
    pids.iter().map(|pid| memory_of(*pid)).sum()
}

fn memory_of(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or_default() * 1024
}
