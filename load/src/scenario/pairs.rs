//! Session pairs that relay messages.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;

use crate::{
    peer::{Peer, Target},
    process::Watched,
    report::{Report, histogram, record},
    runtime,
    scenario::uid,
};

/// Relays messages within sessions.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many pairs.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Bytes of a message.
    #[arg(long, default_value_t = 2000)]
    size: usize,
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Messages per second of all pairs together, there and back counted each. None: every pair plays
    /// ping-pong as fast as it can.
    #[arg(long)]
    rate: Option<f64>,
}

pub(crate) async fn run(
    target: &Target,
    watched: Option<Watched>,
    options: &Options,
    report: &mut Report,
) -> anyhow::Result<()> {
    let pairs = try_join_all((0..options.pairs).map(|i| pair(target, i))).await?;
    let mut watched = watched;
    watched.iter_mut().for_each(Watched::restart);
    let start = Instant::now();
    let end = start + Duration::from_secs(options.seconds);
    let text = "x".repeat(options.size);
    let interval = options.rate.map(|rate| Duration::from_secs_f64(2.0 * options.pairs as f64 / rate));
    let tasks: Vec<_> = pairs
        .into_iter()
        .enumerate()
        .map(|(i, pair)| {
            let phase = interval.map(|interval| interval.mul_f64(i as f64 / options.pairs as f64));
            runtime::spawn(play(pair, text.clone(), end, interval, start + phase.unwrap_or_default()))
        })
        .collect();
    let mut latencies = histogram();
    for task in tasks {
        latencies.add(task.await?)?;
    }
    let elapsed = start.elapsed().as_secs_f64();
    let messages = latencies.len() * 2;
    report.add("messages", messages as f64, "");
    report.add("messages_per_second", messages as f64 / elapsed, "");
    report.add_latencies("round_trip", &latencies);
    if let Some(watched) = watched {
        report.add_cost("server_cpu_per_message", watched.cpu(), messages);
        report.add("server_cpu", watched.cpu().as_secs_f64() * 100.0 / elapsed, "%");
    }
    Ok(())
}

async fn pair(target: &Target, number: usize) -> anyhow::Result<(Peer, Peer)> {
    let callee_uid = uid("callee", number);
    let callee = target.register(&callee_uid).await?;
    let mut caller = target.register(&uid("caller", number)).await?;
    caller.send(&format!("SESSION {callee_uid}")).await?;
    let answer = caller.receive().await?;
    anyhow::ensure!(answer == "SESSION_OK", "{answer}");
    Ok((caller, callee))
}

/// Ping-pong until the end. With an interval, latency counts from when the message was due, not from when
/// it could be sent: a server that stalls is charged for everything it delayed.
async fn play(
    (mut caller, mut callee): (Peer, Peer),
    text: String,
    end: Instant,
    interval: Option<Duration>,
    first: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut latencies = histogram();
    let mut due = first;
    loop {
        match interval {
            Some(interval) => {
                runtime::sleep_until(due).await;
                due += interval;
            }
            None => due = Instant::now(),
        }
        if Instant::now() >= end {
            return Ok(latencies);
        }
        let sent = interval.map_or(due, |interval| due - interval);
        caller.send(&text).await?;
        callee.receive().await?;
        callee.send(&text).await?;
        caller.receive().await?;
        record(&mut latencies, sent.elapsed());
    }
}
