//! A client's socket, with or without TLS.

use std::net::Shutdown;

use callbin_transport::MaybeTls;
use futures_rustls::server::TlsStream;

use crate::{fair::Fair, runtime::TcpStream};

/// A byte stream from and to a client.
/// Fair below TLS, so that neither tiny records nor a handshake keep others waiting.
pub type Connected = MaybeTls<Fair<TcpStream>, TlsStream<Fair<TcpStream>>>;

/// Tells the client that nothing more comes; it may still send. Closing does not, not with every runtime.
pub fn shut_down(stream: &Connected) {
    let tcp = match stream {
        Connected::Plain(stream) => stream,
        Connected::Tls(stream) => stream.get_ref().0,
    };
    // Broken already: then it knows.
    let _ = tcp.get_ref().shutdown(Shutdown::Write);
}
