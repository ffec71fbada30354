//! RFC 6455 byte by byte, in the categories of the Autobahn test suite: framing, pings, reserved bits,
//! opcodes, fragmentation, UTF-8, closing, limits. It is not that suite: `scripts/autobahn.sh` runs the real
//! one, which needs Python 2. A mirror behind the server echoes everything.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    time::{Duration, Instant},
};

use callbin_tests::{
    Server,
    http::{connect_from, upgrade_on},
    mirror,
};

const TEXT: u8 = 1;
const BINARY: u8 = 2;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A frame: its FIN bit, its opcode (with reserved bits), its payload.
type Frame = (bool, u8, Vec<u8>);

struct Echo {
    _server: Server,
    mirror: std::net::SocketAddr,
}

impl Echo {
    fn start(flags: &[&str]) -> Self {
        let server = Server::start(flags);
        let mirror = mirror::start(server.address());
        Self { _server: server, mirror }
    }

    fn connect(&self) -> Raw {
        let stream = connect_from(Ipv4Addr::LOCALHOST.into(), self.mirror);
        let response = upgrade_on(stream.try_clone().expect("a socket"), "/", &[]);
        assert_eq!(response.status, 101, "{response:?}");
        assert_eq!(response.header("sec-websocket-accept"), Some("s3pplmbitxaq9kygzzhzrbk+xoo="));
        Raw(stream)
    }
}

/// A socket after its handshake.
struct Raw(TcpStream);

impl Raw {
    fn send(&mut self, last: bool, opcode: u8, payload: &[u8]) {
        self.write(&frame(last, opcode, payload));
    }

    /// The server may already have closed.
    fn write(&mut self, bytes: &[u8]) {
        let _ = self.0.write_all(bytes);
    }

    /// The next frame, or `None` at the end.
    fn receive(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        self.0.read_exact(&mut head).ok()?;
        assert_eq!(head[1] & 0x80, 0, "a server masks nothing");
        let length = match head[1] {
            126 => usize::from(u16::from_be_bytes(self.read())),
            127 => usize::try_from(u64::from_be_bytes(self.read())).expect("not that large"),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).ok()?;
        Some((head[0] & 0x80 != 0, head[0] & 0x7f, payload))
    }

    fn read<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).expect("the frame goes on");
        bytes
    }

    #[track_caller]
    fn expect(&mut self, opcode: u8, payload: &[u8]) {
        let (last, found, got) = self.receive().expect("a frame");
        assert!(last && found == opcode && got == payload, "{last} {found} {} bytes", got.len());
    }

    /// A close frame with this code, and then the end of the connection.
    #[track_caller]
    fn expect_close(&mut self, code: u16) {
        let (_, opcode, payload) = self.receive().expect("a close frame");
        assert_eq!((opcode, payload.get(..2)), (CLOSE, Some(code.to_be_bytes().as_slice())));
        self.expect_end();
    }

    #[track_caller]
    fn expect_end(&mut self) {
        let start = Instant::now();
        assert!(self.receive().is_none(), "nothing comes after a close");
        // A server that waited for the other end would need two seconds.
        assert!(start.elapsed() < Duration::from_millis(1900), "the server ends the connection, and at once");
    }

    /// The connection still works.
    #[track_caller]
    fn expect_alive(&mut self) {
        self.send(true, TEXT, b"alive?");
        self.expect(TEXT, b"alive?");
    }
}

