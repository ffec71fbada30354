//! `callbin-load`: puts load on a signalling server and says what it cost.

mod peer;
mod process;
mod report;
mod runtime;
mod scenario;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::{peer::Target, process::Watched, report::Report};

/// Puts load on a signalling server and says what it cost.
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
    /// The server. Certificates are not checked.
    #[arg(long, global = true, env = "CALLBIN_SERVER", default_value = "ws://127.0.0.1:8443")]
    server: String,

    /// Process id of the server, if it runs here: its CPU time and memory are part of the report.
    #[arg(long, global = true)]
    pid: Option<u32>,

    /// Print the report as one JSON object.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Session pairs that relay messages, by turns or at a fixed rate.
    Pairs(scenario::pairs::Options),
    /// Peers that register and close, one after the other.
    Churn(scenario::churn::Options),
    /// Peers that register and then do nothing.
    Idle(scenario::idle::Options),
    /// A room that many join, and each member's notices.
    Room(scenario::room::Options),
    /// Everybody connects at once.
    Storm(scenario::storm::Options),
}

fn main() -> ExitCode {
    let Cli { common, scenario } = Cli::parse();
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
    let target = Target::new(&common.server)?;
    let watched = common.pid.map(Watched::new);
    let mut report = Report::default();
    match scenario {
        Scenario::Pairs(options) => scenario::pairs::run(&target, watched, &options, &mut report).await?,
        Scenario::Churn(options) => scenario::churn::run(&target, watched, &options, &mut report).await?,
        Scenario::Idle(options) => scenario::idle::run(&target, watched, &options, &mut report).await?,
        Scenario::Room(options) => scenario::room::run(&target, watched, &options, &mut report).await?,
        Scenario::Storm(options) => scenario::storm::run(&target, watched, &options, &mut report).await?,
    }
    Ok(report)
}
