//! The machine that the tests of one program share. It has two cores, and most tests wait most of the time, so `make test`
//! runs three at a time; those that measure what media or memory they get run two at a time, or alone.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// How many tests that hold [`shared`] run at a time.
const SHARES: usize = 2;

static MACHINE: Mutex<State> = Mutex::new(State { taken: 0, waiting: 0 });
static CHANGED: Condvar = Condvar::new();

struct State {
    /// Shares that are taken.
    taken: usize,
    /// Tests that wait until no share is taken. New shares wait for them.
    waiting: usize,
}

/// Shares of the machine, returned when dropped.
#[derive(Debug)]
#[must_use]
pub struct Shares(usize);

/// For a test that counts frames or memory that other tests would affect, or that needs both cores.
pub fn alone() -> Shares {
    let mut state = lock();
    state.waiting += 1;
    state = CHANGED.wait_while(state, |state| state.taken > 0).unwrap_or_else(PoisonError::into_inner);
    state.waiting -= 1;
    state.taken = SHARES;
    Shares(SHARES)
}

/// For the other tests of such a program.
pub fn shared() -> Shares {
    let is_full = |state: &mut State| state.taken >= SHARES || state.waiting > 0;
    let mut state = CHANGED.wait_while(lock(), is_full).unwrap_or_else(PoisonError::into_inner);
    state.taken += 1;
    Shares(1)
}

fn lock() -> MutexGuard<'static, State> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Shares {
    fn drop(&mut self) {
        lock().taken -= self.0;
        CHANGED.notify_all();
    }
}
