//! What a viewer gets of a video track: nothing before a key frame, then everything.
//!
//! A new viewer gets the cached key frame and the frames since then, faster than they were made, until it has caught up.
//! Their timestamps are squeezed: a receiver plays them at once, and not with their old delay. Decoding many frames takes a
//! viewer long: if a new key frame may come soon, only the cached one is sent meanwhile.

use std::time::{Duration, Instant};

use super::{
    cache::Cache,
    numbers::{Numbers, Renumber},
    packet::Packet,
};

/// The clock rate of all video codecs, in Hz.
const CLOCK_RATE: u32 = 90_000;
/// How much nearer to the newest frame a replayed one is: 10 s become a third of a second.
const SQUEEZE: u32 = 32;

/// The video of one viewer.
#[derive(Debug)]
pub struct Gate {
    numbers: Renumber,
    state: State,
    /// Only key frames pass.
    is_thin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No key frame was sent yet.
    Closed,
    /// Cached packets before this sequence number were sent.
    Replay { next: u64, frame: Option<Squeezed>, hold: Option<Instant> },
    /// Packets go through as they come, from this sequence number on.
    Live { from: u64 },
}

/// The frame that is replayed: its timestamp, and the viewer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Squeezed {
    time: u32,
    to: u32,
}

impl Gate {
    /// `first` is the first sequence number.
    pub fn new(first: u16) -> Self {
        Self { numbers: Renumber::new(first, CLOCK_RATE), state: State::Closed, is_thin: false }
    }

    /// Whether the viewer waits for a key frame.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether cached packets are left to send.
    pub fn is_behind(&self) -> bool {
        matches!(self.state, State::Replay { .. })
    }

    /// The viewer misses packets: it waits for a key frame, or starts over with the cached one.
    pub fn close(&mut self) {
        self.state = State::Closed;
    }

    /// A viewer that waits or is behind starts with the key frame that the cache has. Until `hold`, it gets only that.
    pub fn restart(&mut self, cache: &Cache, hold: Option<Instant>, now: Instant) {
        if matches!(self.state, State::Live { .. }) && !self.is_thin {
            return;
        }
        if let Some(start) = cache.start() {
            self.numbers.begin(start, now);
            if self.is_thin {
                self.state = State::Live { from: start.seq };
                return;
            }
            self.state = State::Replay { next: start.seq, frame: None, hold };
        }
    }

    /// From now on, only key frames pass; or else everything from the next key frame on.
    pub fn set_thin(&mut self, is_thin: bool) {
        self.is_thin = is_thin;
        match self.state {
            State::Replay { next, .. } if is_thin => self.state = State::Live { from: next },
            _ if !is_thin => self.close(),
            _ => {}
        }
    }

    /// The cache lost its packets: a viewer that did not catch up waits for the next key frame.
    pub fn lose_cache(&mut self) {
        if self.is_behind() {
            self.close();
        }
    }

    /// A packet has arrived: its numbers, if the viewer gets it now. `is_key` is true for packets of a key frame.
    pub fn pass(&mut self, packet: &Packet, is_key: bool, now: Instant) -> Option<Numbers> {
        let State::Live { from } = self.state else { return None };
        (packet.seq >= from && (is_key || !self.is_thin)).then(|| self.numbers.map(packet, now)).flatten()
    }

    /// Until when a viewer that is behind gets no more packets.
    pub fn held_until(&self, now: Instant) -> Option<Instant> {
        match self.state {
            State::Replay { hold, frame: Some(_), .. } => hold.filter(|hold| now < *hold),
            _ => None,
        }
    }

    /// The next cached packet to send, if the viewer is behind.
    pub fn replay<'a>(&mut self, cache: &'a Cache, now: Instant) -> Option<(&'a Packet, Numbers)> {
        let State::Replay { next, frame, hold } = self.state else { return None };
        let (Some(packet), Some(end)) = (cache.from(next).next(), cache.end()) else {
            self.state = State::Live { from: next };
            return None;
        };
        let is_next_frame = frame.is_some_and(|frame| frame.time != packet.time);
        if is_next_frame && hold.is_some_and(|hold| now < hold) {
            return None;
        }
        let numbers = self.numbers.map(packet, now)?;
        let frame = match frame {
            Some(frame) if frame.time == packet.time => frame,
            _ => Squeezed { time: packet.time, to: squeeze(packet.time, end.time) },
        };
        self.state =
            State::Replay { next: packet.seq + 1, frame: Some(frame), hold: hold.filter(|_| !is_next_frame) };
        let shift = numbers.time.wrapping_sub(packet.time);
        // The frame counts as captured as long before the newest one as its new timestamp says.
        let before = f64::from(end.time.wrapping_sub(frame.to)) / f64::from(CLOCK_RATE);
        let at = end.captured_at.checked_sub(Duration::from_secs_f64(before)).unwrap_or(end.captured_at);
        Some((packet, Numbers { time: frame.to.wrapping_add(shift), at, ..numbers }))
    }
}

