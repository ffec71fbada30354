//! Compares the peer's DTLS certificate with the fingerprints of its description, which webrtcbin before 1.28.5 does not, and
//! bounds what reaches `dtlsdec`.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, Ordering::SeqCst},
};

use futures_rustls::pki_types::{CertificateDer, pem::PemObject};
use gst::{
    glib::{Checksum, ChecksumType},
    prelude::*,
};

use super::probe::{DATA, all, pass_if};
use crate::sdp::{Fingerprint, Hash};

/// The longest datagram that `dtlsdec` gets. OpenSSL takes some 16 KiB of one at once. `dtlsdec` of 1.22 offers it the rest
/// later, when the datagram is freed already. Honest datagrams fit into the path's MTU.
const LONGEST: usize = 8 << 10;

/// Watches a new `dtlsdec`: drops the datagrams that it must not get.
pub(super) fn guard(dtlsdec: &gst::Element) {
    let Some(sink) = dtlsdec.static_pad("sink") else { return };
    sink.add_probe(DATA, |_, info| pass_if(all(info, |datagram| datagram.size() <= LONGEST)));
}

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
    fn datagrams_that_openssl_does_not_take_at_once_are_dropped() {
        gst::init().unwrap();
        let dtlsdec = gst::ElementFactory::make("dtlsdec").property("connection-id", "long").build().unwrap();
        guard(&dtlsdec);
        let sink = dtlsdec.static_pad("sink").unwrap();
        // Behind the guard.
        let (arrived, arrives) = std::sync::mpsc::channel();
        sink.add_probe(DATA, move |_, info| {
            all(info, |datagram| arrived.send(datagram.size()).is_ok());
            super::super::probe::DROP
        });
        dtlsdec.set_state(gst::State::Playing).unwrap();
        sink.send_event(gst::event::StreamStart::new("test"));
        sink.send_event(gst::event::Segment::new(&gst::FormattedSegment::<gst::ClockTime>::new()));
        for size in [LONGEST + 1, 60_000, LONGEST, 1] {
            let _ = sink.chain(gst::Buffer::with_size(size).unwrap());
        }
        assert_eq!(arrives.try_iter().collect::<Vec<_>>(), [LONGEST, 1]);
        dtlsdec.set_state(gst::State::Null).unwrap();
    }

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
