//! Who may send to an end, and whether messages still come. Pure: times go in, effects come out.
//!
//! The first peer that sends on an exclusive channel holds it: messages of others are dropped. It is free again when
//! that peer's channel closes, or when its messages stop (`hold`).

use std::time::Duration;

use callbin_protocol::PeerId;

use super::notice::Notice;

/// The uid of a peer, if it is known.
pub type Who = Option<PeerId>;

/// What has to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// Send this message on the channel with this key.
    Tell(u64, Notice),
    /// Report this about the peer.
    Report(Who, Change),
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// The peer holds the channel.
    Held,
    /// The peer no longer holds the channel; nobody does.
    Free,
    /// The peer's messages have stopped: run the command.
    Stale,
    /// Messages come again, or for the first time.
    Live,
}

/// The state of one label.
#[derive(Debug)]
pub struct Floor {
    exclusive: bool,
    hold: Option<Duration>,
    /// The open channels and their peers, in the order of opening.
    members: Vec<(u64, Who)>,
    holder: Option<u64>,
    /// While messages come: who sent the last one, and when.
    live: Option<(Who, Duration)>,
    /// When the messages last stopped.
    stopped: Option<Duration>,
}

impl Floor {
    /// A channel that nobody holds.
    pub fn new(exclusive: bool, hold: Option<Duration>) -> Self {
        Self { exclusive, hold, members: Vec::new(), holder: None, live: None, stopped: None }
    }

    /// The channel `key` is open.
    pub fn opened(&mut self, key: u64, who: Who) -> Vec<Effect> {
        self.members.push((key, who));
        match self.holder.filter(|_| self.exclusive) {
            Some(holder) => vec![Effect::Tell(key, self.held(holder, key))],
            None if self.exclusive => vec![Effect::Tell(key, Notice::Free)],
            None => Vec::new(),
        }
    }

    /// A message came on the channel `key`. Returns whether it goes to the end.
    pub fn message(&mut self, now: Duration, key: u64) -> (bool, Vec<Effect>) {
        let mut effects = Vec::new();
        if self.exclusive && self.holder.is_none() {
            self.holder = Some(key);
            let tell = |(member, _): &(u64, Who)| Effect::Tell(*member, self.held(key, *member));
            effects.extend(self.members.iter().map(tell));
            effects.push(Effect::Report(self.who(key), Change::Held));
        }
        let passes = !self.exclusive || self.holder == Some(key);
        if passes && self.hold.is_some() {
            let who = self.who(key);
            if self.live.replace((who.clone(), now)).is_none() {
                effects.push(Effect::Report(who, Change::Live));
            }
        }
        (passes, effects)
    }

    /// The channel `key` is closed.
    pub fn closed(&mut self, key: u64) -> Vec<Effect> {
        let who = self.who(key);
        self.members.retain(|(member, _)| *member != key);
        if self.holder == Some(key) { self.release(who) } else { Vec::new() }
    }

    /// Looks at the time.
    pub fn tick(&mut self, now: Duration) -> Vec<Effect> {
        if self.deadline().is_some_and(|deadline| deadline <= now) { self.stop(now) } else { Vec::new() }
    }

    /// Messages have stopped.
    pub fn stop(&mut self, now: Duration) -> Vec<Effect> {
        let Some((who, _)) = self.live.take() else { return Vec::new() };
        self.stopped = Some(now);
        let mut effects = vec![Effect::Report(who.clone(), Change::Stale)];
        if self.holder.is_some() {
            effects.extend(self.release(who));
        }
        effects
    }

    /// When the messages have stopped, unless another one comes.
    pub fn deadline(&self) -> Option<Duration> {
        self.live.as_ref().zip(self.hold).map(|((_, last), hold)| *last + hold)
    }

    /// Whether a message that came at `came` has waited for too long: its time is over, or the messages have stopped
    /// since. It must not undo what was done because they stopped.
    pub fn is_late(&self, now: Duration, came: Duration) -> bool {
        self.hold.is_some_and(|hold| came + hold <= now)
            || self.stopped.is_some_and(|stopped| came <= stopped)
    }

    fn release(&mut self, who: Who) -> Vec<Effect> {
        self.holder = None;
        let tell = self.members.iter().map(|(member, _)| Effect::Tell(*member, Notice::Free));
        tell.chain([Effect::Report(who, Change::Free)]).collect()
    }

    fn held(&self, holder: u64, receiver: u64) -> Notice {
        let by = self.who(holder).map_or_else(|| "caller".into(), |uid| uid.to_string());
        Notice::Held { by, you: holder == receiver }
    }

