//! The connection to the signalling server: WebSocket over TCP or TLS, registered, as two channels.
//!
//! One task owns the socket. It turns frames into [`Incoming`] and ends with [`Incoming::Closed`],
//! [`Incoming::Unreadable`] or [`Incoming::Lost`]; dropping the [`Connection`] closes the socket.

use std::{net::IpAddr, time::Duration};

use async_std::{
    channel::{self, Receiver, Sender},
    future::timeout,
    task,
};
use async_tungstenite::{
    WebSocketReceiver, WebSocketSender, client_async_with_config,
    tungstenite::{
        self, Message,
        client::IntoClientRequest,
        error::CapacityError,
        http::{
            HeaderValue, Response, StatusCode,
            header::{AUTHORIZATION, WWW_AUTHENTICATE},
        },
        protocol::{CloseFrame, WebSocketConfig, frame::coding::CloseCode},
    },
};
use callbin_protocol::{
    ClientMessage, ErrorMessage, MAX_ID_LEN, MAX_LIST_LEN, PeerId, ServerMessage, printable,
};
use futures_util::{FutureExt, StreamExt, future, select};

use crate::{
    address::Address,
    addresses,
    dial::{self, Stream, cannot_connect},
    exit::{ExitCode, Failure},
    tls,
    token::TokenSource,
};

/// Time limit for TCP, TLS, the upgrade and the registration together.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// After this long without a frame we send a ping; after as long again the connection counts as lost.
const QUIET_LIMIT: Duration = Duration::from_secs(20);
/// The time between two looks whether the machine still has its address of the connection.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The number of looks in a row without the address after which it counts as lost: some programs remove an address to set it anew.
const MISSES: u32 = 2;
/// Time limit for closing the connection.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);
/// Longest message in bytes: the longest member list of a room, or the longest message of a member after its uid.
const MAX_MESSAGE: usize = MAX_LIST_LEN + MAX_ID_LEN;
const QUEUE: usize = 256;

/// The server's address, the trusted certificates and the token.
#[derive(Debug, Clone)]
pub struct Server {
    /// Its address.
    pub address: Address,
    /// Which certificates to accept.
    pub trust: tls::Trust,
    /// The source of the access token.
    pub token: TokenSource,
}

impl Server {
    /// The value of the `Authorization` header to send, if any. A token and a password exclude each other.
    pub fn authorization(&self) -> Result<Option<HeaderValue>, Failure> {
        match &self.address.login {
            Some(login) => Ok(login.basic()),
            None => self.token.bearer(),
        }
    }
}

/// A registered connection.
#[derive(Debug)]
pub struct Connection {
    outgoing: Sender<String>,
    /// The incoming frames. `Closed`, `Unreadable` or `Lost` is the last item.
    pub incoming: Receiver<Incoming>,
}

/// An item from the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// A text frame.
    Text(String),
    /// The server closed the connection properly: in a session, the peer is gone.
    Closed {
        /// The WebSocket close code.
        code: u16,
        /// The reason in the close frame.
        reason: String,
    },
    /// A frame that we cannot read. After a reconnect it would come again.
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
                let why = format!("no answer within {} s", CONNECT_LIMIT.as_secs());
                Err(cannot_connect(&server.address, &why).passing())
            }
        }
    }

    /// Queues a frame. If the queue is full, the server has stopped reading: the connection ends.
    pub fn send(&self, text: String) {
        if self.outgoing.try_send(text).is_err() {
            self.outgoing.close();
        }
    }

    /// Closes the connection and waits briefly for the server's confirmation.
    pub async fn close(self) {
        self.outgoing.close();
        let gone = async { while self.incoming.recv().await.is_ok() {} };
        let _ = timeout(CLOSE_LIMIT, gone).await;
    }
}

type Tx = WebSocketSender<Box<dyn Stream>>;
type Rx = WebSocketReceiver<Box<dyn Stream>>;

