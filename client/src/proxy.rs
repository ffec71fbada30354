//! The proxy for the signalling server, from the environment variables that curl reads. Pure.
//!
//! `https_proxy` is for `wss://`, `http_proxy` for `ws://`, `all_proxy` for both if the specific one is not set, and
//! `no_proxy` lists hosts to reach directly. Each may be in capitals; the lower-case variable takes precedence.

use std::net::IpAddr;

use async_tungstenite::tungstenite::http::HeaderValue;

use crate::address::Address;

/// The only supported scheme.
const HTTP: &[(&str, bool, u16)] = &[("http", false, 80)];

/// The proxy to use for `address`, if any. The error describes a variable that cannot be used.
pub fn choose(address: &Address, env: impl Fn(&str) -> Option<String>) -> Result<Option<Address>, String> {
    let read = |name: &str| {
        let value =
            env(name).or_else(|| env(&name.to_uppercase()).filter(|_| may_be_in_capitals(name, &env)));
        value.map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    };
    let name = if address.secure { "https_proxy" } else { "http_proxy" };
    let found = read(name).map(|value| (name, value));
    let Some((name, value)) = found.or_else(|| read("all_proxy").map(|value| ("all_proxy", value))) else {
        return Ok(None);
    };
    if read("no_proxy").is_some_and(|list| is_listed(&list, &address.host)) {
        return Ok(None);
    }
    let url = if value.contains("://") { value } else { format!("http://{value}") };
    match Address::parse(&url, HTTP) {
        Some(proxy) => Ok(Some(proxy)),
        None => {
            Err(format!("the proxy of the environment variable {name} cannot be used: want http://host:port"))
        }
    }
}

/// In a CGI program `HTTP_PROXY` holds the request's `Proxy` header, which any client can set.
fn may_be_in_capitals(name: &str, env: &impl Fn(&str) -> Option<String>) -> bool {
    name != "http_proxy" || env("REQUEST_METHOD").is_none()
}

/// Whether `no_proxy` covers the host: by its name, a parent domain, its network, or `*`.
fn is_listed(list: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let ip = host.parse::<IpAddr>().ok();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.trim_matches('.').to_ascii_lowercase();
        match ip {
            _ if entry == "*" => true,
            Some(ip) => contains(entry.trim_matches(['[', ']']), ip),
            None => host == entry || host.strip_suffix(&entry).is_some_and(|rest| rest.ends_with('.')),
        }
    })
}

/// Whether an address, or a network such as `10.0.0.0/8`, contains `ip`.
fn contains(network: &str, ip: IpAddr) -> bool {
    let (base, length) = match network.split_once('/') {
        Some((base, length)) => (base, length.parse::<u32>().ok()),
        None => (network, Some(128)),
    };
    let same = |a: u128, b: u128, bits: u32| {
        length.is_some_and(|length| (a ^ b).checked_shr(bits.saturating_sub(length)).unwrap_or(0) == 0)
    };
    match (base.parse(), ip) {
        (Ok(IpAddr::V4(base)), IpAddr::V4(ip)) => same(base.to_bits().into(), ip.to_bits().into(), 32),
        (Ok(IpAddr::V6(base)), IpAddr::V6(ip)) => same(base.to_bits(), ip.to_bits(), 128),
        _ => false,
    }
}

/// The `CONNECT` request for a tunnel to `address` (RFC 9110, section 9.3.6).
pub fn request(address: &Address, proxy: &Address) -> Vec<u8> {
    let host = if address.host.contains(':') { format!("[{}]", address.host) } else { address.host.clone() };
    let target = format!("{host}:{}", address.port);
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n").into_bytes();
    if let Some(login) = proxy.login.as_ref().and_then(|login| login.basic()) {
        request.extend(b"Proxy-Authorization: ");
        request.extend(HeaderValue::as_bytes(&login));
        request.extend(b"\r\n");
    }
    request.extend(b"\r\n");
    request
}

