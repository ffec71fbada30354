//! How much arrives.

use std::collections::VecDeque;

use super::Arrival;

/// The time over which arrivals are counted, in seconds.
const WINDOW: f64 = 0.4;
/// The last moment.
const MOMENT: f64 = 0.2;
/// Less than this is no measurement.
const LEAST: f64 = 0.15;
const MOST_ENTRIES: usize = 4096;

/// Bytes that arrived within the last moments, by the peer's clock.
#[derive(Debug, Default)]
pub(super) struct Throughput {
    arrivals: VecDeque<(f64, u64)>,
    bytes: u64,
}

impl Throughput {
    pub(super) fn add(&mut self, arrival: &Arrival) {
        if self.arrivals.back().is_some_and(|(last, _)| (arrival.arrived - last).abs() > 5.0) {
            *self = Self::default();
        }
        self.arrivals.push_back((arrival.arrived, arrival.bytes));
        self.bytes += arrival.bytes;
        let newest = self.newest();
        while let Some((at, bytes)) = self.arrivals.front().copied()
            && (at <= newest - WINDOW || self.arrivals.len() > MOST_ENTRIES)
        {
            self.bytes -= bytes;
            self.arrivals.pop_front();
        }
    }

    /// In bit/s; `None` before there is a measurement.
    pub(super) fn now(&self) -> Option<f64> {
        let (first, bytes) = self.arrivals.front()?;
        let span = self.newest() - first;
        // The first packet only begins the time.
        (span >= LEAST).then(|| (self.bytes - bytes) as f64 * 8.0 / span)
    }

    /// The same for the last moment only: less exact, but it shows at once that the line has become thin.
    pub(super) fn latest(&self) -> Option<f64> {
        let newest = self.newest();
        let mut first = newest;
        let recent = self.arrivals.iter().rev().take_while(|(at, _)| *at > newest - MOMENT);
        let (bytes, last) = recent.fold((0, 0), |(sum, _), (at, bytes)| {
            first = first.min(*at);
            (sum + bytes, *bytes)
        });
        let span = newest - first;
        (span >= LEAST).then(|| (bytes - last) as f64 * 8.0 / span)
    }

    fn newest(&self) -> f64 {
        // Reordered packets are few and near.
        self.arrivals.iter().rev().take(8).map(|(at, _)| *at).fold(f64::MIN, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn counts_the_last_moments() {
        let mut throughput = Throughput::default();
        let mut add = |from: u32, to: u32, bytes| {
            for n in from..to {
                let arrived = f64::from(n) * 0.01;
                throughput.add(&Arrival { sent: Duration::ZERO, arrived, bytes });
            }
            throughput.now().map(f64::round)
        };
        assert_eq!(add(0, 10, 125), None);
        assert_eq!(add(10, 100, 125), Some(100_000.0));
        assert_eq!(add(100, 200, 1250), Some(1_000_000.0));
        assert_eq!(add(100_000, 100_001, 1250), None, "the clock was set");
    }
}
