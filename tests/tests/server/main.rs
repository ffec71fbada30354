//! The signalling server over real sockets, and several as one.

mod access;
mod cluster;
mod limits;
mod operations;
mod protocol;
mod start;
mod websocket;
