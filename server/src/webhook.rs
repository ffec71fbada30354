//! Asks somebody else whether a peer may do what it wants to do.
//!
//! The destination comes from the configuration and from nowhere else: no redirects, no proxies of the
//! environment. No answer in time is a no.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_lock::Semaphore;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;
use ureq::Agent;

use crate::runtime;

/// Questions under way at the same time. More wait their turn, within their deadline.
const MAX_PARALLEL: usize = 64;

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

/// What is answered.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Verdict {
    /// Yes or no.
    pub allow: bool,
    /// Why not; the peer is told.
    #[serde(default)]
    pub reason: Option<String>,
    /// `RTCIceServer` objects for this peer, in the answer to a registration.
    #[serde(default)]
    pub ice_servers: Vec<Value>,
}

/// Whom to ask.
#[derive(Clone)]
pub struct Webhook {
    agent: Agent,
    url: Arc<str>,
    secret: Option<Arc<str>>,
    timeout: Duration,
    retries: u32,
    places: Arc<Semaphore>,
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
        let config = Agent::config_builder()
            .timeout_global(Some(timeout))
            .max_redirects(0)
            .proxy(None)
            .http_status_as_error(false)
            .build();
        Self {
            agent: config.into(),
            url: url.into(),
            secret: secret.map(Into::into),
            timeout,
            retries,
            places: Arc::new(Semaphore::new(MAX_PARALLEL)),
        }
    }

    /// Asks, again after an error, and returns within the deadline.
    pub async fn ask(self, question: Question) -> Verdict {
        let event = question.event;
        let refused = |why: &str| {
            warn!(conn = question.connection, event, why, "the webhook fails: refused");
            Verdict { allow: false, reason: Some("not available".into()), ice_servers: Vec::new() }
        };
        match runtime::timeout(self.timeout, self.ask_until_answered(question.clone())).await {
            Some(Ok(verdict)) => verdict,
            Some(Err(why)) => refused(&why),
            None => refused("no answer in time"),
        }
    }

    async fn ask_until_answered(&self, question: Question) -> Result<Verdict, String> {
        let place = Arc::new(self.places.acquire_arc().await);
        let mut pause = FIRST_PAUSE;
        let mut tries = 0;
        let deadline = Instant::now() + self.timeout;
        loop {
            let (hook, question, place) = (self.clone(), question.clone(), place.clone());
            // The place is taken until the request has really ended, also if nobody waits for it any more.
            let result = runtime::unblock(move || {
                let result = hook.post(&question);
                drop(place);
                result
            });
            match result.await {
                Ok(verdict) => return Ok(verdict),
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

    fn post(&self, question: &Question) -> Result<Verdict, Failure> {
        let mut request = self.agent.post(&*self.url);
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
