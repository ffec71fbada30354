//! Peers that only are there.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{peer::Target, process::Watched, report::Report, runtime, scenario::uid};

/// Registers peers and keeps them, answering pings.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many.
    #[arg(long, default_value_t = 5000)]
    peers: usize,
    /// How long to watch them.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

pub(crate) async fn run(
    target: &Target,
    watched: Option<Watched>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let uids: Vec<String> = (0..options.peers).map(|i| uid("idle", i)).collect();
    let peers: Vec<_> =
        stream::iter(&uids).map(|uid| target.register(uid)).buffer_unordered(100).try_collect().await?;
    report.add("peers", peers.len() as f64, "");
    report.add("registered_in", began.elapsed().as_secs_f64(), "s");
    if let Some(watched) = watched {
        report.add(
            "server_memory_per_peer",
            watched.memory_growth() as f64 / peers.len() as f64 / 1024.0,
            "KiB",
        );
        report.add("server_memory", watched.memory() as f64 / 1024.0 / 1024.0, "MiB");
    }
    // Somebody has to answer the pings.
    for mut peer in peers {
        drop(runtime::spawn(async move { while peer.receive().await.is_ok() {} }));
    }
    let mut watched = watched;
    watched.iter_mut().for_each(Watched::restart);
    runtime::sleep(Duration::from_secs(options.seconds)).await;
    if let Some(watched) = watched {
        report.add("server_cpu", watched.cpu().as_secs_f64() * 100.0 / options.seconds as f64, "%");
    }
    Ok(())
}