async fn open(server: &Server, uid: &PeerId) -> Result<Connection, Failure> {
    let (stream, from) = dial::connect_from(&server.address, &server.trust).await?;
    let config = WebSocketConfig::default()
        .read_buffer_size(8 * 1024)
        .write_buffer_size(0)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let failed = |error: tungstenite::Error| upgrade_failure(server, &error);
    let mut request = server.address.url().into_client_request().map_err(failed)?;
    if let Some(authorization) = server.authorization()? {
        request.headers_mut().insert(AUTHORIZATION, authorization);
    }
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await.map_err(failed)?;
    let (mut tx, mut rx) = socket.split();
    register(&mut tx, &mut rx, server, uid).await?;
    let (outgoing, to_send) = channel::bounded(QUEUE);
    let (received, incoming) = channel::bounded(QUEUE);
    task::spawn(pump(tx, rx, from, to_send, received));
    Ok(Connection { outgoing, incoming })
}

fn upgrade_failure(server: &Server, error: &tungstenite::Error) -> Failure {
    let address = &server.address;
    match error {
        tungstenite::Error::Http(response) => match response.status() {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => not_admitted(server, response),
            status => {
                let failure = cannot_connect(address, &format!("no WebSocket there, HTTP {status}"));
                if is_passing(status) { failure.passing() } else { failure }
            }
        },
        tungstenite::Error::Protocol(error) => {
            cannot_connect(address, &format!("no WebSocket there ({error}); wss:// perhaps?"))
        }
        other => cannot_connect(address, &other.to_string()).passing(),
    }
}

/// Whether the same request may succeed soon: the server is full or starting, or a proxy waits for it.
fn is_passing(status: StatusCode) -> bool {
    use StatusCode as S;
    matches!(status, S::REQUEST_TIMEOUT | S::TOO_EARLY | S::TOO_MANY_REQUESTS) || status.is_server_error()
}

/// The failure for 401 and 403. It speaks of a token or a password only if the answer asks for one: a plain 403 may be
/// a firewall's.
fn not_admitted(server: &Server, response: &Response<Option<Vec<u8>>>) -> Failure {
    let (address, status) = (&server.address, response.status());
    let challenge = response.headers().get(WWW_AUTHENTICATE).and_then(|it| it.to_str().ok()).unwrap_or("");
    let wants_password = challenge.trim_start().to_ascii_lowercase().starts_with("basic");
    let words = words_of(response);
    let words = if repeats_secret(&words, server) { String::new() } else { words };
    let is_about_token = words.to_ascii_lowercase().contains("token");
    let wants_login = status == StatusCode::UNAUTHORIZED || !challenge.is_empty() || is_about_token;
    let said = if words.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {words}") };
    if !wants_login {
        let message = format!("{address} refuses the connection ({said})");
        return Failure::new(ExitCode::NotAuthorised, message).if_known();
    }
    let message = if address.login.is_some() {
        format!("{address} refuses the user and password of its address ({said})")
    } else if server.token.is_some() {
        format!("{address} refuses the token ({said}): it is wrong, expired, or for another server")
    } else if wants_password {
        format!("{address} wants a user and password ({said}), as in wss://user:password@host")
    } else {
        format!("{address} wants a token ({said}): give it one with --token-file or CALLBIN_TOKEN")
    };
    Failure::new(ExitCode::NotAuthorised, message)
}

/// Longest text in characters of an HTTP answer that is shown.
const MAX_WORDS: usize = 200;

/// Whether a text repeats the token or password that was sent.
fn repeats_secret(words: &str, server: &Server) -> bool {
    let Ok(Some(sent)) = server.authorization() else { return false };
    sent.to_str().is_ok_and(|sent| sent.split(' ').next_back().is_some_and(|secret| words.contains(secret)))
}

/// The text of an answer, on one line. Empty if it has none, or a page for a browser.
fn words_of(response: &Response<Option<Vec<u8>>>) -> String {
    let body = response.body().as_deref().unwrap_or_default();
    let Ok(text) = str::from_utf8(body) else { return String::new() };
    if text.trim_start().starts_with('<') {
        return String::new();
    }
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    printable(&line.chars().take(MAX_WORDS).collect::<String>())
}

/// The failure if this close code and reason mean that we must not reconnect by ourselves.
pub fn unwelcome(code: u16, reason: &str) -> Option<Failure> {
    let is_final = code == 1008
        && ["uid not allowed", "token expired", "replaced by a new connection", "closed by an operator"]
            .contains(&reason);
    is_final
        .then(|| Failure::new(ExitCode::NotAuthorised, format!("the server ends the connection: {reason}")))
}

