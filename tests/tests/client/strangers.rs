//! No description, no flood and no STUN message of a foreign peer ends a client. For long runs:
//! `target/debug/callbin-strangers 1 10000` and `target/debug/callbin-test-teardown 10000`.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::Command,
    time::Duration,
};

use callbin_tests::{Client, DEADLINE, Server, Socket, program, strangers, stun, wait_until};
use serde_json::{Value, json};

#[test]
fn no_description_ends_the_process() {
    let outcome = strangers::survive(&program("callbin-strangers"), 1, 150);
    assert!(outcome.deaths.is_empty(), "{:#?}", outcome.deaths);
    // The grammar generates acceptable and unacceptable descriptions.
    assert!(outcome.answered > 50 && outcome.refused > 20, "{outcome:?}");
}

/// The packets of a flood still arrive while its peer is ended.
#[test]
fn no_flood_ends_the_process_while_it_is_ended() {
    let mut command = Command::new(program("callbin-test-teardown"));
    let output = command.arg("15").env("G_DEBUG", "fatal-criticals").output().expect("it starts");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.stdout, b"survived\n", "{}: {errors}", output.status);
}

const UFRAG: &str = "stranger";
const PASSWORD: &str = "0123456789012345678901";

/// A stranger that has offered to a client, by signalling and UDP.
struct Stranger {
    client: Client,
    _server: Server,
    signalling: Socket,
    udp: UdpSocket,
    /// The client's address, and its user fragment and password.
    address: SocketAddr,
    ufrag: String,
    password: String,
}

impl Stranger {
    fn call() -> Self {
        let server = Server::start(&[]);
        let mut client = Client::start(&server, &["wait", "--id", "gst", "--size", "320x240"]);
        client.wait_for("waiting");
        let mut signalling = Socket::register(&server, "stranger");
        signalling.send("SESSION gst");
        signalling.expect("SESSION_OK");
        let transport = format!(
            "a=ice-ufrag:{UFRAG}\r\na=ice-pwd:{PASSWORD}\r\na=setup:actpass\r\na=fingerprint:sha-256 {}\r\n",
            ["AB"; 32].join(":")
        );
        let sdp = format!(
            "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n{transport}\
             m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtcp-mux\r\na=rtpmap:111 opus/48000/2\r\n"
        );
        signalling.send(&json!({ "sdp": { "type": "offer", "sdp": sdp } }).to_string());
        let (mut ufrag, mut password, mut address) = (None, None, None);
        while ufrag.is_none() || password.is_none() || address.is_none() {
            let signal: Value = serde_json::from_str(&signalling.receive_text()).expect("a signal");
            let said = signal.pointer("/sdp/sdp").or(signal.pointer("/ice/candidate"));
            for line in said.and_then(Value::as_str).unwrap_or_default().lines() {
                let value = |name: &str| line.strip_prefix(name).map(String::from);
                ufrag = ufrag.or_else(|| value("a=ice-ufrag:"));
                password = password.or_else(|| value("a=ice-pwd:"));
                address = address.or_else(|| ipv4(line));
            }
        }
        let udp = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port is free");
        udp.set_read_timeout(Some(Duration::from_millis(100))).expect("a socket has options");
        let [ufrag, password] = [ufrag, password].map(Option::unwrap);
        let (address, _server) = (address.unwrap(), server);
        Self { client, _server, signalling, udp, address, ufrag, password }
    }

    /// Sends a check with this user name.
    fn check(&self, transaction: u8, username: &str) {
        let check = stun::check(transaction, username, &self.password);
        self.udp.send_to(&check, self.address).expect("it is sent");
    }

    /// Sends an honest check until it is answered.
    fn assert_is_answered(&self, transaction: u8) {
        wait_until("a response", DEADLINE, || {
            self.check(transaction, &format!("{}:{UFRAG}", self.ufrag));
            let mut packet = [0; 2048];
            while let Ok(length) = self.udp.recv(&mut packet) {
                if stun::is_response(&packet[..length], transaction) {
                    return Some(());
                }
            }
            None
        });
    }
}

/// The address of a UDP candidate with an IPv4 address of this machine.
fn ipv4(candidate: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let [_, "1", kind, _, address, port, "typ", "host", ..] = *words else { return None };
    let address: Ipv4Addr = address.parse().ok()?;
    kind.eq_ignore_ascii_case("udp").then_some(SocketAddr::from((address, port.parse().ok()?)))
}

