//! Times of buffers that come from another pipeline, and from which of them are too many. Pure; all times in
//! nanoseconds.

/// A buffer that claims to be older than this has another clock: it counts as new.
const OLDEST: u64 = 5_000_000_000;

/// Gives the buffers of one medium times that always grow, whichever pipeline they come from.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    last: Option<u64>,
}

impl Stamps {
    /// The time of a buffer that came at `now` and claims to be of `claimed`; `None` if it has to be dropped, because
    /// it is older than one before.
    pub(super) fn next(&mut self, now: u64, claimed: Option<u64>) -> Option<u64> {
        let time = claimed.filter(|time| time.saturating_add(OLDEST) >= now).unwrap_or(now).min(now);
        let is_new = self.last.is_none_or(|last| time > last);
        is_new.then(|| *self.last.insert(time))
    }
}

/// Drops frames of a source that has more than wanted.
#[derive(Debug)]
pub(super) struct Thinner {
    interval: u64,
    next: Option<u64>,
}

impl Thinner {
    /// Keeps at most `fps` frames a second.
    pub(super) fn new(fps: u16) -> Self {
        Self { interval: 1_000_000_000 / u64::from(fps.max(1)), next: None }
    }

    /// Whether to keep a frame of this time. Frames may be early by a quarter of the interval.
    pub(super) fn keeps(&mut self, time: u64) -> bool {
        let interval = self.interval;
        let due = self.next.filter(|next| time.abs_diff(*next) < 4 * interval).unwrap_or(time);
        let keeps = time + interval / 4 >= due;
        if keeps {
            self.next = Some((due + interval).max(time + interval / 2));
        }
        keeps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn times_grow_and_are_never_in_the_future() {
        let mut stamps = Stamps::default();
        let ms = |time: Option<u64>| time.map(|time| time / MS);
        assert_eq!(ms(stamps.next(1000 * MS, Some(900 * MS))), Some(900));
        assert_eq!(ms(stamps.next(1010 * MS, Some(900 * MS))), None, "twice the same");
        assert_eq!(ms(stamps.next(1020 * MS, Some(899 * MS))), None);
        assert_eq!(ms(stamps.next(1030 * MS, None)), Some(1030));
        assert_eq!(ms(stamps.next(1040 * MS, Some(9_000_000 * MS))), Some(1040), "not in the future");
        assert_eq!(ms(stamps.next(9000 * MS, Some(2000 * MS))), Some(9000), "another clock");
        assert_eq!(ms(stamps.next(9010 * MS, Some(8990 * MS))), None);
        assert_eq!(ms(stamps.next(9020 * MS, Some(9015 * MS))), Some(9015));
    }

    #[test]
    fn a_fast_source_is_thinned_and_a_slow_one_is_not() {
        let kept = |fps: u64, wanted: u16| {
            let mut thinner = Thinner::new(wanted);
            (0..fps * 10).filter(|frame| thinner.keeps(frame * 1_000_000_000 / fps)).count()
        };
        assert_eq!(kept(60, 30), 300);
        assert_eq!(kept(30, 30), 300);
        assert_eq!(kept(15, 30), 150);
        assert!((295..=305).contains(&kept(50, 30)), "{}", kept(50, 30));
        assert!((145..=155).contains(&kept(25, 15)), "{}", kept(25, 15));
        assert!((99..=101).contains(&kept(100, 10)), "{}", kept(100, 10));
    }

    #[test]
    fn jitter_costs_no_frames_and_a_jump_is_followed() {
        let mut thinner = Thinner::new(30);
        let jitter = [0, 5, 1, 7, 3, 6];
        let kept = |frame: &u64| thinner.keeps(frame * 33_333_333 + jitter[*frame as usize % 6] * MS);
        assert_eq!((0..300u64).filter(kept).count(), 300);
        assert!(thinner.keeps(5 * MS), "the source began anew");
        assert!(!thinner.keeps(10 * MS));
        assert!(thinner.keeps(3_600_000 * MS));
    }
}
