//! Parses the address of a signalling server or a proxy. Pure.

use std::{fmt, str::FromStr};

use async_tungstenite::tungstenite::http::{HeaderValue, Uri};
use base64::{Engine, prelude::BASE64_STANDARD};
use percent_encoding::percent_decode_str;

/// A URL scheme: its name, whether it uses TLS, and its default port.
pub type Scheme = (&'static str, bool, u16);

/// The schemes of a signalling server.
const WEBSOCKET: &[Scheme] = &[("ws", false, 80), ("wss", true, 443)];

/// The schemes of WHIP and WHEP.
pub const HTTP: &[Scheme] = &[("http", false, 80), ("https", true, 443)];

/// A parsed address.
#[derive(Clone, PartialEq, Eq)]
pub struct Address {
    scheme: &'static str,
    /// Whether TLS is used.
    pub secure: bool,
    /// A host name or an IP address, without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// Host and port as they were written, for the `Host` header.
    pub authority: String,
    /// User and password, as in `wss://user:password@host`.
    pub login: Option<Login>,
    /// The path; it begins with a slash.
    pub path: String,
    /// The query, without the question mark. It may hold a token.
    query: Option<String>,
}

/// A user name and a password. They are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    user: Vec<u8>,
    password: Vec<u8>,
}

impl Address {
    /// Parses an address with one of these schemes. `None`: it is not valid.
    pub fn parse(text: &str, schemes: &[Scheme]) -> Option<Self> {
        let (name, rest) = text.split_once("://")?;
        let (scheme, secure, default) = *schemes.iter().find(|(it, ..)| it.eq_ignore_ascii_case(name))?;
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return None;
        }
        let rest = rest.split('#').next()?;
        let (all, tail) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (login, authority) = all.rsplit_once('@').unwrap_or(("", all));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, port.parse().ok()?),
            _ => (authority, default),
        };
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        if host.is_empty() || port == 0 {
            return None;
        }
        let (path, query) = match tail.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (tail, None),
        };
        let address = Self {
            scheme,
            secure,
            host: host.to_owned(),
            port,
            authority: authority.to_owned(),
            login: (!login.is_empty()).then(|| Login::parse(login)),
            path: if path.is_empty() { "/".into() } else { path.to_owned() },
            query,
        };
        address.url().parse::<Uri>().is_ok().then_some(address)
    }

    /// The URL for a WebSocket handshake: everything but user and password.
    pub fn url(&self) -> String {
        format!("{}{}", self.origin(), self.target())
    }

    /// Scheme, host and port, as written.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// Whether both have the same scheme, host and port (RFC 6454, section 5), however they are written.
    pub fn is_same_origin(&self, other: &Self) -> bool {
        let is_same_host = self.host.eq_ignore_ascii_case(&other.host);
        self.scheme == other.scheme && is_same_host && self.port == other.port
    }

    /// Path and query.
    pub fn target(&self) -> String {
        let query = self.query.as_ref().map_or_else(String::new, |query| format!("?{query}"));
        format!("{}{query}", self.path)
    }

    /// The possible paths of `GET /ice-servers`, the likeliest first: beside the WebSocket, as a browser resolves a
    /// relative URL; below the WebSocket's path, in case that is a prefix without its slash; at the root.
    ///
    /// With credentials only the paths below the server's own: other paths of the host may be someone else's.
    pub fn ice_paths(&self, has_credentials: bool) -> Vec<String> {
        let beside = self.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let below = self.path.trim_end_matches('/');
        let own = if beside.is_empty() { below } else { beside };
        let mut paths = Vec::new();
        for folder in [beside, below, ""] {
            let path = format!("{folder}/ice-servers");
            let is_own =
                folder.strip_prefix(own).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            if (is_own || !has_credentials) && !paths.contains(&path) {
                paths.push(path);
            }
        }
        paths
    }
}

impl FromStr for Address {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text, WEBSOCKET).ok_or_else(|| "want ws://host:port or wss://host:port".into())
    }
}

/// Shows the address without secrets: without the query (such as `?token=…`), user and password.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path == "/" { "" } else { &self.path };
        write!(f, "{}://{}{path}", self.scheme, self.authority)
    }
}

