//! One HTTP request on a connection of its own.

use std::time::Duration;

use async_std::{future::timeout, task};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
    http::request::Builder,
};
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

/// Sends a request; the answer's body is not read yet. The connection ends with the answer, or after `limit`.
pub async fn ask(
    stream: Box<dyn Stream>,
    request: Request<Full<Bytes>>,
    limit: Duration,
) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(FuturesIo::new(stream)).await?;
    task::spawn(async move {
        let _ = timeout(limit, connection).await;
    });
    sender.send_request(request).await
}

/// Reads the body of an answer, of `most` bytes at most.
pub async fn read(body: Incoming, most: usize) -> Result<Bytes, Broken> {
    Ok(Limited::new(body, most).collect().await?.to_bytes())
}
