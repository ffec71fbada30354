//! Usage and rate limits per address and per identity.
//!
//! An account outlives its last connection for a while; otherwise a reconnect would reset its limits. Admitting a
//! message never waits: the lock is written to only when the limits change.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    num::NonZeroU32,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use tracing::info;

use crate::access::owner::{Owner, network};

/// How long an account without connections is kept. Its rate limits have recovered by then.
const KEPT: Duration = Duration::from_secs(30);

/// How long an address with too many bad tokens is barred from everything that needs a token.
pub const BARRED: Duration = Duration::from_secs(10);

/// The longest delay of a request due to the notices that its owner has caused.
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The most accounts. Beyond this, accounts without connections are removed first.
const MAX_ACCOUNTS: usize = 100_000;

/// The limits of one owner. 0: unlimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Connections of all owners together.
    pub max_connections: usize,
    /// Simultaneous connections.
    pub connections: usize,
    /// Registrations per second.
    pub registrations: u32,
    /// Bad tokens per second.
    pub bad_tokens: u32,
    /// HTTP requests per second.
    pub requests: u32,
    /// Messages per second.
    pub messages: u32,
    /// Bytes of messages per second. One message of the largest size is always admitted at once.
    pub bytes: u32,
    /// Size of the largest message in bytes.
    pub max_message: u32,
    /// Notices to others and names in answers, per second.
    pub notices: u32,
    /// Log lines per second.
    pub log_lines: u32,
}

impl Quotas {
    /// The quotas multiplied by an owner's scale.
    fn times(&self, scale: u32) -> Self {
        let connections = self.connections.saturating_mul(scale as usize);
        let all = [
            self.registrations,
            self.bad_tokens,
            self.requests,
            self.messages,
            self.bytes,
            self.notices,
            self.log_lines,
        ];
        let [registrations, bad_tokens, requests, messages, bytes, notices, log_lines] =
            all.map(|rate| rate.saturating_mul(scale));
        Self {
            connections,
            registrations,
            bad_tokens,
            requests,
            messages,
            bytes,
            notices,
            log_lines,
            ..*self
        }
    }
}

/// Why a connection is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Full {
    /// The server has its maximum of connections.
    #[error("the server is full")]
    Server,
    /// The address or the identity has its maximum of connections.
    #[error("too many connections from here")]
    Owner,
}

/// All accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    quotas: RwLock<Quotas>,
    table: Mutex<Table>,
    connections: AtomicUsize,
}

#[derive(Debug, Default)]
struct Table {
    accounts: HashMap<Owner, Arc<Account>>,
    swept: Option<Instant>,
}

#[derive(Debug)]
struct Account {
    connections: AtomicUsize,
    last_left: Mutex<Instant>,
    barred_until: Mutex<Option<Instant>>,
    rates: RwLock<Rates>,
    /// The multiple of the quotas that it may use.
    scale: u32,
    /// Log lines left out since the last one written.
    lines_left_out: AtomicU64,
}

#[derive(Debug)]
struct Rates {
    registrations: Limiter,
    bad_tokens: Limiter,
    requests: Limiter,
    messages: Limiter,
    bytes: Limiter,
    log_lines: Limiter,
    notices: Pacer,
}

/// The account that log lines are charged to.
#[derive(Debug, Clone, Default)]
pub struct Lines(Option<Arc<Account>>);

/// A connection's entry in the accounts of its owners, removed when dropped.
#[derive(Debug)]
pub struct Ticket {
    accounts: Arc<Accounts>,
    owners: Vec<Arc<Account>>,
}

impl Accounts {
    /// Accounts with limits.
    pub fn new(quotas: Quotas) -> Self {
        Self { quotas: RwLock::new(quotas), ..Self::default() }
    }

    /// Replaces the limits, also for existing accounts.
    pub fn set_quotas(&self, quotas: Quotas) {
        let before =
            std::mem::replace(&mut *self.quotas.write().unwrap_or_else(PoisonError::into_inner), quotas);
        // Reloading the same limits must not refill any account.
        if before == quotas {
            return;
        }
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        for account in table.accounts.values() {
            let rates = Rates::new(&quotas.times(account.scale));
            *account.rates.write().unwrap_or_else(PoisonError::into_inner) = rates;
        }
    }

    /// Counts a connection, unless the server is full.
    pub fn enter(self: &Arc<Self>) -> Result<Ticket, Full> {
        let max = self.quotas().max_connections;
        let before = self.connections.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket { accounts: self.clone(), owners: Vec::new() };
        // If it is full, dropping the ticket subtracts the connection again.
        if max > 0 && before >= max { Err(Full::Server) } else { Ok(ticket) }
    }

