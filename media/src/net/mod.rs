//! The network: which datagram belongs to whom, and the socket.

pub mod routes;
pub mod stun;
