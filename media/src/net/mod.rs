//! The network: which datagram belongs to whom, our addresses, and the socket.

pub mod batch;
pub mod local;
pub mod routes;
pub mod socket;
pub mod stun;
