//! A client's socket, with or without TLS.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    task::{Context, Poll},
};

use futures_rustls::server::TlsStream;
use futures_util::{AsyncRead, AsyncWrite};

use crate::runtime::TcpStream;

/// A byte stream from and to a client.
#[derive(Debug)]
pub enum Connected {
    /// As it comes.
    Plain(TcpStream),
    /// Through TLS. Boxed, so that plain connections don't pay for its size.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Connected {
    /// Tells the client that nothing more comes; it may still send. Closing does not, not with every runtime.
    pub fn shut_down(&self) {
        let tcp = match self {
            Self::Plain(stream) => stream,
            Self::Tls(stream) => stream.get_ref().0,
        };
        // Broken already: then it knows.
        let _ = tcp.shutdown(Shutdown::Write);
    }
}

macro_rules! inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Self::Plain(stream) => {
                let $stream = Pin::new(stream);
                $call
            }
            Self::Tls(stream) => {
                let $stream = Pin::new(&mut **stream);
                $call
            }
        }
    };
}

impl AsyncRead for Connected {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_read(cx, buf))
    }
}

impl AsyncWrite for Connected {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        inner!(self, stream => stream.poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_flush(cx))
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => stream.poll_close(cx))
    }
}
