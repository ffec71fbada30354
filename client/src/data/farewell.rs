//! The end of a channel, without losing what is under way. Pure.
//!
//! GStreamer 1.22 drops messages of a channel that is closed: at the sender those that have not left, at the receiver those
//! that wait. So each side says `end` after its last message, and `got` when it has heard the other's `end`; the channel is
//! closed when all four were said.

use super::notice::Notice;

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Send this message.
    Say(Notice),
    /// Nothing more comes from the peer.
    PeerIsDone,
    /// Close the channel.
    Close,
}

/// How far both sides are.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    we_ended: bool,
    peer_ended: bool,
    peer_got: bool,
}

impl Farewell {
    /// Our end has no more messages.
    pub(super) fn we_end(&mut self) -> Vec<Step> {
        if std::mem::replace(&mut self.we_ended, true) {
            return Vec::new();
        }
        let mut steps = vec![Step::Say(Notice::End)];
        steps.extend(self.close());
        steps
    }

    /// The peer has no more messages.
    pub(super) fn peer_ends(&mut self) -> Vec<Step> {
        if std::mem::replace(&mut self.peer_ended, true) {
            return Vec::new();
        }
        let mut steps = vec![Step::PeerIsDone, Step::Say(Notice::Got)];
        steps.extend(self.close());
        steps
    }

    /// The peer has heard our last message.
    pub(super) fn peer_got(&mut self) -> Vec<Step> {
        self.peer_got |= self.we_ended;
        self.close().into_iter().collect()
    }

    /// Whether the peer knows these messages, and may take its time.
    pub(super) fn is_answered(&self) -> bool {
        self.peer_got
    }

    fn close(&self) -> Option<Step> {
        (self.we_ended && self.peer_ended && self.peer_got).then_some(Step::Close)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two sides, and the messages under way to each.
    #[derive(Default)]
    struct Pair {
        sides: [Farewell; 2],
        to: [Vec<Notice>; 2],
        done: [bool; 2],
        closed: bool,
    }

    impl Pair {
        fn take(&mut self, side: usize, steps: Vec<Step>) {
            for step in steps {
                match step {
                    Step::Say(notice) => self.to[1 - side].push(notice),
                    Step::PeerIsDone => self.done[side] = true,
                    Step::Close => self.closed = true,
                }
            }
        }

        fn end(&mut self, side: usize) {
            let steps = self.sides[side].we_end();
            self.take(side, steps);
        }

        /// Delivers one message to a side.
        fn deliver(&mut self, side: usize) {
            let steps = match self.to[side].remove(0) {
                Notice::End => self.sides[side].peer_ends(),
                _ => self.sides[side].peer_got(),
            };
            self.take(side, steps);
        }
    }

    #[test]
    fn a_channel_closes_when_both_have_heard_everything() {
        let mut pair = Pair::default();
        pair.end(0);
        pair.deliver(1);
        assert!(pair.done[1] && !pair.done[0], "one direction has ended");
        pair.deliver(0);
        assert!(pair.sides[0].is_answered() && !pair.closed);
        pair.end(1);
        assert!(!pair.closed);
        pair.deliver(0);
        assert!(pair.closed && pair.done[0]);
    }

    #[test]
    fn ends_at_the_same_time_lose_nothing() {
        for order in [[0, 1, 0, 1], [1, 0, 1, 0], [0, 1, 1, 0]] {
            let mut pair = Pair::default();
            pair.end(0);
            pair.end(1);
            for (step, side) in order.into_iter().enumerate() {
                pair.deliver(side);
                assert_eq!(pair.closed, step >= 2, "{order:?}");
            }
        }
    }

    #[test]
    fn messages_that_come_twice_or_too_early_do_nothing() {
        let mut side = Farewell::default();
        assert_eq!(side.peer_got(), []);
        assert_eq!(side.we_end(), [Step::Say(Notice::End)]);
        assert_eq!(side.we_end(), []);
        assert!(!side.is_answered());
        assert_eq!(side.peer_ends(), [Step::PeerIsDone, Step::Say(Notice::Got)]);
        assert_eq!(side.peer_ends(), []);
        assert_eq!(side.peer_got(), [Step::Close]);
    }
}