/// The viewer's time of a frame that is replayed while the newest one has the time `end`. It grows from frame to frame also
/// if `end` grows in between, and is that of the publisher for the newest frame.
fn squeeze(time: u32, end: u32) -> u32 {
    let behind = end.wrapping_sub(time);
    // A newest frame with an earlier timestamp: a publisher whose clock jumps.
    let behind = if behind > u32::MAX / 2 { 0 } else { behind };
    end.wrapping_sub(behind / SQUEEZE)
}

#[cfg(test)]
mod tests {
    use super::{super::testing::packet, *};

    /// The packets that a viewer gets until it has caught up.
    fn replay(gate: &mut Gate, cache: &Cache) -> Vec<(u64, Numbers)> {
        let now = Instant::now();
        std::iter::from_fn(|| gate.replay(cache, now).map(|(packet, numbers)| (packet.seq, numbers)))
            .collect()
    }

    fn pass(gate: &mut Gate, packet: &Packet) -> Option<(u64, u32)> {
        gate.pass(packet, false, Instant::now()).map(|numbers| (numbers.seq, numbers.time))
    }

    /// A cache with a key frame of two packets and `frames` others of one packet, 30 a second.
    fn filled(frames: u64) -> Cache {
        let mut cache = Cache::default();
        cache.push(&packet(100, 0), true);
        cache.push(&packet(101, 0), false);
        for frame in 1..=frames {
            cache.push(&packet(101 + frame, 3000 * frame as u32), false);
        }
        cache
    }

    #[test]
    fn nothing_passes_before_a_key_frame() {
        let mut gate = Gate::new(0);
        assert_eq!(gate.pass(&packet(1, 0), false, Instant::now()), None);
        assert!(gate.is_closed() && !gate.is_behind());
        gate.restart(&Cache::default(), None, Instant::now());
        assert!(gate.is_closed());
    }

    #[test]
    fn a_late_viewer_gets_the_key_frame_and_all_after_it_without_a_gap() {
        let mut gate = Gate::new(9);
        let mut cache = filled(300);
        gate.restart(&cache, None, Instant::now());
        assert!(gate.is_behind());
        let packets = replay(&mut gate, &cache);
        let seqs: Vec<u64> = packets.iter().map(|(_, numbers)| numbers.seq).collect();
        assert_eq!(seqs, (9..9 + 302).collect::<Vec<_>>());
        assert!(!gate.is_behind());

        let next = packet(402, 903_000);
        cache.push(&next, false);
        assert_eq!(pass(&mut gate, &next), Some((9 + 302, 903_000)));
    }

