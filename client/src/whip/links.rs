//! What the headers of WHIP and WHEP answers say: the session's URL, ICE servers, and why a request failed. Pure.

use crate::{
    address::{Address, HTTP},
    exit::{ExitCode, Failure},
    ice::IceServers,
};

/// The URL that a `Location` names, relative to the URL that was asked (RFC 3986, section 5.2). `None` also if it leaves TLS.
pub(super) fn resolve(base: &Address, location: &str) -> Option<Address> {
    absolute(base, location).filter(|to| to.secure || !base.secure)
}

fn absolute(base: &Address, location: &str) -> Option<Address> {
    // Other schemes are none of ours. A query may contain a URL.
    let path = location.find(['/', '?', '#']).unwrap_or(location.len());
    if location.get(..path).is_some_and(|start| start.contains(':')) {
        return Address::parse(location, HTTP);
    }
    let origin = base.origin();
    if let Some(rest) = location.strip_prefix("//") {
        let scheme = origin.split("://").next().unwrap_or_default();
        return Address::parse(&format!("{scheme}://{rest}"), HTTP);
    }
    let path = match location {
        "" => base.target(),
        _ if location.starts_with('/') => location.to_owned(),
        _ if location.starts_with('?') => format!("{}{location}", base.path),
        _ => {
            let folder = base.path.rsplit_once('/').map_or("", |(folder, _)| folder);
            without_dots(&format!("{folder}/{location}"))
        }
    };
    Address::parse(&format!("{origin}{path}"), HTTP)
}

fn without_dots(path: &str) -> String {
    let (path, query) = path.split_at(path.find('?').unwrap_or(path.len()));
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "." => {}
            // The first part is the empty one before the first slash.
            ".." => parts.truncate((parts.len() - 1).max(1)),
            part => parts.push(part),
        }
    }
    parts.join("/") + query
}

/// The ICE servers that `Link` headers name (RFC 9725, section 4.6).
pub(super) fn ice_servers<'a>(headers: impl Iterator<Item = &'a str>) -> IceServers {
    let mut servers = IceServers::default();
    for link in headers.flat_map(|header| split(header, ',')) {
        let mut parts = split(link, ';').into_iter();
        let url = parts.next().and_then(|it| it.trim().strip_prefix('<')?.strip_suffix('>'));
        let parameters: Vec<(String, String)> = parts.filter_map(parameter).collect();
        let value = |name: &str| parameters.iter().find(|(it, _)| it == name).map(|(_, value)| &**value);
        if let (Some(url), Some("ice-server")) = (url, value("rel")) {
            let text = |name| value(name).unwrap_or_default();
            servers.add(&[url.to_owned()], text("username"), text("credential"));
        }
    }
    servers
}

/// The ICE servers for the next session, after one whose answer named these.
pub(super) fn renewed(known: IceServers, named: &IceServers, are_ignored: bool) -> IceServers {
    if are_ignored || *named == IceServers::default() { known } else { named.clone() }
}

/// Splits at a separator outside of quotes and angle brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped, mut in_url) = (false, false, false);
    let is_end = |c: char| {
        let was_escaped = escaped;
        escaped = quoted && c == '\\' && !was_escaped;
        match c {
            '"' if !was_escaped && !in_url => quoted = !quoted,
            '<' if !quoted => in_url = true,
            '>' if !quoted => in_url = false,
            _ => {}
        }
        c == separator && !quoted && !in_url
    };
    text.split(is_end).collect()
}

fn parameter(text: &str) -> Option<(String, String)> {
    let (name, value) = text.split_once('=')?;
    let value = value.trim();
    let value = match value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        None => value.to_owned(),
        Some(quoted) => {
            let mut plain = String::new();
            let mut rest = quoted.chars();
            while let Some(c) = rest.next() {
                plain.extend(if c == '\\' { rest.next() } else { Some(c) });
            }
            plain
        }
    };
    Some((name.trim().to_ascii_lowercase(), value))
}

