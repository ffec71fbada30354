//! Peers that stop reading while their partners go on sending.

use std::time::{Duration, Instant};

use clap::Args;
use futures_util::future::try_join_all;

use crate::{
    honest,
    peer::Peer,
    relay::Pair,
    report::{histogram, record},
    runtime,
    scenario::{Run, Time},
};

/// Calls peers that stop reading, and floods them.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Peers that stop reading. The scenario ends when all are closed.
    #[arg(long, default_value_t = 20)]
    readers: usize,
    /// Size of each message to them, in bytes.
    #[arg(long, default_value_t = 60_000)]
    flood_size: usize,
    /// Messages per second to each of them.
    #[arg(long, default_value_t = 30.0)]
    flood_rate: f64,
    #[command(flatten)]
    time: Time,
    #[command(flatten)]
    honest: honest::Crew,
}

/// The result for a slow reader.
struct End {
    /// When its partner noticed the end. `None`: it was still connected at the end.
    closed_after: Option<Duration>,
    /// Bytes sent to it, of which it read none.
    sent: u64,
    /// Whether the partner's close frame had a reason.
    told: bool,
}

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let slow = (0..options.readers).map(|i| Pair::connect(&run.target, "slow", i));
    let slow = try_join_all(slow).await?;
    let honest = honest::Honest::start((&run.target, &run.target), "honest", &options.honest).await?;
    run.restart();
    let start = Instant::now();
    let end = start + Duration::from_secs(options.time.seconds);
    let interval = Duration::from_secs_f64(1.0 / options.flood_rate);
    let floods: Vec<_> = slow
        .into_iter()
        .map(|pair| runtime::spawn(flood(pair, "x".repeat(options.flood_size), interval, end)))
        .collect();
    let (mut times, mut sent, mut told) = (histogram(), 0, 0);
    let mut peak = 0;
    for flood in floods {
        let ended = flood.await;
        peak = peak.max(run.watched.as_ref().map_or(0, |watched| watched.memory()));
        sent += ended.sent;
        told += u64::from(ended.told);
        if let Some(after) = ended.closed_after {
            record(&mut times, after);
        }
    }
    run.report.add("slow_readers", options.readers as f64, "");
    run.report.add("slow_readers_closed", times.len() as f64, "");
    run.report.add("partners_told_why", told as f64, "");
    run.report.add_memory("sent_to_slow_readers", sent);
    run.report.add_latencies("closed_after", &times);
    honest.finish("honest", &mut run.report)?;
    if let Some(watched) = &run.watched {
        run.report.add_memory("server_memory", peak);
        run.report.add_memory("server_memory_growth", watched.memory_growth());
    }
    run.add_cpu(start.elapsed().as_secs_f64());
    Ok(())
}

/// Sends until the end, or until the server ends the session.
async fn flood(pair: Pair, text: String, interval: Duration, end: Instant) -> End {
    // The callee stays open and reads nothing.
    let (mut caller, _callee) = pair.split();
    let (start, mut sent) = (Instant::now(), 0);
    let mut due = start;
    while Instant::now() < end {
        if caller.send(&text).await.is_err() {
            return closed(caller, start, sent).await;
        }
        sent += text.len() as u64;
        due += interval;
        // Nothing is sent to the caller: whatever comes is the end of its connection.
        if let Some(error) =
            runtime::timeout(due.saturating_duration_since(Instant::now()), caller.end()).await
        {
            return End { closed_after: Some(start.elapsed()), sent, told: error.is_some() };
        }
    }
    End { closed_after: None, sent, told: false }
}

async fn closed(mut caller: Peer, start: Instant, sent: u64) -> End {
    let closed_after = Some(start.elapsed());
    let told = runtime::timeout(Duration::from_secs(2), caller.end()).await.flatten().is_some();
    End { closed_after, sent, told }
}
