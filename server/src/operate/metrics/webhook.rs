//! Metrics of the webhook.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::access::webhook::places::PLACES;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

/// The result of a question to the webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Allowed.
    Allowed,
    /// Refused.
    Refused,
    /// No answer, or an invalid one.
    Failed,
    /// Not asked, because too many other questions were under way.
    Crowded,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> Result<(), std::fmt::Error> {
        let name = match self {
            Self::Allowed => "allowed",
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Crowded => "crowded",
        };
        EncodeLabelValue::encode(&name, encoder)
    }
}

/// Metrics of the webhook.
#[derive(Debug, Clone)]
pub struct WebhookMetrics {
    /// HTTP requests, including retries.
    pub requests: Counter,
    /// Questions under way.
    pub places_used: Gauge,
    /// Questions waiting for a place.
    pub waiting: Gauge,
    questions: Family<OutcomeLabel, Counter>,
    seconds: Histogram,
}

impl WebhookMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("webhook");
        let questions = Family::<OutcomeLabel, Counter>::default();
        registry.register("questions", "Questions to the webhook, by outcome", questions.clone());
        // Create all of them at the start; otherwise the first failure would not show as an increase.
        for outcome in [Outcome::Allowed, Outcome::Refused, Outcome::Failed, Outcome::Crowded] {
            drop(questions.get_or_create(&OutcomeLabel { outcome }));
        }
        let requests = Counter::default();
        registry.register("requests", "HTTP requests to the webhook, retries included", requests.clone());
        let (places_used, waiting, places) = (Gauge::default(), Gauge::default(), Gauge::<i64>::default());
        registry.register("places_used", "Questions to the webhook in progress", places_used.clone());
        registry.register("waiting", "Questions to the webhook that wait for a free place", waiting.clone());
        registry.register("places", "Maximum of concurrent questions to the webhook", places.clone());
        places.set(PLACES.try_into().unwrap_or(i64::MAX));
        let seconds = Histogram::new([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let help = "Time from a question to the webhook to its outcome";
        registry.register_with_unit("question", help, Unit::Seconds, seconds.clone());
        Self { requests, places_used, waiting, questions, seconds }
    }

    /// Counts a question and its duration.
    pub fn count(&self, outcome: Outcome, took: Duration) {
        self.questions.get_or_create(&OutcomeLabel { outcome }).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}

/// Counts one in a gauge until it is dropped.
#[derive(Debug)]
pub struct Counted(Gauge);

impl Counted {
    /// Adds one to the gauge.
    pub fn in_gauge(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
