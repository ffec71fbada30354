//! HTTP requests, each over a new socket, and parsed responses.

use std::{
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
};

use socket2::{Domain, Socket as RawSocket, Type};

use crate::{server::Server, wait::DEADLINE};

/// The headers of a WebSocket handshake.
pub const UPGRADE: [(&str, &str); 4] = [
    ("Connection", "Upgrade"),
    ("Upgrade", "websocket"),
    ("Sec-WebSocket-Version", "13"),
    ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    /// The status code; 0 if there is none.
    pub status: u16,
    /// The status line and the headers, in lower case.
    pub head: String,
    /// The headers as they were sent.
    pub raw_head: String,
    /// The body.
    pub body: String,
}

impl Response {
    /// Parses a response, or the part of it received so far.
    pub fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
        Self { status, head: head.to_lowercase(), raw_head: head.to_owned(), body: body.to_owned() }
    }

    /// The value of a header, in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            (found == name).then(|| value.trim())
        })
    }

    /// The value of a header as it was sent.
    #[track_caller]
    pub fn exact(&self, name: &str) -> &str {
        let line = self.raw_head.lines().find_map(|line| {
            let (found, value) = line.split_once(':')?;
            found.eq_ignore_ascii_case(name).then(|| value.trim())
        });
        line.unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// `GET` on the server's port for clients.
#[track_caller]
pub fn get(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    request(server.address(), "GET", path, headers)
}

/// Sends any request to any address, and reads until the other end closes.
#[track_caller]
pub fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut stream = connect_from(Ipv4Addr::LOCALHOST.into(), address);
    let headers = [&[("Connection", "close")], headers].concat();
    write_head(&mut stream, method, path, &headers);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    Response::parse(&answer)
}

/// Sends a request with a body, and waits for the answer.
#[track_caller]
pub fn send(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
    read_answer(&mut start(server, method, path, headers, body))
}

/// Sends a request with a body. The answer can be read later.
#[track_caller]
pub fn start(server: &Server, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> TcpStream {
    let mut stream = connect_from(Ipv4Addr::LOCALHOST.into(), server.address());
    let length = body.len().to_string();
    // The answer to HEAD announces a body that does not come: it ends with the connection.
    let end: &[(&str, &str)] = if method == "HEAD" { &[("Connection", "close")] } else { &[] };
    write_head(&mut stream, method, path, &[headers, &[("Content-Length", &length)], end].concat());
    // A server that refuses may have closed already.
    let _ = stream.write_all(body.as_bytes());
    stream
}

/// Requests a WebSocket; reads only the head of the response, and the body of a refusal.
#[track_caller]
pub fn upgrade(server: &Server, path: &str, headers: &[(&str, &str)]) -> Response {
    upgrade_on(connect_from(Ipv4Addr::LOCALHOST.into(), server.address()), path, headers)
}

/// Requests a WebSocket on this connection, and closes it afterwards.
#[track_caller]
pub fn upgrade_on(mut stream: TcpStream, path: &str, headers: &[(&str, &str)]) -> Response {
    write_head(&mut stream, "GET", path, &[&UPGRADE, headers].concat());
    read_answer(&mut stream)
}

/// Reads the head of a response, and the body that it announces.
pub fn read_answer(stream: &mut TcpStream) -> Response {
    let (mut bytes, mut byte) = (Vec::new(), [0; 1]);
    // Byte by byte: what follows the response belongs to the next one.
    while !bytes.ends_with(b"\r\n\r\n") && matches!(stream.read(&mut byte), Ok(1..)) {
        bytes.extend(byte);
    }
    let head = Response::parse(&bytes);
    let length = head.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let _ = stream.take(length).read_to_end(&mut bytes);
    Response::parse(&bytes)
}

/// Sends the head of a request.
pub fn write_head(stream: &mut TcpStream, method: &str, path: &str, headers: &[(&str, &str)]) {
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\n");
    headers.iter().for_each(|(name, value)| head.push_str(&format!("{name}: {value}\r\n")));
    // A server that refuses may have closed already; then its response says so.
    let _ = stream.write_all(format!("{head}\r\n").as_bytes());
}

/// Connects from this loopback address.
#[track_caller]
pub fn connect_from(source: IpAddr, address: SocketAddr) -> TcpStream {
    let socket = RawSocket::new(Domain::for_address(address), Type::STREAM, None).expect("sockets exist");
    socket.bind(&SocketAddr::new(source, 0).into()).expect("the loopback has this address");
    socket.connect(&address.into()).unwrap_or_else(|error| panic!("{address}: {error}"));
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true).expect("a socket has options");
    stream.set_read_timeout(Some(DEADLINE)).expect("a socket has options");
    stream
}
