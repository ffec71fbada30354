//! Notices that the path to a connected peer is lost, and decides when to look for another one. Pure: each input comes with
//! its time.
//!
//! The old connection stays as long as no new one is connected, so a short outage heals by itself. Beside it, we offer a new
//! connection: the peer may have a new address, and a path that ICE has given up does not come back. One side offers at once,
//! and the other one only if no offer has come for a while, or if it knows that its own addresses have changed.

use std::time::Duration;

/// After this long without a packet from a peer that sends all the time, the path counts as lost.
const SILENCE: Duration = Duration::from_secs(1);
/// The same after our own addresses have changed, for a while.
const SILENCE_AFTER_CHANGE: Duration = Duration::from_millis(400);
const CHANGE_MATTERS: Duration = Duration::from_secs(5);
/// A path that is lost again so soon may be one on which the peer is silent now and then: this needs longer each time.
const LOST_AGAIN: Duration = Duration::from_secs(10);
const LONGEST_SILENCE: Duration = Duration::from_secs(16);
/// A path with a packet that is this young is there.
const ALIVE: Duration = Duration::from_millis(300);
/// The side that offers second waits this long for the offer of the other one.
const COURTESY: Duration = Duration::from_secs(1);
/// An offer that the peer has answered, or the peer's own offer, may take this long to find a path. ICE doubles the time
/// between its checks, so later ones come too rarely.
const ATTEMPT: Duration = Duration::from_secs(4);
/// An offer without an answer is repeated after this long: the peer may be suspended, or signalling may be slow.
const UNANSWERED: Duration = Duration::from_secs(10);
/// The most offers after the old path has come back, without a new connection.
const RENEWALS: u32 = 3;
/// After ICE has given up.
const PAUSE: Duration = Duration::from_secs(1);
/// If we did not look for this long, we were suspended or starved: what the peer has sent meanwhile is not read yet.
const STARVED: Duration = Duration::from_secs(1);

/// What to do, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// Report that the path is lost.
    ReportLost,
    /// Offer a new connection to the peer.
    Offer,
    /// Report that the path is back, this long after the last packet on the old one.
    ReportBack(Duration),
    /// The limit is over: the peer is gone.
    GiveUp,
}

/// The path to one connected peer.
#[derive(Debug)]
pub struct Healing {
    /// The other side is to offer first.
    polite: bool,
    limit: Duration,
    /// Since when it is lost.
    lost: Option<Duration>,
    /// When we offer a new connection; `None` if none is wanted.
    offer_at: Option<Duration>,
    /// How often we may still offer if the old path comes back, after an offer that has led to no new connection yet: the data
    /// channels of the old connection are closed.
    renewals: u32,
    silence: Duration,
    looked: Option<Duration>,
    /// Silence says nothing before this time.
    deaf_until: Duration,
    changed: Option<Duration>,
    back: Option<Duration>,
}

impl Healing {
    /// For a peer that is given up once its path is lost for longer than `limit`. The polite side waits for an offer first.
    pub fn new(polite: bool, limit: Duration) -> Self {
        Self {
            polite,
            limit,
            lost: None,
            offer_at: None,
            renewals: 0,
            silence: SILENCE,
            looked: None,
            deaf_until: Duration::ZERO,
            changed: None,
            back: None,
        }
    }

    /// A new connection is wanted for another reason; the other side offers it if we are polite.
    pub fn renew(&mut self, now: Duration, polite: bool) {
        self.polite = polite;
        if !polite {
            self.renewals = RENEWALS;
            self.offer_at = Some(now);
        }
    }

    /// Whether it is lost.
    pub fn is_lost(&self) -> bool {
        self.lost.is_some()
    }

    /// Looks at the path, several times a second. `silence` is the time since the last packet, `None` if it means nothing: the
    /// peer sends no media. No offer is made unless it can be sent.
    pub fn look(&mut self, now: Duration, silence: Option<Duration>, can_offer: bool) -> Vec<Effect> {
        if self.looked.replace(now).is_some_and(|before| now.saturating_sub(before) > STARVED) {
            self.deaf_until = now + SILENCE;
        }
        let mut effects = match self.lost {
            None => self.notice(now, silence),
            Some(since) if silence.is_some_and(|silence| silence < ALIVE) => self.found(now, since),
            Some(since) if now.saturating_sub(since) >= self.limit => return vec![Effect::GiveUp],
            Some(_) => Vec::new(),
        };
        effects.extend(self.offer(now, can_offer));
        effects
    }

    /// ICE has given up the path.
    pub fn failed(&mut self, now: Duration) -> Vec<Effect> {
        if self.lost.is_none() {
            return self.lose(now, now);
        }
        self.attempt_failed(now);
        Vec::new()
    }

    /// A new connection has found no path.
    pub fn attempt_failed(&mut self, now: Duration) {
        // While the path is there, the side that has offered offers again.
        if self.lost.is_some() || self.renewals > 0 {
            self.offer_at = Some(self.offer_at.map_or(now + PAUSE, |at| at.min(now + PAUSE)));
        }
    }

