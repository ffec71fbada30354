//! Keys that sign and verify tokens. Keys that are too weak or meant for another purpose are rejected.

use std::{
    fs,
    path::{Path, PathBuf},
};

use jsonwebtoken::{
    Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, EncodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyOperations, PublicKeyUse},
};
use serde::Deserialize;
use serde_json::Value;

/// The minimum length of an HS256 secret: that of the hash (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;

/// The minimum length of an RSA modulus: 2048 bits (RFC 7518, section 3.3).
const MIN_MODULUS: usize = 256;

/// Why a key is rejected.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read.
    #[error("cannot read the token key {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Neither a supported PEM key nor a secret.
    #[error("{0} holds no usable key: {1}")]
    Unusable(PathBuf, String),
    /// The secret is too short.
    #[error("{0} holds a secret of less than {MIN_SECRET} bytes: make one with `openssl rand -base64 48`")]
    TooShort(PathBuf),
    /// The RSA key is too short.
    #[error("{0} holds an RSA key of less than 2048 bits")]
    WeakRsa(PathBuf),
}

/// A key that verifies signatures.
pub(super) struct Key {
    pub(super) id: Option<String>,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl Key {
    /// Checks that the key is strong enough for its algorithm.
    fn checked(self, path: &Path) -> Result<Self, KeyError> {
        match self.key.kind() {
            DecodingKeyKind::SecretOrDer(secret)
                if self.algorithm == Algorithm::HS256 && secret.len() < MIN_SECRET =>
            {
                Err(KeyError::TooShort(path.into()))
            }
            // The DER form contains the modulus and little else.
            DecodingKeyKind::SecretOrDer(bytes) | DecodingKeyKind::RsaModulusExponent { n: bytes, .. }
                if self.key.family() == AlgorithmFamily::Rsa
                    && bytes.iter().skip_while(|byte| **byte == 0).count() < MIN_MODULUS =>
            {
                Err(KeyError::WeakRsa(path.into()))
            }
            _ => Ok(self),
        }
    }
}

/// Reads a secret, or a public key in PEM form.
pub(super) fn read_key(path: &Path) -> Result<Key, KeyError> {
    let bytes = read(path)?;
    if !is_pem(&bytes) {
        let key = DecodingKey::from_secret(trimmed(&bytes));
        return Key { id: None, algorithm: Algorithm::HS256, key }.checked(path);
    }
    if private_key(&bytes).is_some() {
        let why = "a private key, which only the maker of tokens may have: give the public one";
        return Err(KeyError::Unusable(path.into(), why.into()));
    }
    let kinds = [
        (Algorithm::RS256, DecodingKey::from_rsa_pem(&bytes)),
        (Algorithm::ES256, DecodingKey::from_ec_pem(&bytes)),
        (Algorithm::EdDSA, DecodingKey::from_ed_pem(&bytes)),
    ];
    let found = kinds.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)));
    let (algorithm, key) = found.ok_or_else(|| {
        KeyError::Unusable(path.into(), "not a public key for RS256, ES256 or EdDSA".into())
    })?;
    Key { id: None, algorithm, key }.checked(path)
}

/// Reads a JSON Web Key Set.
pub(super) fn read_jwks(path: &Path) -> Result<Vec<Key>, KeyError> {
    #[derive(Deserialize)]
    struct Set {
        // Parsed one by one: unsupported kinds of keys have to be ignored (RFC 7517, section 5).
        keys: Vec<Value>,
    }
    let unusable = |why: String| KeyError::Unusable(path.into(), why);
    let set: Set = serde_json::from_slice(&read(path)?).map_err(|error| unusable(error.to_string()))?;
    let keys = set.keys.into_iter().filter_map(|value| usable_key(&serde_json::from_value(value).ok()?));
    let keys = keys.map(|key| key.checked(path)).collect::<Result<Vec<_>, _>>()?;
    if keys.is_empty() {
        return Err(unusable("no key to check signatures of HS256, RS256, ES256 or EdDSA".into()));
    }
    Ok(keys)
}

/// A key for verifying signatures with a supported algorithm; `None` for any other.
fn usable_key(jwk: &Jwk) -> Option<Key> {
    let common = &jwk.common;
    // The key's declared use and operations (RFC 7517, sections 4.2 and 4.3).
    let for_signatures = common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature);
    let to_verify = common.key_operations.as_ref().is_none_or(|it| it.contains(&KeyOperations::Verify));
    let algorithm = algorithm(jwk)?;
    // Its declared algorithm (section 4.4).
    let named = common.key_algorithm.map(|name| name.to_string().parse::<Algorithm>());
    let as_named = named.is_none_or(|named| named.is_ok_and(|named| named == algorithm));
    let key = DecodingKey::from_jwk(jwk).ok()?;
    let id = common.key_id.clone();
    (for_signatures && to_verify && as_named).then_some(Key { id, algorithm, key })
}

