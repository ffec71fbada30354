//! The DTLS certificate of one connection: ECDSA with P-256, which every peer must support (RFC 8827, section 6.5).
//!
//! GStreamer 1.22 creates one RSA certificate per process, and some peers do not support its cipher suites. A
//! certificate per connection also shows the peer that a connection is new.

use gst::glib::{Checksum, ChecksumType};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair};

use crate::exit::Failure;

/// A certificate, its key, and its fingerprint.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Certificate and key, in PEM.
    pub(super) pem: String,
    /// `sha-256` and the hash, in the format of `a=fingerprint`.
    fingerprint: String,
}

impl Certificate {
    /// Generates a key and a self-signed certificate.
    pub(super) fn generate() -> Result<Self, Failure> {
        let key = KeyPair::generate().map_err(Failure::internal)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "WebRTC");
        let certificate = params.self_signed(&key).map_err(Failure::internal)?;
        let mut hash = Checksum::new(ChecksumType::Sha256).ok_or_else(|| Failure::internal("no SHA-256"))?;
        hash.update(certificate.der());
        let hex: Vec<String> = hash.digest().iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self {
            pem: format!("{}{}", certificate.pem(), key.serialize_pem()),
            fingerprint: format!("sha-256 {}", hex.join(":")),
        })
    }

    /// Puts the certificate's fingerprint into webrtcbin's description: webrtcbin 1.22 includes the key in its hash if
    /// the PEM contains both.
    pub(super) fn announce(&self, sdp: &str) -> String {
        let line = |line: &str| {
            let is_hash = line.starts_with("a=fingerprint:");
            if is_hash { format!("a=fingerprint:{}\r\n", self.fingerprint) } else { format!("{line}\r\n") }
        };
        sdp.lines().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_another_one_and_is_announced() {
        let (one, other) = (Certificate::generate().unwrap(), Certificate::generate().unwrap());
        assert!(one.pem.contains("BEGIN CERTIFICATE") && one.pem.contains("BEGIN PRIVATE KEY"), "{one:?}");
        assert_ne!(one.pem, other.pem);
        let sdp = one.announce("v=0\r\na=fingerprint:sha-256 00:11\r\na=mid:0\r\n");
        let hash = sdp.lines().nth(1).unwrap().strip_prefix("a=fingerprint:sha-256 ").unwrap();
        assert!(sdp.starts_with("v=0\r\n") && sdp.ends_with("\r\na=mid:0\r\n") && hash.len() == 95, "{sdp}");
    }
}
