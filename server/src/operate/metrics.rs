//! Metrics in the OpenMetrics text format.
//!
//! Counters are updated when events happen; current values are computed for each scrape.

mod cluster;
mod media;
mod webhook;

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::{Registry, Unit},
};

pub use self::cluster::ClusterMetrics;
use self::media::MediaMetrics;
pub use self::webhook::{Counted, Outcome, WebhookMetrics};
use callbin_protocol::node::Stats;

use crate::{delivery::payload::Kind, dialect::Dialect, hub::Counts};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: Kind,
}

/// The empty label set, for a metric that is absent until it is set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
struct NoLabels {}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DialectLabel {
    dialect: Dialect,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    caller: Dialect,
    callee: Dialect,
}

/// All metrics. Recording takes no lock, except for refusals and closes.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    connections: Gauge,
    peers: Gauge,
    sessions: Gauge,
    rooms: Gauge,
    queued_bytes: Gauge,
    longest_queue: Gauge,
    queue_budget: Gauge,
    queue_budget_used: Gauge,
    ready: Gauge,
    /// Connections accepted, including those refused afterwards.
    pub accepted: Counter,
    /// Failed attempts to accept a connection.
    pub accept_errors: Counter,
    /// HELLOs accepted.
    pub registrations: Counter,
    /// Calls accepted.
    calls: Counter,
    /// ROOMs accepted.
    pub joins: Counter,
    /// Sessions that ended while an offer had no answer.
    pub unanswered_offers: Counter,
    /// Time from an offer to its answer, in seconds.
    pub offer_to_answer: Histogram,
    /// Questions to the webhook.
    pub webhook: WebhookMetrics,
    /// This node's part in the cluster.
    pub cluster: ClusterMetrics,
    media: MediaMetrics,
    dialect_connections: Family<DialectLabel, Gauge>,
    dialect_calls: Family<CallLabels, Counter>,
    certificate_expiry: Family<NoLabels, Gauge>,
    refusals: Family<ReasonLabel, Counter>,
    closes: Family<ReasonLabel, Counter>,
    traffic: [Traffic; 5],
}

#[derive(Debug, Clone)]
struct Traffic {
    messages: Counter<u64, AtomicU64>,
    bytes: Counter<u64, AtomicU64>,
}

/// The switchboard's values at the time of a scrape.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot {
    /// Numbers of connections, peers, sessions and rooms.
    pub counts: Counts,
    /// What all media nodes have counted.
    pub media: Stats,
    /// Connections by dialect.
    pub dialects: [(Dialect, usize); Dialect::ALL.len()],
    /// Bytes queued for all peers.
    pub queued_bytes: usize,
    /// Bytes queued for the peer with the longest queue.
    pub longest_queue: usize,
    /// `--max-queued-bytes`.
    pub queue_budget: usize,
    /// Bytes drawn from it.
    pub queue_budget_used: usize,
}

impl Default for Snapshot {
    fn default() -> Self {
        let (counts, media) = (Counts::default(), Stats::default());
        let dialects = Dialect::ALL.map(|dialect| (dialect, 0));
        Self {
            counts,
            media,
            dialects,
            queued_bytes: 0,
            longest_queue: 0,
            queue_budget: 0,
            queue_budget_used: 0,
        }
    }
}

const KINDS: [Kind; 5] = [Kind::Sdp, Kind::Ice, Kind::Text, Kind::Binary, Kind::Control];

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("callbin");
        let build = vec![("version", env!("CARGO_PKG_VERSION"))];
        registry.register("build", "Version of the running server", Info::new(build));
        let mut gauge = |name: &str, help: &str| register(&mut registry, name, help, Gauge::default());
        let connections = gauge("connections", "Open WebSockets");
        let peers = gauge("peers", "Registered uids");
        let sessions = gauge("sessions", "Sessions of two peers");
        let rooms = gauge("rooms", "Rooms with at least one member");
        let queued_bytes = gauge("queued_bytes", "Bytes waiting to be sent");
        let longest_queue =
            gauge("longest_queue_bytes", "Bytes waiting to be sent to the peer with the longest queue");
        let queue_budget = gauge(
            "queue_budget_bytes",
            "Common budget for queues and incomplete messages above 16 KiB per peer, in bytes",
        );
        let queue_budget_used = gauge("queue_budget_used_bytes", "Bytes of the common budget in use");
        let ready = gauge("ready", "1 while new registrations are accepted");
        let mut counter = |name: &str, help: &str| register(&mut registry, name, help, Counter::default());
        let accepted = counter("accepted_connections", "TCP connections accepted");
        let accept_errors = counter("accept_errors", "TCP connections that could not be accepted");
        let registrations = counter("registrations", "Accepted registrations");
        let calls = counter("calls", "Accepted calls");
        let joins = counter("joins", "Accepted joins");
        let unanswered_offers = counter("unanswered_offers", "Sessions that ended with an unanswered offer");
        let (messages, bytes) =
            (Family::<KindLabel, Counter>::default(), Family::<KindLabel, Counter>::default());
        registry.register("messages", "Messages received, by kind", messages.clone());
        let help = "Bytes of messages received, by kind";
        registry.register_with_unit("message", help, Unit::Bytes, bytes.clone());
        let help = "Open connections, by the dialect that they speak";
        let dialect_connections = register(&mut registry, "dialect_connections", help, Family::default());
        let help = "Calls accepted, by the dialects of caller and callee";
        let dialect_calls = register(&mut registry, "dialect_calls", help, Family::default());
        let webhook = WebhookMetrics::register(&mut registry);
        let cluster = ClusterMetrics::register(&mut registry);
        let media = MediaMetrics::register(&mut registry);
        let certificate_expiry = Family::<NoLabels, Gauge>::default();
        let help = "When the certificate in use expires, in seconds since 1970";
        let name = "certificate_expiry_timestamp";
        registry.register_with_unit(name, help, Unit::Seconds, certificate_expiry.clone());
        let refusals = register(&mut registry, "refusals", "What was refused, by reason", Family::default());
        let closes = register(
            &mut registry,
            "closes",
            "WebSockets closed by the server, by reason",
            Family::default(),
        );
        let buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];
        let offer_to_answer = Histogram::new(buckets);
        let help = "Time from an offer to its answer, in sessions";
        registry.register_with_unit("offer_to_answer", help, Unit::Seconds, offer_to_answer.clone());
        let traffic = KINDS.map(|kind| Traffic {
            messages: messages.get_or_create(&KindLabel { kind }).clone(),
            bytes: bytes.get_or_create(&KindLabel { kind }).clone(),
        });
        Self {
            registry,
            connections,
            peers,
            sessions,
            rooms,
            queued_bytes,
            longest_queue,
            queue_budget,
            queue_budget_used,
            ready,
            accepted,
            accept_errors,
            registrations,
            calls,
            joins,
            unanswered_offers,
            offer_to_answer,
            webhook,
            cluster,
            media,
            dialect_connections,
            dialect_calls,
            certificate_expiry,
            refusals,
            closes,
            traffic,
        }
    }
}

