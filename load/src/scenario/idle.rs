//! Peers that register and do nothing.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    peer::{Peer, Target},
    runtime,
    scenario::{Crowd, Run, Time, uid},
};

/// Registers peers and keeps them connected, answering pings.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    crowd: Crowd,
    #[command(flatten)]
    time: Time,
    /// The path of another protocol, with its query; {uid} becomes the peer's id.
    #[arg(long)]
    path: Option<String>,
    /// The message to register with at this path; {uid} becomes the peer's id. The server has to answer it.
    #[arg(long, requires = "path")]
    first: Option<String>,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let lost = Arc::new(AtomicUsize::new(0));
    let target = run.target.clone();
    let count = options.crowd.peers;
    let begin = |i| stay(register(target.clone(), options, uid("idle", i)), lost.clone());
    stream::iter(0..count).map(begin).buffer_unordered(100).try_collect::<()>().await?;
    run.report.add("peers", count as f64, "");
    run.report.add("registered_in", began.elapsed().as_secs_f64(), "s");
    if let Some(watched) = &run.watched {
        let growth = watched.memory_growth() as f64;
        run.report.add("server_memory_per_peer", growth / count as f64 / 1024.0, "KiB");
        run.report.add_memory("server_memory", watched.memory());
    }
    run.restart();
    runtime::sleep(Duration::from_secs(options.time.seconds)).await;
    run.add_cpu(options.time.seconds as f64);
    let lost = lost.load(Ordering::Relaxed);
    anyhow::ensure!(lost == 0, "the server has ended {lost} of them meanwhile");
    Ok(())
}

/// Registers in the text protocol or in the one at the path.
async fn register(target: Target, options: &Options, uid: String) -> anyhow::Result<Peer> {
    let Some(path) = &options.path else { return target.register(&uid).await };
    let mut peer = target.connect_at(&path.replace("{uid}", &uid)).await?;
    if let Some(first) = &options.first {
        peer.send(&first.replace("{uid}", &uid)).await?;
        peer.receive().await?;
    }
    Ok(peer)
}

/// Answers pings as soon as the peer is registered.
async fn stay(
    peer: impl Future<Output = anyhow::Result<Peer>>,
    lost: Arc<AtomicUsize>,
) -> anyhow::Result<()> {
    let mut peer = peer.await?;
    drop(runtime::spawn(async move {
        while peer.receive().await.is_ok() {}
        lost.fetch_add(1, Ordering::Relaxed);
    }));
    Ok(())
}
