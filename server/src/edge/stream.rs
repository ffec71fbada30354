//! A client's socket, with or without TLS.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use callbin_transport::MaybeTls;
use futures_rustls::server::TlsStream;
use futures_util::{AsyncRead, AsyncWrite};

use crate::{edge::fair::Fair, runtime::TcpStream};

/// Turns are taken below TLS, so that neither tiny records nor handshakes delay other connections.
pub type Socket = Fair<TcpStream>;

/// A byte stream from and to a client. It counts the received bytes.
#[derive(Debug)]
pub struct Connected {
    /// `None` after `take`.
    stream: Option<MaybeTls<Socket, TlsStream<Socket>>>,
    received: u64,
}

impl Connected {
    /// Without TLS.
    pub fn plain(socket: Socket) -> Self {
        Self { stream: Some(MaybeTls::Plain(socket)), received: 0 }
    }

    /// With TLS, after its handshake.
    pub fn tls(stream: TlsStream<Socket>) -> Self {
        Self { stream: Some(MaybeTls::Tls(Box::new(stream))), received: 0 }
    }

    /// Moves the stream out. Reads and writes on the rest fail.
    pub fn take(&mut self) -> Self {
        Self { stream: self.stream.take(), received: self.received }
    }

    /// Bytes received so far, before decryption.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// From now on the client does not count, or wait, as a new connection.
    pub fn settle(&mut self) {
        match &mut self.stream {
            Some(MaybeTls::Plain(socket)) => socket.settle(),
            Some(MaybeTls::Tls(stream)) => stream.get_mut().0.settle(),
            None => {}
        }
    }
}

fn inner<T>(stream: &mut Option<T>) -> io::Result<&mut T> {
    stream.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
}

impl AsyncRead for Connected {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let read = ready!(Pin::new(inner(&mut this.stream)?).poll_read(cx, buf))?;
        this.received += read as u64;
        Poll::Ready(Ok(read))
    }
}

impl AsyncWrite for Connected {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(inner(&mut self.get_mut().stream)?).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(inner(&mut self.get_mut().stream)?).poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(inner(&mut self.get_mut().stream)?).poll_close(cx)
    }
}
