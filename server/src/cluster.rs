//! Several servers as one, on Redis. See ARCHITECTURE.md.

pub mod link;
pub mod node;
#[cfg(test)]
mod sim;
pub mod store;
