//! A peer as the scenarios need it: it registers, sends, receives.

use std::sync::Arc;

use anyhow::{Context, bail};
use async_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use callbin_transport::{MaybeTls, insecure_config};
use futures_rustls::{TlsConnector, client::TlsStream, rustls::pki_types::ServerName};
use futures_util::StreamExt;

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
            connector: tls.then(insecure_config).transpose()?.map(|config| Arc::new(config).into()),
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

type Stream = MaybeTls<TcpStream, TlsStream<TcpStream>>;
