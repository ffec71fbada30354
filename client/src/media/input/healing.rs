//! When a source is opened and closed, and when its card replaces it. Pure.
//!
//! A source has one or two parts: a picture, sound. A part without buffers is lost: its card is shown. The source is
//! opened again, after a pause that grows, when it fails or ends, or when a part stops.

use std::time::Duration;

/// A part without buffers for this long is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// A source that has delivered nothing for this long after it was opened is opened again. A network may need the time.
const OPENING: Duration = Duration::from_secs(10);
/// The first and the longest pause before the source is opened again.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// A source that was open for this long is stable: the pauses begin anew.
const STABLE: Duration = Duration::from_secs(10);
/// Why a part is lost that came to its end.
const ENDED: &str = "it has ended";

/// What happens to a source that came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AtEnd {
    /// Nothing: it is over.
    Stay,
    /// It begins again, without a pause.
    Repeat,
    /// It has failed.
    Fail,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Input {
    /// A buffer of this part came.
    Fed(usize),
    /// The source failed.
    Failed(String),
    /// This part came to its end, and another one may go on.
    PartEnded(usize),
    /// The source came to its end.
    Ended,
    /// Time went by.
    Time,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// Open the source.
    Open,
    /// Close the source.
    Close,
    /// Show the card of this part, and report why.
    Lost(usize, String),
    /// Report that the part is back.
    Back(usize),
}

/// The state of one source.
#[derive(Debug)]
pub(super) struct Healing {
    at_end: AtEnd,
    parts: Vec<Part>,
    state: State,
    pause: Duration,
}

#[derive(Debug)]
struct Part {
    /// `picture` or `sound`.
    name: &'static str,
    lost: bool,
    /// Whether a buffer came since the source was opened.
    fed: bool,
    /// Whether the part came to its end, as one of a file may do before the other.
    ended: bool,
    /// When the last buffer came, the part came to its end, or the source was opened.
    since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open(Duration),
    /// When to open it again; `None` if it is over.
    Closed(Option<Duration>),
}

impl Healing {
    /// A source that is to be opened at once.
    pub(super) fn new(parts: &[&'static str], at_end: AtEnd) -> Self {
        let part = |name| Part { name, lost: false, fed: false, ended: false, since: Duration::ZERO };
        Self {
            at_end,
            parts: parts.iter().copied().map(part).collect(),
            state: State::Closed(Some(Duration::ZERO)),
            pause: FIRST_PAUSE,
        }
    }

    /// Whether the part's card is shown.
    pub(super) fn is_lost(&self, part: usize) -> bool {
        self.parts.get(part).is_some_and(|part| part.lost)
    }

    /// What to do at `now` about an input.
    pub(super) fn handle(&mut self, now: Duration, input: Input) -> Vec<Effect> {
        match input {
            Input::Fed(part) => self.fed(now, part),
            Input::Failed(reason) if self.is_open() => self.close(now, Some(&reason)),
            Input::PartEnded(part) if self.is_open() => self.part_ended(now, part),
            Input::Ended if self.is_open() => self.ended(now),
            Input::Failed(_) | Input::PartEnded(_) | Input::Ended => Vec::new(),
            Input::Time => self.time(now),
        }
    }

    /// When [`Input::Time`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let watched = |part: &&Part| !part.lost || (part.fed && !part.ended && self.is_open());
        let parts = self.parts.iter().filter(watched).map(|part| part.since + PATIENCE);
        let state = match self.state {
            State::Open(since) if !self.has_fed() => Some(since + OPENING),
            State::Open(_) => self.over(),
            State::Closed(until) => until,
        };
        parts.chain(state).min()
    }

    fn is_open(&self) -> bool {
        matches!(self.state, State::Open(_))
    }

    fn has_fed(&self) -> bool {
        self.parts.iter().any(|part| part.fed)
    }

    /// When the source counts as ended although it does not say so: all that it delivered has ended, and it may lack a part.
    fn over(&self) -> Option<Duration> {
        let mut fed = self.parts.iter().filter(|part| part.fed);
        let is_over = self.has_fed() && fed.clone().all(|part| part.ended);
        let last = fed.by_ref().map(|part| part.since).max();
        last.filter(|_| is_over).map(|last| last + PATIENCE)
    }

    fn fed(&mut self, now: Duration, number: usize) -> Vec<Effect> {
        let Some(part) = self.parts.get_mut(number) else { return Vec::new() };
        (part.fed, part.since) = (true, now);
        let was_lost = std::mem::replace(&mut part.lost, false);
        was_lost.then_some(Effect::Back(number)).into_iter().collect()
    }

