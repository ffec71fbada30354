//! A peer as the scenarios need it: it registers, sends, receives.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use anyhow::{Context as _, bail};
use async_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, ClientConfig, DigitallySignedStruct, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::{CryptoProvider, ring},
        pki_types::{CertificateDer, ServerName, UnixTime},
    },
};
use futures_util::{AsyncRead, AsyncWrite, StreamExt};

use crate::runtime::{self, TcpStream};

/// Where the load goes.
#[derive(Clone)]
pub(crate) struct Target {
    url: String,
    address: String,
    host: String,
    connector: Option<TlsConnector>,
}

impl Target {
    /// Takes apart `ws://host:port/…` or `wss://…`.
    pub(crate) fn new(url: &str) -> anyhow::Result<Self> {
        let (tls, rest) = match url.split_once("://") {
            Some(("ws", rest)) => (false, rest),
            Some(("wss", rest)) => (true, rest),
            _ => bail!("{url}: not a ws:// or wss:// URL"),
        };
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port),
            _ => (authority, if tls { "443" } else { "80" }),
        };
        Ok(Self {
            url: url.into(),
            address: format!("{host}:{port}"),
            host: host.trim_matches(['[', ']']).into(),
            connector: tls.then(connector).transpose()?,
        })
    }

    /// Connects and registers.
    pub(crate) async fn register(&self, uid: &str) -> anyhow::Result<Peer> {
        let mut peer = self.connect().await?;
        peer.send(&format!("HELLO {uid}")).await?;
        match peer.receive().await? {
            text if text == "HELLO" => Ok(peer),
            text => bail!("{uid}: refused: {text}"),
        }
    }

    async fn connect(&self) -> anyhow::Result<Peer> {
        let tcp = runtime::connect(&self.address)
            .await
            .with_context(|| format!("cannot connect to {}", self.url))?;
        let stream = match &self.connector {
            None => Stream::Plain(tcp),
            Some(connector) => {
                let name = ServerName::try_from(self.host.clone()).context("not a host name")?;
                Stream::Tls(Box::new(connector.connect(name, tcp).await?))
            }
        };
        let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(0);
        let handshake = async_tungstenite::client_async_with_config(&self.url, stream, Some(config));
        Ok(Peer(handshake.await.context("no WebSocket")?.0))
    }
}

/// A registered peer.
pub(crate) struct Peer(WebSocketStream<Stream>);

impl Peer {
    pub(crate) async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// The next text frame.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<String> {
        loop {
            match self.0.next().await.context("the connection ended")?? {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("closed by the server: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Closes in order.
    pub(crate) async fn close(mut self) {
        let _ = self.0.close(None).await;
        while let Some(Ok(_)) = self.0.next().await {}
    }
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

macro_rules! inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<std::io::Result<usize>> {
        inner!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        inner!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        inner!(self, stream => stream.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        inner!(self, stream => stream.poll_close(cx))
    }
}

fn connector() -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate(provider)))
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Whose server it is does not matter to its load.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
