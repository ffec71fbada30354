//! TLS to servers (signalling, TURN, WHIP): which certificates are trusted, and the handshake.

use std::{path::PathBuf, sync::Arc};

use async_std::net::TcpStream;
use callbin_transport::{insecure_config, roots};
use futures_rustls::{
    TlsConnector,
    client::TlsStream,
    pki_types::ServerName,
    rustls::{self, ClientConfig, crypto},
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
    let also = match trust {
        Trust::Anybody => return insecure_config().map_err(unusable),
        Trust::System => None,
        Trust::Also(path) => Some(path.as_path()),
    };
    let roots = roots(also).map_err(|error| failure(format!("--ca-file {error}")))?;
    let builder = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