    /// Our own addresses have changed.
    pub fn addresses_changed(&mut self, now: Duration) {
        self.changed = Some(now);
        self.move_offer(now);
    }

    /// Offers can be sent again; earlier ones may be lost.
    pub fn signalling_back(&mut self, now: Duration) {
        self.move_offer(now);
    }

    /// The peer has offered a new connection, or has answered our offer; not for an offer that is dropped because of ours.
    pub fn peer_spoke(&mut self, now: Duration) {
        self.move_offer(now + ATTEMPT);
    }

    /// A new connection to the peer is there.
    pub fn connected(&mut self, now: Duration) -> Vec<Effect> {
        self.renewals = 0;
        let since = self.lost;
        let effects = since.map_or_else(Vec::new, |since| self.found(now, since));
        self.offer_at = None;
        effects
    }

    fn notice(&mut self, now: Duration, silence: Option<Duration>) -> Vec<Effect> {
        let enough =
            if self.has_just_changed(now) { SILENCE_AFTER_CHANGE.min(self.silence) } else { self.silence };
        let silence = silence.filter(|silence| now >= self.deaf_until && *silence >= enough);
        silence.map_or_else(Vec::new, |silence| self.lose(now, now.saturating_sub(silence)))
    }

    fn offer(&mut self, now: Duration, can_offer: bool) -> Option<Effect> {
        if !can_offer || self.offer_at.is_none_or(|at| now < at) {
            return None;
        }
        self.renewals = if self.lost.is_some() { RENEWALS } else { self.renewals.saturating_sub(1) };
        let another = self.lost.is_some() || self.renewals > 0;
        self.offer_at = another.then_some(now + UNANSWERED);
        Some(Effect::Offer)
    }

    fn has_just_changed(&self, now: Duration) -> bool {
        self.changed.is_some_and(|at| now.saturating_sub(at) < CHANGE_MATTERS)
    }

    fn lose(&mut self, now: Duration, since: Duration) -> Vec<Effect> {
        let again = self.back.is_some_and(|back| since.saturating_sub(back) < LOST_AGAIN);
        self.silence = if again { (self.silence * 2).min(LONGEST_SILENCE) } else { SILENCE };
        let courtesy = if self.polite && !self.has_just_changed(now) { COURTESY } else { Duration::ZERO };
        self.lost = Some(since);
        self.offer_at.get_or_insert(now + courtesy);
        vec![Effect::ReportLost]
    }

    fn found(&mut self, now: Duration, since: Duration) -> Vec<Effect> {
        self.back = Some(now);
        self.lost = None;
        self.offer_at = self.offer_at.filter(|_| self.renewals > 0);
        vec![Effect::ReportBack(now.saturating_sub(since))]
    }