fn frame(last: bool, opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![u8::from(last) << 7 | opcode];
    match payload.len() {
        length @ 0..126 => bytes.push(0x80 | u8::try_from(length).expect("short")),
        length @ 126..65536 => {
            bytes.push(0x80 | 126);
            bytes.extend(u16::try_from(length).expect("short").to_be_bytes());
        }
        length => {
            bytes.push(0x80 | 127);
            bytes.extend((length as u64).to_be_bytes());
        }
    }
    bytes.extend(mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

#[test]
fn framing() {
    let echo = Echo::start(&[]);
    for opcode in [TEXT, BINARY] {
        for length in [0, 1, 125, 126, 127, 128, 65535, 65536, 70000, 1 << 20] {
            let mut raw = echo.connect();
            let payload = vec![b'*'; length];
            raw.send(true, opcode, &payload);
            raw.expect(opcode, &payload);
        }
        // In parts of a few bytes.
        let mut raw = echo.connect();
        let payload = vec![b'*'; 3000];
        for chop in frame(true, opcode, &payload).chunks(97) {
            raw.write(chop);
        }
        raw.expect(opcode, &payload);
    }
}

#[test]
fn pings_and_pongs() {
    let echo = Echo::start(&[]);
    let mut raw = echo.connect();
    for payload in [&b""[..], b"hello", &[0, 0xff, 0xfe], &[0xfe; 125]] {
        raw.send(true, PING, payload);
        raw.expect(PONG, payload);
    }
    raw.send(true, PONG, b"nobody asked");
    raw.send(true, PING, b"after");
    raw.expect(PONG, b"after");
    // Many at once: each is answered, or at least the last one (RFC 6455, section 5.5.3).
    (0..10).for_each(|i| raw.send(true, PING, &[i]));
    while raw.receive() != Some((true, PONG, vec![9])) {}
    for byte in frame(true, PING, b"byte by byte") {
        raw.write(&[byte]);
    }
    raw.expect(PONG, b"byte by byte");
    raw.expect_alive();
    let mut raw = echo.connect();
    raw.send(true, PING, &[0xfe; 126]);
    raw.expect_close(1002);
}

#[test]
fn reserved_bits_and_opcodes() {
    let echo = Echo::start(&[]);
    for reserved in 1..8 {
        for opcode in [TEXT, BINARY, PING, CLOSE] {
            let mut raw = echo.connect();
            raw.send(true, reserved << 4 | opcode, b"x");
            raw.expect_close(1002);
        }
    }
    for opcode in [3, 4, 5, 6, 7, 11, 12, 13, 14, 15] {
        let mut raw = echo.connect();
        raw.expect_alive();
        raw.send(true, opcode, b"");
        raw.expect_close(1002);
    }
}

#[test]
fn fragmentation() {
    let echo = Echo::start(&[]);
    let mut raw = echo.connect();
    raw.send(false, TEXT, b"frag");
    raw.send(true, PING, b"between");
    raw.send(false, 0, b"");
    raw.send(true, 0, b"ment");
    raw.expect(PONG, b"between");
    raw.expect(TEXT, b"fragment");
    raw.send(false, BINARY, b"");
    (0..200).for_each(|i| raw.send(false, 0, &[i]));
    raw.send(true, 0, b"");
    raw.expect(BINARY, &(0..200).collect::<Vec<u8>>());

    let wrong: [&[(bool, u8)]; 6] = [
        &[(false, PING)],
        &[(false, PONG)],
        &[(true, 0)],
        &[(false, 0)],
        &[(false, TEXT), (true, TEXT)],
        &[(false, TEXT), (true, 0), (false, 0)],
    ];
    for frames in wrong {
        let mut raw = echo.connect();
        frames.iter().for_each(|(last, opcode)| raw.send(*last, *opcode, b"x"));
        let mut found = raw.receive().expect("a frame");
        if found.1 == TEXT {
            found = raw.receive().expect("a close frame");
        }
        assert_eq!(
            (found.1, found.2.get(..2)),
            (CLOSE, Some(1002_u16.to_be_bytes().as_slice())),
            "{frames:?}"
        );
    }
}

#[test]
fn utf8() {
    let echo = Echo::start(&[]);
    let mut raw = echo.connect();
    let good = ["", "κόσμε", "\u{0}", "\u{7f}\u{80}\u{7ff}\u{800}\u{ffff}\u{10000}\u{10ffff}", "\u{feff}x"];
    for text in good {
        raw.send(true, TEXT, text.as_bytes());
        raw.expect(TEXT, text.as_bytes());
        // Split within a character.
        let (first, rest) = text.as_bytes().split_at(text.len() / 2);
        raw.send(false, TEXT, first);
        raw.send(true, 0, rest);
        raw.expect(TEXT, text.as_bytes());
    }
    let bad: [&[u8]; 14] = [
        &[0xce, 0xba, 0xe1],
        &[0x80],
        &[0xbf, 0x80],
        &[0xc0, 0x80],
        &[0xc1, 0xbf],
        &[0xe0, 0x80, 0x80],
        &[0xe0, 0x9f, 0xbf],
        &[0xf0, 0x8f, 0xbf, 0xbf],
        &[0xf4, 0x90, 0x80, 0x80],
        &[0xf8, 0x88, 0x80, 0x80, 0x80],
        &[0xed, 0xa0, 0x80],
        &[0xed, 0xbf, 0xbf],
        &[0xfe],
        &[0xff],
    ];
    for bytes in bad {
        let mut raw = echo.connect();
        raw.send(true, TEXT, bytes);
        raw.expect_close(1007);
        let mut raw = echo.connect();
        raw.send(false, TEXT, bytes);
        raw.send(true, 0, b"");
        raw.expect_close(1007);
        let mut raw = echo.connect();
        raw.send(true, BINARY, bytes);
        raw.expect(BINARY, bytes);
    }
}

#[test]
fn closing() {
    let echo = Echo::start(&[]);
    let close = |payload: &[u8]| {
        let mut raw = echo.connect();
        raw.send(true, CLOSE, payload);
        // Everything after a close is ignored.
        raw.send(true, TEXT, b"too late");
        raw.send(true, PING, b"too late");
        let (_, opcode, answer) = raw.receive().unwrap_or_else(|| panic!("no close frame for {payload:?}"));
        assert_eq!(opcode, CLOSE);
        raw.expect_end();
        answer.get(..2).map(|code| u16::from_be_bytes([code[0], code[1]]))
    };
    let with = |code: u16, reason: &[u8]| [&code.to_be_bytes(), reason].concat();
    assert!(matches!(close(b""), None | Some(1000 | 1005)));
    assert_eq!(close(b"\x03"), Some(1002), "half a code");
    for code in [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 3000, 3999, 4000, 4999] {
        assert_eq!(close(&with(code, b"bye")), Some(code));
    }
    assert_eq!(close(&with(1000, &[b'x'; 123])), Some(1000));
    assert_eq!(close(&with(1000, &[b'x'; 124])), Some(1002), "too long for a control frame");
    assert_eq!(close(&with(1000, &[0xce, 0xba, 0xe1])), Some(1007), "the reason is no UTF-8");
    for code in [0, 999, 1004, 1005, 1006, 1016, 1100, 2000, 2999] {
        assert_eq!(close(&with(code, b"")), Some(1002), "{code} is not for the wire");
    }
}

#[test]
fn limits() {
    let echo = Echo::start(&["--max-message", "1000"]);
    let mut raw = echo.connect();
    raw.send(true, BINARY, &[7; 1000]);
    raw.expect(BINARY, &[7; 1000]);
    raw.send(true, BINARY, &[7; 1001]);
    raw.expect_close(1009);
    // In fragments that are each below the limit.
    let mut raw = echo.connect();
    raw.send(false, TEXT, &[b'x'; 600]);
    raw.send(true, 0, &[b'x'; 600]);
    raw.expect_close(1009);
    // Announced, but never sent.
    let mut raw = echo.connect();
    raw.write(&[0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]);
    raw.expect_close(1009);
}

#[test]
fn frames_without_a_mask_are_refused() {
    let echo = Echo::start(&[]);
    let mut raw = echo.connect();
    raw.write(&[0x81, 1, b'x']);
    raw.expect_close(1002);
}
