//! Decides which packets may be retransmitted.

use std::time::Duration;

/// How many packets webrtcbin keeps for retransmission.
const KEPT: u16 = 500;
/// Size of the table: a power of two, so that indices wrap together with sequence numbers.
const PLACES: u16 = 512;
/// Most of our streams; packets of further ones are not retransmitted.
const MAX_STREAMS: usize = 8;
/// The assumed round-trip time before the first report.
const ROUND_TRIP: Duration = Duration::from_millis(100);
/// Bounds on the reported round-trip time: a forged report must neither stop retransmissions nor make all of them due.
const SHORTEST: Duration = Duration::from_millis(5);
const LONGEST: Duration = Duration::from_secs(1);

/// The packets sent last.
#[derive(Debug)]
pub(super) struct History {
    streams: Vec<Stream>,
    round_trip: Duration,
}

#[derive(Debug)]
struct Stream {
    ssrc: u32,
    newest: u16,
    packets: Vec<Option<Packet>>,
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    number: u16,
    bytes: u32,
    /// When it was last retransmitted.
    again: Option<Duration>,
}

impl Default for History {
    fn default() -> Self {
        Self { streams: Vec::new(), round_trip: ROUND_TRIP }
    }
}

impl History {
    /// Sets the round-trip time from a report.
    pub(super) fn set_round_trip(&mut self, round_trip: Duration) {
        self.round_trip = round_trip.clamp(SHORTEST, LONGEST);
    }

    /// Records a packet that is sent for the first time.
    pub(super) fn sent(&mut self, ssrc: u32, number: u16, bytes: u32) {
        if let Some(stream) = self.stream(ssrc) {
            stream.newest = number;
            if let Some(place) = stream.place(number) {
                *place = Some(Packet { number, bytes, again: None });
            }
        }
    }

    /// The size in bytes of a requested packet, if it is still kept and was not retransmitted within the last round
    /// trip.
    pub(super) fn due(&mut self, now: Duration, ssrc: u32, number: u16) -> Option<u32> {
        let round_trip = self.round_trip;
        let packet = self.packet(ssrc, number)?;
        packet.again.is_none_or(|again| now.saturating_sub(again) >= round_trip).then_some(packet.bytes)
    }

    /// Records a retransmission.
    pub(super) fn sent_again(&mut self, now: Duration, ssrc: u32, number: u16) {
        if let Some(packet) = self.packet(ssrc, number) {
            packet.again = Some(now);
        }
    }

    fn packet(&mut self, ssrc: u32, number: u16) -> Option<&mut Packet> {
        let stream = self.streams.iter_mut().find(|stream| stream.ssrc == ssrc)?;
        if stream.newest.wrapping_sub(number) >= KEPT {
            return None;
        }
        stream.place(number)?.as_mut().filter(|packet| packet.number == number)
    }

    fn stream(&mut self, ssrc: u32) -> Option<&mut Stream> {
        let index = self.streams.iter().position(|stream| stream.ssrc == ssrc);
        if index.is_none() && self.streams.len() < MAX_STREAMS {
            self.streams.push(Stream { ssrc, newest: 0, packets: vec![None; usize::from(PLACES)] });
            return self.streams.last_mut();
        }
        self.streams.get_mut(index?)
    }
}

impl Stream {
    fn place(&mut self, number: u16) -> Option<&mut Option<Packet>> {
        self.packets.get_mut(usize::from(number % PLACES))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn once_per_round_trip() {
        let mut history = History::default();
        history.sent(1, 7, 1200);
        let mut times = |from: u64, to: u64| {
            (from..to)
                .filter(|&now| {
                    let due = history.due(ms(now), 1, 7).is_some();
                    due.then(|| history.sent_again(ms(now), 1, 7)).is_some()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(times(0, 350), [0, 100, 200, 300], "before the first report");
        history.set_round_trip(ms(40));
        let due: Vec<_> = (350..430).filter(|&now| history.due(ms(now), 1, 7).is_some()).collect();
        assert_eq!(due.first(), Some(&350));
        history.sent_again(ms(350), 1, 7);
        assert_eq!(history.due(ms(389), 1, 7), None);
        assert_eq!(history.due(ms(390), 1, 7), Some(1200));
    }

    #[test]
    fn a_forged_round_trip_opens_and_closes_nothing() {
        let mut history = History::default();
        history.sent(1, 7, 1200);
        history.sent_again(ms(0), 1, 7);
        history.set_round_trip(Duration::ZERO);
        assert_eq!(history.due(ms(4), 1, 7), None);
        history.set_round_trip(Duration::MAX);
        assert_eq!(history.due(ms(1000), 1, 7), Some(1200));
    }

    #[test]
    fn only_what_was_sent_and_is_still_there() {
        let mut history = History::default();
        assert_eq!(history.due(ms(0), 1, 0), None);
        for number in 0..70_000u32 {
            history.sent(1, u16::try_from(number % 65_536).unwrap(), number);
        }
        // The last number was 69,999 = 65,536 + 4,463.
        assert_eq!(history.due(ms(0), 1, 4463), Some(69_999));
        assert_eq!(history.due(ms(0), 1, 4463 - 499), Some(69_500));
        assert_eq!(history.due(ms(0), 1, 4463 - 500), None);
        assert_eq!(history.due(ms(0), 1, 4464), None);
        assert_eq!(history.due(ms(0), 2, 4463), None);
    }

    #[test]
    fn numbers_wrap() {
        let mut history = History::default();
        (65_400..=65_535u16).chain(0..100).for_each(|number| history.sent(1, number, 9));
        assert_eq!(history.due(ms(0), 1, 65_535), Some(9));
        assert_eq!(history.due(ms(0), 1, 99), Some(9));
        assert_eq!(history.due(ms(0), 1, 100), None);
    }

    #[test]
    fn streams_are_bounded() {
        let mut history = History::default();
        (0..100).for_each(|ssrc| history.sent(ssrc, 1, 9));
        assert_eq!(history.streams.len(), MAX_STREAMS);
        assert_eq!((0..100).filter(|&ssrc| history.due(ms(0), ssrc, 1).is_some()).count(), MAX_STREAMS);
    }
}
