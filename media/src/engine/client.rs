//! A session, and the way of packets to it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use callbin_protocol::node::SessionId;

use crate::{
    core::{
        bucket::Bucket,
        numbers::Numbers,
        packet::{Kind, Packet},
        stream::{Key, Outlet},
    },
    rtc::{Broken, Formats, Peer},
};

/// How long a session may take until it is connected.
const CONNECT: Duration = Duration::from_secs(30);
/// The datagrams per second of a viewer, and at once. It sends reports and requests only.
const VIEWER_DATAGRAMS: (f64, f64) = (500.0, 1000.0);
/// The datagrams per second of a publisher, and at once.
const PUBLISHER_DATAGRAMS: (f64, f64) = (20_000.0, 20_000.0);
/// The addresses per second from which a client may begin to send checks, and at once. The library keeps each of them until
/// ICE restarts.
const SOURCES: (f64, f64) = (0.2, 16.0);
/// The offers per second of a client, and at once: its first one, and one for each ICE restart.
const OFFERS: (f64, f64) = (0.2, 8.0);

/// What was sent to viewers.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) packets_out: u64,
    pub(super) bytes_out: u64,
    pub(super) forwarded: u64,
    pub(super) lost_out: u64,
}

/// A session.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) role: Role,
    /// Boxed: it has some kilobytes, and the table of clients grows.
    pub(super) peer: Option<Box<Peer>>,
    pub(super) is_connected: bool,
    /// When the session ends if nothing changes.
    pub(super) deadline: Option<Instant>,
    /// When the connection wants to be called.
    pub(super) wake: Option<Instant>,
    pub(super) is_written: bool,
    pub(super) datagrams: Bucket,
    pub(super) sources: Bucket,
    pub(super) offers: Bucket,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The formats are known after its offer.
    Publisher {
        formats: Option<Formats>,
    },
    Viewer {
        formats: Formats,
    },
}

/// The way of packets from the core to the viewers' connections.
pub(super) struct Outbox<'a> {
    pub(super) clients: &'a mut HashMap<Key, Client>,
    pub(super) written: &'a mut Vec<Key>,
    pub(super) counters: &'a mut Counters,
    pub(super) broken: Vec<(Key, Broken)>,
}

impl Client {
    pub(super) fn new(session: SessionId, role: Role, now: Instant) -> Self {
        let datagrams = match role {
            Role::Publisher { .. } => PUBLISHER_DATAGRAMS,
            Role::Viewer { .. } => VIEWER_DATAGRAMS,
        };
        let bucket = |(rate, burst)| Bucket::new(rate, burst, now);
        Self {
            session,
            role,
            peer: None,
            is_connected: false,
            deadline: Some(now + CONNECT),
            wake: None,
            is_written: false,
            datagrams: bucket(datagrams),
            sources: bucket(SOURCES),
            offers: bucket(OFFERS),
        }
    }

    pub(super) fn is_viewer(&self) -> bool {
        matches!(self.role, Role::Viewer { .. })
    }
}

impl Outlet for Outbox<'_> {
    fn forward(&mut self, viewer: Key, kind: Kind, numbers: Numbers, packet: &Packet) {
        let Some(client) = self.clients.get_mut(&viewer) else { return };
        let Some(peer) = &mut client.peer else { return };
        match peer.write(kind, numbers, packet) {
            Ok(()) => self.counters.forwarded += 1,
            Err(broken) => self.broken.push((viewer, broken)),
        }
        if !client.is_written {
            client.is_written = true;
            self.written.push(viewer);
        }
    }
}