    fn part_ended(&mut self, now: Duration, number: usize) -> Vec<Effect> {
        let at_end = self.at_end;
        let Some(part) = self.parts.get_mut(number).filter(|_| at_end != AtEnd::Fail) else {
            return Vec::new();
        };
        (part.ended, part.since) = (true, now);
        // A loop may begin again before the part is missed.
        let is_lost = part.fed && at_end == AtEnd::Stay && !std::mem::replace(&mut part.lost, true);
        is_lost.then(|| Effect::Lost(number, ENDED.into())).into_iter().collect()
    }

    fn time(&mut self, now: Duration) -> Vec<Effect> {
        if self.is_open() && self.over().is_some_and(|over| now >= over) {
            return self.ended(now);
        }
        let mut effects = Vec::new();
        let seconds = PATIENCE.as_secs();
        let mut stops = false;
        for (number, part) in self.parts.iter_mut().enumerate() {
            let is_late = now >= part.since + PATIENCE;
            stops |= is_late && part.fed && !part.ended;
            if is_late && !std::mem::replace(&mut part.lost, true) {
                let late = || format!("no {} for {seconds} s", part.name);
                effects.push(Effect::Lost(number, if part.ended { ENDED.into() } else { late() }));
            }
        }
        match self.state {
            State::Open(_) if stops => effects.extend(self.close(now, None)),
            State::Open(since) if !self.has_fed() && now >= since + OPENING => {
                effects.extend(self.close(now, None));
            }
            State::Closed(Some(until)) if now >= until => effects.extend(self.open(now)),
            State::Open(_) | State::Closed(_) => {}
        }
        effects
    }

    fn open(&mut self, now: Duration) -> Vec<Effect> {
        for part in &mut self.parts {
            (part.fed, part.ended) = (false, false);
            if !part.lost {
                part.since = now;
            }
        }
        self.state = State::Open(now);
        vec![Effect::Open]
    }

    fn ended(&mut self, now: Duration) -> Vec<Effect> {
        match self.at_end {
            AtEnd::Repeat if self.has_fed() => {
                let since = if let State::Open(since) = self.state { since } else { now };
                let at = now.max(since + FIRST_PAUSE);
                self.state = State::Closed(Some(at));
                // A source that stopped before its end is not late at once.
                self.parts.iter_mut().filter(|part| !part.lost).for_each(|part| part.since = now);
                let mut effects = vec![Effect::Close];
                if at <= now {
                    effects.extend(self.open(now));
                }
                effects
            }
            AtEnd::Stay if self.has_fed() => {
                let effects = self.close(now, Some(ENDED));
                self.state = State::Closed(None);
                effects
            }
            _ => self.close(now, Some(ENDED)),
        }
    }

