//! Peers whose server is killed, and that come back to others.

use std::{
    process::Command,
    time::{Duration, Instant},
};

use anyhow::Context;
use clap::Args;

use crate::{
    peer::Target,
    report::{histogram, record},
    runtime,
    scenario::{Crowd, Run, uid},
};

/// Registers peers, kills their server, and lets each register its uid with another node of the cluster.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    crowd: Crowd,
    /// The servers that the peers come back to, in turn.
    #[arg(long, value_name = "URL", value_delimiter = ',', required = true)]
    others: Vec<String>,
    /// The process id of the server that is killed.
    #[arg(long)]
    kill: u32,
}

/// The pause between two attempts of a peer.
const PAUSE: Duration = Duration::from_secs(1);

/// Peers that register at the same time.
const AT_ONCE: usize = 50;

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let others = run.targets(&options.others)?;
    let mut peers = Vec::new();
    for some in (0..options.crowd.peers).collect::<Vec<_>>().chunks(AT_ONCE) {
        let registering: Vec<_> = some
            .iter()
            .map(|i| {
                let (target, uid) = (run.target.clone(), uid("comeback", *i));
                runtime::spawn(async move { target.register(&uid).await })
            })
            .collect();
        for registering in registering {
            peers.push(registering.await?);
        }
    }
    run.restart();
    let status = Command::new("kill").args(["-KILL", &options.kill.to_string()]).status();
    anyhow::ensure!(status.context("kill")?.success(), "cannot kill {}", options.kill);
    let start = Instant::now();
    let tasks: Vec<_> = (0..)
        .zip(peers)
        .map(|(i, mut peer)| {
            let target = others.get(i % others.len()).unwrap_or(&run.target).clone();
            runtime::spawn(async move {
                peer.end().await;
                come_back(&target, i, start).await
            })
        })
        .collect();
    let (mut latencies, mut attempts, mut back) = (histogram(), 0, Vec::new());
    for task in tasks {
        let (peer, took, tries) = task.await?;
        record(&mut latencies, took);
        attempts += tries;
        back.push(peer);
    }
    run.report.add("registered", back.len() as f64, "");
    run.report.add("attempts", attempts as f64, "");
    run.report.add_latencies("back", &latencies);
    run.add_cost("server_cpu_per_registration", back.len() as u64);
    Ok(())
}

async fn come_back(
    target: &Target,
    number: usize,
    start: Instant,
) -> anyhow::Result<(crate::peer::Peer, Duration, u64)> {
    // Clients do not come back in step.
    let phase = PAUSE.mul_f64(number as f64 * 0.618 % 1.0);
    let uid = uid("comeback", number);
    for tries in 1..=120u32 {
        runtime::sleep_until(start + phase + PAUSE * (tries - 1)).await;
        if let Ok(peer) = target.register(&uid).await {
            return Ok((peer, start.elapsed(), tries.into()));
        }
    }
    anyhow::bail!("{uid} was never registered again")
}
