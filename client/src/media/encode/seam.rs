//! Where the frames of one encoder end and those of another begin, in the queue of a peer. Pure.
//!
//! The first frame of the new encoder is a key frame. A frame of the former one may still be on its way then, and would
//! damage the picture. And the new encoder may be slower, so that its first frame shows a moment that was sent already: its
//! time is moved, because RTP timestamps must not go back.

/// The least distance of two frames, in nanoseconds.
const STEP: u64 = 1_000_000;

/// What one peer gets.
#[derive(Debug)]
pub(super) struct Seam {
    /// The encoder of the frames that pass, and the one that follows.
    from: u64,
    next: Option<u64>,
    /// The time of the last frame, in nanoseconds.
    last: Option<u64>,
}

impl Seam {
    pub(super) fn new(from: u64) -> Self {
        Self { from, next: None, last: None }
    }

    /// The next frames in the queue come from another encoder, beginning with a key frame.
    pub(super) fn switch(&mut self, to: u64) {
        self.next = Some(to);
    }

    /// The time at which a frame of encoder `from` is sent; `None`: it is not sent.
    pub(super) fn judge(&mut self, from: u64, time: u64) -> Option<u64> {
        if self.next == Some(from) {
            (self.from, self.next) = (from, None);
        }
        if self.from != from {
            return None;
        }
        let time = self.last.map_or(time, |last| time.max(last.saturating_add(STEP)));
        self.last = Some(time);
        Some(time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn the_former_encoder_ends_where_the_next_one_begins() {
        let mut seam = Seam::new(1);
        assert_eq!(seam.judge(1, 10 * MS), Some(10 * MS));
        seam.switch(2);
        assert_eq!(seam.judge(1, 40 * MS), Some(40 * MS), "it was in the queue before");
        assert_eq!(seam.judge(2, 70 * MS), Some(70 * MS));
        assert_eq!(seam.judge(1, 100 * MS), None, "it is late");
        assert_eq!(seam.judge(2, 100 * MS), Some(100 * MS));
    }

    #[test]
    fn time_never_goes_back() {
        let mut seam = Seam::new(1);
        assert_eq!(seam.judge(1, 66 * MS), Some(66 * MS));
        seam.switch(2);
        assert_eq!(seam.judge(2, 33 * MS), Some(67 * MS));
        assert_eq!(seam.judge(2, 66 * MS), Some(68 * MS));
        assert_eq!(seam.judge(2, 99 * MS), Some(99 * MS));
    }

    #[test]
    fn a_second_switch_before_the_first_one_shows_drops_what_is_between() {
        let mut seam = Seam::new(1);
        seam.switch(2);
        seam.switch(3);
        assert_eq!(seam.judge(1, 0), Some(0));
        assert_eq!(seam.judge(2, 10 * MS), None);
        assert_eq!(seam.judge(3, 20 * MS), Some(20 * MS));
        seam.switch(2);
        seam.switch(3);
        assert_eq!(seam.judge(2, 30 * MS), None);
        assert_eq!(seam.judge(3, 40 * MS), Some(40 * MS));
    }
}
