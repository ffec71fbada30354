//! JSON Web Tokens (RFC 7519): verification and signing.

use std::{
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Header, Validation, decode, decode_header, encode, errors::ErrorKind};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::access::{
    Ability, Grant, Pattern,
    keys::{Key, KeyError, read_jwks, read_key, read_signing_key},
};

/// The largest accepted token. The head of a request has 16 KiB in total.
const MAX_TOKEN: usize = 8 * 1024;

/// The claims of a token. Only `exp` is required.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// The identity. A new connection with the same subject takes over its uid from an earlier one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// The expiry, in seconds since 1970.
    #[serde(deserialize_with = "numeric_date")]
    pub exp: u64,
    /// The audience, if the server requires one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<serde_json::Value>,
    /// The issuer, if the server requires one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The uid it may register, or a prefix followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Pattern>,
    /// The rooms it may join, or prefixes followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<Pattern>>,
    /// The streams it may publish and play, or prefixes followed by `*`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<Vec<Pattern>>,
    /// It may attach as a media node.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub node: bool,
    /// `call`, `answer`, `publish`, `play`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Ability>>,
}

/// Why a token is refused. The texts give no help to forgers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// The request has no token.
    #[error("a token is needed")]
    Missing,
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    Early,
    /// None of our keys made its signature. The text is the same as for any other invalid token.
    #[error("the token is not valid")]
    Forged,
    /// Any other defect.
    #[error("the token is not valid")]
    Invalid,
}

/// The keys that tokens may be signed with.
pub struct Verifier {
    keys: Vec<Key>,
    validation: Validation,
}

/// The files of the keys, and the requirements for tokens.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A secret (HS256) or a public key in PEM form (RS256, ES256, EdDSA).
    pub key_file: Option<PathBuf>,
    /// A JSON Web Key Set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// The accepted difference of clocks.
    pub leeway: Duration,
    /// The required `aud`.
    pub audience: Option<String>,
    /// The required `iss`.
    pub issuer: Option<String>,
}

impl Settings {
    /// Loads the keys. `None` if none are configured: no token is needed then.
    pub fn load(&self) -> Result<Option<Verifier>, KeyError> {
        let mut keys = Vec::new();
        if let Some(path) = &self.key_file {
            keys.push(read_key(path)?);
        }
        if let Some(path) = &self.jwks_file {
            keys.extend(read_jwks(path)?);
        }
        let mut validation =
            Validation { leeway: self.leeway.as_secs(), validate_nbf: true, ..Validation::default() };
        validation.set_required_spec_claims(&["exp"]);
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                validation.required_spec_claims.insert("aud".into());
            }
            None => validation.validate_aud = false,
        }
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            validation.required_spec_claims.insert("iss".into());
        }
        Ok((!keys.is_empty()).then_some(Verifier { keys, validation }))
    }
}

impl Verifier {
    /// Verifies a token and returns its grant.
    pub fn verify(&self, token: &str) -> Result<Grant, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Invalid);
        }
        let header = decode_header(token).map_err(|_| Refusal::Invalid)?;
        if is_critical(token) {
            return Err(Refusal::Invalid);
        }
        // The key determines the algorithm, never the token: otherwise a public key could be used as an HMAC secret.
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        };
        let mut refusal = None;
        for key in self.keys.iter().filter(fits) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => return Ok(grant(data.claims, self.validation.leeway)),
                Err(error) => {
                    let why = match error.kind() {
                        ErrorKind::ExpiredSignature => Refusal::Expired,
                        ErrorKind::ImmatureSignature => Refusal::Early,
                        ErrorKind::InvalidSignature => Refusal::Forged,
                        _ => Refusal::Invalid,
                    };
                    // The error of the key that made the signature has precedence over "forged" from the other keys.
                    refusal = refusal.filter(|known| *known != Refusal::Forged).or(Some(why));
                }
            }
        }
        Err(refusal.unwrap_or(Refusal::Invalid))
    }
}

/// Whether the token has critical extensions (RFC 7515, section 4.1.11). We support none.
fn is_critical(token: &str) -> bool {
    let header = token.split('.').next().and_then(|part| BASE64_URL_SAFE_NO_PAD.decode(part).ok());
    let header = header.and_then(|json| serde_json::from_slice::<Map<String, Value>>(&json).ok());
    header.is_none_or(|header| header.contains_key("crit"))
}

/// Seconds since 1970, perhaps with a fraction (RFC 7519, section 2). Rounded as the library rounds when it checks the
/// expiry.
fn numeric_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Number {
        Whole(u64),
        Fraction(f64),
    }
    match Number::deserialize(deserializer)? {
        Number::Whole(seconds) => Ok(seconds),
        Number::Fraction(seconds) => Duration::try_from_secs_f64(seconds.round())
            .map(|time| time.as_secs())
            .map_err(serde::de::Error::custom),
    }
}