fn register<M: prometheus_client::registry::Metric + Clone>(
    registry: &mut Registry,
    name: &str,
    help: &str,
    metric: M,
) -> M {
    registry.register(name, help, metric.clone());
    metric
}

impl Metrics {
    /// Counts a message received.
    pub fn count_message(&self, kind: Kind, bytes: usize) {
        if let Some(traffic) = self.traffic.get(kind as usize) {
            traffic.messages.inc();
            traffic.bytes.inc_by(bytes as u64);
        }
    }

    /// Counts a call between peers of these dialects.
    pub fn count_call(&self, caller: Dialect, callee: Dialect) {
        self.calls.inc();
        self.dialect_calls.get_or_create(&CallLabels { caller, callee }).inc();
    }

    /// Sets the expiry of the certificate in use, in seconds since 1970.
    pub fn set_certificate_expiry(&self, seconds: i64) {
        self.certificate_expiry.get_or_create(&NoLabels {}).set(seconds);
    }

    /// Counts a refusal. The reason is a fixed text, never a peer's.
    pub fn count_refusal(&self, reason: impl ToString) {
        self.refusals.get_or_create(&ReasonLabel { reason: reason.to_string() }).inc();
    }

    /// Counts a WebSocket that the server closed.
    pub fn count_close(&self, reason: impl ToString) {
        self.closes.get_or_create(&ReasonLabel { reason: reason.to_string() }).inc();
    }

    /// The OpenMetrics text for a scrape.
    pub fn render(&self, now: Snapshot, ready: bool) -> String {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.connections, now.counts.connections);
        for (dialect, count) in now.dialects {
            set(&self.dialect_connections.get_or_create(&DialectLabel { dialect }), count);
        }
        set(&self.peers, now.counts.peers);
        set(&self.sessions, now.counts.sessions);
        set(&self.rooms, now.counts.rooms);
        self.media.set(now.counts, now.media);
        set(&self.queued_bytes, now.queued_bytes);
        set(&self.longest_queue, now.longest_queue);
        set(&self.queue_budget, now.queue_budget);
        set(&self.queue_budget_used, now.queue_budget_used);
        set(&self.ready, usize::from(ready));
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_has_everything() {
        let metrics = Metrics::default();
        metrics.count_message(Kind::Ice, 10);
        metrics.count_message(Kind::Ice, 5);
        metrics.count_refusal("no such thing");
        metrics.count_call(Dialect::Antmedia, Dialect::Text);
        let counts = Counts { peers: 7, streams: 2, ..Counts::default() };
        let media = Stats { packets_out: 9, ..Stats::default() };
        let now = Snapshot { counts, media, ..Snapshot::default() };
        metrics.render(now, true);
        let text = metrics.render(now, true);
        for line in [
            "callbin_messages_total{kind=\"Ice\"} 2",
            "callbin_message_bytes_total{kind=\"Ice\"} 15",
            "callbin_refusals_total{reason=\"no such thing\"} 1",
            "callbin_calls_total 1",
            "callbin_dialect_calls_total{caller=\"antmedia\",callee=\"text\"} 1",
            "callbin_dialect_connections{dialect=\"webrtcsink\"} 0",
            "callbin_peers 7",
            "callbin_streams 2",
            "callbin_media_packets_out_total 9",
            "callbin_ready 1",
            "callbin_build_info{version=",
        ] {
            assert!(text.contains(line), "{line} in {text}");
        }
    }
}
