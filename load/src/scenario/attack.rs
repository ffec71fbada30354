//! Attacks, and their effect on honest pairs.
//!
//! The attackers are a separate process with idle priority: this measures how long the server delays honest pairs, not
//! how long they wait for a processor here.

use std::{
    env,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;

use crate::{
    honest::{self, Honest},
    peer::{Place, Target},
    process::Watched,
    runtime,
    scenario::{Run, attackers},
};

/// Attacks a server while honest pairs relay.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    attackers: attackers::Options,
    /// Seconds that honest pairs relay before the attack, for comparison.
    #[arg(long, default_value_t = 3)]
    calm: u64,
    #[command(flatten)]
    honest: honest::Crew,
    /// Honest callers connect to this server instead, another node of the same cluster.
    #[arg(long, value_name = "URL")]
    honest_callers: Option<String>,
    /// Honest callees connect to this server instead, another node of the same cluster.
    #[arg(long, value_name = "URL")]
    honest_callees: Option<String>,
}

/// Interval of memory samples.
const SAMPLE: Duration = Duration::from_millis(50);

/// The time for the server to free what the attackers left: its closing handshake takes at most two seconds.
const SETTLE: Duration = Duration::from_secs(4);

pub(crate) async fn run(run: &mut Run, options: &Options) -> anyhow::Result<()> {
    // Only attackers connect from many addresses.
    let home = run.target.without_sources();
    let other = |url: &Option<String>| match url {
        Some(url) => Target::new(&run.place.at(url)),
        None => Ok(home.clone()),
    };
    let homes = (&other(&options.honest_callers)?, &other(&options.honest_callees)?);
    let calm = Honest::start(homes, "calm", &options.honest).await?;
    runtime::sleep(Duration::from_secs(options.calm)).await;
    calm.finish("calm", &mut run.report)?;

    let honest = Honest::start(homes, "honest", &options.honest).await?;
    run.restart();
    let before = run.watched.as_ref().map(Watched::memory);
    let start = Instant::now();
    let mut attack = Attack::start(&run.place, &options.attackers)?;
    let memory = watch(run.watched.as_ref(), &mut attack).await?;
    run.add_cpu(start.elapsed().as_secs_f64());
    honest.finish("honest", &mut run.report)?;
    run.report.add_all(&attack.report()?);
    if let (Some(before), Some(watched)) = (before, &run.watched) {
        runtime::sleep(SETTLE).await;
        run.report.add_memory("server_memory_before", before);
        // If memory does not grow, both halves have the same peak.
        let (first, second) = memory.split_at(memory.len() / 2);
        run.report.add_memory("server_memory_peak_first_half", first.iter().copied().max().unwrap_or(0));
        run.report.add_memory("server_memory_peak_second_half", second.iter().copied().max().unwrap_or(0));
        run.report.add_memory("server_memory_after", watched.memory());
    }
    Ok(())
}

/// Samples the server's memory until the attack is over.
async fn watch(watched: Option<&Watched>, attack: &mut Attack) -> anyhow::Result<Vec<u64>> {
    let mut seen = Vec::new();
    while attack.goes_on()? {
        seen.extend(watched.map(Watched::memory));
        runtime::sleep(SAMPLE).await;
    }
    Ok(seen)
}

/// The attackers' process. Killed when dropped.
struct Attack(Child);

impl Attack {
    fn start(place: &Place, options: &attackers::Options) -> anyhow::Result<Self> {
        let mut command = Command::new("chrt");
        command.args(["--idle", "0"]).arg(env::current_exe()?);
        place.hand_over(&mut command);
        command.arg("--json").args(options.arguments()).stdin(Stdio::null()).stdout(Stdio::piped());
        Ok(Self(command.spawn().context("cannot start the attackers with `chrt`")?))
    }

    fn goes_on(&mut self) -> anyhow::Result<bool> {
        Ok(self.0.try_wait()?.is_none())
    }

    /// The attackers' report. It is one short line and fits into the pipe.
    fn report(&mut self) -> anyhow::Result<serde_json::Value> {
        if !self.0.wait()?.success() {
            bail!("the attackers failed");
        }
        let stdout = self.0.stdout.take().context("the attackers' report is read once")?;
        serde_json::from_reader(stdout).context("the attackers' report")
    }
}

impl Drop for Attack {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
