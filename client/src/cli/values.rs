//! Parsers of the values of flags.

use std::time::Duration;

use callbin_protocol::PeerId;
use rand::seq::IndexedRandom;

use crate::{
    address::{self, Address},
    backoff::WaitForServer,
    ice::{STUN_PORT, with_port},
};

/// A readable random uid.
pub(super) fn random_uid() -> PeerId {
    const FIRST: [&str; 16] = [
        "amber", "brisk", "calm", "clever", "copper", "early", "fond", "gentle", "keen", "lucky", "merry",
        "quiet", "ruby", "silver", "swift", "warm",
    ];
    const SECOND: [&str; 16] = [
        "badger", "beaver", "crane", "falcon", "finch", "fox", "hare", "heron", "lynx", "marten", "otter",
        "owl", "robin", "stork", "swan", "wren",
    ];
    let mut rng = rand::rng();
    let first = FIRST.choose(&mut rng).unwrap_or(&"some");
    let second = SECOND.choose(&mut rng).unwrap_or(&"body");
    let number: u16 = rand::random_range(100..1000);
    let uid = format!("{first}-{second}-{number}");
    PeerId::new(&uid).unwrap_or_else(|_| unreachable!("words, hyphens and digits make a uid"))
}

pub(super) fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| *seconds > 0.0 && *seconds <= 1e9)
        .map(Duration::from_secs_f64)
        .ok_or_else(|| "want a positive number of seconds".into())
}

pub(super) fn stats_interval(text: &str) -> Result<Duration, String> {
    seconds(text)
        .ok()
        .filter(|it| (0.1..=3600.0).contains(&it.as_secs_f64()))
        .ok_or_else(|| "want a number of seconds from 0.1 to 3600".into())
}

pub(super) fn wait_for_server(text: &str) -> Result<WaitForServer, String> {
    match text {
        "forever" => Ok(WaitForServer::Forever),
        "0" => Ok(WaitForServer::Limit(Duration::ZERO)),
        text => {
            seconds(text).map(WaitForServer::Limit).map_err(|_| "want a number of seconds, or forever".into())
        }
    }
}

pub(super) fn http_url(text: &str) -> Result<Address, String> {
    Address::parse(text, address::HTTP).ok_or_else(|| "want https://host/path".into())
}

pub(super) fn stun_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("stun://").or_else(|| text.strip_prefix("stun:"));
    host.filter(|host| is_host(host))
        .map(|host| format!("stun://{}", with_port(host, STUN_PORT)))
        .ok_or_else(|| "want stun://host:port".into())
}

pub(super) fn turn_url(text: &str) -> Result<String, String> {
    let (scheme, rest) = text.split_once(':').unwrap_or_default();
    Some(rest)
        .filter(|_| matches!(scheme, "turn" | "turns"))
        .map(|rest| rest.trim_start_matches('/'))
        .filter(|rest| rest.split_once('@').is_some_and(|(who, host)| who.contains(':') && is_host(host)))
        .map(|rest| format!("{scheme}://{rest}"))
        .ok_or_else(|| "want turn://user:password@host:port, or turns:// with TLS".into())
}

fn is_host(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '/')
}
