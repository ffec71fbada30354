//! Compares the peer's DTLS certificate with the fingerprints of its description. webrtcbin before 1.28.5 does not.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures_rustls::pki_types::{CertificateDer, pem::PemObject};
use gst::glib::{Checksum, ChecksumType};

use crate::sdp::{Fingerprint, Hash};

/// Closed until the peer presents a certificate that its description announced; before, nothing is played or sent.
#[derive(Debug, Default)]
pub(super) struct Gate {
    expected: Mutex<Vec<Fingerprint>>,
    open: AtomicBool,
}

impl Gate {
    /// Sets the fingerprints of the description.
    pub(super) fn expect(&self, fingerprints: Vec<Fingerprint>) {
        *self.expected.lock().unwrap_or_else(PoisonError::into_inner) = fingerprints;
    }

    /// Checks the peer's certificate, in PEM: opens or closes the gate, and returns whether it is open.
    pub(super) fn show(&self, pem: &str) -> bool {
        let expected = self.expected.lock().unwrap_or_else(PoisonError::into_inner);
        let open = CertificateDer::from_pem_slice(pem.as_bytes())
            .is_ok_and(|der| expected.iter().any(|fingerprint| is_of(fingerprint, &der)));
        self.open.store(open, SeqCst);
        open
    }

    /// Whether the peer's certificate matched.
    pub(super) fn is_open(&self) -> bool {
        self.open.load(SeqCst)
    }
}

fn is_of(fingerprint: &Fingerprint, der: &[u8]) -> bool {
    let hash = match fingerprint.hash {
        Hash::Sha256 => ChecksumType::Sha256,
        Hash::Sha384 => ChecksumType::Sha384,
        Hash::Sha512 => ChecksumType::Sha512,
    };
    let Some(mut checksum) = Checksum::new(hash) else { return false };
    checksum.update(der);
    checksum.string().is_some_and(|hex| hex == fingerprint.hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_for_the_announced_certificate_only() {
        let pem = "-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n";
        // The SHA-256 of "abc".
        let hex = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let gate = Gate::default();
        assert!(!gate.show(pem));
        gate.expect(vec![Fingerprint { hash: Hash::Sha256, hex: hex.replace('b', "c") }]);
        assert!(!gate.show(pem));
        gate.expect(vec![Fingerprint { hash: Hash::Sha256, hex: hex.into() }]);
        assert!(!gate.is_open());
        assert!(gate.show(pem) && gate.is_open());
        assert!(!gate.show("no certificate") && !gate.is_open());
    }
}
