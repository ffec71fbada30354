//! Which encoder of a codec feeds which peer, and at which bit rate. Pure.
//!
//! All peers of an encoder get the same bits. If it followed the best path, a peer with a worse one would lose frames; if it
//! followed the worst, one bad path would lower the picture of all peers. So there are up to three encoders, of the whole picture, of
//! half and of a quarter of its sides, and each follows the slowest of those peers that are nearly as good as its best one.
//! The best peer always gets the whole picture's encoder, which reduces the picture itself if even that path is bad.

use std::time::Duration;

/// A peer stays with an encoder while its path carries this much of what the best one there carries, in percent; so no
/// peer lowers the bit rate of another by more than this.
const KEEP: u64 = 60;
/// With less than that it gets a worse one after this time, because an estimate may fall for a moment; with less than half of that
/// at once, because the peer would lose frames.
const MOMENT: Duration = Duration::from_millis(500);
/// It gets a better encoder when its path has carried this much of what the best one there carries, for this long.
const BACK: u64 = 75;
const LONG: Duration = Duration::from_secs(5);
/// A peer that falls back this soon after it got a better encoder waits twice as long the next time, up to this.
const SOON: Duration = Duration::from_secs(10);
const LONGEST: Duration = Duration::from_secs(80);
/// An encoder may send this much more than it did lately, in percent, without being too much for its peers.
const MORE: u64 = 125;
/// A path whose share is above this much of what it gets may carry more than is known: what is not sent is not measured. Both
/// in percent.
const UNUSED: u64 = 130;
const UNKNOWN: u64 = 150;
/// Of more peers than this, the slowest one does not decide the bit rate of their encoder.
const SLOWEST: usize = 10;

/// The picture of an encoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Tier {
    /// As configured.
    #[default]
    Full,
    /// Half of its width and height.
    Half,
    /// A quarter of them.
    Quarter,
}

impl Tier {
    /// All, from the largest.
    pub const ALL: [Self; 3] = [Self::Full, Self::Half, Self::Quarter];

    /// Width and height are divided by this.
    pub fn divisor(self) -> u32 {
        match self {
            Self::Full => 1,
            Self::Half => 2,
            Self::Quarter => 4,
        }
    }

    /// Its name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Half => "half",
            Self::Quarter => "quarter",
        }
    }
}

/// A peer, and the bit rate of the picture that its path carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::media) struct Line {
    pub(in crate::media) id: u64,
    pub(in crate::media) bits: u64,
}

/// What the encoders have sent lately, in bit/s; `None` where that is not known.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::media) struct Sent(pub(in crate::media) [Option<u64>; 3]);

impl Sent {
    fn of(self, tier: Tier) -> Option<u64> {
        let Self([full, half, quarter]) = self;
        match tier {
            Tier::Full => full,
            Tier::Half => half,
            Tier::Quarter => quarter,
        }
    }
}

/// The peers of one track and codec.
#[derive(Debug)]
pub(in crate::media) struct Tiers {
    /// The smallest picture there may be.
    last: Tier,
    members: Vec<Member>,
}

#[derive(Debug)]
struct Member {
    id: u64,
    tier: Tier,
    /// Since when the tier is too much.
    worse: Option<Duration>,
    /// Since when a better tier is possible, and the worst one that was.
    better: Option<(Duration, Tier)>,
    /// When it last got a better tier, and how long the next one has to be possible.
    rose: Option<Duration>,
    patience: Duration,
}

impl Tiers {
    /// For pictures that may be reduced down to `last`.
    pub(in crate::media) fn new(last: Tier) -> Self {
        Self { last, members: Vec::new() }
    }

    /// Reduces no picture any more: another encoder does not work here.
    pub(in crate::media) fn keep_to_one(&mut self) {
        self.last = Tier::Full;
        self.members.iter_mut().for_each(|member| member.tier = Tier::Full);
    }

