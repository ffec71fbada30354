//! Honest pairs that relay at a fixed rate during a scenario. They run on a thread of their own: delays come from the
//! server, not from our other tasks.

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
    relay::{Pace, Pair, Played},
    report::Report,
    runtime,
};

/// The longest time after the end that a pair waits for its last message.
const PATIENCE: Duration = Duration::from_secs(10);

/// The honest pairs.
#[derive(Debug, Args)]
pub(crate) struct Crew {
    /// Number of honest pairs that relay meanwhile.
    #[arg(long, default_value_t = 50)]
    pairs: usize,
    /// Size of their messages in bytes.
    #[arg(long, default_value_t = 2000)]
    size: usize,
    /// Messages per second of all pairs together, counted in both directions.
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
}

/// Running pairs.
pub(crate) struct Honest {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

struct Outcome {
    played: Played,
    dropped: usize,
}

impl Honest {
    /// Connects the pairs, callers to the first server and callees to the second one, and starts relaying.
    pub(crate) async fn start(
        targets: (&Target, &Target),
        kind: &str,
        options: &Crew,
    ) -> anyhow::Result<Self> {
        let connect = |i| Pair::connect_across(targets, kind, i);
        let pairs = try_join_all((0..options.pairs).map(connect)).await?;
        let over = Arc::new(AtomicBool::new(false));
        let (text, rate, ended) = ("x".repeat(options.size), options.rate, over.clone());
        let thread = thread::spawn(move || runtime::block_on_alone(relay(pairs, &text, rate, &ended)));
        Ok(Self { over, thread })
    }

    /// Stops the pairs and adds their results to the report.
    pub(crate) fn finish(self, name: &str, report: &mut Report) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let Outcome { played, dropped } = self.thread.join().map_err(|_| anyhow!("a thread panicked"))?;
        report.add(&format!("{name}_round_trips"), played.round_trips as f64, "");
        report.add(&format!("{name}_dropped"), dropped as f64, "");
        report.add_latencies(name, &played.latencies);
        Ok(())
    }
}

async fn relay(pairs: Vec<Pair>, text: &str, rate: f64, over: &AtomicBool) -> Outcome {
    let (start, count) = (Instant::now(), pairs.len());
    let is_over = || over.load(Ordering::Relaxed);
    let playing = (0..).zip(pairs).map(|(i, pair)| async move {
        let mut played = Played::nothing();
        let playing = pair.play(text, Pace::of(Some(rate), start, i, count), is_over, &mut played);
        let given_up = async {
            while !is_over() {
                runtime::sleep(Duration::from_millis(100)).await;
            }
            runtime::sleep(PATIENCE).await;
        };
        let stayed = runtime::unless(playing, given_up).await.is_some_and(|end| end.is_ok());
        (played, stayed)
    });
    let mut outcome = Outcome { played: Played::nothing(), dropped: 0 };
    for (played, stayed) in join_all(playing).await {
        outcome.played.add(&played);
        outcome.dropped += usize::from(!stayed);
    }
    outcome
}