    /// Closes the source for a pause. With a reason, all parts are lost at once.
    fn close(&mut self, now: Duration, reason: Option<&str>) -> Vec<Effect> {
        if let State::Open(since) = self.state
            && self.has_fed()
            && now >= since + STABLE
        {
            self.pause = FIRST_PAUSE;
        }
        self.state = State::Closed(Some(now + self.pause));
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        let mut effects = vec![Effect::Close];
        for (number, part) in self.parts.iter_mut().enumerate() {
            if let Some(reason) = reason
                && !std::mem::replace(&mut part.lost, true)
            {
                effects.push(Effect::Lost(number, reason.to_owned()));
            }
        }
        effects
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{AtEnd::*, Effect::*, Input::*, *};

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn opened(parts: &[&'static str], at_end: AtEnd) -> Healing {
        let mut it = Healing::new(parts, at_end);
        assert_eq!(it.deadline(), Some(ms(0)));
        assert_eq!(it.handle(ms(0), Time), [Open]);
        it
    }

    fn lost(part: usize, why: &str) -> Effect {
        Lost(part, why.into())
    }

    #[test]
    fn a_source_that_delivers_is_left_alone() {
        let mut it = opened(&["picture"], Fail);
        for at in (100..60_000).step_by(100) {
            assert_eq!(it.handle(ms(at), Fed(0)), []);
            assert_eq!(it.handle(ms(at), Time), []);
        }
        assert!(!it.is_lost(0));
    }

    #[test]
    fn a_failure_shows_the_card_and_the_live_picture_comes_back() {
        let mut it = opened(&["picture"], Fail);
        it.handle(ms(100), Fed(0));
        assert_eq!(it.handle(ms(500), Failed("unplugged".into())), [Close, lost(0, "unplugged")]);
        assert!(it.is_lost(0));
        assert_eq!(it.handle(ms(501), Failed("again".into())), []);
        assert_eq!(it.deadline(), Some(ms(750)));
        assert_eq!(it.handle(ms(749), Time), []);
        assert_eq!(it.handle(ms(750), Time), [Open]);
        assert!(it.is_lost(0), "until a picture comes");
        assert_eq!(it.handle(ms(900), Fed(0)), [Back(0)]);
        assert!(!it.is_lost(0));
    }

    #[test]
    fn a_source_without_pictures_for_two_seconds_is_opened_again() {
        let mut it = opened(&["picture"], Fail);
        it.handle(ms(1000), Fed(0));
        assert_eq!(it.deadline(), Some(ms(3000)));
        assert_eq!(it.handle(ms(2999), Time), []);
        assert_eq!(it.handle(ms(3000), Time), [lost(0, "no picture for 2 s"), Close]);
        assert_eq!(it.handle(ms(3250), Time), [Open]);
    }

    #[test]
    fn a_slow_start_shows_the_card_and_goes_on() {
        let mut it = opened(&["picture"], Fail);
        assert_eq!(it.handle(ms(2000), Time), [lost(0, "no picture for 2 s")]);
        assert_eq!(it.deadline(), Some(ms(10_000)));
        assert_eq!(it.handle(ms(9000), Fed(0)), [Back(0)]);
        let mut it = opened(&["picture"], Fail);
        it.handle(ms(2000), Time);
        assert_eq!(it.handle(ms(10_000), Time), [Close]);
        assert_eq!(it.handle(ms(10_250), Time), [Open]);
    }

    #[test]
    fn pauses_grow_to_a_bound_and_begin_anew_after_a_stable_time() {
        let mut it = opened(&["picture"], Fail);
        let (mut now, mut pauses) = (ms(0), Vec::new());
        for _ in 0..7 {
            it.handle(now, Fed(0));
            it.handle(now, Failed("gone".into()));
            let until = it.deadline().unwrap();
            pauses.push((until - now).as_millis());
            now = until;
            assert_eq!(it.handle(now, Time), [Open]);
        }
        assert_eq!(pauses, [250, 500, 1000, 2000, 2000, 2000, 2000]);
        it.handle(now + STABLE, Fed(0));
        it.handle(now + STABLE, Failed("gone".into()));
        assert_eq!(it.deadline(), Some(now + STABLE + FIRST_PAUSE));
    }

    #[test]
    fn a_stream_that_came_to_its_end_stays_there() {
        let mut it = opened(&["picture"], Stay);
        it.handle(ms(100), Fed(0));
        assert_eq!(it.handle(ms(200), Ended), [Close, lost(0, "it has ended")]);
        assert_eq!(it.deadline(), None);
        assert_eq!(it.handle(ms(100_000), Time), []);
        let mut it = opened(&["picture"], Stay);
        it.handle(ms(100), Ended);
        assert!(it.deadline().is_some(), "an empty one may get something later");
    }

    #[test]
    fn a_loop_begins_again_without_a_card() {
        let mut it = opened(&["picture", "sound"], Repeat);
        it.handle(ms(5000), Fed(0));
        it.handle(ms(3500), Fed(1));
        assert_eq!(it.handle(ms(5000), Ended), [Close, Open]);
        assert_eq!(it.handle(ms(5100), Time), []);
        it.handle(ms(5200), Fed(0));
        assert_eq!(it.handle(ms(5210), Ended), [Close], "a short one is not opened all the time");
        assert_eq!(it.handle(ms(5249), Time), []);
        assert_eq!(it.handle(ms(5250), Time), [Open]);
        assert_eq!(it.handle(ms(5260), Ended), [Close, lost(0, "it has ended"), lost(1, "it has ended")]);
    }

    #[test]
    fn a_loop_whose_picture_ends_first_plays_its_sound_to_the_end() {
        let mut it = opened(&["picture", "sound"], Repeat);
        it.handle(ms(2000), Fed(0));
        it.handle(ms(2000), Fed(1));
        assert_eq!(it.handle(ms(2000), PartEnded(0)), [], "not missed yet");
        for at in (2100..4000).step_by(100) {
            it.handle(ms(at), Fed(1));
            assert_eq!(it.handle(ms(at), Time), []);
        }
        it.handle(ms(4000), Fed(1));
        assert_eq!(it.handle(ms(4000), Time), [lost(0, "it has ended")]);
        for at in (4100..60_000).step_by(100) {
            it.handle(ms(at), Fed(1));
            assert_eq!(it.handle(ms(at), Time), [], "the sound goes on");
            assert!(it.deadline().unwrap() > ms(at), "nothing to do before");
        }
        assert_eq!(it.handle(ms(60_000), PartEnded(1)), []);
        assert_eq!(it.handle(ms(60_000), Ended), [Close, Open]);
        assert_eq!(it.handle(ms(60_100), Fed(0)), [Back(0)]);
        assert_eq!(it.handle(ms(60_100), Fed(1)), []);
    }

    #[test]
    fn a_file_whose_sound_ends_first_is_shown_to_its_end_and_not_again() {
        let mut it = opened(&["picture", "sound"], Stay);
        it.handle(ms(100), Fed(0));
        it.handle(ms(100), Fed(1));
        assert_eq!(it.handle(ms(200), PartEnded(1)), [lost(1, "it has ended")]);
        for at in (200..9000).step_by(100) {
            it.handle(ms(at), Fed(0));
            assert_eq!(it.handle(ms(at), Time), []);
        }
        assert_eq!(it.handle(ms(9000), PartEnded(0)), [lost(0, "it has ended")]);
        assert_eq!(it.handle(ms(9000), Ended), [Close]);
        assert_eq!(it.deadline(), None);
    }

    #[test]
    fn a_file_without_sound_ends_with_its_picture() {
        for (at_end, effects) in [(Stay, vec![Close]), (Repeat, vec![Close, Open])] {
            let mut it = opened(&["picture", "sound"], at_end);
            it.handle(ms(1900), Fed(0));
            assert_eq!(it.handle(ms(2000), Time), [lost(1, "no sound for 2 s")]);
            it.handle(ms(3000), Fed(0));
            it.handle(ms(3000), PartEnded(0));
            // The sound could still begin.
            assert_eq!(it.deadline(), Some(ms(5000)));
            assert_eq!(it.handle(ms(4999), Time), []);
            assert_eq!(it.handle(ms(5000), Time), effects);
        }
    }

    #[test]
    fn a_part_of_a_live_source_that_ends_is_missed_like_any_other() {
        let mut it = opened(&["picture", "sound"], Fail);
        it.handle(ms(1000), Fed(0));
        it.handle(ms(2500), Fed(1));
        assert_eq!(it.handle(ms(2500), PartEnded(0)), []);
        assert_eq!(it.handle(ms(3000), Time), [lost(0, "no picture for 2 s"), Close]);
    }

    #[test]
    fn the_parts_of_one_source_are_lost_each_for_itself() {
        let mut it = opened(&["picture", "sound"], Fail);
        it.handle(ms(1900), Fed(0));
        assert_eq!(it.handle(ms(2000), Time), [lost(1, "no sound for 2 s")], "a camera without sound");
        for at in (2000..30_000).step_by(500) {
            it.handle(ms(at), Fed(0));
            assert_eq!(it.handle(ms(at), Time), [], "its picture goes on");
        }
        assert_eq!(it.handle(ms(30_000), Fed(1)), [Back(1)]);
        it.handle(ms(31_000), Fed(1));
        assert_eq!(it.handle(ms(31_500), Time), [lost(0, "no picture for 2 s"), Close]);
        assert!(!it.is_lost(1), "not yet");
        assert_eq!(it.handle(ms(31_750), Time), [Open]);
        assert_eq!(it.handle(ms(31_900), Fed(1)), []);
    }

    proptest! {
        #[test]
        fn open_and_close_alternate_and_events_are_rare(
            steps in proptest::collection::vec((0u64..3000, 0usize..7), 1..300),
            at_end in prop_oneof![Just(Stay), Just(Repeat), Just(Fail)],
        ) {
            let mut it = Healing::new(&["picture", "sound"], at_end);
            let (mut now, mut open, mut opens) = (ms(0), false, 0);
            let mut shown = [false; 2];
            for (wait, what) in steps {
                now += ms(wait);
                let input = match what {
                    0 | 1 => Fed(what),
                    2 => Failed("x".into()),
                    3 => Ended,
                    4 | 5 => PartEnded(what - 4),
                    _ => Time,
                };
                for effect in it.handle(now, input) {
                    match effect {
                        Open => { prop_assert!(!open); open = true; opens += 1; }
                        Close => { prop_assert!(open); open = false; }
                        Lost(part, _) => { prop_assert!(!shown[part]); shown[part] = true; }
                        Back(part) => { prop_assert!(shown[part]); shown[part] = false; }
                    }
                }
                prop_assert_eq!([it.is_lost(0), it.is_lost(1)], shown);
            }
            prop_assert!(opens <= 1 + now.as_millis() / FIRST_PAUSE.as_millis());
        }
    }
}
