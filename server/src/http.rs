//! HTTP on a socket: requests in, answers out, until the client goes or wants a WebSocket.

use std::{convert::Infallible, future::Future, time::Duration};

use futures_util::{AsyncRead, AsyncWrite};
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

/// A browser may load the page's files over one connection this long.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// The largest head of a request: a token and some cookies fit.
const MAX_HEAD: usize = 16 * 1024;

/// An answer.
pub type Answer = Response<Full<Bytes>>;

/// Serves requests with `answer`. When that has answered with 101, returns the socket, and what the client
/// sent beyond its request.
pub async fn serve<S, F>(
    stream: S,
    conn: ConnId,
    header_timeout: Duration,
    answer: impl Fn(Request<Incoming>) -> F,
) -> Option<(S, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = Answer>,
{
    let service = service_fn(|request| {
        let answer = answer(request);
        async { Ok::<_, Infallible>(answer.await) }
    });
    let connection = http1::Builder::new()
        .timer(HttpTimer)
        .header_read_timeout(header_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(FuturesIo::new(stream), service);
    match runtime::timeout(CONNECTION_TIME, connection.without_shutdown()).await? {
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
