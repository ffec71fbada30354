//! Opens the WebSocket to the server.

use std::{
    io,
    net::{TcpStream, ToSocketAddrs},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use callbin_transport::{MaybeTls, insecure_config, roots};
use rustls::{ClientConfig, ClientConnection, StreamOwned, crypto::ring, pki_types::ServerName};
use tungstenite::{
    HandshakeError, WebSocket,
    client::{IntoClientRequest, client_with_config},
    error::Error,
    http::{HeaderValue, Uri, header::AUTHORIZATION},
    protocol::WebSocketConfig,
};

/// How long each step may take.
const LIMIT: Duration = Duration::from_secs(10);
/// The largest frame, as on the server.
const MAX_MESSAGE: usize = 1 << 20;
/// What may wait to be sent.
const MAX_QUEUE: usize = 16 << 20;

/// The byte stream.
pub type Stream = MaybeTls<TcpStream, StreamOwned<ClientConnection, TcpStream>>;

/// Where the server is, and how it is recognised.
#[derive(Debug, Clone)]
pub struct Target {
    /// `ws://` or `wss://`.
    pub url: Uri,
    /// Accept any certificate.
    pub insecure: bool,
    /// Certificates to trust besides the system's.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The server cannot be reached.
    #[error("cannot connect: {0}")]
    Io(#[from] io::Error),
    /// TLS does not work.
    #[error("TLS: {0}")]
    Tls(String),
    /// The server refuses the WebSocket.
    #[error("the server answers HTTP {0}")]
    Refused(u16),
    /// It is no WebSocket server.
    #[error("no WebSocket: {0}")]
    WebSocket(String),
}

/// Connects. Returns also the socket below, to wait for.
pub fn connect(target: &Target, token: Option<&str>) -> Result<(WebSocket<Stream>, TcpStream), DialError> {
    let tcp = open(&target.url)?;
    let below = tcp.try_clone()?;
    let stream = match target.url.scheme_str() {
        Some("wss") => MaybeTls::Tls(Box::new(secure(target, tcp)?)),
        _ => MaybeTls::Plain(tcp),
    };
    let wrong = |error: Error| DialError::WebSocket(error.to_string());
    let mut request = target.url.clone().into_client_request().map_err(wrong)?;
    if let Some(token) = token {
        let mut value = HeaderValue::from_str(&format!("Bearer {token}")).map_err(|_| {
            DialError::WebSocket("the token has other characters than a header may have".into())
        })?;
        value.set_sensitive(true);
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(16 << 10)
        .write_buffer_size(16 << 10)
        .max_write_buffer_size(MAX_QUEUE)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    match client_with_config(request, stream, Some(config)) {
        Ok((socket, _)) => {
            below.set_read_timeout(None)?;
            below.set_write_timeout(None)?;
            below.set_nonblocking(true)?;
            Ok((socket, below))
        }
        Err(HandshakeError::Failure(Error::Http(response))) => {
            Err(DialError::Refused(response.status().as_u16()))
        }
        Err(HandshakeError::Failure(error)) => Err(wrong(error)),
        Err(HandshakeError::Interrupted(_)) => Err(DialError::WebSocket("no answer in time".into())),
    }
}

fn open(url: &Uri) -> Result<TcpStream, DialError> {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("wss") { 443 } else { 80 });
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in (host(url), port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LIMIT) {
            Ok(tcp) => {
                tcp.set_nodelay(true)?;
                tcp.set_read_timeout(Some(LIMIT))?;
                tcp.set_write_timeout(Some(LIMIT))?;
                return Ok(tcp);
            }
            Err(error) => failed = error,
        }
    }
    Err(failed.into())
}

fn host(url: &Uri) -> &str {
    url.host().unwrap_or_default().trim_matches(['[', ']'])
}

fn secure(target: &Target, tcp: TcpStream) -> Result<StreamOwned<ClientConnection, TcpStream>, DialError> {
    let wrong = |error: rustls::Error| DialError::Tls(error.to_string());
    let config = if target.insecure {
        insecure_config().map_err(wrong)?
    } else {
        let roots = roots(target.ca_file.as_deref());
        let roots = roots.map_err(|error| DialError::Tls(format!("--ca-file {error}")))?;
        ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?
            .with_root_certificates(roots)
            .with_no_client_auth()
    };
    let name = ServerName::try_from(host(&target.url).to_owned())
        .map_err(|error| DialError::Tls(error.to_string()))?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(wrong)?;
    Ok(StreamOwned::new(connection, tcp))
}
