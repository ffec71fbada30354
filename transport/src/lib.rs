//! What server, clients and tests share about connections: a byte stream with or without TLS, and a client's TLS that
//! asks nobody who the server is. Chooses no async runtime.

mod insecure;
mod maybe_tls;

pub use crate::{insecure::insecure_config, maybe_tls::MaybeTls};
