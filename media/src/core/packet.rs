//! A media packet on its way from a publisher to its viewers.

use std::{
    sync::Arc,
    time::{Instant, SystemTime},
};

pub use callbin_protocol::node::Kind;

/// One RTP packet of a publisher's track. A clone shares the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    /// The publisher and its synchronization source. A change restarts sequence numbers and timestamps.
    pub source: u64,
    /// The sequence number, extended by the rollovers (RFC 3711, section 3.3.1).
    pub seq: u64,
    /// The timestamp, in units of the codec's clock.
    pub time: u32,
    /// The marker bit: the last packet of a video frame.
    pub marker: bool,
    /// The payload after the RTP header, decrypted.
    pub payload: Arc<[u8]>,
    /// When it was captured, as far as that is known, or else when it arrived. Never later.
    pub captured_at: Instant,
    /// Header extensions that viewers get, too.
    pub extras: Extras,
}

/// Header extensions that describe the media and not the path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extras {
    /// The audio level in negative decibels and whether it is a voice (RFC 6464).
    pub level: Option<(i8, bool)>,
    /// The rotation of the picture, clockwise, in degrees: 0, 90, 180 or 270.
    pub rotation: Option<u16>,
    /// The absolute capture time, and the offset of the capturer's clock in units of 2^-32 s.
    pub captured: Option<(SystemTime, Option<i64>)>,
}
