//! What the load is made of.

pub(crate) mod attack;
pub(crate) mod attackers;
pub(crate) mod churn;
pub(crate) mod handshakes;
pub(crate) mod idle;
pub(crate) mod pairs;
pub(crate) mod room;
pub(crate) mod slow;
pub(crate) mod storm;

use clap::Args;

use crate::{
    peer::{Place, Target},
    process::Watched,
    report::Report,
};

/// What every scenario works with.
pub(crate) struct Run {
    pub(crate) target: Target,
    pub(crate) place: Place,
    pub(crate) watched: Option<Watched>,
    pub(crate) report: Report,
}

impl Run {
    /// The server's figures count from now on.
    pub(crate) fn restart(&mut self) {
        self.watched.iter_mut().for_each(Watched::restart);
    }

    /// Adds what the server's CPU did for each of `count` things.
    pub(crate) fn add_cost(&mut self, name: &str, count: u64) {
        if let Some(watched) = &self.watched {
            self.report.add_cost(name, watched.cpu(), count);
        }
    }

    /// Adds how busy the server was, in percent of a core.
    pub(crate) fn add_cpu(&mut self, seconds: f64) {
        if let Some(watched) = &self.watched {
            self.report.add("server_cpu", watched.cpu().as_secs_f64() * 100.0 / seconds, "%");
        }
    }
}

/// For scenarios that end when their time is over.
#[derive(Debug, Args)]
pub(crate) struct Time {
    /// How long to measure.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
}

/// For scenarios of many peers.
#[derive(Debug, Args)]
pub(crate) struct Crowd {
    /// How many.
    #[arg(long, default_value_t = 5000)]
    pub(crate) peers: usize,
}

/// Uids that no other run uses at the same time.
pub(crate) fn uid(kind: &str, number: usize) -> String {
    format!("load-{}-{kind}{number}", std::process::id())
}
