//! How much of a picture one peer can get.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// The bit rate of the encoder that suits one peer's path. The peer's congestion control sets it, the encoder follows.
#[derive(Debug, Clone)]
pub struct Share(Arc<AtomicU64>);

impl Share {
    /// A share of this many bit/s.
    pub fn new(bits: u64) -> Self {
        Self(Arc::new(AtomicU64::new(bits)))
    }

    /// Changes it.
    pub fn set(&self, bits: u64) {
        self.0.store(bits, Relaxed);
    }

    /// In bit/s.
    pub fn bits(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}
