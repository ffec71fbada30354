//! Peers that only are there.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    runtime,
    scenario::{Crowd, Run, Time, uid},
};

/// Registers peers and keeps them, answering pings.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    crowd: Crowd,
    #[command(flatten)]
    time: Time,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let uids: Vec<String> = (0..options.crowd.peers).map(|i| uid("idle", i)).collect();
    let peers: Vec<_> =
        stream::iter(&uids).map(|uid| run.target.register(uid)).buffer_unordered(100).try_collect().await?;
    run.report.add("peers", peers.len() as f64, "");
    run.report.add("registered_in", began.elapsed().as_secs_f64(), "s");
    if let Some(watched) = &run.watched {
        run.report.add(
            "server_memory_per_peer",
            watched.memory_growth() as f64 / peers.len() as f64 / 1024.0,
            "KiB",
        );
        run.report.add_memory("server_memory", watched.memory());
    }
    // Somebody has to answer the pings.
    for mut peer in peers {
        drop(runtime::spawn(async move { while peer.receive().await.is_ok() {} }));
    }
    run.restart();
    runtime::sleep(Duration::from_secs(options.time.seconds)).await;
    run.add_cpu(options.time.seconds as f64);
    Ok(())
}
