//! A signalling server behind a mirror, for the Autobahn test suite: prints its address, and runs until its
//! standard input ends. See scripts/autobahn.sh.

use callbin_tests::{Server, mirror};

fn main() {
    let limits = ["--max-message", "67108864", "--max-queue", "268435456", "--max-message-rate", "0"];
    let server = Server::start(&[&limits[..], &["--max-byte-rate", "0", "--hello-timeout", "60"]].concat());
    println!("ws://{}", mirror::start(server.address()));
    let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
}
