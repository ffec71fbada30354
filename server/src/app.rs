//! The state that all connections share.

use std::{
    net::SocketAddr,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

use async_lock::{Semaphore, SemaphoreGuardArc};

use crate::{
    access::{
        Grant,
        account::{Accounts, Full, Ticket},
        owner::owners,
    },
    cluster::Cluster,
    dialect::{Translator, Wants},
    edge::{assets::Assets, calls::Calls, fair::Lanes},
    hub::ConnId,
    operate::{
        metrics::{Metrics, Snapshot},
        scrape::Kept,
        settings::Settings,
    },
    switchboard::Switchboard,
};

/// Connections that are answered with the reason of their refusal at the same time. Beyond this, connections are cut
/// without an answer.
const MAX_SHEDDING: usize = 32;

/// HTTP connections that proxies may keep idle. Beyond this, they have the same timeouts as those of clients.
const MAX_KEPT: usize = 1024;

/// The server, apart from its sockets.
pub struct App {
    /// All open WebSockets.
    pub switchboard: Switchboard,
    /// The other nodes, if there are any.
    pub cluster: Option<Arc<Cluster>>,
    /// The calls and registrations of HTTP clients.
    pub calls: Calls,
    /// Usage and limits of addresses and identities.
    pub accounts: Arc<Accounts>,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The files of the page.
    pub assets: Assets,
    /// Path of the health check.
    pub health: String,
    /// The secret of the media node that we start.
    pub media_secret: Option<String>,
    /// Whether metrics and probes are served at another address.
    pub has_admin_address: bool,
    /// Queues for connections that are new or have more to read than others.
    pub lanes: Arc<Lanes>,
    snapshot: Kept<Snapshot>,
    /// Permits for idle HTTP connections of proxies.
    for_proxies: Arc<Semaphore>,
    settings: RwLock<Arc<Settings>>,
    last_conn: AtomicU64,
    draining: AtomicBool,
    shedding: AtomicUsize,
}

/// A connection that may become a peer.
pub struct Visit {
    /// Its number, for the log and the hub.
    pub conn: ConnId,
    /// The other end of the socket: the client, or a proxy.
    pub peer: SocketAddr,
    /// Its ticket, or the reason for its refusal.
    pub entry: Result<Ticket, Full>,
}

/// A connection that has become a WebSocket.
pub struct Admission {
    /// Its number.
    pub conn: ConnId,
    /// The client's address, as far as it is known.
    pub address: SocketAddr,
    /// The permissions of its token.
    pub grant: Arc<Grant>,
    /// The extra messages it asked for.
    pub wants: Wants,
    /// Translates its frames.
    pub translator: Box<dyn Translator>,
    /// Its ticket.
    pub ticket: Ticket,
}

impl App {
    /// A server without connections.
    pub fn new(
        switchboard: Switchboard,
        accounts: Arc<Accounts>,
        metrics: Arc<Metrics>,
        assets: Assets,
        settings: Settings,
    ) -> Self {
        Self {
            switchboard,
            cluster: None,
            calls: Calls::default(),
            accounts,
            metrics,
            assets,
            health: "/health".into(),
            media_secret: None,
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

    /// The current settings.
    pub fn settings(&self) -> Arc<Settings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the settings.
    pub fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// The text of `/metrics`.
    pub fn metrics_text(&self) -> String {
        // Computing it needs the switchboard's lock and takes longer the more connections there are, so it is cached.
        let snapshot = self.snapshot.get(|| self.switchboard.snapshot());
        if let Some(cluster) = &self.cluster {
            self.metrics.cluster.set(cluster.status());
        }
        self.metrics.render(snapshot, self.is_ready() && self.cluster_trouble().is_none())
    }

    /// A permit for an idle HTTP connection of a proxy, if one is left; released when dropped.
    pub fn keep_for_proxy(&self) -> Option<SemaphoreGuardArc> {
        self.for_proxies.try_acquire_arc()
    }

    /// Stops accepting registrations.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether it accepts registrations.
    pub fn is_ready(&self) -> bool {
        !self.draining.load(Ordering::Relaxed)
    }

    /// What keeps it from taking part in its cluster, if it has one.
    pub fn cluster_trouble(&self) -> Option<&'static str> {
        self.cluster.as_ref()?.trouble()
    }

    /// The number of a new connection.
    pub fn next_conn(&self) -> ConnId {
        ConnId(self.last_conn.fetch_add(1, Ordering::Relaxed) + 1)
    }

    /// Counts a new connection. `None`: cut it at once.
    pub fn visit(self: &Arc<Self>, peer: SocketAddr) -> Option<(Visit, Option<ShedSlot>)> {
        self.metrics.accepted.inc();
        let conn = self.next_conn();
        let entry = self.accounts.enter().and_then(|mut ticket| {
            // A proxy has many clients: the request names the one to charge.
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

/// A permit to answer a refused connection, released when dropped.
pub struct ShedSlot(Arc<App>);

impl Drop for ShedSlot {
    fn drop(&mut self) {
        self.0.shedding.fetch_sub(1, Ordering::Relaxed);
    }
}
