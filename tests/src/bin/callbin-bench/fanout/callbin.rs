//! A media node beside a server, reached by WHIP and WHEP.

use std::{net::IpAddr, time::Duration};

use callbin_tests::{DEADLINE, Server, http, process::process_children, wait_until};

use super::{Forwarder, client::Client, pin};

pub struct Node {
    server: Server,
    pid: u32,
}

impl Node {
    pub fn start(at: IpAddr) -> Self {
        let listen = format!("--media-arg=--listen={at}:0");
        let limits =
            ["--max-request-rate", "100000", "--max-viewers", "100000", "--log", "warn,callbin_server=info"];
        let server = Server::start(&[&["--media", &listen], &limits[..]].concat());
        server.wait_for_log("media node attached");
        let pid = process_children(server.pid()).into_iter().next().expect("the server has started its node");
        pin(server.pid(), 0);
        pin(pid, 0);
        Self { server, pid }
    }

    /// Posts an offer until it is accepted.
    fn exchange(&self, path: &str, offer: &str) -> String {
        let headers = [("Content-Type", "application/sdp")];
        wait_until("an answer", DEADLINE, || {
            let response = http::send(&self.server, "POST", path, &headers, offer);
            match response.status {
                201 => return Some(response.body),
                409 | 429 | 503 => std::thread::sleep(Duration::from_millis(50)),
                _ => panic!("{response:?}"),
            }
            None
        })
    }
}

impl Forwarder for Node {
    fn name(&self) -> String {
        "callbin-media".into()
    }

    fn pid(&self) -> u32 {
        self.pid
    }

    fn publish(&mut self, at: IpAddr) -> Client {
        Client::offer(at, true, |offer| self.exchange("/whip/stream", &offer))
    }

    fn play(&mut self, at: IpAddr) -> Client {
        Client::offer(at, false, |offer| self.exchange("/whep/stream", &offer))
    }
}