    /// Whether one of these owners is barred from what needs a token.
    pub fn is_barred(&self, owners: impl IntoIterator<Item = Owner>) -> bool {
        let table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let mut accounts = owners.into_iter().filter_map(|owner| table.accounts.get(&owner));
        accounts.any(|account| account.is_barred())
    }

    /// Counts a bad token. True if it exceeds the limit: an owner is barred from now on.
    pub fn count_bad_token(&self, owners: impl IntoIterator<Item = Owner>) -> bool {
        let mut one_too_many = false;
        for account in owners.into_iter().filter_map(|owner| self.account(&owner)) {
            account.touch();
            if !account.rates().bad_tokens.admit(1) {
                account.bar();
                one_too_many = true;
            }
        }
        one_too_many
    }

    /// Counts an HTTP request in these accounts. False if it exceeds a limit.
    pub fn admit_request(&self, owners: impl IntoIterator<Item = Owner>) -> bool {
        let mut accounts = owners.into_iter().map(|owner| self.account(&owner));
        // If there is no room for another account, the request is refused.
        accounts.all(|account| account.is_some_and(|account| account.admit_request()))
    }

    /// The account for log lines about this address.
    pub fn lines(&self, address: IpAddr) -> Lines {
        Lines(self.account(&Owner::Address(network(address))))
    }

    fn quotas(&self) -> Quotas {
        *self.quotas.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn account(&self, owner: &Owner) -> Option<Arc<Account>> {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        // Read under the lock: new limits either find the account in the table, or it is created with them.
        let quotas = self.quotas();
        if let Some(account) = table.accounts.get(owner) {
            return Some(account.clone());
        }
        table.sweep();
        if table.accounts.len() >= MAX_ACCOUNTS {
            return None;
        }
        let account = Arc::new(Account::new(&quotas, owner.scale()));
        table.accounts.insert(owner.clone(), account.clone());
        Some(account)
    }
}

impl Table {
    /// Removes accounts that have been unused for a while; if the table is full, all unused ones.
    fn sweep(&mut self) {
        let crowded = self.accounts.len() >= MAX_ACCOUNTS;
        let recent = self.swept.is_some_and(|swept| swept.elapsed() < KEPT);
        if recent && !(crowded && self.swept.is_some_and(|swept| swept.elapsed() > KEPT / 30)) {
            return;
        }
        self.swept = Some(Instant::now());
        self.accounts.retain(|_, account| !account.is_idle(if crowded { Duration::ZERO } else { KEPT }));
    }
}

impl Account {
    fn new(quotas: &Quotas, scale: u32) -> Self {
        Self {
            connections: AtomicUsize::new(0),
            last_left: Mutex::new(Instant::now()),
            barred_until: Mutex::new(None),
            rates: RwLock::new(Rates::new(&quotas.times(scale))),
            scale,
            lines_left_out: AtomicU64::new(0),
        }
    }

    fn admit_request(&self) -> bool {
        self.touch();
        self.rates().requests.admit(1)
    }

    /// Marks it as in use, so that its rates are not reset.
    fn touch(&self) {
        *self.last_left.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
    }

    fn rates(&self) -> RwLockReadGuard<'_, Rates> {
        self.rates.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn bar(&self) {
        *self.barred_until.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + BARRED);
    }

    fn is_barred(&self) -> bool {
        let until = *self.barred_until.lock().unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn is_idle(&self, since: Duration) -> bool {
        self.connections.load(Ordering::Relaxed) == 0
            && !self.is_barred()
            && self.last_left.lock().unwrap_or_else(PoisonError::into_inner).elapsed() >= since
    }
}

impl Rates {
    fn new(quotas: &Quotas) -> Self {
        Self {
            registrations: Limiter::new(quotas.registrations, quotas.registrations.saturating_mul(5)),
            bad_tokens: Limiter::new(quotas.bad_tokens, quotas.bad_tokens.saturating_mul(5)),
            requests: Limiter::new(quotas.requests, quotas.requests.saturating_mul(5)),
            messages: Limiter::new(quotas.messages, quotas.messages.saturating_mul(2)),
            bytes: Limiter::new(quotas.bytes, quotas.bytes.saturating_mul(2).max(quotas.max_message)),
            log_lines: Limiter::new(quotas.log_lines, quotas.log_lines.saturating_mul(10)),
            notices: Pacer::new(quotas.notices),
        }
    }

