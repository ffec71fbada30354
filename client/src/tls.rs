//! TLS to servers (signalling, TURN, WHIP): which certificates are trusted, and the handshake.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use async_std::net::TcpStream;
use callbin_transport::insecure_config;
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
    rustls::{self, ClientConfig, RootCertStore, crypto},
};

use crate::exit::{ExitCode, Failure};

/// Which certificates to trust.
#[derive(Debug, Clone)]
pub enum Trust {
    /// Certificates of the system's authorities.
    System,
    /// Also the certificates in this PEM file.
    Also(PathBuf),
    /// Any certificate: for self-signed ones in one's own network.
    Anybody,
}

/// Performs the TLS handshake with `host` over `tcp`.
pub async fn connect(trust: &Trust, host: &str, tcp: TcpStream) -> Result<TlsStream<TcpStream>, Failure> {
    let config = config(trust)?;
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| failure(format!("{host} is not a valid name for a certificate")))?;
    TlsConnector::from(Arc::new(config)).connect(name, tcp).await.map_err(|error| {
        let is_certificate = error.get_ref().is_some_and(|it| it.is::<rustls::Error>());
        let failed =
            failure(format!("TLS with {host} failed: {error}: try --ca-file FILE, or --insecure in a test"));
        // A broken connection says nothing about certificates: a proxy in front of the server may be starting.
        if is_certificate { failed } else { failed.passing() }
    })
}

fn failure(message: String) -> Failure {
    Failure::new(ExitCode::Tls, message)
}

fn config(trust: &Trust) -> Result<ClientConfig, Failure> {
    let unusable = |error: rustls::Error| failure(error.to_string());
    if matches!(trust, Trust::Anybody) {
        return insecure_config().map_err(unusable);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(builder.with_root_certificates(roots(trust)?).with_no_client_auth())
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

/// A certificate file is read for each connection: it may be replaced together with the server's certificate.
fn roots(trust: &Trust) -> Result<Arc<RootCertStore>, Failure> {
    let Trust::Also(path) = trust else { return Ok(system()) };
    let mut roots = RootCertStore::clone(&system());
    let wrong = |why: String| failure(format!("--ca-file {}: {why}", path.display()));
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    let mut added = 0;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        roots.add(certificate).map_err(|error| wrong(error.to_string()))?;
        added += 1;
    }
    if added == 0 { Err(wrong("no certificate in it".into())) } else { Ok(Arc::new(roots)) }
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
        let trust = Trust::Also(path.clone());
        let system = roots(&Trust::System).unwrap().len();
        assert!(roots(&trust).is_err());
        std::fs::write(&path, "no certificate").unwrap();
        assert!(roots(&trust).is_err());
        let pem = rcgen::generate_simple_self_signed(["localhost".into()]).unwrap().cert.pem();
        for count in [1, 2] {
            std::fs::write(&path, pem.repeat(count)).unwrap();
            assert_eq!(roots(&trust).unwrap().len(), system + count);
        }
        assert_eq!(roots(&Trust::System).unwrap().len(), system);
    }
}