    #[test]
    fn ten_seconds_are_squeezed_to_a_third_of_one() {
        let mut gate = Gate::new(0);
        let cache = filled(300);
        gate.restart(&cache, None, Instant::now());
        let packets = replay(&mut gate, &cache);
        let times: Vec<i64> = packets.iter().map(|(_, numbers)| i64::from(numbers.time)).collect();
        assert_eq!(times[0], times[1], "packets of a frame have one timestamp");
        assert!(times[1..].windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
        let live = 900_000;
        assert_eq!(*times.last().unwrap(), live, "the newest frame has the publisher's timestamp");
        assert!((live - times[0]) < 90_000 / 3, "{}", live - times[0]);
    }

    #[test]
    fn reports_about_squeezed_frames_agree_with_those_about_live_ones() {
        let start = Instant::now();
        let at = |frame: u32| start + Duration::from_millis(u64::from(frame) * 100);
        let mut cache = Cache::default();
        for frame in 0..=100 {
            let it = Packet { captured_at: at(frame), ..packet(u64::from(frame), 9000 * frame) };
            cache.push(&it, frame == 0);
        }
        let mut gate = Gate::new(0);
        gate.restart(&cache, None, start);
        for (_, numbers) in replay(&mut gate, &cache) {
            let expected = start + Duration::from_secs_f64(f64::from(numbers.time) / 90_000.0);
            let apart = numbers.at.max(expected) - numbers.at.min(expected);
            assert!(apart < Duration::from_millis(1), "{apart:?}");
        }
    }

    #[test]
    fn a_viewer_that_is_held_gets_the_key_frame_and_later_the_rest_or_a_new_key_frame() {
        let start = Instant::now();
        let hold = start + Duration::from_millis(500);
        let mut cache = filled(300);
        let mut gate = Gate::new(0);
        gate.restart(&cache, Some(hold), start);
        assert_eq!(gate.held_until(start), None, "the key frame is due");
        assert_eq!(replay(&mut gate, &cache).len(), 2, "the packets of the key frame");
        assert_eq!(gate.held_until(start), Some(hold));
        assert!(gate.is_behind());
        assert_eq!(gate.held_until(hold), None);
        assert_eq!(gate.replay(&cache, hold).map(|(packet, _)| packet.seq), Some(102));
        assert_eq!(gate.replay(&cache, start).map(|(packet, _)| packet.seq), Some(103), "held once only");

        let mut other = Gate::new(0);
        other.restart(&cache, Some(hold), start);
        replay(&mut other, &cache);
        cache.push(&packet(500, 999_000), true);
        other.restart(&cache, None, start);
        let seqs: Vec<u64> = replay(&mut other, &cache).iter().map(|(_, numbers)| numbers.seq).collect();
        assert_eq!(seqs, [2]);
        assert!(!other.is_behind());
    }

    #[test]
    fn a_thin_gate_passes_key_frames_without_gaps() {
        let mut gate = Gate::new(0);
        let mut cache = filled(3);
        gate.restart(&cache, None, Instant::now());
        replay(&mut gate, &cache);
        gate.set_thin(true);
        let mut passed = Vec::new();
        for (seq, is_start, is_key) in [
            (105, false, false),
            (106, true, true),
            (107, false, true),
            (108, false, false),
            (109, true, true),
        ] {
            let it = packet(seq, seq as u32);
            cache.push(&it, is_start);
            if is_start {
                gate.restart(&cache, None, Instant::now());
            }
            passed.extend(gate.pass(&it, is_key, Instant::now()).map(|numbers| (seq, numbers.seq)));
        }
        assert_eq!(passed, [(106, 5), (107, 6), (109, 7)]);
        gate.set_thin(false);
        assert!(gate.is_closed(), "everything, from the next key frame on");
    }

    #[test]
    fn a_viewer_that_is_behind_and_gets_thin_replays_nothing_more() {
        let mut gate = Gate::new(0);
        let cache = filled(30);
        gate.restart(&cache, None, Instant::now());
        gate.replay(&cache, Instant::now());
        gate.set_thin(true);
        assert!(!gate.is_behind());
        assert_eq!(gate.replay(&cache, Instant::now()), None);
    }

    #[test]
    fn timestamps_grow_while_new_frames_arrive() {
        let mut gate = Gate::new(0);
        let mut cache = filled(30);
        gate.restart(&cache, None, Instant::now());
        let mut last = None;
        for frame in 31..100_u32 {
            for _ in 0..2 {
                let Some((_, numbers)) = gate.replay(&cache, Instant::now()) else { continue };
                assert!(last.is_none_or(|last| last <= numbers.time));
                last = Some(numbers.time);
            }
            let new = packet(101 + u64::from(frame), 3000 * frame);
            cache.push(&new, false);
            if let Some(numbers) = gate.pass(&new, false, Instant::now()) {
                assert!(last.is_none_or(|last| last < numbers.time));
                last = Some(numbers.time);
            }
        }
        assert!(!gate.is_behind());
    }

    #[test]
    fn a_viewer_that_is_behind_jumps_to_a_new_key_frame() {
        let mut gate = Gate::new(0);
        let mut cache = filled(30);
        gate.restart(&cache, None, Instant::now());
        gate.replay(&cache, Instant::now());
        assert_eq!(cache.push(&packet(500, 99_000), true), super::super::cache::Cached::Restarted);
        gate.restart(&cache, None, Instant::now());
        let (packet, numbers) = gate.replay(&cache, Instant::now()).unwrap();
        assert_eq!((packet.seq, numbers.seq), (500, 1));
    }

    #[test]
    fn a_live_viewer_is_not_set_back_by_a_key_frame() {
        let mut gate = Gate::new(0);
        let mut cache = filled(0);
        gate.restart(&cache, None, Instant::now());
        replay(&mut gate, &cache);
        let key = packet(102, 3000);
        cache.push(&key, true);
        gate.restart(&cache, None, Instant::now());
        assert_eq!(pass(&mut gate, &key), Some((2, 3000)));
    }

    #[test]
    fn a_packet_that_was_skipped_or_sent_does_not_pass_again() {
        let mut gate = Gate::new(0);
        let cache = filled(3);
        gate.restart(&cache, None, Instant::now());
        replay(&mut gate, &cache);
        for seq in [99, 100, 104] {
            assert_eq!(gate.pass(&packet(seq, 0), false, Instant::now()), None, "{seq}");
        }
        let late = Packet { captured_at: Instant::now() + Duration::from_secs(1), ..packet(106, 12_000) };
        assert!(gate.pass(&late, false, late.captured_at).is_some());
        assert!(gate.pass(&packet(105, 12_000), false, late.captured_at).is_some(), "reordered on the way");
    }

    #[test]
    fn a_viewer_that_is_behind_waits_when_the_cache_is_lost() {
        let mut gate = Gate::new(0);
        gate.restart(&filled(30), None, Instant::now());
        gate.lose_cache();
        assert!(gate.is_closed());
        let mut live = Gate::new(0);
        let cache = filled(0);
        live.restart(&cache, None, Instant::now());
        replay(&mut live, &cache);
        live.lose_cache();
        assert!(!live.is_closed());
    }
}