    fn admit_message(&self, bytes: u32) -> bool {
        self.messages.admit(1) && self.bytes.admit(bytes)
    }
}

impl Ticket {
    /// Charges the connection to these owners, too.
    pub fn charge(&mut self, owners: impl IntoIterator<Item = Owner>) -> Result<(), Full> {
        owners.into_iter().try_for_each(|owner| self.charge_one(&owner))
    }

    fn charge_one(&mut self, owner: &Owner) -> Result<(), Full> {
        let account = self.accounts.account(owner).ok_or(Full::Server)?;
        let max = self.accounts.quotas().times(account.scale).connections;
        let before = account.connections.fetch_add(1, Ordering::Relaxed);
        self.owners.push(account);
        if max > 0 && before >= max { Err(Full::Owner) } else { Ok(()) }
    }

    /// Whether another HTTP request is admitted. A connection without owners has no limit here.
    pub fn admit_request(&self) -> bool {
        self.owners.iter().all(|account| account.admit_request())
    }

    /// Whether it may register now.
    pub fn admit_registration(&self) -> bool {
        self.owners.iter().all(|account| account.rates().registrations.admit(1))
    }

    /// The delay before it may cause `count` notices, which are charged now. `None`: the delay would be too long.
    pub fn wait_for_notices(&self, count: usize) -> Option<Duration> {
        let now = Instant::now();
        let waits = self.owners.iter().map(|account| account.rates().notices.wait(now));
        let wait = waits.max().unwrap_or_default();
        if wait > LONGEST_WAIT {
            return None;
        }
        self.owners.iter().for_each(|account| account.rates().notices.take(count, now));
        Some(wait)
    }

    /// The account for log lines about it: its address.
    pub fn lines(&self) -> Lines {
        Lines(self.owners.first().cloned())
    }