/// The server's reason for closing, or the close code if it gives none.
pub fn closing(code: u16, reason: &str) -> String {
    if reason.is_empty() {
        format!("the server closed the connection with code {code}")
    } else {
        format!("the server closed the connection: {reason}")
    }
}

async fn register(tx: &mut Tx, rx: &mut Rx, server: &Server, uid: &PeerId) -> Result<(), Failure> {
    let failed = |why: String| cannot_connect(&server.address, &why).passing();
    tx.send(Message::text(ClientMessage::Hello(uid.clone()).to_string()))
        .await
        .map_err(|error| failed(error.to_string()))?;
    while let Some(frame) = rx.next().await {
        match frame.map_err(|error| failed(error.to_string()))? {
            Message::Text(text) => match ServerMessage::parse(&text) {
                Ok(ServerMessage::Hello) => return Ok(()),
                // At this stage only the operator's rules cause an `ERROR` message.
                Ok(ServerMessage::Error(error)) => {
                    return Err(refusal(&format!("our registration as {uid}"), &error).if_known());
                }
                _ => {}
            },
            Message::Close(frame) => {
                let (code, why) = frame.map_or((CloseCode::Status, String::new()), |frame| {
                    (frame.code, frame.reason.to_string())
                });
                return Err(not_registered(uid, code, &why).unwrap_or_else(|| {
                    failed(
                        format!("the server closed the connection: {why}")
                            .trim_end_matches([':', ' '])
                            .into(),
                    )
                }));
            }
            _ => {}
        }
    }
    Err(failed("the server closed the connection".into()))
}

/// The failure if the server closed the connection because it refuses to register us.
fn not_registered(uid: &PeerId, code: CloseCode, reason: &str) -> Option<Failure> {
    let why = match reason {
        "uid not allowed" => "the token does not allow it",
        "invalid peer uid" => "it is taken, or the server does not accept it",
        "not available, try again later" => {
            let error = ErrorMessage::Other(NOT_AVAILABLE.into());
            return Some(refusal(&format!("our registration as {uid}"), &error).passing());
        }
        other if code == CloseCode::Protocol => other,
        _ => return None,
    };
    let message = format!("the server refuses the uid {uid}: {why}: choose another with --id");
    Some(Failure::new(ExitCode::RefusedUid, message))
}

/// The error text of callbin's server when its webhook gives no answer.
const NOT_AVAILABLE: &str = "not available";

/// The failure if the rules of the server's operator (a webhook) do not allow `what`.
pub fn refusal(what: &str, error: &ErrorMessage) -> Failure {
    let message = match error {
        ErrorMessage::Other(words) if words == NOT_AVAILABLE => format!(
            "the server cannot decide about {what}: the service it asks (its webhook) does not answer: try again later"
        ),
        error => format!("the server does not allow {what}: {error}"),
    };
    Failure::new(ExitCode::NotAuthorised, message)
}