/// libnice 0.1.21 has an assertion about requests whose reply becomes too long.
#[test]
fn no_stun_message_ends_the_process() {
    let stranger = Stranger::call();
    stranger.assert_is_answered(1);
    for length in 1100..1300 {
        let username = format!("{}:{UFRAG}", stranger.ufrag);
        let rest = "x".repeat(length - username.len());
        stranger.check(2, &format!("{username}{rest}"));
    }
    stranger.assert_is_answered(3);
    stranger.client.hang_up();
}

/// One of two addresses of a stranger. It sends checks and answers those of the client, rightly or not.
struct Address {
    udp: UdpSocket,
    priority: [u8; 4],
    /// The client's address, and what its checks have to have.
    client: SocketAddr,
    username: String,
    password: String,
}

impl Address {
    fn of(stranger: &Stranger, priority: u8) -> Self {
        let client = stranger.address;
        let udp = UdpSocket::bind((client.ip(), 0)).expect("a port is free");
        udp.set_read_timeout(Some(Duration::from_millis(20))).expect("a socket has options");
        let (username, password) = (format!("{}:{UFRAG}", stranger.ufrag), stranger.password.clone());
        Self { udp, priority: [priority, 0, 0, 0xff], client, username, password }
    }

    fn send(&self, packet: &[u8]) {
        self.udp.send_to(packet, self.client).expect("it is sent");
    }

    /// Sends a check with these attributes.
    fn check(&self, more: &[(u16, &[u8])]) {
        let attributes = [&[(stun::PRIORITY, &self.priority[..])], more].concat();
        self.send(&stun::check_with(&self.username, &self.password, &attributes));
    }

    /// The next check of the client that comes soon.
    fn checked(&self) -> Option<[u8; 12]> {
        let mut packet = [0; 2048];
        while let Ok(length) = self.udp.recv(&mut packet) {
            if let Some(transaction) = stun::transaction(&packet[..length]) {
                return Some(transaction);
            }
        }
        None
    }

    /// Sends checks until the client checks this address, too.
    fn until_checked(&self, more: &[(u16, &[u8])]) -> [u8; 12] {
        wait_until("a check of the client", DEADLINE, || {
            self.check(more);
            self.checked()
        })
    }

    /// Answers a check of the client, with the address that it is said to come from.
    fn answer(&self, transaction: [u8; 12], mapped: Option<SocketAddr>) {
        let mut message = stun::Message::new(stun::RESPONSE, transaction);
        if let Some(SocketAddr::V4(mapped)) = mapped {
            message = message.with_address(mapped);
        }
        self.send(&message.finish(PASSWORD));
    }
}

/// The client is controlling from now on.
const CONTROLLED: (u16, &[u8]) = (stun::ICE_CONTROLLED, &[0; 8]);
/// The client is controlled from now on.
const CONTROLLING: (u16, &[u8]) = (stun::ICE_CONTROLLING, &[0xff; 8]);

/// The client is to use this pair of addresses.
const NOMINATES: (u16, &[u8]) = (stun::USE_CANDIDATE, &[]);

/// libnice 0.1.21 keeps pointers between a pair that has succeeded and the one that it led to, and has an assertion that both have
/// succeeded.
#[test]
fn no_pair_that_fails_after_a_success_ends_the_process() {
    let mut stranger = Stranger::call();
    let (first, second) = (Address::of(&stranger, 0x20), Address::of(&stranger, 0x40));
    let check = first.until_checked(&[CONTROLLED]);
    // As if behind a NAT. If the client checks this pair once more to nominate it, that stays unanswered.
    first.answer(check, Some(SocketAddr::from(([192, 0, 2, 1], 9))));
    let nominating = (0..25).find_map(|_| first.checked());
    let check = second.until_checked(&[CONTROLLING]);
    second.answer(check, Some(stranger.address));
    // Long enough for the unanswered check to fail.
    for _ in 0..80 {
        second.check(&[CONTROLLING, NOMINATES]);
        second.checked();
    }
    // The first address gets a higher priority than the second.
    let at = first.udp.local_addr().expect("it is bound");
    let candidate = format!("candidate:1 1 udp 2130706431 {} {} typ host", at.ip(), at.port());
    let ice = json!({ "ice": { "candidate": candidate, "sdpMLineIndex": 0, "sdpMid": "0" } });
    stranger.signalling.send(&ice.to_string());
    for _ in 0..200 {
        first.check(&[CONTROLLING, NOMINATES]);
        if let Some(check) = first.checked().filter(|check| Some(*check) != nominating) {
            first.answer(check, Some(stranger.address));
        }
    }
    stranger.assert_is_answered(9);
    stranger.client.hang_up();
}
