//! Keys and tokens made with OpenSSL, which the server does not use.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use data_encoding::{BASE64URL_NOPAD, HEXLOWER, HEXUPPER};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Signature algorithms of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with a shared secret.
    Hs256,
    /// RSA.
    Rs256,
    /// The curve P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// All algorithms.
pub const ALGORITHMS: [Algorithm; 4] =
    [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa];

impl Algorithm {
    /// The name in a token's header.
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// A key, or a pair of keys, in files.
#[derive(Debug)]
pub struct Keys {
    dir: TempDir,
    algorithm: Algorithm,
}

impl Keys {
    /// Generates keys.
    pub fn new(algorithm: Algorithm) -> Self {
        let keys = Self { dir: TempDir::new().expect("a folder"), algorithm };
        let (private, public) = (keys.private(), keys.public());
        match algorithm {
            Algorithm::Hs256 => {
                let secret = openssl(&["rand", "-base64", "48"], &[]);
                fs::write(&private, secret).expect("the folder is ours");
            }
            Algorithm::Rs256 => generate(&private, &["RSA", "-pkeyopt", "rsa_keygen_bits:2048"]),
            Algorithm::Es256 => generate(&private, &["EC", "-pkeyopt", "ec_paramgen_curve:P-256"]),
            Algorithm::EdDsa => generate(&private, &["ed25519"]),
        }
        if algorithm != Algorithm::Hs256 {
            openssl(&["pkey", "-in", &private, "-pubout", "-out", &public], &[]);
        }
        keys
    }

    /// The path of the signing key.
    pub fn private(&self) -> String {
        self.path("private.pem")
    }

    /// The path of the verification key; for a secret, the same file.
    pub fn public(&self) -> String {
        self.path(if self.algorithm == Algorithm::Hs256 { "private.pem" } else { "public.pem" })
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.dir.path().join(name);
        path.to_str().expect("the path is text").to_owned()
    }

    /// A token with these claims. A missing `exp` is set to one hour from now.
    pub fn token(&self, mut claims: Value) -> String {
        let claims_object = claims.as_object_mut().expect("claims are an object");
        claims_object.entry("exp").or_insert(json!(now() + 3600));
        self.sign(&json!({ "alg": self.algorithm.name(), "typ": "JWT" }), &claims)
    }

    /// A token with this header and these claims, valid or not.
    pub fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = BASE64URL_NOPAD.encode(&self.signature(signed.as_bytes()));
        format!("{signed}.{signature}")
    }

    fn signature(&self, bytes: &[u8]) -> Vec<u8> {
        let input = self.path("input");
        fs::write(&input, bytes).expect("the folder is ours");
        let private = self.private();
        match self.algorithm {
            Algorithm::Hs256 => hmac(self.secret().as_bytes(), &input),
            Algorithm::Rs256 => openssl(&["dgst", "-sha256", "-sign", &private, &input], &[]),
            Algorithm::Es256 => raw_signature(&openssl(&["dgst", "-sha256", "-sign", &private, &input], &[])),
            Algorithm::EdDsa => {
                openssl(&["pkeyutl", "-sign", "-rawin", "-inkey", &private, "-in", &input], &[])
            }
        }
    }

    fn secret(&self) -> String {
        fs::read_to_string(self.private()).expect("a secret").trim().to_owned()
    }

    /// The verification key as a JSON Web Key.
    pub fn jwk(&self, id: &str) -> Value {
        let b64 = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
        let der = |n: usize| {
            let der = openssl(&["pkey", "-pubin", "-in", &self.public(), "-outform", "DER"], &[]);
            der.split_at(der.len() - n).1.to_vec()
        };
        match self.algorithm {
            Algorithm::Hs256 => json!({ "kty": "oct", "kid": id, "k": b64(self.secret().as_bytes()) }),
            Algorithm::Rs256 => {
                let modulus = openssl(&["rsa", "-pubin", "-in", &self.public(), "-modulus", "-noout"], &[]);
                let modulus = String::from_utf8(modulus).expect("text");
                let hex = modulus.trim().trim_start_matches("Modulus=");
                let n = HEXUPPER.decode(hex.as_bytes()).expect("hexadecimal");
                json!({ "kty": "RSA", "kid": id, "alg": "RS256", "n": b64(&n), "e": "AQAB" })
            }
            Algorithm::Es256 => {
                let point = der(64);
                let (x, y) = point.split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "kid": id, "x": b64(x), "y": b64(y) })
            }
            Algorithm::EdDsa => {
                json!({ "kty": "OKP", "crv": "Ed25519", "kid": id, "alg": "EdDSA", "x": b64(&der(32)) })
            }
        }
    }
}

/// A token signed with HMAC and any secret, as an attacker does with a public key.
pub fn token_signed_with(secret: &[u8], header: &Value, claims: &Value) -> String {
    let part = |value: &Value| BASE64URL_NOPAD.encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", part(header), part(claims));
    let dir = TempDir::new().expect("a folder");
    let input = dir.path().join("input");
    fs::write(&input, &signed).expect("the folder is ours");
    let signature = hmac(secret, input.to_str().expect("the path is text"));
    format!("{signed}.{}", BASE64URL_NOPAD.encode(&signature))
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970").as_secs()
}

fn generate(path: &str, kind: &[&str]) {
    openssl(&["genpkey", "-out", path, "-algorithm"], kind);
}

fn hmac(secret: &[u8], input: &str) -> Vec<u8> {
    let key = format!("hexkey:{}", HEXLOWER.encode(secret));
    openssl(&["dgst", "-sha256", "-mac", "HMAC", "-macopt", &key, "-binary", input], &[])
}

/// Converts a signature from DER (SEQUENCE of two INTEGERs) to the form in a token: 32 bytes each.
fn raw_signature(der: &[u8]) -> Vec<u8> {
    let mut rest = der.get(2..).expect("a sequence");
    let mut raw = Vec::new();
    for _ in 0..2 {
        let length = usize::from(*rest.get(1).expect("an integer"));
        let number = rest.get(2..2 + length).expect("an integer");
        let digits = number.iter().skip_while(|byte| **byte == 0).copied().collect::<Vec<_>>();
        raw.extend(std::iter::repeat_n(0, 32 - digits.len()).chain(digits));
        rest = rest.get(2 + length..).expect("a sequence");
    }
    raw
}

fn openssl(args: &[&str], more: &[&str]) -> Vec<u8> {
    let output = Command::new("openssl").args(args).args(more).output().expect("openssl runs");
    assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}
