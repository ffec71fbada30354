//! Honest pairs that relay at a fixed rate while something else goes on. They have a thread of their own: what
//! delays them is the server, not our other tasks.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use clap::Args;
use futures_util::future::{join_all, try_join_all};

use crate::{
    peer::Target,
    relay::{Pace, Pair},
    report::{Report, histogram},
    runtime,
};

/// How long after the end a pair may still wait for its last message.
const PATIENCE: Duration = Duration::from_secs(10);

/// Who is honest.
#[derive(Debug, Args)]
pub(crate) struct Crew {
    /// How many honest pairs relay meanwhile.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Bytes of their messages.
    #[arg(long, default_value_t = 2000)]
    size: usize,
    /// Their messages per second, of all together, there and back counted each.
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
}

/// Pairs at work.
pub(crate) struct Honest {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

struct Outcome {
    latencies: hdrhistogram::Histogram<u64>,
    dropped: usize,
}

impl Honest {
    /// Connects them, and has them relay from now on.
    pub(crate) async fn start(target: &Target, kind: &str, options: &Crew) -> anyhow::Result<Self> {
        let pairs = try_join_all((0..options.pairs).map(|i| Pair::connect(target, kind, i))).await?;
        let over = Arc::new(AtomicBool::new(false));
        let (text, rate, ended) = ("x".repeat(options.size), options.rate, over.clone());
        let thread = thread::spawn(move || runtime::block_on_alone(relay(pairs, &text, rate, &ended)));
        Ok(Self { over, thread })
    }

    /// Ends them, and adds what they saw to the report.
    pub(crate) fn finish(self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let Outcome { latencies, dropped } = self.thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        report.add(&format!("{name}_round_trips"), latencies.len() as f64, "");
        report.add(&format!("{name}_dropped"), dropped as f64, "");
        report.add_latencies(name, &latencies);
        Ok(())
    }
}

async fn relay(pairs: Vec<Pair>, text: &str, rate: f64, over: &AtomicBool) -> Outcome {
    let (start, count) = (Instant::now(), pairs.len());
    let is_over = || over.load(Ordering::Relaxed);
    let playing = (0..).zip(pairs).map(|(i, pair)| {
        let playing = pair.play(text, Pace::of(Some(rate), start, i, count), is_over);
        async move {
            let given_up = async {
                while !is_over() {
                    runtime::sleep(Duration::from_millis(100)).await;
                }
                runtime::sleep(PATIENCE).await;
            };
            runtime::unless(playing, given_up).await
        }
    });
    let mut outcome = Outcome { latencies: histogram(), dropped: 0 };
    for played in join_all(playing).await {
        match played {
            // Both histograms have the same bounds.
            Some(Ok(latencies)) => drop(outcome.latencies.add(latencies)),
            _ => outcome.dropped += 1,
        }
    }
    outcome
}
