//! A peer for the scenarios: it registers, sends and receives.

use std::{
    net::{IpAddr, Ipv4Addr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context, bail};
use async_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::WebSocketConfig},
};
use callbin_transport::{MaybeTls, insecure_config};
use clap::Args;
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{client::Resumption, pki_types::ServerName},
};
use futures_util::{AsyncReadExt, AsyncWriteExt, StreamExt};

use crate::runtime::{self, TcpStream};

/// The server, as given on the command line.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// The server. Certificates are not checked.
    #[arg(long, global = true, env = "CALLBIN_SERVER", default_value = "ws://127.0.0.1:8443")]
    server: String,

    /// Connect from N addresses of the loopback network in turn, so that the limits per address do not stop all peers.
    /// In `attack`, only attackers do so.
    #[arg(long, global = true, default_value_t = 0, value_name = "N")]
    source_addresses: usize,

    /// An access token, if the server requires one.
    #[arg(long, global = true, env = "CALLBIN_TOKEN", hide_env_values = true)]
    token: Option<String>,
}

impl Place {
    /// The same options for another server.
    pub(crate) fn at(&self, server: &str) -> Self {
        Self { server: server.into(), ..self.clone() }
    }

    /// Passes the options to another `callbin-load`.
    pub(crate) fn hand_over(&self, command: &mut Command) {
        command.args(["--server", &self.server, "--source-addresses", &self.source_addresses.to_string()]);
        // Not on the command line: other users could read it there.
        command.envs(self.token.iter().map(|token| ("CALLBIN_TOKEN", token)));
    }
}

/// The server to connect to.
#[derive(Clone)]
pub(crate) struct Target {
    url: String,
    path: String,
    address: String,
    host: String,
    connector: Option<TlsConnector>,
    sources: Sources,
}

/// Addresses of the loopback network to connect from in turn, from 127.1.0.1 on. If there are none, the system chooses.
#[derive(Clone, Default)]
struct Sources {
    count: usize,
    next: Arc<AtomicUsize>,
}

impl Sources {
    fn next(&self) -> Option<IpAddr> {
        let number = self.next.fetch_add(1, Ordering::Relaxed).checked_rem(self.count)? + 1;
        let [.., high, low] = u32::try_from(number).ok()?.to_be_bytes();
        Some(Ipv4Addr::new(127, 1, high, low).into())
    }
}

impl Target {
    /// Parses `ws://host:port/…` or `wss://…`. The token goes into the query, as in unmodified clients.
    pub(crate) fn new(place: &Place) -> anyhow::Result<Self> {
        let (url, token) = (place.server.as_str(), place.token.as_deref());
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
        let path = token.map_or_else(|| "/".into(), |token| format!("/?token={token}"));
        Ok(Self {
            path,
            url: token
                .map_or_else(|| url.into(), |token| format!("{}/?token={token}", url.trim_end_matches('/'))),
            address: format!("{host}:{port}"),
            host: host.trim_matches(['[', ']']).into(),
            connector: tls.then(insecure_config).transpose()?.map(|config| Arc::new(config).into()),
            sources: Sources { count: place.source_addresses, ..Sources::default() },
        })
    }

    /// The same server, from an address chosen by the system.
    pub(crate) fn without_sources(&self) -> Self {
        Self { sources: Sources::default(), ..self.clone() }
    }

    /// The same server, with a full TLS handshake for each connection.
    pub(crate) fn without_resumption(&self) -> anyhow::Result<Self> {
        let mut config = insecure_config()?;
        config.resumption = Resumption::disabled();
        let connector = self.connector.is_some().then(|| Arc::new(config).into());
        Ok(Self { connector, ..self.clone() })
    }

    /// Whether it is a `wss://` server.
    pub(crate) fn has_tls(&self) -> bool {
        self.connector.is_some()
    }

    /// The HTTP request that opens a WebSocket.
    pub(crate) fn handshake_request(&self) -> String {
        format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
            self.path, self.address
        )
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
        self.open_websocket(&self.url).await
    }

    /// Connects to another path of the server, and sends nothing.
    pub(crate) async fn connect_at(&self, path: &str) -> anyhow::Result<Peer> {
        let (base, query) =
            self.url.split_once("/?").map_or((self.url.as_str(), None), |(base, query)| (base, Some(query)));
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        self.open_websocket(&format!("{}{path}{query}", base.trim_end_matches('/'))).await
    }

    async fn open_websocket(&self, url: &str) -> anyhow::Result<Peer> {
        let stream = self.open().await?;
        let config = WebSocketConfig::default().read_buffer_size(2048).write_buffer_size(0);
        let handshake = async_tungstenite::client_async_with_config(url, stream, Some(config));
        Ok(Peer::WebSocket(Box::new(handshake.await.context("no WebSocket")?.0)))
    }

    /// Connects to a relay that knows no protocol. All messages are this long.
    pub(crate) async fn connect_bare(&self, size: usize) -> anyhow::Result<Peer> {
        Ok(Peer::Bare { stream: self.open().await?, size })
    }

    /// Opens a connection, with TLS if the server has it, and sends nothing.
    pub(crate) async fn open(&self) -> anyhow::Result<Stream> {
        let tcp = self.open_tcp().await?;
        Ok(match &self.connector {
            None => Stream::Plain(tcp),
            Some(connector) => {
                let name = ServerName::try_from(self.host.clone()).context("not a host name")?;
                Stream::Tls(Box::new(connector.connect(name, tcp).await?))
            }
        })
    }

    /// Opens a TCP connection and sends nothing.
    pub(crate) async fn open_tcp(&self) -> anyhow::Result<TcpStream> {
        let connected = runtime::connect(&self.address, self.sources.next()).await;
        connected.with_context(|| format!("cannot connect to {}", self.url))
    }
}

/// A registered peer, or one of a relay without a protocol.
pub(crate) enum Peer {
    WebSocket(Box<WebSocketStream<Stream>>),
    Bare { stream: Stream, size: usize },
}

impl Peer {
    pub(crate) async fn send(&mut self, text: &str) -> anyhow::Result<()> {
        match self {
            Self::WebSocket(socket) => socket.send(Message::text(text)).await?,
            Self::Bare { stream, .. } => stream.write_all(text.as_bytes()).await?,
        }
        Ok(())
    }

    /// Receives the next text frame.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<String> {
        let socket = match self {
            Self::WebSocket(socket) => socket,
            Self::Bare { stream, size } => {
                let mut text = vec![0; *size];
                stream.read_exact(&mut text).await?;
                return Ok(String::from_utf8(text)?);
            }
        };
        loop {
            match socket.next().await.context("the connection ended")?? {
                Message::Text(text) => return Ok(text.to_string()),
                Message::Close(frame) => bail!("closed by the server: {frame:?}"),
                _ => {}
            }
        }
    }

    /// Reads until the server ends the connection. Returns the reason in its close frame.
    pub(crate) async fn end(&mut self) -> Option<String> {
        let Self::WebSocket(socket) = self else { return None };
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(frame))) => return frame.map(|frame| frame.reason.to_string()),
                Some(Ok(_)) => {}
                _ => return None,
            }
        }
    }

    /// Closes with a closing handshake.
    pub(crate) async fn close(self) {
        let Self::WebSocket(mut socket) = self else { return };
        let _ = socket.close(None).await;
        while let Some(Ok(_)) = socket.next().await {}
    }
}

/// The byte stream of a connection.
pub(crate) type Stream = MaybeTls<TcpStream, TlsStream<TcpStream>>;