    /// The tier of each peer, now that their paths carry this much.
    pub(in crate::media) fn arrange(
        &mut self,
        now: Duration,
        lines: &[Line],
        sent: Sent,
    ) -> Vec<(u64, Tier)> {
        self.members.retain(|member| lines.iter().any(|line| line.id == member.id));
        let wishes = self.wishes(lines, sent);
        for wish in &wishes {
            match self.members.iter_mut().find(|member| member.id == wish.id) {
                Some(member) => member.follow(now, *wish),
                None => self.members.push(Member::new(wish.id, wish.tier)),
            }
        }
        // The encoder of the whole picture never waits for its first peer.
        if !self.members.iter().any(|member| member.tier == Tier::Full) {
            let best = |id: u64| wishes.iter().any(|wish| (wish.id, wish.tier) == (id, Tier::Full));
            let best = self.members.iter_mut().filter(|member| best(member.id));
            best.for_each(|member| *member = Member::new(member.id, Tier::Full));
        }
        self.members.iter().map(|member| (member.id, member.tier)).collect()
    }

    /// The tier that suits each peer at the moment: those that are nearly as good as the best one, then the same among the
    /// rest.
    fn wishes(&self, lines: &[Line], sent: Sent) -> Vec<Wish> {
        let mut rest: Vec<Wish> = lines.iter().map(Wish::new).collect();
        let mut wishes = Vec::new();
        for tier in Tier::ALL.into_iter().filter(|tier| *tier <= self.last) {
            let best = rest.iter().map(|wish| wish.bits).max().unwrap_or(0);
            let needs = sent.of(tier).map_or(best, |sent| best.min(sent * MORE / 100));
            let (fits, others) = rest.into_iter().partition::<Vec<_>, _>(|wish| {
                tier == self.last || wish.bits == best || self.suits(wish, tier, needs, sent)
            });
            wishes.extend(fits.into_iter().map(|wish| Wish { tier, ..wish }));
            rest = others;
            for wish in rest.iter_mut().filter(|wish| self.tier(wish.id) == Some(tier)) {
                wish.is_urgent = wish.bits * 200 < needs * KEEP;
            }
        }
        wishes
    }

    fn tier(&self, id: u64) -> Option<Tier> {
        self.members.iter().find(|member| member.id == id).map(|member| member.tier)
    }

    fn suits(&self, wish: &Wish, tier: Tier, needs: u64, sent: Sent) -> bool {
        match self.tier(wish.id) {
            Some(is) if is > tier => {
                let is_unknown = sent.of(is).is_some_and(|sent| wish.bits >= sent * UNUSED / 100);
                let carries = if is_unknown { wish.bits * UNKNOWN / 100 } else { wish.bits };
                carries * 100 >= needs * BACK
            }
            _ => wish.bits * 100 >= needs * KEEP,
        }
    }
}

/// What suits a peer.
#[derive(Debug, Clone, Copy)]
struct Wish {
    id: u64,
    bits: u64,
    tier: Tier,
    /// Whether its tier is far too much.
    is_urgent: bool,
}

impl Wish {
    fn new(line: &Line) -> Self {
        Self { id: line.id, bits: line.bits, tier: Tier::Full, is_urgent: false }
    }
}

impl Member {
    fn new(id: u64, tier: Tier) -> Self {
        Self { id, tier, worse: None, better: None, rose: None, patience: LONG }
    }

    /// A worse tier soon, a better one after it has been possible for a while.
    fn follow(&mut self, now: Duration, wish: Wish) {
        let passed = |since: Duration| now.saturating_sub(since);
        self.worse = if wish.tier > self.tier { self.worse.or(Some(now)) } else { None };
        self.better = if wish.tier < self.tier {
            let (since, worst) = self.better.unwrap_or((now, wish.tier));
            Some((since, worst.max(wish.tier)))
        } else {
            None
        };
        if self.worse.is_some_and(|since| wish.is_urgent || passed(since) >= MOMENT) {
            let soon = self.rose.is_some_and(|rose| passed(rose) < SOON);
            self.patience = if soon { (self.patience * 2).min(LONGEST) } else { LONG };
            (self.tier, self.worse, self.rose) = (wish.tier, None, None);
        } else if let Some((since, worst)) = self.better
            && passed(since) >= self.patience
        {
            (self.tier, self.better, self.rose) = (worst, None, Some(now));
        }
    }
}