/// Moves frames until one side closes.
async fn pump(
    mut tx: Tx,
    mut rx: Rx,
    from: Option<IpAddr>,
    to_send: Receiver<String>,
    received: Sender<Incoming>,
) {
    let end = select! {
        end = relay(&mut tx, &mut rx, &to_send, &received).fuse() => match end {
            Ok(end) => end,
            Err(error) => match unreadable(&error) {
                Some(failure) => Incoming::Unreadable(failure),
                None => Incoming::Lost(error.to_string()),
            },
        },
        ip = loss_of(from).fuse() => Incoming::Lost(format!("this machine does not have the address {ip} any more")),
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

/// Waits until the machine has lost its address of the connection, which cannot come to life again under another one.
async fn loss_of(from: Option<IpAddr>) -> IpAddr {
    // The loopback address stays. Some systems let programs use addresses that no interface has.
    let Some(ip) = from.filter(|ip| !ip.is_loopback() && addresses::has(*ip)) else {
        return future::pending().await;
    };
    let mut misses = 0;
    while misses < MISSES {
        task::sleep(LOOK_EVERY).await;
        misses = if addresses::has(ip) { 0 } else { misses + 1 };
    }
    ip
}

/// The failure if a frame was too large or not valid text.
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

/// The last item after we closed: nobody reads it, but the channel needs one.
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
        // Some peers send JSON in binary frames, and the server forwards them unchanged.
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
    use crate::{exit::Hope, token::Token};

    #[test]
    fn only_what_may_pass_is_worth_another_attempt() {
        for (status, passing) in
            [(404, false), (426, false), (200, false), (301, false), (429, true), (503, true)]
        {
            assert_eq!(is_passing(StatusCode::from_u16(status).unwrap()), passing, "{status}");
        }
    }

    #[test]
    fn a_refusal_says_what_is_refused_and_why() {
        let server = |url: &str, token: Option<Token>| {
            let address = url.parse().unwrap();
            Server {
                address,
                trust: tls::Trust::System,
                token: token.map_or(TokenSource::None, TokenSource::Given),
            }
        };
        let token = Token::new("hush").unwrap();
        let response = |status: u16, challenge: &str, body: &str| {
            let builder = Response::builder().status(status);
            let builder =
                if challenge.is_empty() { builder } else { builder.header(WWW_AUTHENTICATE, challenge) };
            builder.body(Some(body.as_bytes().to_vec())).unwrap()
        };
        let firewall = "refuses the connection (HTTP 403 Forbidden: blocked by policy 7)";
        for (server, status, challenge, body, words) in [
            (server("ws://x", None), 401, "Bearer", "", "wants a token (HTTP 401 Unauthorized)"),
            (server("ws://x", None), 401, "", "", "wants a token"),
            (server("ws://x", None), 403, "", "a token is needed\n", "403 Forbidden: a token is needed)"),
            (server("ws://x", None), 401, "Basic realm=\"hush\"", "", "wants a user and password"),
            (
                server("ws://x", Some(token.clone())),
                401,
                "Bearer",
                "the token has expired\n",
                "refuses the token",
            ),
            (server("ws://me:hush@x", None), 401, "Basic", "", "refuses the user and password"),
            // Nothing here is about a token.
            (server("ws://x", None), 403, "", "blocked by\n policy 7\n", firewall),
            (server("ws://x", Some(token.clone())), 403, "", "blocked by policy 7", firewall),
            (server("ws://x", Some(token)), 401, "", "no access for hush", "(HTTP 401 Unauthorized)"),
            (server("ws://x", None), 403, "", "", "refuses the connection (HTTP 403 Forbidden)"),
            (server("ws://x", None), 403, "", "<html>a token", "refuses the connection (HTTP 403 Forbidden)"),
            (server("ws://x", None), 403, "", "a\u{1b}[2J", "(HTTP 403 Forbidden: a\\u001b[2J)"),
        ] {
            let failure = not_admitted(&server, &response(status, challenge, body));
            assert_eq!(failure.code, ExitCode::NotAuthorised);
            assert!(failure.message.contains(words) && !failure.message.contains("hush"), "{failure}");
        }
        let long = not_admitted(&server("ws://x", None), &response(403, "", &"ä ".repeat(10_000)));
        assert!(long.message.chars().count() < 300, "{long}");
    }

    #[test]
    fn what_a_webhook_refuses_is_not_a_matter_of_the_uid() {
        let uid = PeerId::new("me").unwrap();
        assert!(
            not_registered(&uid, CloseCode::Protocol, "invalid peer uid")
                .unwrap()
                .message
                .contains("it is taken")
        );
        assert!(
            not_registered(&uid, CloseCode::Policy, "uid not allowed").unwrap().message.contains("token")
        );
        assert_eq!(not_registered(&uid, CloseCode::Again, "too many registrations, try again later"), None);
        let no_webhook = not_registered(&uid, CloseCode::Again, "not available, try again later").unwrap();
        assert_eq!((no_webhook.code, no_webhook.hope), (ExitCode::NotAuthorised, Hope::Passing));
        let said = |words: &str| refusal("the call", &ErrorMessage::Other(words.into()));
        assert!(said("not available").message.contains("does not answer"));
        assert_eq!(said("after hours").message, "the server does not allow the call: after hours");
        assert_eq!(said("after hours").code, ExitCode::NotAuthorised);
    }
}
