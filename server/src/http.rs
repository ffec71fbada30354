//! HTTP on a socket: requests in, answers out, until the client goes or wants a WebSocket.

use std::{
    convert::Infallible,
    future::Future,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{AsyncRead, AsyncWrite, pin_mut};
use http_body_util::Full;
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use serde_json::Value;
use smol_hyper::rt::FuturesIo;
use tracing::debug;

use crate::{
    hub::ConnId,
    runtime::{self, HttpTimer},
};

/// A browser may load the page's files over one connection this long; then the next answer is the last one.
const CLIENT_LIFE: Duration = Duration::from_secs(45);

/// A proxy sends the requests of many clients over one connection.
const PROXY_LIFE: Duration = Duration::from_secs(3600);

/// How long an answer may take to be made and read, on a slow line, too.
const EXCHANGE: Duration = Duration::from_secs(50);

/// Requests over one connection. The answer to the last one says so.
const MAX_REQUESTS: u32 = 1000;

/// The largest head of a request: a token and some cookies fit.
const MAX_HEAD: usize = 16 * 1024;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// How long a connection is kept for further requests.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// For the head of the first request.
    first: Duration,
    /// For each of the others, from the answer before it on.
    idle: Duration,
    /// In all, until an answer is said to be the last one.
    life: Duration,
}

impl KeepAlive {
    /// For any client.
    pub fn client(first: Duration) -> Self {
        Self { first, idle: first, life: CLIENT_LIFE }
    }

    /// For a proxy that keeps connections for its clients to come.
    pub fn proxy(first: Duration, idle: Duration) -> Self {
        Self { first, idle, life: PROXY_LIFE }
    }
}

/// What has come over a connection.
struct Usage {
    keep: KeepAlive,
    start: Instant,
    requests: AtomicU32,
    /// When it is cut, whatever is under way.
    deadline: Mutex<Instant>,
}

impl Usage {
    fn new(keep: KeepAlive) -> Self {
        let start = Instant::now();
        Self { keep, start, requests: AtomicU32::new(0), deadline: Mutex::new(start + keep.first) }
    }

    fn deadline(&self) -> Instant {
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a request. True if it is the last one.
    fn count(&self) -> bool {
        let until = Instant::now() + EXCHANGE + self.keep.idle;
        *self.deadline.lock().unwrap_or_else(PoisonError::into_inner) = until;
        let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        requests >= MAX_REQUESTS || self.start.elapsed() >= self.keep.life
    }
}

/// Serves requests with `answer`. When that has answered with 101, returns the socket, and what the client
/// sent beyond its request.
pub async fn serve<S, F>(
    stream: S,
    conn: ConnId,
    keep: KeepAlive,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Option<(S, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    let usage = Usage::new(keep);
    let service = service_fn(|request| {
        let is_last = usage.count();
        let answer = answer(request);
        async move {
            let answer = answer.await;
            let goes_on = !is_last || answer.status() == StatusCode::SWITCHING_PROTOCOLS;
            Ok::<_, Infallible>(if goes_on {
                answer
            } else {
                answer.with_header(header::CONNECTION, "close")
            })
        }
    });
    let connection = http1::Builder::new()
        .timer(HttpTimer)
        .header_read_timeout(keep.idle)
        .max_buf_size(MAX_HEAD)
        .serve_connection(FuturesIo::new(stream), service);
    let connection = connection.without_shutdown();
    pin_mut!(connection);
    let result = loop {
        let left = usage.deadline().saturating_duration_since(Instant::now());
        match runtime::timeout(left, connection.as_mut()).await {
            Some(result) => break result,
            // Another request may have come since.
            None if usage.deadline() > Instant::now() => {}
            None => return None,
        }
    };
    match result {
        Ok(parts) => Some((parts.io.into_inner(), parts.read_buf.to_vec())),
        Err(error) => {
            debug!(conn = conn.0, %error, "HTTP ends");
            None
        }
    }
}

/// A short text.
pub fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.as_bytes())
}

/// A JSON value.
pub fn json(status: StatusCode, body: &Value) -> Answer {
    answer(status, "application/json", format!("{body}\n").as_bytes())
}

fn answer(status: StatusCode, content_type: &'static str, body: &[u8]) -> Answer {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body)));
    *response.status_mut() = status;
    response
        .with_header(header::CONTENT_TYPE, content_type)
        .with_header(header::CACHE_CONTROL, "no-store")
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// Not now: try again after so many seconds.
pub fn try_again(status: StatusCode, body: &str, seconds: u32) -> Answer {
    let mut response = text(status, body).with_header(header::CONNECTION, "close");
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// Headers in passing.
pub trait WithHeader {
    /// Adds a header.
    fn with_header(self, name: HeaderName, value: &'static str) -> Self;
}

impl WithHeader for Answer {
    fn with_header(mut self, name: HeaderName, value: &'static str) -> Self {
        self.headers_mut().insert(name, HeaderValue::from_static(value));
        self
    }
}