    /// Moves the next offer, if one is wanted.
    fn move_offer(&mut self, at: Duration) {
        self.offer_at = self.offer_at.map(|_| at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(120);
    const LOOK: u64 = 250;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// One side, whose peer sends packets until a time, and again from another one on.
    struct Side {
        healing: Healing,
        now: u64,
        silent: (u64, u64),
        can_offer: bool,
        log: Vec<(u64, Effect)>,
    }

    impl Side {
        fn new(polite: bool, silent: (u64, u64)) -> Self {
            let healing = Healing::new(polite, LIMIT);
            Self { healing, now: 0, silent, can_offer: true, log: Vec::new() }
        }

        fn until(mut self, end: u64) -> Self {
            while self.now < end {
                self.now += LOOK;
                let (from, to) = self.silent;
                let silence = if (from..to).contains(&self.now) { self.now - from } else { 0 };
                let effects = self.healing.look(ms(self.now), Some(ms(silence)), self.can_offer);
                self.log.extend(effects.into_iter().map(|effect| (self.now, effect)));
            }
            self
        }

        fn take(&mut self) -> Vec<(u64, Effect)> {
            std::mem::take(&mut self.log)
        }
    }

    #[test]
    fn silence_of_a_second_is_answered_with_an_offer_and_the_first_packet_ends_it() {
        let mut side = Side::new(false, (10_000, 13_000)).until(20_000);
        let wanted =
            [(11_000, Effect::ReportLost), (11_000, Effect::Offer), (13_000, Effect::ReportBack(ms(3000)))];
        assert_eq!(side.take(), wanted);
    }

    #[test]
    fn a_polite_side_waits_for_the_offer_of_the_other_one() {
        let mut side = Side::new(true, (10_000, 90_000)).until(11_750);
        assert_eq!(side.take(), [(11_000, Effect::ReportLost)]);
        side.healing.peer_spoke(ms(11_750));
        let mut side = side.until(15_500);
        assert_eq!(side.take(), []);
        assert_eq!(side.until(15_750).take(), [(15_750, Effect::Offer)]);
    }

    #[test]
    fn without_an_answer_offers_are_rare_and_with_one_they_come_until_ice_has_a_path() {
        let mut side = Side::new(false, (10_000, 90_000)).until(32_000);
        let offers = |log: Vec<(u64, Effect)>| {
            log.into_iter().filter(|(_, it)| *it == Effect::Offer).map(|(at, _)| at).collect::<Vec<_>>()
        };
        assert_eq!(offers(side.take()), [11_000, 21_000, 31_000]);
        side.healing.peer_spoke(ms(32_000));
        let mut side = side.until(38_000);
        assert_eq!(offers(side.take()), [36_000]);
        assert_eq!(side.healing.failed(ms(38_000)), []);
        let mut side = side.until(39_000);
        assert_eq!(offers(side.take()), [39_000]);
        assert_eq!(side.healing.connected(ms(39_100)), [Effect::ReportBack(ms(29_100))]);
        assert_eq!(side.healing.connected(ms(39_200)), []);
    }

    #[test]
    fn an_offer_is_completed_though_the_old_path_is_back() {
        let mut side = Side::new(false, (10_000, 13_000)).until(13_000);
        assert_eq!(side.take().len(), 3);
        let mut side = side.until(21_000);
        assert_eq!(side.take(), [(21_000, Effect::Offer)], "there was no answer");
        side.healing.peer_spoke(ms(21_100));
        side.healing.attempt_failed(ms(22_000));
        let mut side = side.until(24_000);
        assert_eq!(side.take(), [(23_000, Effect::Offer)]);
        assert_eq!(side.healing.connected(ms(24_000)), []);
        assert_eq!(side.until(60_000).take(), [], "it is complete");
    }

    #[test]
    fn a_new_connection_may_be_wanted_though_the_path_is_there() {
        let mut side = Side::new(true, (0, 0)).until(1000);
        side.healing.renew(ms(1000), true);
        let mut side = side.until(2000);
        assert_eq!(side.take(), [], "the other one offers");
        side.healing.renew(ms(2000), false);
        let mut side = side.until(2250);
        assert_eq!(side.take(), [(2250, Effect::Offer)]);
        side.healing.peer_spoke(ms(2300));
        assert_eq!(side.healing.connected(ms(2400)), []);
        assert_eq!(side.until(60_000).take(), []);
    }

    #[test]
    fn own_addresses_that_change_are_a_reason_to_offer_soon_and_first() {
        let mut side = Side::new(true, (10_000, 90_000)).until(10_250);
        side.healing.addresses_changed(ms(10_300));
        let mut side = side.until(11_000);
        assert_eq!(side.take(), [(10_500, Effect::ReportLost), (10_500, Effect::Offer)]);
        side.healing.addresses_changed(ms(13_000));
        let mut side = side.until(13_000);
        assert_eq!(side.take(), [(13_000, Effect::Offer)], "an interface came while the path was lost");
        let mut calm = Side::new(true, (0, 0)).until(1000);
        calm.healing.addresses_changed(ms(1000));
        assert_eq!(calm.until(9000).take(), [], "the path does not need the address");
    }

    #[test]
    fn ice_that_gives_up_is_a_lost_path_also_for_a_peer_that_is_always_silent() {
        let mut healing = Healing::new(false, LIMIT);
        assert_eq!(healing.look(ms(0), None, true), []);
        assert_eq!(healing.look(ms(90_000), None, true), []);
        assert_eq!(healing.failed(ms(90_100)), [Effect::ReportLost]);
        assert_eq!(healing.look(ms(90_250), None, true), [Effect::Offer]);
        assert_eq!(healing.connected(ms(91_000)), [Effect::ReportBack(ms(900))]);
    }

    #[test]
    fn no_offer_is_made_without_signalling_and_one_is_made_once_it_is_back() {
        let mut side = Side::new(false, (10_000, 90_000));
        side.can_offer = false;
        let mut side = side.until(60_000);
        assert_eq!(side.take(), [(11_000, Effect::ReportLost)]);
        side.can_offer = true;
        assert_eq!(side.until(60_250).take(), [(60_250, Effect::Offer)]);
    }

    #[test]
    fn a_peer_is_given_up_after_the_limit() {
        let mut side = Side::new(false, (10_000, 900_000));
        side.can_offer = false;
        let mut side = side.until(130_000);
        assert_eq!(side.take(), [(11_000, Effect::ReportLost), (130_000, Effect::GiveUp)]);
    }

    #[test]
    fn a_peer_that_is_silent_now_and_then_costs_ever_fewer_offers() {
        let mut healing = Healing::new(false, LIMIT);
        let mut offers = 0;
        for at in 0..2400 {
            let now = ms(at * LOOK);
            // A packet each five seconds.
            let silence = ms(at * LOOK % 5000);
            offers +=
                healing.look(now, Some(silence), true).iter().filter(|it| **it == Effect::Offer).count();
        }
        assert_eq!(offers, 1 + 3, "in ten minutes, though it never answers");
    }

    #[test]
    fn after_a_suspension_of_ours_silence_means_nothing_yet() {
        let mut side = Side::new(false, (0, 0)).until(5000);
        assert_eq!(side.healing.look(ms(25_000), Some(ms(20_000)), true), []);
        assert_eq!(side.healing.look(ms(25_250), Some(ms(20_250)), true), []);
        assert_eq!(side.healing.look(ms(25_500), Some(ms(100)), true), []);
        assert_eq!(side.take(), []);
    }
}
