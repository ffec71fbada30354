//! A TCP proxy that turns a signalling server into an echo server, for tools that test WebSockets.
//!
//! After each client's handshake it sends HELLO and SESSION, to a partner that echoes all frames. From then on it
//! forwards all bytes unchanged in both directions.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    thread,
};

use tungstenite::{Message, WebSocket, protocol::WebSocketConfig, stream::MaybeTlsStream};

use crate::wait::DEADLINE;

/// Larger than any message of any test.
const LARGE: usize = 256 << 20;

/// Starts a proxy in front of a server; it runs until the process ends.
pub fn start(server: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has ports");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || {
        for (number, client) in listener.incoming().map_while(Result::ok).enumerate() {
            thread::spawn(move || serve(client, server, number));
        }
    });
    address
}

fn serve(mut client: TcpStream, server: SocketAddr, number: usize) -> Option<()> {
    let _ = client.set_nodelay(true);
    let _ = client.set_read_timeout(Some(DEADLINE));
    let request = read_head(&mut client)?;
    let mut upstream = TcpStream::connect(server).ok()?;
    upstream.set_nodelay(true).ok()?;
    upstream.write_all(&request).ok()?;
    let response = read_head(&mut upstream)?;
    if response.starts_with(b"HTTP/1.1 101") {
        let partner = register(server, &format!("mirror-{number}"))?;
        thread::spawn(move || reflect(partner));
        converse(&mut upstream, &format!("HELLO client-{number}"), "HELLO")?;
        converse(&mut upstream, &format!("SESSION mirror-{number}"), "SESSION_OK")?;
    }
    client.write_all(&response).ok()?;
    let (mut from_client, mut to_server) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    let upwards = thread::spawn(move || splice(&mut from_client, &mut to_server));
    splice(&mut upstream, &mut client);
    let _ = upwards.join();
    Some(())
}

fn splice(from: &mut TcpStream, to: &mut TcpStream) {
    let _ = std::io::copy(from, to);
    let _ = to.shutdown(Shutdown::Write);
}

fn read_head(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0; 1]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        head.extend(byte);
    }
    Some(head)
}

/// Sends a short text and expects exactly `answer`.
fn converse(stream: &mut TcpStream, text: &str, answer: &str) -> Option<()> {
    let mut frame = vec![0x81, 0x80 | u8::try_from(text.len()).ok()?, 0, 0, 0, 0];
    frame.extend(text.as_bytes());
    stream.write_all(&frame).ok()?;
    let mut found = vec![0; 2 + answer.len()];
    stream.read_exact(&mut found).ok()?;
    found.ends_with(answer.as_bytes()).then_some(())
}

fn register(server: SocketAddr, uid: &str) -> Option<WebSocket<MaybeTlsStream<TcpStream>>> {
    let config = WebSocketConfig::default().max_message_size(Some(LARGE)).max_frame_size(Some(LARGE));
    let stream = MaybeTlsStream::Plain(TcpStream::connect(server).ok()?);
    let url = format!("ws://{server}/");
    let mut socket = tungstenite::client::client_with_config(url, stream, Some(config)).ok()?.0;
    socket.send(Message::text(format!("HELLO {uid}"))).ok()?;
    (socket.read().ok()? == Message::text("HELLO")).then_some(socket)
}

/// Echoes all messages, in order.
fn reflect(mut socket: WebSocket<MaybeTlsStream<TcpStream>>) {
    while let Ok(message) = socket.read() {
        if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
            return;
        }
    }
}
