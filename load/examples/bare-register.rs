//! Answers registrations of the text protocol with as little work as possible, as the lower bound of their cost.
//! `make compare` compares the server with it.
//!
//! It has one thread and edge-triggered epoll. It takes every request for one that opens a WebSocket, the next bytes for
//! `HELLO`, and the bytes after these for a close frame; it checks nothing, has no deadlines and no uids. The socket is closed
//! with the reply to the close frame. A partial write ends the program, and so does any error.
//!
//!     bare-register ADDRESS:PORT

mod bare;

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
};

use async_tungstenite::tungstenite::handshake::derive_accept_key;
use mio::{Token, net::TcpStream};

/// The name of the header that the answer depends on, as the load generator writes it.
const KEY: &[u8] = b"Sec-WebSocket-Key: ";

/// Frames: the text `HELLO`, and a close frame without a code.
const HELLO: &[u8] = b"\x81\x05HELLO";
const CLOSE: &[u8] = b"\x88\x00";

/// A connection, and the number of messages that it has sent.
struct Peer(TcpStream, u8);

#[derive(Default)]
struct Register(HashMap<Token, Peer>);

fn main() -> io::Result<()> {
    bare::run(Register::default())
}

impl bare::Bare for Register {
    fn accepted(&mut self, token: Token, stream: TcpStream) -> io::Result<()> {
        self.0.insert(token, Peer(stream, 0));
        Ok(())
    }

    /// Answers the next message of a peer.
    fn ready(&mut self, token: Token) -> io::Result<()> {
        let Some(Peer(stream, messages)) = self.0.get_mut(&token) else { return Ok(()) };
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
                self.0.remove(&token);
            }
        }
        Ok(())
    }
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
