//! One HTTP request on a connection of its own.

use std::time::Duration;

use async_std::{future::timeout, task};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, Response, body::Bytes, client::conn::http1, header, http::request::Builder};
use smol_hyper::rt::FuturesIo;

use crate::{address::Address, dial::Stream};

/// Why there is no complete body.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// A request to this server, for this path and query.
pub fn request(method: Method, to: &Address, target: &str) -> Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, &to.authority)
        .header(header::USER_AGENT, concat!("callbin/", env!("CARGO_PKG_VERSION")))
}

/// Sends a request and reads the answer, with a body of `most` bytes at most. The connection ends with the answer, or after `limit`.
/// The outer error is a failure of the connection, the inner one of the body.
pub async fn ask(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    limit: Duration,
    most: usize,
) -> Result<Response<Result<Bytes, Broken>>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await?;
    task::spawn(async move {
        let _ = timeout(limit, connection).await;
    });
    let (head, body) = sender.send_request(request).await?.into_parts();
    let body = Limited::new(body, most).collect().await;
    Ok(Response::from_parts(head, body.map(|body| body.to_bytes())))
}
