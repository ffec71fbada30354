//! What the engine looks at from time to time: paths, statistics, pictures, and peers that have vanished.

use std::time::{Duration, Instant};

use super::{Engine, Out};
use crate::{
    addresses,
    age::fresh::State,
    agreement::Flow,
    events::Event,
    exit::{ExitCode, Failure},
    healing,
    media::source::Source,
    negotiation::Input,
    view::Seat,
};

/// A connection that was replaced is closed this long after the new one is there, even if that shows no picture.
const SWITCH_LIMIT: Duration = Duration::from_secs(1);
/// A connected peer has vanished if no packet came from it for this long. It is the lifetime of consent to send (RFC 7675,
/// section 5.1); a network may fail for less.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);
/// The same without media, when a path has only SCTP's heartbeats, of either side about every 30 s (RFC 9260, section 8.3).
const IDLE_LIMIT: Duration = Duration::from_secs(100);

impl Engine {
    /// Looks at the paths to connected peers.
    pub(super) fn watch(&mut self, now: Instant) {
        let watched: Vec<u64> =
            self.slots.iter().filter(|(_, slot)| slot.is_watched()).map(|(key, _)| *key).collect();
        if watched.is_empty() {
            return;
        }
        let (at, changed) = (self.started.elapsed(), self.addresses_changed());
        for key in watched {
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            if slot.up.is_some_and(|up| now >= up + SWITCH_LIMIT) {
                slot.forget_former(&self.reaper);
            }
            let silence = slot.telling_silence();
            let Some(healing) = &mut slot.healing else { continue };
            if changed {
                healing.addresses_changed(at);
            }
            let effects = healing.look(at, silence, !self.is_cut_off);
            self.carry_out_healing(key, effects);
        }
    }

    /// Whether this machine's addresses have changed since the last look.
    fn addresses_changed(&mut self) -> bool {
        let Some(addresses) = addresses::usable() else { return false };
        let before = self.addresses.replace(addresses);
        before.is_some() && before != self.addresses
    }

    pub(super) fn carry_out_healing(&mut self, key: u64, effects: Vec<healing::Effect>) {
        for effect in effects {
            match effect {
                healing::Effect::ReportLost => self.out.push_back((key, Out::Tell(Event::PathLost))),
                healing::Effect::ReportBack(gap) => {
                    self.out.push_back((key, Out::Tell(Event::path_back(gap))));
                }
                healing::Effect::Offer => self.input(key, Input::Heal),
                healing::Effect::GiveUp => {
                    let seconds = self.config.give_up_after.as_secs_f64();
                    let reason = format!("the path to the peer was lost, and there was none for {seconds} s");
                    self.fail(key, "connected", Failure::new(ExitCode::IceFailed, reason));
                }
            }
        }
    }

    pub(super) fn report_stats(&mut self, key: u64, now: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let Some(due) = slot.next_stats.filter(|due| *due <= now) else { return };
        let next = due + self.config.stats_interval;
        // If a report is late, the next one is not earlier for that.
        slot.next_stats = Some(if next > now { next } else { now + self.config.stats_interval });
        if let Some(peer) = slot.shown() {
            self.out.push_back((key, Out::Tell(Event::Stats(Box::new(peer.stats())))));
        }
    }

    /// Reports that the peer's picture is stale, or live again.
    pub(super) fn report_picture(&mut self, key: u64, now: Instant) {
        let Some(slot) = self.slots.get_mut(&key) else { return };
        let (Some(due), Some(peer)) = (slot.next_picture, slot.shown()) else { return };
        if due > now {
            return;
        }
        let (state, next) = peer.look_for_pictures();
        slot.next_picture = Some(now + next);
        let event = match state {
            State::Stale(age) if !slot.is_stale => {
                Event::PictureStale { age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }
            }
            State::Live if slot.is_stale => Event::PictureLive,
            _ => return,
        };
        slot.is_stale = !slot.is_stale;
        self.out.push_back((key, Out::Tell(event)));
    }

    /// Follows each peer's line, frees encoders without peers, and fails peers that have vanished.
    pub(super) fn look(&mut self) {
        if let Some(error) = self.source.as_ref().and_then(Source::error) {
            tracing::error!("the encoders failed: {error}");
        }
        self.source.iter().for_each(Source::free_unused);
        self.view.check();
        for key in self.keys() {
            let Some(slot) = self.slots.get_mut(&key).filter(|slot| slot.connected.is_some()) else {
                continue;
            };
            let heals = slot.healing.is_some();
            slot.shown_seat().into_iter().for_each(Seat::look);
            let Some(peer) = slot.shown_mut() else { continue };
            if let Some(Err(failure)) = self.source.as_ref().map(|source| peer.go_on(source)) {
                self.fail(key, "connected", failure);
                continue;
            }
            peer.look();
            // Not the flows of the negotiation: while a new connection is negotiated, it has none.
            let limit = silence_limit(peer.flows(), || peer.has_open_channel());
            let vanished = limit.filter(|limit| peer.meter().silence() > *limit);
            peer.set_consent(vanished.is_none());
            let receives = peer.receives();
            let Some(limit) = vanished else { continue };
            if !heals {
                let seconds = limit.as_secs();
                let reason = format!("nothing came from the peer for {seconds} s: it has vanished");
                self.fail(key, "connected", Failure::new(ExitCode::NoMedia, reason));
            } else if !receives && !self.is_lost(key) {
                // The silence of media is known to `healing`, and earlier.
                self.input(key, Input::IceFailed);
            }
        }
    }
}

/// How long a peer with these flows may be silent. `None` if its path carries nothing, whose end nobody would notice.
fn silence_limit(flows: &[Flow], has_open_channel: impl FnOnce() -> bool) -> Option<Duration> {
    let is_used = |flow: &Flow| flow.direction.sends || flow.direction.receives;
    if flows.iter().any(is_used) {
        return Some(SILENCE_LIMIT);
    }
    has_open_channel().then_some(IDLE_LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sdp::{Codec, Direction, Kind};

    #[test]
    fn a_peer_may_be_silent_for_as_long_as_its_consent_lasts() {
        let flow = |sends| Flow {
            seat: 0,
            kind: Kind::Video,
            direction: Direction { sends, receives: false },
            mid: String::new(),
            track: None,
            codec: Codec::default(),
        };
        let limit = |flows: &[Flow], has_channel| silence_limit(flows, || has_channel);
        assert_eq!(limit(&[flow(false), flow(true)], false), Some(SILENCE_LIMIT));
        assert_eq!(limit(&[flow(true)], true), Some(SILENCE_LIMIT));
        assert_eq!(limit(&[flow(false)], true), Some(IDLE_LIMIT), "heartbeats only");
        assert_eq!([limit(&[flow(false)], false), limit(&[], false)], [None; 2], "nothing flows");
    }
}
