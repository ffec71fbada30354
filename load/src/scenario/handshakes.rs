//! Only TLS handshakes.

use std::time::{Duration, Instant};

use clap::Args;

use crate::{
    report::{histogram, record},
    runtime,
    scenario::{Run, Time},
};

/// Connects with TLS and closes repeatedly.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Simultaneous connections.
    #[arg(long, default_value_t = 20)]
    peers: usize,
    #[command(flatten)]
    time: Time,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(run.target.has_tls(), "TLS handshakes need a wss:// server");
    let target = run.target.without_resumption()?;
    run.restart();
    let start = Instant::now();
    let end = start + Duration::from_secs(options.time.seconds);
    let tasks: Vec<_> = (0..options.peers)
        .map(|_| {
            let target = target.clone();
            runtime::spawn(async move {
                let mut latencies = histogram();
                while Instant::now() < end {
                    let began = Instant::now();
                    drop(target.open().await?);
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
    run.report.add("handshakes_per_second", latencies.len() as f64 / start.elapsed().as_secs_f64(), "");
    run.report.add_latencies("handshake", &latencies);
    run.add_cost("server_cpu_per_handshake", latencies.len());
    if let Some(watched) = &run.watched {
        let cpu = watched.cpu().as_secs_f64();
        run.report.add("handshakes_per_second_and_core", latencies.len() as f64 / cpu.max(1e-6), "");
    }
    Ok(())
}