/// The bit rate of an encoder whose peers have paths for `shares`: that of the slowest one that is nearly as good as the best, or
/// that has `enough` for the picture. `None` without peers.
pub(super) fn rate(shares: impl IntoIterator<Item = u64>, enough: u64) -> Option<u64> {
    let mut shares: Vec<u64> = shares.into_iter().collect();
    let best = *shares.iter().max()?;
    let least = (best * KEEP / 100).min(enough);
    shares.retain(|share| *share >= least);
    shares.sort_unstable();
    shares.get(shares.len().saturating_sub(1) / SLOWEST).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Peers 0, 1, 2… with shares in kbit/s, looked at five times a second.
    struct Room {
        tiers: Tiers,
        ms: u64,
        sent: Sent,
    }

    impl Room {
        fn new(last: Tier) -> Self {
            Self { tiers: Tiers::new(last), ms: 0, sent: Sent::default() }
        }

        /// The tiers after this time with these shares.
        fn after(&mut self, ms: u64, shares: &[u64]) -> Vec<Tier> {
            let lines = shares.iter().zip(0..).map(|(kbits, id)| Line { id, bits: kbits * 1000 });
            let lines: Vec<Line> = lines.collect();
            let end = self.ms + ms;
            loop {
                let mut all = self.tiers.arrange(Duration::from_millis(self.ms), &lines, self.sent);
                if self.ms >= end {
                    all.sort_unstable();
                    return all.into_iter().map(|(_, tier)| tier).collect();
                }
                self.ms = end.min(self.ms + 200);
            }
        }
    }

    use Tier::{Full, Half, Quarter};

    #[test]
    fn a_lone_peer_needs_no_other_encoder_whatever_its_path_carries() {
        let mut room = Room::new(Quarter);
        for share in [1000, 30, 0, 500, 1000, 1] {
            assert_eq!(room.after(10_000, &[share]), [Full]);
        }
        assert_eq!(room.after(0, &[]), []);
    }

    #[test]
    fn peers_with_equally_bad_paths_share_the_first_encoder() {
        let mut room = Room::new(Quarter);
        assert_eq!(room.after(0, &[100, 90, 61]), [Full; 3]);
    }

    #[test]
    fn a_path_that_is_far_worse_goes_down_at_once() {
        let mut room = Room::new(Quarter);
        room.after(0, &[1000, 1000]);
        assert_eq!(room.after(0, &[1000, 290]), [Full, Half]);
        room.after(0, &[1000, 290, 290]);
        assert_eq!(room.after(0, &[1000, 290, 80]), [Full, Half, Quarter]);
    }

    #[test]
    fn a_worse_path_goes_down_soon_and_up_after_a_while() {
        let mut room = Room::new(Quarter);
        assert_eq!(room.after(10_000, &[1000, 1000]), [Full, Full]);
        assert_eq!(room.after(0, &[1000, 601]), [Full, Full]);
        assert_eq!(room.after(400, &[1000, 310]), [Full, Full], "for a moment");
        assert_eq!(room.after(10_000, &[1000, 600]), [Full, Full]);
        assert_eq!(room.after(400, &[1000, 590]), [Full, Full]);
        assert_eq!(room.after(200, &[1000, 590]), [Full, Half]);
        assert_eq!(room.after(30_000, &[1000, 740]), [Full, Half], "nearly enough");
        assert_eq!(room.after(4_800, &[1000, 760]), [Full, Half]);
        assert_eq!(room.after(0, &[1000, 700]), [Full, Half]);
        assert_eq!(room.after(4_800, &[1000, 760]), [Full, Half], "it was interrupted");
        assert_eq!(room.after(200, &[1000, 760]), [Full, Full]);
        assert_eq!(room.after(60_000, &[1000, 610]), [Full, Full]);
    }

    #[test]
    fn one_that_falls_back_soon_waits_longer_each_time() {
        let mut room = Room::new(Quarter);
        room.after(0, &[1000, 100]);
        for wait in [5_000, 10_000, 20_000, 40_000, 80_000, 80_000] {
            assert_eq!(room.after(wait - 200, &[1000, 900]), [Full, Half], "{wait}");
            assert_eq!(room.after(400, &[1000, 900]), [Full, Full], "{wait}");
            assert_eq!(room.after(3_000, &[1000, 100]), [Full, Half], "{wait}");
        }
        room.after(81_000, &[1000, 900]);
        room.after(11_000, &[1000, 900]);
        room.after(0, &[1000, 100]);
        assert_eq!(room.after(5_200, &[1000, 900]), [Full, Full], "it was good for long enough");
    }

    #[test]
    fn three_kinds_of_paths_have_three_encoders_and_no_more() {
        let mut room = Room::new(Quarter);
        assert_eq!(room.after(0, &[60, 1000, 300, 900, 200]), [Quarter, Full, Half, Full, Half]);
        assert_eq!(room.after(600, &[60, 1000, 300, 900, 100]), [Quarter, Full, Half, Full, Quarter]);
        let mut small = Room::new(Half);
        assert_eq!(small.after(0, &[1000, 300, 60]), [Full, Half, Half]);
        let mut tiny = Room::new(Full);
        assert_eq!(tiny.after(0, &[1000, 300, 60]), [Full; 3]);
    }

    #[test]
    fn who_is_left_gets_the_whole_picture_at_once() {
        let mut room = Room::new(Quarter);
        assert_eq!(room.after(0, &[100, 1000]), [Half, Full]);
        assert_eq!(room.after(0, &[100]), [Full]);
        assert_eq!(room.after(0, &[100, 1000]), [Half, Full], "a better one comes");
    }

    #[test]
    fn a_peer_that_comes_waits_for_nothing() {
        let mut room = Room::new(Quarter);
        room.after(1000, &[1000]);
        assert_eq!(room.after(0, &[1000, 300, 1000, 100]), [Full, Half, Full, Quarter]);
    }

    #[test]
    fn a_still_picture_needs_less_than_it_might() {
        let mut room = Room::new(Quarter);
        room.after(0, &[1000, 200]);
        // The encoder of the whole picture sends 200, the other one 100: more than 150 can't be seen.
        room.sent = Sent([Some(200_000), Some(100_000), None]);
        assert_eq!(room.after(4_800, &[1000, 150]), [Full, Half]);
        assert_eq!(room.after(400, &[1000, 150]), [Full, Full]);
        room.sent = Sent([Some(200_000), None, None]);
        assert_eq!(room.after(20_000, &[1000, 150]), [Full, Full]);
        // It moves.
        room.sent = Sent([Some(900_000), None, None]);
        assert_eq!(room.after(0, &[1000, 150]), [Full, Half]);
        room.sent = Sent([Some(900_000), Some(150_000), None]);
        assert_eq!(room.after(20_000, &[1000, 150]), [Full, Half], "that is what the path carries");
    }

    #[test]
    fn without_another_encoder_all_have_one() {
        let mut room = Room::new(Quarter);
        room.after(0, &[1000, 100]);
        room.tiers.keep_to_one();
        assert_eq!(room.after(60_000, &[1000, 100]), [Full, Full]);
    }

    /// Whatever the paths do: no peer changes more often than it may, there are few encoders, and the best peer has the best.
    #[test]
    fn any_paths_get_a_picture_that_changes_seldom() {
        let mut random = 1u64;
        let mut next = move |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let mut room = Room::new(Quarter);
        let mut rose = [None; 8];
        let mut last = vec![Full; 8];
        for _ in 0..5000 {
            let shares: Vec<u64> = (0..8).map(|_| 1 + next(1000)).collect();
            let tiers = room.after(200, &shares);
            assert!(tiers.contains(&Full));
            let is_led = last.iter().zip(&tiers).any(|both| both == (&Full, &Full));
            for (peer, (before, after)) in last.iter().zip(&tiers).enumerate() {
                if after < before && is_led {
                    let since: Option<u64> = rose[peer].replace(room.ms);
                    assert!(since.is_none_or(|since| room.ms - since >= 5_000), "{peer}");
                }
            }
            last = tiers;
        }
    }

    #[test]
    fn the_rate_is_that_of_the_slowest_which_is_nearly_as_good_as_the_best() {
        let all = u64::MAX;
        assert_eq!(rate([], all), None);
        assert_eq!(rate([30], all), Some(30));
        assert_eq!(rate([0], all), Some(0));
        assert_eq!(rate([1000, 600, 800], all), Some(600));
        assert_eq!(rate([1000, 599, 800], all), Some(800));
        assert_eq!(rate([1000, 60, 80], 70), Some(80), "enough for the picture");
        assert_eq!(rate((1..=10).map(|n| 1000 - n), all), Some(990));
        assert_eq!(rate((1..=11).map(|n| 1000 - n), all), Some(990), "one of eleven does not count");
    }
}
