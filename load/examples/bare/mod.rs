//! What the bare servers have in common: one thread, edge-triggered epoll, and connections that are numbered from 1.

use std::io::{self, ErrorKind};

use mio::{
    Events, Interest, Poll, Token,
    net::{TcpListener, TcpStream},
};

const LISTENER: Token = Token(0);

/// What a bare server does with its connections.
pub(crate) trait Bare {
    /// Takes a new connection.
    fn accepted(&mut self, token: Token, stream: TcpStream) -> io::Result<()>;

    /// A connection can be read, or has ended.
    fn ready(&mut self, token: Token) -> io::Result<()>;
}

/// Listens on the address in the command line, by default on a free loopback port, and prints it. Ends with the first error.
pub(crate) fn run(mut server: impl Bare) -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let address = address.parse().map_err(|error| io::Error::new(ErrorKind::InvalidInput, error))?;
    let mut listener = TcpListener::bind(address)?;
    println!("listening on http://{}/", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut events, mut last) = (Events::with_capacity(1024), 0);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match event.token() {
                LISTENER => accept(&listener, &poll, &mut last, &mut server)?,
                token => server.ready(token)?,
            }
        }
    }
}

fn accept(listener: &TcpListener, poll: &Poll, last: &mut usize, server: &mut impl Bare) -> io::Result<()> {
    loop {
        let (mut stream, _) = match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            accepted => accepted?,
        };
        *last += 1;
        poll.registry().register(&mut stream, Token(*last), Interest::READABLE)?;
        server.accepted(Token(*last), stream)?;
    }
}
