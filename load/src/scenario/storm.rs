//! Everybody comes at once, as after a restart.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    peer::Target,
    process::Watched,
    report::{Report, histogram, record},
    runtime,
    scenario::uid,
};

/// Connects and registers many peers within a short time, each at its own moment.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many.
    #[arg(long, default_value_t = 5000)]
    peers: usize,
    /// Within how many seconds they come.
    #[arg(long, default_value_t = 10.0)]
    within: f64,
}

pub(crate) async fn run(
    target: &Target,
    watched: Option<Watched>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let gap = Duration::from_secs_f64(options.within / options.peers as f64);
    let tasks: Vec<_> = (0..options.peers)
        .map(|i| {
            let (target, uid) = (target.clone(), uid("storm", i));
            let due = start + gap.mul_f64(i as f64);
            runtime::spawn(async move {
                runtime::sleep_until(due).await;
                target.register(&uid).await.map(|peer| (peer, due.elapsed()))
            })
        })
        .collect();
    let (mut latencies, mut refused, mut peers) = (histogram(), 0, Vec::new());
    for task in tasks {
        match task.await {
            Ok((peer, latency)) => {
                record(&mut latencies, latency);
                peers.push(peer);
            }
            Err(_) => refused += 1,
        }
    }
    report.add("registered", peers.len() as f64, "");
    report.add("refused", f64::from(refused), "");
    report.add("took", start.elapsed().as_secs_f64(), "s");
    report.add_latencies("connect_and_register", &latencies);
    if let Some(watched) = watched {
        report.add_cost("server_cpu_per_registration", watched.cpu(), latencies.len());
    }
    Ok(())
}
