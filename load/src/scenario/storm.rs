//! Many peers that connect within a short time, as after a restart.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    report::{histogram, record},
    runtime,
    scenario::{Crowd, Run, uid},
};

/// Connects and registers many peers within a short time, each at its own time.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    crowd: Crowd,
    /// Seconds within which they connect.
    #[arg(long, default_value_t = 10.0)]
    within: f64,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    run.restart();
    let start = Instant::now();
    let gap = Duration::from_secs_f64(options.within / options.crowd.peers as f64);
    let tasks: Vec<_> = (0..options.crowd.peers)
        .map(|i| {
            let (target, uid) = (run.target.clone(), uid("storm", i));
            let due = start + gap.mul_f64(i as f64);
            runtime::spawn(async move {
                runtime::sleep_until(due).await;
                target.register(&uid).await.map(|peer| (peer, due.elapsed()))
            })
        })
        .collect();
    let (mut latencies, mut refused, mut peers) = (histogram(), 0, Vec::new());
    let mut first_error = None;
    for task in tasks {
        match task.await {
            Ok((peer, latency)) => {
                record(&mut latencies, latency);
                peers.push(peer);
            }
            Err(error) => {
                refused += 1;
                first_error.get_or_insert(error);
            }
        }
    }
    if let Some(error) = first_error {
        anyhow::ensure!(!peers.is_empty(), "nobody was registered: {error}");
        eprintln!("callbin-load: {refused} were refused, the first one because: {error}");
    }
    run.report.add("registered", peers.len() as f64, "");
    run.report.add("refused", f64::from(refused), "");
    run.report.add("took", start.elapsed().as_secs_f64(), "s");
    run.report.add_latencies("connect_and_register", &latencies);
    run.add_cost("server_cpu_per_registration", latencies.len());
    Ok(())
}
