//! Answers registrations of the text protocol with as little work as possible, as the lower bound of their cost.
//! `make compare` compares the server with it.
//!
//! It has one thread and edge-triggered epoll. It takes every request for one that opens a WebSocket, the next bytes for
//! `HELLO`, and the bytes after these for a close frame; it checks nothing, has no deadlines and no uids. The socket is closed
//! with the reply to the close frame. A partial write ends the program, and so does any error.
//!
//!     bare-register ADDRESS:PORT

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
};

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(0);

/// The name of the header that the answer depends on, as the load generator writes it.
const KEY: &[u8] = b"Sec-WebSocket-Key: ";

/// Frames: the text `HELLO`, and a close frame without a code.
const HELLO: &[u8] = b"\x81\x05HELLO";
const CLOSE: &[u8] = b"\x88\x00";

/// A connection, and the number of messages that it has sent.
struct Peer(TcpStream, u8);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let address = address.parse().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let mut listener = TcpListener::bind(address)?;
    println!("listening on http://{}/", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut peers, mut last) = (Events::with_capacity(1024), HashMap::new(), 0);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut peers, &mut last)?,
                token => answer(token, &mut peers)?,
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &Poll,
    peers: &mut HashMap<Token, Peer>,
    last: &mut usize,
) -> io::Result<()> {
    loop {
        let (mut stream, _) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        *last += 1;
        let token = Token(*last);
        poll.registry().register(&mut stream, token, Interest::READABLE)?;
        peers.insert(token, Peer(stream, 0));
    }
}

/// Answers the next message of a peer.
fn answer(token: Token, peers: &mut HashMap<Token, Peer>) -> io::Result<()> {
    let Some(Peer(stream, messages)) = peers.get_mut(&token) else { return Ok(()) };
    let mut buffer = [0; 2048];
    let read = match stream.read(&mut buffer) {
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
        read => read?,
    };
    *messages += 1;
    match messages {
        1 => stream.write_all(handshake(buffer.get(..read).unwrap_or_default()).as_bytes())?,
        2 => stream.write_all(HELLO)?,
        _ => {
            stream.write_all(CLOSE)?;
            peers.remove(&token);
        }
    }
    Ok(())
}

/// The answer that opens the WebSocket (RFC 6455, section 4.2.2).
fn handshake(request: &[u8]) -> String {
    let start = request.windows(KEY.len()).position(|bytes| bytes == KEY).unwrap_or_default() + KEY.len();
    let key = request.get(start..).and_then(|rest| rest.split(|byte| *byte == b'\r').next());
    let accept = derive_accept_key(key.unwrap_or_default());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {accept}\r\n\r\n"
    )
}