/// The algorithm that we support for this kind of key.
fn algorithm(jwk: &Jwk) -> Option<Algorithm> {
    use AlgorithmParameters as P;
    match &jwk.algorithm {
        P::RSA(_) => Some(Algorithm::RS256),
        P::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Some(Algorithm::ES256),
        P::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Some(Algorithm::EdDSA),
        P::OctetKey(_) => Some(Algorithm::HS256),
        _ => None,
    }
}

/// Reads a secret or a private key in PEM form.
pub(super) fn read_signing_key(path: &Path) -> Result<(Algorithm, EncodingKey), KeyError> {
    let bytes = read(path)?;
    if is_pem(&bytes) {
        let why = "not a private key (PKCS #8) for RS256, ES256 or EdDSA";
        return private_key(&bytes).ok_or_else(|| KeyError::Unusable(path.into(), why.into()));
    }
    match trimmed(&bytes) {
        secret if secret.len() < MIN_SECRET => Err(KeyError::TooShort(path.into())),
        secret => Ok((Algorithm::HS256, EncodingKey::from_secret(secret))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|error| KeyError::Unreadable(path.into(), error))
}

/// Whitespace around a secret comes from editors.
fn trimmed(secret: &[u8]) -> &[u8] {
    secret.trim_ascii()
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN")
}

fn private_key(pem: &[u8]) -> Option<(Algorithm, EncodingKey)> {
    // The library accepts a public RSA key here and fails only when it signs.
    if !pem.trim_ascii_start().split(|byte| byte.is_ascii_control()).next()?.ends_with(b"PRIVATE KEY-----") {
        return None;
    }
    let kinds = [
        (Algorithm::RS256, EncodingKey::from_rsa_pem(pem)),
        (Algorithm::ES256, EncodingKey::from_ec_pem(pem)),
        (Algorithm::EdDSA, EncodingKey::from_ed_pem(pem)),
    ];
    kinds.into_iter().find_map(|(algorithm, key)| Some((algorithm, key.ok()?)))
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;

    fn b64(bytes: &[u8]) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(bytes)
    }

    fn secret(length: usize, more: &Value) -> Value {
        let mut key = json!({ "kty": "oct", "k": b64(&vec![7; length]) });
        let members = key.as_object_mut().unwrap();
        members.extend(more.as_object().unwrap().clone());
        key
    }

    fn load(keys: Value) -> Result<usize, String> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), json!({ "keys": keys }).to_string()).unwrap();
        read_jwks(file.path()).map(|keys| keys.len()).map_err(|error| error.to_string())
    }

    #[test]
    fn keys_that_can_be_guessed_are_refused() {
        for length in [0, 1, 31] {
            let error = load(json!([secret(32, &json!({})), secret(length, &json!({}))])).unwrap_err();
            assert!(error.contains("less than 32 bytes"), "{length}: {error}");
        }
        let rsa = |bytes: usize| json!({ "kty": "RSA", "n": b64(&[&[0], &vec![0xff; bytes][..]].concat()), "e": "AQAB" });
        assert!(load(json!([rsa(128)])).unwrap_err().contains("2048 bits"));
        assert!(load(json!([rsa(255)])).unwrap_err().contains("2048 bits"));
        assert_eq!(load(json!([rsa(256), secret(32, &json!({}))])), Ok(2));
    }

    #[test]
    fn keys_for_something_else_are_left_out() {
        let good = secret(32, &json!({ "use": "sig", "key_ops": ["sign", "verify"], "alg": "HS256" }));
        for other in [
            secret(32, &json!({ "use": "enc" })),
            secret(32, &json!({ "use": "other" })),
            secret(32, &json!({ "use": 7 })),
            secret(32, &json!({ "key_ops": ["encrypt", "decrypt"] })),
            secret(32, &json!({ "key_ops": [] })),
            secret(32, &json!({ "use": "sig", "key_ops": ["sign"] })),
            secret(32, &json!({ "alg": "HS512" })),
            secret(32, &json!({ "alg": "RS256" })),
            secret(16, &json!({ "alg": "A128KW" })),
            secret(16, &json!({ "use": "enc" })),
            json!({ "kty": "RSA", "alg": "RSA-OAEP", "n": b64(&[0xff; 256]), "e": "AQAB" }),
            json!({ "kty": "OKP", "crv": "X25519", "x": b64(&[7; 32]) }),
            json!({ "kty": "EC", "crv": "P-384", "x": b64(&[7; 48]), "y": b64(&[7; 48]) }),
            json!({ "kty": "of another time" }),
            json!(7),
        ] {
            assert_eq!(load(json!([good, other])), Ok(1), "{other}");
            let error = load(json!([other])).unwrap_err();
            assert!(error.contains("no key to check signatures"), "{other}: {error}");
        }
        assert!(load(json!({})).unwrap_err().contains("invalid type"));
    }
}
