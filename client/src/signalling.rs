//! The connection to the signalling server: WebSocket over TCP or TLS, registered, as two channels.
//!
//! One task owns the socket. It turns frames into [`Incoming`] and ends with [`Incoming::Closed`],
//! [`Incoming::Unreadable`] or [`Incoming::Lost`]; dropping the [`Connection`] closes the socket.

use std::{io, time::Duration};

use async_std::{
    channel::{self, Receiver, Sender},
    future::timeout,
    net::TcpStream,
    task,
};
use async_tungstenite::{
    WebSocketReceiver, WebSocketSender, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::CapacityError,
        http::{HeaderValue, StatusCode, header::AUTHORIZATION},
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use callbin_protocol::{ClientMessage, MAX_ID_LEN, MAX_LIST_LEN, PeerId, ServerMessage};
use futures_util::{AsyncRead, AsyncWrite, FutureExt, StreamExt, select};

use crate::{
    exit::{ExitCode, Failure},
    tls,
    token::TokenSource,
};

/// For TCP, TLS, the upgrade and the registration together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing came for this long is asked for a sign of life, and given up after as long
/// again.
const QUIET_LIMIT: Duration = Duration::from_secs(20);
/// How long the goodbye may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// The longest list of a room, and the longest message of a member with the member's name before it.
const MAX_MESSAGE: usize = MAX_LIST_LEN + MAX_ID_LEN;
const QUEUE: usize = 256;

/// Where the server is and which certificates are trusted.
#[derive(Debug, Clone)]
pub struct Server {
    /// `ws://` or `wss://`.
    pub url: String,
    /// Which certificates to accept.
    pub trust: tls::Trust,
    /// What lets us in.
    pub token: TokenSource,
}

impl Server {
    /// Host and port, as they stand in the address.
    pub fn authority(&self) -> &str {
        self.url.split_once("://").map_or("", |(_, rest)| authority(rest))
    }
}

/// A registered connection.
#[derive(Debug)]
pub struct Connection {
    outgoing: Sender<String>,
    /// What comes in. After `Closed`, `Unreadable` or `Lost` there is nothing more.
    pub incoming: Receiver<Incoming>,
}

/// What comes from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// The server closed the connection in good order: in a session, the partner is gone.
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The server's words.
        reason: String,
    },
    /// Something came that we cannot read. It would come again, were we to come back.
    Unreadable(Failure),
    /// The connection broke.
    Lost(String),
}

impl Connection {
    /// Connects and registers as `uid`.
    pub async fn open(server: &Server, uid: &PeerId) -> Result<Self, Failure> {
        match timeout(CONNECT_LIMIT, open(server, uid)).await {
            Ok(result) => result,
            Err(_) => {
                Err(cannot_connect(&server.url, format!("no answer within {} s", CONNECT_LIMIT.as_secs())))
            }
        }
    }

    /// Queues a frame. A full queue means a server that stopped reading: the connection ends.
    pub fn send(&self, text: String) {
        if self.outgoing.try_send(text).is_err() {
            self.outgoing.close();
        }
    }

    /// Says goodbye and waits, a moment at most, until the server has heard it.
    pub async fn close(self) {
        self.outgoing.close();
        let gone = async { while self.incoming.recv().await.is_ok() {} };
        let _ = timeout(CLOSE_LIMIT, gone).await;
    }
}

/// Any byte stream: TCP or TLS over it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

type Tx = WebSocketSender<Box<dyn Stream>>;
type Rx = WebSocketReceiver<Box<dyn Stream>>;

async fn open(server: &Server, uid: &PeerId) -> Result<Connection, Failure> {
    let stream = connect(server).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let failed = |error: tungstenite::Error| upgrade_failure(server, &error);
    let mut request = server.url.as_str().into_client_request().map_err(failed)?;
    if let Some(bearer) = server.token.bearer()? {
        let bearer: HeaderValue = bearer;
        request.headers_mut().insert(AUTHORIZATION, bearer);
    }
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(failed)?;
    let (mut tx, mut rx) = socket.split();
    register(&mut tx, &mut rx, server, uid).await?;
    let (outgoing, to_send) = channel::bounded(QUEUE);
    let (received, incoming) = channel::bounded(QUEUE);
    task::spawn(pump(tx, rx, to_send, received));
    Ok(Connection { outgoing, incoming })
}

