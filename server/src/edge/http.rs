//! HTTP/1.1 on a socket, until the client leaves or upgrades to a WebSocket.

use std::{
    convert::Infallible,
    future::Future,
    pin::Pin,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::{AsyncRead, AsyncWrite, Stream, pin_mut};
use http_body_util::{BodyExt, Either, Full, LengthLimitError, Limited, StreamBody};
use hyper::{
    Request, Response, StatusCode,
    body::{Body as _, Bytes, Frame, Incoming},
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

/// The time in which a client may load the page's files over one connection. The answer to the next request is the last
/// one.
const CLIENT_LIFE: Duration = Duration::from_secs(45);

/// The same for a proxy, which sends the requests of many clients over one connection.
const PROXY_LIFE: Duration = Duration::from_secs(3600);

/// The time to produce an answer and send it, also on a slow line.
const EXCHANGE: Duration = Duration::from_secs(50);

/// The most requests over one connection. The answer to the last one closes it.
const MAX_REQUESTS: u32 = 1000;

/// The largest head of a request in bytes: a token and some cookies fit.
const MAX_HEAD: usize = 16 * 1024;

/// An answer.
pub type Answer = Response<Body>;

/// The body of an answer: all of it, or the parts that come one after the other.
pub type Body = Either<Full<Bytes>, StreamBody<Parts>>;

/// The parts of a body.
pub type Parts = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A complete body.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Either::Left(Full::new(bytes.into()))
}

/// The largest body of a request.
pub const MAX_BODY: usize = 64 * 1024;

/// Why a body is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BadBody {
    /// It is too large.
    TooBig,
    /// It did not come in time.
    TooSlow,
    /// It ends too early, or is not UTF-8.
    Broken,
}

/// Reads the body of a request, of at most `most` bytes.
pub async fn read_text(body: Incoming, most: usize, time: Duration) -> Result<String, BadBody> {
    let most = most.min(MAX_BODY);
    if body.size_hint().lower() > most as u64 {
        return Err(BadBody::TooBig);
    }
    let read = runtime::timeout(time, Limited::new(body, most).collect()).await.ok_or(BadBody::TooSlow)?;
    let bytes = match read {
        Ok(read) => read.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(BadBody::TooBig),
        Err(_) => return Err(BadBody::Broken),
    };
    String::from_utf8(bytes.into()).map_err(|_| BadBody::Broken)
}

/// How long a connection is kept open for further requests.
#[derive(Debug, Clone, Copy)]
pub struct KeepAlive {
    /// The time for the head of the first request.
    first: Duration,
    /// The time for the head of each further request, from the answer before it.
    idle: Duration,
    /// The age from which the next answer is the last one.
    life: Duration,
}

impl KeepAlive {
    /// For any client.
    pub fn client(first: Duration) -> Self {
        Self { first, idle: first, life: CLIENT_LIFE }
    }

    /// For a proxy, which keeps connections open for later clients.
    pub fn proxy(first: Duration, idle: Duration) -> Self {
        Self { first, idle, life: PROXY_LIFE }
    }
}

/// The state of a connection.
struct Usage {
    keep: KeepAlive,
    start: Instant,
    requests: AtomicU32,
    /// When the connection is cut, even during a request.
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

/// Serves requests with `answer`. After an answer 101, returns the socket and the bytes that the client sent after its
/// request.
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
            // Another request may have extended the deadline.
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

/// A plain text answer.
pub fn text(status: StatusCode, body: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", body.as_bytes())
}

/// A JSON answer.
pub fn json(status: StatusCode, body: &Value) -> Answer {
    answer(status, "application/json", format!("{body}\n").as_bytes())
}

fn answer(status: StatusCode, content_type: &'static str, body: &[u8]) -> Answer {
    let mut response = Response::new(whole(Bytes::copy_from_slice(body)));
    *response.status_mut() = status;
    response
        .with_header(header::CONTENT_TYPE, content_type)
        .with_header(header::CACHE_CONTROL, "no-store")
        .with_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff")
}

/// A refusal with `Retry-After: seconds`.
pub fn try_again(status: StatusCode, body: &str, seconds: u32) -> Answer {
    let mut response = text(status, body).with_header(header::CONNECTION, "close");
    response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
    response
}

/// Adds headers to an answer.
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
