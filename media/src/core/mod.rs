//! Forwarding from publishers to viewers. Pure: no sockets, no clock, no WebRTC library.

pub mod bucket;
pub mod cache;
pub mod clock;
pub mod codec;
pub mod gate;
pub mod loss;
pub mod node;
pub mod numbers;
pub mod packet;
pub mod quality;
pub mod rate;
pub mod requests;
pub mod stream;
#[cfg(test)]
mod testing;
pub mod timers;
