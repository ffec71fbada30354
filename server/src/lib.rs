//! callbin's signalling server: the text protocol of GStreamer's WebRTC examples, safe to expose.
//!
//! From the outside in: [`edge`] accepts a connection, does its handshakes and answers HTTP requests; [`access`] decides
//! what it may do; [`connection`] runs its WebSocket; [`switchboard`] brings its events to the pure [`hub`], and the hub's
//! effects to the queues of [`delivery`]. [`operate`] is what operators see and change. `main.rs` only parses options;
//! [`run`] starts everything.

pub mod access;
pub mod app;
pub mod bridge;
pub mod close;
pub mod cluster;
pub mod command;
pub mod config;
pub mod connection;
pub mod delivery;
pub mod dialect;
pub mod edge;
#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzz;
pub mod hub;
mod media;
pub mod node_room;
pub mod operate;
pub mod runtime;
mod server;
pub mod switchboard;

pub use server::{StartError, check, run};