/// Connects without a word: TCP, and TLS over it if the address says so.
pub async fn connect(server: &Server) -> Result<Box<dyn Stream>, Failure> {
    let (secure, host, port) = address(&server.url)?;
    let failed = |error: io::Error| cannot_connect(&server.url, error.to_string());
    let tcp = TcpStream::connect((host.trim_matches(['[', ']']), port)).await.map_err(failed)?;
    // A call is set up with many small messages, each of which somebody waits for.
    let _ = tcp.set_nodelay(true);
    if !secure {
        return Ok(Box::new(tcp));
    }
    Ok(Box::new(tls::connect(&server.trust, host, tcp).await?))
}

/// Whether TLS is used, the host, and the port.
fn address(url: &str) -> Result<(bool, &str, u16), Failure> {
    let wrong = || Failure::new(ExitCode::Usage, format!("{} is no ws:// or wss:// address", shown(url)));
    let (secure, rest) = match (url.strip_prefix("ws://"), url.strip_prefix("wss://")) {
        (Some(rest), _) => (false, rest),
        (_, Some(rest)) => (true, rest),
        _ => return Err(wrong()),
    };
    let authority = authority(rest);
    let default = if secure { 443 } else { 80 };
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (authority, default),
    };
    if host.is_empty() { Err(wrong()) } else { Ok((secure, host, port)) }
}

/// An address without what may let somebody in: a query such as `?token=…`, and a name and password.
fn shown(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or("");
    let Some((scheme, rest)) = url.split_once("://") else { return "it".into() };
    let path = rest.find('/').map_or("", |at| rest.split_at(at).1);
    format!("{scheme}://{}{path}", authority(rest))
}

/// Host and port of what comes after `://`. No message is to have the name and password before them.
fn authority(rest: &str) -> &str {
    let all = rest.split(['/', '?', '#']).next().unwrap_or("");
    all.rsplit('@').next().unwrap_or("")
}

fn cannot_connect(url: &str, why: String) -> Failure {
    let message = format!("cannot connect to {}: {why}: is callbin-server running there?", shown(url));
    Failure::new(ExitCode::CannotConnect, message)
}

fn upgrade_failure(server: &Server, error: &tungstenite::Error) -> Failure {
    let url = &server.url;
    match error {
        tungstenite::Error::Http(response) => match response.status() {
            status @ (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) => not_admitted(server, status),
            status => cannot_connect(url, format!("no WebSocket there, HTTP {status}")),
        },
        tungstenite::Error::Protocol(error) => {
            cannot_connect(url, format!("no WebSocket there ({error}); wss:// perhaps?"))
        }
        other => cannot_connect(url, other.to_string()),
    }
}

fn not_admitted(server: &Server, status: StatusCode) -> Failure {
    let url = shown(&server.url);
    let message = if server.token.is_some() {
        format!("{url} refuses the token (HTTP {status}): it is wrong, expired, or for another server")
    } else {
        format!("{url} wants a token (HTTP {status}): give it one with --token-file or CALLBIN_TOKEN")
    };
    Failure::new(ExitCode::NotAuthorised, message)
}

/// The server closed with these words: whether they mean that we are not to come back by ourselves.
pub fn unwelcome(code: u16, reason: &str) -> Option<Failure> {
    let is_final = code == 1008
        && ["uid not allowed", "token expired", "replaced by a new connection", "closed by an operator"]
            .contains(&reason);
    is_final
        .then(|| Failure::new(ExitCode::NotAuthorised, format!("the server ends the connection: {reason}")))
}

async fn register(tx: &mut Tx, rx: &mut Rx, server: &Server, uid: &PeerId) -> Result<(), Failure> {
    let refused = |why: &str| {
        let message = format!("the server refuses the uid {uid}: {why}: choose another with --id");
        Failure::new(ExitCode::RefusedUid, message)
    };
    let failed = |error: tungstenite::Error| cannot_connect(&server.url, error.to_string());
    tx.send(Message::text(ClientMessage::Hello(uid.clone()).to_string())).await.map_err(failed)?;
    while let Some(frame) = rx.next().await {
        match frame.map_err(failed)? {
            Message::Text(text) => match ServerMessage::parse(&text) {
                Ok(ServerMessage::Hello) => return Ok(()),
                Ok(ServerMessage::Error(error)) => return Err(refused(&error.to_string())),
                _ => {}
            },
            Message::Close(Some(frame)) if frame.code == CloseCode::Protocol => {
                return Err(refused(match frame.reason.as_str() {
                    "invalid peer uid" => "somebody has it, or the server takes no such uid",
                    other => other,
                }));
            }
            Message::Close(Some(frame)) if frame.reason.as_str() == "uid not allowed" => {
                return Err(refused("the token does not allow it"));
            }
            Message::Close(frame) => {
                let why = frame.map_or_else(String::new, |frame| frame.reason.to_string());
                return Err(cannot_connect(&server.url, format!("the server closed the connection {why}")));
            }
            _ => {}
        }
    }
    Err(cannot_connect(&server.url, "the server closed the connection".into()))
}