/// The same as `Display`, without secrets.
impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl Login {
    fn parse(text: &str) -> Self {
        let (user, password) = text.split_once(':').unwrap_or((text, ""));
        let decode = |part| percent_decode_str(part).collect();
        Self { user: decode(user), password: decode(password) }
    }

    /// The value of an `Authorization` or `Proxy-Authorization` header (RFC 7617).
    pub fn basic(&self) -> Option<HeaderValue> {
        let words = [&self.user[..], b":", &self.password].concat();
        let mut value = HeaderValue::try_from(format!("Basic {}", BASE64_STANDARD.encode(words))).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Login(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        text.parse().unwrap()
    }

    #[test]
    fn reads_addresses() {
        for (text, secure, host, port, path) in [
            ("ws://127.0.0.1:8443", false, "127.0.0.1", 8443, "/"),
            ("wss://example.org/path?x=1", true, "example.org", 443, "/path"),
            ("WSS://[::1]:1/a/", true, "::1", 1, "/a/"),
            ("ws://[::1]", false, "::1", 80, "/"),
            ("ws://me:hu@sh@x?token=/@", false, "x", 80, "/"),
        ] {
            let it = address(text);
            assert_eq!(
                (it.secure, it.host.as_str(), it.port, it.path.as_str()),
                (secure, host, port, path),
                "{text}"
            );
        }
        for bad in [
            "http://x",
            "ws://",
            "ws:///a",
            "ws://:1",
            "ws://x:y",
            "ws://x:99999",
            "ws://x:0",
            "ws://a b",
            "x",
            "",
            "ws://[]:1",
            "ws://me:hush@",
            "ws://a%b",
            "ws://a<b>",
        ] {
            let refused = bad.parse::<Address>();
            assert!(refused.is_err_and(|words| !words.contains("hush")), "{bad}");
        }
    }

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let parse = |text| Address::parse(text, HTTP).unwrap();
        let is_same = |a, b| parse(a).is_same_origin(&parse(b));
        for same in ["https://a.example/x", "https://A.example:443/", "HTTPS://me:hush@a.Example:0443?y"] {
            assert!(is_same("https://a.example", same), "{same}");
        }
        for other in [
            "http://a.example",
            "http://a.example:443",
            "https://a.example:8443",
            "https://b.example",
            "https://a.example.b",
            "https://a.example@b.example",
        ] {
            assert!(!is_same("https://a.example", other), "{other}");
        }
        assert!(is_same("http://[::1]:80", "http://[::1]"));
    }

    #[test]
    fn what_lets_somebody_in_is_not_shown() {
        let secret = address("wss://me:hush@x:1/a?token=hush#hush");
        assert_eq!(secret.to_string(), "wss://x:1/a");
        assert!(!format!("{secret:?} {:?}", secret.login).contains("hush"));
        assert_eq!(secret.url(), "wss://x:1/a?token=hush");
    }

    #[test]
    fn name_and_password_are_decoded() {
        for (text, wanted) in [
            ("ws://Aladdin:open%20sesame@x", "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="),
            ("ws://me@x", "Basic bWU6"),
            ("ws://a:b:c%40%3A@x", "Basic YTpiOmNAOg=="),
        ] {
            let value = address(text).login.unwrap().basic().unwrap();
            assert_eq!(value, wanted);
            assert!(value.is_sensitive());
        }
        assert_eq!((address("ws://x").login, address("ws://@x").login), (None, None));
    }

    #[test]
    fn ice_servers_are_looked_for_beside_the_websocket_first() {
        for (text, wanted) in [
            ("ws://x", &["/ice-servers"][..]),
            ("ws://x/?a=/b/", &["/ice-servers"]),
            ("ws://x/ws", &["/ice-servers", "/ws/ice-servers"]),
            ("ws://x/callbin/", &["/callbin/ice-servers", "/ice-servers"]),
            ("ws://x/callbin/ws", &["/callbin/ice-servers", "/callbin/ws/ice-servers", "/ice-servers"]),
        ] {
            assert_eq!(address(text).ice_paths(false), wanted, "{text}");
        }
    }

    #[test]
    fn credentials_go_nowhere_outside_of_the_servers_own_path() {
        for (text, wanted) in [
            ("ws://x", &["/ice-servers"][..]),
            ("ws://x/ws", &["/ws/ice-servers"]),
            ("ws://x/callbin/", &["/callbin/ice-servers"]),
            ("ws://x/callbin/ws", &["/callbin/ice-servers", "/callbin/ws/ice-servers"]),
        ] {
            assert_eq!(address(text).ice_paths(true), wanted, "{text}");
        }
    }
}
