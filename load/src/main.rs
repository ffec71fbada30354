//! `callbin-load`: puts load on a signalling server and measures what that costs.

mod honest;
mod peer;
mod process;
mod relay;
mod report;
mod runtime;
mod scenario;

use std::{path::PathBuf, process::ExitCode};

use callbin_options::{Shell, manual};
use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::{
    peer::{Place, Target},
    process::Watched,
    report::Report,
    scenario::Run,
};

/// Puts load on a signalling server and measures what that costs.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Args)]
struct Common {
    #[command(flatten)]
    place: Place,

    /// Process id of the server if it runs on this machine: adds its CPU time and memory to the report. Several ids, such as
    /// those of two nodes and Redis, add up.
    #[arg(long, global = true, value_delimiter = ',')]
    pid: Vec<u32>,

    /// Print the report as one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Session pairs that relay messages, as fast as possible or at a fixed rate.
    Pairs(scenario::pairs::Options),
    /// Peers that register and close repeatedly.
    Churn(scenario::churn::Options),
    /// Peers that register and then do nothing.
    Idle(scenario::idle::Options),
    /// A room with many members, and the notices that they get.
    Room(scenario::room::Options),
    /// A room whose members all disappear at once.
    Abort(scenario::abort::Options),
    /// Peers whose server is killed, and that come back to other nodes of its cluster.
    Comeback(scenario::comeback::Options),
    /// Many peers that connect within a short time.
    Storm(scenario::storm::Options),
    /// Only TLS handshakes.
    Handshakes(scenario::handshakes::Options),
    /// Peers that stop reading, and the effect on others.
    Slow(scenario::slow::Options),
    /// Attacks of many kinds, and the effect on honest pairs.
    Attack(scenario::attack::Options),
    /// Only the attackers of `attack`, for example on another machine.
    Attackers(scenario::attackers::Options),
    /// Write the manual pages.
    Man {
        /// The folder; it is created if it is missing.
        #[arg(value_name = "DIR")]
        dir: PathBuf,
    },
    /// Print the completions for a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
}

fn main() -> ExitCode {
    let Cli { common, scenario } = Cli::parse();
    let done = match &scenario {
        Scenario::Man { dir } => Some(manual::write_pages(Cli::command(), dir)),
        Scenario::Completions { shell } => Some(manual::completions(Cli::command(), *shell)),
        _ => None,
    };
    if let Some(result) = done {
        return if manual::print("callbin-load", result) { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    match runtime::block_on(run(&common, scenario)) {
        Ok(report) => {
            report.print(common.json);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("callbin-load: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(common: &Common, scenario: Scenario) -> anyhow::Result<Report> {
    let mut run = Run {
        target: Target::new(&common.place)?,
        place: common.place.clone(),
        watched: (!common.pid.is_empty()).then(|| Watched::new(common.pid.clone())),
        report: Report::default(),
    };
    match scenario {
        Scenario::Pairs(options) => scenario::pairs::run(&mut run, &options).await?,
        Scenario::Churn(options) => scenario::churn::run(&mut run, &options).await?,
        Scenario::Idle(options) => scenario::idle::run(&mut run, &options).await?,
        Scenario::Room(options) => scenario::room::run(&mut run, &options).await?,
        Scenario::Abort(options) => scenario::abort::run(&mut run, &options).await?,
        Scenario::Comeback(options) => scenario::comeback::run(&mut run, &options).await?,
        Scenario::Storm(options) => scenario::storm::run(&mut run, &options).await?,
        Scenario::Handshakes(options) => scenario::handshakes::run(&mut run, &options).await?,
        Scenario::Slow(options) => scenario::slow::run(&mut run, &options).await?,
        Scenario::Attack(options) => scenario::attack::run(&mut run, &options).await?,
        Scenario::Attackers(options) => scenario::attackers::run(&mut run, &options).await?,
        Scenario::Man { .. } | Scenario::Completions { .. } => {}
    }
    Ok(run.report)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
