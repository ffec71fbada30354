//! JSON Web Tokens (RFC 7519): read, checked, made.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode,
    errors::ErrorKind, jwk::JwkSet,
};
use serde::{Deserialize, Serialize};

use crate::access::{Ability, Grant, Pattern};

/// The largest token looked at. A request's head has 16 KiB in all.
const MAX_TOKEN: usize = 8 * 1024;

/// Bytes that an HS256 secret needs at least: those of its hash (RFC 7518, section 3.2).
const MIN_SECRET: usize = 32;

/// What a token says. All but `exp` may be missing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is: the same subject takes its uid over from its own earlier connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sub: Option<String>,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// From when on it is good, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// For whom it is, if the server asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<serde_json::Value>,
    /// Who made it, if the server asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<String>,
    /// The uid it may register: exact, or with `*` at its end a prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<Pattern>,
    /// The rooms it may join, exact or prefixes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<Pattern>>,
    /// `call`, `answer`, or both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<Ability>>,
}

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file can't be read.
    #[error("cannot read the token key {0}: {1}")]
    Unreadable(PathBuf, std::io::Error),
    /// Neither a PEM key that we know nor a secret.
    #[error("{0} holds no usable key: {1}")]
    Unusable(PathBuf, String),
    /// A secret that can be guessed.
    #[error("{0} holds a secret of less than {MIN_SECRET} bytes: make one with `openssl rand -base64 48`")]
    TooShort(PathBuf),
}

/// Why a token is refused. Says nothing that helps to make a better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// None came with the request.
    #[error("a token is needed")]
    Missing,
    /// Its time is over.
    #[error("the token has expired")]
    Expired,
    /// Its time has not come.
    #[error("the token is not valid yet")]
    Early,
    /// Anything else.
    #[error("the token is not valid")]
    Invalid,
}

/// The keys that tokens may be signed with.
pub struct Verifier {
    keys: Vec<Key>,
    validation: Validation,
}

struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
}

/// Where keys are and what else a token must say.
#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// A secret (HS256) or a public key in PEM form (RS256, ES256, EdDSA).
    pub key_file: Option<PathBuf>,
    /// A JSON Web Key Set (RFC 7517).
    pub jwks_file: Option<PathBuf>,
    /// How far clocks may differ.
    pub leeway: Duration,
    /// The `aud` that must be there.
    pub audience: Option<String>,
    /// The `iss` that must be there.
    pub issuer: Option<String>,
}

impl Settings {
    /// Loads the keys. `None` if there are none to load: then no token is needed.
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
    /// Reads a token and says what it grants.
    pub fn verify(&self, token: &str) -> Result<Grant, Refusal> {
        if token.len() > MAX_TOKEN {
            return Err(Refusal::Invalid);
        }
        let header = decode_header(token).map_err(|_| Refusal::Invalid)?;
        // The key decides the algorithm, never the token: a public key must not become a secret.
        let fits = |key: &&Key| {
            key.algorithm == header.alg && (key.id.is_none() || header.kid.is_none() || key.id == header.kid)
        };
        let mut refusal = Refusal::Invalid;
        for key in self.keys.iter().filter(fits) {
            let mut validation = self.validation.clone();
            validation.algorithms = vec![key.algorithm];
            match decode::<Claims>(token, &key.key, &validation) {
                Ok(data) => return Ok(grant(data.claims, self.validation.leeway)),
                Err(error) => match error.kind() {
                    ErrorKind::ExpiredSignature => refusal = Refusal::Expired,
                    ErrorKind::ImmatureSignature => refusal = Refusal::Early,
                    _ => {}
                },
            }
        }
        Err(refusal)
    }
}

fn grant(claims: Claims, leeway: u64) -> Grant {
    let ends = Duration::from_secs(claims.exp.saturating_add(leeway));
    Grant {
        identity: claims.sub.map(Into::into),
        uid: claims.uid,
        rooms: claims.rooms,
        allow: claims.allow,
        // A time beyond what the system's clock can express never comes.
        expires: SystemTime::UNIX_EPOCH.checked_add(ends),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, KeyError> {
    fs::read(path).map_err(|error| KeyError::Unreadable(path.into(), error))
}

/// White space at the end of a secret is an editor's, not the secret's.
fn trimmed(secret: &[u8], path: &Path) -> Result<Vec<u8>, KeyError> {
    let secret = secret.trim_ascii();
    if secret.len() < MIN_SECRET { Err(KeyError::TooShort(path.into())) } else { Ok(secret.to_vec()) }
}

fn is_pem(bytes: &[u8]) -> bool {
    bytes.trim_ascii_start().starts_with(b"-----BEGIN")
}

fn read_key(path: &Path) -> Result<Key, KeyError> {
    let bytes = read(path)?;
    if !is_pem(&bytes) {
        let key = DecodingKey::from_secret(&trimmed(&bytes, path)?);
        return Ok(Key { id: None, algorithm: Algorithm::HS256, key });
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
    Ok(Key { id: None, algorithm, key })
}

fn read_jwks(path: &Path) -> Result<Vec<Key>, KeyError> {
    let unusable = |why: String| KeyError::Unusable(path.into(), why);
    let set: JwkSet = serde_json::from_slice(&read(path)?).map_err(|error| unusable(error.to_string()))?;
    let keys: Vec<Key> = set
        .keys
        .iter()
        .filter_map(|jwk| {
            let named = jwk.common.key_algorithm.and_then(|name| name.to_string().parse().ok());
            let key = DecodingKey::from_jwk(jwk).ok()?;
            let algorithm = named.or_else(|| default_algorithm(jwk))?;
            KNOWN.contains(&algorithm).then_some(Key { id: jwk.common.key_id.clone(), algorithm, key })
        })
        .collect();
    if keys.is_empty() {
        return Err(unusable("no key for HS256, RS256, ES256 or EdDSA".into()));
    }
    Ok(keys)
}

const KNOWN: [Algorithm; 4] = [Algorithm::HS256, Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA];

fn default_algorithm(jwk: &jsonwebtoken::jwk::Jwk) -> Option<Algorithm> {
    use jsonwebtoken::jwk::{AlgorithmParameters as P, EllipticCurve};
    match &jwk.algorithm {
        P::RSA(_) => Some(Algorithm::RS256),
        P::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Some(Algorithm::ES256),
        P::OctetKeyPair(_) => Some(Algorithm::EdDSA),
        P::OctetKey(_) => Some(Algorithm::HS256),
        _ => None,
    }
}

/// Makes a token, signed with a secret or a private key in PEM form.
pub fn sign(claims: &Claims, key_file: &Path) -> Result<String, KeyError> {
    let bytes = read(key_file)?;
    let unusable = |why: String| KeyError::Unusable(key_file.into(), why);
    let (algorithm, key) = if is_pem(&bytes) {
        private_key(&bytes)
            .ok_or_else(|| unusable("not a private key (PKCS #8) for RS256, ES256 or EdDSA".into()))?
    } else {
        (Algorithm::HS256, EncodingKey::from_secret(&trimmed(&bytes, key_file)?))
    };
    encode(&Header::new(algorithm), claims, &key).map_err(|error| unusable(error.to_string()))
}

fn private_key(pem: &[u8]) -> Option<(Algorithm, EncodingKey)> {
    // The library takes a public RSA key for a private one until it has to sign.
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