/// Moves frames until one side has enough.
async fn pump(mut tx: Tx, mut rx: Rx, to_send: Receiver<String>, received: Sender<Incoming>) {
    let end = match relay(&mut tx, &mut rx, &to_send, &received).await {
        Ok(end) => end,
        Err(error) => match unreadable(&error) {
            Some(failure) => Incoming::Unreadable(failure),
            None => Incoming::Lost(error.to_string()),
        },
    };
    let goodbye = async {
        let _ = tx.close(Some(CloseFrame { code: CloseCode::Normal, reason: "".into() })).await;
        while let Some(Ok(_)) = rx.next().await {}
    };
    if end == hung_up() {
        let _ = timeout(CLOSE_LIMIT, goodbye).await;
    }
    let _ = received.send(end).await;
}

/// What came is larger than anything we read, or no text at all.
fn unreadable(error: &tungstenite::Error) -> Option<Failure> {
    let why = match error {
        tungstenite::Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
            format!("it has {size} bytes, and at most {max_size} are read")
        }
        tungstenite::Error::Utf8(_) => "it is not UTF-8".into(),
        _ => return None,
    };
    Some(Failure::new(ExitCode::Misbehaved, format!("cannot read a message from the server: {why}")))
}

/// We closed. Nobody reads this, but the channel needs an end.
fn hung_up() -> Incoming {
    Incoming::Lost("hung up".into())
}

async fn relay(
    tx: &mut Tx,
    rx: &mut Rx,
    to_send: &Receiver<String>,
    received: &Sender<Incoming>,
) -> Result<Incoming, tungstenite::Error> {
    let mut asked = false;
    loop {
        let mut quiet = Box::pin(task::sleep(QUIET_LIMIT).fuse());
        select! {
            text = to_send.recv().fuse() => match text {
                Ok(text) => tx.send(Message::text(text)).await?,
                Err(_) => return Ok(hung_up()),
            },
            frame = rx.next().fuse() => {
                asked = false;
                if let Some(end) = take(frame, received).await? {
                    return Ok(end);
                }
            }
            () = quiet => {
                if asked {
                    return Ok(Incoming::Lost("the server does not answer".into()));
                }
                asked = true;
                tx.send(Message::Ping(Vec::new().into())).await?;
            }
        }
    }
}

async fn take(
    frame: Option<Result<Message, tungstenite::Error>>,
    received: &Sender<Incoming>,
) -> Result<Option<Incoming>, tungstenite::Error> {
    match frame {
        None => Ok(Some(Incoming::Lost("the connection ended".into()))),
        Some(Err(error)) => Err(error),
        Some(Ok(Message::Text(text))) => {
            let gone = received.send(Incoming::Text(text.to_string())).await.is_err();
            Ok(gone.then(hung_up))
        }
        // Some peers send JSON in binary frames, and the server hands them on as they are.
        Some(Ok(Message::Binary(bytes))) => match String::from_utf8(bytes.to_vec()) {
            Ok(text) => Ok(received.send(Incoming::Text(text)).await.is_err().then(hung_up)),
            Err(_) => Ok(None),
        },
        Some(Ok(Message::Close(frame))) => Ok(Some(match frame {
            Some(frame) => Incoming::Closed { code: frame.code.into(), reason: frame.reason.to_string() },
            None => Incoming::Closed { code: 1005, reason: String::new() },
        })),
        Some(Ok(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_addresses() {
        assert_eq!(address("ws://127.0.0.1:8443"), Ok((false, "127.0.0.1", 8443)));
        assert_eq!(address("wss://example.org/path?x=1"), Ok((true, "example.org", 443)));
        assert_eq!(address("ws://[::1]:80/"), Ok((false, "[::1]", 80)));
        assert_eq!(address("ws://me:hush@x:1"), Ok((false, "x", 1)));
        assert_eq!(address("ws://[::1]"), Ok((false, "[::1]", 80)));
        let secret = "wss://me:hush@x:1/a?token=hush#hush";
        assert_eq!(shown(secret), "wss://x:1/a");
        for failure in [address("ws://x:y?token=hush").unwrap_err(), cannot_connect(secret, "?".into())] {
            assert!(!failure.message.contains("hush"), "{failure}");
        }
        for bad in ["http://x", "ws://", "ws://:1", "ws://x:y", "ws://x:99999"] {
            assert!(address(bad).is_err(), "{bad}");
        }
    }
}