    fn who(&self, key: u64) -> Who {
        self.members.iter().find(|(member, _)| *member == key).and_then(|(_, who)| who.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn who(name: &str) -> Who {
        Some(PeerId::new(name).unwrap())
    }

    fn held(by: &str, you: bool) -> Notice {
        Notice::Held { by: by.into(), you }
    }

    #[test]
    fn a_plain_channel_is_for_all() {
        let mut floor = Floor::new(false, None);
        assert_eq!(floor.opened(1, who("a")), []);
        assert_eq!(floor.opened(2, who("b")), []);
        for key in [1, 2, 1] {
            assert_eq!(floor.message(MS, key), (true, vec![]));
        }
        assert_eq!(floor.deadline(), None);
        assert_eq!(floor.closed(1), []);
        assert_eq!(floor.stop(MS), []);
    }

    #[test]
    fn the_first_to_send_holds_an_exclusive_channel_until_it_leaves() {
        let mut floor = Floor::new(true, None);
        assert_eq!(floor.opened(1, who("a")), [Effect::Tell(1, Notice::Free)]);
        floor.opened(2, None);
        let (passes, effects) = floor.message(MS, 1);
        assert!(passes);
        assert_eq!(
            effects,
            [
                Effect::Tell(1, held("a", true)),
                Effect::Tell(2, held("a", false)),
                Effect::Report(who("a"), Change::Held)
            ]
        );
        assert_eq!(floor.message(MS, 2), (false, vec![]));
        assert_eq!(floor.message(MS, 1), (true, vec![]));
        assert_eq!(floor.opened(3, who("c")), [Effect::Tell(3, held("a", false))]);
        assert_eq!(floor.closed(2), []);
        assert_eq!(floor.closed(1), [Effect::Tell(3, Notice::Free), Effect::Report(who("a"), Change::Free)]);
        assert!(floor.message(MS, 3).0);
    }

    #[test]
    fn messages_that_stop_are_noticed_once() {
        let mut floor = Floor::new(false, Some(500 * MS));
        floor.opened(1, who("a"));
        assert_eq!(floor.deadline(), None, "not before the first message");
        assert_eq!(floor.message(10 * MS, 1).1, [Effect::Report(who("a"), Change::Live)]);
        assert_eq!(floor.message(400 * MS, 1).1, []);
        assert_eq!(floor.deadline(), Some(900 * MS));
        assert_eq!(floor.tick(899 * MS), []);
        assert_eq!(floor.tick(900 * MS), [Effect::Report(who("a"), Change::Stale)]);
        assert_eq!(floor.tick(2000 * MS), []);
        assert_eq!(floor.message(3000 * MS, 1).1, [Effect::Report(who("a"), Change::Live)]);
    }

    #[test]
    fn a_channel_that_closes_stops_its_messages() {
        let mut floor = Floor::new(false, Some(500 * MS));
        floor.opened(1, who("a"));
        floor.message(10 * MS, 1);
        floor.closed(1);
        assert_eq!(floor.tick(510 * MS), [Effect::Report(who("a"), Change::Stale)]);
    }

    #[test]
    fn messages_that_have_waited_too_long_are_late() {
        let mut floor = Floor::new(false, Some(500 * MS));
        floor.opened(1, who("a"));
        floor.message(10 * MS, 1);
        assert!(!floor.is_late(509 * MS, 10 * MS) && floor.is_late(510 * MS, 10 * MS));
        floor.message(400 * MS, 1);
        assert!(floor.is_late(510 * MS, 10 * MS), "also while others come");
        floor.stop(450 * MS);
        floor.message(460 * MS, 1);
        assert!(floor.is_late(470 * MS, 400 * MS), "the messages have stopped since");
        assert!(!floor.is_late(470 * MS, 460 * MS));
    }

    #[test]
    fn without_a_time_no_message_is_late() {
        let mut floor = Floor::new(true, None);
        floor.opened(1, who("a"));
        floor.message(MS, 1);
        floor.stop(2 * MS);
        assert!(!floor.is_late(Duration::MAX, MS));
    }

    #[test]
    fn a_silent_holder_loses_the_channel() {
        let mut floor = Floor::new(true, Some(500 * MS));
        floor.opened(1, who("a"));
        floor.opened(2, who("b"));
        floor.message(Duration::ZERO, 1);
        assert!(!floor.message(400 * MS, 2).0, "others do not keep it alive");
        assert_eq!(
            floor.tick(500 * MS),
            [
                Effect::Report(who("a"), Change::Stale),
                Effect::Tell(1, Notice::Free),
                Effect::Tell(2, Notice::Free),
                Effect::Report(who("a"), Change::Free)
            ]
        );
        assert!(floor.message(501 * MS, 2).0);
        assert!(!floor.message(502 * MS, 1).0);
    }

    #[test]
    fn another_holder_in_time_keeps_it_live() {
        let mut floor = Floor::new(true, Some(500 * MS));
        floor.opened(1, who("a"));
        floor.opened(2, who("b"));
        floor.message(Duration::ZERO, 1);
        floor.closed(1);
        let (passes, effects) = floor.message(300 * MS, 2);
        assert!(passes && !effects.contains(&Effect::Report(who("b"), Change::Live)));
        assert_eq!(floor.tick(500 * MS), []);
        assert_eq!(floor.stop(600 * MS).first(), Some(&Effect::Report(who("b"), Change::Stale)));
    }
}
