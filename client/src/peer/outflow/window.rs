//! Counts the bytes sent within the last half second.

use std::{collections::VecDeque, time::Duration};

/// The length of the window.
pub(super) const SPAN: Duration = Duration::from_millis(500);
/// Packets sent within this time share one entry, which bounds the number of entries.
const GRAIN: Duration = Duration::from_millis(1);

/// Bytes sent within the last half second. Times count from any fixed moment.
#[derive(Debug, Default)]
pub(super) struct Window {
    sent: VecDeque<(Duration, u64)>,
    bytes: u64,
}

impl Window {
    /// Records bytes that are sent now.
    pub(super) fn add(&mut self, now: Duration, bytes: u64) {
        self.bytes += bytes;
        match self.sent.back_mut() {
            Some((at, sum)) if now.saturating_sub(*at) < GRAIN => *sum += bytes,
            _ => self.sent.push_back((now, bytes)),
        }
    }

    /// How long until these bytes fit within `limit`. A packet larger than the limit fits when the window is empty.
    pub(super) fn wait(&mut self, now: Duration, bytes: u64, limit: u64) -> Duration {
        self.forget(now);
        let (mut left, mut until) = (self.bytes, now);
        for (at, sum) in &self.sent {
            if left + bytes <= limit {
                break;
            }
            left -= sum;
            until = *at + SPAN;
        }
        until.saturating_sub(now)
    }

    fn forget(&mut self, now: Duration) {
        while let Some((at, bytes)) = self.sent.front().copied()
            && at + SPAN <= now
        {
            self.bytes -= bytes;
            self.sent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn what_does_not_fit_waits_until_enough_is_old() {
        let mut window = Window::default();
        assert_eq!(window.wait(ms(0), 100, 100), ms(0));
        window.add(ms(0), 60);
        window.add(ms(100), 40);
        assert_eq!(window.wait(ms(200), 10, 100), ms(300));
        assert_eq!(window.wait(ms(200), 61, 100), ms(400));
        assert_eq!(window.wait(ms(200), 500, 100), ms(400), "alone, it may go");
        assert_eq!(window.wait(ms(500), 60, 100), ms(0));
        assert_eq!(window.wait(ms(600), 500, 100), ms(0));
    }

    proptest! {
        #[test]
        fn no_half_second_ever_has_more(packets in prop::collection::vec((0u64..50, 1u64..1000), 1..300)) {
            let (mut window, mut now, mut sent) = (Window::default(), ms(0), Vec::new());
            for (pause, bytes) in packets {
                now += ms(pause);
                loop {
                    let wait = window.wait(now, bytes, 3000);
                    if wait.is_zero() {
                        break;
                    }
                    now += wait;
                }
                window.add(now, bytes);
                sent.push((now, bytes));
                prop_assert!(window.sent.len() <= 501);
            }
            for (start, _) in &sent {
                let within = sent.iter().filter(|(at, _)| at >= start && *at < *start + SPAN);
                prop_assert!(within.map(|(_, bytes)| bytes).sum::<u64>() <= 3000);
            }
        }
    }
}