/// The status in the head of an answer. `None`: it is not HTTP.
pub fn status(head: &[u8]) -> Option<u16> {
    let line = head.split(|byte| *byte == b'\r' || *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?;
    let mut words = line.strip_prefix("HTTP/1.")?.split(' ');
    words.next().filter(|minor| matches!(*minor, "0" | "1"))?;
    words.next()?.parse().ok().filter(|status| (100..600).contains(status))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, set: &[(&str, &str)]) -> Result<Option<String>, String> {
        let env = |name: &str| set.iter().find(|(it, _)| *it == name).map(|(_, value)| (*value).to_owned());
        choose(&url.parse().unwrap(), env).map(|proxy| proxy.map(|it| format!("{}:{}", it.host, it.port)))
    }

    #[test]
    fn is_the_one_for_the_scheme() {
        let all =
            [("http_proxy", "http://plain:1"), ("HTTPS_PROXY", "secure:2"), ("ALL_PROXY", "http://rest")];
        assert_eq!(chosen("ws://x", &all), Ok(Some("plain:1".into())));
        assert_eq!(chosen("wss://x", &all), Ok(Some("secure:2".into())));
        assert_eq!(chosen("ws://x", &all[1..]), Ok(Some("rest:80".into())));
        assert_eq!(chosen("wss://x", &all[..1]), Ok(None));
        assert_eq!(chosen("ws://x", &[("http_proxy", " "), ("all_proxy", "")]), Ok(None));
        assert_eq!(
            chosen("wss://x", &[("HTTPS_PROXY", "big"), ("https_proxy", "small")]),
            Ok(Some("small:80".into()))
        );
    }

    #[test]
    fn a_request_cannot_name_it() {
        assert_eq!(chosen("ws://x", &[("HTTP_PROXY", "http://evil")]), Ok(Some("evil:80".into())));
        let cgi = [("HTTP_PROXY", "http://evil"), ("REQUEST_METHOD", "GET")];
        assert_eq!(chosen("ws://x", &cgi), Ok(None));
    }

    #[test]
    fn of_another_kind_is_an_error_without_its_password() {
        for bad in ["socks5://me:hush@x", "https://me:hush@x", "http://", "http://me:hush@x:y"] {
            let words = chosen("ws://x", &[("all_proxy", bad)]).unwrap_err();
            assert!(words.contains("all_proxy") && !words.contains("hush"), "{words}");
        }
    }

    #[test]
    fn some_hosts_need_none() {
        for (list, host, wanted) in [
            ("*", "x.org", true),
            ("x.org", "x.org", true),
            ("a, .X.org,b", "www.x.ORG", true),
            ("x.org", "ax.org", false),
            ("x.org", "x.org.evil", false),
            ("127.0.0.1", "127.0.0.1", true),
            ("10.0.0.0/8 192.168.0.0/16", "192.168.3.4", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("0.0.0.0/0", "8.8.8.8", true),
            ("10.0.0.0/x", "10.0.0.0", false),
            ("fd00::/8,::1", "[fd12::1]:1", true),
            ("[::1]", "[::1]", true),
            ("::/0", "1.2.3.4", false),
            ("", "x", false),
            (",,", "x", false),
        ] {
            let set = [("all_proxy", "http://p"), ("NO_PROXY", list)];
            let direct = chosen(&format!("ws://{host}"), &set) == Ok(None);
            assert_eq!(direct, wanted, "{list} {host}");
        }
    }

    #[test]
    fn is_asked_for_a_way_through() {
        let proxy = Address::parse("http://me:hush@p", HTTP).unwrap();
        let asked = String::from_utf8(request(&"wss://x.org".parse().unwrap(), &proxy)).unwrap();
        assert_eq!(
            asked,
            "CONNECT x.org:443 HTTP/1.1\r\nHost: x.org:443\r\nProxy-Authorization: Basic bWU6aHVzaA==\r\n\r\n"
        );
        let open = Address::parse("http://p", HTTP).unwrap();
        let asked = String::from_utf8(request(&"ws://[::1]/a".parse().unwrap(), &open)).unwrap();
        assert_eq!(asked, "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\n\r\n");
    }

    #[test]
    fn answers_with_a_status() {
        assert_eq!(status(b"HTTP/1.1 200 Connection established\r\n\r\n"), Some(200));
        assert_eq!(status(b"HTTP/1.0 407\r\n\r\n"), Some(407));
        for bad in
            [&b""[..], b"HTTP/2 200\r\n", b"HTTP/1.1 99999 x", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 \xff\r\n"]
        {
            assert_eq!(status(bad), None);
        }
    }
}
