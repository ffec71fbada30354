//! The results of a run, for people and for scripts.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// Named values in the order they were added.
#[derive(Debug, Default)]
pub(crate) struct Report(Vec<(String, f64, &'static str)>);

impl Report {
    /// Adds a value with its unit.
    pub(crate) fn add(&mut self, name: &str, value: f64, unit: &'static str) {
        self.0.push((name.into(), value, unit));
    }

    /// Adds CPU time per operation, in microseconds.
    pub(crate) fn add_cost(&mut self, name: &str, cpu: Duration, count: u64) {
        self.add(name, cpu.as_secs_f64() * 1e6 / count.max(1) as f64, "µs");
    }

    /// Adds the usual percentiles of latencies recorded in microseconds.
    pub(crate) fn add_latencies(&mut self, name: &str, latencies: &Histogram<u64>) {
        for (label, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)]
        {
            let millis = latencies.value_at_quantile(quantile) as f64 / 1000.0;
            self.add(&format!("{name}_{label}"), millis, "ms");
        }
    }

    /// Adds an amount of memory.
    pub(crate) fn add_memory(&mut self, name: &str, bytes: u64) {
        self.add(name, bytes as f64 / 1024.0 / 1024.0, "MiB");
    }

    /// Adds the values of another report from its JSON form.
    pub(crate) fn add_all(&mut self, report: &Value) {
        for (name, value) in report.as_object().into_iter().flatten() {
            let (name, unit) = name.rsplit_once('_').unwrap_or((name, ""));
            let unit = UNITS.iter().find(|known| ascii(known) == unit).copied().unwrap_or("");
            self.add(name, value.as_f64().unwrap_or_default(), unit);
        }
    }

    /// Prints it on stdout.
    pub(crate) fn print(&self, as_json: bool) {
        if as_json {
            let object: Map<String, Value> = self
                .0
                .iter()
                .map(|(name, value, unit)| (format!("{name}_{}", ascii(unit)), json!(value)))
                .collect();
            println!("{}", Value::Object(object));
        } else {
            for (name, value, unit) in &self.0 {
                println!("{:>12} {unit:<4} {}", format!("{value:.3}"), name.replace('_', " "));
            }
        }
    }
}

/// All units.
const UNITS: [&str; 6] = ["µs", "ms", "s", "MiB", "%", ""];

fn ascii(unit: &str) -> &str {
    match unit {
        "µs" => "us",
        "" => "count",
        "%" => "percent",
        unit => unit,
    }
}

/// A histogram from one microsecond to one minute with three significant digits.
pub(crate) fn histogram() -> Histogram<u64> {
    // hdrhistogram accepts these constant bounds; a default histogram resizes itself.
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

/// Records a latency, limited to the largest value of the histogram.
pub(crate) fn record(histogram: &mut Histogram<u64>, latency: Duration) {
    histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
}
