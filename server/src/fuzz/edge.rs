//! What comes before a dialect: requests, tokens and the headers of proxies.

use std::{
    io,
    pin::Pin,
    str,
    sync::{Arc, OnceLock},
    task::{Context, Poll},
    time::Duration,
};

use clap::Parser;
use futures_util::{AsyncRead, AsyncWrite};
use hyper::{HeaderMap, header};

use super::PEER;
use crate::{
    access::account::Accounts,
    app::App,
    config::Config,
    edge::{
        assets::Assets,
        http::{self, KeepAlive},
        proxy::{self, Preface, TrustedProxies},
        site::{self, Site},
    },
    operate::{metrics::Metrics, settings::Settings},
    runtime,
    switchboard::Switchboard,
};

/// Requests on a connection until one upgrades it to a WebSocket. Without a valid token none may.
pub fn upgrade(bytes: &[u8]) {
    let app = app();
    let Some((visit, _slot)) = app.visit(PEER) else { return };
    let conn = visit.conn;
    let site = Site::new(app.clone(), visit);
    let stream = Once { unread: bytes, written: Vec::new() };
    let served =
        http::serve(stream, conn, KeepAlive::client(Duration::from_secs(5)), |request| site.answer(request));
    if let Some((stream, _)) = runtime::block_on(served) {
        assert!(
            stream.written.is_empty() || stream.written.starts_with(b"HTTP/1."),
            "an answer is HTTP: {:?}",
            String::from_utf8_lossy(&stream.written)
        );
    }
    assert!(site.into_admission().is_none(), "a WebSocket without a token");
}

/// Tokens. Without a valid signature none may be accepted.
pub fn token(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let settings = app().settings();
    let verified = settings.verifier.as_ref().map(|verifier| verifier.verify(text));
    assert!(!matches!(verified, Some(Ok(_))), "a token that nobody signed");
    let request = hyper::Request::builder().uri(format!("/?token={text}"));
    if let Ok(request) = request.body(()) {
        assert!(site::authenticate(&settings, &request).is_err(), "a token that nobody signed");
    }
}

/// PROXY protocol headers, `Forwarded` and `X-Forwarded-For`.
pub fn proxy(bytes: &[u8]) {
    if let Preface::Present(length, _) = proxy::preface(bytes) {
        assert!(length <= bytes.len(), "a header is no longer than what came");
    }
    let settings = app().settings();
    for name in [header::FORWARDED, header::HeaderName::from_static("x-forwarded-for")] {
        let mut headers = HeaderMap::new();
        let named = TrustedProxies::new(vec![PEER.ip().into()], Some(name.clone()));
        if let Ok(value) = header::HeaderValue::from_bytes(bytes) {
            headers.insert(name, value);
            for proxies in [&settings.proxies, &named] {
                let _ = (proxies.client(PEER, &headers), proxies.is_local(PEER, &headers));
            }
        }
    }
}

/// A server that requires tokens and trusts proxies on local addresses.
#[allow(clippy::panic, reason = "without the secret there is nothing to fuzz")]
fn app() -> &'static Arc<App> {
    static APP: OnceLock<Arc<App>> = OnceLock::new();
    APP.get_or_init(|| {
        let secret = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/secret");
        let flags = ["callbin-server", "--disable-ssl", "--trusted-proxy", "127.0.0.0/8,10.0.0.0/8"];
        let config = Config::parse_from(flags.into_iter().chain(["--token-key-file", secret]));
        let settings = Settings::load(&config).unwrap_or_else(|error| panic!("{error}"));
        let metrics = Arc::new(Metrics::default());
        let switchboard =
            Switchboard::new(config.rules(), config.node_rooms(), config.bounds(), metrics.clone());
        let accounts = Arc::new(Accounts::new(config.quotas(1024)));
        Arc::new(App::new(switchboard, accounts, metrics, Assets::Embedded, settings))
    })
}

/// A client that sends these bytes, reads the answer and closes.
struct Once<'a> {
    unread: &'a [u8],
    written: Vec<u8>,
}

impl AsyncRead for Once<'_> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.unread).poll_read(cx, buf)
    }
}

impl AsyncWrite for Once<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.written.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