/// The failure for the status of the request that makes a session.
pub(super) fn refusal(status: u16, retry_after: Option<&str>) -> Failure {
    let (code, why) = match status {
        300..=399 => (
            ExitCode::CannotConnect,
            "a redirect without a usable Location, of another kind, or one too many",
        ),
        400 => (ExitCode::NegotiationFailed, "it does not understand the offer"),
        401 => (ExitCode::NotAuthorised, "it wants a valid token: see --token and --token-file"),
        402 | 403 => (ExitCode::NotAuthorised, "it does not allow the session"),
        404 | 410 => (ExitCode::PeerNotFound, "nothing exists at this URL, or no peer is there"),
        405 | 501 => (ExitCode::CannotConnect, "this URL supports neither WHIP nor WHEP"),
        406 => (ExitCode::NegotiationFailed, "it wants to make the offer, which is not supported"),
        408 | 504 => (ExitCode::NegotiationFailed, "no answer came in time"),
        409 => (ExitCode::Busy, "the stream is in use, or there is none now"),
        413 | 415 | 422 => (ExitCode::NegotiationFailed, "it does not take the offer"),
        429 => (ExitCode::Busy, "too many requests"),
        502 | 503 => (ExitCode::Busy, "it cannot take more sessions now"),
        500..=599 => (ExitCode::CannotConnect, "it failed"),
        _ => (ExitCode::NegotiationFailed, "a status that WHIP and WHEP do not define"),
    };
    let seconds = retry_after.filter(|it| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit()));
    let again = seconds.map_or_else(String::new, |it| format!("; try again in {it} s"));
    let failure = Failure::new(code, format!("the server refuses: {why} (HTTP {status}){again}"));
    if matches!(status, 408 | 429 | 500..=599) { failure.passing() } else { failure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(base: &str, location: &str) -> Option<String> {
        resolve(&Address::parse(base, HTTP).unwrap(), location).map(|it| it.url())
    }

    #[test]
    fn locations_are_relative_to_the_url() {
        let base = "https://a.example:8443/whip/studio?x=1";
        for (location, wanted) in [
            ("https://b.example/s/1", "https://b.example/s/1"),
            ("//b.example/s", "https://b.example/s"),
            ("/s/1?k=2", "https://a.example:8443/s/1?k=2"),
            ("s/1", "https://a.example:8443/whip/s/1"),
            ("./s", "https://a.example:8443/whip/s"),
            ("../s", "https://a.example:8443/s"),
            ("../../../s", "https://a.example:8443/s"),
            ("?s=1", "https://a.example:8443/whip/studio?s=1"),
            ("", "https://a.example:8443/whip/studio?x=1"),
            ("s?next=http://b.example/", "https://a.example:8443/whip/s?next=http://b.example/"),
        ] {
            assert_eq!(at(base, location).as_deref(), Some(wanted), "{location}");
        }
        for bad in ["ftp://b/s", "https://", "https://a b/", "mailto:b"] {
            assert_eq!(at(base, bad), None, "{bad}");
        }
    }

    #[test]
    fn no_location_leads_from_tls_to_plain_text() {
        assert_eq!(at("https://a.example/whip", "http://a.example/s"), None);
        assert_eq!(
            at("http://a.example/whip", "https://a.example/s").as_deref(),
            Some("https://a.example/s")
        );
        assert_eq!(at("http://a.example/whip", "http://b.example/s").as_deref(), Some("http://b.example/s"));
    }

    #[test]
    fn links_name_ice_servers() {
        let servers = ice_servers(
            [
                r#"<stun:stun.example.net>; rel="ice-server", <turn:turn.example.net?transport=udp>; rel="ice-server"; username="a;b,c"; credential="x\"y"; credential-type="password""#,
                "<https://example.net/next>; rel=next",
                "nonsense, <, >; rel=\"ice-server\"",
            ]
            .into_iter(),
        );
        assert_eq!(servers.stun.as_deref(), Some("stun://stun.example.net:3478"));
        assert_eq!(servers.turn, ["turn://a%3Bb%2Cc:x%22y@turn.example.net?transport=udp"]);
    }

    #[test]
    fn the_last_ice_servers_count_unless_those_of_the_server_are_ignored() {
        let [old, new] = ["<stun:old.example>;rel=ice-server", "<stun:new.example>;rel=ice-server"]
            .map(|link| ice_servers([link].into_iter()));
        let none = IceServers::default();
        assert_eq!(renewed(old.clone(), &new, false), new);
        assert_eq!(renewed(old.clone(), &none, false), old);
        assert_eq!(renewed(none.clone(), &new, true), none);
    }

    #[test]
    fn each_status_has_a_code_and_words() {
        for (status, code) in [
            (301, ExitCode::CannotConnect),
            (400, ExitCode::NegotiationFailed),
            (401, ExitCode::NotAuthorised),
            (403, ExitCode::NotAuthorised),
            (404, ExitCode::PeerNotFound),
            (405, ExitCode::CannotConnect),
            (406, ExitCode::NegotiationFailed),
            (409, ExitCode::Busy),
            (418, ExitCode::NegotiationFailed),
            (429, ExitCode::Busy),
            (500, ExitCode::CannotConnect),
            (503, ExitCode::Busy),
            (504, ExitCode::NegotiationFailed),
        ] {
            let failure = refusal(status, None);
            assert_eq!(failure.code, code, "{status}");
            assert!(failure.message.contains(&format!("HTTP {status}")), "{failure}");
        }
        assert!(refusal(503, Some("7")).message.ends_with("try again in 7 s"));
        assert!(!refusal(503, Some("\x1b[2J")).message.contains('\x1b'));
    }
}
