//! A TCP relay without a protocol, as the lower bound of the cost of relaying. `make compare` compares the server with it.
//!
//! It has one thread and edge-triggered epoll. Two successive connections are a pair, and the bytes of one go to the other. A
//! message that has arrived completely costs one `recv`, one `send`, and its share of an `epoll_wait`: a read that does not
//! fill the buffer has emptied the socket. There is no queue: a partial write ends the program, and so does any error.
//!
//!     bare-relay ADDRESS:PORT

use std::{
    collections::HashMap,
    io::{self, ErrorKind, Read, Write},
};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(0);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let address = address.parse().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let mut listener = TcpListener::bind(address)?;
    println!("listening on http://{}/", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut streams, mut buffer) =
        (Events::with_capacity(1024), HashMap::new(), vec![0; 64 * 1024]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut streams)?,
                token => relay(token, &mut streams, &mut buffer)?,
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, streams: &mut HashMap<Token, TcpStream>) -> io::Result<()> {
    loop {
        let (mut stream, _) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        stream.set_nodelay(true)?;
        let token = Token(streams.len() + 1);
        poll.registry().register(&mut stream, token, Interest::READABLE)?;
        streams.insert(token, stream);
    }
}

/// Reads until the socket is empty, and writes all of it to the other socket of the pair.
fn relay(from: Token, streams: &mut HashMap<Token, TcpStream>, buffer: &mut [u8]) -> io::Result<()> {
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
