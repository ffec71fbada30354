//! Generates descriptions: a grammar of what peers may send, and mutations of it. The same seed gives the same text.

use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};

/// Generates descriptions one after the other.
#[derive(Debug)]
pub struct Grammar {
    random: StdRng,
    ufrag: u32,
    certificate: u8,
}

const PASSWORD: &str = "0123456789012345678901";
const NAMES: [&str; 12] =
    ["0", "1", "2", "a", "audio0", "video1", "d", "seat0", "seat1", "0", "", "mid with space"];
const DIRECTIONS: [&str; 6] = ["sendrecv", "sendonly", "recvonly", "inactive", "sendrecv", ""];

impl Grammar {
    /// The grammar of one seed.
    pub fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), ufrag: 0, certificate: 0xab }
    }

    /// True once in `n` times.
    pub fn once_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        self.random.random_range(0..limit)
    }

    fn one<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of.choose(&mut self.random).copied().unwrap_or("")
    }

    /// Sometimes restarts ICE, or changes the certificate, as a new peer would.
    fn change_peer(&mut self) {
        self.ufrag += u32::from(self.once_in(3));
        if self.once_in(6) {
            self.certificate = self.certificate.wrapping_add(1);
            self.ufrag += 1;
        }
    }

    /// The next offer.
    pub fn offer(&mut self) -> String {
        self.change_peer();
        let count = [1, 1, 2, 2, 3, 3, 3, 4, 6, 20].choose(&mut self.random).copied().unwrap_or(3);
        let sections: Vec<String> = (0..count).map(|number| self.section(number)).collect();
        let mids: Vec<String> = (0..count).map(|number| number.to_string()).collect();
        let mut text = "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n".to_owned();
        text += &self.group(&mids);
        if self.once_in(4) {
            text += &self.transport();
        }
        text += &sections.concat();
        self.mutate(text)
    }

    fn group(&mut self, mids: &[String]) -> String {
        let mut mids: Vec<&str> = mids.iter().map(String::as_str).collect();
        match self.below(10) {
            0 => return String::new(),
            1 => mids.reverse(),
            2 => mids.truncate(1),
            3 => mids.push("9"),
            4 => mids.extend(mids.first().copied()),
            5 => return "a=group:BUNDLE\r\n".into(),
            6 => return "a=group:BUNDLE 0\r\na=group:BUNDLE 1 2\r\na=group:LS 0 1\r\n".into(),
            _ => {}
        }
        format!("a=group:BUNDLE {}\r\n", mids.join(" "))
    }

    fn transport(&mut self) -> String {
        let setup = self.one(&["actpass", "actpass", "actpass", "active", "passive", "holdconn", ""]);
        let hash = vec![format!("{:02X}", self.certificate); 32].join(":");
        let kind = if self.once_in(40) { self.one(&["SHA-256", "sha-1", "sha-512"]) } else { "sha-256" };
        format!(
            "a=ice-ufrag:user{}\r\na=ice-pwd:{PASSWORD}\r\na=fingerprint:{kind} {hash}\r\na=setup:{setup}\r\n",
            self.ufrag
        )
    }

    fn section(&mut self, number: usize) -> String {
        let mid = if self.once_in(40) { self.one(&NAMES).to_owned() } else { number.to_string() };
        let port = if self.once_in(60) { "x" } else { self.one(&["9", "9", "9", "9", "0", "40000"]) };
        let mut text = match self.below(8) {
            0..=2 => self.audio(port),
            3..=5 => self.video(port),
            6 => self.data(port),
            _ => format!("m={} {port} RTP/AVP 0\r\n", self.one(&["audio", "text", "image", ""])),
        };
        if !self.once_in(10) {
            text += &format!("a=mid:{mid}\r\n");
        }
        if !self.once_in(12) {
            text += &self.transport();
        }
        for flag in ["rtcp-mux", "rtcp-rsize", "bundle-only", "end-of-candidates"] {
            if !self.once_in(3) && (flag != "bundle-only" || self.once_in(3)) {
                text += &format!("a={flag}\r\n");
            }
        }
        text += &match self.one(&DIRECTIONS) {
            "" => String::new(),
            direction => format!("a={direction}\r\n"),
        };
        if self.once_in(3) {
            text += &format!("a={}\r\n", self.candidate());
        }
        text + &self.sources()
    }

    fn sources(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.below(4) {
            let (one, other) = (self.below(5), self.random.random::<u32>());
            text += &format!(
                "a=ssrc-group:FID {one} {other}\r\na=ssrc:{one} cname:c\r\na=ssrc:{other} cname:c\r\n"
            );
        }
        text
    }

    fn audio(&mut self, port: &str) -> String {
        let number = self.one(&["111", "111", "111", "96", "0", "127", "128", "999"]);
        let name = if self.once_in(5) {
            self.one(&["PCMU/8000", "opus/16000"])
        } else {
            self.one(&["opus/48000/2", "OPUS/48000"])
        };
        let fmtp =
            self.one(&["useinbandfec=1", "sprop-stereo=1;stereo=1", "minptime=10", "", "=;;=", "apt=111"]);
        let (numbers, others) =
            self.others(&["PCMU/8000", "PCMA/8000/1", "opus/48000/2", "G722/8000", "PCMU"]);
        format!(
            "m=audio {port} UDP/TLS/RTP/SAVPF {number} 13{numbers}\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:{number} {name}\r\n\
             a=fmtp:{number} {fmtp}\r\na=rtcp-fb:{number} transport-cc\r\n{others}{}",
            self.extensions()
        )
    }

    /// Further codecs of an m-line: their numbers, and their lines.
    fn others(&mut self, names: &[&str]) -> (String, String) {
        let (mut numbers, mut lines) = (String::new(), String::new());
        for _ in 0..self.below(4) {
            let [number, repair] =
                [(); 2].map(|()| self.one(&["98", "99", "102", "103", "0", "8", "111", "96"]));
            let (name, mode) = (self.one(names), self.below(3));
            numbers += &format!(" {number}");
            lines += &format!("a=rtpmap:{number} {name}\r\na=rtcp-fb:{number} nack\r\n");
            lines += &format!("a=fmtp:{number} packetization-mode={mode};profile-level-id=42e01f\r\n");
            if self.once_in(2) {
                numbers += &format!(" {repair}");
                lines += &format!("a=rtpmap:{repair} rtx/90000\r\na=fmtp:{repair} apt={number}\r\n");
            }
        }
        (numbers, lines)
    }

    fn video(&mut self, port: &str) -> String {
        let number = self.one(&["96", "96", "97", "111", "127", "35"]);
        let repair = self.one(&["97", "98", "96", "111"]);
        let name = if self.once_in(5) {
            self.one(&["H264/90000", "VP8/1"])
        } else {
            self.one(&["VP8/90000", "vp8/90000"])
        };
        let fmtp = self.one(&["", "max-fr=30", "profile-level-id=42e01f"]);
        let (numbers, others) =
            self.others(&["VP8/90000", "VP9/90000", "H264/90000", "H265/90000", "AV1/90000", "VP9/9000"]);
        format!(
            "m=video {port} UDP/TLS/RTP/SAVPF {number} {repair}{numbers}\r\nc=IN IP4 0.0.0.0\r\na=rtpmap:{number} {name}\r\n\
             a=fmtp:{number} {fmtp}\r\na=rtcp-fb:{number} nack\r\na=rtcp-fb:{number} nack pli\r\n\
             a=rtpmap:{repair} rtx/90000\r\na=fmtp:{repair} apt={number}\r\n{others}{}",
            self.extensions()
        )
    }

    fn data(&mut self, port: &str) -> String {
        match self.below(6) {
            0 => format!("m=application {port} DTLS/SCTP 5000\r\na=sctpmap:5000 webrtc-datachannel 256\r\n"),
            1 => format!("m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\n"),
            2 => format!("m=application {port} UDP/DTLS/SCTP 1 2 3\r\na=sctp-port:99999\r\n"),
            _ => {
                let sctp = self.one(&["5000", "5000", "1", "0", "65535", "x"]);
                let size = self.one(&["262144", "0", "1", "4294967295", "-1"]);
                format!(
                    "m=application {port} UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n\
                     a=sctp-port:{sctp}\r\na=max-message-size:{size}\r\n"
                )
            }
        }
    }

    fn extensions(&mut self) -> String {
        let id = self.one(&["1", "2", "3", "14", "15", "0", "300"]);
        let uri = self.one(&[
            "urn:ietf:params:rtp-hdrext:sdes:mid",
            "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01",
            "urn:ietf:params:rtp-hdrext:ssrc-audio-level",
            "",
        ]);
        format!("a=extmap:{id} {uri}\r\n")
    }

    /// A candidate line; most of them are valid for libnice.
    pub fn candidate(&mut self) -> String {
        let address =
            self.one(&["127.0.0.1", "::1", "127.0.0.2", "x.local", "0.0.0.0", "255.255.255.255", "%n"]);
        let component = self.one(&["1", "1", "1", "2", "0"]);
        let port = self.one(&["9", "40000", "0", "65535"]);
        let kind = self.one(&["host", "srflx", "prflx", "relay"]);
        let rest = self.one(&[
            "",
            " raddr 0.0.0.0 rport 0",
            " generation 0 ufrag user0",
            " ufrag",
            " tcptype active",
        ]);
        format!("candidate:1 {component} udp 2113937151 {address} {port} typ {kind}{rest}")
    }

    /// An answer to `offer`: its lines with our transport and some changes.
    pub fn answer(&mut self, offer: &str) -> String {
        let mut text = String::new();
        for line in offer.lines() {
            let line = match line.split_once(':') {
                Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:user{}", self.ufrag),
                Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{PASSWORD}"),
                Some(("a=setup", _)) => {
                    format!("a=setup:{}", self.one(&["active", "active", "passive", "actpass"]))
                }
                Some(("a=fingerprint", _)) => {
                    format!(
                        "a=fingerprint:sha-256 {}",
                        vec![format!("{:02X}", self.certificate); 32].join(":")
                    )
                }
                _ if line.starts_with("m=") && self.once_in(6) => line.replacen(" 9 ", " 0 ", 1),
                _ if line == "a=sendrecv" => format!("a={}", self.one(&DIRECTIONS)),
                _ => line.to_owned(),
            };
            text += &line;
            text += "\r\n";
        }
        self.mutate(text)
    }

    /// Changes some lines in one of four descriptions.
    fn mutate(&mut self, text: String) -> String {
        if !self.once_in(4) {
            return text;
        }
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        for _ in 0..=self.below(4) {
            let (at, other) = (self.below(lines.len()), self.below(lines.len()));
            match self.below(6) {
                0 => drop(lines.remove(at)),
                1 => lines.swap(at, other),
                2 => lines.insert(other, lines[at].clone()),
                3 => lines[at] = self.garble(&lines[at].clone()),
                4 => lines.truncate(at.max(1)),
                _ => lines[at] = lines[at].replace(|c: char| c.is_ascii_digit(), "7"),
            }
            if lines.is_empty() {
                return String::new();
            }
        }
        lines.join("\r\n") + "\r\n"
    }

    fn garble(&mut self, line: &str) -> String {
        let mut chars: Vec<char> = line.chars().collect();
        if !chars.is_empty() {
            let at = self.below(chars.len());
            chars[at] =
                ['\0', ' ', ':', '=', 'ä', '-', '9', '%'].choose(&mut self.random).copied().unwrap_or(' ');
        }
        chars.into_iter().collect()
    }
}
