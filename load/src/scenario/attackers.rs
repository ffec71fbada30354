//! Attackers of many kinds, without honest peers.

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
    peer::Target,
    report::Report,
    runtime::{self, Task},
    scenario::{Run, Time},
};

/// Attacks a server.
#[derive(Debug, Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Kinds of attack, all at the same time. Default: all kinds.
    #[arg(long = "kind", value_enum, value_delimiter = ',')]
    kinds: Vec<Kind>,
    /// Simultaneous attackers of each kind. An attacker that is disconnected reconnects.
    #[arg(long, default_value_t = 10)]
    attackers: usize,
    /// The callees of `unread` and `read` connect to this server, another node of the same cluster.
    #[arg(long, value_name = "URL")]
    callees: Option<String>,
    /// Continue until this many bad registrations were sent, however long it takes.
    #[arg(long)]
    registrations: Option<u64>,
    #[command(flatten)]
    time: Time,
}

impl Options {
    /// The command line with the same options.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = vec!["attackers".into(), format!("--attackers={}", self.attackers)];
        arguments.push(format!("--seconds={}", self.time.seconds));
        arguments.extend(self.kinds.iter().map(|kind| format!("--kind={}", kind.name())));
        arguments.extend(self.callees.iter().map(|url| format!("--callees={url}")));
        arguments.extend(self.registrations.map(|count| format!("--registrations={count}")));
        arguments
    }
}

/// The pause before an attacker reconnects. Without it most of the attack would be connects.
const RETURN: Duration = Duration::from_millis(20);

/// Interval of checks whether the attack is over.
const SAMPLE: Duration = Duration::from_millis(50);

/// The longest attack, even if registrations are left.
const LONGEST: Duration = Duration::from_secs(3600);

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    let kinds = if options.kinds.is_empty() { Kind::value_variants() } else { &options.kinds };
    let left = Arc::new(AtomicU64::new(options.registrations.unwrap_or(u64::MAX)));
    let mut holder = run.target.without_sources().register(&kind::taken_uid()).await?;
    let holder = Task::spawn(async move { drop(holder.end().await) });
    let callees = options.callees.as_ref().map(|url| Target::new(&run.place.at(url))).transpose()?;
    let targets = (run.target.clone(), callees.unwrap_or_else(|| run.target.clone()));
    let start = Instant::now();
    let parties: Vec<Party> =
        kinds.iter().map(|kind| Party::start(*kind, &targets, options.attackers, &left)).collect();
    let is_over = |elapsed: Duration| {
        let registered = options.registrations.is_none() || left.load(Ordering::Relaxed) == 0;
        elapsed > LONGEST || (registered && elapsed >= Duration::from_secs(options.time.seconds))
    };
    while !is_over(start.elapsed()) {
        runtime::sleep(SAMPLE).await;
    }
    run.report.add("attack_took", start.elapsed().as_secs_f64(), "s");
    for party in parties {
        party.finish(&mut run.report).await;
    }
    holder.cancel().await;
    Ok(())
}

/// The attackers of one kind.
struct Party {
    kind: Kind,
    tally: Arc<Tally>,
    tasks: Vec<Task>,
}

impl Party {
    fn start(kind: Kind, targets: &(Target, Target), attackers: usize, left: &Arc<AtomicU64>) -> Self {
        let tally = Arc::new(Tally::default());
        let tasks = (0..attackers).map(|i| {
            let (targets, tally, left) = (targets.clone(), tally.clone(), left.clone());
            // Uids of different kinds must differ.
            let number = kind as usize * attackers + i;
            Task::spawn(async move {
                match kind {
                    Kind::Registrations => register_badly(&targets, i, &tally, &left).await,
                    kind => come_back(kind, &targets, number, &tally).await,
                }
            })
        });
        Self { kind, tasks: tasks.collect(), tally }
    }

    async fn finish(self, report: &mut Report) {
        join_all(self.tasks.into_iter().map(Task::cancel)).await;
        let name = self.kind.name().replace('-', "_");
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        report.add(&format!("{name}_connections"), count(&self.tally.connections) as f64, "");
        report.add(&format!("{name}_turned_away"), count(&self.tally.turned_away) as f64, "");
        report.add(&format!("{name}_ended_by_server"), count(&self.tally.ended) as f64, "");
        report.add_memory(&format!("{name}_sent"), count(&self.tally.bytes));
    }
}

async fn come_back(kind: Kind, targets: &(Target, Target), number: usize, tally: &Tally) {
    loop {
        attempt(kind, targets, number, tally).await;
        runtime::sleep(RETURN).await;
    }
}

/// Sends bad registrations without a pause, as long as any are left.
async fn register_badly(targets: &(Target, Target), first: usize, tally: &Tally, left: &AtomicU64) {
    let one_less = |left: u64| left.checked_sub(1);
    let mut number = first;
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
        attempt(Kind::Registrations, targets, number, tally).await;
        number += 1;
    }
}
