//! Metrics of media nodes.

use callbin_protocol::node::Stats;
use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::register;
use crate::hub::Counts;

/// A counter's name, its help, and its place in the statistics.
type Row = (&'static str, &'static str, fn(&Stats) -> u64);

const ROWS: [Row; 9] = [
    ("media_packets_in", "RTP packets from publishers", |it| it.packets_in),
    ("media_bytes_in", "Payload bytes of RTP packets from publishers", |it| it.bytes_in),
    ("media_packets_out", "RTP packets to viewers", |it| it.packets_out),
    ("media_bytes_out", "Bytes of RTP packets to viewers", |it| it.bytes_out),
    ("media_lost_in", "Packets of publishers that never came", |it| it.lost_in),
    ("media_lost_out", "Packets that viewers reported as lost", |it| it.lost_out),
    ("media_retransmitted", "Packets sent again to viewers", |it| it.retransmitted),
    ("media_dropped", "Datagrams that a media node's socket did not take", |it| it.dropped),
    ("media_key_frame_requests", "Key frames requested from publishers", |it| it.key_frame_requests),
];

/// The media nodes, and what all of them have counted since the server started.
#[derive(Debug)]
pub(super) struct MediaMetrics {
    nodes: Gauge,
    streams: Gauge,
    viewers: Gauge,
    counters: [Counter; ROWS.len()],
}

impl MediaMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let mut gauge = |name: &str, help: &str| register(registry, name, help, Gauge::default());
        let nodes = gauge("media_nodes", "Attached media nodes");
        let streams = gauge("streams", "Streams published to media nodes");
        let viewers = gauge("viewers", "Viewers of streams");
        let counters = ROWS.map(|(name, help, _)| register(registry, name, help, Counter::default()));
        Self { nodes, streams, viewers, counters }
    }

    /// Sets the current values. Totals never decrease.
    pub(super) fn set(&self, counts: Counts, total: Stats) {
        let set = |gauge: &Gauge, value: usize| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        set(&self.nodes, counts.nodes);
        set(&self.streams, counts.streams);
        set(&self.viewers, counts.viewers);
        for (counter, (_, _, value)) in self.counters.iter().zip(ROWS) {
            counter.inc_by(value(&total).saturating_sub(counter.get()));
        }
    }
}
