//! HTTP requests of WHIP and WHEP: one connection each, with redirects.

use std::time::Duration;

use async_std::future::timeout;
use http_body_util::Full;
use hyper::{HeaderMap, Method, Request, body::Bytes, header};

use super::links;
use crate::{
    address::Address,
    dial::{cannot_connect, connect},
    exit::Failure,
    http,
    signalling::Server,
};

/// Time limit for one request: a server may wait for a peer.
const LIMIT: Duration = Duration::from_secs(25);
/// Longest answer in bytes.
const MAX_ANSWER: usize = 256 * 1024;
/// Most redirects in a row.
const MAX_REDIRECTS: usize = 5;

/// What is sent.
#[derive(Debug, Clone)]
pub(super) struct Question {
    pub(super) method: Method,
    /// Content type and body.
    pub(super) body: Option<(&'static str, String)>,
    /// For `If-Match`.
    pub(super) etag: Option<String>,
}

/// What came back.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The URL that answered.
    pub(super) from: Address,
}

impl Reply {
    /// A header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// All headers of a name.
    pub(super) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok())
    }
}

/// Sends a request to `to`, and follows redirects that keep method and body (307, 308; RFC 9725, section 4.5). The token goes to the origin of `server.address` only.
pub(super) async fn send(server: &Server, to: &Address, question: &Question) -> Result<Reply, Failure> {
    let mut at = to.clone();
    for _ in 0..=MAX_REDIRECTS {
        let answer = timeout(LIMIT, ask(server, &at, question)).await;
        let silent = || cannot_connect(&at, &format!("no answer within {} s", LIMIT.as_secs())).passing();
        let reply = answer.map_err(|_| silent())??;
        if !matches!(reply.status, 307 | 308) {
            return Ok(reply);
        }
        let next = reply.header("location").and_then(|to| links::resolve(&at, to));
        match next {
            Some(next) => at = next,
            None => return Ok(reply),
        }
    }
    Err(links::refusal(307, None))
}

async fn ask(server: &Server, at: &Address, question: &Question) -> Result<Reply, Failure> {
    let failed = |error: hyper::Error| cannot_connect(at, &error.to_string()).passing();
    let stream = connect(at, &server.trust).await?;
    let answer = http::ask(stream, request(server, at, question)?, LIMIT).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = http::read(body, MAX_ANSWER).await;
    let body = body.map_err(|error| cannot_connect(at, &error.to_string()))?.to_vec();
    Ok(Reply { status: head.status.as_u16(), headers: head.headers, body, from: at.clone() })
}

fn request(server: &Server, at: &Address, question: &Question) -> Result<Request<Full<Bytes>>, Failure> {
    let mut request = http::request(question.method.clone(), at, &at.target());
    if at.is_same_origin(&server.address)
        && let Some(authorization) = server.authorization()?
    {
        request = request.header(header::AUTHORIZATION, authorization);
    }
    if let Some(etag) = &question.etag {
        request = request.header(header::IF_MATCH, etag);
    }
    let mut content = String::new();
    if let Some((kind, body)) = &question.body {
        request = request.header(header::CONTENT_TYPE, *kind).header(header::ACCEPT, "application/sdp");
        content.clone_from(body);
    }
    request.body(Full::from(content)).map_err(Failure::internal)
}
