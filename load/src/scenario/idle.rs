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
    peer::Target,
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
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let began = Instant::now();
    let lost = Arc::new(AtomicUsize::new(0));
    let target = run.target.clone();
    let (count, begin) = (options.crowd.peers, |i| stay(target.clone(), uid("idle", i), lost.clone()));
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

/// Registers and then answers pings.
async fn stay(target: Target, uid: String, lost: Arc<AtomicUsize>) -> anyhow::Result<()> {
    let mut peer = target.register(&uid).await?;
    drop(runtime::spawn(async move {
        while peer.receive().await.is_ok() {}
        lost.fetch_add(1, Ordering::Relaxed);
    }));
    Ok(())
}
