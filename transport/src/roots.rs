//! The certificates of authorities that a client trusts.

use std::{
    path::Path,
    sync::{Arc, OnceLock},
};

use rustls::{
    RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};

/// The certificates of the system's authorities, and those in a PEM file. The file is read for each connection: it may be
/// replaced together with the server's certificate. Fails with the path and the reason if it cannot be read or has none.
pub fn roots(also: Option<&Path>) -> Result<Arc<RootCertStore>, String> {
    let Some(path) = also else { return Ok(system()) };
    let mut roots = RootCertStore::clone(&system());
    let wrong = |why: String| format!("{}: {why}", path.display());
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        added += 1;
    }
    if added == 0 { Err(wrong("no certificate in it".into())) } else { Ok(Arc::new(roots)) }
}

/// The certificates of the system's authorities: some hundred kilobytes of text, read once. If there are none, for example for
/// want of file descriptors, they are read again the next time.
fn system() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    known_or_read(&ROOTS, || rustls_native_certs::load_native_certs().certs)
}

fn known_or_read(
    known: &OnceLock<Arc<RootCertStore>>,
    read: impl FnOnce() -> Vec<CertificateDer<'static>>,
) -> Arc<RootCertStore> {
    if let Some(roots) = known.get() {
        return roots.clone();
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(read());
    let roots = Arc::new(roots);
    if !roots.is_empty() {
        let _ = known.set(roots.clone());
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_certificates_of_the_system_are_read_once_and_none_are_read_again() {
        let known = OnceLock::new();
        assert!(known_or_read(&known, Vec::new).is_empty(), "there was no file descriptor");
        let own = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert.der().clone();
        let first = known_or_read(&known, || vec![own]);
        assert_eq!(first.len(), 1);
        let second = known_or_read(&known, || panic!("they are known"));
        assert!(Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn a_certificate_file_adds_to_them_and_is_read_again() {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("ca.pem");
        let system = roots(None).unwrap().len();
        assert!(roots(Some(&path)).is_err());
        std::fs::write(&path, "no certificate").unwrap();
        assert!(roots(Some(&path)).is_err());
        let pem = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert.pem();
        for count in [1, 2] {
            std::fs::write(&path, pem.repeat(count)).unwrap();
            assert_eq!(roots(Some(&path)).unwrap().len(), system + count);
        }
        assert_eq!(roots(None).unwrap().len(), system);
    }
}