    /// Whether it may send a message of this size (in bytes) now.
    pub fn admit_message(&self, bytes: usize) -> bool {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).max(1);
        self.owners.iter().all(|account| account.rates().admit_message(bytes))
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.accounts.connections.fetch_sub(1, Ordering::Relaxed);
        for account in &self.owners {
            account.touch();
            account.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Lines {
    /// Whether another line may be logged. If lines were left out before, this logs how many.
    pub fn admit(&self, address: SocketAddr) -> bool {
        let Some(account) = &self.0 else { return true };
        // The line about those left out counts, too.
        let lines = 1 + u32::from(account.lines_left_out.load(Ordering::Relaxed) > 0);
        if !account.rates().log_lines.admit(lines) {
            account.lines_left_out.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        let lines = account.lines_left_out.swap(0, Ordering::Relaxed);
        if lines > 0 {
            info!(%address, lines, "lines about one address left out");
        }
        true
    }
}

/// A rate with a reserve of two seconds. A request for more than is left is granted, and later ones wait until it is
/// paid for.
#[derive(Debug)]
struct Pacer(Option<(Duration, Mutex<Instant>)>);

impl Pacer {
    /// The reserve, as the time in which it refills.
    const RESERVE: Duration = Duration::from_secs(2);

    fn new(per_second: u32) -> Self {
        let paid = Mutex::new(Instant::now());
        Self(Duration::from_secs(1).checked_div(per_second).map(|each| (each, paid)))
    }

    fn wait(&self, now: Instant) -> Duration {
        let Some((_, paid)) = &self.0 else { return Duration::ZERO };
        let paid = *paid.lock().unwrap_or_else(PoisonError::into_inner);
        paid.saturating_duration_since(now).saturating_sub(Self::RESERVE)
    }

    fn take(&self, count: usize, now: Instant) {
        let Some((each, paid)) = &self.0 else { return };
        let mut paid = paid.lock().unwrap_or_else(PoisonError::into_inner);
        *paid = (*paid).max(now) + each.saturating_mul(u32::try_from(count).unwrap_or(u32::MAX));
    }
}

/// A rate limit that admits bursts.
#[derive(Debug)]
struct Limiter(Option<DefaultDirectRateLimiter>);

impl Limiter {
    fn new(per_second: u32, burst: u32) -> Self {
        let quota = NonZeroU32::new(per_second).zip(NonZeroU32::new(burst));
        Self(quota.map(|(rate, burst)| RateLimiter::direct(Quota::per_second(rate).allow_burst(burst))))
    }

    fn admit(&self, n: u32) -> bool {
        match (&self.0, NonZeroU32::new(n)) {
            (Some(limiter), Some(n)) => matches!(limiter.check_n(n), Ok(Ok(()))),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::owner::owners;

    const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 4711);

    fn owner(last: u8) -> Owner {
        Owner::Address([192, 0, 2, last].into())
    }

    fn enter(accounts: &Arc<Accounts>, last: u8) -> Result<Ticket, Full> {
        let mut ticket = accounts.enter()?;
        ticket.charge([owner(last)])?;
        Ok(ticket)
    }

    #[test]
    fn connections_are_counted_and_given_back() {
        let quotas = Quotas { connections: 2, max_connections: 3, ..Quotas::default() };
        let accounts = Arc::new(Accounts::new(quotas));
        let first = enter(&accounts, 1).unwrap();
        let _second = enter(&accounts, 1).unwrap();
        assert_eq!(enter(&accounts, 1).unwrap_err(), Full::Owner);
        let _other = enter(&accounts, 2).unwrap();
        assert_eq!(enter(&accounts, 3).unwrap_err(), Full::Server);
        drop(first);
        let _again = enter(&accounts, 1).unwrap();
    }

    #[test]
    fn rates_are_shared_by_all_connections_of_an_owner() {
        let quotas = Quotas { messages: 1, registrations: 1, ..Quotas::default() };
        let accounts = Arc::new(Accounts::new(quotas));
        let (one, two) = (enter(&accounts, 1).unwrap(), enter(&accounts, 1).unwrap());
        assert_eq!((0..30).filter(|_| one.admit_message(0) && two.admit_message(0)).count(), 1);
        assert_eq!((0..30).filter(|_| one.admit_registration()).count(), 5);
        assert!(enter(&accounts, 2).unwrap().admit_message(0));
    }

    #[test]
    fn who_comes_back_does_not_start_afresh() {
        let accounts = Arc::new(Accounts::new(Quotas { registrations: 1, ..Quotas::default() }));
        let admitted = (0..20).filter(|_| enter(&accounts, 1).unwrap().admit_registration()).count();
        assert_eq!(admitted, 5);
    }

    #[test]
    fn too_many_bad_tokens_bar_their_owner_and_nobody_else() {
        let accounts = Accounts::new(Quotas { bad_tokens: 2, ..Quotas::default() });
        let (one, two) = ([owner(1)], [owner(2)]);
        assert_eq!((0..10).filter(|_| !accounts.count_bad_token(one.clone())).count(), 10, "a burst");
        assert!(!accounts.is_barred(one.clone()));
        assert!(accounts.count_bad_token(one.clone()));
        assert!(accounts.is_barred(one.clone()));
        assert!(!accounts.is_barred(two));
        let free = Accounts::default();
        assert!((0..1000).all(|_| !free.count_bad_token(one.clone())), "zero is no limit");
    }

    /// How many of `n` attempts from addresses `step` apart are admitted.
    fn from_networks(n: u32, step: u128, mut admit: impl FnMut(IpAddr) -> bool) -> u32 {
        let base = "2001:db8::1".parse::<std::net::Ipv6Addr>().unwrap().to_bits();
        let addresses = (0..n).map(|i| std::net::Ipv6Addr::from_bits(base + u128::from(i) * step).into());
        addresses.filter(|address| admit(*address)).count().try_into().unwrap()
    }

    const OF_64: u128 = 1 << 64;
    const OF_56: u128 = 1 << 72;
    const OF_48: u128 = 1 << 80;

    #[test]
    fn larger_ipv6_networks_have_higher_bounds() {
        for (step, bound) in [(1, 2), (OF_64, 8), (OF_56, 32), (OF_48, 100)] {
            let quotas = Quotas { connections: 2, registrations: 2, bad_tokens: 2, ..Quotas::default() };
            let accounts = Arc::new(Accounts::new(quotas));
            let mut tickets = Vec::new();
            let entered = from_networks(100, step, |address| {
                let mut ticket = accounts.enter().unwrap();
                let entered = ticket.charge(owners(address)).is_ok();
                tickets.extend(entered.then_some(ticket));
                entered
            });
            assert_eq!(entered, bound, "connections, one for each of {step}");
            let accounts = Arc::new(Accounts::new(quotas));
            let registered = from_networks(250, step, |address| {
                let mut ticket = accounts.enter().unwrap();
                ticket.charge(owners(address)).is_ok() && ticket.admit_registration()
            });
            // Some quota refills meanwhile, more of it on a busy machine.
            let allowed = (bound * 5).min(250)..=bound * 20;
            assert!(allowed.contains(&registered), "{registered} registrations, one for each of {step}");
            let tried = from_networks(250, step, |address| !accounts.count_bad_token(owners(address)));
            assert!(allowed.contains(&tried), "{tried} bad tokens, one for each of {step}");
        }
    }

    #[test]
    fn requests_are_limited_for_each_owner() {
        let accounts = Arc::new(Accounts::new(Quotas { requests: 2, ..Quotas::default() }));
        let ticket = enter(&accounts, 1).unwrap();
        assert_eq!((0..20).filter(|_| ticket.admit_request()).count(), 10, "a burst");
        assert!(!accounts.admit_request([owner(1)]), "the same account");
        assert!(accounts.admit_request([owner(2)]));
        assert!((0..1000).all(|_| Accounts::default().admit_request([owner(1)])), "zero is no limit");
    }

    #[test]
    fn other_limits_are_for_those_who_are_there_too() {
        let quotas = Quotas { messages: 1, ..Quotas::default() };
        let accounts = Arc::new(Accounts::new(quotas));
        let ticket = enter(&accounts, 1).unwrap();
        let admitted = || (0..30).filter(|_| ticket.admit_message(0)).count();
        assert_eq!(admitted(), 2);
        accounts.set_quotas(quotas);
        assert_eq!(admitted(), 0, "no new reserve for the same limits");
        accounts.set_quotas(Quotas { messages: 2, ..quotas });
        assert_eq!(admitted(), 4);
        accounts.set_quotas(Quotas { messages: 0, ..quotas });
        assert_eq!(admitted(), 30);
    }

    #[test]
    fn the_largest_message_always_fits_once() {
        let quotas = Quotas { bytes: 10, max_message: 1000, ..Quotas::default() };
        let ticket = enter(&Arc::new(Accounts::new(quotas)), 1).unwrap();
        assert!(ticket.admit_message(1000));
        assert!(!ticket.admit_message(100));
    }

    #[test]
    fn notices_are_paid_for_afterwards_by_those_who_come_next() {
        let accounts = Arc::new(Accounts::new(Quotas { notices: 100, ..Quotas::default() }));
        let (one, two) = (enter(&accounts, 1).unwrap(), enter(&accounts, 1).unwrap());
        let wait =
            |ticket: &Ticket, count| ticket.wait_for_notices(count).map(|wait| wait.as_secs_f64().ceil());
        assert_eq!(wait(&one, 190), Some(0.0), "within the reserve");
        assert_eq!(wait(&two, 500), Some(0.0), "it is not used up");
        assert_eq!(wait(&one, 500), Some(5.0), "490 too many");
        assert_eq!(wait(&two, 1), Some(10.0), "in the order they came");
        assert_eq!(wait(&two, 100), Some(10.0));
        assert_eq!(wait(&one, 1), None, "nobody waits for ever");
        assert_eq!(wait(&enter(&accounts, 2).unwrap(), 1), Some(0.0), "others do not");
    }

    #[test]
    fn lines_in_the_log_are_bounded_for_each_address() {
        let accounts = Arc::new(Accounts::new(Quotas { log_lines: 1, ..Quotas::default() }));
        let (one, two) = (enter(&accounts, 1).unwrap(), enter(&accounts, 1).unwrap());
        let admitted = (0..50).filter(|_| one.lines().admit(ADDRESS) && two.lines().admit(ADDRESS)).count();
        assert_eq!(admitted, 5, "ten at once, of both together");
        let left_out = |ticket: &Ticket| ticket.lines().0.unwrap().lines_left_out.load(Ordering::Relaxed);
        assert_eq!(left_out(&one), 45);
        assert!(enter(&accounts, 2).unwrap().lines().admit(ADDRESS));
        accounts.set_quotas(Quotas { log_lines: 0, ..Quotas::default() });
        assert!(two.lines().admit(ADDRESS));
        assert_eq!(left_out(&one), 0, "they have been mentioned");
    }

    #[test]
    fn the_line_about_those_left_out_is_paid_for_too() {
        let accounts = Arc::new(Accounts::new(Quotas { log_lines: 1, ..Quotas::default() }));
        let ticket = enter(&accounts, 1).unwrap();
        let account = ticket.lines().0.unwrap();
        account.lines_left_out.store(1, Ordering::Relaxed);
        // Ten at once; one of them is the line about those left out.
        assert_eq!((0..50).filter(|_| ticket.lines().admit(ADDRESS)).count(), 9);
    }

    #[test]
    fn zero_is_no_limit() {
        let accounts = Arc::new(Accounts::default());
        let ticket = enter(&accounts, 1).unwrap();
        assert!((0..1000).all(|_| ticket.wait_for_notices(usize::MAX) == Some(Duration::ZERO)));
        assert!((0..100_000).all(|_| ticket.admit_message(1 << 20) && ticket.admit_registration()));
    }
}
