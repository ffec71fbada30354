//! The scenarios.

pub(crate) mod abort;
pub(crate) mod attack;
pub(crate) mod attackers;
pub(crate) mod churn;
pub(crate) mod comeback;
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

/// The state that every scenario uses.
pub(crate) struct Run {
    pub(crate) target: Target,
    pub(crate) place: Place,
    pub(crate) watched: Option<Watched>,
    pub(crate) report: Report,
}

impl Run {
    /// Other servers, which take the same token.
    pub(crate) fn targets(&self, urls: &[String]) -> anyhow::Result<Vec<Target>> {
        urls.iter().map(|url| Target::new(&self.place.at(url))).collect()
    }

    /// Restarts the counting of the server's resource use.
    pub(crate) fn restart(&mut self) {
        self.watched.iter_mut().for_each(Watched::restart);
    }

    /// Adds the server's CPU time per operation for `count` operations.
    pub(crate) fn add_cost(&mut self, name: &str, count: u64) {
        if let Some(watched) = &self.watched {
            self.report.add_cost(name, watched.cpu(), count);
        }
    }

    /// Adds the server's CPU load in percent of a core.
    pub(crate) fn add_cpu(&mut self, seconds: f64) {
        if let Some(watched) = &self.watched {
            self.report.add("server_cpu", watched.cpu().as_secs_f64() * 100.0 / seconds, "%");
        }
    }
}

/// Options of scenarios that run for a fixed time.
#[derive(Debug, Args)]
pub(crate) struct Time {
    /// Seconds to measure.
    #[arg(long, default_value_t = 10)]
    pub(crate) seconds: u64,
}

/// Options of scenarios with many peers.
#[derive(Debug, Args)]
pub(crate) struct Crowd {
    /// Number of peers.
    #[arg(long, default_value_t = 5000)]
    pub(crate) peers: usize,
}

/// A uid that no other run uses at the same time.
pub(crate) fn uid(kind: &str, number: usize) -> String {
    format!("load-{}-{kind}{number}", std::process::id())
}
