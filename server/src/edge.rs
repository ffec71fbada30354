//! How a connection gets in: accepting it, PROXY header, TLS, HTTP, and the page with its files.

pub mod assets;
pub mod calls;
pub mod fair;
pub mod http;
pub mod listener;
pub mod policy;
pub mod proxy;
pub mod site;
pub mod stream;
pub mod tls;