fn grant(claims: Claims, leeway: u64) -> Grant {
    let ends = Duration::from_secs(claims.exp.saturating_add(leeway));
    Grant {
        // An empty subject is no identity: two such peers must not replace each other.
        identity: claims.sub.filter(|sub| !sub.is_empty()).map(Into::into),
        uid: claims.uid,
        rooms: claims.rooms,
        streams: claims.streams,
        is_node: claims.node,
        allow: claims.allow,
        // A time that the system clock cannot express never comes.
        expires: SystemTime::UNIX_EPOCH.checked_add(ends),
    }
}

/// Signs a token with a secret or a private key in PEM form.
pub fn sign(claims: &Claims, key_file: &Path) -> Result<String, KeyError> {
    let (algorithm, key) = read_signing_key(key_file)?;
    encode(&Header::new(algorithm), claims, &key)
        .map_err(|error| KeyError::Unusable(key_file.into(), error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use jsonwebtoken::EncodingKey;
    use serde_json::json;

    use super::*;

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    const OTHER: &[u8] = b"fedcba9876543210fedcba9876543210";

    fn verifier() -> Verifier {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), SECRET).unwrap();
        let settings = Settings { key_file: Some(file.path().into()), ..Settings::default() };
        settings.load().unwrap().unwrap()
    }

    fn now() -> u64 {
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
    }

    /// A token signed with this secret, with any contents.
    fn token(secret: &[u8], header: Value, claims: Value) -> String {
        let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(claims));
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let key = EncodingKey::from_secret(secret);
        let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, algorithm).unwrap();
        format!("{message}.{signature}")
    }

    fn verify(claims: Value) -> Result<Grant, Refusal> {
        verifier().verify(&token(SECRET, json!({ "alg": "HS256" }), claims))
    }

    #[test]
    fn only_a_wrong_signature_is_a_forgery() {
        let (header, good) = (json!({ "alg": "HS256" }), json!({ "exp": now() + 60 }));
        let refusal = |token: &str| verifier().verify(token).unwrap_err();
        assert_eq!(refusal(&token(OTHER, header.clone(), good.clone())), Refusal::Forged);
        assert_eq!(refusal(&token(OTHER, header.clone(), json!({ "exp": 1 }))), Refusal::Forged);
        assert_eq!(refusal(&token(SECRET, header.clone(), json!({ "exp": 1 }))), Refusal::Expired);
        assert_eq!(refusal(&token(SECRET, header, json!({ "exp": "soon" }))), Refusal::Invalid);
        assert_eq!(refusal(&token(OTHER, json!({ "alg": "ES256" }), good)), Refusal::Invalid);
        assert_eq!(refusal("a.b.c"), Refusal::Invalid);
        assert_eq!(Refusal::Forged.to_string(), Refusal::Invalid.to_string(), "no hint");
    }

    #[test]
    fn a_key_that_did_sign_says_more_than_others_that_did_not() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let jwk = |secret: &[u8]| json!({ "kty": "oct", "k": BASE64_URL_SAFE_NO_PAD.encode(secret) });
        let expired = token(SECRET, json!({ "alg": "HS256" }), json!({ "exp": 1 }));
        for keys in [[SECRET, OTHER], [OTHER, SECRET]] {
            fs::write(file.path(), json!({ "keys": keys.map(jwk) }).to_string()).unwrap();
            let settings = Settings { jwks_file: Some(file.path().into()), ..Settings::default() };
            let verifier = settings.load().unwrap().unwrap();
            assert_eq!(verifier.verify(&expired), Err(Refusal::Expired));
        }
    }

    #[test]
    fn extensions_that_must_be_understood_are_not() {
        for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x")] {
            let header = json!({ "alg": "HS256", "crit": crit, "b64": true });
            let token = token(SECRET, header, json!({ "exp": now() + 60 }));
            assert_eq!(verifier().verify(&token), Err(Refusal::Invalid), "{crit}");
        }
    }

    #[test]
    fn times_may_have_fractions() {
        let now = now() as f64;
        let grant = verify(json!({ "exp": now + 60.4, "nbf": now - 0.5, "iat": now - 0.25 })).unwrap();
        assert!(grant.time_left() > Duration::from_secs(50), "{grant:?}");
        assert_eq!(verify(json!({ "exp": now - 60.5 })), Err(Refusal::Expired));
        assert_eq!(verify(json!({ "exp": now + 60.0, "nbf": now + 60.5 })), Err(Refusal::Early));
        for exp in [json!(-1.5), json!(1e300), json!("60"), json!(null), json!([60])] {
            assert_eq!(verify(json!({ "exp": exp })), Err(Refusal::Invalid), "{exp}");
        }
    }

    #[test]
    fn an_empty_subject_is_none() {
        let exp = now() + 60;
        assert_eq!(verify(json!({ "exp": exp, "sub": "" })).unwrap().identity, None);
        assert_eq!(verify(json!({ "exp": exp, "sub": "a" })).unwrap().identity.as_deref(), Some("a"));
    }
}
