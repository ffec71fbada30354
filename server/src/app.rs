//! What all connections share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use async_lock::{Semaphore, SemaphoreGuardArc};

use crate::{
    access::Grant,
    account::{Accounts, Full, Ticket},
    assets::Assets,
    fair::Lanes,
    hub::ConnId,
    metrics::{Metrics, Snapshot},
    owner::owners,
    scrape::Kept,
    settings::Settings,
    switchboard::Switchboard,
};

/// Connections that are told at the same time why they are not taken. More are cut without a word.
const MAX_SHEDDING: usize = 32;

/// HTTP connections that proxies may keep idle. More are kept as those of clients are.
const MAX_KEPT: usize = 1024;

/// The server, apart from its sockets.
pub struct App {
    /// Everybody who is there.
    pub switchboard: Switchboard,
    /// What everybody uses.
    pub accounts: Arc<Accounts>,
    /// What operators see.
    pub metrics: Arc<Metrics>,
    /// The page.
    pub assets: Assets,
    /// Path of the health check.
    pub health: String,
    /// Metrics and probes are on another address.
    pub has_admin_address: bool,
    /// Where connections wait that are new, or have more to read than others.
    pub lanes: Arc<Lanes>,
    snapshot: Kept<Snapshot>,
    /// Places for idle HTTP connections of proxies.
    for_proxies: Arc<Semaphore>,
    settings: RwLock<Arc<Settings>>,
    last_conn: AtomicU64,
    draining: AtomicBool,
    shedding: AtomicUsize,
}

/// A connection that may become a peer.
pub struct Visit {
    /// Its number, for the log and for the hub.
    pub conn: ConnId,
    /// The other end of the socket: the client, or a proxy.
    pub peer: SocketAddr,
    /// Its place, or why it has none.
    pub entry: Result<Ticket, Full>,
}

/// A connection that has become a WebSocket.
pub struct Admission {
    /// Its number.
    pub conn: ConnId,
    /// The client's address, as far as it can be known.
    pub address: SocketAddr,
    /// What it may do.
    pub grant: Arc<Grant>,
    /// What it asked to hear.
    pub wants: Wants,
    /// Its place.
    pub ticket: Ticket,
}

/// What a client asked to hear beside what the protocol tells everybody: `?wants=caller,heartbeat`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Who calls it.
    pub caller: bool,
    /// That the server is there. A browser does not show pings to its page.
    pub heartbeat: bool,
}

impl Wants {
    /// Reads the value of the query. A word that we do not know may be one of another server.
    pub fn parse(words: &str) -> Self {
        let names = |word| words.split(',').any(|name| name == word);
        Self { caller: names("caller"), heartbeat: names("heartbeat") }
    }
}

impl App {
    /// A server with nobody there.
    pub fn new(
        switchboard: Switchboard,
        accounts: Arc<Accounts>,
        metrics: Arc<Metrics>,
        assets: Assets,
        settings: Settings,
    ) -> Self {
        Self {
            switchboard,
            accounts,
            metrics,
            assets,
            health: "/health".into(),
            has_admin_address: false,
            lanes: Arc::default(),
            snapshot: Kept::default(),
            for_proxies: Arc::new(Semaphore::new(MAX_KEPT)),
            settings: RwLock::new(Arc::new(settings)),
            last_conn: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            shedding: AtomicUsize::new(0),
        }
    }

    /// The settings of this moment.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Other settings from now on.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The text of `/metrics`.
    pub fn metrics_text(&self) -> String {
        // Under the switchboard's lock, and longer the more there are.
        let snapshot = self.snapshot.get(|| self.switchboard.snapshot());
        self.metrics.render(snapshot, self.is_ready())
    }

    /// A place for an HTTP connection that a proxy keeps, if there is one; given up when dropped.
    pub fn keep_for_proxy(&self) -> Option<SemaphoreGuardArc> {
        self.for_proxies.try_acquire_arc()
    }

    /// Takes no new registrations from now on.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Does it take new registrations?
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// Counts a new connection. `None`: it is to be cut at once.
    pub fn visit(self: &Arc<Self>, peer: SocketAddr) -> Option<(Visit, Option<ShedSlot>)> {
        self.metrics.accepted.inc();
        let conn = ConnId(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1);
        let entry = self.accounts.enter().and_then(|mut ticket| {
            // A proxy stands for many: whom to charge is in the request.
            if !self.settings().proxies.trusts(peer.ip()) {
                ticket.charge(owners(peer.ip()))?;
            }
            Ok(ticket)
        });
        let slot = match &entry {
            Ok(_) => None,
            Err(full) => {
                self.metrics.count_refusal(full);
                Some(self.shed_slot()?)
            }
        };
        Some((Visit { conn, peer, entry }, slot))
    }

    fn shed_slot(self: &Arc<Self>) -> Option<ShedSlot> {
        let before = self.shedding.fetch_add(1, Ordering::Relaxed);
        let slot = ShedSlot(self.clone());
        (before < MAX_SHEDDING).then_some(slot)
    }
}

/// A place among those who are told why they are not taken, given up when dropped.
pub struct ShedSlot(Arc<App>);

impl Drop for ShedSlot {
    fn drop(&mut self) {
        self.0.shedding.fetch_sub(1, Ordering::Relaxed);
    }
}
