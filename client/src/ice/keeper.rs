//! Asks the signalling server for ICE servers (`GET /ice-servers`), and keeps their credentials fresh.
//!
//! It connects at the same time as the WebSocket, but asks only after the registration: the server may name servers for
//! registered uids only. A missing answer never delays a call for long: after `ASK_LIMIT` it counts as an empty one.

use std::{collections::HashSet, time::Duration};

use async_std::{
    channel::{self, Receiver, Sender},
    future::{self, timeout},
    task,
};
use callbin_protocol::PeerId;
use http_body_util::Full;
use hyper::{Method, Request, StatusCode, body::Bytes, header};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::IceServers;
use crate::{
    dial::{Stream, connect},
    exit::Failure,
    http,
    signalling::Server,
};

/// Time limit for connecting, asking and the answer. The first call may wait for it.
const ASK_LIMIT: Duration = Duration::from_secs(3);
/// Pause before asking again after a failure. It doubles with each further one, up to `MAX_PAUSE`.
const RETRY_PAUSE: Duration = Duration::from_secs(30);
const MAX_PAUSE: Duration = Duration::from_secs(300);
/// Most distinct failures that are warned about; they are texts of the server and of the system.
const MAX_WARNINGS: usize = 8;
/// Longest answer in bytes; a normal one is a few lines of JSON.
const MAX_ANSWER: usize = 64 * 1024;

/// A handle to the keeper's task.
#[derive(Debug)]
pub struct Keeper {
    registered: Sender<()>,
    /// The ICE servers: one first item (`None` if the server did not answer), then one for each further answer.
    pub found: Receiver<Option<IceServers>>,
}

/// Why there is no usable answer.
#[derive(Debug, Clone)]
enum Refusal {
    /// The server does not offer `/ice-servers`, which is fine.
    Unknown,
    /// The answer is not a list of ICE servers.
    Strange(String),
    /// The connection ended. A server that speaks only WebSocket may do that.
    Cut(String),
    /// The server should have answered, but failed.
    Failed(String),
}

type Early = task::JoinHandle<Option<Box<dyn Stream>>>;

impl Keeper {
    /// Starts the task, which connects at once.
    pub fn start(server: Server, uid: PeerId) -> Self {
        let (registered, go) = channel::bounded(1);
        let (tell, found) = channel::bounded(1);
        task::spawn(keep(server, uid, go, tell));
        Self { registered, found }
    }

    /// The uid is registered: ask now, the first time and after a failure.
    pub fn registered(&self) {
        // If this fails, the keeper has not yet handled an earlier registration.
        let _ = self.registered.try_send(());
    }
}

async fn keep(server: Server, uid: PeerId, go: Receiver<()>, tell: Sender<Option<IceServers>>) {
    let to = server.clone();
    let mut early: Option<Early> =
        Some(task::spawn(
            async move { timeout(ASK_LIMIT, connect(&to.address, &to.trust)).await.ok()?.ok() },
        ));
    if go.recv().await.is_err() {
        return;
    }
    let (mut is_first, mut failures) = (true, Failures::default());
    loop {
        let question = ask(&server, &uid, early.take());
        let answer = timeout(ASK_LIMIT, question).await.unwrap_or_else(|_| Err(failed("no answer in time")));
        let pause = match answer {
            Ok(servers) => {
                let pause = servers.refresh();
                failures = Failures::after_answer();
                if tell.send(Some(servers)).await.is_err() {
                    return;
                }
                pause
            }
            Err(refusal) => {
                let known = matches!(refusal, Refusal::Unknown).then(IceServers::default);
                if is_first && tell.send(known).await.is_err() {
                    return;
                }
                let (is_news, pause) = failures.add(&refusal);
                report(&refusal, is_news);
                pause
            }
        };
        is_first = false;
        let Some(pause) = pause else { return };
        // After a failure, a new registration shows that the server is back.
        if let Ok(Err(_)) = timeout(pause, or_never(failures.count > 0, go.recv())).await {
            return;
        }
    }
}

async fn or_never<F: Future>(is_awaited: bool, future: F) -> F::Output {
    if is_awaited { future.await } else { future::pending().await }
}

/// The failures in a row since the last answer: they decide about warnings and pauses. Pure.
#[derive(Debug, Default)]
struct Failures {
    /// Whether the server has answered before. Then it is always asked again.
    is_known: bool,
    count: u32,
    warned: HashSet<String>,
}

impl Failures {
    /// The state after an answer.
    fn after_answer() -> Self {
        Self { is_known: true, ..Self::default() }
    }

    /// Adds a failure. Returns whether to warn about it, which is once for each distinct failure, and the pause before
    /// asking again, if at all.
    fn add(&mut self, refusal: &Refusal) -> (bool, Option<Duration>) {
        let pause = RETRY_PAUSE.saturating_mul(1 << self.count.min(10)).min(MAX_PAUSE);
        self.count = self.count.saturating_add(1);
        let failure = match refusal {
            Refusal::Unknown | Refusal::Cut(_) => return (false, self.is_known.then_some(pause)),
            // The details depend on the answer's text, which may change each time.
            Refusal::Strange(_) => "",
            Refusal::Failed(why) => why,
        };
        let is_news = self.warned.len() < MAX_WARNINGS && self.warned.insert(failure.to_owned());
        (is_news, Some(pause))
    }
}

