//! Certificates: loading, checking, making and replacing them while connections go on.

mod expiry;

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use futures_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// Why TLS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// A file can't be read.
    #[error(
        "cannot read {0}: {1}; give the folder of cert.pem and key.pem with --cert-path, or use --self-signed or --disable-ssl"
    )]
    Unreadable(PathBuf, io::Error),
    /// A file is not PEM or has the wrong contents.
    #[error("{0} holds no usable {1} in PEM form")]
    NotPem(PathBuf, &'static str),
    /// The key does not match the certificate, or rustls does not support it.
    #[error("the certificate {0} and the key {1} do not match: {2}")]
    Mismatch(PathBuf, PathBuf, rustls::Error),
    /// A self-signed certificate can't be saved.
    #[error("cannot keep a self-signed certificate in {0}: {1}")]
    CannotKeep(PathBuf, io::Error),
    /// A self-signed certificate can't be made.
    #[error("cannot make a self-signed certificate: {0}")]
    CannotMake(#[from] rcgen::Error),
    /// rustls rejects its default configuration.
    #[error("cannot set up TLS: {0}")]
    Setup(#[from] rustls::Error),
}

/// The files of a certificate and its key.
#[derive(Debug, Clone)]
pub struct Files {
    cert: PathBuf,
    key: PathBuf,
}

impl Files {
    /// The file names that the reference server uses in `dir`.
    pub fn in_dir(dir: &Path) -> Self {
        let (cert, key) = if dir.to_string_lossy().contains("letsencrypt") {
            ("fullchain.pem", "privkey.pem")
        } else {
            ("cert.pem", "key.pem")
        };
        Self { cert: dir.join(cert), key: dir.join(key) }
    }

    /// Whether neither file exists. If only one is missing, nothing is created: a key may be waiting for its
    /// certificate.
    pub fn are_missing(&self) -> bool {
        !self.cert.exists() && !self.key.exists()
    }

    /// Makes a self-signed certificate if there is none.
    pub fn make_if_missing(&self) -> Result<(), CertificateError> {
        if !self.are_missing() {
            return Ok(());
        }
        let made = rcgen::generate_simple_self_signed(own_names())?;
        let dir = self.cert.parent().unwrap_or(Path::new("."));
        let keep = || {
            fs::create_dir_all(dir)?;
            write_private(&self.key, &made.signing_key.serialize_pem())?;
            fs::write(&self.cert, made.cert.pem())
        };
        keep().map_err(|error| CertificateError::CannotKeep(dir.to_owned(), error))
    }

    /// Loads and checks the pair.
    fn load(&self) -> Result<CertifiedKey, CertificateError> {
        let cert = read(&self.cert)?;
        let key = read(&self.key)?;
        self.parse(&cert, &key)
    }

    fn parse(&self, cert: &[u8], key: &[u8]) -> Result<CertifiedKey, CertificateError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(cert)
            .collect::<Result<_, _>>()
            .ok()
            .filter(|chain: &Vec<_>| !chain.is_empty())
            .ok_or_else(|| CertificateError::NotPem(self.cert.clone(), "certificate"))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|_| CertificateError::NotPem(self.key.clone(), "private key"))?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map_err(|error| CertificateError::Mismatch(self.cert.clone(), self.key.clone(), error))
    }
}

/// The current certificate. It can be replaced at any time; each handshake uses the current one.
#[derive(Debug)]
pub struct Certificate {
    files: Files,
    current: RwLock<Arc<CertifiedKey>>,
}

impl Certificate {
    /// Loads the files.
    pub fn load(files: Files) -> Result<Self, CertificateError> {
        let current = RwLock::new(Arc::new(files.load()?));
        Ok(Self { files, current })
    }

    /// Reads the files again without using them. This may block.
    pub fn read_again(&self) -> Result<CertifiedKey, CertificateError> {
        self.files.load()
    }

    /// Uses another certificate for new connections. True if it differs from the previous one.
    pub fn replace(&self, new: CertifiedKey) -> bool {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let changed = new.cert != current.cert;
        *current = Arc::new(new);
        changed
    }

    /// The expiry in seconds since 1970. `None` if it cannot be read.
    pub fn expiry(&self) -> Option<i64> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner).clone();
        expiry::not_after(current.cert.first()?)
    }

    /// The rustls configuration that serves this certificate.
    pub fn server_config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    fs::read(path).map_err(|error| CertificateError::Unreadable(path.to_owned(), error))
}

/// All names and addresses by which other machines may know this one.
fn own_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    names.extend(fs::read_to_string("/etc/hostname").ok().map(|name| name.trim().to_owned()));
    names.retain(|name| !name.is_empty() && name.is_ascii());
    let addresses = if_addrs::get_if_addrs().unwrap_or_default();
    let mut addresses: Vec<IpAddr> = addresses.iter().map(if_addrs::Interface::ip).collect();
    addresses.extend([IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])]);
    addresses.sort();
    addresses.dedup();
    names.extend(addresses.iter().map(IpAddr::to_string));
    names
}

/// Creates a file that only its owner can ever read.
fn write_private(path: &Path, text: &str) -> io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let _ = fs::remove_file(path);
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
