//! The machine that the tests of one program share. It has two cores, and most tests wait most of the time, so `make test`
//! runs three at a time, and six of the client's. Of those with clients at most four run, of those with a browser or several
//! pipelines three, and of those that measure something two, or one alone. Those that add networks do that in a network namespace
//! of their own: browsers and clients of other tests notice each change of the machine's addresses.

use std::{
    cell::RefCell,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use crate::network::Space;

/// All shares of the machine.
const ALL: usize = 12;
/// The shares of a test that measures something.
const HALF: usize = ALL / 2;
/// The shares of a test with a browser or several pipelines.
const THIRD: usize = ALL / 3;
/// The shares of a test with a client.
const QUARTER: usize = ALL / 4;
/// The shares of all others.
const SIXTH: usize = ALL / 6;

static MACHINE: Mutex<State> = Mutex::new(State { taken: 0, waiting: 0 });
static CHANGED: Condvar = Condvar::new();

thread_local! {
    static THREAD: RefCell<Thread> = const { RefCell::new(Thread { has_asked: false, usual: None }) };
}

struct State {
    /// Shares that are taken.
    taken: usize,
    /// Tests that wait for the whole machine. The others let them go first.
    waiting: usize,
}

struct Thread {
    /// Whether the test on this thread has asked for shares.
    has_asked: bool,
    /// Those that a test gets that has not, until its thread ends.
    usual: Option<Taken>,
}

/// Shares of the machine, returned when dropped.
#[derive(Debug)]
#[must_use]
pub struct Shares {
    _space: Option<Space>,
    _taken: Taken,
}

#[derive(Debug)]
struct Taken(usize);

/// For a test that measures what other tests would affect, or that needs both cores.
pub fn alone() -> Shares {
    ask(ALL)
}

/// For a test that measures something while one other test may run.
pub fn shared() -> Shares {
    ask(HALF)
}

/// For a test with several pipelines.
pub fn busy() -> Shares {
    ask(THIRD)
}

/// For a test that adds networks: they, and all programs that it starts, are apart from the machine's network.
pub fn apart() -> Shares {
    match Space::enter() {
        Some(space) => Shares { _space: Some(space), ..busy() },
        // Only root has networks apart. Others add them, with sudo, to the machine's network while no other test is there.
        None => alone(),
    }
}

/// Both [`apart`] and [`alone`].
pub fn apart_and_alone() -> Shares {
    Shares { _space: Space::enter(), ..alone() }
}

/// What a test that has not asked for shares has started.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Started {
    Program,
    Client,
    Browser,
}

/// For all other tests, when they start something.
pub(crate) fn join(started: Started) {
    take_at_least(match started {
        Started::Program => SIXTH,
        Started::Client => QUARTER,
        Started::Browser => THIRD,
    });
}

fn take_at_least(shares: usize) {
    // Test threads have their test's path as a name; threads that a test starts have none.
    let is_test = thread::current().name().is_some_and(|name| name.contains("::"));
    let has_enough = THREAD.with_borrow(|thread| {
        thread.has_asked || thread.usual.as_ref().is_some_and(|taken| taken.0 >= shares)
    });
    if is_test && !has_enough {
        // A test that waits must hold nothing.
        drop(THREAD.with_borrow_mut(|thread| thread.usual.take()));
        let taken = take(shares);
        THREAD.with_borrow_mut(|thread| thread.usual = Some(taken));
    }
}

fn ask(shares: usize) -> Shares {
    // A test that waits must hold nothing.
    drop(THREAD.with_borrow_mut(|thread| thread.usual.take()));
    let taken = take(shares);
    THREAD.with_borrow_mut(|thread| thread.has_asked = true);
    Shares { _space: None, _taken: taken }
}

fn take(shares: usize) -> Taken {
    let mut state = lock();
    if shares == ALL {
        state.waiting += 1;
        state = CHANGED.wait_while(state, |state| state.taken > 0).unwrap_or_else(PoisonError::into_inner);
        state.waiting -= 1;
    } else {
        let is_full = |state: &mut State| state.taken + shares > ALL || state.waiting > 0;
        state = CHANGED.wait_while(state, is_full).unwrap_or_else(PoisonError::into_inner);
    }
    state.taken += shares;
    Taken(shares)
}

fn lock() -> MutexGuard<'static, State> {
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Taken {
    fn drop(&mut self) {
        lock().taken -= self.0;
        CHANGED.notify_all();
    }
}