fn report(refusal: &Refusal, is_news: bool) {
    match refusal {
        Refusal::Unknown => {}
        Refusal::Cut(why) => tracing::debug!("the signalling server does not answer GET /ice-servers: {why}"),
        Refusal::Strange(why) | Refusal::Failed(why) if is_news => {
            tracing::warn!("no ICE servers from the signalling server: {why}");
        }
        Refusal::Strange(why) | Refusal::Failed(why) => {
            tracing::debug!("still no ICE servers from the signalling server: {why}");
        }
    }
}

fn failed(why: impl ToString) -> Refusal {
    Refusal::Failed(why.to_string())
}

/// Asks at each of the paths where the answer may be.
async fn ask(server: &Server, uid: &PeerId, early: Option<Early>) -> Result<IceServers, Refusal> {
    let mut early = match early {
        Some(early) => early.await,
        None => None,
    };
    let mut answer = Err(Refusal::Unknown);
    let has_credentials = server.authorization().map_err(failed)?.is_some();
    for path in server.address.ice_paths(has_credentials) {
        answer = ask_at(&path, server, uid, early.take()).await;
        if !matches!(answer, Err(Refusal::Unknown | Refusal::Strange(_))) {
            break;
        }
    }
    answer
}

async fn ask_at(
    path: &str,
    server: &Server,
    uid: &PeerId,
    early: Option<Box<dyn Stream>>,
) -> Result<IceServers, Refusal> {
    if let Some(stream) = early
        && let Ok(answer) = ask_on(stream, path, server, uid).await
    {
        return answer;
    }
    // The early connection failed, or was idle for too long.
    let cut = |error: &dyn ToString| Refusal::Cut(error.to_string());
    let stream = connect(&server.address, &server.trust).await.map_err(failed)?;
    ask_on(stream, path, server, uid).await.unwrap_or_else(|error| Err(cut(&error)))
}

/// Asks on one connection. The outer error is a failure of the connection.
async fn ask_on(
    stream: Box<dyn Stream>,
    path: &str,
    server: &Server,
    uid: &PeerId,
) -> Result<Result<IceServers, Refusal>, hyper::Error> {
    let request = match request(path, server, uid) {
        Ok(request) => request,
        Err(failure) => return Ok(Err(failed(failure))),
    };
    let answer = http::ask(stream, request, ASK_LIMIT).await?;
    // The body of a refusal is not read: it need not end.
    if answer.status() != StatusCode::OK {
        return Ok(Err(refusal(answer.status())));
    }
    let body = match http::read(answer.into_body(), MAX_ANSWER).await {
        Ok(body) => body,
        Err(error) => return Ok(Err(failed(error))),
    };
    Ok(IceServers::parse(&body).map_err(|error| Refusal::Strange(format!("not what was expected: {error}"))))
}

fn request(path: &str, server: &Server, uid: &PeerId) -> Result<Request<Full<Bytes>>, Failure> {
    let uid = utf8_percent_encode(uid.as_str(), NON_ALPHANUMERIC);
    let mut request = http::request(Method::GET, &server.address, &format!("{path}?uid={uid}"));
    if let Some(authorization) = server.authorization()? {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    request.body(Full::default()).map_err(Failure::internal)
}

/// The reason for a bad status. A server without this path answers 404; the Python one demands an upgrade (426).
fn refusal(status: StatusCode) -> Refusal {
    let meant =
        matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS);
    if meant || status.is_server_error() { failed(format!("HTTP {status}")) } else { Refusal::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_failure_is_warned_about_once_and_the_pauses_grow() {
        let mut failures = Failures::default();
        let strange = |why: &str| Refusal::Strange(why.into());
        let seen: Vec<_> = ["line 1", "line 1", "line 2", "line 3", "line 4", "line 5", "line 6"]
            .map(|why| failures.add(&strange(why)))
            .map(|(is_news, pause)| (is_news, pause.map(|it| it.as_secs())))
            .into();
        let pauses = [30, 60, 120, 240, 300, 300, 300];
        let wanted: Vec<_> = pauses.iter().enumerate().map(|(at, pause)| (at == 0, Some(*pause))).collect();
        assert_eq!(seen, wanted);
        assert_eq!(failures.add(&failed("HTTP 500")), (true, Some(MAX_PAUSE)));
        assert_eq!(failures.add(&failed("HTTP 500")), (false, Some(MAX_PAUSE)));
        failures = Failures::after_answer();
        assert_eq!(failures.add(&failed("HTTP 500")), (true, Some(RETRY_PAUSE)), "it is news again");
    }

    #[test]
    fn the_number_of_warnings_is_bounded() {
        let mut failures = Failures::default();
        let warnings = (0..1000).filter(|n| failures.add(&failed(n)).0).count();
        assert_eq!((warnings, failures.warned.len()), (MAX_WARNINGS, MAX_WARNINGS));
    }

    #[test]
    fn a_server_without_ice_servers_is_asked_once() {
        for nothing in [Refusal::Unknown, Refusal::Cut("closed".into())] {
            assert_eq!(Failures::default().add(&nothing), (false, None));
            assert_eq!(Failures::after_answer().add(&nothing), (false, Some(RETRY_PAUSE)));
        }
    }
}
