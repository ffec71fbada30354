//! Asks an external service whether a peer may register, call, join, publish or play.
//!
//! The destination comes from the configuration only: no redirects, no proxies from the environment. Without an answer
//! in time the request is not allowed.

pub(crate) mod places;

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_lock::Semaphore;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::{debug, warn};
use ureq::Agent;

use self::places::{Entry, Places};
use crate::{
    access::{account::Lines, owner::Owner},
    operate::metrics::{Counted, Outcome, WebhookMetrics},
    runtime,
};

/// The first pause before a retry; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The largest answer in bytes: it is a few lines of JSON.
const MAX_ANSWER: u64 = 64 * 1024;

/// The request to the webhook, sent as JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// `register`, `call`, `join`, `publish` or `play`.
    pub event: &'static str,
    /// The peer's uid.
    pub uid: String,
    /// The subject of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// The peer's IP address.
    pub address: String,
    /// The server's number for the connection, as in its log.
    pub connection: u64,
    /// The callee of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The room to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The stream to publish or play.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stream: Option<String>,
}

/// The webhook's answer, read from JSON.
#[derive(Debug, Deserialize)]
struct Answer {
    /// Whether the peer may do it.
    allow: bool,
    /// The reason of a refusal, sent to the peer.
    #[serde(default)]
    reason: Option<String>,
    /// `RTCIceServer` objects for this peer, in the answer to a registration.
    #[serde(default)]
    ice_servers: Vec<Value>,
}

/// The result of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed, with `RTCIceServer` objects for this peer.
    Allowed(Vec<Value>),
    /// Refused, for this reason.
    Refused(String),
    /// No answer.
    None,
    /// The request is carried out or refused already: other nodes had a part in it.
    Done,
}

impl From<Answer> for Verdict {
    fn from(answer: Answer) -> Self {
        match answer.allow {
            true => Self::Allowed(answer.ice_servers),
            false => Self::Refused(answer.reason.unwrap_or_else(|| "not allowed".into())),
        }
    }
}

/// The peer that a question is asked for.
pub struct Asker {
    /// The owners it counts for: the largest network, or else the address, comes first.
    pub owners: Vec<Owner>,
    /// Its address, for the log.
    pub address: SocketAddr,
    /// The account for its log lines.
    pub lines: Lines,
}

/// The client of the webhook.
#[derive(Clone)]
pub struct Webhook {
    agent: Agent,
    url: Arc<str>,
    secret: Option<Arc<str>>,
    timeout: Duration,
    retries: u32,
    desk: Arc<Desk>,
}

/// Limits the questions under way.
#[derive(Default)]
struct Desk {
    places: Mutex<Places<Arc<Semaphore>>>,
    last_id: AtomicU64,
}

/// A place, or a position in the queue, released when dropped.
struct Place {
    desk: Arc<Desk>,
    id: u64,
    owners: Vec<Owner>,
    /// Counts it in a gauge.
    counted: Counted,
}

impl Desk {
    /// Waits at most `most` for a place.
    async fn place(
        self: Arc<Self>,
        owners: Vec<Owner>,
        most: Duration,
        metrics: &WebhookMetrics,
    ) -> Option<Place> {
        let id = self.last_id.fetch_add(1, Ordering::Relaxed);
        let turn = Arc::new(Semaphore::new(0));
        let entry = self.places().enter(id, &owners, turn.clone());
        if entry == Entry::Full {
            return None;
        }
        let mut place = Place { desk: self, id, owners, counted: Counted::in_gauge(&metrics.waiting) };
        if entry == Entry::Waits {
            runtime::timeout(most, turn.acquire()).await?;
        }
        place.counted = Counted::in_gauge(&metrics.places_used);
        Some(place)
    }

    fn places(&self) -> MutexGuard<'_, Places<Arc<Semaphore>>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        for turn in self.desk.places().leave(self.id, &self.owners) {
            turn.add_permits(1);
        }
    }
}

enum Failure {
    /// A retry may succeed.
    Passing(String),
    /// A retry would give the same result.
    Final(String),
}

impl Webhook {
    /// A webhook at `url` (http or https).
    pub fn new(url: &str, secret: Option<String>, timeout: Duration, retries: u32) -> Self {
        let config = Agent::config_builder().max_redirects(0).proxy(None).http_status_as_error(false).build();
        Self {
            agent: config.into(),
            url: url.into(),
            secret: secret.map(Into::into),
            timeout,
            retries,
            desk: Arc::default(),
        }
    }

    /// Asks, retries after an error, and returns within the timeout.
    pub async fn ask(self, question: Question, asker: Asker, metrics: WebhookMetrics) -> Verdict {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let (conn, event) = (question.connection, question.event);
        let Asker { owners, address, lines } = asker;
        // A longer wait would leave too little time for the answer.
        let Some(place) = self.desk.clone().place(owners, self.timeout / 2, &metrics).await else {
            debug!(conn, event, "too many questions for the webhook: refused");
            metrics.count(Outcome::Crowded, start.elapsed());
            return Verdict::None;
        };
        let left = deadline.saturating_duration_since(Instant::now());
        let asking = self.ask_until(deadline, question, place, &metrics);
        let result = runtime::timeout(left, asking).await.unwrap_or_else(|| Err("no answer in time".into()));
        let (verdict, outcome) = match result {
            Ok(verdict @ Verdict::Allowed(_)) => (verdict, Outcome::Allowed),
            Ok(verdict) => (verdict, Outcome::Refused),
            Err(why) => {
                if lines.admit(address) {
                    warn!(conn, event, why, "the webhook fails: refused");
                }
                (Verdict::None, Outcome::Failed)
            }
        };
        metrics.count(outcome, start.elapsed());
        verdict
    }

    async fn ask_until(
        &self,
        deadline: Instant,
        question: Question,
        place: Place,
        metrics: &WebhookMetrics,
    ) -> Result<Verdict, String> {
        let place = Arc::new(place);
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        loop {
            let (hook, question, place) = (self.clone(), question.clone(), place.clone());
            metrics.requests.inc();
            // The place stays taken until the request has really ended, even if its result is not needed any more.
            let result = runtime::unblock(move || {
                let left = deadline.saturating_duration_since(Instant::now());
                let result = hook.post(&question, left);
                drop(place);
                result
            });
            match result.await {
                Ok(answer) => return Ok(answer.into()),
                Err(Failure::Final(why)) => return Err(why),
                Err(Failure::Passing(why)) if tries >= self.retries || Instant::now() + pause >= deadline => {
                    return Err(why);
                }
                Err(Failure::Passing(_)) => runtime::sleep(pause).await,
            }
            tries += 1;
            pause *= 2;
        }
    }

    fn post(&self, question: &Question, time: Duration) -> Result<Answer, Failure> {
        let mut request = self.agent.post(&*self.url).config().timeout_global(Some(time)).build();
        if let Some(secret) = &self.secret {
            request = request.header("Authorization", format!("Bearer {secret}"));
        }
        let mut response =
            request.send_json(question).map_err(|error| Failure::Passing(error.to_string()))?;
        match response.status().as_u16() {
            200..=299 => response
                .body_mut()
                .with_config()
                .limit(MAX_ANSWER)
                .read_json()
                .map_err(|error| Failure::Final(format!("its answer is not as it should be: {error}"))),
            status @ (429 | 500..=599) => Err(Failure::Passing(format!("status {status}"))),
            status => Err(Failure::Final(format!("status {status}"))),
        }
    }
}
