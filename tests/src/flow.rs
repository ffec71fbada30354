//! Counts frames between two clients, to check that nothing else disturbs them.

use crate::client::{Client, Event};

/// Two clients, each with its uid.
pub type Pair<'a> = [(&'a mut Client, &'a str); 2];

/// The frame counters of two clients, for both directions.
#[derive(Debug)]
pub struct Flow([Event; 2]);

impl Flow {
    /// Reads the current counters.
    #[track_caller]
    pub fn between([(a, a_uid), (b, b_uid)]: &mut Pair) -> Self {
        Self([a.fresh_stats(b_uid), b.fresh_stats(a_uid)])
    }

    /// Fails unless each client has decoded 90 % of the frames that the other sent since `since`, and each sent at
    /// least two thirds of `fps`. A busy machine encodes fewer frames, but not below that; an encoder that waits for a
    /// peer does.
    #[track_caller]
    pub fn assert_undisturbed(&self, since: &Self, fps: f64) {
        let rate = |of: usize, counter: &str| {
            let (from, to) = (&since.0[of], &self.0[of]);
            (to.number(counter) - from.number(counter)) * 1000.0 / (to.ms() - from.ms()) as f64
        };
        for (receiver, sender) in [(0, 1), (1, 0)] {
            let (received, sent) = (rate(receiver, "/video/frames"), rate(sender, "/sent/video_frames"));
            let uid = self.0[receiver].peer().unwrap_or_default();
            assert!(sent >= fps / 1.5, "{uid} sent only {sent:.1} frames a second");
            assert!(received >= 0.9 * sent, "{received:.1} of {uid}'s {sent:.1} frames a second came");
        }
    }
}
