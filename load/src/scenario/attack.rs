//! Attacks, and what honest pairs notice of them.

mod kind;
mod wire;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::{Args, ValueEnum};
use futures_util::future::join_all;

use self::kind::{Kind, Tally, attempt};
use crate::{
    honest::{self, Honest},
    peer::Target,
    process::Watched,
    report::Report,
    runtime::{self, Task},
    scenario::{Run, Time},
};

/// Attacks a server while honest pairs relay.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Kinds of attack, all at the same time. Default: all there are.
    #[arg(long = "kind", value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Attackers of each kind at the same time. One that is cut comes back.
    #[arg(long, default_value_t = 10)]
    attackers: usize,
    /// Go on until so many bad registrations are made, however long it takes.
    #[arg(long)]
    registrations: Option<u64>,
    /// How long honest pairs relay before the attack, to compare with.
    #[arg(long, default_value_t = 3)]
    calm: u64,
    #[command(flatten)]
    time: Time,
    #[command(flatten)]
    honest: honest::Crew,
}

/// How long an attacker waits before it comes back. Without that most of the attack would be its own connects.
const RETURN: Duration = Duration::from_millis(20);

/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_millis(50);

/// How long the server has to free what the attackers left: its close takes two seconds at most.
const SETTLE: Duration = Duration::from_secs(4);

/// No run takes longer, whatever is left to do.
const LONGEST: Duration = Duration::from_secs(3600);

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let kinds = if options.kinds.is_empty() { Kind::value_variants() } else { &options.kinds };
    // Only attackers come from many addresses.
    let home = run.target.with_sources(0);
    let calm = Honest::start(&home, "calm", &options.honest).await?;
    runtime::sleep(Duration::from_secs(options.calm)).await;
    calm.finish("calm", &mut run.report)?;

    let honest = Honest::start(&home, "honest", &options.honest).await?;
    run.restart();
    let before = run.watched.map(|watched| watched.memory());
    let left = Arc::new(AtomicU64::new(options.registrations.unwrap_or(u64::MAX)));
    let parties: Vec<Party> =
        kinds.iter().map(|kind| Party::start(*kind, &run.target, options.attackers, &left)).collect();
    let start = Instant::now();
    let memory = watch(run.watched, || {
        let registered = options.registrations.is_none() || left.load(Ordering::Relaxed) == 0;
        let elapsed = start.elapsed();
        elapsed > LONGEST || (registered && elapsed >= Duration::from_secs(options.time.seconds))
    });
    let memory = memory.await;
    let elapsed = start.elapsed().as_secs_f64();
    run.report.add("attack_took", elapsed, "s");
    run.add_cpu(elapsed);
    honest.finish("honest", &mut run.report)?;
    for party in parties {
        party.finish(&mut run.report).await;
    }
    if let (Some(before), Some(watched)) = (before, run.watched) {
        runtime::sleep(SETTLE).await;
        run.report.add_memory("server_memory_before", before);
        // Flat is a second half like the first.
        let (first, second) = memory.split_at(memory.len() / 2);
        run.report.add_memory("server_memory_peak_first_half", first.iter().copied().max().unwrap_or(0));
        run.report.add_memory("server_memory_peak_second_half", second.iter().copied().max().unwrap_or(0));
        run.report.add_memory("server_memory_after", watched.memory());
    }
    Ok(())
}

/// The server's memory from now on until `over` says so.
async fn watch(watched: Option<Watched>, over: impl Fn() -> bool) -> Vec<u64> {
    let mut seen = Vec::new();
    while !over() {
        seen.extend(watched.map(|watched| watched.memory()));
        runtime::sleep(SAMPLE).await;
    }
    seen
}

/// The attackers of one kind.
struct Party {
    kind: Kind,
    tally: Arc<Tally>,
    tasks: Vec<Task>,
}

impl Party {
    fn start(kind: Kind, target: &Target, attackers: usize, left: &Arc<AtomicU64>) -> Self {
        let tally = Arc::new(Tally::default());
        let tasks = (0..attackers).map(|i| {
            let (target, tally, left) = (target.clone(), tally.clone(), left.clone());
            // Uids of different kinds must differ.
            let number = kind as usize * attackers + i;
            Task::spawn(async move {
                match kind {
                    Kind::Registrations => register_badly(&target, i, &tally, &left).await,
                    kind => come_back(kind, &target, number, &tally).await,
                }
            })
        });
        Self { kind, tasks: tasks.collect(), tally }
    }

    async fn finish(self, report: &mut Report) {
        join_all(self.tasks.into_iter().map(Task::cancel)).await;
        let name = self.kind.to_possible_value().map(|value| value.get_name().replace('-', "_"));
        let name = name.unwrap_or_default();
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        report.add(&format!("{name}_connections"), count(&self.tally.connections) as f64, "");
        report.add(&format!("{name}_turned_away"), count(&self.tally.turned_away) as f64, "");
        report.add(&format!("{name}_ended_by_server"), count(&self.tally.ended) as f64, "");
        report.add_memory(&format!("{name}_sent"), count(&self.tally.bytes));
    }
}

async fn come_back(kind: Kind, target: &Target, number: usize, tally: &Tally) {
    loop {
        attempt(kind, target, number, tally).await;
        runtime::sleep(RETURN).await;
    }
}

/// One bad registration after the other, without a pause, while any are left.
async fn register_badly(target: &Target, first: usize, tally: &Tally, left: &AtomicU64) {
    let one_less = |left: u64| left.checked_sub(1);
    let mut number = first;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        attempt(Kind::Registrations, target, number, tally).await;
        number += 1;
    }
}
