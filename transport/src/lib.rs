//! Connections of server, clients and tests: a byte stream with or without TLS, the certificates that a client trusts, and a
//! client's TLS configuration that does not check who the server is. Independent of the async runtime.

mod insecure;
mod maybe_tls;
mod roots;

pub use crate::{insecure::insecure_config, maybe_tls::MaybeTls, roots::roots};
