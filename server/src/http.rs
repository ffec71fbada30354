//! The HTTP side of the port: the page, the health check, and the way into a WebSocket.

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_tungstenite::tungstenite::handshake::server::create_response;
use http_body_util::Full;
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use smol_hyper::rt::{FuturesIo, SmolTimer};
use tracing::debug;

use crate::{
    assets::{Asset, Assets},
    runtime,
    stream::Connected,
};

/// A browser may load the page's files over one connection this long.
const CONNECTION_TIME: Duration = Duration::from_secs(60);

/// The page runs its own modules only, and may talk to any signalling server.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    img-src 'self' data: blob:; media-src 'self' blob: mediastream:; \
    connect-src 'self' ws: wss: http: https:; manifest-src 'self'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'self'";

/// What the port answers over HTTP.
#[derive(Debug)]
pub struct Site {
    /// The page.
    pub assets: Assets,
    /// Path of the health check.
    pub health: String,
}

/// Serves HTTP until the client goes, or wants a WebSocket: then its socket, and what it sent beyond the
/// request.
pub async fn serve(
    stream: Connected,
    site: Arc<Site>,
    header_timeout: Duration,
) -> Option<(Connected, Vec<u8>)> {
    let upgraded = Arc::new(AtomicBool::new(false));
    let service = service_fn({
        let upgraded = upgraded.clone();
        move |request| {
            let (site, upgraded) = (site.clone(), upgraded.clone());
            async move { Ok::<_, Infallible>(site.answer(request, &upgraded).await) }
        }
    });
    let connection = http1::Builder::new()
        .timer(SmolTimer::new())
        .header_read_timeout(header_timeout)
        .max_buf_size(16 * 1024)
        .serve_connection(FuturesIo::new(stream), service);
    match runtime::timeout(CONNECTION_TIME, connection.without_shutdown()).await {
        Some(Ok(parts)) if upgraded.load(Ordering::Relaxed) => {
            Some((parts.io.into_inner(), parts.read_buf.to_vec()))
        }
        Some(Err(error)) => {
            debug!(%error, "HTTP ends");
            None
        }
        _ => None,
    }
}

impl Site {
    async fn answer(&self, request: Request<Incoming>, upgraded: &AtomicBool) -> Response<Full<Bytes>> {
        if request.headers().contains_key(header::UPGRADE) {
            return upgrade(request, upgraded);
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        let path = request.uri().path();
        if path == self.health {
            return text(StatusCode::OK, "OK\n");
        }
        match self.assets.find(path).await {
            Some(asset) => page(asset, request.headers().get(header::IF_NONE_MATCH)),
            None => text(StatusCode::NOT_FOUND, "not found\n"),
        }
    }
}

/// Answers a WebSocket handshake, on any path.
fn upgrade(request: Request<Incoming>, upgraded: &AtomicBool) -> Response<Full<Bytes>> {
    match create_response(&request.map(|_| ())) {
        Ok(response) => {
            upgraded.store(true, Ordering::Relaxed);
            response.map(|()| Full::default())
        }
        Err(error) => {
            let mut response =
                text(StatusCode::BAD_REQUEST, &format!("not a WebSocket handshake: {error}\n"));
            // What a client of another version needs to know (RFC 6455, section 4.4).
            response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            response
        }
    }
}

fn page(asset: Asset, known: Option<&HeaderValue>) -> Response<Full<Bytes>> {
    let etag = asset.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok());
    let fresh = etag.is_some() && etag.as_ref() == known;
    let mut response = Response::new(Full::new(if fresh { Bytes::new() } else { asset.body }));
    if fresh {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let headers = response.headers_mut();
    if let Ok(content_type) = HeaderValue::from_str(&asset.content_type) {
        headers.insert(header::CONTENT_TYPE, content_type);
    }
    if let Some(etag) = etag {
        headers.insert(header::ETAG, etag);
    }
    // The browser keeps its copy and asks whether it is still good: no stale page after an upgrade.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

fn text(status: StatusCode, body: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::copy_from_slice(body.as_bytes())));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
