//! Media received at one end: samples of the counters, and whether the content is right.

use std::time::{Duration, Instant};

/// The least time between two samples that show whether a counter moves: `callbin` counts once per second.
const APART: Duration = Duration::from_millis(900);

/// One sample of one medium.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Its time.
    pub at: Instant,
    /// Frames decoded so far, or packets if nothing is decoded.
    pub count: f64,
    /// Whether picture or sound is what the other end sends.
    pub right: bool,
}

/// The samples of one medium since the last change.
#[derive(Debug, Default)]
pub struct Flow(Vec<Sample>);

impl Flow {
    /// Adds a sample.
    pub fn push(&mut self, count: f64, right: bool) {
        self.0.push(Sample { at: Instant::now(), count, right });
    }

    /// Drops the samples so far.
    pub fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether media arrive, with the right content.
    pub fn flows(&self) -> bool {
        self.ends().is_some_and(|(first, last)| last.count > first.count && last.right)
    }

    /// Whether no media arrive any more.
    pub fn is_still(&self) -> bool {
        self.ends().is_some_and(|(first, last)| last.count <= first.count)
    }

    /// A description for messages.
    pub fn describe(&self) -> &'static str {
        match (self.ends(), self.0.last()) {
            (Some((first, last)), _) if last.count > first.count && last.right => "comes",
            (Some((first, last)), _) if last.count > first.count => "is not what was sent",
            (_, Some(last)) if last.count > 0.0 => "stands still",
            _ => "does not come",
        }
    }

    /// The latest sample, and the latest one at least `APART` before it.
    fn ends(&self) -> Option<(&Sample, &Sample)> {
        let last = self.0.last()?;
        let first = self.0.iter().rev().find(|sample| last.at.duration_since(sample.at) >= APART)?;
        Some((first, last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Samples half a second apart.
    fn flow(counts: &[f64], right: bool) -> Flow {
        let now = Instant::now();
        let at = |i: usize| now + Duration::from_millis(500) * u32::try_from(i).expect("few");
        Flow(counts.iter().enumerate().map(|(i, count)| Sample { at: at(i), count: *count, right }).collect())
    }

    #[test]
    fn only_what_moves_and_is_right_flows() {
        assert!(flow(&[1.0, 2.0, 3.0], true).flows());
        assert!(!flow(&[1.0, 2.0, 3.0], false).flows());
        assert!(!flow(&[1.0, 2.0, 2.0, 2.0], true).flows());
        assert!(!flow(&[1.0, 2.0], true).flows(), "half a second says nothing");
    }

    #[test]
    fn what_stands_long_enough_is_still() {
        assert!(flow(&[1.0, 2.0, 2.0, 2.0], true).is_still());
        assert!(!flow(&[1.0, 2.0, 2.0], true).is_still());
        assert!(!flow(&[2.0], true).is_still());
    }

    #[test]
    fn says_what_is_wrong() {
        assert_eq!(flow(&[0.0, 0.0, 0.0], false).describe(), "does not come");
        assert_eq!(flow(&[5.0, 5.0, 5.0], false).describe(), "stands still");
        assert_eq!(flow(&[5.0, 6.0, 7.0], false).describe(), "is not what was sent");
    }
}
