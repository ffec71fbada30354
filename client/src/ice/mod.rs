//! The ICE servers that the signalling server names (`GET /ice-servers`), as webrtcbin takes them.
//!
//! This file is pure; [`keeper`] asks, and asks again before the credentials expire.

pub mod keeper;
pub mod tunnel;

use std::time::Duration;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use crate::exit::{ExitCode, Failure};

/// Most TURN servers used: each needs sockets and an allocation per peer.
const MAX_TURN: usize = 4;
/// Of STUN and of TURN without TLS.
pub(crate) const STUN_PORT: u16 = 3478;
/// The characters to escape in the user part of a URI: all but the unreserved ones (RFC 3986, section 2.3).
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The ICE servers to use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceServers {
    /// `stun://host:port`; webrtcbin takes one.
    pub stun: Option<String>,
    /// `turn://user:password@host:port`, or `turns://` (see [`tunnel`]), with the query `transport` if there is one.
    pub turn: Vec<String>,
    /// How long the credentials are valid.
    pub ttl: Option<Duration>,
}

/// The body of the answer: the used part of an `RTCConfiguration`.
#[derive(Deserialize)]
struct Answer {
    #[serde(rename = "iceServers")]
    ice_servers: Vec<Value>,
    #[serde(default)]
    ttl: f64,
}

/// An `RTCIceServer`.
#[derive(Deserialize)]
struct Server {
    urls: Urls,
    #[serde(default)]
    username: String,
    #[serde(default)]
    credential: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Urls {
    One(String),
    Many(Vec<String>),
}

impl Server {
    fn urls(&self) -> &[String] {
        match &self.urls {
            Urls::One(url) => std::slice::from_ref(url),
            Urls::Many(urls) => urls,
        }
    }
}

/// The failure for the policy `relay` without a TURN server.
pub fn no_relay() -> Failure {
    let message = "there is no TURN server for --ice-transport-policy relay: the signalling server has named none, \
                   and neither has --turn";
    Failure::new(ExitCode::IceFailed, message)
}

impl IceServers {
    /// Reads an answer's body. Servers that cannot be used here are left out.
    pub fn parse(body: &[u8]) -> Result<Self, serde_json::Error> {
        let answer: Answer = serde_json::from_slice(body)?;
        let mut all = Self { ttl: seconds(answer.ttl), ..Self::default() };
        for server in answer.ice_servers {
            match serde_json::from_value::<Server>(server) {
                Ok(server) => all.add(server.urls(), &server.username, &server.credential),
                Err(error) => tracing::debug!("an ICE server is malformed: {error}"),
            }
        }
        Ok(all)
    }

    /// Adds a server. URLs that cannot be used here are left out.
    pub fn add(&mut self, urls: &[String], username: &str, credential: &str) {
        for url in urls {
            if let Some(stun) = stun_uri(url) {
                self.stun.get_or_insert(stun);
            } else if let Some(turn) = turn_uri(url, username, credential) {
                if self.turn.len() < MAX_TURN {
                    self.turn.push(turn);
                }
            } else {
                tracing::debug!("an ICE server of a kind that is not used");
            }
        }
    }

    /// When to ask again: with a quarter of the lifetime left, so that no call starts with nearly expired credentials.
    pub fn refresh(&self) -> Option<Duration> {
        self.ttl.map(|ttl| (ttl * 3 / 4).max(Duration::from_secs(1)))
    }
}

fn seconds(number: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(number).ok().filter(|ttl| !ttl.is_zero())
}

fn stun_uri(url: &str) -> Option<String> {
    let host = host(url.strip_prefix("stun:")?)?;
    Some(format!("stun://{}", with_port(host, STUN_PORT)))
}

/// `host:port`, with this port if `host` has none.
pub(crate) fn with_port(host: &str, port: u16) -> String {
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if has_port { host.to_owned() } else { format!("{host}:{port}") }
}

fn turn_uri(url: &str, username: &str, credential: &str) -> Option<String> {
    let (scheme, rest) = url.split_once(':').filter(|(scheme, _)| matches!(*scheme, "turn" | "turns"))?;
    let (address, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = host(address)?;
    let escape = |text| utf8_percent_encode(text, ESCAPED);
    let transport = match (scheme, query) {
        // DTLS.
        ("turns", "transport=udp") => return None,
        (_, "transport=udp" | "transport=tcp") => format!("?{query}"),
        _ => String::new(),
    };
    Some(format!("{scheme}://{}:{}@{host}{transport}", escape(username), escape(credential)))
}

/// A host with or without a port, if no character in it has another meaning in a URI.
fn host(text: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-.:[]_".contains(c);
    (!text.is_empty() && text.len() <= 262 && text.chars().all(plain)).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_servers_name() {
        let body = br#"{"ttl": 3600, "iceServers": [
            {"urls": "stun:stun.example.org"},
            {"urls": ["stun:second.example.org:1", "turns:secure.example.org", "turns:x?transport=udp"],
             "username": "u", "credential": "c"},
            {"urls": ["turn:turn.example.org:3478?transport=udp", "turn:[::1]"], "username": "1:a@b", "credential": "x/y+z="},
            {"nonsense": 1}, 7, {"urls": "turn:a/b@c", "username": "u", "credential": "c"}]}"#;
        let servers = IceServers::parse(body).unwrap();
        assert_eq!(servers.stun.as_deref(), Some("stun://stun.example.org:3478"));
        let user = "1%3Aa%40b:x%2Fy%2Bz%3D";
        assert_eq!(
            servers.turn,
            [
                "turns://u:c@secure.example.org".into(),
                format!("turn://{user}@turn.example.org:3478?transport=udp"),
                format!("turn://{user}@[::1]")
            ]
        );
        assert_eq!(servers.refresh(), Some(Duration::from_secs(2700)));
    }

    #[test]
    fn without_a_life_span_there_is_no_refresh() {
        for body in
            [r#"{"iceServers":[]}"#, r#"{"iceServers":[],"ttl":0}"#, r#"{"iceServers":[],"ttl":-1e99}"#]
        {
            assert_eq!(IceServers::parse(body.as_bytes()).unwrap(), IceServers::default(), "{body}");
        }
        assert!(IceServers::parse(b"{}").is_err() && IceServers::parse(b"OK").is_err());
    }

    #[test]
    fn their_number_is_bounded() {
        let urls: Vec<String> = (0..100).map(|n| format!("turn:t{n}")).collect();
        let body = serde_json::json!({ "iceServers": [{ "urls": urls }] });
        assert_eq!(IceServers::parse(body.to_string().as_bytes()).unwrap().turn.len(), MAX_TURN);
    }

    proptest! {
        #[test]
        fn nothing_escapes_its_place(url in "turn:\\PC{0,20}", user in "\\PC{0,20}", word in "\\PC{0,20}") {
            if let Some(uri) = turn_uri(&url, &user, &word) {
                prop_assert_eq!(uri.matches('@').count(), 1);
                prop_assert!(!uri.contains(char::is_whitespace));
            }
        }
    }
}
