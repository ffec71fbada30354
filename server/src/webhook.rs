//! Asks somebody else whether a peer may do what it wants to do.
//!
//! The destination comes from the configuration and from nowhere else: no redirects, no proxies of the
//! environment. No answer in time is a no.

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
    account::Lines,
    metrics::{Counted, Outcome, WebhookMetrics},
    owner::Owner,
    runtime,
};

/// First pause before asking again; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// An answer is a few lines of JSON.
const MAX_ANSWER: u64 = 64 * 1024;

/// What is asked: who wants what, from where.
#[derive(Debug, Clone, Serialize)]
pub struct Question {
    /// `register`, `call` or `join`.
    pub event: &'static str,
    /// Who wants it.
    pub uid: String,
    /// The subject of its token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Where it comes from.
    pub address: String,
    /// The server's number for the connection, as in its log.
    pub connection: u64,
    /// The callee of a call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// The room to join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
}

/// What the webhook answers.
#[derive(Debug, Deserialize)]
struct Answer {
    /// Yes or no.
    allow: bool,
    /// Why not; the peer is told.
    #[serde(default)]
    reason: Option<String>,
    /// `RTCIceServer` objects for this peer, in the answer to a registration.
    #[serde(default)]
    ice_servers: Vec<Value>,
}

/// What becomes of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Yes, and `RTCIceServer` objects for this peer.
    Allowed(Vec<Value>),
    /// No, for this reason.
    Refused(String),
    /// There is no answer.
    None,
}

impl From<Answer> for Verdict {
    fn from(answer: Answer) -> Self {
        match answer.allow {
            true => Self::Allowed(answer.ice_servers),
            false => Self::Refused(answer.reason.unwrap_or_else(|| "not allowed".into())),
        }
    }
}

/// On whose account a question is.
pub struct Asker {
    /// The first of them contains the other addresses and networks.
    pub owners: Vec<Owner>,
    /// Where it comes from.
    pub address: SocketAddr,
    /// For lines in the log about it.
    pub lines: Lines,
}

/// Whom to ask.
#[derive(Clone)]
pub struct Webhook {
    agent: Agent,
    url: Arc<str>,
    secret: Option<Arc<str>>,
    timeout: Duration,
    retries: u32,
    desk: Arc<Desk>,
}

/// Where questions get their places.
#[derive(Default)]
struct Desk {
    places: Mutex<Places<Arc<Semaphore>>>,
    last_id: AtomicU64,
}

/// A place, or one in the queue; given up when dropped.
struct Place {
    desk: Arc<Desk>,
    id: u64,
    owners: Vec<Owner>,
    /// Where operators see it.
    counted: Counted,
}

impl Desk {
    /// Waits for a place, at most this long.
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
    /// Worth another try.
    Passing(String),
    /// The same question gets the same answer.
    Final(String),
}

impl Webhook {
    /// Asks `url`, which is http or https.
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

    /// Asks, again after an error, and returns within the deadline.
    pub async fn ask(self, question: Question, asker: Asker, metrics: WebhookMetrics) -> Verdict {
        let start = Instant::now();
        let deadline = start + self.timeout;
        let (conn, event) = (question.connection, question.event);
        let Asker { owners, address, lines } = asker;
        // After a longer wait there is too little time for an answer.
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
            // The place is taken until the request has really ended, also if nobody waits for it any more.
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
