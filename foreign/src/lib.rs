//! Calls of C functions that have no safe binding, or none that is safe with a peer's input. All unsafe code of callbin
//! is here.

pub mod filter;
pub mod ice;
pub mod memory;
pub mod rsa;
pub mod text;
pub mod tun;
