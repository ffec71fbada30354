//! Peers that register and close.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    peer::Target,
    process::Watched,
    report::{Report, histogram, record},
    runtime,
    scenario::uid,
};

/// Registers and closes, over and over.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many at the same time.
    #[arg(long, default_value_t = 20)]
    peers: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) async fn run(
    target: &Target,
    watched: Option<Watched>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let tasks: Vec<_> = (0..options.peers)
        .map(|i| {
            let (target, uid) = (target.clone(), uid("churn", i));
            runtime::spawn(async move {
                let mut latencies = histogram();
                while Instant::now() < end {
                    let began = Instant::now();
                    target.register(&uid).await?.close().await;
                    record(&mut latencies, began.elapsed());
                }
                anyhow::Ok(latencies)
            })
        })
        .collect();
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await?)?;
    }
    report.add("registrations", latencies.len() as f64, "");
    report.add("registrations_per_second", latencies.len() as f64 / start.elapsed().as_secs_f64(), "");
    report.add_latencies("register_and_close", &latencies);
    if let Some(watched) = watched {
        report.add_cost("server_cpu_per_registration", watched.cpu(), latencies.len());
    }
    Ok(())
}
