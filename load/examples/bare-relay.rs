//! A TCP relay without a protocol, as the lower bound of the cost of relaying. `make compare` compares the server with it.
//!
//! It has one thread and edge-triggered epoll. Two successive connections are a pair, and the bytes of one go to the other. A
//! message that has arrived completely costs one `recv`, one `send`, and its share of an `epoll_wait`: a read that does not
//! fill the buffer has emptied the socket. There is no queue: a partial write ends the program, and so does any error.
//!
//!     bare-relay ADDRESS:PORT

mod bare;

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
};

use mio::{Token, net::TcpStream};

struct Relay {
    streams: HashMap<Token, TcpStream>,
    buffer: Vec<u8>,
}

fn main() -> io::Result<()> {
    bare::run(Relay { streams: HashMap::new(), buffer: vec![0; 64 * 1024] })
}

impl bare::Bare for Relay {
    fn accepted(&mut self, token: Token, stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        self.streams.insert(token, stream);
        Ok(())
    }

    /// Reads until the socket is empty, and writes all of it to the other socket of the pair.
    fn ready(&mut self, from: Token) -> io::Result<()> {
        let Self { streams, buffer } = self;
        // 1 and 2 are a pair, 3 and 4, and so on.
        let to = Token(((from.0 - 1) ^ 1) + 1);
        loop {
            let Some(source) = streams.get_mut(&from) else { return Ok(()) };
            let read = match source.read(buffer) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                read => read?,
            };
            if let (Some(target), Some(bytes)) = (streams.get_mut(&to), buffer.get(..read)) {
                target.write_all(bytes)?;
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }
}
