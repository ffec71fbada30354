//! The RTP header extension `abs-capture-time`: when the content of a packet was captured.
//!
//! <http://www.webrtc.org/experiments/rtp-hdrext/abs-capture-time>: the capture time by the clock of the capturing system,
//! and optionally how far that clock is ahead of the sender's, which a mixer has to say. Receivers interpolate where a
//! packet has none: libwebrtc sends it once a second, and callbin with each frame.

use std::time::Duration;

use super::ntp::{Ntp, nanoseconds, units};

/// The time at which something was captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capture {
    /// By the clock of the capturing system.
    pub time: Ntp,
    /// How many nanoseconds that clock is ahead of the sender's, if the sender says so.
    pub ahead: Option<i64>,
}

impl Capture {
    /// The extension's size with both fields.
    pub const SIZE: usize = 16;

    /// What the sender itself has captured.
    pub fn own(time: Ntp) -> Self {
        Self { time, ahead: Some(0) }
    }

    /// The content of the extension, which has both fields.
    pub fn bytes(self) -> [u8; Self::SIZE] {
        let (time, ahead) = (self.time.0, units(self.ahead.unwrap_or(0)).cast_unsigned());
        ((u128::from(time) << 64) | u128::from(ahead)).to_be_bytes()
    }

    /// Reads the content of the extension: 8 or 16 bytes.
    pub fn read(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let time = Ntp(u64::from_be_bytes(*time));
        let ahead = match rest {
            [] => None,
            rest => Some(nanoseconds(i64::from_be_bytes(rest.try_into().ok()?))),
        };
        Some(Self { time, ahead })
    }

    /// The capture time by the sender's clock. A sender that does not say more has one clock.
    pub fn by_sender(self) -> Ntp {
        self.time.plus(self.ahead.unwrap_or(0).saturating_neg())
    }
}

/// Chooses the packets that carry their capture time: the first one of each frame, but not more often than wanted.
#[derive(Debug)]
pub struct Bearers {
    every: Duration,
    /// RTP time and time of the last one.
    last: Option<(u32, Duration)>,
}

impl Bearers {
    /// The first packet of each frame, at least `every` after the last one.
    pub fn new(every: Duration) -> Self {
        Self { every, last: None }
    }

    /// Whether the next packet, which is of this RTP time, carries the time.
    pub fn next(&mut self, now: Duration, rtp_time: u32) -> bool {
        let is_new = |(of, at): (u32, Duration)| of != rtp_time && now.saturating_sub(at) >= self.every;
        let bears = self.last.is_none_or(is_new);
        if bears {
            self.last = Some((rtp_time, now));
        }
        bears
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_both_forms() {
        let short = [0xe8, 0, 0, 1, 0x80, 0, 0, 0];
        let time = Ntp(0xe800_0001_8000_0000);
        assert_eq!(Capture::read(&short), Some(Capture { time, ahead: None }));
        let long = [&short[..], &[0xff, 0xff, 0xff, 0xff, 0x40, 0, 0, 0]].concat();
        assert_eq!(Capture::read(&long), Some(Capture { time, ahead: Some(-750_000_000) }));
        assert_eq!(Capture::own(time).bytes()[..8], short);
        assert_eq!(Capture::own(time).bytes()[8..], [0; 8]);
        for other in [0, 1, 7, 9, 15, 17] {
            assert_eq!(Capture::read(&vec![1; other]), None, "{other}");
        }
    }

    #[test]
    fn the_clock_of_another_system_is_converted() {
        let time = Ntp(100 << 32);
        let by = |ahead| Capture { time, ahead }.by_sender().since(time);
        assert_eq!((by(None), by(Some(0)), by(Some(250_000_000))), (0, 0, -250_000_000));
        by(Some(i64::MIN));
    }

    #[test]
    fn the_first_packet_of_each_frame_bears_it() {
        let ms = Duration::from_millis;
        let mut frames = Bearers::new(Duration::ZERO);
        let packets = [(0, 9), (0, 9), (1, 9), (33, 3009), (33, 3009), (66, 6009)];
        assert_eq!(packets.map(|(at, of)| frames.next(ms(at), of)), [true, false, false, true, false, true]);
        let mut sound = Bearers::new(Duration::from_secs(1));
        let bear = (0..150u32).filter(|packet| sound.next(ms(u64::from(*packet) * 20), packet * 960));
        assert_eq!(bear.collect::<Vec<_>>(), [0, 50, 100]);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(time: u64, ahead in -1_000_000_000_000i64..1_000_000_000_000) {
            let capture = Capture { time: Ntp(time), ahead: Some(ahead) };
            let read = Capture::read(&capture.bytes()).unwrap();
            prop_assert_eq!(read.time, capture.time);
            prop_assert!((read.ahead.unwrap() - ahead).abs() <= 1);
        }
    }
}
