//! What one peer's path carries of the encoded media.

use std::sync::{
    Arc,
    atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
};

/// The bit rate of the video encoder that suits one peer's path, and the losses of the path. The peer's congestion
/// control sets them, the encoders follow.
#[derive(Debug, Clone)]
pub struct Share(Arc<Path>);

#[derive(Debug)]
struct Path {
    bits: AtomicU64,
    lost: AtomicU32,
}

impl Share {
    /// A share of this many bit/s.
    pub fn new(bits: u64) -> Self {
        Self(Arc::new(Path { bits: AtomicU64::new(bits), lost: AtomicU32::new(0) }))
    }

    /// Changes it; `lost` is the share of packets lost, in percent.
    pub fn set(&self, bits: u64, lost: u32) {
        self.0.bits.store(bits, Relaxed);
        self.0.lost.store(lost, Relaxed);
    }

    /// In bit/s.
    pub fn bits(&self) -> u64 {
        self.0.bits.load(Relaxed)
    }

    /// In percent.
    pub fn lost(&self) -> u32 {
        self.0.lost.load(Relaxed)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
