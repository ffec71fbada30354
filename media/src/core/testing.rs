//! Packets for tests.

use std::{sync::LazyLock, time::Instant};

use super::packet::{Extras, Packet};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// A packet of one byte of a fixed time.
pub(super) fn packet(seq: u64, time: u32) -> Packet {
    Packet {
        source: 1,
        seq,
        time,
        marker: false,
        payload: vec![0].into(),
        captured_at: *START,
        extras: Extras::default(),
    }
}
