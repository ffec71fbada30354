//! The connection to the server: a thread of its own that connects, and connects again.

pub mod backoff;
pub mod dial;
pub mod link;
