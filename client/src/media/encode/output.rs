//! What an encoder sends, in bit/s. Pure.

use std::{collections::VecDeque, time::Duration};

/// How long is measured at a time, and how many times.
const SPAN: Duration = Duration::from_secs(1);
const SPANS: usize = 3;

/// The last seconds of an encoder.
#[derive(Debug, Default)]
pub(super) struct Output {
    /// When the running second began, and the bytes before.
    since: Option<(Duration, u64)>,
    spans: VecDeque<u64>,
}

impl Output {
    /// The most of the last seconds, now that it has sent `bytes` in all. Call it several times per second. `None` in
    /// the first seconds, and while it `rests`.
    pub(super) fn measure(&mut self, now: Duration, bytes: u64, rests: bool) -> Option<u64> {
        if rests {
            *self = Self::default();
            return None;
        }
        let (since, before) = *self.since.get_or_insert((now, bytes));
        let passed = now.saturating_sub(since);
        if passed >= SPAN {
            let ms = u64::try_from(passed.as_millis()).unwrap_or(u64::MAX);
            self.spans.truncate(SPANS - 1);
            self.spans.push_front(bytes.saturating_sub(before) * 8000 / ms.max(1));
            self.since = Some((now, bytes));
        }
        self.spans.iter().max().copied().filter(|_| self.spans.len() == SPANS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_busiest_of_the_last_three_seconds_counts() {
        let mut output = Output::default();
        let mut measure = |ms, bytes, rests| output.measure(Duration::from_millis(ms), bytes, rests);
        assert_eq!(measure(0, 500, false), None);
        assert_eq!(measure(1000, 1500, false), None);
        assert_eq!(measure(2000, 6500, false), None);
        assert_eq!(measure(3000, 7500, false), Some(40_000));
        assert_eq!(measure(3900, 99_999, false), Some(40_000));
        assert_eq!(measure(4000, 8500, false), Some(40_000));
        assert_eq!(measure(5000, 9500, false), Some(8000), "the busy one is over");
        assert_eq!(measure(5100, 9500, true), None);
        assert_eq!(measure(9000, 9500, false), None, "it begins again");
    }
}
