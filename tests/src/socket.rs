//! A bare WebSocket peer: it sends what the test sends, and only pongs by itself.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use callbin_transport::{MaybeTls, insecure_config};
use rustls::{ClientConnection, StreamOwned, pki_types::ServerName};
use serde_json::Value;
use tungstenite::{
    Error, Message, WebSocket,
    client::IntoClientRequest,
    http::HeaderName,
    protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{Data, OpCode},
        },
    },
};

use crate::{http::connect_from, server::Server, wait::DEADLINE};

/// A WebSocket to a server.
#[derive(Debug)]
pub struct Socket(WebSocket<Stream>);

/// What was received from a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text frame.
    Text(String),
    /// A binary frame.
    Binary(Vec<u8>),
    /// A close frame, with code and reason if given.
    Closed(Option<(u16, String)>),
    /// The connection ended without a close frame.
    Cut,
}

impl Socket {
    /// Connects, without registering.
    #[track_caller]
    pub fn connect(server: &Server) -> Self {
        Self::connect_to(&server.ws_url())
    }

    /// Connects to any URL.
    #[track_caller]
    pub fn connect_to(url: &str) -> Self {
        Self::connect_with(url, &[])
    }

    /// Connects with additional request headers.
    #[track_caller]
    pub fn connect_with(url: &str, headers: &[(&str, &str)]) -> Self {
        let address = address_of(url);
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("{url}: {error}"));
        Self::handshake(stream, url, headers)
    }

    /// Connects from this loopback address.
    #[track_caller]
    pub fn connect_from(server: &Server, source: IpAddr) -> Self {
        Self::handshake(connect_from(source, server.address()), &server.ws_url(), &[])
    }

    /// Does the WebSocket handshake on a TCP connection, after TLS for `wss:`.
    #[track_caller]
    pub fn handshake(stream: TcpStream, url: &str, headers: &[(&str, &str)]) -> Self {
        stream.set_nodelay(true).expect("a socket has options");
        stream.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
        let stream =
            if url.starts_with("wss:") { Stream::Tls(tls(stream).into()) } else { Stream::Plain(stream) };
        let mut request = url.into_client_request().expect("a URL");
        for (name, value) in headers {
            let name = HeaderName::try_from(*name).expect("a header's name");
            request.headers_mut().insert(name, value.parse().expect("a header's value"));
        }
        match tungstenite::client(request, stream) {
            Ok((socket, _)) => Self(socket),
            Err(error) => panic!("{url}: no WebSocket: {error}"),
        }
    }

    /// Registers, and waits for the confirmation.
    #[track_caller]
    pub fn hello(mut self, uid: &str) -> Self {
        self.send(&format!("HELLO {uid}"));
        self.expect("HELLO");
        self
    }

    /// Connects and registers.
    #[track_caller]
    pub fn register(server: &Server, uid: &str) -> Self {
        Self::connect(server).hello(uid)
    }

    /// Two peers in a session, `name-caller` and `name-callee`.
    #[track_caller]
    pub fn session(server: &Server, name: &str) -> (Self, Self) {
        let callee = Self::register(server, &format!("{name}-callee"));
        let mut caller = Self::register(server, &format!("{name}-caller"));
        caller.expect_nothing(&format!("SESSION {name}-callee"), "SESSION_OK");
        (caller, callee)
    }

    /// Sends a text frame.
    #[track_caller]
    pub fn send(&mut self, text: &str) {
        self.0.send(Message::text(text)).expect("the socket is open");
    }

    /// Sends a text in frames of at most this many bytes.
    #[track_caller]
    pub fn send_in_frames(&mut self, text: &str, size: usize) {
        let chunks: Vec<&[u8]> = text.as_bytes().chunks(size).collect();
        for (number, chunk) in chunks.iter().enumerate() {
            let kind = if number == 0 { Data::Text } else { Data::Continue };
            let frame = Frame::message(chunk.to_vec(), OpCode::Data(kind), number + 1 == chunks.len());
            self.0.send(Message::Frame(frame)).expect("the socket is open");
        }
    }

    /// Waits for a text frame of JSON.
    #[track_caller]
    pub fn receive_json(&mut self) -> Value {
        let text = self.receive_text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"))
    }

    /// Waits for exactly this JSON.
    #[track_caller]
    pub fn expect_json(&mut self, expected: &Value) {
        assert_eq!(self.receive_json(), *expected);
    }

    /// Sends a binary frame.
    #[track_caller]
    pub fn send_binary(&mut self, bytes: &[u8]) {
        self.0.send(Message::binary(bytes.to_vec())).expect("the socket is open");
    }

    /// Waits for a frame.
    #[track_caller]
    pub fn receive(&mut self) -> Received {
        let start = Instant::now();
        loop {
            // The server's pings keep a read from timing out, so check the time here.
            assert!(start.elapsed() < DEADLINE, "waited {DEADLINE:?} for a frame");
            match self.0.read() {
                Ok(Message::Text(text)) => return Received::Text(text.to_string()),
                Ok(Message::Binary(bytes)) => return Received::Binary(bytes.to_vec()),
                Ok(Message::Close(frame)) => return Received::Closed(frame.map(describe)),
                Ok(_) => {}
                // This process was stopped and continued.
                Err(Error::Io(error)) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(Error::Io(error)) if is_timeout(&error) => panic!("waited {DEADLINE:?} for a frame"),
                Err(_) => return Received::Cut,
            }
        }
    }

    /// Waits for a text frame.
    #[track_caller]
    pub fn receive_text(&mut self) -> String {
        match self.receive() {
            Received::Text(text) => text,
            other => panic!("expected text, got {other:?}"),
        }
    }

    /// A text frame, if one comes before the time of [`Socket::set_deadline`] is over.
    pub fn try_receive_text(&mut self) -> Option<String> {
        loop {
            match self.0.read() {
                Ok(Message::Text(text)) => return Some(text.to_string()),
                Ok(Message::Ping(_) | Message::Pong(_)) => {}
                _ => return None,
            }
        }
    }

    /// Sends a text frame; false if the socket is not open.
    pub fn try_send(&mut self, text: &str) -> bool {
        self.0.send(Message::text(text)).is_ok()
    }

    /// Waits for exactly this text.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        assert_eq!(self.receive(), Received::Text(text.into()));
    }

    /// Waits for the server to close with this code and reason.
    #[track_caller]
    pub fn expect_close(&mut self, code: u16, reason: &str) {
        assert_eq!(self.receive(), Received::Closed(Some((code, reason.into()))));
    }

    /// Sends a request and expects its answer as the next frame: nothing else was queued. Not within a session.
    #[track_caller]
    pub fn expect_nothing(&mut self, probe: &str, answer: &str) {
        self.send(probe);
        self.expect(answer);
    }

    /// Closes the WebSocket (RFC 6455) and waits for the close frame.
    pub fn close(mut self) {
        let _ = self.0.close(None);
        while self.0.read().is_ok() {}
    }

    /// Closes the TCP connection without a close frame.
    pub fn cut(self) {
        drop(self);
    }

    /// The TCP connection, for what a WebSocket cannot do.
    pub fn tcp(&self) -> &TcpStream {
        match self.0.get_ref() {
            Stream::Plain(stream) => stream,
            Stream::Tls(stream) => &stream.sock,
        }
    }

    /// How long to wait for a frame before the test fails.
    pub fn set_deadline(&mut self, deadline: Duration) {
        self.tcp().set_read_timeout(Some(deadline)).expect("a socket has options");
    }

    /// The server's certificate, in DER.
    pub fn server_certificate(&self) -> Vec<u8> {
        match self.0.get_ref() {
            Stream::Plain(_) => panic!("no TLS"),
            Stream::Tls(stream) => {
                let chain = stream.conn.peer_certificates().expect("a server has a certificate");
                chain.first().expect("a chain has a first").to_vec()
            }
        }
    }
}

fn describe(frame: CloseFrame) -> (u16, String) {
    (frame.code.into(), frame.reason.to_string())
}

fn is_timeout(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut)
}

fn address_of(url: &str) -> SocketAddr {
    let authority = url.split('/').nth(2).unwrap_or_default().replace("localhost", "127.0.0.1");
    authority.parse().unwrap_or_else(|_| panic!("{url}: no address in it"))
}

/// Plain or TLS. Certificates are not verified: these tests are about signalling.
type Stream = MaybeTls<TcpStream, StreamOwned<ClientConnection, TcpStream>>;

fn tls(stream: TcpStream) -> StreamOwned<ClientConnection, TcpStream> {
    let config = insecure_config().expect("rustls likes its own defaults");
    let name = ServerName::try_from("localhost").expect("localhost is a name");
    StreamOwned::new(ClientConnection::new(Arc::new(config), name).expect("a configuration"), stream)
}
