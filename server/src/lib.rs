//! callbin's signalling server: the text protocol of GStreamer's WebRTC examples, safe to expose.
//!
//! From the outside in: [`listener`] accepts, [`tls`] and [`http`] do their handshakes, [`connection`] runs
//! one WebSocket, [`switchboard`] brings its events to the pure [`hub`] and the hub's effects to each
//! [`outbox`]. `main.rs` only reads flags; everything can be started by [`run`].

pub mod assets;
pub mod close;
pub mod config;
pub mod connection;
pub mod http;
pub mod hub;
pub mod listener;
pub mod logging;
pub mod outbox;
pub mod runtime;
mod server;
pub mod stream;
pub mod switchboard;
pub mod tls;

pub use server::{StartError, run};
