//! `callbin-test-peer URL UID`: a peer in its own process, for tests that stop it or cut its connection.
//!
//! Registers, prints `registered`, and echoes every text. Its last line says how the connection ended.

use callbin_tests::{Socket, socket::Received};

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [url, uid] = args.as_slice() else { panic!("usage: callbin-test-peer URL UID") };
    let mut socket = Socket::connect_to(url).hello(uid);
    println!("registered");
    let end = loop {
        match socket.receive() {
            Received::Text(text) => drop(socket.try_send(&text)),
            Received::Binary(_) => {}
            Received::Closed(Some((code, reason))) => break format!("closed {code} {reason}"),
            Received::Closed(None) => break "closed".into(),
            Received::Cut => break "cut".into(),
        }
    };
    println!("{end}");
}
