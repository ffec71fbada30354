//! The ICE servers for peers, with credentials that expire.

pub mod url;

use std::time::{Duration, SystemTime};

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha1::Sha1;

/// The configured ICE servers, for `GET /ice-servers`.
#[derive(Clone, Default)]
pub struct IceServers {
    /// `RTCIceServer` objects to hand out unchanged.
    pub fixed: Vec<Value>,
    /// `stun:` URLs.
    pub stun: Vec<String>,
    /// `turn:` and `turns:` URLs whose credentials are made with the secret.
    pub turn: Vec<String>,
    /// The secret shared with the TURN servers.
    pub secret: Option<Vec<u8>>,
    /// The longest lifetime of credentials.
    pub ttl: Duration,
}

impl IceServers {
    /// The `iceServers` of an `RTCConfiguration` for a peer, with credentials valid for `ttl`, and the servers that the
    /// webhook added.
    pub fn for_peer(&self, uid: &str, now: SystemTime, ttl: Duration, added: &[Value]) -> Value {
        json!({ "iceServers": self.servers(uid, now, ttl, added), "ttl": ttl.as_secs() })
    }

    /// The `RTCIceServer` objects alone, see [`IceServers::for_peer`].
    pub fn servers(&self, uid: &str, now: SystemTime, ttl: Duration, added: &[Value]) -> Vec<Value> {
        let mut servers = self.fixed.clone();
        if !self.stun.is_empty() {
            servers.push(json!({ "urls": self.stun }));
        }
        if let Some(secret) = self.secret.as_ref().filter(|_| !self.turn.is_empty()) {
            let (username, credential) = credentials(secret, uid, now + ttl);
            servers.push(json!({ "urls": self.turn, "username": username, "credential": credential }));
        }
        servers.extend_from_slice(added);
        servers
    }
}

/// Checks that a browser accepts this as an `RTCIceServer`: valid `urls`, and credentials for TURN.
pub fn check(server: &Value) -> Result<(), String> {
    let urls = match server.get("urls") {
        Some(Value::Array(urls)) if !urls.is_empty() => urls.as_slice(),
        Some(url @ Value::String(_)) => std::slice::from_ref(url),
        _ => return Err("urls is neither a text nor an array of texts".into()),
    };
    for url in urls {
        let url = url.as_str().ok_or("urls is neither a text nor an array of texts")?;
        let kind = url::read(url).map_err(|why| format!("{url:?}: {why}"))?;
        let has = |name| server.get(name).is_some_and(Value::is_string);
        if kind == url::Kind::Turn && !(has("username") && has("credential")) {
            return Err(format!("{url:?} needs a username and a credential beside it"));
        }
    }
    Ok(())
}

/// A user name and a password of the TURN REST scheme (draft-uberti-behave-turn-rest), as coturn's `use-auth-secret`
/// checks them: the name is the expiry and the uid, the password its HMAC-SHA1.
fn credentials(secret: &[u8], uid: &str, expires: SystemTime) -> (String, String) {
    let expires = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    // The uid only serves the TURN server's log. A colon in it could be taken for the end of the expiry.
    let name: String =
        uid.chars().map(|c| if c.is_ascii_graphic() && c != ':' { c } else { '_' }).take(64).collect();
    let username = format!("{expires}:{name}");
    // This cannot fail: HMAC accepts keys of any length.
    let password = Hmac::<Sha1>::new_from_slice(secret).map(|mut mac| {
        mac.update(username.as_bytes());
        BASE64_STANDARD.encode(mac.finalize().into_bytes())
    });
    (username, password.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_what_coturn_expects() {
        // printf '1700003600:alice' | openssl dgst -sha1 -hmac secret -binary | base64
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let servers = IceServers {
            turn: vec!["turn:turn.example.org".into()],
            secret: Some(b"secret".to_vec()),
            ttl: Duration::from_secs(3600),
            ..IceServers::default()
        };
        let answer = servers.for_peer("alice", now, servers.ttl, &[]);
        assert_eq!(answer["ttl"], 3600);
        assert_eq!(answer["iceServers"][0]["username"], "1700003600:alice");
        assert_eq!(answer["iceServers"][0]["credential"], "LLPLO4qjdVL2qZhwr3eImhn7J20=");
    }

    #[test]
    fn without_a_secret_there_is_no_turn() {
        let servers = IceServers {
            fixed: vec![json!({ "urls": "turn:static.example.org", "username": "u", "credential": "c" })],
            stun: vec!["stun:stun.example.org".into()],
            turn: vec!["turn:turn.example.org".into()],
            ..IceServers::default()
        };
        let answer =
            servers.for_peer("alice", SystemTime::now(), servers.ttl, &[json!({ "urls": "stun:added" })]);
        let urls: Vec<_> =
            answer["iceServers"].as_array().unwrap().iter().map(|server| &server["urls"]).collect();
        assert_eq!(
            urls,
            [&json!("turn:static.example.org"), &json!(["stun:stun.example.org"]), &json!("stun:added")]
        );
    }

    #[test]
    fn servers_that_no_browser_takes_are_told() {
        let turn = |rest: Value| {
            let mut server = json!({ "urls": ["stun:a", "turn:a"] });
            server.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            server
        };
        assert_eq!(check(&json!({ "urls": "stun:a" })), Ok(()));
        assert_eq!(check(&turn(json!({ "username": "u", "credential": "c" }))), Ok(()));
        for (server, words) in [
            (json!({ "url": "stun:a" }), "urls is neither"),
            (json!({ "urls": [] }), "urls is neither"),
            (json!({ "urls": [1] }), "urls is neither"),
            (json!("stun:a"), "urls is neither"),
            (json!({ "urls": ["stun:a", "stun://b"] }), "\"stun://b\": "),
            (turn(json!({})), "needs a username"),
            (turn(json!({ "username": "u" })), "needs a username"),
            (turn(json!({ "username": "u", "credential": 1 })), "needs a username"),
        ] {
            let why = check(&server).unwrap_err();
            assert!(why.contains(words), "{server}: {why}");
        }
    }

    #[test]
    fn a_uid_cannot_forge_an_expiry() {
        let (username, _) = credentials(b"x", "9999999999:é x", SystemTime::UNIX_EPOCH);
        assert_eq!(username, "0:9999999999___x");
    }
}
