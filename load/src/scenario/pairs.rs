//! Session pairs that relay messages.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;

use crate::{
    peer::Target,
    relay::{Pace, Pair, Played},
    runtime,
    scenario::{Run, Time},
};

/// Relays messages within sessions.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Number of pairs.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Size of a message in bytes.
    #[arg(long, default_value_t = 2000)]
    size: usize,
    #[command(flatten)]
    time: Time,
    /// Messages per second of all pairs together, counted in both directions [default: each pair sends as fast as it
    /// can].
    #[arg(long)]
    rate: Option<f64>,
    /// Between a caller of the text protocol and a callee of Ant Media's: the messages are candidates, which the server
    /// translates.
    #[arg(long, conflicts_with = "bare")]
    bridged: bool,
    /// The server is a TCP relay without a protocol (`examples/bare-relay.rs`): no WebSocket, no registration.
    #[arg(long)]
    bare: bool,
    /// The callees connect to this server, another node of the same cluster.
    #[arg(long, value_name = "URL", conflicts_with_all = ["bare", "bridged"])]
    callees: Option<String>,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let other = options.callees.as_deref().map(|url| Target::new(&run.place.at(url))).transpose()?;
    let pairs = match &other {
        Some(other) => {
            let connect = |i| Pair::connect_across((&run.target, other), "pairs", i);
            try_join_all((0..options.pairs).map(connect)).await?
        }
        None => connect(&run.target, options).await?,
    };
    run.restart();
    let start = Instant::now();
    let end = start + Duration::from_secs(options.time.seconds);
    let tasks: Vec<_> = (0..)
        .zip(pairs)
        .map(|(i, pair)| {
            let text = if options.bridged { Pair::candidate(options.size) } else { "x".repeat(options.size) };
            let pace = Pace::of(options.rate, start, i, options.pairs);
            runtime::spawn(async move {
                let mut played = Played::nothing();
                pair.play(&text, pace, || Instant::now() >= end, &mut played).await.map(|()| played)
            })
        })
        .collect();
    let mut played = Played::nothing();
    for task in tasks {
        played.add(&task.await?);
    }
    let elapsed = start.elapsed().as_secs_f64();
    let messages = played.round_trips * 2;
    run.report.add("messages", messages as f64, "");
    run.report.add("messages_per_second", messages as f64 / elapsed, "");
    run.report.add_latencies("round_trip", &played.latencies);
    run.add_cost("server_cpu_per_message", messages);
    run.add_cpu(elapsed);
    Ok(())
}

async fn connect(target: &Target, options: &Options) -> anyhow::Result<Vec<Pair>> {
    if options.bridged {
        let connect = |i| Pair::connect_bridged(target, i, options.size);
        return try_join_all((0..options.pairs).map(connect)).await;
    }
    if !options.bare {
        return try_join_all((0..options.pairs).map(|i| Pair::connect(target, "pairs", i))).await;
    }
    let mut pairs = Vec::new();
    for _ in 0..options.pairs {
        pairs.push(Pair::connect_bare(target, options.size).await?);
    }
    Ok(pairs)
}
