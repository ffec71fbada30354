//! Metrics of the cluster. They are absent without one.

use prometheus_client::{
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::NoLabels;
use crate::cluster::Status;

type Value = Family<NoLabels, Gauge>;

/// What an operator needs to know of the node's part in the cluster.
#[derive(Debug, Default)]
pub struct ClusterMetrics {
    is_inside: Value,
    nodes: Value,
    links: Value,
    queued: Value,
    lost: Value,
    connects: Value,
    lag: Value,
}

impl ClusterMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let registry = registry.sub_registry_with_prefix("cluster");
        let mut add = |name: &str, help: &str, value: &Value| registry.register(name, help, value.clone());
        add("inside", "1 while this node takes part in the cluster", &this.is_inside);
        add("nodes", "Nodes that take part, as this one knows", &this.nodes);
        add("links", "Other nodes that this one has exchanged messages with", &this.links);
        add(
            "lost_links",
            "Links that lost messages, so that their calls were ended, since the start",
            &this.lost,
        );
        add("redis_connects", "Connections made to Redis since the start", &this.connects);
        add("redis_lag_microseconds", "Time that Redis took for the last commands", &this.lag);
        let help = "Bytes of messages that wait for other nodes";
        registry.register_with_unit("queued", help, Unit::Bytes, this.queued.clone());
        this
    }

    /// Sets the current values.
    pub fn set(&self, status: Status) {
        let set = |value: &Value, number: u64| {
            value.get_or_create(&NoLabels {}).set(i64::try_from(number).unwrap_or(i64::MAX));
        };
        set(&self.is_inside, status.is_inside.into());
        set(&self.nodes, status.nodes as u64);
        set(&self.links, status.links as u64);
        set(&self.queued, status.queued as u64);
        set(&self.lost, status.lost_links);
        set(&self.connects, status.connects);
        set(&self.lag, status.lag);
    }
}
