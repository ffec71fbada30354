//! Peers that register and close.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    report::{histogram, record},
    runtime,
    scenario::{Run, Time, uid},
};

/// Registers and closes repeatedly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Simultaneous peers.
    #[arg(long, default_value_t = 20)]
    peers: usize,
    #[command(flatten)]
    time: Time,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let start = Instant::now();
    let end = start + Duration::from_secs(options.time.seconds);
    let tasks: Vec<_> = (0..options.peers)
        .map(|i| {
            let target = run.target.clone();
            runtime::spawn(async move {
                let mut latencies = histogram();
                // A new uid each time: some servers forget the last one a moment after they have closed its socket.
                for uid in (0..).map(|number| uid(&format!("churn{i}-"), number)) {
                    let began = Instant::now();
                    if began >= end {
                        break;
                    }
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
    run.report.add("registrations", latencies.len() as f64, "");
    run.report.add("registrations_per_second", latencies.len() as f64 / start.elapsed().as_secs_f64(), "");
    run.report.add_latencies("register_and_close", &latencies);
    run.add_cost("server_cpu_per_registration", latencies.len());
    Ok(())
}
