//! `callbin-test-peer URL UID`: a peer in a process of its own, to be stopped and cut off by tests.
//!
//! Registers, says so, and sends everything back. Its last line is how the connection ended.

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
